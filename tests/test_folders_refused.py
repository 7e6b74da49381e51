"""A folder with broken pictures, paths that lead out of it, or too much for the memory: nothing is let through."""

import io
import struct
import warnings
import zlib

import numpy as np
import pytest
import torch
from picture_files import dataset, picture, save
from PIL import Image

from medssl.data.folder_listing import list_folder
from medssl.data.folders import load_folder
from medssl.data.pictures import read_picture
from medssl.errors import MedsslError


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


def test_too_much_for_the_memory_is_said_before(tmp_path):
    dataset(tmp_path / "s", 12)
    with pytest.raises(MedsslError, match="12 × 1×1000×1000 take 0.012 GB"):
        load_folder(tmp_path / "s", size=1000, max_gb=0.001)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert load_folder(tmp_path / "s", size=9, max_gb=0.001).size == 9
