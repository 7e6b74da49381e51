"""Patches a second out of one scan, and pairs of views a second end to end, against SciPy, MONAI and TorchIO.

`python tests/bench/patches.py` prints one JSON object a line and asserts nothing about speed ("patches" or "items" as
an argument: that half only). Before it times anything it checks that everybody cuts the same values: within 0.05 HU of
map_coordinates in float64.

1. 1024 rotated patches of 16×16 pixels from a CT of 512×512×200 int16, all in one process, rounds interleaved. MONAI
   gets the whole volume as float32 beforehand; TorchIO turns the whole volume, then cuts at whole voxels.
2. Batches of 4 items of 2×256 patches from 8 .nii.gz files, 3 spacings, CT and MR. First without workers, all in one
   process and in turns, so that a busy machine is as busy for everybody ("turns" as an argument: that only); then each
   in a process of its own, from nothing in memory, with 0 and 2 workers. MONAI draws the very same views (its
   CacheDataset holds all scans in memory, SmartCache half of them, its workers share them); TorchIO (Queue) turns each
   scan and cuts patches of whole voxels, one turn for each view.
"""

import importlib.util
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import numpy as np
import torch
from scipy.ndimage import map_coordinates
from scipy.spatial.transform import Rotation

from medssl.data.catalog import ScanRecord
from medssl.data.pair_batches import LoadedScan, load_scan, mixed
from medssl.data.phantom_volumes import ct_phantom, mr_phantom
from medssl.data.scan_cache import write_cache
from medssl.data.volumes import Volume, write_nifti
from medssl.views.pair_views import draw_view, look, pair_targets
from medssl.views.patches import sample_patches, scan_frame

ROUNDS, ITEMS, BATCH, N, MM = 15, int(os.environ.get("ITEMS", 300)), 4, 256, 16.0
LIMIT = 300  # seconds for a contestant
CLOCKS = {"wall": time.perf_counter, "CPU": time.process_time}  # others on the machine stretch the first only
SCANS = (("CT", (60, 256, 256), (5.0, 1.4, 1.4)), ("MR", (48, 288, 288), (6.0, 1.2, 1.2)),
         ("CT", (108, 200, 200), (3.0, 1.8, 1.8)))


def places(affine, centres, rotation, pitch):
    """Voxel indices (x, y, z) [N,16,16,3] of all pixels: what everybody but ours has to write down first."""
    across, down = (scan_frame(affine) @ rotation.T)[:, :2].T * pitch
    offset, into = np.arange(16) - 7.5, np.linalg.inv(affine[:3, :3]).T
    index = (centres - affine[:3, 3]) @ into
    return (index[:, None, None] + offset[:, None, None] * (down @ into) + offset[:, None] * (across @ into))


def by_monai(resample, volume, index):
    """Values at voxel indices (x, y, z) [N,16,16,3] of a float32 tensor [1,X,Y,Z]: MONAI counts from the middle."""
    middle = (np.array(volume.shape[1:]) - 1) / 2
    grid = torch.from_numpy(np.moveaxis(index - middle, -1, 0).astype(np.float32))
    return resample(volume, grid)[0].numpy()


def resampler():
    from monai.transforms import Resample

    return Resample(mode="bilinear", padding_mode="border", align_corners=False, dtype=torch.float32)


