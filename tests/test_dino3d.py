"""DINO-3D: who learns from whom, what each setting does, and that a cut run ends as an uncut one."""

import math
import warnings

import pytest
import torch
from torch import nn
from toy_scans import Crops, Scans, Tiny

from medssl.errors import MedsslError
from medssl.evaluate import prototype_health
from medssl.losses import dino_loss, sinkhorn, softmax_centre
from medssl.methods import DINO3D
from medssl.models import ViT
from medssl.train import Trainer


def build(seed=0, encoder=None, **kw):
    torch.manual_seed(seed)
    return DINO3D(encoder or Tiny(), **{**dict(prototypes=24, hidden=32, bottleneck=8), **kw})


def crops(n_local=3, images=6, seed=0):
    return Crops(n_local=n_local)({"scan": torch.arange(images)}, torch.Generator().manual_seed(seed))


def with_ratios(batch, globals_, locals_):
    images = batch["globals"].shape[1]
    return {**batch, "global_ratio": torch.tensor(globals_)[:, None].expand(-1, images),
            "local_ratio": torch.tensor(locals_)[:, None].expand(-1, images)}


def answers(model, batch):
    """(student cosines [S,B,K], raw teacher cosines [S,B,K]) of all crops, globals first."""
    with torch.no_grad():
        out = [torch.cat([torch.stack([model.logits(crop, teacher=teacher) for crop in batch[kind]])
                          for kind in ("globals", "locals")]) for teacher in (False, True)]
    return out


# ---- the loss

@pytest.mark.parametrize("n_local", [0, 1, 3])
@pytest.mark.parametrize("centring", ["softmax", "sinkhorn"])
def test_the_students_all_crops_are_matched_with_the_teachers_globals(n_local, centring):
    model, batch = build(centring=centring, koleo=0.0).eval(), crops(n_local)
    for p in model.teacher_head.parameters():
        p.add_(0.1 * torch.randn_like(p))
    if not n_local:
        batch["locals"] = batch["locals"][:0]
    student = torch.stack([model.logits(crop) for kind in ("globals", "locals") for crop in batch[kind]])
    raw = torch.stack([model.logits(crop, teacher=True) for crop in batch["globals"]])
    p = softmax_centre(raw, model.centre, 0.04) if centring == "softmax" else \
        sinkhorn(raw.flatten(0, 1), 0.04).unflatten(0, (2, 6))
    pairs = [dino_loss(student[s:s + 1], p[t:t + 1]) for s in range(2 + n_local) for t in range(2) if s != t]
    out = model(batch)
    assert out["loss"].item() == pytest.approx(torch.stack(pairs).mean().item(), rel=1e-5) and out["pairs"] == 1


def test_the_achieved_ratios_are_in_what_is_logged():
    batch = crops()
    out = build()(batch)
    assert out["global_ratio"] == batch["global_ratio"].mean() and out["local_ratio"] == batch["local_ratio"].mean()
    assert out["relaxed"].item() == pytest.approx(
        torch.cat([batch["global_relaxed"], batch["local_relaxed"]]).float().mean().item())
    assert all(math.isfinite(float(v.detach())) for v in out.values())


@pytest.mark.parametrize("centring", ["softmax", "sinkhorn"])
def test_the_numbers_of_a_collapse_are_those_of_the_raw_answers(centring):
    model, batch = build(centring=centring, hierarchical_matching=True).eval(), crops()
    model.temp.fill_(0.05)
    out = model(batch)
    for who, cosines, temp in zip(("student", "teacher"), answers(model, batch), (0.1, 0.05), strict=True):
        own = prototype_health(cosines[:2].flatten(0, 1), temp)  # the globals; raw, whatever the centring
        assert out[f"{who}_mi"].item() == pytest.approx(own["mi"], rel=1e-4)
        assert out[f"{who}_entropy"].item() == pytest.approx(own["mean_entropy"], rel=1e-4)


@pytest.mark.parametrize("how, power", [("linear", 1), ("squared", 2)])
def test_a_pair_weighs_what_its_emptier_crop_has(how, power):
    model, batch = build(foreground_loss_weighting=how, koleo=0.0).eval(), crops(2)
    student, raw = answers(model, batch)
    p = softmax_centre(raw[:2], model.centre, 0.04)
    ratio = torch.cat([batch["global_ratio"], batch["local_ratio"]])
    total = weight = 0.0
    for s in range(4):
        for t in range(2):
            for b in range(6):
                if s != t:
                    w = min(ratio[s, b], ratio[t, b]) ** power
                    total += w * dino_loss(student[s:s + 1, b:b + 1], p[t:t + 1, b:b + 1])
                    weight += w
    assert model(batch)["loss"].item() == pytest.approx(float(total / weight), rel=1e-5)


