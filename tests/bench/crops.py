"""Crops with enough patient in them: what the table of counts costs, against MONAI, TorchIO and drawing until it fits.

`make bench` runs this; a peer that is not installed takes no part, and it says so. One volume (phantom CT, 512×512×200
int16), one mask, 96³ crops, half of them foreground, in one thread; all methods take turns in every round, in an order
drawn anew. Times are CPU seconds, which other programs on the machine hardly change; a crop is a float32 copy, what a
network is given. First it checks that each crop shown is the part of the volume that it claims to be, then that our
ratios are true.
"""

import importlib
import statistics
import sys
import time

import numpy as np
import torch
from timing import orders, paired, peak_mb, save, tell, versions

from medssl.data.phantom_volumes import ct_phantom
from medssl.views.crops3d import draw_crops
from medssl.views.foreground import Occupancy, foreground_mask

SIDE, RATIO, ROUNDS, MONAI, WEIGHTED, TORCHIO = 96, 0.5, 3, "MONAI pos/neg", "MONAI weighted", "TorchIO label"
SIZE = (SIDE, SIDE, SIDE)


class Ours:
    draws, crops = 400, 20

    def __init__(self, mask):
        self.occupancy, self.generator = Occupancy(mask, 4), torch.Generator().manual_seed(0)

    def draw(self):
        return draw_crops(self.occupancy, SIZE, RATIO, 1, self.generator)[0].low

    def crop(self):
        low = self.draw()
        return low, cut(low)

    def kept(self):
        return self.occupancy.nbytes


class Rejection:
    """Uniform boxes until one fits; after 1000 the last one, whatever it holds."""

    draws, crops = 20, 10

    def __init__(self, mask):
        self.mask, self.rng = mask, np.random.default_rng(0)

    def draw(self):
        for _ in range(1000):
            low = [int(self.rng.integers(n - SIDE + 1)) for n in self.mask.shape]
            if np.count_nonzero(self.mask[box(low)]) >= RATIO * SIDE**3:
                break
        return low

    crop, kept = Ours.crop, lambda self: self.mask.nbytes


