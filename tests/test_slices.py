"""Slices drawn from volumes: the midline in the middle, front up, patients apart."""

import dataclasses
import json

import numpy as np
import pytest
import torch

import medssl.data.slices as slices
from medssl import cli
from medssl.data import Volume, write_nifti
from medssl.data.slices import centred, find_midline, load_slices, slices_of
from medssl.errors import MedsslError
from medssl.models import ENCODERS, UNet


def body(shift=0, seed=0, modality="CT", shape=(6, 40, 48), spacing=(5.0, 2.0, 2.0)) -> Volume:
    """A symmetric body with a bright spine at the back, its midline `shift` voxels off the middle, towards +x; a bright
    ball on the patient's right (+x) only. Slice 0 is air."""
    z, y, x = shape
    rng = np.random.default_rng(seed)
    rows, columns = np.mgrid[:y, :x] - np.array([(y - 1) / 2, (x - 1) / 2 + shift])[:, None, None]
    half = rng.normal(0, 10, (z, y, x))
    half = (half + half[..., ::-1]) / 2
    texture = np.stack([np.roll(part, shift, 1) for part in half])
    inside = (rows / 15) ** 2 + (columns / 13) ** 2 < 1
    array = np.where(inside, 40 + texture, -1000.0)
    array[:, (abs(columns) < 2) & (rows < -8) & inside] = 200  # low y: the back
    array[:, (columns - 8) ** 2 + rows**2 < 4] = 150
    array[0] = -1000
    if modality == "MR":
        array = (array + 1000) * 0.7
    affine = np.diag([spacing[2], spacing[1], spacing[0], 1.0])
    return Volume(torch.from_numpy(array.astype(np.int16))[None], spacing, affine, modality, "made.nii.gz")


@pytest.fixture
def folder(tmp_path):
    """Four patients, each with a CT and an MR."""
    for k in range(4):
        for kind in ("CT", "MR"):
            write_nifti(tmp_path / f"P{k}_{kind}.nii.gz", body(k - 2, 10 * k + (kind == "MR"), kind), "LPS")
    return tmp_path


def test_the_midline_of_a_mirrored_image_is_found_exactly():
    g = torch.Generator().manual_seed(0)
    for width in (16, 21):
        for at in range(4, width - 5):  # between columns `at` and `at` + 1
            reach = min(at + 1, width - 1 - at)
            half = torch.rand(10, reach, generator=g)
            image = torch.zeros(10, width)
            image[:, at + 1 - reach:at + 1], image[:, at + 1:at + 1 + reach] = half, half.flip(1)
            column, symmetry = find_midline((image * 255).to(torch.uint8)[None])
            assert float(column) == at + 0.5 and float(symmetry) == pytest.approx(1)


def test_symmetry_is_the_sum_over_all_pairs_and_never_above_one():
    f = torch.rand(1, 5, 12, generator=torch.Generator().manual_seed(1)).double()
    score = {c: sum(float(f[0, y, x] * f[0, y, 2 * c + 1 - x]) for y in range(5) for x in range(12)
                    if 0 <= 2 * c + 1 - x < 12) for c in range(11)}
    best = max(score, key=score.get)
    column, symmetry = find_midline(f)
    assert float(column) == best + 0.5 and float(symmetry) < 1
    assert float(symmetry) == pytest.approx(score[best] / float(f.square().sum()))
    assert float(find_midline(torch.zeros(1, 4, 4))[1]) == 0


def test_what_is_moved_keeps_its_values():
    image = torch.arange(1, 9, dtype=torch.uint8).expand(1, 2, 8)
    moved = centred(image.expand(3, -1, -1), torch.tensor([3.5, 4.5, 1.5]))
    assert moved[:, 0].tolist() == [[1, 2, 3, 4, 5, 6, 7, 8], [2, 3, 4, 5, 6, 7, 8, 0], [0, 0, 1, 2, 3, 4, 5, 6]]


