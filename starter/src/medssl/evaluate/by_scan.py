"""Probes on crops, many of each scan: which class is it, where was it cut; intervals over scans, not over crops.

Crops of one scan are alike. Whoever draws crops anew believes in as many patients as there are crops, and their
intervals are far too narrow: here whole scans are drawn.
"""

from collections.abc import Mapping

import numpy as np

from medssl.errors import MedsslError
from medssl.evaluate.bootstrap import intervals_of
from medssl.evaluate.probes import scale
from medssl.evaluate.probes_many import fit_many

ALPHAS = (0.1, 1.0, 10.0, 100.0, 1000.0, 10000.0)  # weak to strong pull towards the mean, for standardised features
STEPS = (1e-3, 1e-2, 0.1)  # C of the classes' probe


def scan_folds(scan: np.ndarray, folds: int = 3) -> list[tuple[np.ndarray, np.ndarray]]:
    """[(rows to fit, rows held out), …], no scan on both sides."""
    scans = np.unique(scan)
    if len(scans) < 2:
        raise MedsslError(f"{len(scans)} scan to choose a probe's strength by.", "two or more scans")
    held = [np.isin(scan, scans[k::folds]) for k in range(min(folds, len(scans)))]
    return [(np.flatnonzero(~rows), np.flatnonzero(rows)) for rows in held]


def class_probe(x: np.ndarray, y: np.ndarray, scan: np.ndarray, x_test: np.ndarray) -> np.ndarray:
    """The class [M] that a logistic regression gives x_test [M,D], learnt from x [N,D], y [N] of the scans `scan`. Its
    C is chosen between these scans."""
    mean, std = scale(x)
    x, x_test = (x - mean) / std, (x_test - mean) / std
    known, y = np.unique(y, return_inverse=True)
    model, _ = fit_many(x, y, np.arange(len(x)), scan_folds(scan), STEPS)
    return known[model.predict_proba(x_test).argmax(1)]


def place_probe(x: np.ndarray, place: np.ndarray, scan: np.ndarray, x_test: np.ndarray) -> np.ndarray:
    """Places [M,3] in mm that a ridge regression gives x_test, learnt from x [N,D] and place [N,3]; its strength is
    chosen between the scans."""
    from sklearn.linear_model import Ridge

    mean, std = scale(x)
    x, x_test = (x - mean) / std, (x_test - mean) / std
    folds = scan_folds(scan)
    errors = [sum(((Ridge(alpha).fit(x[fit], place[fit]).predict(x[held]) - place[held]) ** 2).sum()
                  for fit, held in folds) for alpha in ALPHAS]
    return Ridge(ALPHAS[int(np.argmin(errors))]).fit(x, place).predict(x_test)


def class_rates(y: np.ndarray, predicted: Mapping[str, np.ndarray], scan: np.ndarray, against: str | None = None, *,
                n_boot: int = 2000, seed: int = 0) -> dict[str, dict]:
    """{name: {"value": balanced accuracy, "ci95"}} of each prediction [M]: the mean over classes of the share found.
    against: each of the others also has "lead", how much more it has than that one in the same scans, "lead_ci95"."""
    places, columns = np.unique(scan, return_inverse=True)
    classes, k = np.unique(y, return_inverse=True)

    def table(counted: np.ndarray) -> np.ndarray:
        out = np.zeros((len(places), len(classes)))
        np.add.at(out, (columns, k), counted)
        return out

    total, right = table(np.ones(len(y))), {name: table(p == y) for name, p in predicted.items()}

    def measure(weights: np.ndarray) -> dict[str, np.ndarray]:
        with np.errstate(invalid="ignore"):  # a class that no scan of the draw has
            return {name: np.nanmean((weights @ part) / (weights @ total), 1) for name, part in right.items()}

    return _over_scans(measure, len(places), against, n_boot, seed)


def place_errors(place: np.ndarray, predicted: Mapping[str, np.ndarray], guess: np.ndarray, scan: np.ndarray,
                 against: str | None = None, *, n_boot: int = 2000, seed: int = 0) -> dict[str, dict]:
    """{name: {"value": R², "ci95", "mm": mean distance}} of each prediction [M,3] of places in mm.

    R² = 1 - Σ|predicted - place|² / Σ|guess - place|²; guess [3] or [M,3]: the mean place of the crops learnt from, the
    best that somebody says who sees no crop. 0 is no better than that, and less is worse.
    """
    places, columns = np.unique(scan, return_inverse=True)

    def per_scan(values: np.ndarray) -> np.ndarray:
        return np.bincount(columns, values, len(places))

    blind = per_scan(((guess - place) ** 2).sum(1))
    off = {name: per_scan(((p - place) ** 2).sum(1)) for name, p in predicted.items()}

    def measure(weights: np.ndarray) -> dict[str, np.ndarray]:
        return {name: 1 - (weights @ part) / (weights @ blind) for name, part in off.items()}

    found = _over_scans(measure, len(places), against, n_boot, seed)
    return {name: row | {"mm": float(np.linalg.norm(predicted[name] - place, axis=1).mean())}
            for name, row in found.items()}


def _over_scans(measure, scans: int, against: str | None, n_boot: int, seed: int) -> dict[str, dict]:
    """The measures of all scans, with intervals: scans are drawn with replacement, the same ones for every name."""

    def with_leads(weights: np.ndarray) -> dict[str, np.ndarray]:
        found = measure(weights)
        return found | {f"lead of {name}": value - found[against] for name, value in found.items()
                        if against is not None and name != against}

    value = {name: float(v[0]) for name, v in with_leads(np.ones((1, scans))).items()}
    ends, out = intervals_of(with_leads, np.zeros(scans), n_boot, seed), {}
    for name in [name for name in value if not name.startswith("lead of ")]:
        out[name] = {"value": value[name], "ci95": ends[name]}
        if (lead := f"lead of {name}") in value:
            out[name] |= {"lead": value[lead], "lead_ci95": ends[lead]}
    return out
