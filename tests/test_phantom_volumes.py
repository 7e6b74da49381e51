"""Phantom volumes: the same bytes every time, no side like the other, as hard as the sets they stand in for."""

import csv
import hashlib

import numpy as np
import pytest
import torch

from medssl import data
from medssl.data.phantom_adrenal import make
from medssl.data.phantom_cine import cine_phantom
from medssl.data.phantom_volumes import ORGANS, SIGNAL, ct_phantom, mr_phantom
from medssl.data.volumes import read_volume, to_world, write_nifti
from medssl.errors import MedsslError

pytest.importorskip("nibabel", reason="nibabel is not installed: pip install 'medssl[volumes]'")
SCANS = {"CT": ct_phantom, "MR": mr_phantom}


def middle(scan, organ: str) -> np.ndarray:
    """Middle of an organ in mm to the right, the front, the head."""
    where = np.argwhere(scan.organs.array[0].numpy() == ORGANS.index(organ))
    assert len(where) > 3, organ
    return to_world(scan.organs, where).mean(0)


# ---------------------------------------------------------------- trunks

@pytest.mark.parametrize("kind", SCANS)
def test_a_seed_is_a_scan(kind):
    first, again, other = (SCANS[kind](seed) for seed in (1, 1, 2))
    assert torch.equal(first.image.array, again.image.array) and torch.equal(first.organs.array, again.organs.array)
    assert not torch.equal(first.image.array, other.image.array)
    assert first.image.array.dtype == torch.int16 and first.image.modality == kind
    assert first.image.spacing == (8, 6, 6) and first.image.shape == first.organs.shape == (32, 64, 64)


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("kind", SCANS)
def test_every_organ_is_where_it_belongs(kind, seed):
    scan = SCANS[kind](seed, (43, 64, 64), (6, 6, 6))
    at = {organ: middle(scan, organ) for organ in ORGANS[1:-1]}
    right, front, head = range(3)
    for on_right, on_left in (("liver", "spleen"), ("liver", "stomach"), ("liver", "heart"), ("liver", "aorta"),
                              ("lung right", "lung left"), ("kidney right", "kidney left")):
        assert at[on_right][right] > at[on_left][right] + 15
    assert at["heart"][front] > at["aorta"][front] + 20 > at["bone"][front]
    assert min(at["lung left"][head], at["heart"][head]) > max(at["liver"][head], at["stomach"][head]) + 30
    assert at["kidney right"][head] < at["kidney left"][head] - 5 and at["liver"][head] > at["kidney right"][head] + 20


@pytest.mark.parametrize("kind", SCANS)
def test_a_flip_of_any_axis_shows(kind):
    array = SCANS[kind](5).image.array[0].float()
    noise = array[:, :4].std()  # in the air in front
    for axis in range(3):
        assert (array - array.flip(axis)).square().mean().sqrt() > 5 * noise


def test_ct_is_in_hounsfield_units_and_mostly_air():
    for seed in range(4):
        scan = ct_phantom(seed)
        hu, organs = scan.image.array.float(), scan.organs.array
        assert 0.5 < (organs == 0).float().mean() < 0.8 and 0.5 < (hu < -500).float().mean() < 0.8
        for organ, low, high in (("lung right", -900, -650), ("liver", 90, 120), ("spleen", 90, 130),
                                 ("bone", 200, 450), ("outside", -1005, -960)):
            assert low < hu[organs == ORGANS.index(organ)].median() < high, organ
        assert hu.min() >= -1024 and hu.max() <= 3071
        denser = ((hu > -700) & (organs == 0)).squeeze(0)  # neither air nor patient: the table, on one side
        assert denser[:, :20].sum() > denser[:, 44:].sum() + 300


def test_mr_has_no_unit_a_bias_field_and_noise_that_is_never_negative():
    scans = [mr_phantom(seed) for seed in range(5)]
    brightness = [float(s.image.array[s.organs.array == ORGANS.index("liver")].float().median()) for s in scans]
    assert max(brightness) > 2 * min(brightness)  # the same tissue, another number in each scan
    for scan in scans:
        air = scan.image.array[:, :, -8:].float()  # in front of the patient
        assert air.min() >= 0 and air.mean() / air.std() == pytest.approx(1.91, abs=0.15)  # Rayleigh: sqrt(π/(4-π))
    drift = []
    for scan in scans:  # one tissue, two places
        fat = (scan.organs.array[0] == 1) & (scan.image.array[0] > np.percentile(scan.image.array, 90))
        values, half = scan.image.array[0].float(), torch.arange(64) < 32
        drift.append(abs(values[fat & half].mean() / values[fat & ~half].mean() - 1))
    assert max(drift) > 0.1


