"""The public sets of pictures, each as a miniature in the layout of the real one."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from tiny_public import RNG, picture, table

from medssl import data
from medssl.data import public
from medssl.data.public import SETS
from medssl.errors import MedsslError


@pytest.fixture
def ham(tmp_path):
    """30 photographs of 15 lesions, in Kaggle's folders, which its archive holds a second time in lower case."""
    root, rows = tmp_path / "ham10000", [("lesion_id", "image_id", "dx", "dx_type", "age", "sex", "localization")]
    for k in range(30):
        name = f"ISIC_{k:07}"
        for upper in ("HAM10000", "ham10000"):
            path = root / f"{upper}_images_part_{1 + k % 2}" / f"{name}.jpg"
            if upper == "HAM10000":
                picture(path)
                first = path
            else:
                path.parent.mkdir(exist_ok=True)
                path.write_bytes(first.read_bytes())
        diagnosis = list(SETS["ham10000"].classes)[k // 2 % 7]
        rows.append((f"HAM_{k // 2:07}", name, diagnosis, "histo", "50.0", "male", "back"))
    table(root / "HAM10000_metadata.csv", rows)
    (root / "hmnist_28_28_L.csv").write_text("pixel0000,label\n1,2\n")
    return tmp_path


def test_ham10000_is_read_and_no_lesion_stands_in_two_parts(ham):
    assert not public.at_hand("ham10000", ham / "elsewhere") and public.at_hand("ham10000", ham)
    found = data.load("HAM10000", ham, size=16)
    assert found.key == "ham10000" and found.license == "CC BY-NC 4.0" and found.channels == 3
    assert sum(map(len, found.splits.values())) == 30 and len(found.classes) == 7 and found.classes[4] == "melanoma"
    where = {}
    reference = public.pictures.read_picture
    for lesion in range(15):
        for k in (2 * lesion, 2 * lesion + 1):
            pixels = reference(ham / f"ham10000/HAM10000_images_part_{1 + k % 2}/ISIC_{k:07}.jpg", 16, 3)
            part = [name for name, s in found.splits.items() if (s.images == pixels).flatten(1).all(1).any()]
            assert len(part) == 1 and where.setdefault(lesion, part) == part
            split = found.splits[part[0]]
            assert split.labels[(split.images == pixels).flatten(1).all(1)].tolist() == [lesion % 7]
    assert data.load("ham10000", ham / "ham10000", size=16).split_hash() == found.split_hash()  # the folder itself


def test_a_missing_picture_is_named_or_counted_and_never_blank(ham):
    for upper in ("HAM10000", "ham10000"):
        (ham / f"ham10000/{upper}_images_part_1/ISIC_0000004.jpg").unlink()
    with pytest.raises(MedsslError, match="ISIC_0000004 is not there"):
        data.load("ham10000", ham, size=16)
    with pytest.warns(UserWarning, match="1 of 30 images were left out"):
        assert sum(map(len, data.load("ham10000", ham, size=16, broken="skip").splits.values())) == 29
    picture(ham / "ham10000/ham10000_images_part_2/ISIC_0000001.jpg")  # another picture under the same name
    with pytest.raises(MedsslError, match="could be"):
        data.load("ham10000", ham, size=16, broken="skip")


def test_aptos_takes_the_labelled_images_only(tmp_path):
    root = tmp_path / "aptos2019"
    rows = [("id_code", "diagnosis")] + [(f"{k:012x}", k % 5) for k in range(25)]
    for name, _ in rows[1:]:
        picture(root / "train_images" / f"{name}.png")
    picture(root / "test_images" / "000000000000.png")  # the same name as a labelled one
    table(root / "train.csv", rows)
    table(root / "test.csv", [("id_code",), ("000000000000",)])
    found = data.load("aptos2019", tmp_path, size=8)
    assert sum(map(len, found.splits.values())) == 25 and found.classes[0] == "no retinopathy"
    assert sum(found.counts()[part]["severe"] for part in found.splits) == 5


@pytest.fixture
def chest(tmp_path):
    """40 images of 20 patients in NIH's folders; patients 0–13 in the official training list."""
    root, findings = tmp_path / "chestxray14", list(SETS["chestxray14"].classes)
    head = ["Image Index", "Finding Labels", "Follow-up #", "Patient ID", "Patient Age", "Patient Gender",
            "View Position", "OriginalImage[Width", "Height]", "OriginalImagePixelSpacing[x", "y]", ""]
    rows, lists = [head], {"train_val_list.txt": [], "test_list.txt": []}
    for k in range(40):
        name, patient = f"{k // 2:08}_{k % 2:03}.png", k // 2
        said = "|".join({findings[j]: 0 for j in (patient % 14, 5)}) if k % 2 else "No Finding"
        rows.append([name, said, k % 2, patient, 50, "M", "PA", 2500, 2048, 0.1, 0.1, ""])
        picture(root / f"images_{1 + k // 20:03}" / "images" / name, (20, 20))
        lists["train_val_list.txt" if patient < 14 else "test_list.txt"].append(name)
    table(root / "Data_Entry_2017.csv", rows)
    for name, images in lists.items():
        (root / name).write_text("\n".join(images) + "\n")
    return tmp_path


def test_chestxray14_has_several_labels_and_the_official_test_patients(chest):
    found = data.load("chestxray14", chest, size=12)
    assert found.multilabel and found.channels == 1 and len(found.classes) == 14 and len(found.test) == 12
    assert len(found.train) + len(found.val) == 28 and 0 < len(found.val) % 2 + len(found.val) <= 6
    folder = chest / "chestxray14"
    for k in range(40):
        name = f"{k // 2:08}_{k % 2:03}.png"
        pixels = public.pictures.read_picture(folder / f"images_{1 + k // 20:03}/images/{name}", 12, 1)
        (part,) = [p for p, s in found.splits.items() if (s.images == pixels).flatten(1).all(1).any()]
        assert (part == "test") == (k // 2 >= 14)
        split = found.splits[part]
        labels = split.labels[(split.images == pixels).flatten(1).all(1)][0]
        assert set(labels.nonzero().flatten().tolist()) == ({k // 2 % 14, 5} if k % 2 else set())
    assert data.load("chestxray14", chest, size=12, seed=1).test.images.equal(found.test.images)


def test_official_lists_that_contradict_themselves_are_refused(chest):
    lists = [chest / "chestxray14" / name for name in ("train_val_list.txt", "test_list.txt")]
    before = [path.read_text() for path in lists]
    lists[1].write_text(before[1] + "00000003_000.png\n")
    with pytest.raises(MedsslError, match="00000003_000.png stands in two"):
        data.load("chestxray14", chest, size=8)
    lists[0].write_text(before[0].replace("00000003_000.png\n", ""))  # one image of the patient in each list
    with pytest.raises(MedsslError, match="Patient 3 stands in two"):
        data.load("chestxray14", chest, size=8)
    lists[1].write_text(before[1])
    with pytest.raises(MedsslError, match="1 images stand in no official list"):
        data.load("chestxray14", chest, size=8)
    entry = chest / "chestxray14" / "Data_Entry_2017.csv"
    entry.write_text(entry.read_text().replace("Patient ID", "patient"))
    with pytest.raises(MedsslError, match="no column Patient ID"):
        data.load("chestxray14", chest, size=8)
    lists[1].unlink()
    with pytest.raises(MedsslError, match="there is no test_list.txt"):
        data.load("chestxray14", chest, size=8)


def test_pcam_as_h5_keeps_the_official_parts(tmp_path):
    h5py = pytest.importorskip("h5py")
    root, pixels = tmp_path / "pcam", {}
    root.mkdir()
    for name, n in (("train", 9), ("valid", 4), ("test", 3)):
        pixels[name] = RNG.integers(0, 256, (n, 96, 96, 3), np.uint8)
        for key, values in (("x", pixels[name]), ("y", (np.arange(n) % 2).astype(np.uint8).reshape(n, 1, 1, 1))):
            with h5py.File(root / f"camelyonpatch_level_2_split_{name}_{key}.h5", "w") as file:
                file[key] = values
    found = data.load("pcam", tmp_path)
    assert [len(s) for s in found.splits.values()] == [9, 4, 3] and found.val.labels.tolist() == [0, 1, 0, 1]
    assert np.array_equal(found.test.images.permute(0, 2, 3, 1).numpy(), pixels["test"])
    small = data.load("pcam", tmp_path, size=32)  # 96 / 3: anti-aliasing keeps the mean
    assert abs(small.train.images.float().mean() - pixels["train"].mean()) < 1
    with pytest.raises(MedsslError, match="takes more than"):
        data.load("pcam", tmp_path, max_gb=1e-4)
    path = root / "camelyonpatch_level_2_split_valid_x.h5"
    path.write_bytes(path.read_bytes()[:5000])
    with pytest.raises(MedsslError, match="valid_x.h5 or .* damaged or cut short"):
        data.load("pcam", tmp_path)


def test_pcam_as_kaggle_gives_it(tmp_path):
    root, rows = tmp_path / "pcam", [("id", "label")]
    for k in range(20):
        rows.append((f"{k:040x}", k % 2))
        picture(root / "train" / f"{k:040x}.tif", (96, 96, 3))
    picture(root / "test" / f"{0:040x}.tif", (96, 96, 3))
    table(root / "train_labels.csv", rows)
    found = data.load("pcam", tmp_path, size=24)
    assert sum(map(len, found.splits.values())) == 20 and found.classes == ("no tumour", "tumour")


def test_the_facts_are_whole():
    assert {"ham10000", "pcam", "aptos2019", "chestxray14", "brats"} < set(SETS) and len(SETS) == 15
    for about in SETS.values():
        assert about.disk_gb >= about.gb > 0 and about.licence and about.by_hand and about.page.startswith("http")
        assert all(len(file.md5) == 32 and file.url.startswith("https://") for file in about.files)
        assert bool(about.files) == (about.route == "http")
    assert len({file.md5 for about in SETS.values() for file in about.files}) == 12 + 6 + 10


def random_set(key, shape, sizes=(6, 3, 2), **about):
    images = [torch.from_numpy(RNG.integers(0, 256, (n, *shape), np.uint8)) for n in sizes]
    splits = (data.Split(part, torch.zeros(len(part), dtype=torch.int64)) for part in images)
    return data.ImageData(key, *splits, ("a", "b"), "xray", "CC0", False, shape[-1], **about)


def test_several_sets_together():
    grey, coloured = random_set("grey", (1, 20, 20)), random_set("colour", (3, 40, 40), (5, 1, 4))
    both = data.together([grey, coloured])
    assert both.channels == 3 and both.size == 20 and both.classes == ("grey", "colour") and len(both.test) == 0
    assert both.counts() == {"train": {"grey": 6, "colour": 5}, "val": {"grey": 3, "colour": 1},
                             "test": {"grey": 0, "colour": 0}}
    assert both.train.images[:6, 1].equal(grey.train.images[:, 0]) and both.license == "CC0"
    coloured.train.images[:, 0], coloured.train.images[:, 1:] = 255, 0
    one = data.together([grey, coloured], size=10, channels=1)
    assert one.train.images.shape[1:] == (1, 10, 10) and one.train.images[-1].unique().tolist() == [76]  # luminance
    cube = random_set("cube", (1, 4, 8, 8), spacing=(2.0, 2.0, 2.0))
    volumes = data.together([cube, random_set("second", (1, 4, 8, 8), spacing=(2.0, 2.0, 2.0))])
    assert volumes.train.images.shape == (12, 1, 4, 8, 8) and volumes.spacing == (2.0, 2.0, 2.0)
    drawn = data.together([grey, replace(coloured, is_phantom=True)])
    assert drawn.is_phantom and "PHANTOM" in repr(drawn) and not both.is_phantom
    for wrong in ([grey], [grey, grey], [grey, cube],
                  [cube, random_set("finer", (1, 4, 8, 8), spacing=(1.0, 1.0, 1.0))]):
        with pytest.raises(MedsslError, match="different sets|one shape and spacing"):
            data.together(wrong)
