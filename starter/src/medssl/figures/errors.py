"""Figures of right and wrong: confusion matrix, reliability diagram, gallery of errors."""

from collections.abc import Mapping, Sequence
from numbers import Integral
from textwrap import fill

import numpy as np

from medssl.errors import MedsslError
from medssl.figures.style import COLOURS, GREY, check_pair, headed, legend_below, new_figure, show_image, vector
from medssl.files import write_atomic


def confusion(matrix, classes: Sequence[str], *, title: str = ""):
    """Counts [[tn, fp], [fn, tp]] (rows: true class), each with its share of the row; shade = that share.

    `title`, here and below, is the first line of the figure's own: name model, split and seed in it.
    """
    matrix = np.asarray(matrix)
    if matrix.shape != (len(classes), len(classes)):
        raise MedsslError(f"the matrix has shape {list(matrix.shape)}, and there are {len(classes)} classes.",
                          "one row and one column a class", 'pass evaluate(…)["confusion"] and data.classes')
    shares = matrix / np.maximum(matrix.sum(1, keepdims=True), 1)
    figure, ((ax,),) = new_figure(4.4, 3.8)
    ax.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    for (i, j), count in np.ndenumerate(matrix):
        ax.text(j, i, f"{count}\n{shares[i, j]:.0%} of row", ha="center", va="center", fontsize=10,
                color="white" if shares[i, j] > 0.6 else "black")
    names = [fill(name, 14) for name in classes]
    ax.set_xticks(range(len(classes)), names)
    ax.set_yticks(range(len(classes)), names)
    ax.set(xlabel="predicted class", ylabel="true class")
    accuracy, positive = np.trace(matrix) / max(1, matrix.sum()), f"\npositive class: {classes[1]}"
    numbers = f"n = {matrix.sum()} · accuracy {accuracy:.3f}{positive if len(classes) == 2 else ''}"
    figure.suptitle(headed(title, numbers, 48), fontsize=10)
    return figure


def reliability(y, p, positive: str, bins: int = 10, *, title: str = ""):
    """Reliability diagram of P(positive class): observed frequency in each equal-width bin, and below it the counts.

    The grey band is the range of frequencies (binomial, 95 %) that a perfectly calibrated model would show in bins this
    full: only dots outside (diamonds) tell of miscalibration. Its ECE would not be 0 either, and stands beside ours.
    p = {name: p [N]} draws several side by side on the same axes, as before and after calibration; y may be {name: y}.
    """
    several = isinstance(p, Mapping)
    models = {name: check_pair(y[name] if isinstance(y, Mapping) else y, values)
              for name, values in (p if several else {title: p}).items()}
    if not isinstance(bins, Integral) or bins < 1 or not models:
        raise MedsslError(f"bins={bins!r} for {len(models)} models.", "a whole number of at least 1, and a model")
    figure, axes = new_figure(1.0 + (3.3 if several else 3.8) * len(models), 6.0, 2, len(models), sharex=True,
                              sharey="row", height_ratios=(4, 1))
    for (name, pair), top, bottom in zip(models.items(), *axes, strict=True):
        error, floor = reliability_panel(top, bottom, *pair, bins)
        numbers = f"n = {len(pair[0])} · {bins} equal-width bins\nECE of P({positive}) = {error:.3f}"
        numbers += f"\nexpected if calibrated: {floor:.3f}"
        top.set_title(headed(name, numbers, 48 - 10 * several), fontsize=10)
        bottom.set(xlim=(0, 1), xlabel=fill(f"predicted P({positive})", 40))
    axes[0, 0].set_ylabel(fill(f"observed frequency of {positive}", 40))
    axes[1, 0].set_ylabel("images")
    if several and title:
        figure.suptitle(fill(title, 38 * len(models)), fontsize=11)
    legend_below(figure, axes[0, 0])
    return figure


