"""Two processes in the one Trainer: they end with the weights of one process that sees the whole batches."""

import os
import signal
import socket
import subprocess
import sys
from datetime import timedelta
from pathlib import Path

import pytest
import torch
import torch.multiprocessing as spawning
from torch import nn

from medssl.errors import MedsslError
from medssl.methods import LeJEPA, MoCo, Prism, SimCLR
from medssl.models.patch_encoder import PatchEncoder
from medssl.train import Trainer, load_newest, processes
from medssl.train.processes import count, first
from medssl.views import ManyViews, TwoViews, preset

STEPS, ROWS = 3, 8


class Conv(nn.Module):
    """[B,1,16,16] -> [B,8], with or without BatchNorm."""

    dim = 8

    def __init__(self, norm: bool):
        super().__init__()
        self.conv, self.norm = nn.Conv2d(1, 8, 3), nn.BatchNorm2d(8) if norm else nn.GroupNorm(1, 8)

    def forward(self, x):
        return self.norm(self.conv(x.to(self.conv.weight) / 255)).relu().mean((2, 3))


class Batches:
    """The same batches in each process; `at` is called before the batch of that number."""

    def __init__(self, make, at: dict | None = None):
        self.make, self.at = make, at or {}

    def __repr__(self) -> str:
        return "Batches"

    def batches(self, epoch: int):
        for k in range(2):
            self.at.get(2 * epoch + k, lambda: None)()
            yield self.make(torch.Generator().manual_seed(2 * epoch + k))

    def __len__(self) -> int:
        return 2

    def state_dict(self) -> dict:
        return {}

    def load_state_dict(self, state: dict) -> None:
        pass


def images(g) -> dict:
    return {"image": torch.randint(0, 256, (ROWS, 1, 16, 16), generator=g, dtype=torch.uint8), "name": ["a"] * ROWS}


def pairs(g) -> dict:
    """A batch for Prism: of four scans two pairs each, in the same process or not."""
    batch = {f"patches_{v}": torch.rand(ROWS, 5, 4, 4, 1, generator=g) for v in "ab"}
    batch |= {f"positions_{v}": 50 * torch.randn(ROWS, 5, 3, generator=g) for v in "ab"}
    return batch | {"center_distance_mm": 40 + 20 * torch.randn(ROWS, generator=g),
                    "center_delta_mm": torch.randn(ROWS, 3, generator=g),
                    "window_target": torch.randn(ROWS, 2, generator=g),
                    "rotation_delta_deg": 10 * torch.randn(ROWS, 3, generator=g),
                    "valid_fraction": torch.rand(ROWS, 2, 5, generator=g), "series_label": torch.arange(ROWS) % 4}


CONSTANTS = {"distance": (40.0, 20.0), "rotation": (0.0, 10.0), "window_center": (0.0, 1.0), "window_width": (0.0, 1.0)}
CASES = {  # {name: (method, its batches, views, settings of the Trainer)}
    "simclr": (lambda: SimCLR(Conv(False), proj_dim=4), images, TwoViews(preset("ultrasound", "ssl")), {}),
    "simclr, BatchNorm, two batches a step": (lambda: SimCLR(Conv(True), proj_dim=4), images,
                                              TwoViews(preset("ultrasound", "ssl")), {"accumulate": 2}),
    "lejepa": (lambda: LeJEPA(Conv(True), proj_dim=4, slices=16, hidden=8), images,
               ManyViews(preset("ultrasound", "ssl"), 2, 2, local_size=8), {}),
    "prism": (lambda: Prism(PatchEncoder("tiny", 4), constants=CONSTANTS, proj_dim=4), pairs, None, {}),
}


def trainer(name: str, out: Path | None = None, at: dict | None = None) -> Trainer:
    make, batches, views, settings = CASES[name]
    torch.manual_seed(3)
    method = make() if name == "prism" else make().double()  # BatchNorm of so few rows makes much of rounding
    if not first():
        nn.init.zeros_(next(method.parameters()))  # the first one's weights count
    return Trainer(method, Batches(batches, at), steps=STEPS, views=views, lr=0.1, optimizer="sgd", device="cpu",
                   precision="fp32", quiet="silent", out=out, clip=None, **settings,
                   validate=lambda method: {"rank": float(first()), "sum": sum(p.sum() for p in method.parameters())})


def learnt(name: str, folder: Path) -> dict:
    t = trainer(name, folder / name)
    calls = []
    t.every(1, "step", lambda t, _: calls.append(t.step))
    rows = t.fit().history
    assert all("forward" not in vars(module) for module in t.method.modules())
    return {"weights": t.method.state_dict(), "calls": calls, "loss": [row["loss"] for row in rows],
            "val": [[row["val_rank"], row["val_sum"]] for row in rows]}


def outcome(call) -> str:
    try:
        call()
    except (Exception, SystemExit) as error:
        return f"{type(error).__name__} {error}"
    return "nothing"