@pytest.mark.parametrize("modality", ["CT", "MR"])
@pytest.mark.parametrize("shift", [-6, 0, 5])
def test_slices_have_their_midline_in_the_middle_the_front_up_and_the_right_on_the_left(shift, modality):
    found = slices_of(body(shift, modality=modality), size=96, each=10)
    assert found.shape == (5, 1, 96, 96) and found.dtype == torch.uint8  # slice 0, all air, is none
    bright = found[:, 0].float()
    spine = (bright[:, 60:] * (bright[:, 60:] > 200)).sum((0, 1))  # the back is below
    assert spine.sum() > 0 and (bright[:, :36] > 230).sum() == 0
    middle = float((spine * torch.arange(96)).sum() / spine.sum())
    assert middle == pytest.approx(47.5, abs=1.1)  # a voxel is 2 pixels: found to half a voxel
    ball = bright[:, 44:52]
    assert ball[..., 26:38].mean() > ball[..., 58:70].mean() + 5, "the patient's right is on the left"
    if shift:
        asserted = slices_of(body(shift, modality=modality), size=96, midline="middle")[:, 0].float()
        spine = (asserted[:, 60:] * (asserted[:, 60:] > 200)).sum((0, 1))
        where = float((spine * torch.arange(96)).sum() / spine.sum())
        assert where == pytest.approx(47.5 - 2 * shift, abs=1.1), "asserted: nothing is moved"


def test_pixels_are_as_high_as_wide_whatever_the_voxels():
    tall = slices_of(body(shape=(3, 40, 40), spacing=(5.0, 4.0, 2.0)), size=80)[:, 0]
    rows, columns = (tall > 0).any(0).nonzero().amin(0), (tall > 0).any(0).nonzero().amax(0)
    height, width = (columns - rows + 1).tolist()
    assert height / width == pytest.approx(30 * 4 / (26 * 2), rel=0.1)


def test_few_slices_evenly_spaced_with_enough_patient():
    volume = body(shape=(21, 40, 48))
    volume.array[:, 10:] = -1000
    every = slices_of(volume, size=48, each=100)
    assert len(every) == 9 and torch.equal(slices_of(volume, size=48, each=4), every[[0, 3, 5, 8]])
    with pytest.raises(MedsslError, match="no slice of which 90%"):
        slices_of(volume, least=0.9)
    for wrong in ({"midline": "there"}, {"size": 95}, {"each": 0}):
        with pytest.raises(MedsslError, match="an even size"):
            slices_of(volume, **wrong)


def test_all_slices_of_a_patient_are_in_one_part_and_the_label_is_the_kind(folder):
    data = load_slices(folder, {"a CT": ("CT", "*CT*"), "an MR": ("MR", "*MR*")}, patient="P[0-9]", size=48, each=3)
    assert data.classes == ("a CT", "an MR") and data.modality == "CT and MR slices" and data.size == 48
    met = [set(split.about["patient"]) for split in data.splits.values()]
    assert sum(map(len, met)) == len(set.union(*met)) == 4 and all(met)
    for split in data.splits.values():
        assert split.images.shape[1:] == (1, 48, 48)
        for file, label in zip(split.about["file"], split.labels.tolist(), strict=True):
            assert ("CT" in file.name) == (label == 0)
        assert set(split.about["symmetry"]) <= {s for s in split.about["symmetry"] if 0.7 < s <= 1}
    assert sum(map(len, met)) * 2 * 3 == sum(len(split) for split in data.splits.values())
    alone = load_slices(folder, {"CT": ("CT", "*CT*")}, size=48, each=3)
    assert "each volume" in alone.parted and "by patient" in data.parted
    assert alone.classes == ("unlabelled",) and not set(alone.train.about["patient"]) & set(alone.val.about["patient"])


def limb(low: int, slope: float = 0.0) -> Volume:
    """One leg, `low` voxels from the edge, `slope` more in each slice; its bone off its own middle."""
    z, rows, columns = np.mgrid[:12, :40, :96]
    away = columns - low - slope * z
    array = np.where(((rows - 20) / 14) ** 2 + ((away - 12) / 10) ** 2 < 1, 40, -1000)
    array[((rows - 15) ** 2 + (away - 7) ** 2 < 9)] = 900
    return Volume(torch.from_numpy(array.astype(np.int16))[None], (5.0, 2.0, 2.0), np.diag([2.0, 2, 5, 1]), "CT", "leg")