def patches_alone():
    import torchio

    rng, spacing = np.random.default_rng(0), np.array([0.8, 0.8, 2.0])
    noise = rng.integers(-300, 300, (50, 128, 128)).astype(np.float32).repeat(4, 0).repeat(4, 1).repeat(4, 2)
    voxels = (noise + rng.integers(-700, 700, (200, 512, 512))).astype(np.int16)
    affine = np.diag([*spacing, 1.0])
    affine[:3, 3] = -(np.array([512, 512, 200]) - 1) / 2 * spacing
    turn = Rotation.from_euler("z", 20, degrees=True).as_matrix()  # TorchIO turns about the middle, which lies at 0
    whole = np.rint(rng.uniform(-40, 40, (1024, 3)) / spacing + (255, 255, 99)).astype(int)  # its voxels
    centres = (whole * spacing + affine[:3, 3] + (0.4, 0.4, 0)) @ turn  # where they come from; 16 pixels: half a voxel
    cuts = [tuple(slice(a - b, a - b + n) for a, b, n in zip(at, (7, 7, 0), (16, 16, 1), strict=True)) for at in whole]
    full, resample = torch.from_numpy(voxels.transpose(2, 1, 0)[None].astype(np.float32)), resampler()
    image = torchio.ScalarImage(tensor=torch.from_numpy(voxels.transpose(2, 1, 0)[None].copy()), affine=affine)
    rotate = torchio.Affine(scales=1, degrees=(0, 0, 20), translation=0, default_pad_value=-1000.0)

    def torchio_affine():
        turned = rotate(image).data[0].numpy()
        return np.stack([turned[cut][..., 0].T for cut in cuts])

    def one_call(array, **how):
        index = places(affine, centres, turn, 0.8)[..., ::-1]
        return map_coordinates(array, np.moveaxis(index, -1, 0), order=1, mode="nearest", **how)

    contestants = {
        "ours, numba": lambda: sample_patches(voxels, affine, centres, turn, 12.8)[0][..., 0],
        "ours, torch": lambda: sample_patches(voxels, affine, centres, turn, 12.8, numba=False)[0][..., 0],
        "scipy, one call": lambda: one_call(voxels, output=np.float32),
        "MONAI Resample, one call": lambda: by_monai(resample, full, places(affine, centres, turn, 0.8)),
        "TorchIO Affine + crops": torchio_affine}
    truth = one_call(voxels.astype(np.float64))
    errors = {name: float(np.abs(cut() - truth).max()) for name, cut in contestants.items()}
    print(json.dumps({"largest error, HU": errors}), flush=True)
    assert all(error <= 0.05 for name, error in errors.items() if "TorchIO" not in name)
    assert errors["TorchIO Affine + crops"] <= 1  # it gives whole numbers
    times = {clock: {name: [] for name in contestants} for clock in CLOCKS}
    for _ in range(ROUNDS):
        for name, cut in contestants.items():
            if "TorchIO" not in name or len(times["CPU"][name]) < 2:
                begun = [clock() for clock in CLOCKS.values()]
                cut()
                for (label, clock), start in zip(CLOCKS.items(), begun, strict=True):
                    times[label][name].append(clock() - start)
    for clock, of in times.items():
        rates = {name: round(1024 / statistics.median(t)) for name, t in of.items()}
        best = max((name for name in rates if "ours" not in name), key=rates.get)
        ratios = sorted(b / a for a, b in zip(of["ours, numba"], of[best], strict=True))
        print(json.dumps({"patches a second": rates, "clock": clock, "best peer": best,
                          "ratio": round(statistics.median(ratios), 2), "ratio_min": round(ratios[0], 2),
                          "ratio_max": round(ratios[-1], 2)}), flush=True)


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
    from medssl.data.fresh_scans import FreshScans
    from medssl.data.warm_pool import WarmPool

    how = {"batch_size": BATCH, "distinct_series_per_batch": 2, "workers": workers, "n_patches": N, "patch_mm": MM}
    if name.startswith("fresh"):
        cache = folder / "cache" if "made" not in name else tempfile.mkdtemp(dir=folder)
        return FreshScans(records, cache=cache, **how)
    return WarmPool(records, cache=folder / "cache" if "cache" in name else None, warm_pool_size=4,
                    deterministic="deterministic" in name, **how)


