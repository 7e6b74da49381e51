"""The official images in the official order: the contract knows them, and the checker holds hand-ins against them."""

import json

import numpy as np
import pytest
from hand_ins import filled

from medssl import data
from medssl.course import Submission
from medssl.course.checker.grade import grade
from medssl.course.contract import load_contract

HERE = "results/week1/breastmnist/adalovelace"


def found(root) -> list[tuple[str, str]]:
    (one,) = grade(root).submissions
    return [(f["code"], f["where"].rpartition("/")[2]) for f in one["findings"]
            if f["code"] in ("split-hash", "predictions-wrong-order", "checker-error")]


@pytest.mark.parametrize("key", ["breastphantom", "pneumoniaphantom", "adrenalphantom"])
def test_the_contract_holds_hash_and_labels_of_the_phantoms(key):
    images, facts = data.load(key), load_contract().datasets[key]
    assert facts.split_hash == images.split_hash()
    for split in ("val", "test"):
        assert facts.labels_of(split) == images.splits[split].labels.tolist()


@pytest.mark.parametrize("key", ["breastmnist", "adrenalmnist3d"])
def test_the_contract_holds_hash_and_labels_of_the_real_set(real_data_root, key):
    if not (real_data_root / f"{key}.npz").exists():
        pytest.skip(f"no {key}")
    images, facts = data.load(key, real_data_root), load_contract().datasets[key]
    assert facts.split_hash == images.split_hash()
    assert all(facts.labels_of(split) == images.splits[split].labels.tolist() for split in ("val", "test"))


def test_labels_in_another_order_are_found_and_rows_in_another_order_are_not(tmp_path):
    filled(tmp_path, data=None).finish(params={})
    file = tmp_path / HERE / "predictions_test.csv"
    (tmp_path / HERE / "run.json").unlink()
    header, *rows = file.read_text().splitlines()
    assert found(tmp_path) == []
    file.write_text("\n".join([header, *rows[::-1]]))  # the index still leads to the image
    assert found(tmp_path) == []
    cells = [row.split(",") for row in rows]
    order = np.random.default_rng(0).permutation(156)
    mixed = [f"{s},{i},{cells[order[int(i)]][2]},{cells[order[int(i)]][3]}" if s == "0" else ",".join((s, i, y, p))
             for s, i, y, p in cells]
    file.write_text("\n".join([header, *mixed]))  # shuffled: same y and p, other index
    assert found(tmp_path) == [("predictions-wrong-order", "predictions_test.csv")]


@pytest.mark.parametrize(("value", "source", "code"), [
    ("8b839f75e94b043b", "28 px", []), ("0123", "28 px", ["split-hash"]), ("0123", "64 px", []),
    ("0123", None, ["split-hash"])])
def test_a_hash_of_other_images_is_found_unless_they_have_another_size(tmp_path, value, source, code):
    work = filled(tmp_path)
    work.finish(params={})
    for file in ("run.json", "test_metrics.json"):
        block = json.loads(work.path(file).read_text())
        block |= {"split_hash": value, "data": {"split_hash": value}, "data_source": source}
        work.path(file).write_text(json.dumps(block))
    assert [c for c, _ in found(tmp_path)] == code


def test_where_no_labels_are_known_nobody_is_accused(tmp_path):
    assert load_contract().datasets["pneumoniamnist"].labels_of("test") == []
    work = Submission(1, "pneumoniamnist", "ada", tmp_path)
    y = np.repeat([1, 0], [390, 234])
    work.predictions("predictions_test.csv", seed=0, index=np.arange(624), y=y, p=np.linspace(1, 0, 624))
    assert found(tmp_path) == []