def one_of_two(rank: int, folder: Path, port: int) -> None:
    """What a process of two finds, as a file. At the end the second one is killed."""
    torch.set_num_threads(1)
    os.environ |= {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1",
                   "MASTER_PORT": str(port)}
    Trainer(SimCLR(Conv(False)), Batches(images), steps=1, device="cpu")  # the first one brings them together
    assert count() == 2
    found = {name: learnt(name, folder / "two") for name in CASES}
    mine = {1: lambda: os.kill(os.getpid(), signal.SIGTERM)} if rank == 1 else {}  # in step 2: after it both stop
    cut = trainer("prism", folder / "cut", mine)
    found["cut"] = [outcome(cut.fit), cut.step]
    again = trainer("prism", folder / "cut")
    again.fit()
    found["resumed"] = again.method.state_dict()

    class Own(SimCLR):
        """A subclass may compute something else."""

    for name, make in {"moco": lambda: MoCo(Conv(True), queue_size=16), "own": lambda: Own(Conv(False))}.items():
        found[name] = outcome(lambda make=make: Trainer(make(), Batches(images), steps=1, device="cpu"))
    odd = Trainer(SimCLR(Conv(False)), Batches(lambda g: {"image": images(g)["image"][:7]}), steps=1, device="cpu",
                  views=TwoViews(preset("ultrasound", "ssl")), quiet="silent")
    found["odd"] = outcome(odd.fit)
    torch.save(found, folder / f"{rank}.pt")
    die = {1: lambda: os.kill(os.getpid(), signal.SIGKILL)} if rank == 1 else {}
    told = outcome(trainer("simclr", None, die).fit)
    (folder / "left").write_text(told)
    os._exit(3)


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    folder = tmp_path_factory.mktemp("two")
    context = spawning.get_context("spawn")
    port = free_port()
    both = [context.Process(target=one_of_two, args=(rank, folder, port)) for rank in range(2)]
    for process in both:
        process.start()
    for process in both:
        process.join(300)
        process.kill()
    assert (folder / "0.pt").exists() and (folder / "1.pt").exists()
    files = [torch.load(folder / f"{rank}.pt", weights_only=True) for rank in range(2)]
    return folder, files, [process.exitcode for process in both]


@pytest.mark.parametrize("name", CASES)
def test_two_processes_learn_what_one_learns(found, name, tmp_path):
    whole = learnt(name, tmp_path)
    folder, files, _ = found
    for rank, two in enumerate(files):
        for key, expected in whole["weights"].items():
            torch.testing.assert_close(two[name]["weights"][key], expected, rtol=1e-4, atol=1e-6)
        assert two[name]["loss"] == pytest.approx(whole["loss"], rel=1e-5)
        assert two[name]["calls"] == ([] if rank else whole["calls"]), "a hook speaks once"
        assert [rank for rank, _ in two[name]["val"]] == [1.0] * len(two[name]["val"]), "not the first one's judgement"
    assert len((folder / "two" / name / "history.jsonl").read_text().splitlines()) == len(whole["loss"])
    state = load_newest(folder / "two" / name)
    assert state["step"] == STEPS and state["config"] == trainer(name).config, "one process could go on with it"


def test_one_is_told_to_stop_and_both_stop_and_go_on_to_the_same_weights(found, tmp_path):
    whole = learnt("prism", tmp_path)["weights"]
    for two in found[1]:
        assert two["cut"] == ["SystemExit 143", 2]
        for key, expected in whole.items():
            torch.testing.assert_close(two["resumed"][key], expected, rtol=1e-4, atol=1e-6)


def test_what_was_not_shown_equal_is_refused(found):
    for two in found[1]:
        assert "MoCo in 2 processes" in two["moco"] and "Own in 2 processes" in two["own"]
        assert "7 images a batch for 2" in two["odd"]


def test_a_killed_process_ends_the_other_with_an_error(found):
    folder, _, codes = found
    assert codes == [3, -signal.SIGKILL] and (folder / "left").read_text().startswith("RuntimeError")


def torchrun(folder: Path, *words: str) -> subprocess.Popen:
    line = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2", "--master-port", str(free_port()),
            "-m", "medssl", *words]
    return subprocess.Popen(line, cwd=folder, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                            env=os.environ | {"CUDA_VISIBLE_DEVICES": ""})


def test_torchrun_starts_the_command_and_one_folder_is_written(tmp_path):
    job = torchrun(tmp_path, "pretrain", "simclr", "--dataset", "breastphantom", "--steps", "2", "--batch-size", "16",
                   "--out", str(tmp_path / "run"))
    said, wrong = job.communicate(timeout=500)
    assert job.returncode == 0, wrong
    assert said.count("written: ") == 1 and (tmp_path / "run/ssl_encoder.pt").is_file()


@pytest.mark.parametrize("rank", ["0", "1"])
def test_the_others_that_never_come_are_an_error_in_words(monkeypatch, rank):
    port = str(free_port())
    for name, value in {"WORLD_SIZE": "2", "RANK": rank, "LOCAL_RANK": "0", "MASTER_ADDR": "127.0.0.1",
                        "MASTER_PORT": port}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(processes, "MEETING", timedelta(seconds=1))
    with pytest.raises(MedsslError, match=f"(?s)2 processes not all met at 127.0.0.1:{port} .* number {rank}.*logs of"):
        processes.join(SimCLR(Conv(False)))
    assert count() == 1


def test_what_cannot_be_shared_is_refused(monkeypatch, capsys):
    from medssl.cli import main
    from medssl.recipes.prism import train_prism

    for name, value in {"WORLD_SIZE": "2", "RANK": "0", "LOCAL_RANK": "0", "MASTER_ADDR": "localhost"}.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(MedsslError, match="one process"):
        train_prism(None)
    with pytest.raises(SystemExit):
        main(["data", "list"])
    assert "start it without torchrun" in capsys.readouterr().err
