"""Exercises: right, wrong, broken and unfilled answers each get their own word, and the notebook goes on."""

import numpy as np
import pytest
import torch

from medssl.course import exercises, notebook
from medssl.evaluate import ece as package_ece

ALL = [exercises.optimiser_steps, exercises.majority_accuracy, exercises.ece, exercises.paired_gap]


@pytest.mark.parametrize("exercise", ALL)
def test_unfilled_exercises_fall_back_to_the_solution(exercise, capsys):
    def mine(*arguments):
        ...

    serves = exercise(mine)
    assert serves is not mine and "not filled in yet" in capsys.readouterr().out


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


def test_one_seed_has_no_spread_and_says_so():
    assert notebook.mean_std({"mean": 0.8391, "std": 0.0, "per_seed": [0.8391]}) == "0.839 (one seed)"
    assert notebook.mean_std({"mean": 0.8391, "std": 0.012, "per_seed": [0.83, 0.85]}) == "0.839 ± 0.012"
