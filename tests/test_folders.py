"""Pictures of a folder and their table: the labels they have, parts that no patient stands in twice, mistakes named."""

import numpy as np
import pytest
import torch
from picture_files import dataset, picture, save
from test_dicom_series import make_slice

from medssl.data.folder_listing import list_folder, read_table
from medssl.data.folders import load_folder
from medssl.data.pictures import read_picture
from medssl.data.splits import split
from medssl.errors import MedsslError


def test_a_folder_with_a_table_becomes_image_data(tmp_path):
    table = dataset(tmp_path / "skin")
    how = {"size": 16, "patients": "patient_id", "classes": ("nv", "mel")}
    data = load_folder(tmp_path / "skin", table, "image_id", "dx", **how)
    assert data.key == "skin" and data.positive == "mel" and data.channels == 1 and not data.is_phantom
    assert sum(map(len, data.splits.values())) == 40 and all(map(len, data.splits.values()))
    shown = {s.images[i].numpy().tobytes(): int(s.labels[i]) for s in data.splits.values() for i in range(len(s))}
    for k in range(40):  # every picture still has its own label
        key = read_picture(tmp_path / "skin" / f"part{k % 2}" / f"img{k:03}.png", 16, 1).numpy().tobytes()
        assert shown[key] == (0 if k % 3 else 1)
    assert load_folder(tmp_path / "skin", table, "image_id", "dx", **how).split_hash() == data.split_hash()
    other = load_folder(tmp_path / "skin", table, "image_id", "dx", seed=1, **how)
    assert other.split_hash() != data.split_hash()


def test_a_folder_for_each_class_and_none_at_all(tmp_path):
    for k in range(12):
        save(tmp_path / "sets" / ("benign" if k % 2 else "malignant") / f"{k}.png", picture(k))
        save(tmp_path / "bare" / f"{k}.jpg", np.stack([picture(k)] * 3, -1))
    data = load_folder(tmp_path / "sets", size=8)
    assert data.classes == ("benign", "malignant") and len(data.train) in (8, 9)
    bare = load_folder(tmp_path / "bare", size=8)
    assert bare.classes == ("unlabelled",) and bare.channels == 3
    assert [len(part) for part in bare.splits.values()] == [10, 2, 0], "val is watched, never learnt from"
    assert "unlabelled" in repr(bare)
    save(tmp_path / "sets" / "lost.png", picture(99))
    with pytest.raises(MedsslError, match="lost.png lies beside"):
        load_folder(tmp_path / "sets", size=8)


@pytest.mark.parametrize("seed", range(4))
def test_no_patient_stands_in_two_parts(seed):
    rng = np.random.default_rng(seed)
    patients = np.repeat(np.arange(150), rng.integers(1, 12, 150))
    sick = rng.random(150) < 0.3
    labels = (sick[patients] & (rng.random(len(patients)) < 0.8)).astype(int)
    mixed = rng.permutation(len(patients))
    patients, labels = patients[mixed], labels[mixed]
    parts = split(patients, labels, (0.7, 0.15, 0.15), seed)
    assert sorted(torch.cat(list(parts.values())).tolist()) == list(range(len(patients)))
    owners = [set(patients[i]) for i in parts.values()]
    assert not (owners[0] & owners[1] | owners[0] & owners[2] | owners[1] & owners[2])
    for name, share in zip(parts, (0.7, 0.15, 0.15), strict=True):
        i = parts[name].numpy()
        assert len(i) / len(patients) == pytest.approx(share, abs=0.02)
        assert labels[i].mean() == pytest.approx(labels.mean(), abs=0.02)
    assert all(torch.equal(split(patients, labels, (0.7, 0.15, 0.15), seed)[name], parts[name]) for name in parts)


def test_small_and_odd_splits():
    parts = split(["a", "b", "c"], [0, 1, 0])
    assert sorted(map(len, parts.values())) == [1, 1, 1]
    two = split(range(10), None, (0.8, 0.0, 0.2))
    assert [len(p) for p in two.values()] == [8, 0, 2]
    with pytest.raises(MedsslError, match="2 patients cannot fill 3 parts"):
        split(["a", "b", "b"])
    for wrong in ((0.5, 0.5), (0.5, 0.4, 0.2), (1.2, -0.1, -0.1)):
        with pytest.raises(MedsslError, match="add up to 1"):
            split(range(9), None, wrong)


