"""The trainer: what is learnt is a pure function of the seed, whatever happens to the process on the way."""

import json
import os
import signal
import subprocess
import sys
import time
import warnings

import pytest
import torch
from torch import nn

from medssl.errors import MedsslError
from medssl.train import Trainer, load_newest
from medssl.train.checkpoint import checkpoints, save_checkpoint
from medssl.train.schedules import warmup_cosine


class Source:
    """40 points in a fixed order an epoch, five batches of eight."""

    def __init__(self, size=8, drop_after=None):
        x = torch.randn(40, 6, generator=torch.Generator().manual_seed(1))
        self.x, self.y, self.size = x, (x.sum(1) > 0).long(), size

    def __len__(self):
        return 40 // self.size

    def __repr__(self):
        return "toy"

    def batches(self, epoch):
        order = torch.randperm(40, generator=torch.Generator().manual_seed(epoch))
        for rows in order.split(self.size):
            yield {"x": self.x[rows], "label": self.y[rows]}

    def state_dict(self):
        return {}

    def load_state_dict(self, state):
        pass


class Method(nn.Module):
    """Dropout (draws from torch's own generator) and BatchNorm (buffers), so that a sloppy resume shows."""

    def __init__(self, seed=0):
        super().__init__()
        torch.manual_seed(seed)
        self.net = nn.Sequential(nn.Linear(6, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Dropout(0.3), nn.Linear(16, 2))

    def forward(self, batch):
        loss = nn.functional.cross_entropy(self.net(batch["x"]), batch["label"])
        return {"loss": loss, "half": loss.detach() / 2}


def noisy(batch, generator):
    return {**batch, "x": batch["x"] + 0.1 * torch.randn(batch["x"].shape, generator=generator)}


def make(out=None, method=None, **kw):
    kw = {"epochs": 6, "views": noisy, "lr": 0.01, "seed": 3, "device": "cpu", "quiet": True, **kw}
    method = method or Method()
    return method, Trainer(method, kw.pop("source", None) or Source(), out=out, **kw)


def weights(method):
    return {k: v.clone() for k, v in method.state_dict().items()}


def same(a, b):
    return a.keys() == b.keys() and all(torch.equal(a[k], b[k]) for k in a)


def uncut(**kw):
    method, trainer = make(**kw)
    result = trainer.fit()
    return weights(method), result


CHILD = """
import sys, time
sys.path.insert(0, {tests!r})
from test_trainer import *
method, trainer = make(out={out!r}, checkpoint_every=1, epochs=40)
trainer.every(1, "step", lambda t, g: time.sleep(0.005))
trainer.fit()
torch.save(weights(method), {out!r} + "/final.pt")
"""


def start_child(tmp_path):
    code = CHILD.format(tests=os.path.dirname(__file__), out=str(tmp_path / "run"))
    return subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)


def wait_for_checkpoint(folder, child, least):
    deadline = time.time() + 60
    while time.time() < deadline and child.poll() is None:
        found = checkpoints(folder)
        if found and int(found[0].name.split("-")[1]) >= least:
            return
        time.sleep(0.002)
    raise AssertionError(f"no checkpoint came: {child.stderr.read().decode()[-2000:]}")


def test_killed_three_times_ends_with_the_weights_of_the_uncut_run(tmp_path):
    for least in (1, 47, 101):  # inside the first epoch, and in the middle of later ones
        child = start_child(tmp_path)
        wait_for_checkpoint(tmp_path / "run", child, least)
        child.kill()
        child.wait()
    child = start_child(tmp_path)
    assert child.wait(60) == 0, child.stderr.read().decode()[-2000:]
    expected, result = uncut(epochs=40)
    assert same(torch.load(tmp_path / "run" / "final.pt", weights_only=True), expected)
    rows = [json.loads(line) for line in (tmp_path / "run" / "history.jsonl").read_text().splitlines()]
    clean = [{k: v for k, v in row.items() if k != "seconds"} for row in rows]
    assert clean == [{k: v for k, v in row.items() if k != "seconds"} for row in result.history]


