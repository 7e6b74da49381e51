"""What a model loses on shifted images, and whether the loss is more than chance."""

from collections.abc import Callable

import numpy as np

from medssl.errors import MedsslError
from medssl.evaluate.bootstrap import paired_change, resample_weights
from medssl.evaluate.checks import check_labels_and_probabilities
from medssl.evaluate.metrics import evaluate
from medssl.evaluate.thresholds import choose_threshold


def robustness(predict: Callable, images, y, classes, shift: Callable, shifts: dict[str, tuple], *, n_boot: int = 1000,
               seed: int = 0) -> list[dict]:
    """One row for the clean images ({"shift": "none", "strength": 0}) and one for each kind and strength of `shifts`.

    predict(images) -> p [N]; shift(images, kind, strength) -> images: the shifts come from outside, seeded there.
    A row holds all of evaluate() and "change": shifted - clean of each metric, {"auroc": {"change", "ci95"}, …}, with
    the same images drawn for both. That interval is narrower than two ci95 side by side, for a hard image is hard
    in both. Model and threshold (0.5) stay as they were: nothing is fitted anew.
    """
    clean = np.asarray(predict(images))
    rows = [{"shift": "none", "strength": 0.0} | evaluate(y, clean, classes, n_boot=n_boot, seed=seed) | {"change": {}}]
    for kind, strengths in shifts.items():
        for strength in strengths:
            p = np.asarray(predict(shift(images, kind, strength)))
            rows.append({"shift": kind, "strength": float(strength)}
                        | evaluate(y, p, classes, n_boot=n_boot, seed=seed)
                        | {"change": paired_change(y, clean, p, n_boot=n_boot, seed=seed)})
    return rows


def shift_changes(rows: list[dict], metrics=("auroc", "ece"), model: str = "") -> list[dict]:
    """Rows of robustness() as figures.shift_curves draws *changes*: {"shift", "strength", "n", "change_of_auroc", ...,
    "ci95"}, the clean row being 0 by definition. model: a name to go before, where several models share a figure."""
    out = []
    for row in rows:
        moved = {metric: row["change"].get(metric, {"change": 0.0, "ci95": [0.0, 0.0]}) for metric in metrics}
        names = {metric: f"{model}: change_of_{metric}".lstrip(": ").replace(" ", "_") for metric in metrics}
        out.append({"shift": row["shift"], "strength": row["strength"], "n": row["n"],
                    **{names[metric]: moved[metric]["change"] for metric in metrics},
                    "ci95": {names[metric]: moved[metric]["ci95"] for metric in metrics}})
    return out


def ranking_or_threshold(val: tuple, val_shifted: tuple, test: tuple, test_shifted: tuple, *, n_boot: int = 1000,
                         seed: int = 0) -> dict:
    """What a shift takes from the balanced accuracy, in two parts. Each argument: (y [N], p [runs, N] or [N]).

      total     = clean at t - shifted at t      t: Youden's threshold on val, as it was before the shift
      threshold = shifted at u - shifted at t    u: the same rule on val *under the same shift*: this much comes back
      ranking   = clean at t - shifted at u      what no threshold brings back: the order itself is worse

    total = threshold + ranking. Returns {"clean", "kept", "moved"} (balanced accuracies), {"t", "u"} (mean over runs),
    and of each part {"mean", "lo", "hi"}: 95 % over test images, the same ones for all, runs averaged. Either part
    may be negative by luck: u is chosen on few images, too.
    """
    (y_val, a), (_, b), (y, c), (_, d) = ((np.asarray(truth), np.atleast_2d(p))
                                          for truth, p in (val, val_shifted, test, test_shifted))
    if not a.shape == b.shape or not c.shape == d.shape or len(a) != len(c):
        raise MedsslError(f"p of shapes {a.shape}, {b.shape} on val and {c.shape}, {d.shape} on test.",
                          "the same runs on the same images, clean and shifted")
    for truth, rows in ((y_val, (*a, *b)), (y, (*c, *d))):
        for p in rows:
            check_labels_and_probabilities(truth, p)
    thresholds = np.array([[choose_threshold(y_val, p, "youden") for p in rows] for rows in (a, b)])  # [2, runs]
    # so that the hits of an image add up to the mean of both recalls
    share = np.where(y == 1, 1 / (2 * (y == 1).sum()), 1 / (2 * (y == 0).sum()))
    hits = [(((p >= at[:, None]) == y) * share).mean(0)
            for p, at in ((c, thresholds[0]), (d, thresholds[0]), (d, thresholds[1]))]
    weights = np.concatenate([np.ones((1, len(y))), resample_weights(y, np.random.default_rng(seed), n_boot)])
    clean, kept, moved = (weights @ np.stack(hits, 1)).T
    out = {"clean": float(clean[0]), "kept": float(kept[0]), "moved": float(moved[0]),
           "t": float(thresholds[0].mean()), "u": float(thresholds[1].mean())}
    for name, part in (("total", clean - kept), ("threshold", moved - kept), ("ranking", clean - moved)):
        low, high = np.quantile(part[1:], (0.025, 0.975))
        out[name] = {"mean": float(part[0]), "lo": float(low), "hi": float(high)}
    return out


def told_apart(a, b, folds: int = 5) -> float:
    """Is b like a? Cross-validated AUROC with which a plain classifier on pixels tells images a [N,C,H,W] from b.

    0.5: it cannot, as far as so few images can say (by luck it may fall below). Well above: b comes from elsewhere, and
    a threshold or a calibrator that was fitted on a need not hold on b.
    """
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import StratifiedKFold, cross_val_score
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    groups = [np.asarray(x.cpu() if hasattr(x, "cpu") else x, np.float64).reshape(len(x), -1) for x in (a, b)]
    if min(map(len, groups)) < folds or groups[0].shape[1] != groups[1].shape[1]:
        raise MedsslError(f"{len(a)} and {len(b)} images of {groups[0].shape[1]} and {groups[1].shape[1]} pixels.",
                          f"at least {folds} of each, of one size")
    whose = np.repeat([0, 1], [len(group) for group in groups])
    teller = make_pipeline(StandardScaler(), LogisticRegression(C=1e-3, class_weight="balanced"))
    parts = StratifiedKFold(folds, shuffle=True, random_state=0)
    return float(cross_val_score(teller, np.concatenate(groups), whose, cv=parts, scoring="roc_auc").mean())
