"""Exercises: right, wrong, broken and unfilled answers each get their own word, and the notebook goes on."""

import math
import statistics

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from medssl import losses
from medssl.course import exercises, notebook
from medssl.data.labels import label_subset
from medssl.evaluate import at_threshold, choose_threshold
from medssl.evaluate import ece as package_ece

ALL = [getattr(exercises, name) for name in exercises.__all__ if name != "predict"]


def raises(*arguments):
    raise NotImplementedError("your turn")


@pytest.mark.parametrize("exercise", ALL)
@pytest.mark.parametrize("mine", [lambda *a: ..., lambda *a: None, raises, None, ...])
def test_unfilled_exercises_fall_back_to_the_solution(exercise, mine, capsys):
    assert callable(serves := exercise(mine)) and serves is not mine
    told = capsys.readouterr().out
    assert "not filled in yet" in told and len(told.splitlines()) == 1


GARBAGE = {"text": "25", "nothing fits": {"a": 1}, "nan": np.nan, "ragged": [1, [2]], "complex": 1j, "empty": [],
           "matrix": np.zeros((9, 9, 9)), "bf16": torch.tensor(1e9, dtype=torch.bfloat16), "type": int,
           "grad": torch.full((500,), np.nan, requires_grad=True)}


@pytest.mark.parametrize("exercise", ALL)
@pytest.mark.parametrize("answer", GARBAGE.values(), ids=GARBAGE.keys())
def test_garbage_is_told_in_a_few_words(exercise, answer, capsys):
    serves = exercise(lambda *a: answer)
    told = capsys.readouterr().out
    assert callable(serves) and told.startswith("not yet: <lambda>(") and "\nhint: " in told
    assert len(told) < 700 and len(told.splitlines()) == 3


@pytest.mark.parametrize("exercise", ALL)
def test_a_call_in_place_of_a_function_is_told(exercise, capsys):
    assert callable(exercise(np.float64(0.3)))
    assert "0.3 is no function; give its name, without brackets" in capsys.readouterr().out


@pytest.mark.parametrize("exercise", ALL)
def test_what_an_answer_does_to_its_arguments_harms_nobody(exercise, capsys):
    """An answer that is right, and ruins what it was given, is right in every case; the last line is the only one."""
    solution = exercise(None)

    def mine(*arguments):
        answer = solution(*arguments)
        for x in arguments:
            if isinstance(x, (np.ndarray, torch.Tensor)):
                with torch.no_grad():
                    x[:] = 1
        return answer

    capsys.readouterr()
    assert exercise(mine) is mine or exercise is exercises.nt_xent  # there autograd refuses: its inputs were changed
    assert "right: mine agrees" in capsys.readouterr().out or exercise is exercises.nt_xent


@pytest.mark.parametrize("exercise", ALL)
def test_the_solution_passes_its_own_check(exercise, capsys):
    solution = exercise(lambda *a: None)
    assert exercise(solution) is solution and "right" in capsys.readouterr().out