def test_the_scene_does_not_depend_on_the_grid():
    coarse, fine = ct_phantom(3), ct_phantom(3, (26, 96, 96), (10, 4, 4))
    for organ in ("liver", "heart", "kidney left", "lung right"):
        assert np.abs(middle(coarse, organ) - middle(fine, organ)).max() < 6
    with pytest.raises(MedsslError, match="phantom of shape"):
        ct_phantom(0, (0, 4, 4))


def test_large_scans_are_painted_in_slabs_that_fit_together(monkeypatch):
    whole = mr_phantom(4)
    monkeypatch.setattr("medssl.data.phantom_volumes.SLAB", 5 * 64 * 64)
    assert torch.equal(mr_phantom(4).organs.array, whole.organs.array)


def test_some_scans_have_a_lesion_and_it_is_where_it_says():
    drawn = [ct_phantom(seed).lesion for seed in range(12)]
    assert set(drawn) == {"", "liver", "lung"}
    for seed, place in ((0, "liver"), (1, "lung"), (2, "liver")):
        scan = ct_phantom(seed, (43, 77, 77), (6, 5, 5), lesion=place)
        held = scan.organs.array == ORGANS.index("lesion")
        host = scan.organs.array == ORGANS.index("liver" if place == "liver" else "lung right")
        assert scan.lesion == place and 5 < held.sum() < 1500
        apart = SIGNAL["CT"]["lesion"] - scan.image.array[host].float().median()
        shown = scan.image.array[held].float().median() - scan.image.array[host].float().median()
        assert shown / apart == pytest.approx(1, abs=0.4)
    assert not (ct_phantom(0, lesion="").organs.array == ORGANS.index("lesion")).any()
    with pytest.raises(MedsslError, match="lesion="):
        ct_phantom(0, lesion="bone")


def test_a_phantom_survives_the_disk_in_any_orientation(tmp_path):
    scan = ct_phantom(6, (10, 20, 24), (20, 16, 15)).image
    for orientation in ("LPS", "RAS", "PIR", "LAS"):
        back = read_volume(write_nifti(tmp_path / f"{orientation}.nii.gz", scan, orientation))
        assert torch.equal(back.array, scan.array) and np.allclose(back.affine, scan.affine)


# ---------------------------------------------------------------- a clip

def test_the_heart_empties_by_the_ejection_fraction():
    for seed, fraction in ((0, 0.2), (1, 0.45), (2, 0.65)):
        clip, said = cine_phantom(seed, 20, 96, ejection_fraction=fraction)
        assert clip.shape == (20, 1, 96, 96) and clip.dtype == torch.uint8 and said == fraction
        blood = (clip[:, 0, :, 45:] > 0.6 * 255).float().sum((1, 2))  # the right ventricle lies left of column 45
        found = 1 - blood.min() / blood.max()
        assert found == pytest.approx(fraction, abs=0.08)
        assert blood.argmax() == 0 and 5 <= blood.argmin() <= 9  # empty before half of the beat: backwards is not
    clip, said = cine_phantom(7)
    assert torch.equal(clip, cine_phantom(7)[0]) and not torch.equal(clip, cine_phantom(8)[0]) and 0.2 <= said <= 0.7
    still = clip.float().mean(0)[0]
    for axis in range(2):  # upside down, mirrored
        assert (still - still.flip(axis)).square().mean().sqrt() > 15
    with pytest.raises(MedsslError):
        cine_phantom(0, ejection_fraction=1.2)


# ---------------------------------------------------------------- adrenal glands

def test_adrenalphantom_has_the_size_splits_and_balance_of_the_real_set(real_data_root):
    phantom, real = data.load("adrenalphantom"), data.load("adrenalmnist3d", real_data_root)
    assert phantom.counts() == real.counts() and phantom.classes == real.classes
    for split, other in zip(phantom.splits.values(), real.splits.values(), strict=True):
        assert split.images.shape == other.images.shape and ((split.images == 0) | (split.images == 255)).all()
    filled, wanted = ((d.train.images > 0).float().mean() for d in (phantom, real))
    assert filled == pytest.approx(float(wanted), rel=0.3)
    assert data.find_duplicates(phantom) == data.find_duplicates(real) == []


def test_adrenalphantom_is_the_same_bytes_and_answers_to_its_key():
    phantom = data.load("AdrenalPhantom")
    assert phantom.split_hash() == "5d94e77df45a546b" and phantom.is_phantom and phantom.modality == "ct"
    phantom.train.images.zero_()
    assert data.load("adrenalphantom").train.images.any()
    rows = {row["key"]: row for row in data.list_datasets()}
    assert rows["adrenalphantom"]["train/val/test"] == "1188/98/298" and data.get("adrenalphantom") is None
    with pytest.raises(MedsslError, match="not drawn at size 32"):
        data.load("adrenalphantom", size=32)


