"""The ladder of baselines: a claim that self-supervision helps must first pass what costs nothing."""

from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import nn

from medssl.data import ImageData, label_subset
from medssl.errors import MedsslError
from medssl.evaluate import difference
from medssl.evaluate.compare import as_runs, metric_rows
from medssl.models import build_encoder, imagenet_weights_at_hand
from medssl.recipes.probing import FRACTIONS, Grid, probe_grid


class Pixels(nn.Module):
    """The "encoder" that does nothing: grey values [B,C,(D,)H,W] -> [B,C*…], larger ones averaged to `side` a side."""

    def __init__(self, side: int = 28):
        super().__init__()
        self.side = side

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = x.float() / 255 if x.dtype == torch.uint8 else x
        pool = nn.functional.adaptive_avg_pool2d if x.ndim == 4 else nn.functional.adaptive_avg_pool3d
        return pool(x, [min(self.side, side) for side in x.shape[2:]]).flatten(1)


class Ladder:
    """What must be beaten, rung by rung: each rung is {fraction: p}, the next one is held against all before it."""

    def __init__(self, y):
        self.y, self.rungs = np.asarray(y), {}

    def add(self, name: str, p) -> "Ladder":
        """p: a Grid of the same split, or {fraction: P(class 1) [runs,N] or [encoders,draws,N]}. An old name is redone.

        Run r should be label draw r (label_subset with seed r), as in the other rungs: then both draw the same luck.
        """
        if isinstance(p, Grid):
            if not np.array_equal(p.y, self.y):
                raise MedsslError(f"The grid of {name!r} is on other labels ({p.split}).", "the split of the ladder",
                                  "the same data and the same split= in ladder() and probe_grid()")
            p = {f: p.by_encoder(f) for f in p.p}
        self.rungs[name] = {f: as_runs(runs, self.y) for f, runs in p.items()}
        return self

    def values(self, metric: str = "auroc") -> dict[str, dict]:
        """{rung: {fraction: the metric of every run}}, as figures.label_efficiency draws it."""
        as_measured = np.ones((1, len(self.y)))
        return {name: {f: metric_rows(self.y, runs.reshape(-1, len(self.y)), as_measured, metric)[0].tolist()
                       for f, runs in p.items()} for name, p in self.rungs.items()}

    def rows(self, fraction: float, metric: str = "auroc") -> dict[str, dict]:
        """{rung: {"mean", "lo", "hi", "std", "runs"}} at one fraction: 95 % interval over test images and runs."""
        out = {}
        for name, each in ((name, curve[fraction]) for name, curve in self.values(metric).items() if fraction in curve):
            out[name] = {**difference(self.y, self.rungs[name][fraction], metric=metric), "runs": len(each),
                         "std": float(np.std(each, ddof=1)) if len(each) > 1 else 0.0}
        return out

    def table(self, fraction: float | None = None, metric: str = "auroc") -> str:
        """Markdown, a row a rung, a column a fraction (or the one): mean ± std over runs [95 % interval]."""
        fractions = sorted({f for p in self.rungs.values() for f in p}) if fraction is None else [fraction]
        columns = [self.rows(f, metric) for f in fractions]
        lines = [["model", *(f"{100 * f:g} %" for f in fractions)], ["---"] * (1 + len(fractions))]
        for name in self.rungs:
            found = [column.get(name) for column in columns]
            lines.append([name, *("–" if v is None else f"{v['mean']:.3f}" + f" ± {v['std']:.3f}" * (v["runs"] > 1)
                                  + f" [{v['lo']:.3f}, {v['hi']:.3f}]" for v in found)])
        return "\n".join(f"| {' | '.join(line)} |" for line in lines)

    def claim(self, rung: str, fraction: float) -> str:
        """One sentence: that `rung` helps, only where its AUROC lead over every row before it clears 0 (95 %)."""
        before = list(self.rungs)[:list(self.rungs).index(rung)] if rung in self.rungs else []
        leads = {name: difference(self.y, self.rungs[rung][fraction], self.rungs[name][fraction])
                 for name in before if fraction in self.rungs[name] and fraction in self.rungs[rung]}
        if not leads:
            raise MedsslError(f"Nothing to hold {rung!r} against at {fraction}.", f"a rung of {', '.join(self.rungs)}, "
                              "not the first, and a fraction that it has", "add() the rungs from the bottom up")
        says = {name: f"{name} ({d['mean']:+.3f} [{d['lo']:+.3f}, {d['hi']:+.3f}])" for name, d in leads.items()}
        open_ = [name for name, d in leads.items() if d["lo"] <= 0]
        absent = [name for name in before if name not in leads]
        tail = f" Not compared, no run with this share: {', '.join(absent)}." if absent else ""
        where = f"With {100 * fraction:g} % of the labels"
        if open_:
            return (f"{where} no claim that {rung} helps: its AUROC lead does not clear 0 over "
                    f"{', '.join(says[name] for name in open_)}.{tail}")
        nearest = min(leads, key=lambda name: leads[name]["lo"])
        rows = "every row before it that has this share" if absent else "every row before it"
        return f"{where} {rung} helps: its AUROC lead clears 0 over {rows}, least over {says[nearest]}.{tail}"


def ladder(data: ImageData, *, fractions: Sequence[float] = FRACTIONS, draws: int = 10, split: str = "val",
           model: str | Callable[[], nn.Module] = "smallcnn", stem: str = "imagenet", seeds: int = 3,
           tta: bool = False, **settings) -> Ladder:
    """The rungs that need no training: majority, pixels, random frozen encoders, ImageNet where its file is.

    model: a name, or a function that builds the network; a new one has other first weights.
    Then add() the supervised runs on the same labels, the locked reference, the SSL probe, the SSL fine-tuning.
    """
    y = data.train.labels.numpy()
    share = {f: [y[label_subset(data.train.labels, f, k).numpy()].mean() for k in range(draws if f < 1 else 1)]
             for f in fractions}
    n = len(data.splits[split])
    rungs = Ladder(data.splits[split].labels).add("majority", {f: np.repeat(np.array(v)[:, None], n, 1)
                                                               for f, v in share.items()})
    volumes, options = data.train.images.ndim == 5, {"stem": stem} if str(model).startswith("resnet") else {}
    name = model if isinstance(model, str) else "encoder"
    found = {f"logistic regression on {'voxels' if volumes else 'pixels'}": [Pixels()], f"random {name}, frozen": []}
    for seed in range(seeds):
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            found[f"random {name}, frozen"].append(build_encoder(model, in_channels=data.channels, **options)
                                                   if isinstance(model, str) else model())
    if imagenet_weights_at_hand() and not volumes:
        found["ImageNet resnet18, frozen"] = [build_encoder("resnet18", in_channels=data.channels, weights="imagenet")]
    for name, encoders in found.items():
        rungs.add(name, probe_grid(data, encoders, fractions=fractions, draws=draws, split=split, tta=tta, **settings))
    return rungs
