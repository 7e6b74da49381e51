"""Long commands that are killed, find no room or are not alone: a rerun ends as the uncut run, and no file is half.

tests/README.md says which fault of which command is tested where.
"""

import dataclasses
import os
import re
import shutil
import signal
import time
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from kills import KILLS, begin, content, end, killed
from long_commands import each, fill, long_commands, small_disk, uncut_runs  # noqa: F401  # fixtures

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")


def whole_or_absent(folder: Path, expected: dict) -> None:
    """A history grows row by row; all else is there as a whole, or not at all."""
    for name, found in content(folder).items():
        whole = expected.get(name)
        assert found == (whole[:len(found)] if name.endswith(".jsonl") else whole), name


def ends_as_uncut(work, folder: Path, expected: dict) -> None:
    code, said = end(*begin(work, folder))
    assert code == 0, said
    found = content(folder)
    assert found.keys() == expected.keys()
    for name in found:
        assert found[name] == expected[name], name


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
    for number in range(KILLS + 12):
        if met and number >= KILLS:
            break
        hit = killed(works[name], tmp_path, rng.random() * seconds * 0.9)
        whole_or_absent(tmp_path, expected)
        met += hit
        if not hit:  # it ended before: it is no longer that slow, and the next kill is to meet one that begins anew
            seconds *= 0.7
            shutil.rmtree(tmp_path)
    assert met, "each had ended before it was killed"
    ends_as_uncut(works[name], tmp_path, expected)


@pytest.mark.parametrize("name", ["grade", "report"])
def test_ctrl_c_leaves_whole_files_and_no_rubbish(works, uncut, tmp_path, name):
    expected, seconds = uncut(name)
    pid, pipe = begin(works[name], tmp_path)
    time.sleep(seconds * 0.6)
    os.kill(pid, signal.SIGINT)  # it is not waited for yet, so its number is still its own
    code, said = end(pid, pipe)
    assert code in (0, 1, 130) and "Traceback" not in said, said
    whole_or_absent(tmp_path, expected)
    assert not list(tmp_path.rglob(".*.tmp"))


FULL = re.compile("What to do: (make room|free some)")


def full_disk_is_said(code: int, said: str, expected: dict) -> None:
    assert code == 1 and "Traceback" not in said and FULL.search(said), said
    assert any(file in said for file in (*expected, "run/checkpoints", *map(os.path.basename, expected))), said


@pytest.mark.parametrize("name", ["train", "pretrain", "grade", "report"])
def test_no_room_for_a_file_is_said_and_nothing_is_half(works, uncut, tmp_path, name):
    expected, _ = uncut(name)
    full_disk_is_said(*end(*begin(works[name], tmp_path, 3000)), expected)
    whole_or_absent(tmp_path, expected)


@each
def test_a_full_disk_is_said_with_its_file_and_the_rerun_is_whole(works, uncut, disk, name):
    """A disk of its own, not a limit of the process: first with room for a part, then, with all there, with none. Only
    `run` begins by putting the last notebook away."""
    expected, _ = uncut(name)
    for leave in (8192, 0):
        full = fill(disk, leave)
        code, said = end(*begin(works[name], disk))
        if code:  # of a training that has ended all is there already
            full_disk_is_said(code, said, expected)
        else:
            assert not leave
        whole_or_absent(disk, expected)
        assert leave or name == "run" or content(disk).keys() == expected.keys(), "a file of the result before is gone"
        full.unlink()
        ends_as_uncut(works[name], disk, expected)


@each
def test_a_place_that_cannot_be_written_is_named(works, tmp_path, name):
    """In /sys nobody can make a folder, root neither."""
    from medssl import cli

    words = works[name].args[0] if name != "run" else works[name].args[0].args[0]
    words = [words[0], *("/sys/medssl" if word in ("out", "run") else
                         word.replace("out/", "/sys/medssl/").replace("folder=run", "folder=/sys/medssl")
                         for word in words[1:])]
    code, said = end(*begin(partial(cli.main, words), tmp_path))
    assert code == 1 and "Traceback" not in said and "/sys/medssl" in said and "name another place" in said, said


@each
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
