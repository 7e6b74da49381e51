"""Who makes pairs of views out of eight .nii.gz: our pool, MONAI's caching datasets and TorchIO's queue.

MONAI draws the very same views as ours, and its Resample cuts the patches: CacheDataset holds all scans in memory,
SmartCacheDataset half of them, and replaces a quarter of those after every 100 items. What draw_view asks of a scan
(its statistics) MONAI gets free of charge. TorchIO turns each scan once for each view and cuts patches of whole voxels
out of its Queue: less than the others do, for it cannot cut turned patches.
"""

from types import SimpleNamespace

import numpy as np
import torch
from patches import HU, by_monai, by_scipy, places, resampler

from medssl.data.catalog import ScanRecord
from medssl.data.pair_batches import load_scan, mixed
from medssl.data.phantom_volumes import ct_phantom, mr_phantom
from medssl.data.scan_cache import write_cache
from medssl.data.volumes import Volume, write_nifti
from medssl.views.pair_views import draw_view, look, pair_targets
from medssl.views.patches import scan_frame

BATCH, N, MM = 4, 256, 16.0
OURS, NIFTI = "pool, cache", "pool, .nii.gz"  # the first is the way that training takes
CACHED, SMART, QUEUE = "MONAI CacheDataset", "MONAI SmartCacheDataset", "TorchIO Queue"
SCANS = (("CT", (60, 256, 256), (5.0, 1.4, 1.4)), ("MR", (48, 288, 288), (6.0, 1.2, 1.2)),
         ("CT", (108, 200, 200), (3.0, 1.8, 1.8)))


