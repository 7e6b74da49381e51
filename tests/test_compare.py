"""A difference and its interval: exact where it can be computed by hand, and of honest width where it cannot."""


import numpy as np
import pytest
from scipy.special import expit
from scipy.stats import norm
from sklearn.metrics import balanced_accuracy_score, brier_score_loss, log_loss, roc_auc_score

from medssl.errors import MedsslError
from medssl.evaluate import difference


def two_models(seed, gap=0.2, encoders=3, draws=10, luck=0.2, n0=30, n1=60):
    """(y, p_a, p_b, true AUROC difference): images are hard for both, draws good for both, encoders each for itself."""
    rng = np.random.default_rng(seed)
    y, hard, labels = np.repeat([0, 1], [n0, n1]), rng.normal(size=n0 + n1) * 0.8, rng.normal(size=(1, draws, 1)) * luck
    p = [expit((skill + labels + rng.normal(size=(encoders, 1, 1)) * luck) * y + hard
               + rng.normal(size=(encoders, draws, n0 + n1)) * 0.6) for skill in (0.8 + gap, 0.8)]
    spread = np.sqrt(2 * (0.8**2 + 0.6**2) + 2 * luck**2)
    return y, *p, norm.cdf((0.8 + gap) / spread) - norm.cdf(0.8 / spread)


y, a, b, _ = two_models(0)


@pytest.mark.parametrize(("metric", "reference"), [
    ("auroc", roc_auc_score), ("nll", log_loss), ("brier", brier_score_loss),
    ("accuracy", lambda y, p: np.mean((p >= 0.5) == y)),
    ("balanced_accuracy", lambda y, p: balanced_accuracy_score(y, p >= 0.5))])
def test_mean_is_the_mean_metric_of_a_less_that_of_b(metric, reference):
    rounded = a.round(1)  # many ties
    by_hand = [np.mean([reference(y, run) for run in side.reshape(-1, len(y))]) for side in (rounded, b)]
    found = difference(y, rounded, b, metric=metric, n_boot=50)
    assert found["mean"] == pytest.approx(by_hand[0] - by_hand[1], abs=1e-12)
    assert found["lo"] < found["mean"] < found["hi"]
    assert difference(y, rounded, metric=metric, n_boot=50)["mean"] == pytest.approx(by_hand[0], abs=1e-12)


def test_every_resample_is_the_metric_of_the_repeated_images_and_runs():
    """The same random numbers spent by hand: images repeated, runs weighted, sklearn on what comes out."""
    from medssl.evaluate.bootstrap import resample_weights
    from medssl.evaluate.compare import resample_shares

    rng = np.random.default_rng(5)
    weights = resample_weights(y, rng, 8)
    shares = [resample_shares(size, rng, 8)[1:] for size in (3, 2)]
    values = []
    for t, row in enumerate(weights.astype(int)):
        again = np.repeat(np.arange(len(y)), row)
        gaps = [[roc_auc_score(y[again], a[k, r, again]) - roc_auc_score(y[again], b[k, r, again]) for r in range(2)]
                for k in range(3)]
        values.append(shares[0][t] @ gaps @ shares[1][t])
    found = difference(y, a[:, :2], b[:, :2], n_boot=8, seed=5)
    assert [found["lo"], found["hi"]] == pytest.approx(np.quantile(values, (0.025, 0.975)).tolist())


def test_a_model_against_itself_and_the_two_exchanged():
    assert difference(y, a, a, n_boot=200) == {"mean": 0, "lo": 0, "hi": 0}
    there, back = difference(y, a, b, n_boot=200), difference(y, b, a, n_boot=200)
    assert [there["mean"], there["lo"], there["hi"]] == pytest.approx([-back["mean"], -back["hi"], -back["lo"]])
    assert difference(y, a, b, n_boot=200) == there != difference(y, a, b, n_boot=200, seed=1)
    assert difference(y, a[0, 0], b[0, 0], n_boot=50) == difference(y, a[:1, :1], b[:1, :1], n_boot=50)


@pytest.mark.parametrize(("luck", "least"), [(0.2, 0.91), (0.4, 0.86)])
def test_the_interval_of_three_encoders_holds_the_truth_as_often_as_it_says(luck, least):
    """Encoders crossed with draws; flattened to [18, N] the same interval is much too sure."""
    crossed, flat, alarms = np.zeros((3, 80))
    for seed in range(80):
        y, a, b, _ = two_models(seed, gap=0, encoders=3, draws=6, luck=luck)
        found = difference(y, a, b, n_boot=120, seed=seed)
        crossed[seed], alarms[seed] = found["lo"] <= 0 <= found["hi"], found["lo"] > 0
        found = difference(y, a.reshape(-1, len(y)), b.reshape(-1, len(y)), n_boot=120, seed=seed)
        flat[seed] = found["lo"] <= 0 <= found["hi"]
    assert crossed.mean() >= least and alarms.mean() <= 0.06  # 2.5 % each side
    assert flat.mean() < crossed.mean() - 0.1


@pytest.mark.parametrize(("metric", "low", "high"), [
    ("auroc", None, 1), ("accuracy", None, 1), ("balanced_accuracy", None, 1), ("brier", 0, None), ("nll", 0, None)])
def test_a_metric_alone_stays_in_its_range_and_a_difference_is_not_cut(metric, low, high):
    """Two encoders, one that says 0.5 of everything and one nearly perfect: two standard errors leave the range."""
    p = np.stack([np.full((1, len(y)), 0.5), np.where(y == 1, 0.9, 0.1)[None]])
    alone, less_a_constant = (difference(y, p, b, metric=metric) for b in (None, np.full(len(y), 0.5)))
    assert alone["lo"] < alone["mean"] < alone["hi"]
    assert low is None or alone["lo"] == low
    assert high is None or alone["hi"] == high
    assert alone["hi"] - alone["lo"] < less_a_constant["hi"] - less_a_constant["lo"]


def test_pairing_takes_the_shared_luck_of_the_draws_out():
    y, a, b, _ = two_models(3, luck=1.0, encoders=1)
    width = [found["hi"] - found["lo"] for found in (difference(y, a, b, paired=paired) for paired in (True, False))]
    assert width[0] < 0.7 * width[1]


def test_the_shares_give_a_mean_of_three_its_full_variance():
    from medssl.evaluate.compare import resample_shares

    runs = np.array([0.7, 0.8, 0.95])
    means = resample_shares(3, np.random.default_rng(0), 200_000)[1:] @ runs
    assert means.std() == pytest.approx(runs.std(ddof=1) / np.sqrt(3), rel=0.01)
    assert means.mean() == pytest.approx(runs.mean(), abs=1e-3)


@pytest.mark.parametrize(("given", "says"), [
    (lambda: (y, a[..., 1:], b), r"\[runs, N\]"),
    (lambda: (y, a * 2, b), r"\[0, 1\]"),
    (lambda: (y, np.where(a > 0.5, np.nan, a), b), r"\[0, 1\]"),
    (lambda: (y[:, None], a, b), r"squeeze\(1\)"),
    (lambda: (np.ones_like(y), a, b), "both present"),
    (lambda: (y, a[None], b), "shape"),
])
def test_hostile_input_is_named(given, says):
    with pytest.raises(MedsslError, match=says):
        difference(*given())


def test_ece_is_not_compared_and_why():
    with pytest.raises(MedsslError, match="noise as error"):
        difference(y, a, b, metric="ece")
    with pytest.raises(MedsslError, match="n_boot=0"):
        difference(y, a, b, n_boot=0)
