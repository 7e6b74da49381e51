"""Arrays of an .npz file. Each header is held against the bytes that are there before any memory is asked for: numpy
itself would ask for the 200 TB that a damaged one claims.
"""

import math
import zipfile
from pathlib import Path

import numpy as np

from medssl.errors import MedsslError

BEST_DEFLATE = 1032  # deflate makes data at most this many times smaller
HEADERS = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}


def read_npz(path: str | Path, names: list[str]) -> dict[str, np.ndarray]:
    """{name: array} of plain numbers. Nothing in the file is run; whatever is wrong with it is one kind of error."""
    try:
        with zipfile.ZipFile(path) as archive:
            for name in names:
                _check(archive, name)
        with np.load(path, allow_pickle=False) as file:  # a pickle could run its maker's code
            return {name: file[name] for name in names}
    except MemoryError:
        raise  # the machine's want, not the file's fault
    except Exception as error:  # zipfile, zlib and numpy's reader of headers each break in ways of their own
        said = " ".join(str(error).split())[:200] or type(error).__name__
        raise MedsslError(f"{path} cannot be read: {said}", f"an .npz file with the arrays {', '.join(names)}",
                          "Move it away (nothing was deleted) and fetch it again.") from error


def _check(archive: zipfile.ZipFile, name: str) -> None:
    about = archive.getinfo(f"{name}.npy")
    with archive.open(about) as file:
        shape, _, dtype = HEADERS[np.lib.format.read_magic(file)](file)
        wanted, here = math.prod(shape) * dtype.itemsize, about.file_size - file.tell()
    if dtype.kind not in "biuf" or min(shape, default=0) < 0 or wanted != here or (
            about.file_size > BEST_DEFLATE * (about.compress_size + 1)):
        raise ValueError(f"{name} claims to be {list(shape)} of {dtype}, {wanted} bytes, and {here} are there")
