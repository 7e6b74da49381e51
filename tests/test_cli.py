"""The command line as a student meets it: quick, and every message says what to do."""

import csv
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

import medssl.doctor as doctor
from medssl.cli import main
from medssl.errors import MedsslError

REPO = Path(__file__).resolve().parents[1]


def call(capsys, *words: str) -> tuple[int, str, str]:
    """(exit code, stdout, stderr) of `medssl WORDS`."""
    with pytest.raises(SystemExit) as ended:
        main(list(words))
    shown = capsys.readouterr()
    return int(ended.value.code or 0), shown.out, shown.err


def test_help_needs_no_torch():
    ask = "import sys, medssl.cli, medssl.course.run; print({'torch', 'sklearn', 'matplotlib'} & sys.modules.keys())"
    done = subprocess.run([sys.executable, "-c", ask], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


@pytest.mark.parametrize("verb", [[], ["run"], ["grade"], ["doctor"], ["train"], ["pretrain"], ["data"],
                                  ["data", "get"], ["reproduce"], ["questions"], ["slides"], ["checklist"],
                                  ["anonymize"], ["evaluate"], ["launch"]])
def test_every_verb_explains_itself(capsys, verb):
    code, out, _ = call(capsys, *verb, "--help")
    assert code == 0
    for option in re.findall(r"^  (?:-\w, )?(--[\w-]+)(.*)$", out, re.M):
        assert len(option[1].strip()) > 3, f"{' '.join(verb)} {option[0]} has no help"
    assert "..." not in out.split("Commands:")[-1] or verb, "a verb's first sentence is cut off"


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["run", "wek01"], "week01"),
        (["run", "week99"], "from 1 to"),
        (["run", "week01", "-p", "EPOCHS"], "KEY=VALUE"),
        (["run", "week01", "--notebooks", "nowhere"], "--notebooks"),
        (["grade", "nowhere"], "results"),
        (["data", "get", "brestmnist"], "breastmnist"),
        (["train", "--dataset", "breastphantom", "--model", "resnet81"], "resnet18"),
        (["trian"], "train"),
        (["train", "--epoch", "3"], "--epochs"),
        (["train", "--epochs", "0"], "--epochs"),
        (["train", "--seed", "-1"], "--seed"),
        (["run", "week01", "--out", "file", "--notebooks", str(REPO / "notebooks")], "where a folder should be"),
        (["grade", "results", "--json", "results"], "results is a folder"),
        (["grade", "results", "--html", "file/grade.html"], "cannot be used"),
        (["grade", "results/week1"], "medssl grade"),
    ],
)
def test_a_mistake_is_answered_without_a_traceback(capsys, tmp_path, monkeypatch, words, says):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MEDSSL_DEBUG", raising=False)
    (tmp_path / "results/week1").mkdir(parents=True)
    (tmp_path / "file").write_text("not a folder")
    code, _, err = call(capsys, *words)
    assert code in (1, 2) and says in err and "Traceback" not in err


