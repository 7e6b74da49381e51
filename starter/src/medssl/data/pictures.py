"""One picture file (JPEG, PNG, TIFF, BMP or DICOM) becomes uint8 [C,S,S], or an error that names the file.

8-bit pictures keep their numbers (of 16-bit colour Pillow gives the upper 8 bits). All else (16 bits, decimal numbers,
DICOM without a window) is scaled so that 0 is the picture's 0.5th percentile and 255 its 99.5th, not its minimum and
maximum: one burnt-in letter or one dead pixel would darken all the rest. Pixels that a DICOM file declares as padding
do not count.
"""

from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch
from torchvision.transforms.v2 import functional as transforms

from medssl.data.dicom import read_dicom
from medssl.data.dicom_header import DICOM_ENDINGS, is_dicom_file
from medssl.data.dicom_values import Window
from medssl.data.npz import BEST_DEFLATE
from medssl.errors import MedsslError
from medssl.files import OnlyWhatIsThere

FORMATS = ("PNG", "JPEG", "TIFF", "BMP")
ENDINGS = (".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp", *DICOM_ENDINGS)
MOST_PIXELS = 89_478_485  # where Pillow begins to warn, 9,500 × 9,500: cut a whole-slide image into tiles before
PERCENTILES = (0.5, 99.5)
FITS = ("pad", "crop", "stretch")


def read_picture(path: str | Path, size: int, channels: int, fit: str = "pad", window: Window | None = None,
                 percentiles: tuple[float, float] = PERCENTILES) -> torch.Tensor:
    """uint8 [channels, size, size]. channels: 1 (colour becomes luminance) or 3 (grey three times).

    fit: "pad" keeps the shape and fills up with black, "crop" keeps the shape and cuts the longer side to a square
    around the middle, "stretch" changes the shape. Resized with anti-aliasing. window: for DICOM, see read_dicom.
    EXIF orientation is applied, transparency laid on black, CMYK and palettes turned to RGB.
    """
    path = Path(path)
    if fit not in FITS or channels not in (1, 3) or size < 1:
        raise MedsslError(f"fit={fit!r}, channels={channels}, size={size}.", f"fit one of {FITS}, 1 or 3 channels")
    pixels = _dicom(path, window, percentiles) if is_dicom_file(path) else _picture(path, percentiles)
    if len(pixels) != channels:
        pixels = pixels.expand(3, -1, -1) if channels == 3 else transforms.rgb_to_grayscale(pixels)
    return to_square(pixels, size, fit).round().clamp(0, 255).to(torch.uint8)


def is_colour(path: Path) -> bool:
    """Has the picture three channels? From its header alone. (A grey picture stored as RGB counts as colour.)"""
    if is_dicom_file(path):
        from medssl.data.dicom_header import open_dicom

        ds = open_dicom(path, pixels=False)
        return ds.get("SamplesPerPixel") == 3 or "PALETTE" in ds.get("PhotometricInterpretation", "")
    with open_picture(path) as image:
        return image.mode not in ("1", "L", "LA", "La", "F") and not image.mode.startswith("I")


@contextmanager
def open_picture(path: Path):
    """A Pillow image, for as long as the file is open."""
    if path.stat().st_size == 0:
        raise MedsslError(f"{path} is empty (0 bytes).", "a picture file", "Fetch it again, or leave it out.")
    with OnlyWhatIsThere(path) as file:
        yield _opened(path, file)


def _opened(path: Path, file):
    from PIL import Image

    try:
        image = Image.open(file, formats=FORMATS)
    except Image.DecompressionBombError:
        raise _bomb(path, "far too many") from None
    except Exception as error:  # "not identified", and each format's own ways to break
        start = path.open("rb").read(64)
        what = "text" if start.isascii() and b"\0" not in start else "damaged or something else"
        raise MedsslError(f"{path} is no picture that can be read here ({what}).", "PNG, JPEG, TIFF, BMP or DICOM",
                          "Convert it, fetch it again, or leave it out.") from error
    packed = image.width * image.height / 8 > BEST_DEFLATE * path.stat().st_size  # a bit a pixel at least
    if image.width * image.height > MOST_PIXELS or image.format == "PNG" and packed:
        raise _bomb(path, f"{image.width}×{image.height}")
    return image


