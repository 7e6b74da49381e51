"""Figures of thresholds: what every threshold would do (ROC, PR, missed against false alarms), and what ours did.

"Positive" is class 1, named on every axis: in BreastMNIST that is the benign one: a missed cancer is a FALSE POSITIVE.
"""

from collections.abc import Mapping, Sequence
from textwrap import fill

import numpy as np

from medssl.errors import MedsslError
from medssl.figures.style import COLOURS, HATCHES, LINES, MARKERS, check_pair, headed, legend_below, named, new_figure

CLASSES = "class 0", "class 1"


def found_and_alarmed(y, p, weights=1.0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(thresholds [G+1] falling from infinity through all values of p, tp [..., G+1], fp [..., G+1] at p >= threshold).

    Images of equal p are one step. weights [..., N]: how often each image counts.
    """
    order = np.argsort(-p, kind="stable")
    step = np.flatnonzero(np.r_[p[order][1:] != p[order][:-1], True])
    tp, fp = (np.cumsum((weights * (y == k))[..., order], -1)[..., step] for k in (1, 0))
    return np.r_[np.inf, p[order][step]], *(np.concatenate([0 * n[..., :1], n], -1) for n in (tp, fp))


def curve(kind: str, y, p, weights=1.0) -> tuple[np.ndarray, np.ndarray]:
    """(x, y) [..., G+1] of the ROC curve, (FP rate, TP rate), or of the PR curve, (recall, precision)."""
    _, tp, fp = found_and_alarmed(y, p, weights)
    recall = tp / tp[..., -1:]
    if kind == "AUROC":
        return fp / fp[..., -1:], recall
    precision = tp / np.maximum(tp + fp, 1)
    precision[..., 0] = precision[..., 1]  # no alarm has no precision: the curve begins level
    return recall, precision


def pointwise_band(kind: str, y, p, grid, n_boot: int) -> tuple[np.ndarray, np.ndarray]:
    """Between which heights 95 % of n_boot resampled curves run, at each x of grid; resampled within each class."""
    rng, weights = np.random.default_rng(0), np.zeros((n_boot, len(y)))
    for k in (0, 1):
        weights[:, y == k] = rng.multinomial(n := (y == k).sum(), np.full(n, 1 / n), size=n_boot)
    curves = [np.interp(grid, x, height) if kind == "AUROC" else height[np.searchsorted(x, grid)]
              for x, height in zip(*curve(kind, y, p, weights), strict=True)]
    return np.quantile(curves, (0.025, 0.975), axis=0)


def draw_curves(kind: str, models, points, keys, words, positive: str, n_boot: int, title: str):
    """What the two figures below share: curves with their bands, operating points with their bars."""
    models = {name: check_pair(*pair) for name, pair in models.items()}
    missing = sorted({key for point in points for key in ("name", *keys) if key not in point})
    if missing or not models or any(y.min() == y.max() for y, _ in models.values()):
        raise MedsslError(f"points without {missing}." if missing else "no model, or labels of one class only.",
                          f"{{name: (y, p)}} with both classes; points with a name, {keys[0]} and {keys[1]}",
                          "pass whole splits, and the rows of evaluate's at_threshold with a name added")
    figure, ((ax,),) = new_figure(5.0, 5.2 + 0.19 * (len(models) + len(points)))
    grid, roc = np.linspace(0, 1, 101)[1:], kind == "AUROC"
    for k, (name, (y, p)) in enumerate(models.items()):
        x, height = curve(kind, y, p)
        area = (np.diff(x) * (height[1:] + height[:-1]) / 2 if roc else np.diff(x) * height[1:]).sum()
        ax.plot(x, height, linestyle=LINES[k % 4], linewidth=2, color=COLOURS[k % 7],
                drawstyle="default" if roc else "steps-pre", label=named(f"{name}: {kind} {area:.3f}", 52))
        if n_boot:
            band = pointwise_band(kind, y, p, grid, n_boot)
            ax.fill_between(grid, *band, color=COLOURS[k % 7], alpha=0.12, linewidth=0)
    if roc:
        ax.plot([0, 1], [0, 1], "k:", linewidth=1, label="no skill: AUROC 0.5")
    for share in [] if roc else dict.fromkeys(y.mean() for y, _ in models.values()):
        ax.axhline(share, color="black", linestyle=":", linewidth=1, label=f"no skill: prevalence {share:.3f}")
    shown = [f"({point[keys[0]]:.3f}, {point[keys[1]]:.3f})" for point in points]
    for k, (point, here) in enumerate(zip(points, shown, strict=True)):
        x, height, bars = point[keys[0]], point[keys[1]], point.get("ci95", {})
        ax.plot(bars.get(keys[0], [x, x]), [height] * 2, "k-", linewidth=1)
        ax.plot([x] * 2, bars.get(keys[1], [height] * 2), "k-", linewidth=1)
        if here not in shown[:k]:  # points at one place share a marker and its line in the legend
            together = " = ".join(other["name"] for other, there in zip(points, shown, strict=True) if there == here)
            ax.plot(x, height, MARKERS[k % 7], markeredgecolor="black", markerfacecolor=(1, 1, 1, 0.5), markersize=8,
                    zorder=5, label=named(f"{together}: {here}", 52))  # half see-through: a near one is seen as well
    sizes = " / ".join(dict.fromkeys(f"n = {len(y)}, of them {y.sum()} {positive}" for y, _ in models.values()))
    notes = ["band: 95 % of resamples"] * bool(n_boot) + ["bars: 95 % intervals"] * any("ci95" in row for row in points)
    figure.suptitle(headed(title, f"{sizes}\n{' · '.join(notes)}", 56), fontsize=10)
    ax.set(xlim=(-0.02, 1.02), ylim=(-0.02, 1.02), aspect="equal", xlabel=fill(words[0], 56), ylabel=fill(words[1], 56))
    ax.grid(alpha=0.3)
    legend_below(figure, ax, 1)
    return figure


def roc_curves(models: Mapping[str, tuple], points: Sequence[Mapping] = (), positive: str = "class 1", *,
               n_boot: int = 500, title: str = ""):
    """ROC curves of {name: (y, p)} with AUROC; points = [{"name", "fpr", "tpr"[, "ci95"]}] mark operating points.

    The band (n_boot=0: none) holds 95 % of the resampled curves at each x by itself, not 95 % of whole curves.
    """
    words = (f"false-positive rate: share of the others called {positive}",
             f"true-positive rate: share of {positive} found")
    return draw_curves("AUROC", models, points, ("fpr", "tpr"), words, positive, n_boot, title)


def pr_curves(models: Mapping[str, tuple], points: Sequence[Mapping] = (), positive: str = "class 1", *,
              n_boot: int = 500, title: str = ""):
    """Precision against recall, with AUPRC (average precision) and the prevalence, which guessing reaches.

    points = [{"name", "recall", "precision"[, "ci95"]}], as evaluate's at_threshold has them.
    """
    words = f"recall: share of {positive} found", f"precision: share right of those called {positive}"
    return draw_curves("AUPRC", models, points, ("recall", "precision"), words, positive, n_boot, title)


def threshold_drift(rows: Sequence[Mapping], positive: str = "class 1", *, title: str = ""):
    """Where each threshold was on val, by which it was chosen, and is on test: rows of evaluate's operating_points.

    A dash marks the target of a rule that had one. A "name" in the row replaces the one made of rule and target.
    """
    if not rows:
        raise MedsslError("there is no row.", "rows of evaluate's operating_points", "choose at least one rule")
    made = {"tpr": "TPR ≥ {target:g}", "fpr": "FPR ≤ {target:g}", "youden": "Youden", "fixed": "fixed",
            "cost": "cost FN {cost_fn:g} : FP {cost_fp:g}"}
    names = [row.get("name") or made[row["rule"]].format(**{"cost_fn": 1, "cost_fp": 1} | row) for row in rows]
    names = [f"{fill(name, 24)}\np ≥ {row['threshold']:.3f}" for name, row in zip(names, rows, strict=True)]
    height = 0.28 + 0.17 * max(name.count("\n") + 1 for name in names)  # inches a row, so that long names never touch
    figure, (axes,) = new_figure(8.6, 1.6 + height * len(rows), 1, 2, sharey=True)
    words = {"tpr": f"TPR: share of {positive} found", "fpr": f"FPR: share of the others called {positive}"}
    for ax, (key, meaning) in zip(axes, words.items(), strict=True):
        for k, row in enumerate(rows):
            if row["rule"] == key and row.get("target") is not None:
                ax.plot([row["target"]] * 2, [k - 0.38, k + 0.38], "k--", linewidth=1.2)
            for at, marker, face, split in ((k - 0.16, "o", "white", "val"), (k + 0.16, "s", COLOURS[0], "test")):
                point = row[split]
                ax.plot(point.get("ci95", {}).get(key, [point[key]] * 2), [at, at], color=COLOURS[0], linewidth=1.2)
                ax.plot(point[key], at, marker, color=COLOURS[0], markerfacecolor=face, zorder=4)
            ax.annotate("", (row["test"][key], k + 0.16), (row["val"][key], k - 0.16), zorder=5,
                        arrowprops={"arrowstyle": "->", "shrinkA": 3, "shrinkB": 3})
        ax.set(xlim=(-0.03, 1.03), ylim=(len(rows) - 0.5, -0.5), xlabel=fill(meaning, 38))
        ax.grid(axis="x", alpha=0.3)
    axes[0].set_yticks(range(len(rows)), names)
    val, test = (f"{split} (n = {rows[0][split].get('n', '?')})" for split in ("val", "test"))
    notes = f"○ {val}, where it was chosen → ■ {test}" + " · dashed: target" * any(row["rule"] in words for row in rows)
    bars = " · bars: 95 % intervals" * any("ci95" in row["test"] for row in rows)
    figure.suptitle(headed(title, notes + bars, 104), fontsize=10)
    return figure


def score_histograms(splits: Mapping[str, tuple], threshold: float | None = None, classes: Sequence[str] = CLASSES, *,
                     bins: int = 20, title: str = ""):
    """P(class 1) of each class in {split: (y, p)}, one split above the other: why a threshold transfers or does not."""
    splits = {name: check_pair(*pair) for name, pair in splits.items()}
    if not splits:
        raise MedsslError("there is no split.", '{"val": (y, p), "test": (y, p)}')
    figure, axes = new_figure(6.4, 1.2 + 1.9 * len(splits), len(splits), 1, sharex=True, sharey=True)
    for ax, (split, (y, p)) in zip(axes.flat, splits.items(), strict=True):
        for k, name in enumerate(classes):
            counts, edges = np.histogram(p[y == k], bins, (0, 1))
            ax.stairs(counts / max(1, counts.sum()), edges, fill=True, facecolor=(COLOURS[k], 0.4),
                      edgecolor=COLOURS[k], linewidth=2, linestyle=LINES[1 - k], hatch=HATCHES[k], label=named(name))
        numbers = f"{split}: n = " + " + ".join(f"{(y == k).sum()} {name}" for k, name in enumerate(classes))
        if threshold is not None:
            ax.axvline(threshold, color="black", linewidth=1.5)
            tpr, fpr = (f"{np.mean(p[y == k] >= threshold):.3f}" if k in y else "–" for k in (1, 0))
            numbers += f" · p ≥ {threshold:.3f}: TPR {tpr}, FPR {fpr}"
        ax.set_title(fill(numbers, 84), fontsize=9, loc="left")
        ax.set_ylabel("share of class")
    axes.flat[-1].set(xlim=(0, 1), xlabel=fill(f"predicted P({classes[1]}), {bins} equal-width bins", 60))
    if title:
        figure.suptitle(fill(title, 70), fontsize=10)
    legend_below(figure, ax)
    return figure


def trade_off(y, p, classes: Sequence[str] = CLASSES, *, points: Sequence[Mapping] = (), title: str = ""):
    """Of 100 images, how many are missed (FN) and how many are false alarms (FP), at every threshold.

    points = [{"name", "threshold"}] mark thresholds, with their numbers in the legend.
    """
    y, p = check_pair(y, p)
    figure, ((ax,),) = new_figure(6.4, 4.4 + 0.19 * len(points))
    thresholds, tp, fp = found_and_alarmed(y, p)
    x = np.r_[0, np.minimum(thresholds[::-1], 1)]
    wrong = {f"FN: {classes[1]} called {classes[0]}": y.sum() - tp, f"FP: {classes[0]} called {classes[1]}": fp}
    for k, (name, counts) in enumerate(wrong.items()):
        ax.plot(x, 100 / len(y) * np.r_[counts[-1:], counts[::-1]], drawstyle="steps-pre", linewidth=2,
                linestyle=LINES[k], color=COLOURS[3 * k], label=named(name, 64))
    for k, (name, at) in enumerate((point["name"], point["threshold"]) for point in points):
        fn, fp = (100 * np.mean((y == k) & ((p >= at) != k)) for k in (1, 0))
        ax.axvline(at, color="black", linewidth=0.8, linestyle=":")
        ax.plot([at, at], [fn, fp], MARKERS[k % 7], color="black", markerfacecolor="white", markersize=7, zorder=4,
                label=named(f"{name}: p ≥ {at:.3f}, FN {fn:.1f}, FP {fp:.1f}", 64))
    ax.set(xlim=(0, 1), xlabel=fill(f"threshold on P({classes[1]})", 60), ylabel="errors in 100 images")
    ax.set_ylim(bottom=0)
    ax.grid(alpha=0.3)
    figure.suptitle(headed(title, f"n = {len(y)}, of them {y.sum()} {classes[1]}", 70), fontsize=10)
    legend_below(figure, ax, 1)
    return figure