def test_ratios_that_are_all_alike_weigh_nothing():
    batch = with_ratios(crops(), [0.3, 0.3], [0.3] * 3)
    plain, weighted = build(), build(foreground_loss_weighting="squared")
    assert plain(batch)["loss"].item() == pytest.approx(weighted(batch)["loss"].item(), rel=1e-6)


def test_hierarchical_matching_sends_empty_locals_to_other_locals():
    model = build(hierarchical_matching=True, koleo=0.0).eval()
    batch = with_ratios(crops(3), [0.9, 0.8], [0.5, 0.4, 0.1])  # the first local is full enough, exactly
    student, raw = answers(model, batch)
    p = softmax_centre(raw, model.centre, 0.04)
    allowed = [(0, 1), (1, 0), (2, 0), (2, 1), (3, 2), (3, 4), (4, 2), (4, 3)]
    expected = torch.stack([dino_loss(student[s:s + 1], p[t:t + 1]) for s, t in allowed]).mean()
    out = model(batch)
    assert out["loss"].item() == pytest.approx(expected.item(), rel=1e-5) and out["pairs"] == 1
    full, plain = with_ratios(batch, [0.9, 0.8], [0.6] * 3), build(koleo=0.0).eval()
    assert model(full)["loss"].item() == pytest.approx(plain(full)["loss"].item(), rel=1e-5)
    lonely = with_ratios(crops(1), [0.9, 0.8], [0.1])  # no other local to go to
    assert model(lonely)["loss"].isfinite() and model(lonely)["pairs"] == 1


def test_foreground_only_leaves_pairs_out_and_says_so():
    model, plain = build(foreground_only_matching=True, koleo=0.0).eval(), build(koleo=0.0).eval()
    batch = with_ratios(crops(2), [0.9, 0.8], [0.5, 0.4])  # of 6 pairs the last local has 2
    out, without = model(batch), {**batch, **{k: batch[k][:1] for k in batch if k.startswith("local")}}
    assert out["pairs"].item() == pytest.approx(4 / 6)
    assert out["loss"].item() == pytest.approx(plain(without)["loss"].item(), rel=1e-5)


ONLY = dict(foreground_only_matching=True)


@pytest.mark.parametrize("kw", [ONLY, dict(ONLY, centring="sinkhorn", queue=8), dict(ONLY, hierarchical_matching=True),
                                dict(foreground_loss_weighting="linear")])
def test_nothing_but_air_is_a_loss_of_zero_that_moves_nothing(kw):
    model = build(**kw)
    out = model(with_ratios(crops(), [0.0, 0.0], [0.0] * 3))
    out["loss"].backward()
    assert out["loss"] == 0 and out["pairs"] == 0 and out["koleo"] > 0
    assert all((p.grad == 0).all() for p in model.parameters() if p.grad is not None)


CHANGED = dict(centring="sinkhorn", student_temp=0.2, teacher_temp=(0.05, 0.07), koleo=0.3,
               foreground_loss_weighting="linear", hierarchical_matching=True, foreground_only_matching=True,
               prototypes=25, hidden=33, bottleneck=9)
LATER = dict(momentum=0.5, centre_momentum=0.1, still=0.6, warmup=0.9)  # seen from the second step on


def losses(steps=3, **kw):
    model, out = build(**kw), []
    optimizer = torch.optim.SGD(model.param_groups(1.0, 0.0))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for step in range(steps):
            model.before_step(step, 10)
            out.append(model(crops(seed=step))["loss"])
            optimizer.zero_grad()
            out[-1].backward()
            optimizer.step()
            model.after_step()
    return [x.item() for x in out]


@pytest.mark.parametrize("name", [*CHANGED, *LATER])
def test_no_setting_is_dead(name):
    changed, plain = losses(**{name: {**CHANGED, **LATER}[name]}), losses()
    assert changed[0] != plain[0] if name in CHANGED else changed[0] == plain[0] and changed[2] != plain[2]


