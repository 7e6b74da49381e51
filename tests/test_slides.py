"""The talk and the checklist: every number from a file, no hole in the text, a box ticked only by a measurement."""

import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from medssl.course.writeup import checklist, collect, evidence, slides, talk
from medssl.course.writeup.at_hand import results_at_hand
from medssl.course.writeup.checklist import write_checklist
from medssl.course.writeup.slides import build_slides, file_name
from medssl.errors import MedsslError

REPO = Path(__file__).resolve().parents[1]
OURS = {"dataset": "breastmnist", "name": "reference"}


@pytest.fixture(autouse=True, scope="module")
def few_resamples():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(evidence, "N_BOOT", 60)
        yield


@pytest.fixture(scope="module")
def talk_of_ours(tmp_path_factory):
    return build_slides(REPO, tmp_path_factory.mktemp("talk"), title="Labels, or #luck$?", authors="Ada & [co]", **OURS)


def text_of(pdf):
    if not shutil.which("pdftotext"):
        pytest.skip("pdftotext is not installed")
    return subprocess.run(["pdftotext", "-layout", str(pdf), "-"], capture_output=True, text=True, check=True).stdout


def test_twelve_slides_with_speaker_notes_and_the_title_as_file_name(talk_of_ours):
    pdf, notes = talk_of_ours
    assert (pdf.parent.name, pdf.name, notes.name) == ("slides", "labels_or_luck.pdf", "labels_or_luck_notes.md")
    pages = re.findall(rb"/Type\s*/Page\b(?!s)", pdf.read_bytes())
    assert len(pages) == 12 == len(re.findall(r"^## \d+\.", notes.read_text(), re.M))
    assert not re.findall(r"\b(None|nan|NaN)\b|\{|\}", notes.read_text().replace("{name}", ""))


def test_the_text_of_the_slides_has_the_numbers_of_the_files_and_no_hole(talk_of_ours):
    pages = text_of(talk_of_ours[0]).split("\f")
    assert "Labels, or #luck$?" in pages[0] and "Ada & [co]" in pages[0]
    reference = json.loads((REPO / "results/week3/breastmnist/reference/reference_supervised.json").read_text())
    assert f"{reference['auroc']:.2f}" in pages[2] and "546 labels" in pages[2]
    assert not re.findall(r"\b(None|nan|NaN)\b|#text|\\", "".join(pages))
    assert all(len(page.split()) > 8 for page in pages[1:12]), "an empty slide"


def test_what_was_not_measured_is_said_and_not_drawn(tmp_path):
    shutil.copytree(REPO / "results/week1/breastmnist/reference", tmp_path / "results/week1/breastmnist/ada")
    made = talk.make_slides(collect(tmp_path), "t", "a")
    assert sum("Not measured yet" in slide.sentence for slide in made) == 5
    assert all(slide.figure or slide.lines for slide in made)
    with pytest.raises(MedsslError, match="no metrics file to talk about"):
        build_slides(tmp_path / "nowhere")


@pytest.mark.parametrize(("title", "name"), [("Labels, or luck?", "labels_or_luck"), ("../../etc/passwd", "etc_passwd"),
                                             ("Übung 2", "ubung_2"), ("標題", "talk"), ("x" * 300, "x" * 60)])
def test_a_title_becomes_a_file_name_for_every_system(title, name):
    assert file_name(title) == name


def test_a_verdict_and_a_code_line_are_typeset_not_run():
    assert "#verdict([a\\#b], [c])" in slides.text_body(["a#b|c"])
    assert "read(" not in slides.text_body(["#read(\"x\")"]).replace("\\#read(", "")


@pytest.fixture
def copied(tmp_path):
    for week in (1, 4):
        ours, mine = (f"results/week{week}/breastmnist/{who}" for who in ("reference", "ada"))
        shutil.copytree(REPO / ours, tmp_path / mine)
    return tmp_path


def boxes(root, **more):
    text = write_checklist(root, **more).read_text()
    assert not re.findall(r"\b(None|nan|NaN)\b", text)
    return {line[6:]: line[3] == "x" for line in text.splitlines() if line.startswith("- [")}


def box(found, words):
    (ticked,) = [value for line, value in found.items() if words in line]
    return ticked


