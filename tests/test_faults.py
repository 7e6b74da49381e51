"""Long commands that are killed, find no room or are not alone: a rerun ends as the uncut run, and no file is half.

tests/README.md says which fault of which command is tested where.
"""

import dataclasses
import os
import re
import sys
import time
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from kills import KILLS, begin, content, end, killed

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
LEARN = ("--dataset", "breastphantom", "--batch-size", "24", "--out", "run")
COMMANDS = {
    "train": ["train", *LEARN, "--epochs", "3", "--model", "smallcnn"],
    "pretrain": ["pretrain", "simclr", *LEARN, "--steps", "12", "--proj-dim", "8"],
    "grade": ["grade", "{hand_ins}", "--html", "out/grade.html", "--json", "out/grade.json", "--csv", "out/grade.csv",
              "--feedback", "out/feedback"],
    "report": ["report", "{hand_ins}", "--out", "out"]}
each = pytest.mark.parametrize("name", COMMANDS)


@pytest.fixture(scope="module")
def works(few, tmp_path_factory):
    """{name: the command as a function}, on few images, with a narrow network and small figures."""
    from cohort_today import perfect

    from medssl import cli, handout
    from medssl.course.writeup import figures
    from medssl.models import ENCODERS, SmallCNN
    from medssl.train import Trainer

    hand_ins = tmp_path_factory.mktemp("hand_ins")
    for person in ("ada", "ben"):
        perfect(hand_ins, 1, "breastmnist", person)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(handout, "load", lambda *_: few)
        patch.setitem(ENCODERS, "smallcnn", lambda in_channels=1: SmallCNN(in_channels, width=4))
        patch.setitem(Trainer.__init__.__kwdefaults__, "checkpoint_seconds", 0.0)  # a checkpoint after each step
        patch.setattr(sys.modules["medssl.course.writeup.collect"], "DRAWS", 20)
        patch.setattr(figures, "DPI", 20)
        patch.setenv("MEDSSL_QUIET", "1")
        patch.delenv("MEDSSL_DEBUG", raising=False)
        yield {name: partial(cli.main, [word.format(hand_ins=hand_ins) for word in words])
               for name, words in COMMANDS.items()}


@pytest.fixture(scope="module")
def uncut(works, tmp_path_factory):
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


def whole_or_absent(folder: Path, expected: dict) -> None:
    found = content(folder)
    assert {name: found[name] for name in found} == {name: expected.get(name) for name in found}


def ends_as_uncut(work, folder: Path, expected: dict) -> None:
    code, said = end(*begin(work, folder))
    assert code == 0, said
    found = content(folder)
    assert found.keys() == expected.keys()
    other = [name for name in found if found[name] != expected[name]]
    assert not other, [(name, found[name], expected[name]) for name in other]


def test_a_run_cut_between_its_last_step_and_the_end_of_its_last_epoch_keeps_its_learning_rate(tmp_path):
    """Found by such kills: the last row of the history said the first learning rate."""
    from test_trainer import Cut, judged, make

    rows = []
    for out, cut_at in ((None, None), (tmp_path, 6), (tmp_path, None)):
        _, trainer = make(out=out, validate=judged(cut_at), monitor="auroc", checkpoint_every=5)
        try:
            rows.append([row["lr"] for row in trainer.fit().history])
        except Cut:
            continue
    assert len(rows) == 2 and rows[0] == rows[1] and rows[0][-1] < rows[0][0]


@each
def test_killed_at_random_moments_the_rerun_ends_as_the_uncut_run(works, uncut, tmp_path, name):
    (expected, seconds), seed = uncut(name), int.from_bytes(os.urandom(4))
    print(f"moments of the kills: seed {seed}")  # pytest shows it where the test fails
    rng, met = np.random.default_rng(seed), 0
    for _ in range(KILLS):
        met += killed(works[name], tmp_path, rng.random() * seconds * 0.9)
        whole_or_absent(tmp_path, expected)
    assert met or KILLS < 3, "each had ended before it was killed"
    ends_as_uncut(works[name], tmp_path, expected)


@each
@pytest.mark.parametrize("room", [0, 3000])
def test_a_full_disk_is_said_with_its_file_and_the_rerun_is_whole(works, uncut, tmp_path, name, room):
    expected, _ = uncut(name)
    code, said = end(*begin(works[name], tmp_path, room))
    assert code == 1 and "Traceback" not in said and re.search("What to do: (make room|free some)", said), said
    assert any(file in said for file in (*expected, "run/checkpoints", *map(os.path.basename, expected))), said
    whole_or_absent(tmp_path, expected)
    if room:
        ends_as_uncut(works[name], tmp_path, expected)


@each
def test_a_place_that_cannot_be_written_is_named(works, tmp_path, name):
    """In /sys nobody can make a folder, root neither."""
    from medssl import cli

    words = ["/sys/medssl" if word in ("out", "run") else word.replace("out/", "/sys/medssl/")
             for word in works[name].args[0]]
    code, said = end(*begin(partial(cli.main, words), tmp_path))
    assert code == 1 and "Traceback" not in said and "/sys/medssl" in said and "name another place" in said, said


@pytest.mark.parametrize("name", ["train", "pretrain", "grade"])
def test_two_at_once_in_one_folder_leave_one_whole_result(works, uncut, tmp_path, name):
    expected, _ = uncut(name)
    both = [begin(works[name], tmp_path) for _ in range(2)]
    ended = [end(*one) for one in both]
    assert any(code == 0 for code, _ in ended), ended
    for code, said in ended:
        assert code == 0 or code == 1 and "Traceback" not in said and "What to do" in said, said
    ends_as_uncut(works[name], tmp_path, expected)


@pytest.mark.parametrize("error", [torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 9 GiB"), MemoryError(),
                                   RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried 99 bytes")])
def test_no_memory_for_a_batch_says_what_to_make_smaller(works, tmp_path, monkeypatch, error):
    from medssl.methods import SimCLR

    def fails(*_):
        raise error

    monkeypatch.setattr(SimCLR, "forward", fails)
    code, said = end(*begin(works["pretrain"], tmp_path))
    assert code == 1 and "Traceback" not in said and "a smaller --batch-size" in said, said


def odd_set(few, kind: str):
    """The images, spoilt."""
    from medssl.data import Split

    def spoilt(split: Split) -> Split:
        n = {"no image": 0, "one image": 1}.get(kind, len(split))
        images = torch.full_like(split.images, 7) if kind == "constant" else split.images[:n]
        return Split(images, split.labels[:n] * (kind != "one class"))

    return dataclasses.replace(few, **{name: spoilt(split) for name, split in few.splits.items()})


@pytest.mark.parametrize("name", ["train", "pretrain"])
@pytest.mark.parametrize("kind", ["no image", "one image", "constant", "one class"])
def test_sets_that_teach_nothing_end_in_a_result_or_a_reason(works, few, tmp_path, monkeypatch, kind, name):
    from medssl import handout

    spoilt = odd_set(few, kind)
    monkeypatch.setattr(handout, "load", lambda *_: spoilt)
    code, said = end(*begin(works[name], tmp_path))
    assert code == 0 or code == 1 and "Traceback" not in said and "Expected:" in said, said
    assert code == 1 or "image" not in kind
    assert bool(content(tmp_path)) == (code == 0), "no half of a result"
