"""Metrics in any JSON, by whatever name and nesting; numbers as people write them; JSON in texts."""

import json
import time
from dataclasses import replace

import pytest

from medssl.course.checker.files.keys import settle
from medssl.course.checker.parse.numerals import decimals_of, json_in_text, numeral
from medssl.course.checker.parse.values import blocks, words_of
from medssl.course.contract import load_contract


def read(value):
    return blocks(json.loads(json.dumps(value)), load_contract())


@pytest.mark.parametrize("key", ["acc", "accuracy", "test_acc", "Test Accuracy", "test.acc", "testAcc", "acc (%)",
                                 "final_test_acc", "accuracy_mean", "Acc"])
def test_accuracy_by_every_name(key):
    (block,) = read({key: 76.28 if "%" in key else 0.7628})
    assert block.values == {"accuracy": pytest.approx(0.7628)} and block.names == {"accuracy": key}


@pytest.mark.parametrize("key, ours", [
    ("roc_auc", "auroc"), ("test_auroc", "auroc"), ("auc", "auroc"), ("AUC-ROC", "auroc"), ("roc_auc_score", "auroc"),
    ("balanced accuracy", "balanced_accuracy"), ("balanced_acc", "balanced_accuracy"), ("bal_acc", "balanced_accuracy"),
    ("pr_auc", "auprc"), ("test_ece", "ece"), ("f1-score", "f1"), ("sensitivity", "recall"), ("TPR", "recall")])
def test_the_other_metrics_by_other_names(key, ours):
    assert read({key: 0.81})[0].values == {ours: 0.81}


@pytest.mark.parametrize("value", [
    {"test": {"acc": 0.76}}, {"metrics": {"test": {"accuracy": 0.76}}}, {"probe_5pct": {"acc": "76 %"}},
    {"acc (train/test)": [0.99, 0.76]}, {"acc (train/val/test)": [0.99, 0.8, 0.76]}, {"accuracy_5pct": 0.76},
    {"accuracy": {"mean": 0.76, "std": 0.01}}, {"accuracy": {"value": 0.76, "ci95": [0.7, 0.8]}},
    {"acc": "0.76 ± 0.02"},
    {"acc": "np.float64(0.76)"}, {"acc": "tensor(0.76, device='cuda:0')"}, {"acc": [0.76]}, {"acc": "0,76"},
    {"runs": [{"seed": 3, "acc": 0.76}]}, {"acc": 0.99, "test_acc": 0.76}, {"accuracy": {"train": 0.99, "test": 0.76}}])
def test_nested_listed_and_written_values(value):
    tested = [block for block in read(value) if block.split == "test"]
    assert [block.values["accuracy"] for block in tested] == [0.76]


@pytest.mark.parametrize("value", [
    {"acc": None, "auroc": None}, {"best_val_acc": 0.9}, {"majority_accuracy": 0.73}, {"auroc_ci_low": 0.7},
    {"auroc_std": 0.01}, {"delta_acc": 0.02}, {"history": [{"acc": 0.5}]},
    [{"epoch": 1, "acc": 0.5}, {"epoch": 2, "acc": 0.6}],
    {"epoch": [1, 2], "acc": [0.5, 0.6]}, {"1": {"epoch": 1, "acc": 0.5}, "2": {"epoch": 2, "acc": 0.6}},
    {"class_accuracy": {"malignant": 0.6, "benign": 0.9}}, {"accuracy_benign": 0.9}, {"acc_per_class": 0.7},
    {"accuracy": {"normal": 0.6, "pneumonia": 0.9}},
    {"target_tpr": 0.9}, {"acc": "good"}, {"acc": True}, {"per_class": {"malignant": {"recall": 0.5}}}, {"x": [1, 2]},
    {"train_loss": [3, 2], "val_acc_history": [0.1, 0.2]}])
def test_what_is_no_result_is_none(value):
    assert read(value) == []


