"""The long commands of `medssl`, made short: few images, narrow networks, small figures, a notebook of three cells."""

import os
import shutil
import subprocess
import sys
import time
from contextlib import redirect_stdout
from functools import partial
from pathlib import Path

import pytest
from kills import begin, content, end
from prism_batches import Batches
from tiny_notebooks import notebook

LEARN = ("--dataset", "breastphantom", "--batch-size", "24", "--out", "run")
CELL = 'import time\nfrom medssl.files import write_atomic\nwrite_atomic("{0}.txt", "{0}" * 9000)\ntime.sleep(0.2)'
COMMANDS = {
    "run": ["run", "{notebook}", "--out", "run"],
    "train": ["train", *LEARN, "--epochs", "3", "--model", "smallcnn"],
    "pretrain": ["pretrain", "simclr", *LEARN, "--steps", "12", "--proj-dim", "8"],
    "prism": ["prism", "train", *(word for setting in (
        "data.catalog_path=none.csv", "data.n_patches=5", "data.distinct_series_per_batch=3", "data.holdout=0",
        "train.max_steps=8", "train.batch_size=6", "train.log_every=3", "train.precision=fp32",
        "loss.supcon_warmup_steps=2", "loss.supcon_ramp_steps=4", "wandb.mode=disabled", "checkpoint.folder=run",
        "checkpoint.seconds=0", "runtime.scratch=.scratch", "runtime.device=cpu") for word in ("--set", setting))],
    "grade": ["grade", "{hand_ins}", "--html", "out/grade.html", "--json", "out/grade.json", "--csv", "out/grade.csv",
              "--feedback", "out/feedback"],
    "report": ["report", "{hand_ins}", "--out", "out"]}
each = pytest.mark.parametrize("name", COMMANDS)


def aloud(command) -> None:
    """`medssl run` says which notebook failed, and why, among its lines."""
    with redirect_stdout(sys.stderr):
        command()


@pytest.fixture(scope="module", name="works")
def long_commands(few, tmp_path_factory):
    """{name: the command as a function}"""
    from cohort_today import perfect

    from medssl import cli, handout
    from medssl.course.writeup import figures
    from medssl.models import ENCODERS, SmallCNN
    from medssl.recipes import prism_scans
    from medssl.train import Trainer

    hand_ins = tmp_path_factory.mktemp("hand_ins")
    for person in ("ada", "ben"):
        perfect(hand_ins, 1, "breastmnist", person)
    tiny = notebook(tmp_path_factory.mktemp("notebooks") / "tiny.ipynb", *map(CELL.format, "ab"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(handout, "load", lambda *_: few)
        patch.setitem(ENCODERS, "smallcnn", lambda in_channels=1: SmallCNN(in_channels, width=4))
        patch.setitem(Trainer.__init__.__kwdefaults__, "checkpoint_seconds", 0.0)  # a checkpoint after each step
        patch.setattr(sys.modules["medssl.course.writeup.collect"], "DRAWS", 20)
        patch.setattr(figures, "DPI", 20)
        for what, made in {"scans_of": ([], []), "readable": ([], 0), "open_source": Batches()}.items():
            patch.setattr(prism_scans, what, lambda *_, made=made: made)
        patch.setenv("MEDSSL_QUIET", "1")
        patch.delenv("MEDSSL_DEBUG", raising=False)
        words = {name: [word.format(hand_ins=hand_ins, notebook=tiny) for word in words]
                 for name, words in COMMANDS.items()}
        made = {name: partial(cli.main, words[name]) for name in words}
        yield made | {"run": partial(aloud, made["run"])}


@pytest.fixture(scope="module", name="uncut")
def uncut_runs(works, tmp_path_factory):
    """{name: (what an uncut run leaves, its seconds)}, each made once."""
    made = {}

    def of(name: str) -> tuple[dict, float]:
        if name not in made:
            folder, start = tmp_path_factory.mktemp(name), time.monotonic()
            code, said = end(*begin(works[name], folder))
            assert code == 0, said
            made[name] = content(folder), time.monotonic() - start
        return made[name]

    return of


@pytest.fixture(name="disk")
def small_disk(tmp_path):
    """A disk of its own, of 16 MB, where this system lets one be mounted."""
    said = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=16m", "none", tmp_path], capture_output=True, text=True
                          ) if shutil.which("mount") else None
    if said is None or said.returncode:
        pytest.skip(f"no disk can be mounted here: {said.stderr.strip() if said else 'no command mount'}")
    yield tmp_path
    subprocess.run(["umount", "-l", tmp_path], check=True)


def fill(disk: Path, leave: int) -> Path:
    """A file that leaves so many bytes."""
    full = disk / ".full"
    with open(full, "wb") as file:
        os.posix_fallocate(file.fileno(), 0, shutil.disk_usage(disk).free - leave)
    return full
