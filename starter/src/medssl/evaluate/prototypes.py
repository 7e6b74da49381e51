"""Has a network with prototypes collapsed, and how?

Entropy alone cannot tell. An answer that is spread over all prototypes may be a healthy beginning or a collapse, and so
may a sharp one. What a collapse of any kind lacks is a difference between images: the mutual information of image and
prototype, I = H(mean p) - mean H(p), is 0. Everything here is measured against what the rows at hand could give at
most: 32 images cannot use 1024 prototypes, nor span 768 directions.
"""

from collections.abc import Mapping, Sequence

import numpy as np

from medssl.errors import MedsslError
from medssl.evaluate.collapse import embedding_health, rank_share

UNIFORM, PEAKED = 0.95, 0.05  # shares of ln K: above the one each answer is uniform, below the other all are one peak
SAME = 0.975  # cosine above which two prototypes are one; Govindarajan et al. 2024 (arXiv 2410.14060) count so

# Where no healthy run of one's own is at hand; better are healthy_limits() of one. Low is bad but for TOO_HIGH. Three
# small healthy runs (tests/toy_scans.py) had mi 0.27 to 0.33, kl 0.05 to 0.17, used 0.09 to 0.11, unique 1, rank 0.35
# to 0.45, std 0.91 to 0.94, max_share 0.29 to 0.38, cosine 0.05 to 0.06: these limits are wider than a quarter of that.
LIMITS = {"student_mi": 0.02, "teacher_mi": 0.02, "kl": 1e-4, "used": 0.02, "unique": 0.05, "rank": 0.05, "std": 0.1,
          "max_share": 0.9, "cosine": 0.98}
TOO_HIGH = ("max_share", "cosine")
MEANING = {
    "student_mi": "the student's answer hardly depends on the image",
    "teacher_mi": "the teacher's answer, before any centring, hardly depends on the image",
    "kl": "the teacher says what the student says: the same weights, or both the same of every image",
    "used": "nearly all images share a few prototypes", "unique": "most prototypes point one way",
    "rank": "the features lie on a few lines", "std": "all images have nearly the same features",
    "max_share": "one prototype is the answer to nearly all images", "cosine": "all features point one way",
}


def prototype_health(logits, temp: float = 1.0) -> dict[str, float]:
    """Of p = softmax(logits [N,K] / temp), in nats: "mi", "mean_entropy", "marginal_entropy", and "cap", the most mi
    can be, ln min(K, N). "used": prototypes that are some row's first choice, of min(K, N); "max_share": of the rows
    that the most chosen one has.

    Give it what the network says, never what Sinkhorn made of it: that uses all prototypes by force.
    """
    log_p = _log_softmax(logits, temp)
    p, first = np.exp(log_p), np.bincount(log_p.argmax(1), minlength=log_p.shape[1])
    marginal, mean = _entropy(p.mean(0)), _entropy(p).mean()
    n, k = p.shape
    return {"mi": float(max(0, marginal - mean)), "mean_entropy": float(mean), "marginal_entropy": float(marginal),
            "cap": float(np.log(min(n, k))), "used": float((first > 0).sum() / min(n, k)),
            "max_share": float(first.max() / n)}


def collapse_kind(health: Mapping[str, float], prototypes: int, limit: float = LIMITS["student_mi"]) -> str:
    """"none", where mi is above `limit` of its cap; else how all images get one answer: "uniform", spread over all
    prototypes; "peaked", on one of them; "constant", some other way."""
    if health["mi"] > limit * health["cap"]:
        return "none"
    if health["mean_entropy"] > UNIFORM * np.log(prototypes):
        return "uniform"
    return "peaked" if health["marginal_entropy"] < PEAKED * np.log(prototypes) else "constant"


def teacher_student_kl(teacher, student, temp: float = 1.0) -> float:
    """Mean over rows of KL(teacher ‖ student) in nats, logits [N,K] of the same crops at the same temperature."""
    log_t, log_s = _log_softmax(teacher, temp), _log_softmax(student, temp)
    if log_t.shape != log_s.shape:
        raise MedsslError(f"The teacher's logits are {list(log_t.shape)}, the student's {list(log_s.shape)}.",
                          "the same crops in the same order")
    return float((np.exp(log_t) * (log_t - log_s)).sum(1).mean())