def test_several_models_have_a_block_each_and_the_words_that_name_them():
    found = read({"baseline_supervised": {"acc": 0.8, "auroc": 0.9}, "ssl_probe_10pct": {"acc": 0.7, "ece": 0.1}})
    assert [(block.at, sorted(block.words)) for block in found] == [
        ("baseline_supervised", ["baseline", "supervised"]), ("ssl_probe_10pct", ["10pct", "probe", "ssl"])]
    by_tail = read({"auroc_5pct": 0.8, "acc_5pct": 0.7, "auroc_10pct": 0.9})
    assert {block.at: block.values for block in by_tail} == {
        "#5pct": {"auroc": 0.8, "accuracy": 0.7}, "#10pct": {"auroc": 0.9}}
    by_metric = read({"accuracy": {"smallcnn": 0.7, "resnet18": 0.8}})
    assert {block.at: block.values["accuracy"] for block in by_metric} == {"#smallcnn": 0.7, "#resnet18": 0.8}


def test_percent_is_one_unit_for_a_block():
    assert read({"acc": 76.3, "auroc": 81.2, "ece": 5.6})[0].values == pytest.approx(
        {"accuracy": 0.763, "auroc": 0.812, "ece": 0.056})
    assert "ece" not in read({"acc": 76.3, "auroc": 81.2, "ece": 0.6})[0].values  # 0.6 % or 0.6: nobody can say
    assert read({"acc": 1.2})[0].values == {"accuracy": 1.2}  # no percent and no fraction: for the checks to say


@pytest.mark.parametrize("value, runs", [
    ({"acc": 0.7}, [0]), ({"acc": 0.7, "std": 0.1}, [2]), ({"seed": 42, "acc": 0.7}, [1]),
    ({"seeds": [0, 1, 2], "acc": 0.7}, [3]), ({"seeds": [5], "acc": 0.7}, [1]), ({"acc": "0.7 ± 0.1"}, [2]),
    ({"acc_mean": 0.7}, [2]), ({"acc": {"mean": 0.7, "std": 0.1}}, [2]), ({"acc": 0.7, "acc_std": 0.1}, [2]),
    ({"n_seeds": 5, "test": {"acc": 0.7}}, [5]), ({"seeds": [0, 1], "acc": [0.7, 0.8]}, [1, 1]),
    ({"acc": 0.75, "std": {"acc": 0.1}, "per_seed": [{"seed": 0, "acc": 0.7}, {"seed": 1, "acc": 0.8}]}, [2, 1, 1]),
    ({"seed_0": {"acc": 0.7}, "mean": {"acc": 0.7}}, [1, 2])])
def test_over_how_many_trainings(value, runs):
    assert [block.runs for block in read(value)] == runs


@pytest.mark.parametrize("key", ["draws", "n_draws", "encoders", "trials", "n_splits", "k_folds"])
def test_other_words_for_many_trainings(key):
    assert [block.runs for block in read({key: 20, "acc": 0.7})] == [20]


@pytest.mark.parametrize("value", [
    {"epoch": 5, "acc": 0.7}, [{"epoch": 5, "acc": 0.7}], {"best": {"epoch": 5, "acc": 0.7}}])
def test_the_epoch_of_the_best_checkpoint_is_no_history(value):
    assert [block.values for block in read(value)] == [{"accuracy": 0.7}]


@pytest.mark.parametrize("value, elsewhere", [
    ({"cv_accuracy": 0.7}, True), ({"folds": [{"acc": 0.7}]}, True), ({"oof": {"acc": 0.7}}, True),
    ({"auroc_bootstrap": 0.7}, True), ({"first_100": {"n": 100, "acc": 0.7}}, True), ({"fold": 2, "acc": 0.7}, True),
    ({"external": {"acc": 0.7}}, True), ({"transfer": {"acc": 0.7}}, True), ({"first_run": {"acc": 0.7}}, False),
    ({"transfer_learning": {"acc": 0.7}}, False), ({"test": {"acc": 0.7}}, False)])
