"""Claims that are too large are named kindly, at most three a README; careful sentences are left alone."""

import json

import pytest

from medssl.course.checker.grade import grade


def notes(root, text, metrics=None):
    """What the lint says of one README of week 6."""
    folder = root / "results/week6/breastmnist/ada"
    folder.mkdir(parents=True)
    (folder / "README_week6.md").write_text(f"# Week 6\n\n## What SSL helps\n\n{text}\n")
    if metrics:
        (folder / "metrics_ssl_finetune.json").write_text(json.dumps(metrics))
    found = [f for one in grade(root / "results").submissions for f in one["findings"]]
    assert not [f for f in found if f["code"] == "checker-error"], found
    return [f for f in found if f["code"] == "wording"]


BOLD = ("This proves that SSL learns better features.", "It is impossible that the model overfits.",
        "The result guarantees robust features.", "The model separates the classes perfectly.",
        "The model is well calibrated.", "It can be used in hospitals and is ready for clinical use.",
        "Fine-tuning is significantly better than the probe.", "The UMAP shows that the classes are well separated.",
        "A lower loss means a better encoder.", "AUROC is 0.95, so the model is calibrated.",
        "The model diagnoses cancer from ultrasound.", "This is the proof of label efficiency.")
CAREFUL = ("This does not prove that SSL learns better features.", "No proof of anything, but a hint.",
           "The model is not well calibrated.", "A perfectly calibrated model would score 0.04.",
           "It is not ready for clinical use, and was not tested on patients.", "Nothing guarantees robust features.",
           "Is the model well calibrated?", "> The model is well calibrated and this proves it.",
           "The UMAP suggests two groups; the probe's AUROC is 0.84.", "A lower loss does not mean a better encoder.",
           "Fine-tuning is significantly better (paired bootstrap, 95 % interval 0.01 to 0.05).",
           "The AUROC says nothing about calibration.", "Before clinical use it would need other hospitals' images.",
           'An earlier report said "this proves it".', "The diagonal is perfect calibration.",
           "We cannot claim that it is well calibrated.")


@pytest.mark.parametrize("text", BOLD)
def test_a_claim_that_is_too_large_is_named_with_what_to_write_instead(text, tmp_path):
    (found,) = notes(tmp_path, text)
    assert found["severity"] == "note" and len(found["fix"]) > 20 and "line 5" in found["message"]


@pytest.mark.parametrize("text", CAREFUL)
def test_a_careful_sentence_is_left_alone(text, tmp_path):
    assert not notes(tmp_path, text)


def test_at_most_three_a_readme(tmp_path):
    assert len(notes(tmp_path, "\n\n".join(BOLD))) == 3


def test_well_calibrated_needs_an_ece_near_its_floor(tmp_path):
    """0.04 on 156 images is what chance alone gives; 0.12 is not."""
    assert not notes(tmp_path / "a", "The model is well calibrated.", {"acc": 0.85, "auroc": 0.9, "ece": 0.04})
    (found,) = notes(tmp_path / "b", "The model is well calibrated.", {"acc": 0.85, "auroc": 0.9, "ece": 0.12})
    assert "0.120" in found["fix"]


def test_the_quoted_phrase_is_safe_to_show(tmp_path):
    (found,) = notes(tmp_path, "This proves\u202e\x07 that it works <script>.")
    assert "\x07" not in found["message"] and "\u202e" not in found["message"]