def test_glands_are_not_like_their_mirror_images():
    mean = make().train.images.float().mean(0)[0]  # 1188 glands: what chance adds is below 0.07
    for axis in range(3):
        assert (mean - mean.flip(axis)).abs().sum() > 0.15 * mean.sum()


def test_adrenalphantom_is_neither_trivial_nor_hopeless():
    from sklearn.linear_model import LogisticRegression
    from sklearn.metrics import roc_auc_score

    phantom = make()
    x = {name: torch.nn.functional.avg_pool3d(split.images.float() / 255, 2).flatten(1).numpy()
         for name, split in phantom.splits.items()}
    y = {name: split.labels.numpy() for name, split in phantom.splits.items()}
    pixels = LogisticRegression(C=0.01, max_iter=200).fit(x["train"], y["train"])
    assert 0.65 < roc_auc_score(y["test"], pixels.decision_function(x["test"])) < 0.9
    assert 0.6 < roc_auc_score(y["test"], x["test"].mean(1)) < 0.82  # the bare volume is a clue, not the answer


# ---------------------------------------------------------------- a catalog

def digest(folder) -> dict[str, str]:
    return {str(p.relative_to(folder)): hashlib.sha256(p.read_bytes()).hexdigest()
            for p in sorted(folder.rglob("*")) if p.is_file()}


def test_a_catalog_is_the_same_bytes_and_every_row_can_be_read(tmp_path):
    from medssl.data.phantom_catalog import COLUMNS, phantom_catalog

    path = phantom_catalog(tmp_path / "a", 7)
    phantom_catalog(tmp_path / "b", 7)
    assert digest(tmp_path / "a") == digest(tmp_path / "b")
    rows = list(csv.DictReader(path.read_text(encoding="utf-8").splitlines()))
    assert tuple(rows[0]) == COLUMNS and len(rows) == 7 and {row["modality"] for row in rows} == {"CT", "MR"}
    shapes = set()
    for row in rows:
        (file,) = (path.parent / row["series_path"]).glob("*.nii.gz")
        scan = read_volume(file, modality=row["modality"])
        shapes.add(scan.shape)
        assert float(row["series_size_mb"]) == pytest.approx(file.stat().st_size / 1e6, abs=6e-4)
        study = list(file.parent.parent.rglob("*.nii.gz"))
        assert int(row["n_nifti_in_study"]) == len(study)
        assert float(row["study_total_size_mb"]) == pytest.approx(sum(f.stat().st_size for f in study) / 1e6, abs=6e-4)
    assert len(shapes) == 3
    assert digest(phantom_catalog(tmp_path / "c", 2, seed=1).parent).keys() < digest(tmp_path / "a").keys()
    assert not set(digest(tmp_path / "c").values()) & set(digest(tmp_path / "a").values())


def test_two_series_of_a_patient_show_the_same_anatomy(tmp_path):
    from medssl.data.phantom_catalog import phantom_catalog
    from medssl.data.volume_grid import resample

    folder = phantom_catalog(tmp_path, 2).parent / "PHANTOM0000" / "ct"
    one, two = (resample(read_volume(next((folder / f"series{k}").glob("*"))), 8.0).array[0] for k in (0, 1))
    inner = (slice(2, 30), slice(2, 46), slice(2, 46))
    assert np.corrcoef(one[inner].ravel(), two[:32][inner].ravel())[0, 1] > 0.95


def test_each_fault_of_a_catalog_is_found(tmp_path):
    from medssl.data.phantom_catalog import FAULTS, phantom_catalog

    path = phantom_catalog(tmp_path, 1, FAULTS)
    rows = list(csv.DictReader(path.read_text(encoding="utf-8").splitlines()))
    found = {}
    for fault, row in zip(FAULTS, rows[1:], strict=True):
        files = list((path.parent / row["series_path"]).glob("*.nii.gz"))
        try:
            found[fault] = [read_volume(file).shape for file in files]
        except MedsslError as error:
            found[fault] = error.wrong
    assert not (path.parent / rows[1]["series_path"]).exists() and found["no folder"] == found["no file"] == []
    assert len(found["two files"]) == 2 and max(*found["too small"][0]) < 6
    assert rows[1 + FAULTS.index("other modality")]["modality"] == "US"
    for fault, told in (("cut short", "cut short"), ("not nifti", "no NIfTI"), ("singular affine", "singular"),
                        ("nan", "no numbers"), ("4d", "4-D")):
        assert told in found[fault]
    with pytest.raises(MedsslError, match="unknown faults"):
        phantom_catalog(tmp_path, 1, ["stain"])
