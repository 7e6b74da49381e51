"""Calibrators: maps p -> p' that give the scores of a frozen model their meaning back, learned on *validation* images.

With x = ln(p / (1 - p)), the logit of p, and s(x) = 1 / (1 + exp(-x)), its inverse:

  none         p' = p
  temperature  p' = s(x / T)        one number; T > 1 makes an over-confident model modest; never changes the ranking
  platt        p' = s(a x + b)      two numbers; b moves all scores, as another share of class 1 asks for
  isotonic     p' = m(p)            the best rising m, a staircase: as many numbers as steps
  prior_shift  p' = s(a x + b + c)  Platt, then c = logit(share of class 1 there) - logit(share on val); needs no labels

Few numbers for few images: on 78 of them isotonic gives some a p' of exactly 0 or 1, and one such image of the other
class makes the log loss explode (36 from that image alone). It is kept as sklearn fits it, for the lesson.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy.special import expit, logit

from medssl.errors import MedsslError
from medssl.evaluate.bootstrap import paired_change
from medssl.evaluate.checks import as_vector, check_labels_and_probabilities, check_number
from medssl.evaluate.metrics import evaluate

METHODS = ("none", "temperature", "platt", "isotonic", "prior_shift")
CLIP = np.finfo(float).eps  # p of exactly 0 and 1 have no logit; the NLL of evaluate() is cut at the same 2.2e-16


@dataclass(frozen=True)
class Calibrator:
    """A fitted map: calibrator(p [N]) -> p' [N]; printed as a README may quote it."""

    method: str
    parameters: dict[str, float]
    n: int
    function: Callable[[np.ndarray], np.ndarray]

    def __call__(self, p) -> np.ndarray:
        return self.function(_scores(p))

    def __repr__(self) -> str:
        numbers = ", ".join(f"{name} = {value:.4g}" for name, value in self.parameters.items())
        return f"{self.method} ({numbers}; from {self.n} val images)" if numbers else self.method


def fit_calibrator(y_val, p_val, method: str = "temperature", p_new=None) -> Calibrator:
    """The map that `method` learns from labels y_val [N] and scores p_val [N]; p_new [M]: only for prior_shift.

    Temperature and Platt minimise the log loss; Platt aims at (n1 + 1) / (n1 + 2) and 1 / (n0 + 2) instead of 1 and 0,
    as its author did against over-fitting. Where p separates the classes of val without error no T is small enough: it
    runs to its bound, and p' to 0 and 1. prior_shift also takes p_new, scores from the new place without their labels.
    EM believes p, so Platt comes first: it brings the mean p' on val to the share of class 1 there (temperature does
    not). It is right where the share of the classes changed, and wrong where the look of the images did.
    """
    y, p = check_labels_and_probabilities(y_val, p_val)
    if method not in METHODS or (method == "prior_shift") != (p_new is not None):
        raise MedsslError(f"method={method!r} with p_new={'none' if p_new is None else 'some scores'}.",
                          f"one of {', '.join(METHODS)}; p_new for prior_shift, and for it alone",
                          "fit_calibrator(y_val, p_val, 'temperature')")
    if method == "none":
        return Calibrator(method, {}, len(y), lambda p: p)
    if method == "isotonic":
        from sklearn.isotonic import IsotonicRegression

        staircase = IsotonicRegression(y_min=0, y_max=1, out_of_bounds="clip").fit(p, y)
        return Calibrator(method, {"steps": len(np.unique(staircase.predict(p)))}, len(y), staircase.predict)
    if method == "temperature":
        temperature = float(1 / _fit_on_logits(y, p, "temperature").beta_)
        return Calibrator(method, {"T": temperature}, len(y), lambda p: expit(_logit(p) / temperature))
    fitted = _fit_on_logits(y, p, "sigmoid")
    a, b = float(-fitted.a_ / 2), float(-fitted.b_)  # sklearn's carry the minus signs of Platt's paper, its x is x / 2
    platt = Calibrator("platt", {"a": a, "b": b}, len(y), lambda p: expit(a * _logit(p) + b))
    if method == "platt":
        return platt
    here = float(y.mean())
    there = estimate_prior(platt(p_new), here)
    return Calibrator(method, platt.parameters | {"prior_from": here, "prior_to": there}, len(y),
                      lambda p: adjust_prior(platt(p), here, there))


