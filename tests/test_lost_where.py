"""Was the ranking lost, or has the threshold slipped? And does one model lose less than another?"""

import numpy as np
import pytest
from sklearn.metrics import balanced_accuracy_score, roc_auc_score

from medssl import figures
from medssl.errors import MedsslError
from medssl.evaluate import choose_threshold, contrast, difference, ranking_or_threshold


def split(n, seed, gap=1.5, runs=2):
    rng = np.random.default_rng(seed)
    y = np.repeat([0, 1], [n // 3, n - n // 3])
    z = gap * (y - 0.5) + rng.standard_normal((runs, n))
    return y, 1 / (1 + np.exp(-z))


def slipped(p):
    """The order stays, every score falls: what a darker image can do."""
    return p**4


@pytest.fixture(scope="module")
def clean():
    return split(300, 0), split(500, 1)


def test_scores_that_only_fall_have_lost_no_ranking(clean):
    (y_val, a), (y, c) = clean
    found = ranking_or_threshold((y_val, a), (y_val, slipped(a)), (y, c), (y, slipped(c)), n_boot=200)
    assert found["threshold"]["lo"] > 0.1 and found["total"]["mean"] > 0.1
    assert found["ranking"] == pytest.approx({"mean": 0, "lo": 0, "hi": 0}, abs=1e-12)


def test_noise_in_the_scores_is_lost_for_every_threshold(clean):
    (y_val, a), (y, c) = clean
    rng = np.random.default_rng(2)
    noisy = [np.clip(p + rng.normal(0, 0.6, p.shape), 0, 1) for p in (a, c)]
    found = ranking_or_threshold((y_val, a), (y_val, noisy[0]), (y, c), (y, noisy[1]), n_boot=200)
    assert found["ranking"]["lo"] > 0.03 and abs(found["threshold"]["mean"]) < 0.05


def test_the_parts_are_sklearns_balanced_accuracies_and_add_up(clean):
    (y_val, a), (y, c) = clean
    b, d = a**2, np.clip(c**2 + 0.1, 0, 1)
    found = ranking_or_threshold((y_val, a), (y_val, b), (y, c), (y, d), n_boot=100)
    t, u = ([choose_threshold(y_val, p, "youden") for p in rows] for rows in (a, b))

    def balanced(rows, at):
        return np.mean([balanced_accuracy_score(y, p >= one) for p, one in zip(rows, at, strict=True)])

    assert [found[key] for key in ("clean", "kept", "moved")] == pytest.approx(
        [balanced(c, t), balanced(d, t), balanced(d, u)])
    parts = [found[key]["mean"] for key in ("threshold", "ranking", "total")]
    assert sum(parts[:2]) == pytest.approx(parts[2]) == pytest.approx(found["clean"] - found["kept"])
    assert all(found[key]["lo"] <= found[key]["mean"] <= found[key]["hi"] for key in ("threshold", "ranking", "total"))
    assert found == ranking_or_threshold((y_val, a), (y_val, b), (y, c), (y, d), n_boot=100)


def test_one_run_may_come_as_one_row_and_other_runs_are_refused(clean):
    (y_val, a), (y, c) = clean
    one = ranking_or_threshold((y_val, a[0]), (y_val, a[0]), (y, c[0]), (y, c[0]), n_boot=20)
    assert one["total"]["mean"] == 0
    with pytest.raises(MedsslError, match="the same runs"):
        ranking_or_threshold((y_val, a), (y_val, a[:1]), (y, c), (y, c))
    with pytest.raises(MedsslError):
        ranking_or_threshold((y_val, a), (y_val, a + 1), (y, c), (y, c))


def test_a_contrast_of_two_terms_is_their_difference():
    y, p = split(90, 3, runs=4)
    q = split(90, 4, runs=4)[1]
    assert contrast(y, [(1, p, 0), (-1, q, 0)], n_boot=100) == difference(y, p, q, n_boot=100)
    assert contrast(y, [(1, p, 0), (-1, q, 1)], n_boot=100) == difference(y, p, q, paired=False, n_boot=100)


def test_a_difference_of_changes_is_that_and_its_own_runs_cancel():
    y, a = split(120, 5, runs=3)
    b = split(120, 6, runs=2)[1]
    terms = [(1, a**3, "a"), (-1, a, "a"), (-1, b**3, "b"), (1, b, "b")]
    assert contrast(y, terms, n_boot=50) == pytest.approx({"mean": 0, "lo": 0, "hi": 0}, abs=1e-12)
    worse = np.random.default_rng(0).permutation(b.T).T
    found = contrast(y, [(1, a, "a"), (-1, a, "a"), (-1, worse, "b"), (1, b, "b")], n_boot=200)
    auroc = [np.mean([roc_auc_score(y, p) for p in rows]) for rows in (b, worse)]
    assert found["mean"] == pytest.approx(auroc[0] - auroc[1]) and found["lo"] > 0


def test_the_figure_names_every_shift_and_both_parts(clean):
    (y_val, a), (y, c) = clean
    one = ranking_or_threshold((y_val, a), (y_val, slipped(a)), (y, c), (y, slipped(c)), n_boot=50)
    figure = figures.loss_parts({"darker 0.5": one, "noise 0.1": one}, title="two shifts")
    (ax,) = figure.axes
    assert [label.get_text() for label in ax.get_yticklabels()] == ["darker 0.5", "noise 0.1"]
    drawn = [line.get_xdata().tolist() for line in ax.lines if line.get_linestyle() == "None"]
    assert drawn == [[one["threshold"]["mean"]] * 2, [one["ranking"]["mean"]] * 2]
    with pytest.raises(MedsslError, match="No shift"):
        figures.loss_parts({})