def test_boxes_are_ticked_by_measurements(copied, tmp_path, monkeypatch):
    monkeypatch.setenv("MEDSSL_DATA", str(tmp_path / "no_data"))
    good = boxes(copied)
    assert box(good, "computed again from their predictions") and box(good, "split hash") and box(good, "sha256")
    assert box(good, "clean commit") and not box(good, "MD5 not measured") and not box(good, "was not run here")

    encoder = copied / "results/week4/breastmnist/ada/ssl_encoder.pt"
    encoder.write_bytes(encoder.read_bytes()[:-1] + b"x")
    run = copied / "results/week1/breastmnist/ada/run.json"
    run.write_text(json.dumps(json.loads(run.read_text()) | {"split_hash": "other", "git": "abc-dirty"}))
    metrics = copied / "results/week1/breastmnist/ada/test_metrics.json"
    metrics.write_text(metrics.read_text().replace('"auroc": 0.9', '"auroc": 0.8'))
    bad = boxes(copied)
    assert not box(bad, "sha256") and not box(bad, "split hash") and not box(bad, "changes on top")
    assert not box(bad, "computed again from their predictions")

    (tmp_path / "no_data").mkdir()
    (tmp_path / "no_data/breastmnist.npz").write_bytes(b"other")
    assert not box(boxes(copied), "not the published")


def test_the_commands_have_the_settings_of_the_runs(copied, tmp_path):
    """The profile's own would be another run: five seeds from random weights are not three from ImageNet's."""
    text = write_checklist(copied).read_text()
    for line, name in (("| 1 |", "ada"), ("| a core baseline |", "YOUR_NAME")):
        (row,) = [one for one in text.splitlines() if one.startswith(line)]
        assert f"`medssl run week01 --dataset breastmnist --name {name} -p SEEDS=5 -p WEIGHTS=none -p EPOCHS=5`" in row
    path = copied / "results/week1/breastmnist/ada/run.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"parameters": {"SEEDS": "1; rm -r /", "EPOCHS": [3]}}))
    assert "rm -r" not in write_checklist(copied).read_text()


def test_robustness_is_not_measured_without_the_same_networks_unshifted(tmp_path):
    for week in (1, 3, 8):
        ours, mine = (f"results/week{week}/breastmnist/{who}" for who in ("reference", "ada"))
        shutil.copytree(REPO / ours, tmp_path / mine)
    folder = tmp_path / "results/week8/breastmnist/ada"
    blur, none = (folder / f"predictions_robustness_{shift}_test.csv" for shift in ("blur", "none"))
    none.unlink(missing_ok=True)
    assert "Not measured yet" in talk.robustness_slide(collect(tmp_path), "breastmnist", "ada").sentence
    shutil.copy(blur, none)
    assert "AUROC" in talk.robustness_slide(collect(tmp_path), "breastmnist", "ada").sentence


def test_a_rerun_is_ticked_only_where_it_was_whole_and_inside(copied, tmp_path):
    def rerun(outside, weeks, dataset="breastmnist"):
        told = {"dataset": dataset, "hardware": {"device": "CPU"}, "metrics": [],
                "verdict": {"inside": 9, "outside": outside, "not run": 1, "compared": 9 + outside, "words": "Words."},
                "weeks": {str(week): {"status": "ran", "seconds": 60.0, "recorded_seconds": None, "notes": ""}
                          for week in weeks}}
        (tmp_path / "r.json").write_text(json.dumps(told))
        return boxes(copied, reproduction=tmp_path / "r.json")

    whole = rerun(0, range(1, 8))
    assert box(whole, "9 metrics inside") and box(whole, "All seven weeks") and box(whole, "took 7 min on CPU")
    assert not box(rerun(1, range(1, 8)), "1 outside")
    part = rerun(0, [1])
    assert box(part, "9 metrics inside") and not box(part, "Not all seven") and not box(part, "not measured.")
    assert not box(rerun(0, range(1, 8), "pneumoniamnist"), "was not run here")


def test_the_courses_own_stand_in_and_it_is_said(tmp_path, capsys):
    home, note = results_at_hand(tmp_path)
    assert home == REPO and "stand in" in note and "stand in" in capsys.readouterr().out
    shutil.copytree(REPO / "results/week1/breastmnist/reference", tmp_path / "results/week1/breastmnist/ada")
    assert results_at_hand(tmp_path) == (tmp_path, "")


def test_an_empty_folder_has_a_checklist_without_a_tick(tmp_path):
    assert not any(boxes(tmp_path).values())
    assert checklist.whole(None) == "–"
