"""The script of the sarcomas: no encoder meets the patient that it is tested on, and what it has met is kept."""

import importlib.util
import json

import numpy as np
import pytest
import torch

from medssl.data import Volume, write_nifti
from medssl.evaluate import Case
from medssl.models import ViT
from medssl.models.export import save_encoder


@pytest.fixture(scope="module")
def script(repo):
    spec = importlib.util.spec_from_file_location("sts", repo / "tests/experiments/sts_segmentation.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def named(n=6, shape=(5, 12, 9)) -> dict[str, Case]:
    """Patient k is grey value (k + 1) / 20 everywhere: a voxel says whose it is."""
    return {f"STS_{k:03}": Case(torch.full((1, *shape), (k + 1) / 20), torch.ones(shape, dtype=torch.int64), (4.0,) * 3)
            for k in range(n)}


def test_no_voxel_of_the_test_patient_is_pretrained_on(script):
    for k in range(6):
        data = script.unlabelled(named(), "CT", f"STS_{k:03}", "patients", 4.0, 8)
        met = {round(v * 20 / 255) for part in data.splits.values() for v in part.images.unique().tolist()}
        assert met == {0, *range(1, 7)} - {k + 1}, "0 is what pads a small scan"
        assert not data.is_phantom and len(data.train) == 5 * script.CROPS and data.spacing == (4.0,) * 3
    assert data.train.images.shape[1:] == (1, 8, 8, 8) and not len(data.test)


def test_of_phantoms_there_is_no_patient(script, monkeypatch):
    monkeypatch.setattr(script, "PHANTOMS", 2)
    for modality in ("CT", "MR_T1"):
        alone = script.unlabelled(named(), modality, None, "phantoms", 20.0, 8)
        assert len(alone.train) == 2 * script.CROPS and alone.is_phantom and alone.train.images.float().std() > 5
    both = script.unlabelled(named(), "CT", "STS_001", "both", 20.0, 8)
    assert len(both.train) == 7 * script.CROPS and both.is_phantom


def test_crops_lie_within_the_scan_and_small_scans_in_their_middle(script):
    image = torch.arange(6 * 9 * 4).reshape(1, 6, 9, 4) / 255
    found = script.crops([image], 4, 30, 0)
    assert found.shape == (30, 1, 4, 4, 4)
    for cut in found.int():
        at = cut[0, 0, 0, 0].item()
        z, y = at // 36, at % 36 // 4
        assert torch.equal(cut[0], (image[0, z:z + 4, y:y + 4] * 255).round().int())
    assert len(found.flatten(1).unique(dim=0)) > 5
    padded = script.crops([image], 10, 2, 0)[0, 0]
    assert torch.equal(padded[2:8, :9, 3:7].int(), (image[0] * 255).round().int()) and padded[:2].sum() == 0


def test_each_fold_is_tested_with_its_own_encoder(script, monkeypatch):
    seen = []

    def tokens(encoder, case, patch):
        seen.append(encoder)
        return case

    monkeypatch.setattr(script, "as_tokens", tokens)
    monkeypatch.setattr(script, "one_fold", lambda cases, k, fit: float(k))
    encoders = [ViT(patch=(4, 4, 4)) for _ in range(6)]
    cases = list(named().values())
    assert script.with_folds(lambda k: encoders[k], cases).tolist() == [0, 1, 2, 3, 4, 5]
    assert seen == [encoder for encoder in encoders for _ in cases]
    seen.clear()
    assert script.with_tokens(encoders[:2], cases).tolist() == [0, 1, 2, 3, 4, 5] and len(seen) == 12


def test_an_encoder_for_all_folds_must_be_said_to_have_met_none(script, capsys, tmp_path):
    with pytest.raises(SystemExit):
        script.main(["--encoder", str(tmp_path)])
    assert "--pretrained-on" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        script.main(["--encoder", "runs/{patient}", str(tmp_path)])


def test_what_was_pretrained_on_is_kept(script, tmp_path, monkeypatch):
    folder, rng = tmp_path / "nifti/sts", np.random.default_rng(0)
    folder.mkdir(parents=True)
    for k in range(5):
        mask = torch.zeros(1, 8, 10, 12, dtype=torch.int16)
        mask[:, 2:6, 3:7, 3 + k % 3:9] = 1
        image = torch.from_numpy(rng.integers(-100, 0, mask.shape).astype(np.int16)) + 150 * mask
        for name, array in (("image", image), ("mask", mask)):
            write_nifti(folder / f"STS_00{k}_CT_{name}.nii.gz", Volume(array, (6.0,) * 3, np.diag([6.0, 6, 6, 1])))
    monkeypatch.setenv("MEDSSL_TEST_DATA", str(tmp_path))
    monkeypatch.setattr(script, "KEPT", tmp_path / "runs")
    monkeypatch.setattr(script, "CROPS", 2)
    torch.manual_seed(0)
    save_encoder(tmp_path / "given", ViT(patch=(4, 4, 4)), {"method": "vjepa", "dataset": "elsewhere"})
    common = ["--modalities", "CT", "--mm", "6", "--seeds", "1", "--crop", "8", "--pretrain", "1"]
    kept = script.main([*common, "--encoder", str(tmp_path / "given"), "--pretrained-on", "chests of another hospital",
                        "--out", str(tmp_path / "sts.json")])["CT"]
    assert json.loads((tmp_path / "sts.json").read_text())["CT"] == kept
    given, own = kept["pretrained on"]["encoder, 1 seeds"], kept["pretrained on"]["V-JEPA, 1 seeds"]
    assert given["said"] == "chests of another hospital"
    assert list(given["its file says"].values()) == [{"method": "vjepa", "dataset": "elsewhere"}]
    assert own["source"] == "patients" and own["an encoder a fold"] and own["steps"] == 1
    assert "V-JEPA, 1 seeds, less" in kept and len(kept["dice"]["V-JEPA, 1 seeds"]) == 5
    assert {path.name for path in (tmp_path / "runs").iterdir()} == {
        f"CT_patients_STS_00{k}_6mm_8_1_0" for k in range(5)}