def test_parts_that_the_table_names(tmp_path):
    table = dataset(tmp_path / "s", 12)
    said = ["train", "Valid", "test"] * 4
    rows = [line + f",{word}" for line, word in zip(table.read_text().splitlines(), ["part", *said], strict=True)]
    table.write_text("\n".join(rows))
    data = load_folder(tmp_path / "s", table, "image_id", "dx", size=8, split_column="part")
    assert [len(s) for s in data.splits.values()] == [4, 4, 4]
    with pytest.raises(MedsslError, match="patients stand in two parts"):
        load_folder(tmp_path / "s", table, "image_id", "dx", size=8, split_column="part", patients="patient_id")
    table.write_text(table.read_text().replace("test", "holdout"))
    with pytest.raises(MedsslError, match="says holdout"):
        load_folder(tmp_path / "s", table, "image_id", "dx", size=8, split_column="part")


def test_dicom_files_of_one_patient_stay_together_without_a_column(tmp_path):
    folder = tmp_path / "scans"
    folder.mkdir()
    rows = ["image,dx"]
    for k in range(24):
        pixels = np.random.default_rng(k).integers(0, 999, 64).astype("<i2").tobytes()
        make_slice(k, shape=(8, 8), PixelData=pixels, PatientID=f"4711-{k // 4}").save_as(
            folder / f"{k:02}.dcm", enforce_file_format=True)
        rows.append(f"{k:02}.dcm,{'ab'[k % 2]}")
    (tmp_path / "t.csv").write_text("\n".join(rows))
    data = load_folder(folder, tmp_path / "t.csv", label_column="dx", size=8)
    patients = [{int(file.stem) // 4 for file in part.about["file"]} for part in data.splits.values()]
    assert sum(map(len, patients)) == 6 and "DICOM headers" in repr(data)
    assert "4711" not in str([part.about["patient"] for part in data.splits.values()])
    for k, row in enumerate(rows[1:]):
        rows[k + 1] = f"{row},{('train', 'val', 'test')[k % 3]}"
    (tmp_path / "t.csv").write_text("\n".join([rows[0] + ",part", *rows[1:]]))
    data = load_folder(folder, tmp_path / "t.csv", label_column="dx", size=8, split_column="part")
    assert "12 patients stand in two" in data.parted
    save(folder / "drawn.png")
    assert "patient of its own" in load_folder(folder, size=8).parted, "one that nobody knows: no patients"


def test_who_is_no_patient_is_said(tmp_path):
    table = dataset(tmp_path / "s", 12)
    assert "no column of patients was named" in repr(load_folder(tmp_path / "s", table, "image_id", "dx", size=8))
    known = load_folder(tmp_path / "s", table, "image_id", "dx", size=8, patients="patient_id")
    assert "by patient, as the column 'patient_id' says" in repr(known)
    table.write_text(table.read_text().replace("patient_id", "site"))
    sites = load_folder(tmp_path / "s", table, "image_id", "dx", size=8, site_column="site")
    for part in sites.splits.values():
        assert [f"P{int(file.stem[3:]) // 4:03}" for file in part.about["file"]] == list(
            part.about["site"])
    with pytest.raises(MedsslError, match="no column 'clinic'"):
        load_folder(tmp_path / "s", table, "image_id", "dx", size=8, site_column="clinic")


def test_copies_across_parts_are_reported(tmp_path):
    for k in range(12):
        save(tmp_path / "ab"[k % 2] / f"{k}.png", picture(k % 6))
    with pytest.warns(UserWarning, match="6 images are copies"):
        load_folder(tmp_path, size=8)


def test_mistakes_in_the_table_are_named(tmp_path):
    table = dataset(tmp_path / "s", 4)
    text = table.read_text()
    with pytest.raises(MedsslError, match="no column 'image'.*\n.*image_id, dx, patient_id"):
        list_folder(tmp_path / "s", table)
    with pytest.raises(MedsslError, match="only mel, bcc"):
        list_folder(tmp_path / "s", table, "image_id", "dx", classes=("mel", "bcc"))
    for more, says in (("\nimg000,nv,P1", "more than once"), ("\nimg000,nv,P1,9", "number of fields"),
                       ("\nimg000", "number of fields")):
        table.write_text(text + more)
        with pytest.raises(MedsslError, match=says):
            list_folder(tmp_path / "s", table, "image_id", "dx")
    table.write_text(text)
    save(tmp_path / "s" / "part1" / "img000.png")
    with pytest.raises(MedsslError, match="could be"):
        list_folder(tmp_path / "s", table, "image_id", "dx")
    table.write_bytes(text.encode("utf-16"))
    with pytest.raises(MedsslError, match="not UTF-8"):
        read_table(table)
    table.write_text("\ufeffa;b\n1;\"x;y\nz\"\n", "utf-8")
    assert read_table(table) == [{"a": "1", "b": "x;y\nz"}]


@pytest.mark.parametrize("mark", [",", ";", "\t"])
def test_several_findings_in_one_cell_or_in_several_columns(tmp_path, mark):
    said = ["Effusion|Mass", "No Finding", "Mass", "Hernia|Effusion|Mass", "No Finding", "Effusion"]
    flags = ["1 0 1", "0 0 0", "0 0 1", "1 1 1", "0 0 0", "1 0 0"]  # Effusion, Hernia, Mass
    rows = [mark.join(["Image Index", "Finding Labels", "Effusion", "Hernia", "Mass"])]
    for k in range(6):
        save(tmp_path / "s" / f"{k}.png", picture(k))
        rows.append(mark.join([f"{k}.png", said[k], *flags[k].split()]))
    table = tmp_path / "t.csv"
    table.write_text("\n".join(rows))
    truth = torch.tensor([[int(flag) for flag in row.split()] for row in flags])
    for columns in ("Finding Labels", ["Effusion", "Hernia", "Mass"]):
        listing = list_folder(tmp_path / "s", table, "Image Index", columns)
        assert torch.equal(listing.labels, truth) and listing.classes == ("Effusion", "Hernia", "Mass")
    data = load_folder(tmp_path / "s", table, "Image Index", "Finding Labels", size=8)
    assert data.multilabel and data.train.labels.shape[1] == 3 and "several of these" in repr(data)
    assert sum(count["Mass"] for count in data.counts().values()) == 3
    with pytest.raises(MedsslError, match="only Mass"):
        list_folder(tmp_path / "s", table, "Image Index", "Finding Labels", classes=("Mass", "Hernia"))
    table.write_text("\n".join([*rows, mark.join(["7.png", "Mass", "-1", "0", "1"])]))
    save(tmp_path / "s" / "7.png", picture(7))
    with pytest.raises(MedsslError, match="Effusion' says '-1'"):
        list_folder(tmp_path / "s", table, "Image Index", ["Effusion", "Hernia", "Mass"])


def test_one_finding_a_cell_is_read_as_several_are(tmp_path):
    """Whether two findings meet in one image of the table must not decide what a label is."""
    for k in range(6):
        save(tmp_path / "s" / f"{k}.png", picture(k))

    def listed(*said, **how):
        (tmp_path / "t.csv").write_text("\n".join(["image,dx", *(f"{k}.png,{name}" for k, name in enumerate(said))]))
        return list_folder(tmp_path / "s", tmp_path / "t.csv", "image", "dx", **how)

    met, apart = listed("No Finding", "Mass", "Hernia|Mass"), listed("No Finding", "Mass", "Hernia")
    assert met.classes == apart.classes == ("Hernia", "Mass")
    assert met.labels.tolist() == [[0, 0], [0, 1], [1, 1]] and apart.labels.tolist() == [[0, 0], [0, 1], [1, 0]]
    assert listed("nv", "mel", "bcc").labels.tolist() == [2, 1, 0]  # no word for "none": classes, as before
    one = listed("Mass", "No Finding", "Mass")  # one finding is a question of two classes, the finding the positive one
    assert one.classes == ("No Finding", "Mass") and one.labels.tolist() == [1, 0, 1]
    said = listed("Mass", "No Finding", "Hernia", classes=("No Finding", "Mass", "Hernia"))
    assert said.labels.tolist() == [1, 0, 2], "named as a class, it is one"
    assert listed("Mass", "No Finding", classes=("Mass", "Hernia")).labels.tolist() == [[1, 0], [0, 0]]


def test_parts_share_out_every_finding():
    rng = np.random.default_rng(0)
    patients = np.repeat(np.arange(400), 3)
    labels = rng.random((1200, 3)) < (0.4, 0.1, 0.03)
    parts = split(patients, labels.astype(int))
    for name, share in zip(parts, (0.7, 0.15, 0.15), strict=True):
        assert len(parts[name]) == pytest.approx(share * 1200, abs=12)
        assert labels[parts[name].numpy()].sum(0) == pytest.approx(share * labels.sum(0), abs=3)
    owners = [set(patients[i]) for i in parts.values()]
    assert not (owners[0] & owners[1] | owners[0] & owners[2] | owners[1] & owners[2])


def test_a_folder_in_which_subfolders_mean_nothing(tmp_path):
    for k in range(9):
        save(tmp_path / f"patient{k // 2}" / f"{k}.png", picture(k))
    save(tmp_path / "beside.png", picture(99))
    data = load_folder(tmp_path, size=8, folders=False)
    assert data.classes == ("unlabelled",) and [len(part) for part in data.splits.values()] == [8, 2, 0]
    assert len(load_folder(tmp_path, size=8, folders=False, only="b*.png", fractions=(1, 0, 0)).train) == 1