def test_results_on_other_images(value, elsewhere):
    assert [block.elsewhere for block in read(value)] == [elsewhere]


def test_decimals_are_those_that_were_written():
    assert [decimals_of(text) for text in ("0.7628", "1", "1.5e-3", "76.")] == [4, 0, 4, 0]
    assert read({"acc": "0.7600"})[0].decimals == {"accuracy": 4}  # a string keeps its zeros
    assert read({"acc": "76.28 %"})[0].decimals == read({"acc": 0.7628})[0].decimals == {"accuracy": 4}
    assert numeral("0.763 (0.01)").mean and numeral("abc") is None and numeral([0.1, 0.2], "acc") is None


def test_json_in_texts():
    assert json_in_text('notes\n```json\n{"acc": 0.7}\n```\n') == {"acc": 0.7}
    two = "=== smallcnn ===\n{'acc': np.float64(0.7), 'ece': None}\n\n=== resnet18 ===\n{\"acc\": 0.8}\n"
    assert json_in_text(two) == {"smallcnn": {"acc": 0.7, "ece": None}, "resnet18": {"acc": 0.8}}
    assert json_in_text('{"acc": 1}\n{"acc": 2}') == [{"acc": 1}, {"acc": 2}]
    assert json_in_text("a [link](x), a {brace} and [1, 2]") is None


def settled(block, *keys):
    contract = load_contract()
    slot = replace(contract.week(1).slot("test_metrics.json"), keys=list(keys))
    missing, notes = settle(block, slot, contract)
    assert {note.code for note in notes} <= {"key-renamed"} and all(note.severity == "note" for note in notes)
    return missing, [(note.message, note.fix) for note in notes]


@pytest.mark.parametrize("block, message, fix", [
    ({"acc": 0.76}, "calls accuracy 'acc'", "rename the key to accuracy"),
    ({"acc (train/test)": [0.9, 0.76]}, "calls accuracy 'acc (train/test)'",
     'write "accuracy": 0.76, the test value alone'),
    ({"test": {"acc": 0.76}}, "calls accuracy 'test.acc'", 'write "accuracy": 0.76 at the top of the file'),
    ({"train": {"acc": 0.9}, "test": {"acc": "76 %"}}, "calls accuracy 'test.acc'",
     'write "accuracy": 0.76 at the top of the file')])
def test_a_key_under_another_name_is_settled_with_its_line(block, message, fix):
    assert settled(block, "accuracy") == ([], [(message, fix)]) and block["accuracy"] == 0.76


def test_what_could_be_several_models_stays_missing_and_one_seed_is_a_list():
    assert settled({"smallcnn": {"acc": 0.7}, "resnet18": {"acc": 0.8}}, "accuracy") == (["accuracy"], [])
    assert settled({"val": {"acc": 0.7}}, "accuracy", "n") == (["accuracy", "n"], [])
    block = {"seed": 42}
    assert settled(block, "seeds")[0] == [] and block["seeds"] == [42]


def test_words_of_names():
    assert words_of("probe_metrics-5pct") == words_of("probeMetrics5pct") == ["probe", "metrics", "5pct"]


def test_hostile_values_cost_little():
    deep = {"acc": 0.5}
    for _ in range(60):
        deep = {"a": deep}
    start = time.perf_counter()
    assert read({"acc": "9" * 100_000}) == [] and read({"acc": 10**400}) == [] and read(deep) == []
    assert len(read([{"acc": 0.5}] * 5000)) == 500
    for text in ("{" * 200_000, "[[[{'a':" * 20_000, "{'a' " * 40_000, "```\n{\n" * 30_000, '{"a":[' * 30_000):
        json_in_text(text)
    read({f"acc_{k}" * 50: 0.5 for k in range(3000)})
    assert time.perf_counter() - start < 2
