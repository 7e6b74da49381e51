"""Pictures on disk that several tests share: drawn, saved, and read back unscaled."""

from pathlib import Path

import numpy as np
from PIL import Image

from medssl.data.pictures import read_picture

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


def dataset(folder: Path, n=40, per_patient=4) -> Path:
    """n pictures, each patient has several of them; the table."""
    lines = ["image_id,dx,patient_id"]
    for k in range(n):
        save(folder / f"part{k % 2}" / f"img{k:03}.png", picture(k))
        lines.append(f"img{k:03},{'nv' if k % 3 else 'mel'},P{k // per_patient:03}")
    table = folder / "meta.csv"
    table.write_text("\n".join(lines))
    return table
