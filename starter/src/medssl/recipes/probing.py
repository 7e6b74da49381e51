"""Probes on frozen encoders: every label fraction, every draw of labels, every pretraining seed in one grid."""

from collections.abc import Sequence
from copy import deepcopy
from dataclasses import dataclass

import numpy as np
from torch import nn

from medssl.data import ImageData, label_subset
from medssl.errors import MedsslError
from medssl.evaluate import encode, evaluate, fit_probes, knn_proba, summarise_seeds
from medssl.evaluate.bootstrap import weighted_metrics
from medssl.recipes.supervised import Scored
from medssl.train import find_device

FRACTIONS = (0.01, 0.02, 0.05, 0.1, 0.2, 1.0)


class Features:
    """features["train"], ["val"], ["test"] [N,D] of one encoder, each computed when first asked for, then kept.

    The encoder is copied: what happens to it later (fine-tuning) leaves these features as they are, and the other way
    round. tta: mean feature of ten mirrored and shifted versions, see evaluate.encode; folds of BreastMNIST's train and
    val found SSL features no better for it, so it is off.
    """

    def __init__(self, encoder: nn.Module, data: ImageData, tta: bool = False):
        self.encoder, self.data, self.tta, self.kept = deepcopy(encoder), data, tta, {}

    def __getitem__(self, split: str) -> np.ndarray:
        if split not in self.kept:
            images = self.data.splits[split].images
            self.kept[split] = encode(self.encoder, images, device=find_device(), tta=self.tta)
        return self.kept[split]


@dataclass(repr=False)
class Grid:
    """All runs (encoder x label draw) of all fractions on one split: run = encoder * draws + draw, as in `rows`.

    p {fraction: [runs,N]}; rows: one dict of numbers a run; probes {fraction: [(w [D], b), ...]}, where finetune() can
    start its last layer. All labels (fraction 1) can be drawn in one way only: there are as many runs as encoders.
    """

    split: str
    y: np.ndarray
    classes: tuple[str, ...]
    encoders: int
    p: dict[float, np.ndarray]
    rows: list[dict]
    probes: dict[float, list[tuple[np.ndarray, float]]]

    def values(self, metric: str = "auroc") -> dict[float, list[float]]:
        """{fraction: the metric of every run}."""
        return {f: [row[metric] for row in self.rows if row["fraction"] == f] for f in self.p}

    @property
    def n_labels(self) -> dict[float, int]:
        return {f: int(counts[0]) for f, counts in self.values("n_labels").items()}

    def summary(self, metric: str = "auroc") -> dict[float, dict]:
        """{fraction: {"mean", "std", "n"}}: std is over runs (n - 1), 0 for a single run."""
        return {f: {"mean": float(np.mean(v)), "std": float(np.std(v, ddof=1)) if len(v) > 1 else 0.0, "n": len(v)}
                for f, v in self.values(metric).items()}

    def by_encoder(self, fraction: float) -> np.ndarray:
        """p as [encoders, draws, N], which `difference` and the ladder resample along both."""
        return self.p[fraction].reshape(self.encoders, -1, len(self.y))

    def scored(self, fraction: float, **evaluate_settings) -> Scored:
        """One fraction as Submission.scored() takes it, the run number in place of the seed."""
        p = dict(enumerate(self.p[fraction]))
        per_seed = [{"seed": run, **evaluate(self.y, q, self.classes, seed=run, **evaluate_settings)}
                    for run, q in p.items()]
        return Scored(self.split, self.y, p, per_seed, summarise_seeds(per_seed))


def probe_grid(data: ImageData, encoders: Sequence, *, fractions: Sequence[float] = FRACTIONS, draws: int = 10,
               split: str = "val", tta: bool | None = None, kind: str = "linear", **settings) -> Grid:
    """Probe every encoder (one a pretraining seed) on every fraction of the train labels, in `draws` stratified draws.

    encoders: networks, or Features of them (kept between calls: encode once, then grid on val, then on test). Draw k is
    the same images for every encoder and lies inside draw k of a larger fraction. kind="linear" takes the settings of
    fit_probes (Cs, balanced, choose: C by val), kind="knn" those of knn_proba (k, temperature). Decide on val; split=
    "test" is for the one decision, once: its labels only score, they change no p.
    """
    if split not in data.splits or kind not in ("linear", "knn") or not len(encoders) or draws < 1:
        raise MedsslError(f"{split=}, {kind=}, {draws=}, {len(encoders)} encoders.",
                          f"split {' or '.join(data.splits)}, kind linear or knn, one draw and one encoder or more")
    y = {name: part.labels.numpy() for name, part in data.splits.items()}
    cells = [(f, draw) for f in fractions for draw in range(draws if f < 1 else 1)]
    subsets = [label_subset(data.train.labels, f, draw).numpy() for f, draw in cells]
    p, probes, rows = ({f: [] for f in fractions} for _ in range(3))
    for seed, x in enumerate(encoders):
        x = Features(x, data, bool(tta)) if isinstance(x, nn.Module) else x
        if isinstance(x, Features) and (tta not in (None, x.tta) or x.data.split_hash() != data.split_hash()):
            raise MedsslError(f"Features of {x.data.key} with tta={x.tta}, a grid on {data.key} with tta={tta}.",
                              "features of the very images that the labels belong to, made in the same way")
        if kind == "linear":
            fitted = fit_probes(x["train"], y["train"], x["val"], y["val"], subsets, **settings)
            scores = fitted.predict_proba(x[split])
        else:
            scores = knn_proba(x["train"], y["train"], x[split], subsets, **settings)
        for k, (f, draw) in enumerate(cells):
            p[f].append(scores[k])
            probes[f] += [(fitted.weight[k], float(fitted.bias[k]))] if kind == "linear" else []
            rows[f].append({"fraction": f, "n_labels": len(subsets[k]), "draw": draw, "seed": seed,
                            **numbers(y[split], scores[k]), "C": float(fitted.C[k]) if kind == "linear" else None})
    return Grid(split, y[split], data.classes, len(encoders), {f: np.stack(rows) for f, rows in p.items()},
                [row for f in fractions for row in rows[f]], probes)


def numbers(y: np.ndarray, p: np.ndarray) -> dict[str, float]:
    """The metrics of one run, those of evaluate() and as fast as a grid needs them."""
    order = np.argsort(p, kind="stable")
    found = weighted_metrics(y[order], p[order], np.ones((1, len(y))), 0.5, 10)
    return {name: float(found[name][0]) for name in ("auroc", "accuracy", "balanced_accuracy", "nll", "brier", "ece")}