def test_thresholds_and_the_queue_are_not_dead_either():
    for on, name in (("hierarchical_matching", "hierarchical_threshold"),
                     ("foreground_only_matching", "foreground_only_threshold")):
        assert losses(1, **{on: True}) == losses(1, **{on: True, name: 0.5}) != losses(1, **{on: True, name: 0.3})
    assert losses(centring="sinkhorn")[0] == losses(centring="sinkhorn", queue=24)[0]
    assert losses(centring="sinkhorn")[1] != losses(centring="sinkhorn", queue=24)[1]


@pytest.mark.parametrize("kw", [
    dict(teacher_temp=0.04), dict(hierarchical_matching="False"), dict(foreground_only_matching="false"),
    dict(koleo="much"), dict(student_temp="0.1"), dict(centring="sinkhorn", queue=8.5), dict(still="never"),
    dict(centring="sinkhorn", centre_momentum=0.9), dict(hierarchical_threshold=0.5),
    dict(foreground_only_threshold=0.5), dict(queue=8), dict(centring="mean"),
    dict(foreground_loss_weighting="cubic"), dict(koleo=-1), dict(student_temp=0), dict(teacher_temp=(0.04, 0)),
    dict(momentum=1.1), dict(hierarchical_matching=True, hierarchical_threshold=2), dict(prototypes=1), dict(still=-1)])
def test_settings_that_mean_nothing_are_errors(kw):
    with pytest.raises(MedsslError, match="Expected"):
        build(**kw)


def test_unknown_settings_and_single_crops_are_errors():
    with pytest.raises(TypeError, match="foreground_ratio"):
        build(foreground_ratio=0.5)
    batch = crops(0)
    with pytest.raises(MedsslError, match="single crop"):
        build()({k: v[:1] for k, v in batch.items()})


# ---- teacher and student

def test_the_teacher_is_a_copy_without_gradient_that_follows_exactly():
    model = build()
    own = {p.data_ptr() for part in (model.encoder, model.head) for p in part.parameters()}
    slow = [p for part in (model.teacher, model.teacher_head) for p in part.parameters()]
    assert len(slow) == len(own) and not own & {p.data_ptr() for p in slow}
    assert not any(p.requires_grad for p in slow) and not any(m.training for m in model.train().teacher.modules())
    assert not {id(p) for g in model.param_groups(1, 0) for p in g["params"]} & {id(p) for p in slow}
    model(crops())["loss"].backward()
    assert all(p.grad is None for p in slow) and all(p.grad is not None for p in model.encoder.parameters())
    before = [p.clone() for p in slow]
    with torch.no_grad():
        for part in (model.encoder, model.head):
            for p in part.parameters():
                p.add_(torch.randn_like(p))
    model.before_step(3, 8)
    m = 1 - 0.01 * (1 + math.cos(math.pi * 3 / 8)) / 2
    model.after_step()
    fast = [p for part in (model.encoder, model.head) for p in part.parameters()]
    for old, new, own in zip(before, slow, fast, strict=True):
        assert torch.allclose(new, m * old + (1 - m) * own, atol=1e-6)


def test_schedules_are_functions_of_the_step():
    model = build(momentum=0.9, teacher_temp=(0.04, 0.08), warmup=0.5, still=0.2)
    seen = []
    for step in range(11):
        model.before_step(step, 10)
        seen.append((model.momentum, round(model.temp.item(), 6), model.head.still))
    assert [s[0] for s in seen] == sorted(s[0] for s in seen) and seen[0][0] == 0.9 and seen[10][0] == 1
    assert [s[1] for s in seen[:7]] == pytest.approx([0.04, 0.048, 0.056, 0.064, 0.072, 0.08, 0.08])
    assert [s[2] for s in seen[:4]] == [True, True, False, False]


def test_the_prototypes_stand_still_at_first():
    model = build(still=0.5)
    model.before_step(0, 10)
    model(crops())["loss"].backward()
    assert model.head.prototypes.grad is None and model.head.layers[0].weight.grad.abs().sum() > 0
    model.before_step(5, 10)
    model(crops())["loss"].backward()
    assert model.head.prototypes.grad.abs().sum() > 0


@pytest.mark.parametrize("kw", [dict(), dict(centring="sinkhorn", queue=20)])
def test_eval_moves_neither_centre_nor_queue_nor_average(kw):
    model = build(**kw)
    model(crops())
    before = {k: v.clone() for k, v in model.state_dict().items()}
    model.eval()
    for _ in range(2):
        model(crops(seed=1))
    assert all(torch.equal(v, before[k]) for k, v in model.state_dict().items())
    model.train()(crops(seed=1))
    assert not all(torch.equal(v, before[k]) for k, v in model.state_dict().items())


