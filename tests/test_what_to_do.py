"""A user's mistake is answered with what to do about it, in words that fit where it was made."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest
from picture_files import picture, save

from medssl.cli import main
from medssl.course.contract import load_contract
from medssl.course.parameters import parameters_of
from medssl.data.folder_listing import read_table
from medssl.data.folders import load_folder
from medssl.errors import MedsslError
from medssl.settings import read_toml


def test_too_few_images_are_counted_as_images_and_the_folder_is_named(tmp_path):
    save(tmp_path / "one" / "a.png")
    with pytest.raises(MedsslError, match=r"one holds 1 image of use\.(.|\n)*2 at least(.|\n)*Put more") as caught:
        load_folder(tmp_path / "one", size=8)
    assert "patient" not in str(caught.value)
    save(tmp_path / "one" / "b.png", picture(1))
    assert len(load_folder(tmp_path / "one", size=8).train) == 1


def test_one_class_on_the_command_line_is_told_in_its_options(tmp_path, capsys):
    for k in range(3):
        save(tmp_path / "films" / f"{k}.png", picture(k))
    (tmp_path / "t.csv").write_text("image,label\n0.png,benign\n1.png,benign\n2.png,benign\n")
    with pytest.raises(SystemExit):
        main(["pretrain", "lejepa", "--data", str(tmp_path / "films"), "--labels", str(tmp_path / "t.csv"),
              "--label-column", "label", "--steps", "1", "--out", str(tmp_path / "out")])
    said = capsys.readouterr().err
    assert "the labels are benign." in said and "Leave out --label-column" in said and "classes=" not in said


@pytest.mark.parametrize(("read", "content"), [
    (read_toml, "a = \n"), (read_toml, None), (read_table, "image,label\n"), (read_table, None),
    (parameters_of, "3"), (parameters_of, '{"cells": 3}'), (parameters_of, '{"cells": [3]}'),
    (parameters_of, '{"cells": [{"metadata": 3}]}'), (parameters_of, "no json")])
def test_a_file_that_cannot_serve_is_named_with_what_to_do(tmp_path, read, content):
    path = tmp_path / "given"
    if content is not None:
        path.write_text(content)
    with pytest.raises(MedsslError) as caught:
        read(path)
    assert str(path) in caught.value.wrong and caught.value.fix and "object" not in caught.value.wrong


def test_a_week_that_there_is_not_says_what_to_do():
    with pytest.raises(MedsslError, match="Week 99(.|\n)*What to do"):
        load_contract().week(99)


def test_the_versions_need_uv_and_say_so_before_an_environment_is_taken_away(tmp_path):
    shutil.copytree(Path(__file__).parent / "versions", tmp_path / "tests/versions")
    (tmp_path / "bin").mkdir()
    os.symlink(shutil.which("dirname"), tmp_path / "bin/dirname")
    kept = tmp_path / "runs/versions/newest"
    kept.mkdir(parents=True)
    run = subprocess.run([shutil.which("bash"), tmp_path / "tests/versions/run.sh", "newest"], capture_output=True,
                         text=True, env={"PATH": str(tmp_path / "bin")})
    assert run.returncode == 2 and "pip install uv" in run.stderr and kept.is_dir(), run.stderr
