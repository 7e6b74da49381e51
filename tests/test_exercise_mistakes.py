"""Mistakes as students make them, in code of their own: told by name, and nobody is told of one they did not make."""

import copy
import itertools
import math
import warnings

import mistakes_early
import mistakes_late
import numpy as np
import pytest
from mistakes_late import boxed, hidden_pixels, one_by_one, pairs_apart, turned_by, walk

from medssl.course import exercises
from medssl.course.exercises import (
    baseline,
    calibration,
    check,
    contrastive,
    crops,
    halves,
    operating,
    pairs,
    prediction,
    probing,
    reproducing,
    shifts,
    volumes,
    writing,
)

ROOMS = (baseline, contrastive, probing, calibration, operating, reproducing, shifts, prediction, volumes, halves,
         crops, pairs, writing)
EXERCISES = {name: room for room in ROOMS for name in vars(room)
             if name in exercises.__all__ and getattr(room, name).__module__ == room.__name__}
STUDENTS = mistakes_early.STUDENTS + mistakes_late.STUDENTS


def test_the_answers_of_week_15_in_code_of_its_own(capsys):
    apart = lambda a, b, m: math.dist((m @ [*a, 1])[:3], (m @ [*b, 1])[:3])  # noqa: E731
    log = lambda a, b: turned_by(b @ a.T)  # noqa: E731
    assert exercises.centre_distance(apart) is apart and exercises.rotation_delta(log) is log
    assert exercises.supcon_loss(one_by_one) is one_by_one and capsys.readouterr().out.count("right: ") == 3


def test_the_answers_of_week_14_in_code_of_its_own(capsys):
    assert exercises.box_ratio(boxed) is boxed and exercises.pair_loss(pairs_apart) is pairs_apart
    by_rows = lambda p: np.mean([q * np.log(q / m) for row in p for q, m in zip(row, p.mean(0), strict=True) if q > 0]  # noqa: E731
                                + [0.0] * int((p == 0).sum())) * p.shape[1]  # the mean divergence from the mean
    assert exercises.mutual_information(by_rows) is by_rows and capsys.readouterr().out.count("right: ") == 3


def test_both_answers_of_week_13_in_code_of_its_own(capsys):
    assert exercises.anti_mirror(walk) is walk
    loops = lambda d, x, m: sum(abs(d - x)[hidden_pixels(m, x)]) / hidden_pixels(m, x).sum()  # noqa: E731
    assert exercises.masked_l1(loops) is loops and capsys.readouterr().out.count("right: ") == 2


@pytest.mark.parametrize(("exercise", "mine", "words"), STUDENTS, ids=[f"{e}-{w[:20]}" for e, _, w in STUDENTS])
def test_a_known_mistake_is_told_by_its_name(exercise, mine, words, capsys):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert getattr(exercises, exercise)(mine) is not mine
    told = capsys.readouterr().out
    hint = next(line for line in told.splitlines() if line.startswith("hint: "))
    assert words in hint, told
    assert len(told) < 700 and len(told.splitlines()) == 3


def test_every_exercise_knows_at_least_three_mistakes_and_each_was_tried():
    tried = {name: sum(exercise == name for exercise, _, _ in STUDENTS) for name in EXERCISES}
    assert set(EXERCISES) | {"predict"} == set(exercises.__all__) and min(tried.values()) >= 3, tried


@pytest.mark.parametrize("name", EXERCISES)
def test_no_mistake_is_right_and_no_two_are_alike(name, monkeypatch):
    """Or an honest answer, or another mistake, would be told something that is not so."""
    seen = {}
    monkeypatch.setattr(EXERCISES[name], "check", lambda mine, right, cases, hint, mistakes, **_:
                        seen.update(right=right, cases=cases, mistakes=mistakes, hint=hint))
    getattr(exercises, name)(None)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        answers = {words: [check._numbers(wrong(*copy.deepcopy(case))) for case in seen["cases"]]
                   for words, wrong in ({"right": seen["right"]} | seen["mistakes"]).items()}
    for (one, a), (other, b) in itertools.combinations(answers.items(), 2):
        assert not all(check._agree(x, y, equal_nan=True) for x, y in zip(a, b, strict=True)), (one, other)
    assert all(len(words) < 125 for words in seen["mistakes"]) and seen["hint"] not in seen["mistakes"]