def test_a_wrong_answer_is_told_with_the_case_and_a_broken_one_does_not_stop_the_notebook(capsys):
    def mine(n_images, batch_size, epochs):
        return epochs * (n_images // batch_size)  # forgets the last, smaller batch

    assert exercises.optimiser_steps(mine)(546, 128, 5) == 25
    told = capsys.readouterr().out
    assert "mine(546, 128, 5) gives 20, expected 25" in told and "hint" in told

    def broken(labels):
        return labels.nothing

    assert exercises.majority_accuracy(broken)([0, 1, 1]) == pytest.approx(2 / 3)
    assert "AttributeError" in capsys.readouterr().out


@pytest.mark.parametrize("answer", ["25", [25], torch.tensor([25.0]), [25, [1]], 1j, torch.ones(1).requires_grad_()])
def test_an_answer_that_is_no_number_is_told_and_not_thrown(answer, capsys):
    assert exercises.optimiser_steps(lambda *a: answer)(546, 128, 5) == 25
    assert f"gives {answer!r}, expected 25" in capsys.readouterr().out


def test_labels_come_as_in_the_notebook_and_answers_are_shown_as_plain_numbers(capsys):
    def mine(labels):
        return max(labels.float().mean(), 1 - labels.float().mean())  # a tensor's methods, and a tensor for an answer

    assert exercises.majority_accuracy(mine) is mine
    capsys.readouterr()
    exercises.majority_accuracy(lambda labels: np.float64(0.5))
    exercises.majority_accuracy(lambda labels: labels.float().mean() / 2)
    exercises.paired_gap(lambda a, b: np.mean(b) - np.mean(a))
    exercises.ece(lambda y, p: p.mean() - y.mean())
    told = capsys.readouterr().out
    assert "([0 1 1 1]) gives 0.5, expected 0.75" in told and "gives 0.375, expected 0.75" in told
    assert "np.float64" not in told and "tensor" not in told and told.count("not yet") == 4


def test_an_answer_that_changes_its_arguments_does_not_change_what_is_expected(capsys):
    def mine(labels):
        labels[:] = 1
        return 1.0

    assert exercises.majority_accuracy(mine) is not mine
    assert "([0 1 1 1]) gives 1.0, expected 0.75" in capsys.readouterr().out


def test_the_ece_of_the_exercise_is_the_packages():
    rng = np.random.default_rng(3)
    p = rng.random(500)
    y = (rng.random(500) < p**2).astype(int)
    assert exercises.ece(lambda *a: None)(y, p) == pytest.approx(package_ece(y, p, 10, "positive"))


def test_the_paired_gap_is_scipys_paired_t_statistic():
    stats = pytest.importorskip("scipy.stats")
    a, b = np.random.default_rng(1).random((2, 6))
    assert exercises.paired_gap(lambda *x: None)(a, b) == pytest.approx(stats.ttest_rel(b, a).statistic)


# ---- weeks 4 to 7: right answers in the ways students write them, and the package's own beside the package
def simclr(z1, z2, temperature=0.2):
    z, n = F.normalize(torch.cat([z1, z2]), dim=1), len(z1)
    logits = z @ z.T / temperature
    logits.fill_diagonal_(float("-inf"))
    return F.cross_entropy(logits, torch.arange(2 * n).roll(n))


def simclr_by_hand(z1, z2, temperature):
    z = torch.cat([z1, z2]).double()
    z = z / z.norm(dim=1, keepdim=True)
    e, n, total = torch.exp(z @ z.T / temperature), len(z1), 0.0
    for i in range(2 * n):
        total = total - torch.log(e[i, (i + n) % (2 * n)] / (e[i].sum() - e[i, i]))
    return total / (2 * n)


RIGHT = {
    "nt_xent": [simclr, simclr_by_hand, losses.nt_xent],
    "queue_mask": [lambda ids, queue: (ids[:, None] != queue) & (queue >= 0),
                   lambda ids, queue: [[bool(k != i and k >= 0) for k in queue] for i in ids]],
    "label_counts": [lambda y, f: [(zeros := max(1, round(round(f * len(y)) * (len(y) - int(y.sum())) / len(y)))),
                                   round(f * len(y)) - zeros],
                     lambda y, f: torch.bincount(y[label_subset(y, f)])],
    "standardise": [lambda a, b: (b - a.mean(0)) / (a.std(0) + 1e-8),
                    lambda a, b: (torch.tensor(b).float() - torch.tensor(a).float().mean(0))
                    / torch.tensor(a).float().std(0).clamp(min=1e-8)],
    "may_claim": [lambda ssl, rungs: all(np.mean(d := ssl - r) > 2 * np.std(d, ddof=1) / len(d) ** 0.5 for r in rungs)],
    "brier": [lambda y, p: ((torch.tensor(p).float() - torch.tensor(y)) ** 2).mean(),
              lambda y, p: sum((b - a) ** 2 for a, b in zip(y, p, strict=True)) / len(y)],
    "apply_temperature": [lambda p, t: torch.sigmoid(torch.logit(torch.tensor(p).float()) / t),
                          lambda p, t: [1 / (1 + ((1 - q) / q) ** (1 / t)) for q in p]],
    "temperature_nll": [lambda y, p, t: F.binary_cross_entropy_with_logits(
        torch.logit(torch.tensor(p).float()) / t, torch.tensor(y).float())],
    "threshold_for_tpr": [lambda y, p, target: np.sort(p[y == 1])[::-1][int(np.ceil(target * (y == 1).sum())) - 1],
                          lambda y, p, target: choose_threshold(y, p, "tpr", target),
                          lambda y, p, target: np.float32(max(t for t in p if (p[y == 1] >= t).mean() >= target))],
    "operating_point": [lambda y, p, t: ((p >= t)[y == 1].mean(), (p >= t)[y == 0].mean()),
                        lambda y, p, t: torch.tensor([(p[y == c] >= t).mean() for c in (1, 0)]).float(),
                        lambda y, p, t: [at_threshold(y, p, t)[rate] for rate in ("tpr", "fpr")]],
    "lower_contrast": [lambda x, s: torch.lerp(x, x.mean((1, 2, 3), keepdim=True), s),
                       lambda x, s: np.stack([m + (1 - s) * (one - m) for one in x.numpy() for m in [one.mean()]])],
    "seed_band": [lambda values, k: (np.mean(values) - k * np.std(values, ddof=1),
                                     np.mean(values) + k * np.std(values, ddof=1)),
                  lambda values, k: [statistics.mean(values) + s * k * statistics.stdev(values) for s in (-1, 1)]],
    "gap_of_gaps": [lambda a, b: (a[0] - b[0], a[0] - b[0] - ((a[0] - a[1]) ** 2 + (b[2] - b[0]) ** 2) ** 0.5,
                                  a[0] - b[0] + ((a[2] - a[0]) ** 2 + (b[0] - b[1]) ** 2) ** 0.5)],
    "epps_pulley": [lambda x, t, w: len(x) * (w * (torch.exp(1j * torch.outer(t, x)).mean(1)
                                                   - torch.exp(-t**2 / 2)).abs() ** 2).sum(),
                    lambda x, t, w: sum(float(b) * len(x) * ((np.cos(float(a) * x.numpy()).mean() - math.exp(-a**2 / 2))
                                                             ** 2 + np.sin(float(a) * x.numpy()).mean() ** 2)
                                        for a, b in zip(t, w, strict=True))],
    "context_tokens": [lambda grid, blocks: [r * grid[1] + c for r in range(grid[0]) for c in range(grid[1]) if not any(
        a <= r < a + h and b <= c < b + w for a, b, h, w in blocks)]],
    "leak": [lambda f, image, hidden, w: (torch.autograd.functional.jacobian(lambda x: (w * f(x)).sum(), image)
                                          * hidden).abs().max()],
    "expected_cost": [lambda y, p, t, fn, fp: (fn * ((p < t) & (y == 1)).sum() + fp * ((p >= t) & (y == 0)).sum())
                      / len(y)],
}


@pytest.mark.parametrize(("name", "mine"), [(name, mine) for name, all_of in RIGHT.items() for mine in all_of])
def test_a_right_answer_is_right_however_it_is_written(name, mine, capsys):
    assert getattr(exercises, name)(mine) is mine
    assert capsys.readouterr().out.startswith("right: ")


def test_the_rule_of_label_counts_is_all_that_is_needed(capsys):
    """Written from its docstring alone, with nothing of the package."""
    def mine(labels, fraction):
        n, n_0 = len(labels), int((labels == 0).sum())
        total = max(2, math.floor(fraction * n + 0.5))
        of_0 = min(max(1, math.floor(total * n_0 / n + 0.5)), total - 1)
        return [of_0, total - of_0]

    assert exercises.label_counts(mine) is mine
    told = " ".join(exercises.label_counts.__doc__.split())
    assert "floor(fraction · N + 0.5)" in told and "floor(total · n_0 / N + 0.5)" in told
    capsys.readouterr()
    exercises.label_counts(lambda y, f: [9, 9])
    assert "total = floor(fraction · N + 0.5); class 0: floor(total · n_0 / N + 0.5)" in capsys.readouterr().out


def test_the_shadow_of_the_exercise_is_the_packages_sigreg():
    """With the package's knots, on one direction."""
    x = torch.randn(60, 1, dtype=torch.float64, generator=torch.Generator().manual_seed(5)) * 1.3 + 0.2
    t = torch.linspace(0, 3, 17, dtype=torch.float64)
    w = 3 / 16 * torch.exp(-t**2 / 2) * torch.tensor([1.0, *[2] * 15, 1])
    assert exercises.epps_pulley(None)(x[:, 0], t, w) == pytest.approx(losses.sigreg(x, torch.ones(1, 1)).item())


@pytest.mark.parametrize(("lost", "says"), [
    (lambda a, b, t: simclr(a, b, t).item(), "no gradient leads back"),
    (lambda a, b, t: simclr(a, b, t).detach(), "no gradient leads back"),
    (lambda a, b, t: np.float32(simclr(a.detach(), b.detach(), t)), "no gradient leads back"),
    (lambda a, b, t: simclr(a, b.detach(), t), "gradient with respect to argument 2"),
    (lambda a, b, t: simclr(a / a.norm(dim=1, keepdim=True).detach(), b, t) + 0 * a.sum(), ""),  # only a scale
    (lambda a, b, t: simclr(a, b, t).detach() + 0 * (a + b).sum(), "gradient with respect to argument 1 and 2"),
    (lambda a, b, t: (a * b).sum(1), "an array of shape [4], where one number was expected"),
])
def test_a_loss_without_its_gradient_is_no_loss(lost, says, capsys):
    assert (exercises.nt_xent(lost) is lost) == (says == "")
    told = capsys.readouterr().out
    assert says in told and told.count("the value is right") == int("gradient" in says)


def test_the_loss_that_serves_is_the_packages_and_trains(capsys):
    serves = exercises.nt_xent(lambda z1, z2, temperature: ...)
    assert serves is losses.nt_xent
    z = torch.randn(2, 4, 8, generator=torch.Generator().manual_seed(0), requires_grad=True)
    serves(z[0], z[1]).backward()
    assert z.grad.abs().sum() > 0


def test_the_answers_that_serve_agree_with_the_package(capsys):
    rng = np.random.default_rng(7)
    y, p = rng.integers(0, 2, 200), rng.random(200).round(2)
    assert exercises.threshold_for_tpr(None)(y, p, 0.9) == choose_threshold(y, p, "tpr", 0.9)
    point = at_threshold(y, p, 0.4)
    assert exercises.operating_point(None)(y, p, 0.4) == (point["tpr"], point["fpr"])
    costs = [exercises.expected_cost(None)(y, p, t, 1.0, 5.0) for t in np.linspace(0, 1.1, 551)]
    best = choose_threshold(y, p, "cost", cost_fp=5.0)
    assert exercises.expected_cost(None)(y, p, best, 1.0, 5.0) == pytest.approx(min(costs))
    for zeros, ones in ((147, 399), (1214, 3494), (3, 400), (400, 3), (1, 1)):
        labels = torch.tensor([0] * zeros + [1] * ones)
        for fraction in (0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0):
            counts = exercises.label_counts(None)(labels, fraction)
            assert counts.tolist() == torch.bincount(labels[label_subset(labels, fraction)]).tolist(), (zeros, fraction)
    capsys.readouterr()


def test_a_guess_stands_beside_what_was_measured(capsys):
    for guess, said in [(None, "no guess was made."), (0.8, "your guess of 0.8 is too high by 0.088."),
                        (0.7, "your guess of 0.7 is close."), (0, "your guess of 0 is too low by 0.712.")]:
        exercises.predict("Which AUROC?", guess, np.float64(0.712), 0.02)
        assert capsys.readouterr().out == f"Which AUROC? Measured: 0.712; {said}\n"


def test_one_seed_has_no_spread_and_says_so():
    assert notebook.mean_std({"mean": 0.8391, "std": 0.0, "per_seed": [0.8391]}) == "0.839 (one seed)"
    assert notebook.mean_std({"mean": 0.8391, "std": 0.012, "per_seed": [0.83, 0.85]}) == "0.839 ± 0.012"