def _bomb(path: Path, size: str) -> MedsslError:
    return MedsslError(f"{path} would unpack to {size} pixels.", f"at most {MOST_PIXELS:,}",
                       "Cut a whole-slide image into tiles first; a small file that claims so much is made to do harm.")


def _picture(path: Path, percentiles) -> torch.Tensor:
    """float32 [1 or 3,H,W] in 0…255."""
    from PIL import ImageOps

    with open_picture(path) as image:
        try:
            pages = getattr(image, "n_frames", 1) if image.format == "TIFF" else 1
            if pages == 1:
                image.load()
                image = ImageOps.exif_transpose(image)
        except Exception as error:  # each format breaks in ways of its own
            raise MedsslError(f"{path} is damaged or cut short ({error}).", "a whole picture",
                              "Fetch it again, or leave it out.") from error
        if pages > 1:
            raise MedsslError(f"{path} holds {pages} pages.", "one picture a file", "Save each page alone.")
        deep = image.mode.startswith("I") or image.mode == "F"
        if not deep and image.mode not in ("L", "RGB"):
            image = _plain(image)
        values = np.asarray(image)
    if values.ndim == 3:
        return torch.from_numpy(np.moveaxis(values, -1, 0).astype(np.float32))
    return _scaled(path, values.astype(np.float32), np.ones(values.shape, bool), percentiles) if deep else \
        torch.from_numpy(values.astype(np.float32))[None]


def _plain(image):
    """Grey or RGB of a picture in any other 8-bit mode, what is transparent laid on black."""
    from PIL import Image

    if image.mode in ("LA", "La", "RGBA", "RGBa", "PA") or "transparency" in image.info:
        image = image.convert("RGBA") if image.mode not in ("LA", "La") else image.convert("LA")
        colour = "RGB" if image.mode == "RGBA" else "L"
        flat = Image.new(colour, image.size)
        flat.paste(image.convert(colour), mask=image.getchannel("A"))
        return flat
    return image.convert("L" if image.mode == "1" else "RGB")


def _dicom(path: Path, window: Window | None, percentiles) -> torch.Tensor:
    image = read_dicom(path, window=window)
    if image.array.ndim == 4:
        raise MedsslError(f"{path} holds {len(image.array)} frames.", "one picture a file",
                          "Read it with read_dicom, which takes a frame.")
    colour = len(image.array) == 3
    if window is not None and not (colour and window != "file"):
        return image.array.float() * 255
    if colour:
        return image.array.float()
    inside = np.ones(image.array.shape[1:], bool) if image.padding is None else ~image.padding.numpy()
    return _scaled(path, image.array[0].numpy().astype(np.float32), inside, percentiles)


def _scaled(path: Path, values: np.ndarray, inside: np.ndarray, percentiles) -> torch.Tensor:
    """0…255 between the percentiles of the pixels `inside`; the others become black."""
    if not (np.isfinite(values).all() and inside.any()):
        raise MedsslError(f"{path} holds pixels that are no numbers (NaN), or nothing but padding.", "numbers",
                          "Leave it out, or write it anew.")
    low, high = np.percentile(values[inside], percentiles)
    if high <= low:  # nearly one value everywhere: what differs is fewer than one pixel in two hundred
        low, high = values[inside].min(), max(values[inside].max(), values[inside].min() + 1)
    scaled = ((values - low) / (high - low)).clip(0, 1) * 255
    return torch.from_numpy(np.where(inside, scaled, 0).astype(np.float32))[None]


def to_square(pixels: torch.Tensor, size: int, fit: str) -> torch.Tensor:
    """[C,H,W] -> [C,size,size], values as they come out of the resampling."""
    height, width = pixels.shape[1:]
    if fit == "stretch":
        return transforms.resize(pixels, [size, size], antialias=True)
    scale = size / (max if fit == "pad" else min)(height, width)
    new = [max(1, round(height * scale)), max(1, round(width * scale))]
    pixels = transforms.resize(pixels, new, antialias=True)
    return transforms.center_crop(pixels, [size, size])  # fills up with black where the picture is smaller
