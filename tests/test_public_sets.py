"""The public data sets, each as a miniature in the layout of the real one, and a server that breaks off."""

import csv
import gzip
import hashlib
import io
import json
import tarfile
import threading
import zipfile
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pytest
import torch
from PIL import Image

from medssl import data
from medssl.data import public
from medssl.data.public import SETS, File, fetch
from medssl.errors import MedsslError

RNG = np.random.default_rng(0)


def picture(path, shape=(24, 32, 3), value=None):
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = RNG.integers(0, 256, shape, np.uint8) if value is None else np.full(shape, value, np.uint8)
    Image.fromarray(pixels).save(path)
    return pixels


def table(path, rows):
    with open(path, "w", newline="") as file:
        csv.writer(file).writerows(rows)


def nifti(path, array, spacing=(1.0, 1.0, 1.0)):
    nibabel = pytest.importorskip("nibabel")
    path.parent.mkdir(parents=True, exist_ok=True)
    nibabel.save(nibabel.Nifti1Image(array, np.diag([*spacing, 1.0])), path)


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


@pytest.mark.parametrize(("case", "names"), [
    ("BraTS2021_{:05}", {"t1": 1, "t1ce": 2, "t2": 3, "flair": 4, "seg": 0}),
    ("BraTS-GLI-{:05}-000", {"t1n": 1, "t1c": 2, "t2w": 3, "t2f": 4, "seg": 0}),
])
def test_brats_puts_the_four_sequences_into_channels_in_one_order(tmp_path, case, names):
    mark = "-" if "GLI" in case else "_"
    for k in range(8):
        for name, corner in names.items():
            array = RNG.integers(1, 60, (20, 24, 16)).astype(np.int16)
            if corner:
                array[4 * corner:4 * corner + 3, 10:14, 6:10] = 500 + k  # each sequence is bright elsewhere
            else:
                array = (array > 50).astype(np.int16) * 4
            here = case.format(k)
            nifti(tmp_path / "brats" / "BraTS_Training_Data" / here / f"{here}{mark}{name}.nii.gz", array)
    found = data.load("brats", tmp_path, size=(16, 24, 20), mm=1)
    assert found.train.images.shape[1:] == (4, 16, 24, 20) and found.spacing == (1.0, 1.0, 1.0)
    for channel in range(4):
        columns = found.train.images[:, channel].float().mean((0, 1, 2))
        assert int(columns.argmax()) in range(4 * (channel + 1), 4 * (channel + 1) + 3)
    masks = data.load("brats", tmp_path, size=(16, 24, 20), mm=1, masks=True)
    assert masks.train.images.unique().tolist() == [0, 4] and [len(s) for s in masks.splits.values()] == \
        [len(s) for s in found.splits.values()]
    with pytest.raises(MedsslError, match="masks=True with broken"):
        data.load("brats", tmp_path, masks=True, broken="skip")
    last = case.format(7)
    folder = tmp_path / "brats" / "BraTS_Training_Data" / last
    end = list(names)[3]
    nifti(folder / f"{last}{mark}{end}.nii.gz", np.arange(16 ** 3, dtype=np.int16).reshape(16, 16, 16))
    with pytest.raises(MedsslError, match="does not lie on the grid"):
        data.load("brats", tmp_path, size=16)
    (folder / f"{last}{mark}{end}.nii.gz").unlink()
    with pytest.raises(MedsslError, match="has no file of FLAIR"):
        data.load("brats", tmp_path, size=16)
    with pytest.warns(UserWarning, match="1 of 8 images were left out"):
        assert sum(map(len, data.load("brats", tmp_path, size=16, broken="skip").splits.values())) == 7


