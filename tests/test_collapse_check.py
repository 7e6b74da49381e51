"""Week 4's own numbers say whether the embedding collapsed; a healthy one is left alone."""

import json

import pytest

from medssl.course.checker.grade import grade

HEAD = "seed,epoch,step,loss,val_rank,val_std_mean\n0,1,2,6.1,2.2,0.03\n"


@pytest.mark.parametrize(("file", "text", "found_it"), [
    ("ssl_loss.csv", HEAD + "0,9,18,2.7,38,0.98\n", False),  # it begins low, always
    ("ssl_loss.csv", HEAD + "0,9,18,2.7,38,0.98\n1,9,18,2.6,30,0.02\n", True),
    ("ssl_loss.csv", HEAD + "0,9,18,2.7,1.4,0.7\n", True),
    ("ssl_loss.csv", "epoch,loss\n1,6.1\n2,5.0\n", False),
    ("health.json", json.dumps({"std_mean": 0.01}), True),
    ("health.json", json.dumps({"std_mean": 0.9, "rank": 40}), False)])
def test_a_collapsed_embedding_is_a_warning(tmp_path, file, text, found_it):
    folder = tmp_path / "results/week4/breastmnist/ada"
    folder.mkdir(parents=True)
    (folder / file).write_text(text)
    found = [f for s in grade(tmp_path).submissions for f in s["findings"] if f["code"] == "embedding-collapse"]
    assert [f["severity"] for f in found] == ["warning"] * found_it
