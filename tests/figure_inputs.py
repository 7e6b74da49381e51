"""What the figures of weeks 4-7 are drawn from in tests: runs, scores, rows of tables; and the words in a figure."""

import numpy as np
from test_figures import data, texts

HOSTILE = "_private $\\nosuch{ a$ {x} ünïcode"  # even dollars: a formula to matplotlib, and none that it knows
FRACTIONS = {0.01: 5, 0.02: 11, 0.05: 27, 0.1: 55, 0.2: 109, 1.0: 546}
KEYS = ("loss", "positive_cosine", "negative_cosine", "val_std_mean", "val_std_min", "val_rank")


def run(seed: int, epochs: int = 12, keys=KEYS) -> list[dict]:
    rng = np.random.default_rng(seed)
    return [{"epoch": e, "step": 2 * e, **{key: float(rng.random()) for key in keys}} for e in range(1, epochs + 1)]


def efficiency(runs: int = 30, seed: int = 0) -> dict:
    rng = np.random.default_rng(seed)
    return {fraction: rng.uniform(0.6, 0.9, runs) for fraction in FRACTIONS}


def at(y, p, threshold: float) -> dict:
    tp, fp = ((p >= threshold) & (y == 1)).sum(), ((p >= threshold) & (y == 0)).sum()
    rates = {"tpr": tp / y.sum(), "fpr": fp / (1 - y).sum(), "recall": tp / y.sum(), "precision": tp / (tp + fp)}
    return {"n": len(y), "threshold": threshold, **rates, "ci95": {k: [0.9 * v, 1.0 * v] for k, v in rates.items()}}


def drift_rows() -> list[dict]:
    _, y, p = data()
    rules = (("tpr", 0.95, 0.2), ("fpr", 0.1, 0.8), ("youden", None, 0.5), ("cost", None, 0.3))
    return [{"rule": rule, "target": target, "threshold": t, "val": at(y[:30], p[:30], t), "test": at(y, p, t)}
            for rule, target, t in rules]


def shift_rows(kinds=("brightness", "contrast", "noise", "blur", "crop")) -> list[dict]:
    values = {"auroc": 0.85, "accuracy": 0.8, "ece": 0.06}
    spread = {"ci95": {key: [value - 0.03, value + 0.04] for key, value in values.items()}}
    return [{"shift": "none", "strength": 0, "n": 624, **values, **spread},
            *({"shift": kind, "strength": 0.1 * g, "n": 624, **{k: v - 0.01 * g for k, v in values.items()}, **spread}
              for kind in kinds for g in range(1, 6))]


def words(figure) -> str:
    return " ".join(" ".join(t.get_text() for t in texts(figure)).split())


def legend_of(figure) -> list[str]:
    return [" ".join(t.get_text().split()) for t in figure.legends[0].get_texts()]
