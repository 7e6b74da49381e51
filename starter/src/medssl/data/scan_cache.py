"""A scan on the local disk, ready to be read in blocks: int16 voxels in a chunked blosc2 file, JSON beside it.

A .nii.gz must be inflated from its beginning for every block; a chunked file gives the 80 mm around a patch in about a
millisecond, so a fresh scan for every view costs next to nothing. The JSON is written last: it holds size and checksum
of the voxels and of itself, and a pair that does not agree counts as damaged and is made again.
"""

import json
import zlib
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from medssl.data.catalog import ScanRecord
from medssl.data.scan_stats import ScanStats, as_int16, max_error, scan_stats
from medssl.data.volumes import read_volume
from medssl.errors import MedsslError
from medssl.files import write_atomic

CHUNKS, BLOCKS = (32, 128, 128), (16, 32, 32)  # a file is read in chunks, a chunk is inflated in blocks: measured


@dataclass(frozen=True, eq=False)
class CachedScan:
    """The grid is that of `data.Volume`: indices (z, y, x) towards head, front, right. Value = code·scale + offset."""

    path: Path  # of the voxels
    scan_id: str
    series_id: str
    modality: str
    patient: str
    shape: tuple[int, int, int]
    spacing: tuple[float, float, float]  # mm, (z, y, x)
    affine: np.ndarray  # 4×4: voxel (x, y, z, 1) -> mm to the right, to the front, to the head
    scale: float
    offset: float
    max_error: float  # of a restored value, in the units of the scan
    stats: ScanStats
    notes: tuple[str, ...]
    source: dict  # path, size and mtime_ns of the file it was made from

    @cached_property
    def _voxels(self):
        blosc2 = _require_blosc2()
        try:
            voxels = blosc2.open(str(self.path), mode="r", mmap_mode="r")
            if voxels.shape != self.shape or voxels.dtype != np.int16:
                raise ValueError(f"{voxels.dtype} {voxels.shape}, not int16 {self.shape}")
            return voxels
        except Exception as error:  # blosc2 has no error of its own
            raise _damaged(self.path, error) from error

    def __getstate__(self) -> dict:
        return {key: value for key, value in self.__dict__.items() if key != "_voxels"}  # each process maps it anew

    def read_block(self, low, size) -> np.ndarray:
        """int16 [size] from the corner `low`; both whole numbers (z, y, x), inside the scan."""
        if not all(0 <= a < a + n <= whole for a, n, whole in zip(low, size, self.shape, strict=True)):
            raise MedsslError(f"A block of {tuple(size)} voxels from {tuple(low)} is not inside {self.shape}.",
                              "corner and size (z, y, x) inside the scan")
        try:
            return self._voxels[tuple(slice(int(a), int(a + n)) for a, n in zip(low, size, strict=True))]
        except RuntimeError as error:  # what blosc2 says of a chunk it cannot inflate
            raise _damaged(self.path, error) from error

    def read(self) -> np.ndarray:
        """All voxels, int16 [Z,Y,X]."""
        return self.read_block((0, 0, 0), self.shape)

    def restore(self, codes: np.ndarray) -> np.ndarray:
        """float32 values in the units of the scan, of int16 codes."""
        return (codes * np.float64(self.scale) + self.offset).astype(np.float32)


