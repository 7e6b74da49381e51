"""Collapse of a network with prototypes: each alarm against a collapse made on purpose, and a healthy run beside them.

Made on purpose: the teacher is the student; a learning rate of 10; nothing to see; a teacher as soft as the student;
one prototype favoured and no centre. Views without any change are no collapse here, and that is tested, too.
"""

import math

import numpy as np
import pytest
import torch
from toy_scans import SCANS, Crops, Scans, Tiny

from medssl.errors import MedsslError
from medssl.evaluate import (
    collapse_alarms,
    collapse_kind,
    collapse_numbers,
    healthy_limits,
    prototype_health,
    rank_share,
    rankme,
    teacher_student_kl,
    unique_prototypes,
)
from medssl.evaluate.prototypes import LIMITS, MEANING
from medssl.methods import DINO3D
from medssl.train import Trainer

# ---- numbers that can be worked out

def test_four_answers_that_can_be_worked_out():
    k = 8
    own = prototype_health(1e3 * np.eye(k))
    assert own == pytest.approx({"mi": math.log(8), "mean_entropy": 0, "marginal_entropy": math.log(8),
                                 "cap": math.log(8), "used": 1, "max_share": 1 / 8})
    assert collapse_kind(own, k) == "none"
    uniform, peaked = prototype_health(np.zeros((20, k))), prototype_health(1e3 * np.eye(k)[[3] * 20])
    assert uniform["mi"] == pytest.approx(0) and collapse_kind(uniform, k) == "uniform"
    assert peaked["mi"] == pytest.approx(0) and collapse_kind(peaked, k) == "peaked"
    constant = prototype_health(np.log(np.array([[0.5, 0.3, 0.2] + [1e-9] * 5] * 20)))
    assert constant["mi"] == pytest.approx(0, abs=1e-7) and collapse_kind(constant, k) == "constant"
    assert uniform["mean_entropy"] > own["mean_entropy"] < constant["mean_entropy"], "entropy alone cannot tell"
    assert peaked["used"] == pytest.approx(1 / 8) and peaked["max_share"] == 1


def test_mutual_information_against_a_joint_table():
    rng = np.random.default_rng(0)
    logits = rng.normal(size=(50, 6)) * 2
    p = np.exp(logits / 0.5)
    p /= p.sum(1, keepdims=True)
    joint = p / len(p)
    expected = (joint * np.log(joint / (joint.sum(1, keepdims=True) * joint.sum(0)))).sum()
    assert prototype_health(logits, 0.5)["mi"] == pytest.approx(expected)
    shifted = torch.tensor(logits + 7, dtype=torch.float32)
    assert prototype_health(shifted, 0.5)["mi"] == pytest.approx(expected, rel=1e-5)
    assert prototype_health(logits[:4])["cap"] == pytest.approx(math.log(4)), "4 images cannot say more"
    assert prototype_health(250 * rng.normal(size=(9, 5)))["mean_entropy"] < 1e-6, "finite at any logits"


def test_kl_rank_and_unique_prototypes():
    rng = np.random.default_rng(1)
    a, b = rng.normal(size=(2, 9, 5))
    p, q = (np.exp(x) / np.exp(x).sum(1, keepdims=True) for x in (a, b))
    assert teacher_student_kl(a, b) == pytest.approx((p * np.log(p / q)).sum(1).mean())
    assert teacher_student_kl(a, a + 3) == pytest.approx(0, abs=1e-12) and teacher_student_kl(a, b, 0.1) > 1
    z = rng.normal(size=(8, 64))
    assert rankme(z) < 10 and rank_share(z) > 0.95, "all that 8 images can span"
    assert rank_share(5 + rng.normal(size=(200, 1)) * np.ones((1, 64))) < 0.03
    axes = np.eye(4)[[0, 1, 0, 2, 2]] * [[1], [2], [9], [1], [1]]
    assert unique_prototypes(axes) == 3 and unique_prototypes(-axes) == 3
    near = np.array([[1, 0], [math.cos(0.2), math.sin(0.2)], [math.cos(0.4), math.sin(0.4)]])
    assert unique_prototypes(near) == 2, "the third is near the second, which is gone, and not near the first"


def test_an_alarm_has_to_stand_and_limits_come_from_a_healthy_run():
    fine = {"student_mi": 0.4, "teacher_mi": 0.5, "kl": 0.1, "used": 0.4, "unique": 1.0, "rank": 0.6, "std": 1.0,
            "max_share": 0.2, "cosine": 0.1, "cap": 4.0}
    limits = healthy_limits([fine, {**fine, "student_mi": 0.2, "cosine": 0.2}], margin=4)
    assert limits["student_mi"] == 0.05 and limits["cosine"] == pytest.approx(0.8) and limits["max_share"] == 0.8
    assert set(limits) == set(LIMITS) == set(MEANING) and collapse_alarms([fine] * 3, limits) == {}
    bad = {**fine, "student_mi": 0.04, "cosine": 0.9}
    assert collapse_alarms([fine, bad, bad], limits) == collapse_alarms([bad, bad], limits) == {}
    told = collapse_alarms([fine, bad, bad, bad], limits)
    assert set(told) == {"student_mi", "cosine"}
    assert "0.04" in told["student_mi"] and "at least 0.05" in told["student_mi"] and "at most 0.8" in told["cosine"]
    assert set(collapse_alarms([bad], {"cosine": 0.85}, times=1)) == {"cosine"}