def unique_prototypes(directions, same: float = SAME) -> int:
    """How many prototypes [K,D] are left if each is merged into the first before it with a cosine above `same`."""
    unit = np.array(_array(directions))
    unit /= np.maximum(np.linalg.norm(unit, axis=1, keepdims=True), 1e-12)
    close, kept = unit @ unit.T > same, []
    for i, row in enumerate(close):
        if not row[kept].any():
            kept.append(i)
    return len(kept)


def collapse_numbers(student, teacher, z, prototypes, *, student_temp: float = 0.1,
                     teacher_temp: float = 0.04) -> dict[str, float]:
    """All signs of a collapse, each relative to what is possible: logits [N,K] of student and raw teacher for the same
    N crops, features z [N,d], prototypes [K,D]. N of 100 or more, gathered over several batches, tells most.

    "student_mi", "teacher_mi": of "cap" (nats); "kl" (nats, both at student_temp); "used", "max_share" (student);
    "unique": of K; "rank": of min(N - 1, d); "std", "cosine": see embedding_health.
    """
    own, raw, features = prototype_health(student, student_temp), prototype_health(teacher, teacher_temp), \
        embedding_health(z)
    return {"student_mi": own["mi"] / own["cap"], "teacher_mi": raw["mi"] / raw["cap"], "cap": own["cap"],
            "kl": teacher_student_kl(teacher, student, student_temp), "used": own["used"],
            "unique": unique_prototypes(prototypes) / len(prototypes), "rank": rank_share(z),
            "std": features["std_mean"], "max_share": own["max_share"], "cosine": features["cosine"]}


def healthy_limits(healthy: Sequence[Mapping[str, float]], margin: float = 4.0) -> dict[str, float]:
    """Limits from collapse_numbers of a run that is known to be healthy (say, its last windows): what is bad when low
    may fall to 1/margin of the worst seen, what is bad when high may come margin times nearer to 1."""
    if not healthy or not margin > 1:
        raise MedsslError(f"{len(healthy)} windows of a healthy run, {margin=}.", "1 or more, a margin above 1")
    return {name: 1 - (1 - max(row[name] for row in healthy)) / margin if name in TOO_HIGH
            else min(row[name] for row in healthy) / margin for name in LIMITS}


def collapse_alarms(windows: Sequence[Mapping[str, float]], limits: Mapping[str, float] = LIMITS,
                    times: int = 3) -> dict[str, str]:
    """{sign: a sentence with the number and its limit} of signs beyond their limit in each of the last `times` windows;
    {} where there are fewer: a network at its start, and one bad batch, are no collapse."""
    if unknown := set(limits) - set(LIMITS):
        raise MedsslError(f"No sign of a collapse is called {', '.join(sorted(unknown))}.", ", ".join(LIMITS))
    last, out = windows[-times:], {}
    for name, limit in limits.items():
        high = name in TOO_HIGH
        if len(last) == times and all(row[name] > limit if high else row[name] < limit for row in last):
            out[name] = (f"{MEANING[name]}: {name} {last[-1][name]:.3g}, {'at most' if high else 'at least'} "
                         f"{limit:.3g} in a healthy run")
    return out


def _entropy(p: np.ndarray) -> np.ndarray:
    return -(p * np.log(np.maximum(p, 1e-300))).sum(-1)


def _log_softmax(logits, temp: float) -> np.ndarray:
    x = _array(logits) / float(temp)
    x = x - x.max(1, keepdims=True)
    return x - np.log(np.exp(x).sum(1, keepdims=True))


def _array(x) -> np.ndarray:
    x = np.asarray(x.detach().float().cpu() if hasattr(x, "detach") else x, dtype=float)
    if x.ndim != 2 or min(x.shape) < 2 or not np.isfinite(x).all():
        raise MedsslError(f"Logits of shape {list(x.shape)}, or some are no number.", "finite, [N,K], N and K above 1")
    return x
