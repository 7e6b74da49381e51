"""Week 14: scans handed out by number, one pretraining with all it reports, and an encoder that others can load."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from medssl.data import Scans, load_scans, load_volume_folder, write_nifti
from medssl.data.phantom_volumes import ct_phantom
from medssl.errors import MedsslError
from medssl.methods import DINO3D
from medssl.models.export import load_encoder, save_encoder
from medssl.recipes.dino3d import CropWatch, pretrain_dino3d, sort_settings
from medssl.views import MultiCrop3D

SHAPES = ((24, 32, 32), (20, 36, 28), (24, 28, 32))  # no two alike
SMALL = {"global_size": 16, "local_size": 8, "global_mm": (7.0, 9.0), "local_mm": (6.0, 8.0), "prototypes": 32,
         "hidden": 32, "bottleneck": 16, "steps": 6, "rows": 3, "batch_size": 3, "crops": 24, "quiet": "silent",
         "device": "cpu"}


@pytest.fixture(scope="module")
def scans():
    return [ct_phantom(k, shape, (11.0, 12.0, 12.0)).image for k, shape in enumerate(SHAPES)]


def test_each_scan_is_shown_before_any_comes_again_in_an_order_of_seed_and_epoch(scans):
    source = Scans(scans, 2, seed=5, steps=6)
    batches = [b["scan"] for b in source.batches(0)]
    assert len(source) == len(batches) == 6 and all(len(b) == 2 and b.dtype == torch.int64 for b in batches)
    shown = torch.cat(batches).tolist()
    assert all(sorted(shown[k:k + 3]) == [0, 1, 2] for k in range(0, 12, 3))
    assert torch.equal(torch.cat(batches), torch.cat([b["scan"] for b in Scans(scans, 2, 5, 6).batches(0)]))
    assert any(shown != torch.cat([b["scan"] for b in source.batches(e)]).tolist() for e in (1, 2, 3))
    assert [len(b["scan"]) for b in Scans(scans, 8).batches(0)] == [8]  # fewer scans than a batch
    with pytest.raises(MedsslError, match="modality unknown"):
        Scans([replace(scans[0], modality="")], 2)
    with pytest.raises(MedsslError, match="0 scans"):
        Scans([], 2)


def test_scans_of_a_folder_keep_their_size_and_the_parts_of_load_volume_folder(scans, tmp_path):
    pytest.importorskip("nibabel")
    for k in range(10):
        write_nifti(tmp_path / f"scan{k}.nii.gz", replace(scans[k % 3], array=scans[k % 3].array + k), "LPS")
    (tmp_path / "labels.csv").write_text("image,label,who\n" + "".join(f"scan{k}.nii.gz,{k % 2},p{k // 2}\n"
                                                                         for k in range(10)))
    how = {"labels": tmp_path / "labels.csv", "label_column": "label", "patients": "who", "modality": "CT", "seed": 3}
    parts = load_scans(tmp_path, **how)
    same = load_volume_folder(tmp_path, size=(8, 8, 8), spacing=20, **how)
    for name, part in parts.items():
        assert [v.source for v in part] == [str(file) for file in same.splits[name].about["file"]]
    assert {v.shape for part in parts.values() for v in part} == set(SHAPES)
    with pytest.raises(MedsslError, match="no column 'whom'"):
        load_scans(tmp_path, **how | {"patients": "whom"})
    with pytest.raises(MedsslError, match="modality unknown"):
        load_scans(tmp_path)
    with pytest.raises(MedsslError, match="GB already"):
        load_scans(tmp_path, modality="CT", max_gb=1e-4)
    (tmp_path / "scan3.nii.gz").write_bytes(b"no NIfTI")
    with pytest.raises(MedsslError, match="scan3"):
        load_scans(tmp_path, modality="CT")
    with pytest.warns(UserWarning, match="1 of 10 scans"):
        left = load_scans(tmp_path, modality="CT", broken="skip")
    assert sum(map(len, left.values())) == 9


def test_a_mistyped_setting_is_an_error_that_names_the_right_one(scans):
    for wrong, near in (("foreground_crop_probability", "foreground_crop_prob"), ("centering", "centring"),
                        ("subset", "one of")):
        with pytest.raises(MedsslError, match=near):
            pretrain_dino3d(scans, **SMALL | {wrong: 1})
    parts = sort_settings({"min_foreground_ratio": 0.3, "koleo": 0.0, "clip": 3.0})
    assert parts[MultiCrop3D] == {"min_foreground_ratio": 0.3} and parts[DINO3D] == {"koleo": 0.0}


@pytest.fixture(scope="module")
def run(scans, tmp_path_factory):
    torch.manual_seed(99)
    before = torch.get_rng_state()
    folder = tmp_path_factory.mktemp("run")
    made = pretrain_dino3d(scans, out=folder, **SMALL)
    assert torch.equal(before, torch.get_rng_state())  # the caller's random numbers stay
    return made, folder


def test_history_says_what_the_crops_were_and_whether_it_collapses(run):
    made, _ = run
    assert [row["step"] for row in made.history] == [2, 4, 6]
    for row in made.history:
        assert 0.5 <= row["global_ratio"] <= 1 and 0.5 <= row["local_ratio"] <= 1 and row["relaxed"] == 0
        assert row["pairs"] == 1 and {"val_student_mi", "val_teacher_mi", "val_rank_share", "val_std", "val_kl",
                                      "val_cosine"} <= set(row)
    assert made.config["chance_level"] == pytest.approx(math.log(32)) and made.config["image_size"] == "16×16×16"
    assert made.kind in ("none", "uniform", "peaked", "constant") and made.kind in str(made)


def test_the_same_seed_gives_the_same_weights_and_a_finished_run_is_taken_up_again(run, scans):
    made, folder = run
    again = pretrain_dino3d(scans, out=folder, **SMALL)
    fresh = pretrain_dino3d(scans, **SMALL)
    for other in (again, fresh):
        assert all(torch.equal(a, b) for a, b in zip(made.method.state_dict().values(),
                                                     other.method.state_dict().values(), strict=True))
    with pytest.raises(MedsslError, match="other settings"):
        pretrain_dino3d(scans, out=folder, **SMALL | {"koleo": 0.0})
    others = [replace(scan, array=scan.array + 1) for scan in scans]
    with pytest.raises(MedsslError, match="other settings"):  # as many scans, but other ones
        pretrain_dino3d(others, out=folder, **SMALL)


def test_watched_crops_are_the_same_whatever_is_learnt_from(scans):
    geometry = {"global_size": 16, "global_mm": (7.0, 9.0)}
    one = CropWatch(scans, 24, geometry)
    other = CropWatch(scans, 24, geometry | {"foreground_crop_prob": 0.0, "flip_left_right": 1.0, "local_size": 12,
                                             "noise": 0.9, "foreground_fill": True})
    assert torch.equal(one.x, other.x) and torch.equal(one.spacing, other.spacing)
    assert len(one.x.flatten(1).unique(dim=0)) == 24  # and each is another one


def test_without_a_ratio_crops_hold_air_and_the_history_says_so(run, scans):
    free = pretrain_dino3d(scans, **SMALL | {"foreground_crop_prob": 0.0})
    assert free.history[-1]["local_ratio"] < run[0].history[-1]["local_ratio"] - 0.1


def test_a_scan_without_content_collapses_and_is_told(scans):
    """All crops alike: nothing can be told apart, whatever the loss does."""
    flat = [replace(scan, array=torch.full_like(scan.array, 40)) for scan in scans]
    made = pretrain_dino3d(flat, **SMALL | {"noise": 0.0, "contrast": 0.0, "brightness": 0.0, "gamma": 0.0,
                                            "aspect": 1.0, "global_mm": (8.0, 8.0)})
    assert made.kind != "none" and "student_mi" in made.warning and "Collapse: " in made.warning


def test_the_encoder_can_be_given_away(run, tmp_path):
    made, _ = run
    path = save_encoder(tmp_path, made.encoder, made.config)
    loaded, x = load_encoder(path), torch.rand(2, 1, 16, 16, 16)
    assert torch.equal(loaded.eval()(x, spacing=(8.0, 8.0, 8.0)), made.encoder.eval()(x, spacing=(8.0, 8.0, 8.0)))
    assert "dino3d" in (tmp_path / "MODEL_CARD.md").read_text() and np.isfinite(loaded(x).detach().numpy()).all()


def test_crops_of_a_region_share_a_place(scans):
    """Of one scan in one batch: all boxes within a cube of region_mm, which lies elsewhere each time."""
    edges, places = [], []
    views = MultiCrop3D(scans, n_local=3, global_size=8, local_size=8, global_mm=(7.0, 9.0), local_mm=(5.0, 8.0),
                        region_mm=120.0)
    for k in range(6):
        seen = views({"scan": torch.tensor([0, 1, 2])}, torch.Generator().manual_seed(k))
        boxes = torch.cat([seen["global_box"], seen["local_box"]])  # [views,B,2,3]
        edges.append(boxes[:, :, 1].amax(0) - boxes[:, :, 0].amin(0))
        places.append(boxes[:, :, 0].amin(0))
    cell = 12.0 * max(max(o.cell) for o in views.occupancies)
    assert torch.stack(edges).max() <= 120 + cell and torch.stack(places).std(0).max() > 10
    free = MultiCrop3D(scans, n_local=3, global_size=8, local_size=8, global_mm=(7.0, 9.0), local_mm=(5.0, 8.0))
    seen = free({"scan": torch.arange(3).repeat(8)}, torch.Generator().manual_seed(0))
    assert (seen["global_box"][:, :, 1].amax(0) - seen["global_box"][:, :, 0].amin(0)).max() > 120 + cell
    with pytest.raises(MedsslError, match="region_mm"):
        MultiCrop3D(scans, region_mm=0)