def test_what_has_no_midline_is_told_and_stays_where_it_is():
    for volume, said in ((limb(4), "[+-]3[0-9]% of the width off"), (limb(20, 2.5), "2[0-9]% from slice to slice")):
        asserted = slices_of(volume, 64, midline="middle")
        with pytest.warns(UserWarning, match=f"leg: its midline is in doubt.*{said}"):
            assert torch.equal(slices_of(volume, 64), asserted)
    noise = torch.from_numpy(np.random.default_rng(0).exponential(40, (4, 40, 40)) * (np.mgrid[:40, :40].sum(0) > 39))
    scan = Volume(noise.float()[None], (5.0, 2.0, 2.0), np.diag([2.0, 2, 5, 1]), "MR", "noise")
    with pytest.warns(UserWarning, match=r"noise: its midline is in doubt \(symmetry 0\.[0-6]"):
        slices_of(scan, 64)


def test_a_volume_has_one_midline():
    """One slice in ten says something else; the others and their symmetry decide."""
    pictures = slices_of(body(3, shape=(12, 40, 48)), 48, midline="middle")[:10, 0]
    odd = pictures.clone()
    odd[4] = pictures[4].roll(-15, 1)
    for some in (pictures, odd):
        column, symmetry, drift = slices.volume_midline(some)
        assert column == 23.5 - 3 and symmetry > 0.95 and drift == 0
    odd[5:] = odd[5:].roll(6, 2)
    assert slices.volume_midline(odd)[2] == pytest.approx(6 / 48)


def test_labels_and_the_wrong_modality_are_no_images(tmp_path):
    labels = (body().array > 100).to(torch.int16) * 4 + (body().array > -500)
    volume = body()
    with pytest.raises(MedsslError, match="holds 3 whole values, 0 to 5: a label map"):
        slices_of(Volume(labels, volume.spacing, volume.affine, "CT", "organs"))
    with pytest.raises(MedsslError, match="below -500, as the air of a CT is"):
        slices_of(dataclasses.replace(volume, modality="MR"))
    with pytest.warns(UserWarning, match="no air around"):
        slices_of(dataclasses.replace(volume, array=volume.array.clamp(min=-200)))
    write_nifti(tmp_path / "a.nii.gz", volume)
    with pytest.MonkeyPatch.context() as patch, pytest.raises(MedsslError, match="is CT, says its header"):
        patch.setattr(slices, "read_volume", lambda file: volume)
        load_slices(tmp_path, {"MR": ("MR", "*")})


def test_what_is_wrong_is_said_or_left_out_and_counted(folder):
    (folder / "P9_CT.nii.gz").write_bytes(b"no volume")
    kinds = {"CT": ("CT", "*CT*")}
    with pytest.raises(MedsslError, match="P9_CT"):
        load_slices(folder, kinds, size=48)
    with pytest.warns(UserWarning, match="1 volumes were left out"):
        load_slices(folder, kinds, size=48, broken="skip")
    with pytest.raises(MedsslError, match="holds no volume like"):
        load_slices(folder, {"US": ("US", "*US*")})
    with pytest.raises(MedsslError, match="names no patient like"):
        load_slices(folder, kinds, patient="Q")
    with pytest.raises(MedsslError, match="CT or MR"):
        load_slices(folder, {"MR": (None, "*MR*")})


def test_the_command_takes_a_folder_of_volumes(folder, monkeypatch, capsys):
    monkeypatch.chdir(folder)
    monkeypatch.setenv("MEDSSL_QUIET", "1")
    monkeypatch.setitem(ENCODERS, "unet", lambda in_channels=1: UNet(in_channels, width=2))
    words = ["--data", ".", "--modality", "MR", "--only", "*MR*", "--size", "32", "--pixels", "32", "--epochs", "1",
             "--batch-size", "8", "--device", "cpu", "--out", "run"]
    with pytest.raises(SystemExit) as ended:
        cli.main(["pretrain", "unet-mim", *words])
    shown = capsys.readouterr()
    assert not ended.value.code, shown.err
    config = json.loads((folder / "run/ssl_config.json").read_text())
    assert config["image_size"] == 32 and "MR slices" in shown.out and "README.md says how to probe slices" in shown.out
    assert (folder / "run/panels/epoch_001.png").is_file()
    asked, words = {}, ["--data", ".", "--kind", "a CT=CT:*CT*", "--kind", "an MR=MR:*MR*", "--patient", "P[0-9]",
                        "--midline", "middle", "--set", "l2=0.1", "--set", "ratio=0.4", "--set", "map_every=2"]
    monkeypatch.setattr("medssl.handout.pretrain_and_keep", lambda **settings: asked.update(settings))
    with pytest.raises(SystemExit) as ended:
        cli.main(["pretrain", "unet-mim", *words])
    assert not ended.value.code, capsys.readouterr().err
    assert asked["dataset"].classes == ("a CT", "an MR") and "by patient" in asked["dataset"].parted
    assert asked["l2"] == 0.1 and asked["halves"] == {"ratio": 0.4} and asked["map_every"] == 2
    assert not {"patient", "midline", "kind"} & set(asked)