def test_debug_shows_the_traceback_and_the_unexpected_always_does(capsys, monkeypatch):
    monkeypatch.setenv("MEDSSL_DEBUG", "1")
    with pytest.raises(MedsslError):
        main(["data", "get", "brestmnist"])
    monkeypatch.delenv("MEDSSL_DEBUG")
    monkeypatch.setattr(doctor, "examine", lambda: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        main(["doctor"])


def test_a_missing_package_is_named(capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "medssl.doctor", None)
    with pytest.raises(ModuleNotFoundError):  # our own: a bug, with its traceback
        main(["doctor"])
    monkeypatch.setattr(doctor, "examine", lambda: __import__("no_such_package"))
    monkeypatch.setitem(sys.modules, "medssl.doctor", doctor)
    code, _, err = call(capsys, "doctor")
    assert code == 1 and "no_such_package" in err and "pip install" in err


def test_doctor_says_what_to_do(capsys, monkeypatch, tmp_path):
    monkeypatch.setenv("MEDSSL_DATA", str(tmp_path))
    (tmp_path / "breastmnist.npz").write_bytes(b"not the official file")
    code, out, _ = call(capsys, "doctor", "--json")
    findings = {f["what"]: f for f in json.loads(out)}
    assert code == 0, [f for f in findings.values() if f["state"] == "bad"]
    assert findings["breastmnist"]["state"] == "warn" and "MD5" in findings["breastmnist"]["found"]
    assert "medssl data get pneumoniamnist" in findings["pneumoniamnist"]["fix"]
    assert all(f["fix"] for f in findings.values() if f["state"] != "ok")


def test_doctor_calls_an_old_package_bad(capsys, monkeypatch):
    real = doctor.metadata.version
    old = {"typer": "0.1", "papermill": "0.1"}
    monkeypatch.setattr(doctor.metadata, "version", lambda name: old.get(name) or real(name))
    found = {f.what: f for f in doctor.packages()}
    assert found["typer"].state == "bad" and "pip install" in found["typer"].fix
    assert found["papermill"].state == "warn", "papermill is for headless runs only"
    monkeypatch.setattr(doctor, "packages", lambda: iter([doctor.Finding("bad", "typer", "0.1", "mend it")]))
    assert call(capsys, "doctor")[0] == 1


def test_train_writes_what_the_handout_promises(tmp_path, repo):
    """The handout's own command, from starter/, on a Python that finds medssl only through starter/src."""
    words = ["--dataset", "breastphantom", "--model", "smallcnn", "--epochs", "2"]
    env = {**os.environ, "MEDSSL_QUIET": "1", "OMP_NUM_THREADS": "1"}  # two would wait for each other on a busy machine
    done = subprocess.run([sys.executable, "-m", "src.train_medmnist", *words, "--out", str(tmp_path)],
                          cwd=repo / "starter", env=env, capture_output=True, text=True)  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert {p.name for p in tmp_path.iterdir()} == {"best.pt", "val_log.jsonl", "test_metrics.json", "reliability.png",
                                                    "predictions_test.csv", "config.json", "env.json"}  # fmt: skip
    metrics = json.loads((tmp_path / "test_metrics.json").read_text())
    rows = list(csv.DictReader((tmp_path / "predictions_test.csv").open()))
    right = sum((float(row["p"]) > 0.5) == (row["y_true"] == "1") for row in rows)
    assert len(rows) == metrics["n"] == 156 and metrics["accuracy"] == pytest.approx(right / 156)
    assert metrics["data"]["phantom"] is True and metrics["backbone"] == "random" and metrics["split"] == "test"
    log = [json.loads(line) for line in (tmp_path / "val_log.jsonl").read_text().splitlines()]
    assert len(log) == 2 and all("val_auroc" in row for row in log)

    import torch

    from medssl.data import load
    from medssl.evaluate import predict_proba
    from medssl.methods import Supervised
    from medssl.models import build_encoder

    again = Supervised(build_encoder("smallcnn", in_channels=1))
    again.load_state_dict(torch.load(tmp_path / "best.pt", weights_only=True)["model"])
    data = load("breastphantom")
    p = predict_proba(again, data.test.images)
    assert p == pytest.approx([float(row["p"]) for row in rows], abs=2e-3), "best.pt is not what was tested"


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--lr", "-1"], "a number above 0"),
        (["--lr", "nan"], "a number above 0"),
        (["--weights", "bogus"], "imagenet or none"),
        (["--model", "resnet81"], "resnet18"),
        (["--finetune", "some"], "all or head"),
        (["--augment", "Z"], "A"),
        (["--size", "30"], "28"),
        (["--dataset", "nomnist"], "breastmnist"),
        (["--out", "file"], "where a folder should be"),
        (["--out", "file/deeper"], "where a folder should be"),
    ],
)
def test_a_bad_option_leaves_the_earlier_result_alone(capsys, tmp_path, monkeypatch, words, says):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MEDSSL_DEBUG", raising=False)
    (tmp_path / "file").write_text("not a folder")
    files = ("best.pt", "val_log.jsonl", "test_metrics.json", "predictions_test.csv", "reliability.png", "config.json",
             "env.json")  # fmt: skip
    (tmp_path / "run").mkdir()
    for file in files:
        (tmp_path / "run" / file).write_text("an earlier result")
    code, _, err = call(capsys, "train", "--dataset", "breastphantom", "--out", "run", *words)
    assert code == 1 and says in err and "--dataset breastphantom" not in err
    assert {(tmp_path / "run" / file).read_text() for file in files} == {"an earlier result"}
    assert (tmp_path / "file").read_text() == "not a folder"


def test_the_phantom_is_recommended_only_where_the_data_set_could_not_be_had(capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    code, _, err = call(capsys, "train", "--root", str(tmp_path), "--size", "30")
    assert code == 1 and "no images of size 30" in err and "phantom" not in err


def test_no_network_names_file_folder_and_phantom(capsys, tmp_path, monkeypatch):
    import medssl.data.medmnist as source

    def refuse(*_, **__):
        raise OSError("no network")

    monkeypatch.setattr(source, "download_url", refuse)
    code, _, err = call(capsys, "train", "--root", str(tmp_path / "data"))
    assert code == 1
    for word in ("breastmnist.npz", str(tmp_path / "data"), "--dataset breastphantom", "no network"):
        assert word in err
