"""What an encoder is worth, in one call: linear probe, few labels, few shots, fine-tuning; one dict and one table."""

from collections.abc import Sequence

import numpy as np
from torch import nn

from medssl.data import ImageData, label_subset
from medssl.errors import MedsslError
from medssl.evaluate import auroc_values, few_shot, fit_many, over_runs, report
from medssl.evaluate.over_runs import strata
from medssl.evaluate.probes import scale
from medssl.recipes.finetuning import finetune
from medssl.recipes.probing import Features, probe_grid
from medssl.recipes.supervised import score

SHARES = (0.01, 0.05, 0.1, 0.25, 0.5, 1.0)


def assess(encoder: nn.Module, data: ImageData, *, shares: Sequence[float] = SHARES, draws: int = 10,
           shots: Sequence[int] = (5, 10, 20), episodes: int = 100, finetune_steps: int | None = None, seed: int = 0,
           n_boot: int = 2000, **finetune_settings) -> dict:
    """Everything on the test split, once, ready for JSON; `assessment_table` makes a text of it.

    "rows": one dict a line of the table. "linear_probe": all numbers of the probe on all labels. "notes": what was left
    out, and why. Labels may be of two classes, of K, or [N,K] (several at once; few shots are then left out: an episode
    would need images of one label each). Probes choose C on val, all of which counts as labelled; few shots choose
    nothing. Intervals are over test images and, where there are several, label draws or episodes; a new pretraining
    would add its own luck, which no interval of one encoder knows.

    finetune_steps=…: also fine-tune all of it on all labels, for two classes (settings of recipes.finetune).
    """
    if not all(len(part) for part in data.splits.values()):
        raise MedsslError(f"{data.key} has {', '.join(f'{len(s)} {n}' for n, s in data.splits.items())} images.",
                          "labelled images in train, val and test")
    x, y = Features(encoder, data), {name: part.labels.numpy() for name, part in data.splits.items()}
    p = _probes(x, y, data, sorted({*shares, 1.0}), draws)
    rows, notes, boot = [], [], {"n_boot": n_boot, "seed": seed}

    def row(what: str, n_labels: int, runs: np.ndarray, metric: str = "auroc") -> None:
        found = over_runs(auroc_values(y["test"], runs), strata(y["test"]), **boot)
        rows.append({"what": what, "labels": n_labels, "metric": metric, **found, "runs": len(runs)})

    for share, (n_labels, runs) in p.items():
        row(f"linear probe, {100 * share:g} % of labels", n_labels, runs[..., 1:] if runs.shape[2] == 2 and
            y["test"].ndim == 1 else runs)
    several, counts = y["train"].ndim == 2, None if y["train"].ndim == 2 else np.bincount(y["train"])
    if several:
        notes.append("few-shot: left out, an image may have several labels")
    for n in shots if not several else ():
        if counts.min() < n:
            notes.append(f"{n}-shot: left out, the rarest class has {counts.min()} train images")
            continue
        for kind in ("knn", "centroid"):
            found = few_shot(x["train"], y["train"], x["test"], y["test"], shots=(n,), episodes=episodes, kind=kind,
                             **boot)[n]
            rows += [{"what": f"{n}-shot {kind}", "labels": n * len(counts), "metric": metric, **found[metric],
                      "runs": episodes} for metric in ("auroc", "balanced_accuracy")]
    if finetune_steps and (several or len(data.classes) > 2):
        notes.append("fine-tuning: left out, it is for two classes")
    elif finetune_steps:
        run = finetune(data, encoder, fraction=1.0, seed=seed, steps=finetune_steps, **finetune_settings)
        row(f"fine-tuned, {finetune_steps} steps", len(data.train), score([run], data, "test", n_boot=0).p[seed][
            None, :, None])
    name = encoder.describe() if hasattr(encoder, "describe") else type(encoder).__name__
    return {"data": data.key, "phantom": data.is_phantom, "split_hash": data.split_hash(), "encoder": name,
            "split": "test", "n": {part: len(labels) for part, labels in y.items()}, "classes": list(data.classes),
            "rows": rows, "notes": notes, "linear_probe": report(y["test"], p[1.0][1][0], data.classes, **boot)}


def _probes(x: Features, y: dict, data: ImageData, shares: Sequence[float], draws: int) -> dict:
    """{share: (labels, P [draws,N,K])}: the fast grid for two classes, scikit-learn for more."""
    if y["train"].ndim == 1 and len(data.classes) == 2:
        grid = probe_grid(data, [x], fractions=shares, draws=draws, split="test")
        return {f: (grid.n_labels[f], np.stack([1 - p, p], 2)) for f, p in grid.p.items()}
    mean, std = scale(x["train"].astype(np.float64))
    train, val, test = ((x[name] - mean) / std for name in ("train", "val", "test"))
    z, labels, out = np.concatenate([train, val]), np.concatenate([y["train"], y["val"]]), {}
    held = np.arange(len(train), len(z))
    for share in shares:
        subsets = [label_subset(strata(y["train"]), share, draw).numpy() for draw in range(draws if share < 1 else 1)]
        p = [fit_many(z, labels, subset, [(subset, held)])[0].predict_proba(test) for subset in subsets]
        out[share] = len(subsets[0]), np.stack(p)
    return out


def assessment_table(result: dict) -> str:
    """The dict of `assess` as Markdown: mean [95 % interval] on test, and what stands behind it."""
    lines = [["what", "labels", "metric", "test [95 % interval]", "runs"], ["---"] * 5]
    lines += [[r["what"], str(r["labels"]), r["metric"], f"{r['mean']:.3f} [{r['lo']:.3f}, {r['hi']:.3f}]",
               str(r["runs"])] for r in result["rows"]]
    widths = [max(len(line[k]) for line in lines) for k in range(5)]
    table = ["| " + " | ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)) + " |"
             for line in lines]
    n, probe = result["n"], result["linear_probe"]
    per_class = {c: v["auroc"] for c, v in probe["per_class"].items() if "auroc" in v}
    phantom = " PHANTOM data: made by a program, no patients." * result["phantom"]
    return "\n".join([
        f"{result['encoder']} on {result['data']} (split {result['split_hash']}), test n = {n['test']}.{phantom}", "",
        *table, "",
        f"Chance: AUROC 0.5, balanced accuracy {1 / len(result['classes']):.2g}. labels: train labels that were used; "
        f"probes also chose C on all {n['val']} val labels. runs: label draws or episodes.",
        "Intervals: test images and runs drawn anew; not another pretraining, not another hospital.",
        *([f"AUROC of each class: {', '.join(f'{c} {v:.3f}' for c, v in per_class.items())}."] if per_class else []),
        *(f"Note: {note}." for note in result["notes"])]) + "\n"
