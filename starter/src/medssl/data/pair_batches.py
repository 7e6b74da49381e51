"""A batch of pair views out of scans: which sample is which, and how samples become a batch.

A sample is a pure function of (seed, scan, visit): the v-th visit to a scan shows the same two views in every run with
that seed, whichever worker makes it, however many there are, and whatever was loaded before.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from medssl.data.catalog import ScanRecord
from medssl.data.scan_cache import cached_scan
from medssl.data.scan_stats import ScanStats, as_int16, scan_stats
from medssl.data.volumes import read_volume
from medssl.errors import MedsslError
from medssl.views.pair_views import pair_views


@dataclass(frozen=True, eq=False)
class LoadedScan:
    """A scan in memory, with what pair views ask of it: value = code · scale + offset, as in the scan cache."""

    codes: np.ndarray  # int16 [Z,Y,X]
    affine: np.ndarray
    stats: ScanStats
    scale: float = 1.0
    offset: float = 0.0

    @property
    def shape(self) -> tuple[int, int, int]:
        return self.codes.shape

    def read_block(self, low, size) -> np.ndarray:
        """int16 [size] from the corner `low`: a view, nothing is copied."""
        return self.codes[tuple(slice(a, a + n) for a, n in zip(low, size, strict=True))]


def load_scan(record: ScanRecord, cache: str | None = None) -> LoadedScan:
    """A whole scan in memory: from the cache, written first where it is not there, or from its NIfTI file."""
    if cache is not None:
        scan = with_contrast(cached_scan(record, cache))
        return LoadedScan(scan.read(), scan.affine, scan.stats, scan.scale, scan.offset)
    volume = read_volume(record.nifti_path, record.modality)
    codes, scale, offset = as_int16(volume.array[0])
    stats = scan_stats(codes, record.modality, scale, offset)
    return with_contrast(LoadedScan(codes.numpy(), volume.affine, stats, scale, offset))


def with_contrast(scan):
    """The scan, or an error where half of the patient has one grey value: no window can be drawn from a spread of 0."""
    if not scan.stats.spread > 0:
        raise MedsslError("The grey values of its foreground have no spread.", "25th and 75th percentile that differ",
                          "Leave it out: it is hardly a scan.", "no_spread")
    return scan


def mixed(*parts) -> int:
    """128 bits that depend on each part, the same in every process and on every machine."""
    return int(hashlib.sha256("/".join(map(str, parts)).encode()).hexdigest()[:32], 16)


def sample(scan, scan_id: str, visit: int, seed: int, **how) -> dict[str, np.ndarray]:
    """The visit-th pair of views of a scan (n_patches, patch_mm, … as in views.pair_views)."""
    return pair_views(scan, rng=np.random.default_rng(mixed(seed, scan_id, visit)), **how)


def collate(items: Sequence[dict], records: Sequence[ScanRecord], labels: dict[str, int]) -> dict:
    """Items of pair_views -> a batch: tensors [B, …], series_label int64 [B], scan_id and series_id lists of str."""
    batch = {name: torch.from_numpy(np.stack([item[name] for item in items])) for name in items[0]}
    return batch | {"series_label": torch.tensor([labels[record.series_id] for record in records]),
                    "scan_id": [record.scan_id for record in records],
                    "series_id": [record.series_id for record in records]}


def series_labels(records: Sequence[ScanRecord]) -> dict[str, int]:
    """A number for each series, by the order of their names."""
    return {name: k for k, name in enumerate(sorted({record.series_id for record in records}))}


def items_per_series(batch_size: int, distinct_series: int) -> int:
    """V, of a batch of S series × V items: SupCon finds 2V - 1 others of its series for each of the 2·S·V views."""
    if batch_size < 1 or distinct_series < 1 or batch_size % distinct_series:
        raise MedsslError(f"batch_size={batch_size}, distinct_series_per_batch={distinct_series}.",
                          "the same number of items of each series", "Choose a batch_size that is a multiple.")
    return batch_size // distinct_series
