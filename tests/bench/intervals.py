"""Calibration and all metrics with 95 % intervals, against loops of scikit-learn and torchmetrics over resamples.

Ours: 2000 resamples of the images, ten metrics each, in one call. The loops measure the same resamples one by one: in
scikit-learn seven of the ten (it has no ECE, and no need of AUROC twice), in torchmetrics four. Before anything is
timed every metric of 20 resamples equals theirs. A loop is timed over 20 resamples and counted 100 times over.
"""

import numpy as np
import torch
from timing import compare, save

from medssl.evaluate.bootstrap import bootstrap_intervals, resample_weights, weighted_metrics

DRAWS, LOOP = 2000, 20


def by_sklearn(y, p):
    from sklearn import metrics

    says = p >= 0.5
    return {"accuracy": metrics.accuracy_score(y, says), "balanced_accuracy": metrics.balanced_accuracy_score(y, says),
            "f1": metrics.f1_score(y, says), "nll": metrics.log_loss(y, p), "brier": metrics.brier_score_loss(y, p),
            "auroc": metrics.roc_auc_score(y, p), "auprc": metrics.average_precision_score(y, p)}


def by_torchmetrics(y, p):
    from torchmetrics.functional import classification as tm

    y, p = torch.from_numpy(y), torch.from_numpy(p)
    return {"accuracy": tm.binary_accuracy(p, y).item(), "auroc": tm.binary_auroc(p, y).item(),
            "auprc": tm.binary_average_precision(p, y).item(),
            "ece_positive": tm.binary_calibration_error(p, y, n_bins=10, norm="l1").item()}


def measure(n: int, rounds: int = 5) -> list[dict]:
    """For a test set of n images, a quarter of them class 0."""
    rng = np.random.default_rng(n)
    y = (np.arange(n) % 4 > 0).astype(int)
    p = 1 / (1 + np.exp(-(2 * y - 1 + rng.normal(size=n))))
    order = np.argsort(p)
    y, p = y[order], p[order]
    weights = resample_weights(y, rng, LOOP)
    ours = weighted_metrics(y, p, weights, 0.5, 10)
    resamples = [np.repeat(np.arange(n), w.astype(int)) for w in weights]

    def checked(metrics):
        def loop():
            return [metrics(y[i], p[i]) for i in resamples]

        found = loop()
        apart = max(abs(row[name] - ours[name][k]) for k, row in enumerate(found) for name in row)
        assert apart < 1e-5, f"metrics up to {apart:.1e} apart"
        equal = f"{len(found[0])} metrics of {LOOP} resamples within {apart:.0e}"
        return loop, f"{equal}; timed over these, times {DRAWS // LOOP}"

    return compare("ten metrics with intervals", f"{n} images", lambda: bootstrap_intervals(y, p, n_boot=DRAWS), {
        "loop of scikit-learn, 7 metrics": ("scikit-learn", lambda: checked(by_sklearn)),
        "loop of torchmetrics, 4 metrics": ("torchmetrics", lambda: checked(by_torchmetrics))},
        unit="s", rounds=rounds, counted=DRAWS / LOOP)


if __name__ == "__main__":
    torch.set_num_threads(1)
    save("intervals", measure(156) + measure(624))
