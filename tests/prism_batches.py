"""Batches of pair views made of nothing but numbers: small, endless, and each a function of its number alone."""

import time

import torch

CONSTANTS = {"distance": (30.0, 12.0), "rotation": (0.0, 6.0), "window_center": (0.0, 0.5), "window_width": (0.0, 0.3)}


def batch(number=0, size=6, patches=5, pixels=16, scans=4, dtype=torch.float32):
    """What the loader gives: the targets can be read off the grey values, so something can be learnt."""
    g = torch.Generator().manual_seed(1000 + number)
    scan = torch.randint(0, scans, (size,), generator=g)
    delta, turn, window = (torch.randn(size, n, generator=g) for n in (3, 3, 2))
    out = {"center_delta_mm": 20 * delta, "center_distance_mm": 20 * delta.norm(dim=1), "rotation_delta_deg": 6 * turn,
           "window_target": 0.5 * window, "window_delta": 100 * window, "series_label": scan}
    told = torch.cat([delta, turn, window], 1).repeat(1, pixels * pixels // 8)
    for view, sign in (("a", 1), ("b", -1)):
        grey = 0.5 + 0.1 * sign * told + 0.05 * scan[:, None]
        out[f"patches_{view}"] = grey.view(size, 1, pixels, pixels, 1).repeat(1, patches, 1, 1, 1).to(dtype)
        out[f"positions_{view}"] = 40 * torch.rand(size, patches, 3, generator=g) - 20
    return out | {"scan_id": [f"scan{i}" for i in scan], "series_id": [f"series{i}" for i in scan]}


class Batches:
    """A source without an end. `counters` {number: [4]} go out with that batch, `fail` (number, error) is
    raised instead of it, `pause` {number: seconds} is slept first."""

    def __init__(self, counters=None, fail=None, pause=None, **shape):
        self.counters, self.fail, self.pause, self.shape, self.given = counters or {}, fail, pause or {}, shape, 0

    def __len__(self):
        raise TypeError("no end")

    def __repr__(self):
        return "made batches"

    def batches(self, epoch):
        while True:
            if self.fail and self.given == self.fail[0]:
                raise self.fail[1]
            time.sleep(self.pause.get(self.given, 0))
            made = batch(self.given, **self.shape)
            stats = torch.tensor(self.counters.get(self.given, [0.0] * 4))
            self.given += 1
            yield made | {"loader_stats": stats}

    def state_dict(self):
        return {"given": self.given}

    def load_state_dict(self, state):
        self.given = state["given"]
