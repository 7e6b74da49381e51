"""The experiment on real scans: who is held out, and numbers that are 0, 1 or chance where they must be."""

import importlib
import sys
from pathlib import Path

import pytest
import torch

sys.path.insert(0, str(Path(__file__).parent / "experiments"))
prism_real = importlib.import_module("prism_real")
ScanRecord = prism_real.ScanRecord


def test_every_patient_is_held_out_once_and_one_person_is_one_patient():
    names = ["STS_002_CT_image.nii.gz", "STS_002_MR_T1_image.nii.gz", "mr_prostate_px0000_t2sag.nii.gz",
             "mr_prostate_px0000_t2tra.nii.gz", "ct_torso_totalseg_example.nii.gz", "mr_head_torchio_t2.nii.gz"]
    people = [prism_real.patient(name) for name in names]
    assert people[0] == people[1] == "STS_002" and people[2] == people[3] and len(set(people)) == 4
    records = [ScanRecord(name, name, "CT" if "CT" in name else "MR", name, "", who)
               for name, who in zip(names, people, strict=True)]
    held = prism_real.folds(records)
    assert sorted(who for fold in held for who in fold) == sorted(set(people))


def fold(said):
    """Two patients, two scans of 4 pairs each; the first scan is large, the second small."""
    wanted = {"distance": torch.tensor([[80.0], [90], [100], [110], [8], [9], [10], [11]]),
              "rotation": torch.randn(8, 3, generator=torch.Generator().manual_seed(0)),
              "window_center": torch.linspace(-1, 1, 8)[:, None], "window_width": torch.linspace(1, -1, 8)[:, None]}
    of = {f"wanted_{head}": values for head, values in wanted.items()} | {
        f"said_{head}": said(head, values) for head, values in wanted.items()}
    label = torch.arange(8) // 4
    of |= {"label": label, "a": torch.eye(2)[label], "b": torch.eye(2)[label]}
    return {"patient": ["p"] * 4 + ["q"] * 4, "scan": ["s"] * 4 + ["t"] * 4, "items": of}


def value(table, name):
    return float(table[name].split()[0])


def test_who_knows_all_and_who_knows_a_constant():
    knows = prism_real.pooled([fold(lambda head, values: values)], "items")
    assert value(knows, "distance ratio") == 0 and value(knows, "window R²") == 1 and value(knows, "retrieval") == 1
    assert value(knows, "chance") == pytest.approx(3 / 7, abs=0.005)
    blind = prism_real.pooled([fold(lambda head, values: (
        values.median(0).values if head == "distance" else values.mean(0)).expand_as(values))], "items")
    assert [value(blind, name) for name in ("distance ratio", "rotation ratio", "window R²")] == [1, 1, 0]


def test_who_knows_the_scan_beats_the_constant_but_not_the_scan():
    sizes = torch.tensor([95.0, 9.5]).repeat_interleave(4)[:, None]
    found = fold(lambda head, values: sizes if head == "distance" else values)
    table = prism_real.pooled([found], "items")
    assert value(table, "distance ratio") < 0.15 and value(table, "distance ratio, own scan") == 1
    found["blank"] = found["items"]
    assert set(prism_real.pooled([found], "items", "blank").values()) == {"+0.00 [+0.00, +0.00]"}


def test_grey_patches_keep_their_places():
    batch = {"patches_a": torch.rand(2, 3), "patches_b": torch.rand(2, 3), "positions_a": torch.rand(2, 3)}
    grey = prism_real.blank(batch)
    assert grey["patches_a"].unique().tolist() == [0.5] and torch.equal(grey["positions_a"], batch["positions_a"])