def test_what_slices_do_not_know_is_refused_before_a_volume_is_read(folder, capsys):
    words = ["pretrain", "unet-mim", "--data", str(folder)]
    for more, said in ((["--modality", "PET"], "no --modality of CT or MR"), ([], "no --modality of CT or MR"),
                       (["--modality", "CT", "--spacing", "2"], "--spacing"),
                       (["--modality", "CT", "--midline", "there"], "--midline there, which is not find or middle"),
                       (["--kind", "CT"], "a --kind that is no NAME=CT:FILES or NAME=MR:FILES"),
                       (["--kind", "a=CT:*", "--only", "*CT*"], "--kind beside --modality or --only"),
                       (["--modality", "CT", "--size", "32,32,32"], "--size of three numbers")):
        with pytest.raises(SystemExit) as ended:
            cli.main([*words, *more])
        assert ended.value.code == 1 and f"with {said}." in capsys.readouterr().err


def test_what_set_does_not_know_is_refused(folder, capsys):
    for method, said, why in (("unet-mim", "ratoi=0.4", "one of l2, patience"), ("unet-mim", "l2=much", "a number"),
                              ("unet-mim", "patience=0", "a whole one above 0"), ("unet-mim", "l2=true", "a number"),
                              ("simclr", "l2=1", "belongs to dino3d and unet-mim")):
        with pytest.raises(SystemExit) as ended:
            cli.main(["pretrain", method, "--data", str(folder), "--modality", "CT", "--set", said])
        assert ended.value.code == 1 and why in capsys.readouterr().err
    with pytest.raises(SystemExit) as ended:
        cli.main(["pretrain", "simclr", "--data", str(folder), "--modality", "CT", "--midline", "find"])
    assert ended.value.code == 1 and "--midline without slices" in capsys.readouterr().err


def test_real_volumes_have_their_midline_where_one_sees_it(real_data_root):
    """Head and trunk: found within 8 of 192 pixels of the table's middle, the halves much alike."""
    pytest.importorskip("nibabel")
    nifti = real_data_root.parent / "nifti"
    for name, modality, least in (("mr_head_fnndsc_brain", "MR", 0.85), ("ct_torso_totalseg_example", "CT", 0.8)):
        volume = slices.read_volume(nifti / f"{name}.nii.gz", modality)
        column, symmetry = find_midline(slices_of(volume, each=5, midline="middle")[:, 0])
        assert (column - 95.5).abs().max() <= 8 and symmetry.min() > least
        again, _ = find_midline(slices_of(volume, each=5)[:, 0])
        assert abs(float(again.median()) - 95.5) <= 1, "what was centred is found in the middle"
    with pytest.raises(MedsslError, match="whole values, 0 to .*a label map"):
        load_slices(nifti / "sts", {"CT": ("CT", "STS_002_CT_mask.nii.gz")})
    with pytest.warns(UserWarning, match="STS_008_CT_image.nii.gz: its midline is in doubt"):
        load_slices(nifti / "sts", {"CT": ("CT", "STS_008_CT_image.nii.gz")}, each=8, size=64, fractions=(1, 0, 0))
    kinds = {"CT": ("CT", "*_CT_image.nii.gz"), "MR": ("MR", "*_MR_T1_image.nii.gz")}
    data = load_slices(nifti / "sts", kinds, patient="STS_[0-9]+", each=2, size=64, midline="middle")  # limbs
    met = [set(split.about["patient"]) for split in data.splits.values()]
    assert len(set.union(*met)) == 11 == sum(map(len, met)) and data.counts()["train"]["CT"] == len(met[0]) * 2