def test_the_centre_is_the_running_mean_of_the_teachers_cosines():
    model, batch = build(centre_momentum=0.8), crops()
    raw = answers(model, batch)[1][:2].flatten(0, 1)
    model(batch)
    assert torch.allclose(model.centre, 0.2 * raw.mean(0), atol=1e-6)


def test_the_queue_keeps_the_newest_rows_and_sinkhorn_sees_them():
    model, seen = build(centring="sinkhorn", queue=20), []
    for seed in range(3):
        seen.insert(0, model.teacher_head.embed(torch.cat([model.teacher(x) for x in crops(seed=seed)["globals"]])))
        model(crops(seed=seed))
        assert int(model.queued) == min(20, 12 * (seed + 1))
    assert torch.allclose(model.queue, torch.cat(seen)[:20], atol=1e-6)


def test_too_few_rows_are_told_once_and_not_with_a_queue_or_a_centre():
    model = build(centring="sinkhorn", prototypes=200)
    with pytest.warns(UserWarning, match=r"12 rows over 200 prototypes: .*ln\(200 / 12\) = 2.81"):
        model(crops())
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model(crops())
        build(centring="sinkhorn", prototypes=200, queue=13)(crops())
        build(prototypes=200)(crops())


# ---- around it

def test_positions_are_in_millimetres_where_the_encoder_has_them():
    model = build(encoder=ViT(patch=(6, 6, 6))).eval()
    batch = crops()
    wide = {**batch, "local_spacing": 3 * batch["local_spacing"], "global_spacing": 3 * batch["global_spacing"]}
    assert model(batch)["loss"] != model(wide)["loss"]
    x, spacing = batch["globals"][0], batch["global_spacing"][0]
    assert torch.equal(model.encode(x, spacing), model.encoder(x, spacing=spacing))
    assert not torch.equal(model.encode(x, spacing), model.encode(x, 3 * spacing))
    assert model.logits(x, spacing).shape == (6, 24) and model.logits(x, spacing).abs().max() <= 1


def test_settings_rebuild_the_same_method():
    for kw in (dict(), dict(centring="sinkhorn", queue=9), dict(hierarchical_matching=True, hierarchical_threshold=0.4),
               dict(foreground_only_matching=True, foreground_loss_weighting="squared")):
        model = build(**kw)
        kw, same = model.settings(), DINO3D(Tiny(), **model.settings())  # nothing but them: the head's widths, too
        assert same.settings() == kw
        assert {k: v.shape for k, v in same.state_dict().items()} == {k: v.shape for k, v in model.state_dict().items()}


class Cut(BaseException):
    """What a SIGKILL is to the process."""


@pytest.mark.parametrize("kw", [dict(), dict(centring="sinkhorn", queue=40, hierarchical_matching=True)])
def test_a_cut_run_ends_with_the_weights_of_the_uncut_one(tmp_path, kw):
    def trainer(out=None):
        model = build(**kw, warmup=0.8)
        return model, Trainer(model, Scans(), steps=9, views=Crops(), out=out, checkpoint_every=2, device="cpu",
                              quiet="silent", lr=1e-2)

    def cut(trainer, generator):
        if trainer.step == 5:
            raise Cut

    whole, run = trainer()
    rows = run.fit().history
    _, run = trainer(tmp_path)
    with pytest.raises(Cut):
        run.every(1, "step", cut).fit()
    model, run = trainer(tmp_path)
    again = run.fit().history
    assert all(torch.equal(v, whole.state_dict()[k]) for k, v in model.state_dict().items())
    assert [{k: v for k, v in row.items() if k != "seconds"} for row in again] == \
        [{k: v for k, v in row.items() if k != "seconds"} for row in rows]
    finished, run = trainer(tmp_path)
    run.fit()
    assert finished.temp == whole.temp == pytest.approx(0.07), "a finished run is judged at its own temperature"


def test_batchnorm_in_an_encoder_is_followed():
    class Normed(Tiny):
        def __init__(self):
            super().__init__()
            self.net.append(nn.BatchNorm3d(self.dim))

    model = build(encoder=Normed())
    model(crops())
    model.after_step()
    assert torch.equal(model.teacher.net[-1].running_mean, model.encoder.net[-1].running_mean)
    assert model.teacher.net[-1].running_mean.abs().sum() > 0