class MonaiPairs(torch.utils.data.Dataset):
    """Item k: the pair of views that ours would draw for visit k // 8 to a scan, cut by MONAI's Resample."""

    def __init__(self, scans, about):
        self.scans, self.about, self.resample = scans, about, resampler()

    def __len__(self):
        return ITEMS

    def __getitem__(self, k):
        scan = self.scans[k % len(self.scans)]
        about = self.about[scan["name"]]
        rng = np.random.default_rng(mixed(0, scan["name"], k // len(self.scans)))
        views = [draw_view(about, N, own) for own in rng.spawn(2)]
        item = {name: torch.as_tensor(value) for name, value in pair_targets(about, *views).items()}
        for letter, view in zip("ab", views, strict=True):
            index = places(about.affine, view.centre + view.positions @ view.rotation @ scan_frame(about.affine).T,
                           view.rotation, MM / 16)
            inside = ((index >= -0.5) & (index <= np.array(about.shape[::-1]) - 0.5)).all(-1)
            values = np.where(inside, by_monai(self.resample, scan["image"], index), about.stats.background)
            centre, width = view.window
            values = ((values - centre) / width + 0.5).clip(0, 1)
            item[f"patches_{letter}"] = torch.from_numpy(values.astype(np.float32))
            item[f"positions_{letter}"] = torch.from_numpy(view.positions.astype(np.float32))
        return item


class Header:
    """What draw_view asks of a scan, out of MONAI's volume: the statistics come free of charge."""

    def __init__(self, scan: LoadedScan):
        self.shape, self.affine, self.stats, self.scale, self.offset = (
            scan.shape, scan.affine, scan.stats, scan.scale, scan.offset)
        self.read_block = scan.read_block


def monai_transform():
    from monai.transforms import Compose, EnsureChannelFirstd, EnsureTyped, LoadImaged, Orientationd

    return Compose([LoadImaged("image"), EnsureChannelFirstd("image"), Orientationd("image", "RAS"),
                    EnsureTyped("image", dtype=torch.float32, track_meta=False)])


def by_monai_datasets(name, workers, records, about):
    from monai.data import CacheDataset, SmartCacheDataset

    files = [{"image": record.nifti_path, "name": record.scan_id} for record in records]
    smart = "Smart" in name
    cached = (SmartCacheDataset(files, monai_transform(), replace_rate=0.25, cache_num=4, num_init_workers=2,
                                num_replace_workers=2, progress=False) if smart else
              CacheDataset(files, monai_transform(), num_workers=2, progress=False))
    loader = torch.utils.data.DataLoader(MonaiPairs(cached, about), BATCH, num_workers=workers)
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
    patches = torchio.SubjectsLoader(queue, N)
    while True:
        views = []
        for view in patches:
            views.append(view["image"]["data"])
            if len(views) == 2 * BATCH:
                yield views
                views = []


def memory(stop, peak):
    """The largest sum of PSS, MiB, of this process and its children."""
    while not stop.wait(0.1):
        total = 0
        for pid in family():
            try:
                lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
                total += next(int(line.split()[1]) for line in lines if line.startswith("Pss:"))
            except (OSError, StopIteration):
                pass
        peak.append(total / 1024)


def in_turns(records, folder):
    """A batch of each in turn, without workers; the first two of each, and with them all loading, are not counted."""
    about = {r.scan_id: Header(load_scan(r, folder / "cache")) for r in records}
    sources = {name: ours(name, 0, records, folder) for name in ("pool, cache", "fresh")}
    streams = {name: source.batches(0) for name, source in sources.items()}
    streams["MONAI CacheDataset"] = by_monai_datasets("MONAI CacheDataset", 0, records, about)
    times = {clock: {name: [] for name in streams} for clock in CLOCKS}
    for _ in range(ITEMS // BATCH):
        for name, stream in streams.items():
            begun = [clock() for clock in CLOCKS.values()]
            next(stream)
            for (label, clock), start in zip(CLOCKS.items(), begun, strict=True):
                times[label][name].append((clock() - start) * 1e3)
    for clock, of in times.items():
        ms = {name: np.array(t[2:]) for name, t in of.items()}
        peer = ms["MONAI CacheDataset"]
        print(json.dumps({"batches in turns": clock, "n": len(peer), **{name: {
            **{f"p{p}_ms": round(float(np.percentile(t, p)), 2) for p in (50, 95, 99)},
            "MONAI's time over its own": round(float(np.median(peer / t)), 2)} for name, t in ms.items()}}), flush=True)
    for source in sources.values():
        source.close()


def family():
    """This process and its children."""
    me = os.getpid()
    return me, *map(int, Path(f"/proc/{me}/task/{me}/children").read_text().split())


def cpu_seconds():
    """Of this process and its workers, since they began."""
    ticks = (Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[11:13] for pid in family())
    return sum(int(tick) for pair in ticks for tick in pair) / os.sysconf("SC_CLK_TCK")


def end_to_end(name, workers, folder):
    """One contestant in its own process: from nothing in memory to ITEMS items."""
    torch.set_num_threads(1)
    records = [ScanRecord(**record) for record in json.loads((folder / "records.json").read_text())]
    about = {r.scan_id: Header(load_scan(r, folder / "cache")) for r in records} if "MONAI" in name else {}
    stop, peak, items = threading.Event(), [], ITEMS if name != "TorchIO Queue" else min(ITEMS, 24)
    threading.Thread(target=memory, args=(stop, peak), daemon=True).start()
    times, begun, used = [], time.perf_counter(), 0.0
    if "MONAI" in name:
        batches, source = by_monai_datasets(name, workers, records, about), None
    elif "TorchIO" in name:
        batches, source = by_torchio(workers, records), None
    else:
        source = ours(name, workers, records, folder)
        batches = source.batches(0)
    last = begun
    for _ in range(items // BATCH):
        next(batches)
        now = time.perf_counter()
        times.append(now - last)
        last = now
        if len(times) == 1:
            used = cpu_seconds()
    used = cpu_seconds() - used  # others on the machine stretch the wall clock, and hardly this
    stop.set()
    if source is not None:
        source.close()
    ms = np.array(times[1:]) * 1e3
    row = {"contestant": name, "workers": workers, "items": items, "items_per_s": items / (last - begun),
           "items_per_s_after_first": (items - BATCH) / (last - begun - times[0]), "first_batch_s": times[0],
           "cpu_ms_per_item_after_first": used * 1e3 / (items - BATCH),
           **{f"p{p}_ms": float(np.percentile(ms, p)) for p in (50, 95, 99)}, "max_ms": float(ms.max()),
           "peak_MiB": max(peak)}
    print(json.dumps({k: round(v, 3) if isinstance(v, float) else v for k, v in row.items()}), flush=True)
    os._exit(0)  # what peers leave running would keep the process


def same_items(records, folder):
    """MONAI's item is ours, before anything is timed."""
    about = {r.scan_id: Header(load_scan(r, folder / "cache")) for r in records[:3]}
    scans = [monai_transform()({"image": r.nifti_path, "name": r.scan_id}) for r in records[:3]]
    pairs = MonaiPairs(scans, about)
    for k, record in enumerate(records[:3]):
        scan = load_scan(record)
        views = [draw_view(scan, N, own) for own in np.random.default_rng(mixed(0, record.scan_id, 0)).spawn(2)]
        for letter, view in zip("ab", views, strict=True):
            mine, theirs = look(scan, view, MM)[0][..., 0], pairs[k][f"patches_{letter}"].numpy()
            assert np.abs(mine - theirs).max() * view.window[1] <= 0.05


CONTESTANTS = ("pool", "pool, cache", "pool, cache, deterministic", "fresh", "fresh, cache made on the way",
               "MONAI CacheDataset", "MONAI SmartCache", "TorchIO Queue")

if __name__ == "__main__":
    if sys.argv[1:2] == ["--one"]:
        end_to_end(sys.argv[2], int(sys.argv[3]), Path(sys.argv[4]))
    if missing := [name for name in ("monai", "torchio") if importlib.util.find_spec(name) is None]:
        print(f"Nothing to compare with, {' and '.join(missing)} missing: pip install {' '.join(missing)}")
        sys.exit()
    torch.set_num_threads(1)
    print(json.dumps({"machine": platform.processor() or platform.machine(), "cores": os.cpu_count(),
                      "torch": torch.__version__}), flush=True)
    if not {"items", "turns"} & set(sys.argv[1:]):
        patches_alone()
    if "patches" in sys.argv[1:]:
        sys.exit()
    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        records = write_scans(folder)
        (folder / "records.json").write_text(json.dumps([vars(record) for record in records]))
        same_items(records, folder)
        in_turns(records, folder)
        if "turns" in sys.argv[1:]:
            sys.exit()
        for workers in (0, 2):
            for name in sys.argv[2:] or CONTESTANTS:
                try:
                    subprocess.run([sys.executable, __file__, "--one", name, str(workers), str(folder)], timeout=LIMIT,
                                   env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONWARNINGS": "ignore"})
                except subprocess.TimeoutExpired:
                    print(json.dumps({"contestant": name, "workers": workers, "no result within s": LIMIT}), flush=True)
