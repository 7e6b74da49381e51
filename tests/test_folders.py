"""Pictures of a folder: right numbers whatever the format, no patient in two parts, nothing broken let through."""

import io
import struct
import warnings
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from test_dicom_series import make_slice

from medssl.data.folder_listing import list_folder, read_table
from medssl.data.folders import load_folder
from medssl.data.pictures import read_picture
from medssl.data.splits import split
from medssl.errors import MedsslError

H, W = 12, 20


def picture(seed=0, h=H, w=W):
    return np.random.default_rng(seed).integers(0, 256, (h, w), dtype=np.uint8)


def save(path: Path, values=None, **how) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    image = values if isinstance(values, Image.Image) else Image.fromarray(picture() if values is None else values)
    image.save(path, **how)
    return path


def raw(path, channels=1, size=W, **how):
    """The picture unscaled: its longer side is the size."""
    return read_picture(path, size, channels, **how).numpy()


def middle(pixels):
    """The rows of a padded picture that are its own."""
    return pixels[..., (W - H) // 2:(W + H) // 2, :]


@pytest.mark.parametrize("name", ["a.png", "a.bmp", "a.tif", "A.TIFF"])
def test_lossless_formats_keep_their_numbers(tmp_path, name):
    grey, colour = picture(), np.stack([picture(k) for k in range(3)], -1)
    assert np.array_equal(middle(raw(save(tmp_path / name)))[0], grey)
    assert np.array_equal(middle(raw(save(tmp_path / name, colour), 3)), np.moveaxis(colour, -1, 0))
    assert np.array_equal(middle(raw(save(tmp_path / name), 3)), np.stack([grey] * 3))
    assert (raw(tmp_path / name)[:, :4] == 0).all()  # padded with black


def test_modes_of_pillow(tmp_path):
    colour = Image.fromarray(np.stack([picture(k) for k in range(3)], -1))
    palette = colour.quantize(16)
    want = np.moveaxis(np.asarray(palette.convert("RGB")), -1, 0)
    assert np.array_equal(middle(raw(save(tmp_path / "p.png", palette), 3)), want)
    clear = colour.copy()
    clear.putalpha(Image.fromarray(np.where(np.arange(W) < 10, 255, 0).astype(np.uint8)[None].repeat(H, 0)))
    flat = middle(raw(save(tmp_path / "rgba.png", clear), 3))
    assert np.array_equal(flat[..., :10], np.moveaxis(np.asarray(colour), -1, 0)[..., :10])
    assert (flat[..., 10:] == 0).all()
    two = Image.fromarray(picture() > 127)
    assert np.array_equal(middle(raw(save(tmp_path / "1.png", two)))[0], np.where(picture() > 127, 255, 0))
    smooth = Image.fromarray(np.stack([np.full((H, W), v, np.uint8) for v in (200, 40, 90)], -1))
    cmyk = middle(raw(save(tmp_path / "cmyk.jpg", smooth.convert("CMYK"), quality=98), 3))
    assert np.abs(cmyk.reshape(3, -1).mean(1) - [200, 40, 90]).max() < 4


def test_exif_orientation_is_applied(tmp_path):
    values = np.zeros((H, W), np.uint8)
    values[:3, :3] = 255  # a bright corner, top left
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was held so that this must be turned clockwise
    turned = raw(save(tmp_path / "a.jpg", values, exif=exif, quality=98))[0]
    bright = np.argwhere(turned > 127)
    assert bright[:, 0].max() < 4 and bright[:, 1].min() > W // 2  # now top right, upright


def test_16_bits_are_scaled_by_percentiles_not_by_extremes(tmp_path):
    values = np.linspace(1000, 3000, 40 * 40).reshape(40, 40).round().astype(np.uint16)
    values[0, 0], values[0, 1] = 65535, 0  # a burnt-in letter and a dead pixel
    image = raw(save(tmp_path / "a.png", values), size=40)[0].astype(int)
    low, high = np.percentile(values, [0.5, 99.5])
    assert np.abs(image - ((values.astype(float) - low) / (high - low)).clip(0, 1) * 255).max() <= 0.5001
    assert image[20].mean() == pytest.approx(129, abs=6)  # min and max would leave it at 8
    decimal = Image.fromarray((values / 65535).astype(np.float32))
    assert np.abs(raw(save(tmp_path / "f.tif", decimal), size=40)[0].astype(int) - image).max() <= 1
    assert (raw(save(tmp_path / "c.png", np.full((8, 8), 700, np.uint16)), size=8) == 0).all()


def test_dicom_among_pictures(tmp_path):
    pixels = np.arange(64, dtype="<i2").reshape(8, 8) * 10
    pixels[:2] = -2000
    ds = make_slice(shape=(8, 8), PixelPaddingValue=-2000, PixelData=pixels.tobytes())
    for name in ("a.dcm", "IM0001"):
        ds.save_as(tmp_path / name, enforce_file_format=True)
    image = raw(tmp_path / "a.dcm", size=8)[0].astype(int)
    inside = pixels[2:].astype(float)
    low, high = np.percentile(inside, [0.5, 99.5])  # padding takes no part
    assert np.abs(image[2:] - ((inside - low) / (high - low)).clip(0, 1) * 255).max() <= 0.5001
    assert (image[:2] == 0).all()
    shown = raw(tmp_path / "a.dcm", size=8, window=(400, 400))[0].astype(int)
    assert np.abs(shown[2:] - ((inside - 200) / 400).clip(0, 1) * 255).max() <= 0.5001
    save(tmp_path / "b.png", picture())
    (tmp_path / "README").write_text("no picture")
    (tmp_path / ".DS_Store").write_bytes(b"x" * 200)
    assert [f.name for f in list_folder(tmp_path).files] == ["IM0001", "a.dcm", "b.png"]


def test_resizing_does_not_make_patterns_up(tmp_path):
    """A fine checkerboard is grey from afar; without anti-aliasing it would stay black and white."""
    board = ((np.indices((256, 256)).sum(0) % 2) * 255).astype(np.uint8)
    small = raw(save(tmp_path / "a.png", board), size=30)[0]
    assert np.abs(small.astype(int) - 127).max() <= 3
    for fit, shape in (("stretch", (16, 16)), ("crop", (16, 16)), ("pad", (16, 8))):
        tall = raw(save(tmp_path / "b.png", np.full((64, 32), 200, np.uint8)), size=16, fit=fit)[0]
        assert (tall == 200).sum() == shape[0] * shape[1]


def dataset(folder: Path, n=40, per_patient=4) -> Path:
    """n pictures, each patient has several of them; the table."""
    lines = ["image_id,dx,patient_id"]
    for k in range(n):
        save(folder / f"part{k % 2}" / f"img{k:03}.png", picture(k))
        lines.append(f"img{k:03},{'nv' if k % 3 else 'mel'},P{k // per_patient:03}")
    table = folder / "meta.csv"
    table.write_text("\n".join(lines))
    return table


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


def chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def bomb() -> bytes:
    """A PNG of a few kilobytes that claims 60,000 × 60,000 pixels."""
    return (b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", 60000, 60000, 8, 0, 0, 0, 0))
            + chunk(b"IDAT", zlib.compress(bytes(1 << 20))) + chunk(b"IEND", b""))


def broken() -> dict[str, tuple[bytes, str]]:
    """{name: (content, what the error must say)}"""
    png, jpg, pages = io.BytesIO(), io.BytesIO(), io.BytesIO()
    Image.fromarray(picture(1, 200, 200)).save(png, "PNG")
    Image.fromarray(picture(1, 200, 200)).save(jpg, "JPEG")
    Image.fromarray(picture()).save(pages, "TIFF", save_all=True, append_images=[Image.fromarray(picture(1))] * 2)
    nan, tif = io.BytesIO(), io.BytesIO()
    Image.fromarray(picture(1, 200, 200)).save(tif, "TIFF")
    Image.fromarray(np.full((4, 4), np.nan, np.float32)).save(nan, "TIFF")
    return {"empty.png": (b"", "empty"), "text.png": (b"<html>404 not found</html>" * 30, "no picture.*text"),
            "half.png": (png.getvalue()[:20000], "damaged or cut short"),
            "half.jpg": (jpg.getvalue()[:9000], "cut short"),
            "start.jpg": (jpg.getvalue()[:100], "no picture|cut short"),
            "noise.png": (bytes(range(256)) * 9, "no picture"),
            "bomb.png": (bomb(), "would unpack"), "pages.tif": (pages.getvalue(), "3 pages"),
            "half.tif": (tif.getvalue()[:30000], "cut short|no picture"),
            "nan.tif": (nan.getvalue(), "no numbers"), "noise.dcm": (bytes(range(256)) * 9, "DICOM"),
            "empty.dcm": (b"", "empty"), "flip.png": (png.getvalue()[:4000] + b"\0" + png.getvalue()[4001:], "damaged")}


@pytest.mark.parametrize("name", broken())
def test_a_broken_picture_is_named(tmp_path, name):
    content, says = broken()[name]
    (tmp_path / name).write_bytes(content)
    with pytest.raises(MedsslError, match=says) as error:
        read_picture(tmp_path / name, 16, 1)
    assert str(tmp_path / name) in str(error.value)


def test_broken_pictures_are_left_out_and_counted_when_asked(tmp_path):
    table = dataset(tmp_path / "s", 20, 2)
    for name, (content, _) in broken().items():
        (tmp_path / "s" / "part0" / name).write_bytes(content)
    lines = [f"{name},nv,P9{k}" for k, name in enumerate(broken())]
    lines += ["gone,nv,P999", "img001.png,,P998"]
    table.write_text("\n".join([table.read_text(), *lines]).replace("img001,", "x1,"))
    with pytest.raises(MedsslError, match="x1 is not there"):
        load_folder(tmp_path / "s", table, "image_id", "dx", size=8)
    with pytest.warns(UserWarning, match=f"{len(broken()) + 3} of {len(broken()) + 22} images were left out"):
        data = load_folder(tmp_path / "s", table, "image_id", "dx", size=8, patients="patient_id", broken="skip")
    images = torch.cat([s.images for s in data.splits.values()])
    assert len(images) == 19 and images.flatten(1).float().std(1).min() > 20  # none of them blank


@pytest.mark.parametrize("name", ["../secret.png",
                                  "/etc/passwd", "part0/../../secret.png", "C:\\x.png", "..\\secret.png",
                                  "https://example.org/a.png", "", "\\\\server\\a.png"])
def test_a_table_cannot_point_out_of_the_folder(tmp_path, name):
    save(tmp_path / "secret.png")
    table = dataset(tmp_path / "s", 4)
    table.write_text(table.read_text() + f"\n{name},nv,P9")
    for how in ("error", "skip"):
        with pytest.raises(MedsslError, match="line 6.*no path below the folder"):
            list_folder(tmp_path / "s", table, "image_id", "dx", broken=how)


def test_links_do_not_lead_out_of_the_folder(tmp_path):
    secret = save(tmp_path / "secret" / "a.png")
    save(tmp_path / "s" / "b.png")
    (tmp_path / "s" / "link.png").symlink_to(secret)
    with pytest.raises(MedsslError, match="leads out"):
        list_folder(tmp_path / "s")
    (tmp_path / "s" / "link.png").unlink()
    (tmp_path / "s" / "more").symlink_to(tmp_path / "secret")
    with pytest.raises(MedsslError, match="link to another folder"):
        list_folder(tmp_path / "s")


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


def test_too_much_for_the_memory_is_said_before(tmp_path):
    dataset(tmp_path / "s", 12)
    with pytest.raises(MedsslError, match="12 × 1×1000×1000 take 0.012 GB"):
        load_folder(tmp_path / "s", size=1000, max_gb=0.001)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert load_folder(tmp_path / "s", size=9, max_gb=0.001).size == 9


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