def write_scans(folder):
    """Phantoms painted on a coarse grid, with noise on the fine one, so that they compress as scans do."""
    records = []
    for k in range(8):
        modality, shape, spacing = SCANS[k % 3]
        file, rng = folder / f"scan{k}.nii.gz", np.random.default_rng(k)
        make = ct_phantom if modality == "CT" else mr_phantom
        voxels = make(k, [n // 4 for n in shape], [4 * mm for mm in spacing]).image.array[0].numpy()
        voxels = voxels.repeat(4, 0).repeat(4, 1).repeat(4, 2)
        voxels = (voxels + rng.integers(-20, 20, voxels.shape, np.int16)).clip(-1024 if modality == "CT" else 0)
        scan = Volume(torch.from_numpy(voxels)[None], spacing, np.diag([*spacing[::-1], 1.0]), modality)
        write_nifti(file, scan, ("LPS", "RAS", "LAS")[k % 3])
        name = f"{k + 6:064x}"  # the pool deals by the hash of names: of these, four to each of two workers
        records.append(ScanRecord(name, f"series{k}", modality, str(file), ""))
        write_cache(records[-1], folder / "cache")
    return records


def ours(name, workers, records, folder):
    from medssl.data.warm_pool import WarmPool

    return WarmPool(records, cache=folder / "cache" if name == OURS else None, warm_pool_size=4, workers=workers,
                    batch_size=BATCH, distinct_series_per_batch=2, n_patches=N, patch_mm=MM)


def headers(records, folder) -> dict:
    """{scan: what draw_view asks of it}, so that MONAI's datasets need not hold our scans."""
    names = ("shape", "affine", "stats", "scale", "offset", "read_block")
    return {r.scan_id: SimpleNamespace(**{name: getattr(load_scan(r, folder / "cache"), name) for name in names})
            for r in records}


def pixels_of(about, view):
    """Voxel indices (x, y, z) [N,16,16,3] of a view's pixels, and whether they lie in the scan."""
    centres = view.centre + view.positions @ view.rotation @ scan_frame(about.affine).T
    index = places(about.affine, centres, view.rotation, MM / 16)
    return index, ((index >= -0.5) & (index <= np.array(about.shape[::-1]) - 0.5)).all(-1)


def windowed(values, inside, about, view):
    centre, width = view.window
    return ((np.where(inside, values, about.stats.background) - centre) / width + 0.5).clip(0, 1)


class MonaiPairs(torch.utils.data.Dataset):
    """Item k: the pair of views that ours would draw for visit k // 8 to a scan, cut by MONAI's Resample."""

    def __init__(self, scans, about, items):
        self.scans, self.about, self.items, self.resample = scans, about, items, resampler()

    def __len__(self):
        return self.items

    def __getitem__(self, k):
        scan = self.scans[k % len(self.scans)]
        about = self.about[scan["name"]]
        views = drawn(about, scan["name"], k // len(self.scans))
        item = {name: torch.as_tensor(value) for name, value in pair_targets(about, *views).items()}
        for letter, view in zip("ab", views, strict=True):
            index, inside = pixels_of(about, view)
            values = windowed(by_monai(self.resample, scan["image"], index), inside, about, view)
            item[f"patches_{letter}"] = torch.from_numpy(values.astype(np.float32))
            item[f"positions_{letter}"] = torch.from_numpy(view.positions.astype(np.float32))
        return item


def drawn(scan, name, visit):
    return [draw_view(scan, N, own) for own in np.random.default_rng(mixed(0, name, visit)).spawn(2)]


def monai_transform():
    from monai.transforms import Compose, EnsureChannelFirstd, EnsureTyped, LoadImaged, Orientationd

    return Compose([LoadImaged("image"), EnsureChannelFirstd("image"), Orientationd("image", "RAS"),
                    EnsureTyped("image", dtype=torch.float32, track_meta=False)])


def by_monai_datasets(name, workers, records, about, items):
    from monai.data import CacheDataset, SmartCacheDataset

    files = [{"image": record.nifti_path, "name": record.scan_id} for record in records]
    smart = name == SMART
    cached = (SmartCacheDataset(files, monai_transform(), replace_rate=0.25, cache_num=4, num_init_workers=2,
                                num_replace_workers=2, progress=False) if smart else
              CacheDataset(files, monai_transform(), num_workers=2, progress=False))
    loader = torch.utils.data.DataLoader(MonaiPairs(cached, about, items), BATCH, num_workers=workers)
    if not smart:
        yield from loader
        return
    cached.start()
    for k, batch in enumerate(loader):
        yield batch
        if k % 25 == 24:  # after 100 items the replaced scans come in; workers would not see them without a new start
            cached.update_cache()
    cached.shutdown()


def by_torchio(workers, records):
    import torchio

    subjects = [torchio.Subject(image=torchio.ScalarImage(record.nifti_path)) for record in records] * 8
    data = torchio.SubjectsDataset(subjects, torchio.Compose([torchio.ToCanonical(), torchio.RandomAffine(
        scales=0, degrees=20)]))
    queue = torchio.Queue(data, 2 * N * BATCH, N, torchio.UniformSampler((16, 16, 1)), num_workers=workers)
    patches = torchio.SubjectsLoader(queue, batch_size=N)
    while True:
        views = []
        for view in patches:
            views.append(view["image"]["data"])
            if len(views) == 2 * BATCH:
                yield views
                views = []


def same_items(records, folder) -> dict[str, str]:
    """{who: how it was checked}, before anything is timed: ours and MONAI's items lie within 0.05 HU of float64."""
    about, worst = headers(records[:3], folder), {"ours": 0.0, "MONAI": 0.0}
    scans = [monai_transform()({"image": r.nifti_path, "name": r.scan_id}) for r in records[:3]]
    pairs = MonaiPairs(scans, about, 3)
    for k, record in enumerate(records[:3]):
        scan = load_scan(record)
        for letter, view in zip("ab", drawn(scan, record.scan_id, 0), strict=True):
            index, inside = pixels_of(scan, view)
            values = by_scipy(scan.codes.astype(np.float64), index) * scan.scale + scan.offset
            truth = windowed(values, inside, scan, view)
            for who, patches in (("ours", look(scan, view, MM)[0][..., 0]), ("MONAI", pairs[k][f"patches_{letter}"])):
                worst[who] = max(worst[who], float(np.abs(np.asarray(patches) - truth).max() * view.window[1]))
    assert max(worst.values()) <= HU, f"grey values apart from float64: {worst}"
    return {who: f"the same patches, within {error:.1g} HU of float64" for who, error in worst.items()}


def same_shapes(records) -> str:
    """TorchIO's batch holds as many patches of that size, of grey values that the scans have."""
    batch = next(by_torchio(0, records))
    assert [tuple(view.shape) for view in batch] == [(N, 1, 16, 16, 1)] * 2 * BATCH, [view.shape for view in batch]
    assert all(view.isfinite().all() and view.float().std() > 1 for view in batch)
    return "as many patches; whole voxels, one turn a view"