def test_two_times_of_one_patient_stay_together(tmp_path):
    for k in range(12):
        case = f"BraTS-GLI-{k // 2:05}-00{k % 2}"
        for name in ("t1n", "t1c", "t2w", "t2f"):
            array = RNG.integers(0, 50, (8, 8, 8)).astype(np.int16)
            array[0] = 100 * (k // 2 + 1)
            nifti(tmp_path / "brats" / case / f"{case}-{name}.nii.gz", array)
    seen = []
    from medssl.data.public import scans  # noqa: F401 (public imports it when it is asked for)

    public.scans.as_data, keep = lambda listing, images, **how: seen.append((listing, how)) or keep(
        listing, images, **how), public.scans.as_data
    try:
        found = data.load("brats", tmp_path, size=8, mm=1)
    finally:
        public.scans.as_data = keep
    assert seen[0][0].columns["patient"] == tuple(f"BraTS-GLI-{k // 2:05}" for k in range(12))
    assert seen[0][1]["patients"] == "patient" and all(len(s) % 2 == 0 for s in found.splits.values())


def decathlon(root, channels, modality, cases=8, shape=(12, 14, 10)):
    names = [f"case_{k:03}.nii.gz" for k in range(cases)]
    for k, name in enumerate(names):
        array = RNG.integers(0, 100, (*shape, channels) if channels > 1 else shape).astype(np.int16)
        array[..., 0 if channels > 1 else slice(None)] += 100 * (channels > 1)
        nifti(root / "imagesTr" / name, array - 100 * (modality == "CT"))
        mask = np.zeros(shape, np.uint8)
        mask[2:5 + k % 3, 3:9, 4:8] = 1 + k % 2
        nifti(root / "labelsTr" / name, mask)
    (root / "imagesTr" / "._case_000.nii.gz").write_bytes(b"\0")  # a Mac was here, as in the real archives
    said = {"name": "x", "tensorImageSize": "4D" if channels > 1 else "3D", "numTraining": cases, "numTest": 1,
            "modality": {str(c): modality for c in range(channels)}, "labels": {"0": "background", "1": "organ"},
            "training": [{"image": f"./imagesTr/{n}", "label": f"./labelsTr/{n}"} for n in names],
            "test": ["./imagesTs/case_900.nii.gz"]}
    (root / "dataset.json").write_text(json.dumps(said))
    return said


@pytest.mark.parametrize(("key", "channels", "modality"), [("msd-prostate", 2, "MRI"), ("msd-spleen", 1, "CT")])
def test_a_task_of_the_decathlon(tmp_path, key, channels, modality):
    root = tmp_path / SETS[key].folder
    said = decathlon(root, channels, modality)
    found = data.load(key, tmp_path, size=(10, 14, 12), mm=1)
    masks = data.load(key, tmp_path, size=(10, 14, 12), mm=1, masks=True)
    assert found.train.images.shape[1:] == (channels, 10, 14, 12) and sum(map(len, found.splits.values())) == 8
    assert set(masks.train.images.unique().tolist()) == {0, 1, 2}
    assert masks.train.images[0, 0, 4:8, 3:9, 2:5].min() > 0  # z, y, x, upright and in place
    if modality == "CT":  # soft tissue, -160 to 240 HU; the voxels are -100 to -1
        assert found.train.images.min() >= 38 and found.train.images.max() <= 102
    path = root / "imagesTr" / "case_003.nii.gz"
    nifti(path, np.zeros((12, 14, 10, 3), np.int16))
    with pytest.raises(MedsslError, match="case_003.nii.gz has 3 channels"):
        data.load(key, tmp_path, size=8)
    path.write_bytes(b"not an image")
    with pytest.raises(MedsslError, match="case_003"):
        data.load(key, tmp_path, size=8)
    said["training"][0]["image"] = "../../etc/passwd"
    (root / "dataset.json").write_text(json.dumps(said))
    with pytest.raises(MedsslError, match="leads out of the folder"):
        data.load(key, tmp_path, size=8)


class Breaking(BaseHTTPRequestHandler):
    """Serves `content` with ranges, but lets go of the connection after `bite` bytes."""

    def do_GET(self):
        server, start = self.server, 0
        wanted = self.headers.get("Range")
        server.asked.append(wanted)
        if wanted and server.ranges:
            start = int(wanted.removeprefix("bytes=").rstrip("-"))
            if start >= len(server.content):
                self.send_response(416)
                self.end_headers()
                return
            self.send_response(206)
            self.send_header("Content-Range", f"bytes {start}-{len(server.content) - 1}/{len(server.content)}")
        else:
            self.send_response(200 if self.path != "/gone" else 404)
        self.send_header("Content-Length", str(len(server.content) - start))
        self.end_headers()
        self.wfile.write(server.content[start:start + server.bite])

    def log_message(self, *args):
        pass


@pytest.fixture
def server():
    server = ThreadingHTTPServer(("127.0.0.1", 0), Breaking)
    server.content, server.bite, server.ranges, server.asked = RNG.bytes(100_000), 40_000, True, []
    server.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


def md5(content):
    return hashlib.md5(content).hexdigest()


def test_a_download_that_breaks_off_goes_on_where_it_was(server, tmp_path):
    (tmp_path / "x.bin.part").write_bytes(server.content[:10_000])  # of an earlier day
    path = fetch.fetch(server.url + "/x", tmp_path / "x.bin", md5(server.content))
    assert path.read_bytes() == server.content and server.asked == ["bytes=10000-", "bytes=50000-", "bytes=90000-"]
    assert [p.name for p in tmp_path.iterdir()] == ["x.bin"]
    assert fetch.fetch("http://127.0.0.1:1/", path, md5(server.content)) == path  # at hand: nobody is asked
    path.write_bytes(b"saved by hand, but an error page")
    with pytest.raises(MedsslError, match="another file(.|\n)*Move .*x.bin away"):
        fetch.fetch("http://127.0.0.1:1/", path, md5(server.content))
    assert path.exists()


def test_a_server_without_ranges_a_whole_part_and_a_wrong_one(server, tmp_path):
    server.ranges, server.bite = False, 200_000
    (tmp_path / "x.part").write_bytes(b"of another file")
    assert fetch.fetch(server.url, tmp_path / "x", md5(server.content)).read_bytes() == server.content
    server.ranges = True
    (tmp_path / "y.part").write_bytes(server.content)  # all of it was here, only the name was not yet given
    assert fetch.fetch(server.url, tmp_path / "y", md5(server.content)).read_bytes() == server.content
    (tmp_path / "z.part").write_bytes(b"?" * 10)
    with pytest.raises(MedsslError, match="another file(.|\n)*download was deleted"):
        fetch.fetch(server.url, tmp_path / "z", md5(server.content))
    assert not (tmp_path / "z.part").exists() and not (tmp_path / "z").exists()
    with pytest.raises(MedsslError, match="404"):
        fetch.fetch(server.url + "/gone", tmp_path / "gone")
    server.bite = 10_000
    with pytest.raises(MedsslError, match="broke off .*50,000 of 100,000 bytes.*\n.*\n.*goes on"):
        fetch.fetch(server.url, tmp_path / "slow", md5(server.content))
    assert (tmp_path / "slow.part").stat().st_size == 50_000
    with pytest.raises(MedsslError, match="^No network, or 127.0.0.1:1 does not answer .*refused") as told:
        fetch.fetch("http://127.0.0.1:1/", tmp_path / "new" / "nobody")
    assert "urlopen" not in str(told.value) and not (tmp_path / "new").exists()


def test_get_that_fetches_nothing_leaves_no_folder(tmp_path, monkeypatch):
    for about in (dict(disk_gb=1e9), dict(disk_gb=0.0, files=(File("a.zip", "http://127.0.0.1:1/a.zip", ""),))):
        monkeypatch.setitem(SETS, "chestxray14", replace(SETS["chestxray14"], **about))
        with pytest.raises(MedsslError, match="GB free|No network"):
            fetch.get("chestxray14", tmp_path / "not" / "yet", lambda line: None)
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    monkeypatch.setitem(SETS, "ham10000", replace(SETS["ham10000"], disk_gb=0.0))
    with pytest.raises(MedsslError, match="kaggle is not installed"):
        fetch.get("ham10000", tmp_path / "not" / "yet", lambda line: None)
    assert not list(tmp_path.iterdir())


def tar_of(folder):
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as archive:
        archive.add(folder, folder.name)
    return out.getvalue()


def test_get_says_the_licence_first_then_fetches_and_unpacks(server, tmp_path, monkeypatch):
    decathlon(tmp_path / "made" / "Task09_Spleen", 1, "CT")
    server.content, server.bite = tar_of(tmp_path / "made" / "Task09_Spleen"), 20_000
    about = replace(SETS["msd-spleen"], files=(File("Task09_Spleen.tar", server.url, md5(server.content)),))
    monkeypatch.setitem(SETS, "msd-spleen", about)
    said = []
    folder = fetch.get("msd-spleen", tmp_path / "own", said.append)
    assert "Licence: CC BY-SA 4.0" in said[0] and "1.6 GB" in said[1]
    assert folder == tmp_path / "own" / "msd-spleen" and not (folder / "Task09_Spleen.tar").exists()
    assert sum(map(len, data.load("msd-spleen", tmp_path / "own", size=8).splits.values())) == 8
    asked = len(server.asked)
    assert data.get("msd-spleen", tmp_path / "own") == folder and len(server.asked) == asked
    assert {row["key"]: row["at hand"] for row in data.list_datasets(tmp_path / "own")}["msd-spleen"] == "yes"


def test_get_needs_room_and_says_what_is_still_to_do_by_hand(server, tmp_path, monkeypatch):
    monkeypatch.setitem(SETS, "chestxray14", replace(SETS["chestxray14"], disk_gb=1e9))
    with pytest.raises(MedsslError, match="GB free"):
        fetch.get("chestxray14", tmp_path, lambda line: None)
    picture(tmp_path / "made" / "images" / "00000001_000.png", (8, 8))
    server.content, server.bite = gzip.compress(tar_of(tmp_path / "made" / "images")), 10 ** 6
    files = tuple(File(f"images_{k:03}.tar.gz", server.url, md5(server.content)) for k in (1, 2))
    monkeypatch.setitem(SETS, "chestxray14", replace(SETS["chestxray14"], disk_gb=0.0, files=files))
    for asked in (2, 2):  # the second time nothing is fetched again
        with pytest.raises(MedsslError, match="still lacks Data_Entry_2017.*\n.*\n.*train_val_list.txt"):
            fetch.get("chestxray14", tmp_path, lambda line: None)
        assert len(server.asked) == asked and (tmp_path / "chestxray14/images/00000001_000.png").exists()


def test_no_archive_can_write_outside_its_folder(tmp_path):
    (tmp_path / "in").mkdir()
    with tarfile.open(tmp_path / "evil.tar", "w") as archive:
        archive.addfile(tarfile.TarInfo("../escaped.txt"))
    with pytest.raises(MedsslError, match="cannot be unpacked"):
        fetch.unpack(tmp_path / "evil.tar", tmp_path / "in")
    with zipfile.ZipFile(tmp_path / "evil.zip", "w") as archive:
        archive.writestr("../escaped.txt", "x")
    fetch.unpack(tmp_path / "evil.zip", tmp_path / "in")
    assert not (tmp_path / "escaped.txt").exists()
    (tmp_path / "cut.zip").write_bytes(b"PK\3\4 and no more")
    with pytest.raises(MedsslError, match="cannot be unpacked"):
        fetch.unpack(tmp_path / "cut.zip", tmp_path)


@pytest.mark.parametrize(("key", "program"), [("ham10000", "kaggle"), ("aptos2019", "kaggle"), ("brats", "synapse")])
def test_a_route_through_another_program(tmp_path, monkeypatch, key, program):
    monkeypatch.setitem(SETS, key, replace(SETS[key], disk_gb=0.0))
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    with pytest.raises(MedsslError, match=f"The command {program} is not installed.(.|\n)*account"):
        fetch.get(key, tmp_path / "own", lambda line: None)
    (tmp_path / "bin").mkdir()
    stand_in = tmp_path / "bin" / program
    stand_in.write_text("#!/bin/sh\nexit 3\n")
    stand_in.chmod(0o755)
    with pytest.raises(MedsslError, match=r"failed \(code 3\)"):
        fetch.get(key, tmp_path / "own", lambda line: None)
    folder = tmp_path / "own" / key
    name = SETS[key].source.split("/")[-1]
    with zipfile.ZipFile(tmp_path / "archive.zip", "w") as archive:
        for inside in ("HAM10000_metadata.csv", "a/1.jpg", "train.csv", "train_images/1.png", "b/b_flair.nii.gz"):
            archive.writestr(inside, "x")
    stand_in.write_text(f'#!/bin/sh\necho "$@" > {tmp_path}/asked\n'
                        f"/bin/cp {tmp_path}/archive.zip {folder}/{name}.zip\n")
    assert fetch.get(key, tmp_path / "own", lambda line: None) == folder and not (folder / f"{name}.zip").exists()
    asked = (tmp_path / "asked").read_text().split()
    assert asked[:-1] == {"ham10000": ["datasets", "download", "-d", "kmader/skin-cancer-mnist-ham10000", "-p"],
                          "aptos2019": ["competitions", "download", "-c", "aptos2019-blindness-detection", "-p"],
                          "brats": ["get", "-r", "syn27046444", "--downloadLocation"]}[key]
    assert asked[-1] == str(folder)


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