class PosNeg:
    """RandCropByPosNegLabel with the indices computed once, all centres in the foreground: its best case."""

    draws, crops = 400, 20

    def __init__(self, mask):
        from monai.transforms import RandCropByPosNegLabel
        from monai.transforms.utils import map_binary_to_indices

        self.fg, self.bg = map_binary_to_indices(mask[None])
        self.transform = RandCropByPosNegLabel(SIDE, pos=1, neg=0, fg_indices=self.fg, bg_indices=self.bg)
        self.transform.set_random_state(0)

    def draw(self):
        self.transform.randomize(image=volume[None], fg_indices=self.fg, bg_indices=self.bg)
        return [int(c) - SIDE // 2 for c in self.transform.centers[0]]

    def crop(self):
        part = self.transform(volume[None], image=volume[None], fg_indices=self.fg, bg_indices=self.bg)[0]
        return [int(c) - SIDE // 2 for c in self.transform.centers[0]], part[0].as_tensor().float()

    def kept(self):
        return self.fg.nbytes + self.bg.nbytes


class Weighted:
    """RandWeightedCrop with the mask as weights."""

    draws, crops = 2, 2

    def __init__(self, mask):
        from monai.transforms import RandWeightedCrop

        self.weights = torch.from_numpy(mask.astype(np.float32))[None]
        self.transform = RandWeightedCrop(SIZE, weight_map=self.weights)
        self.transform.set_random_state(0)

    def draw(self):
        self.transform.randomize(self.weights)
        return [int(c) - SIDE // 2 for c in self.transform.centers[0]]

    def crop(self):
        part = self.transform(volume[None])[0]
        return [int(c) - SIDE // 2 for c in self.transform.centers[0]], part[0].as_tensor().float()

    def kept(self):
        return self.weights.nbytes


class LabelSampler:
    """TorchIO's, one generator for one subject, so that the probabilities are added up once."""

    draws, crops = 100, 20

    def __init__(self, mask):
        import torchio

        subject = torchio.Subject(ct=torchio.ScalarImage(tensor=volume[None]),
                                  mask=torchio.LabelMap(tensor=torch.from_numpy(mask.view(np.uint8))[None]))
        self.sampler = torchio.LabelSampler(SIDE, "mask", {0: 0, 1: 1})
        self.patches = self.sampler(subject)
        next(self.patches)
        self.state = self.patches.gi_frame.f_locals  # its probabilities and their sums

    def draw(self):
        return self.sampler.get_random_index_ini(self.state["probability_map_array"], self.state["cdf"]).tolist()

    def crop(self):
        patch = next(self.patches)
        return patch["location"][:3].tolist(), patch["ct"].data[0].float()

    def kept(self):
        return self.state["probability_map_array"].nbytes + self.state["cdf"].nbytes


def box(low):
    return tuple(slice(a, a + SIDE) for a in low)


def cut(low):
    return volume[box(low)].float()


def clock(function, times=1):
    """CPU seconds a call, and what the last call gave."""
    start = time.process_time()
    for _ in range(times):
        last = function()
    return (time.process_time() - start) / times, last


def three_crops(contestant):
    state = contestant(mask)
    for _ in range(3):
        state.crop()


def rows_of(found, peaks):
    """Ours against each of the others: the first crop of a volume with what it needs, a further one, memory."""
    rows = [{"row": "crops of a volume", "size": f"{SIDE}³", "peer": package, "missing": f"{package} is not installed"}
            for package in ("monai", "torchio") if versions(package) is None]
    equal = "each crop shown is the part of the volume it names"
    for name in found:
        if name != "ours":
            package = "torchio" if "TorchIO" in name else "monai"
            head = {"size": f"{SIDE}³ of {'×'.join(map(str, mask.shape))}", "peer": name, "equal": equal,
                    "version": "ours, plain" if name == "rejection" else versions(package),
                    "kind": "own" if name == "rejection" else "peer"}
            columns = [[list(column) for column in zip(*found[who], strict=True)] for who in ("ours", name)]
            first = [[a + b for a, b in zip(column[0], column[1], strict=True)] for column in columns]
            rows += [head | {"row": "first crop of a volume"} | paired(*first, "s"),
                     head | {"row": "a further crop"} | paired(*([ms / 1e3 for ms in c[3]] for c in columns), "ms"),
                     head | {"row": "where to crop"} | paired(*([us / 1e6 for us in c[2]] for c in columns), "µs"),
                     head | {"row": "peak memory of crops"} | paired([peaks["ours"]], [peaks[name]], "MB")]
    for row in rows:
        tell(row)
    return rows


if __name__ == "__main__":
    torch.set_num_threads(1)
    contestants = {"ours": Ours, "rejection": Rejection}
    for package, names in (("monai", {MONAI: PosNeg, WEIGHTED: Weighted}), ("torchio", {TORCHIO: LabelSampler})):
        if versions(package):
            contestants |= names
            importlib.import_module("monai.transforms" if package == "monai" else package)  # no part of its memory
        else:
            print(f"{package} is not installed here, so it takes no part: pip install {package}")
    shape = (100, 128, 128) if "few" in sys.argv[1:] else (200, 512, 512)
    volume = ct_phantom(0, shape, (1.6, 0.8, 0.8)).image.array[0]
    mask = foreground_mask(volume, "CT", spacing=(1.6, 0.8, 0.8)).numpy()
    print(f"{mask.size * 2 / 1e6:.0f} MB of int16 voxels, {mask.mean():.0%} of them foreground; 96³ crops, ratio 0.5")
    found = {name: [] for name in contestants}
    peaks = {name: peak_mb(lambda c=contestant: three_crops(c)) for name, contestant in contestants.items()}
    ratios = {name: [] for name in contestants}
    for order in orders(contestants, ROUNDS):
        for name in order:
            contestant = contestants[name]
            setup, state = clock(lambda contestant=contestant: contestant(mask))
            first, (low, shown) = clock(state.crop)
            assert torch.equal(shown, cut(low)), f"{name} shows another part of the volume"
            draw, crop = clock(state.draw, state.draws)[0], clock(state.crop, state.crops)[0]
            ratios[name] += [mask[box(state.draw())].mean() for _ in range(max(30, min(60, state.draws)))]
            if name == "ours":
                truth = draw_crops(state.occupancy, SIZE, RATIO, 20, state.generator)
                assert all(mask[box(c.low)].mean() == c.ratio for c in truth), "our ratio is not the mask's"
            found[name].append((setup, first, draw * 1e6, crop * 1e3, state.kept() / 1e6))
            del state
    print(f"{'':15}  set-up s            first crop s        draw µs               crop ms           kept MB  peak MB  "
          "share ≥ 0.5  least")
    table = {}
    for name, rounds in found.items():
        columns = [sorted(column) for column in zip(*rounds, strict=True)]
        table[name] = {"setup_s": columns[0], "first_s": columns[1], "draw_us": columns[2], "crop_ms": columns[3],
                       "kept_mb": columns[4][-1], "peak_mb": peaks[name], "draws": len(ratios[name]),
                       "share": float(np.mean(np.array(ratios[name]) >= RATIO)), "least": float(min(ratios[name]))}
        cells = [f"{statistics.median(c):.3g} ({c[0]:.3g}–{c[-1]:.3g})" for c in columns[:4]]
        print(f"{name:15}  {cells[0]:18}  {cells[1]:18}  {cells[2]:20}  {cells[3]:16}  {columns[4][-1]:7.1f}  "
              f"{peaks[name]:7.0f}  {table[name]['share']:11.3f}  {table[name]['least']:.3f}")
    print(f"medians over {ROUNDS} rounds, least and most in brackets")
    save("crops", rows_of(found, peaks), table=table)