@pytest.mark.parametrize("call", [
    lambda: prototype_health(np.zeros(4)), lambda: prototype_health(np.full((3, 4), np.nan)),
    lambda: prototype_health(np.zeros((1, 4))), lambda: teacher_student_kl(np.zeros((3, 4)), np.zeros((3, 5))),
    lambda: healthy_limits([]), lambda: healthy_limits([{}], margin=1), lambda: collapse_alarms([], {"entropy": 0.1})])
def test_what_cannot_be_judged(call):
    with pytest.raises(MedsslError):
        call()


# ---- runs

def run(crops=None, change=None, lr=3e-3, steps=80, seed=0, **kw):
    """(three windows of numbers, kind of the student's collapse, last loss) after a short DINO-3D."""
    torch.manual_seed(seed)
    model = DINO3D(Tiny(), **{**dict(prototypes=64, hidden=64, bottleneck=16, momentum=0.95), **kw})
    crops = crops or Crops()
    if change:
        change(model)
    loss = Trainer(model, Scans(), steps=steps, views=crops, lr=lr, device="cpu", quiet="silent",
                   seed=seed).fit().history[-1]["loss"]
    windows = []
    with torch.no_grad():
        for window in range(3):
            seen = crops({"scan": torch.arange(SCANS)}, torch.Generator().manual_seed(window))["globals"].flatten(0, 1)
            student, teacher = model.eval().logits(seen), model.logits(seen, teacher=True)
            windows.append(collapse_numbers(student, teacher, model.encode(seen), model.head.prototypes,
                                            student_temp=model.student_temp, teacher_temp=float(model.temp)))
    return windows, collapse_kind(prototype_health(student, model.student_temp), 64), loss


@pytest.fixture(scope="module")
def healthy():
    """A run that learns, and the limits it gives."""
    windows, kind, _ = run()
    assert kind == "none" and min(w["student_mi"] for w in windows) > 0.2
    return windows, healthy_limits(windows)


def test_another_healthy_run_is_silent(healthy):
    windows, kind, _ = run(seed=1)
    assert collapse_alarms(windows, healthy[1]) == {} == collapse_alarms(windows) and kind == "none"


def alias(model):
    model.teacher, model.teacher_head = model.encoder, model.head


def test_a_teacher_that_is_the_student(healthy):
    windows, _, _ = run(change=alias, steps=10)
    assert "kl" in collapse_alarms(windows, healthy[1]) and "kl" in collapse_alarms(windows)
    assert windows[-1]["kl"] == 0


def test_a_learning_rate_of_ten(healthy):
    windows, kind, _ = run(lr=10.0, steps=30)
    assert {"student_mi", "teacher_mi"} <= set(collapse_alarms(windows, healthy[1])) and kind != "none"


def test_nothing_to_see(healthy):
    windows, kind, _ = run(Crops(torch.zeros(SCANS, 1, 16, 16, 16), noise=0.0), steps=20)
    for limits in (healthy[1], LIMITS):
        assert {"student_mi", "teacher_mi", "std", "cosine", "rank", "used", "max_share"} <= \
            set(collapse_alarms(windows, limits))
    assert kind == "constant"


def test_a_teacher_no_sharper_than_the_student_is_uniform(healthy):
    windows, kind, loss = run(teacher_temp=(1.0, 1.0))
    assert kind == "uniform" and {"student_mi", "teacher_mi"} <= set(collapse_alarms(windows, healthy[1]))
    assert loss > 0.95 * math.log(64), "stuck at ln K"


def favourite(model):
    """Every image is near the first prototype, and no centre takes that off."""
    for head in (model.head, model.teacher_head):
        with torch.no_grad():
            head.layers[-1].bias.copy_(30 * head.prototypes[0])


def test_a_favourite_prototype_without_a_centre_is_peaked(healthy):
    windows, kind, loss = run(change=favourite, centre_momentum=1.0, teacher_temp=(0.02, 0.02), steps=30)
    assert kind == "peaked" and {"student_mi", "used", "max_share"} <= set(collapse_alarms(windows, healthy[1]))
    assert loss < 0.2, "and the loss looks splendid"


def one_way(model):
    """All prototypes near one direction, as Govindarajan et al. saw them end."""
    for head in (model.head, model.teacher_head):
        with torch.no_grad():
            head.prototypes.copy_(head.prototypes[:1] + 0.05 * head.prototypes)


def test_prototypes_that_point_one_way(healthy):
    windows, _, _ = run(change=one_way, steps=10, still=1.0)
    assert "unique" in collapse_alarms(windows, healthy[1]) and windows[-1]["unique"] < 0.1


def test_views_without_any_change_are_no_collapse_of_this_kind(healthy):
    """A task too easy teaches little, but two crops of different scans still differ: no number here can see it."""
    windows, kind, _ = run(Crops(noise=None), steps=40)
    assert kind == "none" and collapse_alarms(windows, healthy[1]) == {}