def reliability_panel(top, bottom, y, p, bins: int) -> tuple[float, float]:
    """Draw one diagram; returns its ECE, and the ECE to be expected if labels were drawn with the mean p of each bin.

    The second is sum_b E|X_b - n_b m_b| / N, X_b ~ Binomial(n_b, m_b), where (de Moivre 1730)
    E|X - n m| = 2 k (1 - m) P(X = k), k = floor(n m) + 1.
    """
    from scipy.stats import binom

    index = np.searchsorted(np.arange(1, bins) / bins, p)  # bins are (lo, hi]
    count = np.bincount(index, minlength=bins)
    full = np.flatnonzero(count)
    n, left = count[full], full / bins
    mean, observed = (np.bincount(index, values, bins)[full] / n for values in (p, y))
    mean = np.clip(mean, 0, 1)
    low, high = binom.ppf([[0.025], [0.975]], n, mean) / n
    top.bar(left, high - low, 1 / bins, low, align="edge", color=GREY, alpha=0.6, label="calibrated model, 95 %")
    top.plot([0, 1], [0, 1], "k--", linewidth=1, label="perfect calibration")
    top.vlines(mean, mean, observed, color="black", linewidth=1)
    for inside, look in ((True, {"marker": "o", "color": COLOURS[0]}), (False, {"marker": "D", "color": COLOURS[3]})):
        chosen = ((observed >= low) & (observed <= high)) == inside
        top.plot(mean[chosen], observed[chosen], linestyle="", **look,
                 label=f"bin {'inside' if inside else 'outside'} the band")
    top.set_ylim(-0.03, 1.03)
    bars = bottom.bar(left, n, 1 / bins, align="edge", color=COLOURS[5], edgecolor="white")
    if bins <= 15:
        bottom.bar_label(bars, fontsize=7)
    bottom.margins(y=0.3)
    k = np.floor(n * mean) + 1
    expected = 2 * k * (1 - mean) * binom.pmf(k, n, mean)
    return (n * np.abs(observed - mean)).sum() / len(y), expected.sum() / len(y)


def misclassified(images, y, p, classes: Sequence[str], indices=None, csv=None, n: int = 10, threshold: float = 0.5, *,
                  title: str = ""):
    """The n most confident errors (largest |p - threshold| first), or those at `indices`; p = P(classes[1]).

    Every picture is an error and none is shown twice, by index or by pixels: a given index that breaks this is refused.
    `csv` names a file for the same rows: index, y_true, p, predicted.
    """
    y, p = check_pair(y, p, images)
    if not isinstance(n, Integral) or n < 1 or not 0 <= threshold <= 1:
        raise MedsslError(f"n={n!r}, threshold={threshold!r}.", "at least one picture, a threshold in [0, 1]")
    predicted = (p >= threshold).astype(int)
    wrong = np.flatnonzero(predicted != y)
    ranked = wrong[np.argsort(-np.abs(p[wrong] - threshold), kind="stable")]
    shown, seen, asked = [], set(), ranked if indices is None else vector(indices, "indices")
    if asked.dtype.kind not in "iu" or ((asked < 0) | (asked >= len(y))).any():
        raise MedsslError(f"the indices {str(indices)[:60]} do not fit.", f"whole numbers from 0 to {len(y) - 1}",
                          "leave `indices` out: errors are then found")
    for i in map(int, asked):
        pixels = np.asarray(images[i].cpu() if hasattr(images[i], "cpu") else images[i]).tobytes()
        if indices is not None and (predicted[i] == y[i] or pixels in seen):
            raise MedsslError(f"image {i} is {'no error' if predicted[i] == y[i] else 'shown already'}.",
                              "distinct images, each wrongly classified", "leave `indices` out: errors are then found")
        if pixels not in seen and (indices is not None or len(shown) < n):
            shown.append(i)
            seen.add(pixels)
    if csv is not None:
        lines = ["index,y_true,p,predicted", *(f"{i},{int(y[i])},{p[i]:.9g},{predicted[i]}" for i in shown)]
        write_atomic(csv, "\n".join(lines) + "\n")

    captions = ["\n".join(fill(line, 28) for line in (
        f"#{i} true: {classes[int(y[i])]}", f"predicted: {classes[predicted[i]]}", f"P({classes[1]}) = {p[i]:.2f}"))
        for i in shown]
    rows, lines = max(1, -(-len(shown) // 5)), max((caption.count("\n") + 1 for caption in captions), default=0)
    figure, axes = new_figure(9.5, 0.8 + (1.9 + 0.15 * lines) * rows if shown else 1, rows, 5)
    for k, ax in enumerate(axes.flat):
        ax.set_axis_off()
        if k < len(shown):
            show_image(ax, images[shown[k]])
            ax.set_title(captions[k], fontsize=8)
    rule = "the most confident first" if indices is None else "chosen by index"
    numbers = (f"{len(shown)} of {len(wrong)} errors among n = {len(y)}, {rule}" if len(wrong) else
               f"no errors among n = {len(y)} at threshold {threshold:g}: nothing to show")
    figure.suptitle(headed(title, numbers, 100), fontsize=11)
    return figure