def write_cache(record: ScanRecord, folder: str | Path) -> Path:
    """Read a scan, check its voxels, and write FOLDER/<scan_id>.b2nd and .json. Returns the path of the voxels."""
    blosc2, folder = _require_blosc2(), Path(folder)
    source = source_of(record.nifti_path)  # before reading: a file changed meanwhile counts as changed
    volume = read_volume(record.nifti_path, record.modality)
    codes, scale, offset = as_int16(volume.array[0])
    about = {"format": 1, "scan_id": record.scan_id, "series_id": record.series_id, "modality": record.modality,
             "patient": record.patient, "shape": volume.shape, "spacing": volume.spacing,
             "affine": volume.affine.tolist(), "scale": scale, "offset": offset,
             "max_error": max_error(scale, offset),
             "stats": asdict(scan_stats(codes, record.modality, scale, offset)), "notes": volume.notes,
             "source": source}
    packed = blosc2.asarray(codes.numpy(), chunks=[min(a, b) for a, b in zip(CHUNKS, volume.shape, strict=True)],
                            blocks=[min(a, b) for a, b in zip(BLOCKS, volume.shape, strict=True)],
                            cparams=blosc2.CParams(codec=blosc2.Codec.LZ4, clevel=1, nthreads=1)).to_cframe()
    about |= {"bytes": len(packed), "crc32": _crc32(packed)}
    path = write_atomic(folder / f"{record.scan_id}.b2nd", packed)
    write_atomic(path.with_suffix(".json"), json.dumps({"about": about, "crc32": _crc32(_canonical(about))}))
    return path


def open_cached(folder: str | Path, scan_id: str, check: bool = True) -> CachedScan:
    """A scan of the cache. check=True compares the checksum of all its bytes (0.1 s a GB), False their number only."""
    path = Path(folder) / f"{scan_id}.b2nd"
    try:
        whole = json.loads(path.with_suffix(".json").read_text(encoding="utf-8"))
        about = whole["about"]
        if _crc32(_canonical(about)) != whole["crc32"]:
            raise ValueError("the description has another checksum")
        if path.stat().st_size != about["bytes"]:
            raise ValueError(f"{path.stat().st_size} bytes of {about['bytes']}")
        if check and _crc32(path.read_bytes()) != about["crc32"]:
            raise ValueError("the voxels have another checksum")
        if len(about["shape"]) != 3 or not all(type(n) is int and n > 0 for n in about["shape"]):
            raise ValueError(f"no shape: {about['shape']}")
        return CachedScan(path, about["scan_id"], about["series_id"], about["modality"], about["patient"],
                          tuple(about["shape"]), tuple(about["spacing"]), np.array(about["affine"]), about["scale"],
                          about["offset"], about["max_error"], ScanStats(**about["stats"]), tuple(about["notes"]),
                          about["source"])
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise _damaged(path, error) from error


def cached_scan(record: ScanRecord, folder: str | Path, check: bool = True) -> CachedScan:
    """A scan from the cache; made there first if it is absent, damaged, or older than the file it comes from."""
    try:
        scan = open_cached(folder, record.scan_id, check)
        if not Path(record.nifti_path).exists() or scan.source == source_of(record.nifti_path):
            return scan
    except MedsslError:  # no such cache, or a damaged one
        pass
    write_cache(record, folder)
    return open_cached(folder, record.scan_id, check)


def source_of(path: str) -> dict:
    """What tells one state of a file from another."""
    try:
        about = Path(path).stat()
    except OSError as error:
        raise MedsslError(f"{path} cannot be opened ({error.strerror}).", "a NIfTI file", code="no_file") from error
    return {"path": str(path), "size": about.st_size, "mtime_ns": about.st_mtime_ns}


def _canonical(about: dict) -> bytes:
    return json.dumps(about, sort_keys=True).encode("ascii")


def _crc32(content: bytes) -> int:
    try:
        from isal.isal_zlib import crc32  # 9 GB/s; zlib's own: 1 GB/s
    except ImportError:
        crc32 = zlib.crc32
    return crc32(content)


def _damaged(path: Path, error: Exception) -> MedsslError:
    return MedsslError(f"The cached scan {path} is absent or damaged ({error}).", "a file of `medssl prism preflight`",
                       "Run preflight again, or open it with cached_scan(record, folder).", "cache_damaged")


def _require_blosc2():
    """The library of chunked, compressed arrays; only those who cache scans need it."""
    try:
        import blosc2
    except ImportError as error:
        raise MedsslError("The scan cache needs the library blosc2, which is not installed here.",
                          "the extra `prism` of medssl",
                          "in your clone of the course: pip install -e 'starter[prism]'") from error
    blosc2.set_nthreads(1)  # workers run beside one another; threads of blosc2 would not survive a fork either
    return blosc2
