"""Write a file so that a crash, a full disk or Ctrl-C leaves either the old file or the new one, never half of one."""

import io
import os
from pathlib import Path


def write_atomic(path: str | Path, content: str | bytes) -> Path:
    """Write beside `path`, then rename over it (a rename is all-or-nothing). Makes the folder. Returns the path."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    data = content.encode("utf-8", "surrogateescape") if isinstance(content, str) else content
    try:
        with open(beside, "wb") as stream:
            stream.write(data)
            stream.flush()
            os.fsync(stream.fileno())  # on the disk before the rename, or a power cut could leave an empty file
        os.replace(beside, path)
    except OSError as error:
        if error.filename2 is None:  # a full disk names no file, open() the one beside; os.replace names both
            error.filename = str(path)
        raise
    finally:
        beside.unlink(missing_ok=True)
    return path


class OnlyWhatIsThere(io.BufferedReader):
    """A file to read, of which no call asks more memory than the bytes that are left: a damaged length may claim 4 GB,
    and Python sets them aside before it looks."""

    def __init__(self, path: str | Path):
        super().__init__(io.FileIO(path))
        self.size = os.path.getsize(path)

    def read(self, size: int | None = -1) -> bytes:
        left = max(0, self.size - self.tell())
        return super().read(left if size is None or size < 0 else min(size, left))