@pytest.mark.parametrize("number, code", [(signal.SIGINT, 1), (signal.SIGTERM, 143)])
def test_a_signal_saves_before_it_stops(tmp_path, number, code):
    child = start_child(tmp_path)
    wait_for_checkpoint(tmp_path / "run", child, 3)
    child.send_signal(number)
    assert child.wait(30) in (code, -number)
    step = load_newest(tmp_path / "run")["step"]
    assert step >= 3
    method, trainer = make(out=tmp_path / "run", epochs=40)
    trainer.fit()
    assert same(weights(method), uncut(epochs=40)[0])


@pytest.mark.parametrize("damage", ["truncate", "flip", "empty"])
def test_a_damaged_newest_checkpoint_falls_back_to_the_one_before(tmp_path, damage):
    def cut(trainer, generator):
        if trainer.step == 23:
            raise RuntimeError("cut")

    _, trainer = make(out=tmp_path, checkpoint_every=5)
    with pytest.raises(RuntimeError, match="cut"):
        trainer.every(1, "step", cut).fit()
    newest, _ = checkpoints(tmp_path)
    raw = bytearray(newest.read_bytes())
    if damage == "flip":
        raw[len(raw) // 2] ^= 1
    newest.write_bytes({"truncate": raw[: len(raw) // 2], "flip": raw, "empty": b""}[damage])
    method, trainer = make(out=tmp_path, checkpoint_every=5)
    with pytest.warns(UserWarning, match="damaged"):
        trainer.fit()
    assert same(weights(method), uncut()[0])


class Cut(BaseException):
    """What a SIGKILL is to the process: nothing is caught, nothing is tidied."""


def judged(cut_at=None):
    """A validation whose best epoch is the last; it dies when called for the `cut_at`-th time."""
    calls = []

    def validate(method):
        calls.append(1)
        if len(calls) == cut_at:
            raise Cut
        return {"auroc": float(method.net[0].weight.detach().abs().sum())}

    return validate


@pytest.mark.parametrize("cut_at", [1, 3, 6])
def test_a_run_cut_inside_a_validation_still_judges_that_epoch(tmp_path, cut_at):
    settings = dict(monitor="auroc", checkpoint_every=5)  # one checkpoint at the last step of each epoch
    whole, trainer = make(validate=judged(), **settings)
    expected = trainer.fit()
    _, trainer = make(out=tmp_path, validate=judged(cut_at), **settings)
    with pytest.raises(Cut):
        trainer.fit()
    method, trainer = make(out=tmp_path, validate=judged(), **settings)
    result = trainer.fit()
    assert result.best == expected.best and len(result.history) == 6
    assert same(weights(method), weights(whole))


def test_a_signal_in_the_last_validation_is_not_swallowed(tmp_path):
    def validate(method):
        os.kill(os.getpid(), signal.SIGINT)
        return {"auroc": 0.5}

    _, trainer = make(out=tmp_path, epochs=1, validate=validate)
    with pytest.raises(KeyboardInterrupt):
        trainer.fit()
    assert load_newest(tmp_path)["step"] == 5


def test_of_two_checkpoints_of_one_step_the_later_one_stays(tmp_path):
    for k in range(4):  # digests, by which names of the same step would sort, are as good as random
        folder = tmp_path / str(k)
        save_checkpoint(folder, 4, {"judged": True, "k": k})
        save_checkpoint(folder, 5, {"judged": False, "k": k})
        save_checkpoint(folder, 5, {"judged": True, "k": k})
        assert load_newest(folder)["judged"]
        assert [path.name[:19] for path in checkpoints(folder)] == ["checkpoint-00000005", "checkpoint-00000004"]


def test_long_epochs_are_saved_by_the_clock(tmp_path):
    def cut(trainer, generator):
        if trainer.step == 4:
            raise Cut

    _, trainer = make(out=tmp_path, checkpoint_seconds=0.0)
    with pytest.raises(Cut):
        trainer.every(1, "step", cut).fit()
    assert load_newest(tmp_path)["step"] == 3


def test_the_best_loss_is_the_smallest():
    values = iter([0.9, 0.2, 0.5, 0.6, 0.7, 0.8])
    _, trainer = make(validate=lambda m: {"val_nll": next(values)}, monitor="val_nll")
    assert trainer.fit().best["epoch"] == 2


def test_a_gradient_that_is_no_number_stops_before_it_reaches_a_checkpoint(tmp_path):
    class Sharp(Method):
        def forward(self, batch):
            out = super().forward(batch)
            if trainer.step == 7:  # 0 * sqrt(0): the value is 0, its gradient is not a number
                out["loss"] = out["loss"] + torch.sqrt(self.net[0].bias.sum() * 0) * 0
            return out

    _, trainer = make(out=tmp_path, method=Sharp(), checkpoint_every=1)
    with pytest.raises(MedsslError, match="step 8 of 30: .*grad_norm=nan"):
        trainer.fit()
    assert all(torch.isfinite(v).all() for v in load_newest(tmp_path)["method"].values())


def test_numbers_from_numpy_can_be_saved_and_resumed(tmp_path):
    np = pytest.importorskip("numpy")
    settings = dict(out=tmp_path, lr=np.float64(0.01), seed=np.int64(3))
    _, trainer = make(**settings)
    trainer.fit()
    assert make(**settings)[1].fit().steps == 30


def test_views_see_full_precision_whatever_the_network_computes_in():
    seen = []

    def views(batch, generator):
        seen.append((batch["x"] @ batch["x"].T).dtype)
        return batch

    make(views=views, precision="bf16", epochs=1)[1].fit()
    assert set(seen) == {torch.float32}


def test_the_callers_random_numbers_stay_where_they_were():
    method, trainer = make()
    torch.manual_seed(11)
    expected = torch.rand(2)
    torch.manual_seed(11)
    trainer.fit()
    assert torch.equal(torch.rand(2), expected)


def test_hooks_do_not_change_what_is_learnt():
    def draw(trainer, generator):
        torch.rand(7)
        torch.rand(3, generator=generator)
        trainer.method.eval()

    method, trainer = make()
    trainer.every(2, "step", draw).every(1, "epoch", draw).fit()
    assert same(weights(method), uncut()[0])


def test_the_best_weights_are_a_copy_and_come_back():
    values = iter([0.1, 0.9, 0.3, 0.2, 0.1, 0.0])
    at_best = {}

    def validate(method):
        value = next(values)
        if value == 0.9:
            at_best.update(weights(method))
        return {"auroc": value}

    method, trainer = make(validate=validate, monitor="auroc")
    result = trainer.fit()
    assert result.best["epoch"] == 2 and result.best["value"] == 0.9
    assert same(weights(method), at_best)


def test_patience_stops_early_and_a_finished_run_is_not_run_again(tmp_path):
    values = iter([0.5, 0.4, 0.4, 0.6])
    kw = dict(out=tmp_path, validate=lambda m: {"auroc": next(values)}, monitor="auroc", patience=2)
    method, trainer = make(**kw)
    result = trainer.fit()
    assert result.stopped_early and len(result.history) == 3 and result.best["epoch"] == 1
    again, trainer = make(**kw)
    assert trainer.fit().history == result.history
    assert same(weights(again), weights(method))


def test_a_loss_that_is_no_number_names_step_parts_and_the_last_good_checkpoint(tmp_path):
    def poison(batch, generator):
        x = batch["x"]
        return {**batch, "x": x * float("nan") if trainer.step == 12 else x}

    _, trainer = make(out=tmp_path, views=poison, checkpoint_every=5)
    with pytest.raises(MedsslError, match=r"step 13 of 30: loss=nan, half=nan") as told:
        trainer.fit()
    assert checkpoints(tmp_path)[0].name in str(told.value) and "00000010" in checkpoints(tmp_path)[0].name


def test_a_full_disk_keeps_the_old_checkpoint_and_leaves_no_half_file(tmp_path, monkeypatch):
    real_save, calls = torch.save, []

    def full(state, file):
        calls.append(1)
        if len(calls) == 2:
            file.write(b"half a file")
            raise OSError(28, "No space left on device")
        return real_save(state, file)

    monkeypatch.setattr(torch, "save", full)
    _, trainer = make(out=tmp_path, checkpoint_every=10)
    with pytest.warns(UserWarning, match="No space left"):
        trainer.fit()
    assert load_newest(tmp_path)["step"] == 30 and not list(tmp_path.glob("*.tmp"))


def test_other_settings_are_refused_and_starting_over_is_possible(tmp_path):
    make(out=tmp_path)[1].fit()
    with pytest.raises(MedsslError, match="lr was 0.01, is 0.02"):
        make(out=tmp_path, lr=0.02)[1].fit()
    with pytest.raises(MedsslError, match="data was"):
        make(out=tmp_path, about={"data": "another"})[1].fit()
    wide = Method()
    wide.net[0], wide.net[1], wide.net[4] = nn.Linear(6, 8), nn.BatchNorm1d(8), nn.Linear(8, 2)
    with pytest.raises(MedsslError, match="method was"):
        make(out=tmp_path, method=wide)[1].fit()
    method, trainer = make(out=tmp_path, lr=0.02)
    trainer.fit(resume=False)
    assert same(weights(method), uncut(lr=0.02)[0])


class Averaged(Method):
    """Without dropout and BatchNorm the mean of two half batches is the whole batch."""

    def __init__(self):
        super().__init__()
        self.net = nn.Linear(6, 2)


def test_accumulating_two_halves_is_one_whole_batch():
    torch.manual_seed(0)
    whole = Averaged()
    halves = Averaged()
    halves.load_state_dict(whole.state_dict())
    shared = dict(views=None, precision="fp32", schedule="constant", epochs=3)
    make(method=whole, source=Source(8), **shared)[1].fit()
    make(method=halves, source=Source(4), accumulate=2, **shared)[1].fit()
    assert torch.allclose(whole.net.weight, halves.net.weight, atol=1e-6)


def test_budget_in_steps_ends_in_the_middle_of_an_epoch():
    _, trainer = make(epochs=None, steps=7)
    result = trainer.fit()
    assert result.steps == 7 and [row["step"] for row in result.history] == [5, 7]


def test_unclear_budgets_and_unknown_names_are_errors():
    for wrong in (dict(epochs=2, steps=3), dict(epochs=None), dict(schedule="cosin"), dict(precision="fp8"),
                  dict(monitor="auroc"), dict(optimizer="adam"), dict(epochs=0), dict(epochs=1.5), dict(accumulate=0),
                  dict(lr=-1), dict(lr=float("nan")), dict(warmup=2), dict(clip=0), dict(patience=0)):
        with pytest.raises(MedsslError):
            make(**wrong)
    with pytest.raises(MedsslError):
        make()[1].every(1, "epochs", print)


def test_schedule_starts_low_peaks_at_one_and_ends_at_zero():
    rates = [warmup_cosine(step, 100, 10) for step in range(101)]
    assert rates[0] == pytest.approx(0.1) and max(rates) == 1.0 and rates[100] == pytest.approx(0.0)
    assert rates[55] == pytest.approx(0.5)  # half way through the cosine
    assert all(a >= b for a, b in zip(rates[10:], rates[11:], strict=False))


def test_quiet_runs_say_one_line_an_epoch(capsys):
    make(validate=lambda m: {"auroc": 0.5})[1].fit()
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 6 and lines[0].startswith("epoch   1  loss ") and "val_auroc 0.5000" in lines[0]


def test_nothing_is_warned_about_in_a_plain_run(tmp_path):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        make(out=tmp_path)[1].fit()