def _fit_on_logits(y: np.ndarray, p: np.ndarray, method: str):
    """sklearn's calibrator ("temperature": from 1.8 on) of a frozen model that hands its input through as its score."""
    from sklearn.calibration import CalibratedClassifierCV
    from sklearn.frozen import FrozenEstimator
    from sklearn.linear_model import LogisticRegression

    model = LogisticRegression()  # weight 1/2, bias 0: it scores x as x / 2, which sklearn takes as logits -x/2 and x/2
    model.classes_, model.coef_, model.intercept_ = np.array([0, 1]), np.array([[0.5]]), np.zeros(1)
    everything = np.arange(len(y))  # one "fold" with all images: a frozen model has nothing to hold out
    fit = CalibratedClassifierCV(FrozenEstimator(model), method=method, cv=[(everything, everything)])
    return fit.fit(_logit(p)[:, None], y).calibrated_classifiers_[0].calibrators[0]


def adjust_prior(p, prior_from: float, prior_to: float | None = None) -> np.ndarray:
    """p [N] of a place where class 1 has the share prior_from, for one where it has prior_to (None: estimated from p).

    odds' = odds * (odds of prior_to / odds of prior_from): Bayes' rule with another prior, so a shift of the logit.
    """
    p = _scores(p)
    prior_to = estimate_prior(p, prior_from) if prior_to is None else prior_to
    for name, prior in (("prior_from", prior_from), ("prior_to", prior_to)):
        check_number(name, prior, 0, 1, whole=False)
    low, high = _logit(np.array([prior_from, prior_to]))
    return expit(_logit(p) + high - low)


def estimate_prior(p, prior_from: float, steps: int = 10_000, tolerance: float = 1e-10) -> float:
    """The share of class 1 among unlabelled images with scores p [N]: EM of Saerens, Latinne & Decaestecker (2002).

    In turn: p' = p adjusted to the present guess (E), guess = mean p' (M). The likelihood has one maximum; the plain
    mean of p would lie between it and prior_from, because p still believes in prior_from.
    """
    guess = prior_from
    for _ in range(steps):
        previous, guess = guess, float(adjust_prior(p, prior_from, guess).mean())
        if abs(guess - previous) < tolerance:
            break
    return guess


def compare_calibrators(calibrators: list[Calibrator], y, p, classes, *, n_boot: int = 2000, seed: int = 0) -> list:
    """One row a calibrator: {"method", "parameters", "fitted": its repr}, all of evaluate() for y and calibrator(p).

    "change" is the paired difference of each metric to that of p itself, sharper than two intervals side by side.
    """
    rows = []
    for f in calibrators:
        after = np.clip(f(p), CLIP, 1 - CLIP)  # isotonic may give nothing but 0 and 1; the clip moves no metric
        rows.append({"method": f.method, "parameters": f.parameters, "fitted": repr(f)}
                    | evaluate(y, after, classes, n_boot=n_boot, seed=seed)
                    | {"change": paired_change(y, p, after, n_boot=n_boot, seed=seed) if n_boot else {}})
    return rows


def calibration_table(rows: list[dict]) -> str:
    """Markdown of compare_calibrators(): the proper scores NLL and Brier first; ECE beside what chance alone gives."""
    header = ["calibrator", "NLL", "change of NLL", "Brier", "ECE (top-label)", "ECE if calibrated: mean, p95", "AUROC"]
    lines = [header, ["---"] * len(header)]
    for row in rows:
        nll, brier, ece, auroc = (f"{row[name]:.3f}" + _bracket(row["ci95"].get(name))
                                  for name in ("nll", "brier", "ece", "auroc"))
        change = row["change"].get("nll", {"change": 0})
        moved = "-" if row["method"] == "none" else f"{change['change']:+.3f}" + _bracket(change.get("ci95"), "+.3f")
        floor = "{mean:.3f}, {p95:.3f}".format(**row["ece_if_calibrated"])
        lines.append([row["fitted"], nll, moved, brier, ece, floor, auroc])
    return "\n".join(f"| {' | '.join(line)} |" for line in lines) + "\n"


def _bracket(ends, digits: str = ".3f") -> str:
    return f" [{ends[0]:{digits}}, {ends[1]:{digits}}]" if ends else ""


def _logit(p: np.ndarray) -> np.ndarray:
    return logit(np.clip(p, CLIP, 1 - CLIP))


def _scores(p) -> np.ndarray:
    """p as float64 [N]. All may be 0 or 1, as one sure image is, or what isotonic gives: only fitting asks for more."""
    p = as_vector(p, "p")
    bad = np.flatnonzero(~((p >= 0) & (p <= 1)))  # NaN is in no interval
    if len(bad):
        raise MedsslError(f"p holds {len(bad)} values outside [0, 1], the first at index {bad[0]}: {p[bad[0]]:.4g}.",
                          "finite probabilities of class 1", "logits? `torch.softmax(logits, dim=1)[:, 1]`")
    return p
