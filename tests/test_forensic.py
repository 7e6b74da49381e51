"""Forensic arithmetic: what cannot be is found, what an honest person may write down is not accused."""

import json
from types import SimpleNamespace

import numpy as np
import pytest

from medssl.course.checker.files.contents import Context
from medssl.course.checker.grade import grade
from medssl.course.checker.numbers import forensic
from medssl.course.checker.numbers.arithmetic import interval, measured, possible, search
from medssl.course.checker.numbers.confusion import judge
from medssl.course.checker.numbers.matrices import in_text
from medssl.course.checker.numbers.rates import contradiction
from medssl.course.checker.numbers.sheets import Sheet, official
from medssl.course.checker.parse.recompute import metrics_of
from medssl.course.checker.parse.values import blocks
from medssl.course.contract import load_contract

BREAST, PNEUMONIA = [42, 114], [234, 390]
HERE = {"missing", "key-missing", "not-recomputable", "readme-unfilled", "key-renamed", "renamed", "merged", "rounded",
        "metadata-missing", "one-seed"}  # what an incomplete hand-in of one or two files gets besides


def codes(tmp_path, files, week=1, dataset="breastmnist", ignored=HERE):
    """{code: severity, message and fix of the finding} for a folder with these files."""
    folder = tmp_path / f"results/week{week}/{dataset}/ada"
    folder.mkdir(parents=True)
    for name, value in files.items():
        (folder / name).write_text(value if isinstance(value, str) else json.dumps(value))
    (submission,) = grade(tmp_path).submissions
    return {f["code"]: SimpleNamespace(**f) for f in submission["findings"] if f["code"] not in ignored}


def said(value, dataset="breastmnist"):
    """The findings of the rules about one file, without a folder: fast enough for thousands."""
    contract = load_contract()
    reading = SimpleNamespace(context=Context(contract, contract.week(1), dataset, "rerun"))
    value = json.loads(json.dumps(value))
    sheet = Sheet("x.json", frozenset(), value, blocks(value, contract), set())
    found, tested = [], [b for b in sheet.tested() if not forensic._says_other_images(b, sheet, reading)]
    for rule in forensic.RULES:
        for problem in rule([b for b in tested if official(b, reading)], sheet, reading):
            sheet.flaws.add(problem.code)
            found.append(problem)
    return found


def harsh(value, dataset="breastmnist"):
    return [(p.code, p.message) for p in said(value, dataset) if p.severity != "note"]


# ------------------------------------------------------------------------------------------------------- whole images
def test_another_test_set_is_named_with_its_class_counts(tmp_path):
    """141 images (43 + 98), a random 20 % of train and test: what really happened once."""
    value = {"acc": 122 / 141, "auroc": 7486 / (2 * 43 * 98), "ece": 0.0932}
    finding = codes(tmp_path, {"test_metrics.json": value})["wrong-n"]
    assert finding.severity == "error" and "122/141" in finding.message and "43 + 98" in finding.message
    assert "a random 20 % of train and test (702)" in finding.message and "0.8652482269503546" in finding.message


def test_blocks_of_one_file_are_searched_together():
    value = {"a": {"acc": 113 / 141}, "b": {"acc": 102 / 141}}  # 102/141 = 34/47: alone it fits 47, 94 and 188 too
    assert [code for code, _ in harsh(value)] == ["wrong-n"]
    assert "measured on 141 images" in harsh(value)[0][1] and "47 images" in harsh({"b": {"acc": 102 / 141}})[0][1]


def test_other_official_splits_are_recognised():
    assert "the val split of pneumoniamnist" in harsh({"acc": 445 / 524}, "pneumoniamnist")[0][1]
    assert "the test split of pneumoniamnist" in harsh({"seed": 1, "acc": 555 / 624}, "breastmnist")[0][1]


@pytest.mark.parametrize("value", [
    {"acc": 130 / 156}, {"acc": 0.8333}, {"acc": 0.83}, {"acc": float(np.float32(131 / 156))}, {"acc": "83.97 %"},
    {"acc": np.mean([130 / 156, 133 / 156, 128 / 156])}, {"acc_mean": 0.8123456789, "acc_std": 0.01}, {"acc": 0.8397},
    {"seeds": [0, 1, 2, 3], "acc": 0.81234567891}, {"val_acc": 0.81234567891}, {"train": {"acc": 0.9123456789}},
    {"seed": 1, "auroc": 4301.5 / (42 * 114)},  # one tied pair
    {"dataset": "pneumoniamnist", "acc": 475 / 624}])
def test_what_the_official_images_can_give_is_not_accused(value):
    assert harsh(value) == []


@pytest.mark.parametrize("value", [{"seed": 3, "acc": 0.8123}, {"per_seed": [
    {"seed": 0, "acc": 130 / 156}, {"seed": 1, "acc": 0.8123456789}], "acc": 0.82, "std": {"acc": 0.01}}])
def test_one_run_that_no_image_count_gives_is_doubtful(value):
    assert [code for code, _ in harsh(value)] in (["not-whole"], ["wrong-n"])


def test_a_mean_that_does_not_say_so_is_only_noted():
    (problem,) = [p for p in said({"acc": 0.8123}) if p.code == "not-whole"]
    assert problem.severity == "note" and "mean over seeds" in problem.message
    assert said({"acc": 0.81}) == []  # two decimals say nothing


    silent = [p.severity for p in said({"acc": 0.81234567891}) if p.code == "not-whole"]  # a mean over 20, perhaps
    assert silent == ["note"] and harsh({"draws": 20, "acc": 0.81234567891}) == []


@pytest.mark.parametrize("value", [
    {"first_100": {"n": 100, "acc": 87 / 100}}, {"cv_accuracy": 0.81234567891}, {"n": 141, "acc": 122 / 141},
    {"class_accuracy": {"malignant": 30 / 42, "benign": 100 / 114}}, {"accuracy_benign": 100 / 114},
    {"acc": 0.833333}, {"acc": 0.839743}, {"acc": 0.83974358}])  # 131/156 = 0.8397435897
def test_other_images_that_say_so_and_numbers_that_were_cut_off(value):
    assert not {"wrong-n", "not-whole"} & {problem.code for problem in said(value | {"seed": 1})}


def test_other_images_that_are_called_the_test_split():
    assert "wrong-n" in dict(harsh({"split": "test", "n": 141, "acc": 122 / 141, "auroc": 7486 / (2 * 43 * 98)}))


def test_few_decimals_have_no_power():
    accuracy, auroc = (measured(name, 0.8123, 4, PNEUMONIA) for name in ("accuracy", "auroc"))
    assert accuracy.chance() < 0.1 and auroc.chance() == 1.0
    low, high = interval(0.762, 3)
    assert low < 0.7615001 and high > 0.7629  # 0.7628 may have been cut off to 0.762
    assert possible([measured("accuracy", 0.8123, 4, BREAST)], 0)[1] > 0.3


def test_search_takes_multiples_for_one():
    numbers = [measured("accuracy", 122 / 141, 16, BREAST), measured("auroc", 7486 / 8428, 16, BREAST)]
    counts = load_contract().datasets["breastmnist"].counts
    found = search([numbers], counts)
    assert found.n[0] == 141 and found.only and found.counts == (43, 98)


def honest(rng, dataset, seeds, digits):
    """What an honest person reports of random models: one run, or a mean over seeds that does not say so."""
    n0, n1 = load_contract().datasets[dataset].counts["test"]
    y, runs, signal = np.repeat([0, 1], [n0, n1]), [], rng.uniform(0.6, 3)
    for _ in range(seeds):
        score = signal * (y - 0.5) + rng.normal(0, 1, len(y)) + 0.5
        m = metrics_of(y, 1 / (1 + np.exp(-2 * signal * score)))
        runs.append([m["accuracy"], m["auroc"], m["balanced_accuracy"], m["f1"], m["ece"],
                     m["per_class.1.recall"], m["per_class.1.precision"]])
    names = ("acc", "auroc", "balanced accuracy", "f1", "ece", "recall", "precision")
    value = dict(zip(names, (round(float(v), digits) for v in np.mean(runs, axis=0)), strict=True))
    return value if rng.random() < 0.5 else {"acc": value["acc"], "auroc": value["auroc"]}


@pytest.mark.parametrize("dataset", ["breastmnist", "pneumoniamnist"])
@pytest.mark.parametrize("digits", [3, 4, 6, 16])
def test_two_hundred_honest_models_are_not_accused(dataset, digits):
    """Single runs and means over 2 to 10 seeds. (All over-confident: only an under-confident ECE may be large.)"""
    rng = np.random.default_rng(digits)
    for k in range(200):
        value = honest(rng, dataset, 1 if k % 2 else int(rng.integers(2, 11)), digits)
        if k % 2:
            value["seed"] = k
        assert harsh(value, dataset) == [], value


@pytest.mark.parametrize("dataset, sizes", [("breastmnist", (100, 200)), ("pneumoniamnist", (500, 700))])
@pytest.mark.parametrize("digits, least", [(4, 0.75), (6, 0.87), (16, 0.93)])
def test_power_against_other_images(dataset, sizes, digits, least):
    """Random test sets of another size: which share is said (at 4 decimals as a note only, as it could be a mean)."""
    rng, caught, total = np.random.default_rng(0), 0, 200
    for _ in range(total):
        n = int(rng.integers(*sizes))
        n1 = int(n * rng.uniform(0.6, 0.75))
        pairs = 2 * (n - n1) * n1
        value = {"acc": round(int(rng.integers(int(0.7 * n), int(0.95 * n))) / n, digits),
                 "auroc": round(int(rng.integers(int(0.75 * pairs), pairs)) / pairs, digits)}
        if n == sum(load_contract().datasets[dataset].counts["test"]):
            total -= 1
            continue
        caught += bool({p.code for p in said(value, dataset)} & {"wrong-n", "not-whole"})
    assert caught / total >= least


# ------------------------------------------------------------------------------------------------------ rates together
def test_rates_that_no_confusion_matrix_gives():
    assert contradiction({"accuracy": 130 / 156, "recall": 0.2}, {"accuracy": 16, "recall": 1}, BREAST)[1]  # nor a mean
    assert contradiction({"accuracy": 148 / 156, "balanced_accuracy": 0.7}, {}, BREAST)[1]
    wrong = {"seed": 1, "acc": 130 / 156, "recall": 100 / 114, "precision": 0.9, "f1": 0.5}
    assert [code for code, _ in harsh(wrong)] == ["rates-contradict"]
    assert not harsh({key: value for key, value in wrong.items() if key != "seed"})  # without a seed it may be a mean
    tn, fp, fn, tp = 30, 12, 14, 100
    right = {"seed": 1, "acc": (tn + tp) / 156, "recall": tp / 114, "precision": round(tp / (tp + fp), 4),
             "f1": round(2 * tp / (2 * tp + fp + fn), 3), "balanced accuracy": (tn / 42 + tp / 114) / 2}
    assert harsh(right) == []
    macro = {"recall": (tn / 42 + tp / 114) / 2, "precision": (tn / (tn + fn) + tp / (tp + fp)) / 2}
    weighted = {"recall": (tn + tp) / 156, "f1": 2 * tn / (2 * tn + fp + fn)}
    assert harsh(right | macro) == harsh(right | weighted) == []


# --------------------------------------------------------------------------------------------------- confusion matrices
@pytest.mark.parametrize("matrix, code, severity", [
    ([[300, 84], [202, 438]], "confusion-total", "error"), ([[36, 9], [6, 105]], "confusion-transposed", "warning"),
    ([[105, 9], [6, 36]], "positive-class", "warning"), ([[40, 9], [6, 101]], "confusion-counts", "error"),
    ([36, 9, 6, 105], "confusion-transposed", "warning"), ([[35, 7], [6, 108]], "confusion-accuracy", "error")])
def test_impossible_matrices(tmp_path, matrix, code, severity):
    cells = [c for row in matrix for c in (row if isinstance(row, list) else [row])]
    accuracy = (cells[0] + cells[3]) / 156 if code != "confusion-accuracy" else 141 / 156
    found = codes(tmp_path, {"test_metrics.json": {"accuracy": accuracy, "confusion_matrix": matrix}})
    if code in ("confusion-total",):
        found = {code: found[code]}
    assert [(key, one.severity) for key, one in found.items()] == [(code, severity)]


def test_named_cells_with_the_positive_class_exchanged_are_an_error(tmp_path):
    found = codes(tmp_path, {"test_metrics.json": {"accuracy": 141 / 156, "TP": 36, "FN": 6, "FP": 9, "TN": 105}})
    assert found["positive-class"].severity == "error" and "count of 'malignant'" in found["positive-class"].message


@pytest.mark.parametrize("value", [
    {"accuracy": 141 / 156, "confusion_matrix": [[36, 6], [9, 105]]}, {"cm": [[0.86, 0.14], [0.08, 0.92]]},
    {"accuracy": 0.9038, "tn": 36, "fp": 6, "fn": 9, "tp": 105}, {"val": {"tn": 18, "fp": 3, "fn": 7, "tp": 50}},
    {"seeds": [0, 1], "accuracy": 0.9, "confusion": [[72, 12], [18, 210]]}, {"cm": "see the figure"},
    {"accuracy": 141 / 156, "at_threshold": {"threshold": 0.9, "tn": 40, "fp": 2, "fn": 30, "tp": 84}}])
def test_honest_matrices(tmp_path, value):
    assert codes(tmp_path, {"test_metrics.json": value}) == {}


def test_exchanged_matrices_of_two_files_are_told_apart(tmp_path):
    one, two = [[36, 6], [9, 105]], [[30, 12], [6, 108]]
    found = codes(tmp_path, {"metrics_smallcnn.json": {"accuracy": 141 / 156, "cm": two},
                             "metrics_resnet18_head.json": {"accuracy": 138 / 156, "cm": one}}, week=2)
    assert "exchanged" in found["confusion-accuracy"].message


@pytest.mark.parametrize("text", [
    "TN=36, FP=6, FN=9, TP=105.", "True negatives: 36, false positives: 6, FN: 9 and TP: 105",
    "cm = [[36, 6], [9, 105]]",
    "| TN | FP | FN | TP |\n|---|---|---|---|\n| 36 | 6 | 9 | 105 |",
    "| | pred 0 | pred 1 |\n|---|---|---|\n| true 0 | 36 | 6 |\n| true 1 | 9 | 105 |"])
def test_matrices_in_texts(text):
    facts = load_contract().datasets["breastmnist"]
    (matrix,) = in_text(text)
    assert matrix.cells == (36, 6, 9, 105) and judge(matrix, facts, "") is None
    (other,) = in_text(text.replace("105", "305"))
    assert judge(other, facts, "").code == "confusion-total"


def test_a_matrix_of_other_images_may_be_of_another_accuracy_too(tmp_path):
    """Two faults, both said; the rates beside it as well. Where the accuracy is its own, only the images are wrong."""
    cells = {"tp": 500, "fn": 100, "fp": 185, "tn": 239}
    value = {"threshold": 0.5, "tpr": 0.9, "fpr": 0.16, **cells, "accuracy": 0.881}
    files = {"operating_point.json": value}
    found = codes(tmp_path / "a", files, week=7, dataset="pneumoniamnist")
    assert "1024 images" in found["confusion-total"].message
    accuracy = found["confusion-accuracy"].message
    assert "0.7217" in accuracy and "fpr 0.16 beside 0.436" in accuracy
    right = {"operating_point.json": cells | {"accuracy": 739 / 1024, "tpr": 500 / 600}}
    assert "confusion-accuracy" not in codes(tmp_path / "b", right, week=7, dataset="pneumoniamnist")
    text = {"error_analysis.md": "Accuracy 0.623. Confusion: TP 500 FN 100 FP 185 TN 239."}
    assert {"confusion-total", "confusion-accuracy"} <= codes(tmp_path / "c", text, 7, "pneumoniamnist").keys()


def test_a_matrix_against_the_accuracy_of_its_text(tmp_path):
    text = "# Errors\nTest accuracy is {}.\nTN = 36, FP = 6, FN = 9, TP = 105"
    assert codes(tmp_path / "a", {"error_analysis.md": text.format("0.9038")}, week=7) == {}
    found = codes(tmp_path / "b", {"error_analysis.md": text.format("0.8814")}, week=7)
    assert "gives the accuracy 0.9038, and says 0.8814" in found["confusion-accuracy"].message


@pytest.mark.parametrize("text", [
    "The view matrix is [[100, 0], [0, 100]].", "Crop box [[0, 28], [0, 58]], as in the confusion matrix.",
    "Class weights: [[30, 40], [40, 30]]", "The gallery shows TP: 4, TN: 4, FP: 4, FN: 4.",
    "The gallery shows TP: 40, TN: 40, FP: 40, FN: 40.", "Confusion: [[62, 38], [5, 95]]",
    "Confusion matrix from the paper: [[30, 4], [6, 60]]", "|  | pred 0 | pred 1 |\n|---|---|---|\n| true 0 | 62 | 38 |"
    "\n| true 1 | 5 | 95 |", "Confusion matrix, normalised: [[50, 40], [30, 60]]", "Confusion: [[3, 1], [2, 4]]"])
def test_two_by_two_numbers_that_are_no_counts_of_the_test_images(tmp_path, text):
    assert not [code for code in codes(tmp_path, {"notes.md": text}) if code.startswith("confusion")]


def test_a_wrong_matrix_in_a_text_is_a_warning(tmp_path):
    found = codes(tmp_path, {"notes.md": "The confusion matrix:\n[[30, 14], [6, 160]]"})
    assert found["confusion-total"].severity == "warning"


@pytest.mark.parametrize("claim", ["P(malignant) = 1 - p", "P(malignant) = p0, the first column"])
def test_the_score_of_class_0_is_rightly_named(tmp_path, claim):
    text = f"`{claim}`.\nTP=88, FN=26, FP=10, TN=32"
    assert "positive-class" not in codes(tmp_path, {"error_analysis.md": text}, week=7)


@pytest.mark.parametrize("value, wrong", [("malignant", True), ("normal, benign", False), ("benign", False), (0, True),
                                          (1, False), ("class 1", False), (None, False)])
def test_the_key_that_names_the_positive_class(tmp_path, value, wrong):
    found = codes(tmp_path, {"extra.json": {"acc": 130 / 156, "pos_label": value}})
    assert ("positive-class" in found) is wrong


# --------------------------------------------------------------------------------------- calibration, majority, ranking
@pytest.mark.parametrize("ece, more, code", [
    (0.19, {}, "ece-implausible"), (0.171, {}, None), (0.05, {}, None), (0.7, {}, "ece-impossible"), (-0.1, {}, None),
    (0.19, {"threshold": 0.8}, None), (0.0, {}, "ece-zero")])
def test_ece(ece, more, code):
    found = [p.code for p in said({"acc": 130 / 156, "ece": ece} | more)]
    assert found == ([code] if code else [])


def test_majority_and_chance():
    def found(**value):
        return {p.code: p for p in said(value)}

    assert set(found(acc=114 / 156, auroc=0.55)) == {"one-class", "auroc-chance"}
    assert "move the threshold" in found(acc=0.7308, auroc=0.81)["one-class"].message
    assert set(found(acc=110 / 156, auroc=0.81)) == {"below-majority"} and not found(acc=110 / 156, threshold=0.9)
    assert found(auroc=0.3)["auroc-reversed"].severity == "warning" and set(found(auroc=0.45)) == {"auroc-chance"}
    assert not found(acc=120 / 156, auroc=0.7)
    assert not said({"acc": 0.8, "std": {"acc": 0.1}, "per_seed": [
        {"seed": 0, "acc": 100 / 156}, {"seed": 1, "acc": 149 / 156}]})  # one seed of a mean


def test_an_auroc_of_hard_labels_equals_the_balanced_accuracy():
    hard = (30 / 42 + 100 / 114) / 2
    for value, severity in (({"acc": 130 / 156, "auroc": hard, "bal_acc": hard}, "error"),
                            ({"auroc": 0.8123, "bal_acc": 0.8123}, "warning")):
        assert [(p.code, p.severity) for p in said(value)] == [("auroc-hard", severity)]
    assert not said({"auroc": 0.81, "bal_acc": 0.81}) and not said({"auroc": 0.9, "bal_acc": hard})


def test_the_default_run_is_known_and_no_accusation():
    value = {"acc": 0.7628205128205128, "auroc": 0.8252465483234714, "ece": 0.2388967949992571}
    (problem,) = said(value, "pneumoniamnist")
    assert (problem.code, problem.severity) == ("default-run", "note") and "[N, 1]" in problem.message


# --------------------------------------------------------------------------------------------------------- bookkeeping
def test_placeholders_and_values_outside(tmp_path):
    assert list(codes(tmp_path / "a", {"test_metrics.json": {"acc": 0.0, "auroc": 0.0, "ece": 0.0}})) == ["placeholder"]
    assert list(codes(tmp_path / "b", {"test_metrics.json": {"acc": 1.2, "auroc": 0.8}})) == ["impossible-value"]
    drift = {"rows": [{"val": {"tpr": 0.9}, "test": {"tpr": 0.85}, "drift": {"tpr": -0.05}}]}
    assert "impossible-value" not in codes(tmp_path / "c", {"my_P4.json": drift}, week=7)


def test_what_a_file_does_not_say_of_itself(tmp_path):
    found = codes(tmp_path, {"my_B2.json": {"acc": 130 / 156}}, week=5, ignored=HERE - {"metadata-missing"})
    assert "seed, split, dataset, label_fraction, n_train" in found["metadata-missing"].message
    assert found["metadata-missing"].severity == "note"


def test_digits_and_seeds_are_noted_once_a_submission(tmp_path):
    files = {f"metrics_{name}.json": {"acc": acc, "auroc": 0.8812} for name, acc in (
        ("smallcnn", 0.8333), ("resnet18_head", 0.8397))}
    found = codes(tmp_path / "a", files, week=2, ignored=HERE - {"rounded", "one-seed"})
    assert set(found) == {"rounded", "one-seed"} and all(one.severity == "note" for one in found.values())
    several = {"test_metrics.json": {"seeds": [0, 1], "acc": np.mean([130 / 156, 131 / 156]), "auroc": 0.88123456}}
    assert codes(tmp_path / "b", several, ignored=HERE - {"rounded", "one-seed"}) == {}


@pytest.mark.parametrize("n, share, right", [
    (234, 0.05, True), (235, 0.05, True), (236, 0.05, True), (230, 0.05, False), (565, 0.125, False),
    (588, "12.5%", True), (471, 10, True), (4708, 1, True)])
def test_labels_follow_from_their_fraction(tmp_path, n, share, right):
    found = codes(tmp_path, {"extra.json": {"acc": 475 / 624, "n_train": n, "fraction": share}}, 5, "pneumoniamnist")
    assert ("n-train" in found) is not right


def test_one_fraction_is_one_number_of_labels(tmp_path):
    files = {f"{name}_5pct.json": {"acc": 475 / 624, "n_train": n} for name, n in (("a", 234), ("b", 235))}
    assert "two rules of rounding" in codes(tmp_path, files, 5, "pneumoniamnist")["n-train"].message


# ---------------------------------------------------------------------------------------------- pretraining, thresholds
CONFIG = {"method": "simclr-lite", "batch_size": 128, "epochs": 30, "tau": 0.2}


def ssl(tmp_path, losses, config=CONFIG, text="Words."):
    rows = "".join(f"{k + 1},{loss}\n" for k, loss in enumerate(losses))
    files = {"ssl_config.json": config, "README_week4.md": text}
    files |= {"ssl_loss.csv": "epoch,loss\n" + rows} if losses else {}
    return {code for code in codes(tmp_path, files, 4) if code.startswith("loss")}


@pytest.mark.parametrize("losses, config, wanted", [
    ([3.17 - 0.06 * k for k in range(30)], CONFIG, set()), ([3.0, 2.5], CONFIG | {"epochs": 2}, set()),
    ([3.46 * 0.96**k for k in range(50)], CONFIG | {"epochs": 50}, set()),
    ([5.54] + [3 - 0.05 * k for k in range(30)], CONFIG, set()),  # with the step before the first
    ([1.0, 0.7, 0.5], CONFIG, {"loss-curve-short", "loss-start"}),
    ([1.03 * 0.97**k for k in range(30)], CONFIG, {"loss-start"}),
    ([9.0 - 0.1 * k for k in range(30)], CONFIG, {"loss-start"}),
    ([5.4 - 0.1 * k for k in range(18)], CONFIG, {"loss-curve-length"}),
    ([3 + 0.05 * k for k in range(30)], CONFIG, {"loss-rising"}), ([4.2] * 30, CONFIG, {"loss-constant"}),
    ([0.4 + 7 / (k + 2) for k in range(30)], CONFIG | {"method": "moco", "queue": 4096}, set()),
    ([0.9 - 0.01 * k for k in range(30)], CONFIG | {"method": "byol"}, set()),
    ([3 + 0.05 * k for k in range(30)], CONFIG | {"method": "moco"}, set()),
    ([5.4 - 0.1 * k for k in range(18)], CONFIG | {"patience": 5}, set()),
    ([5.4 - 0.1 * k for k in range(18)], {"method": "simclr", "max_epochs": 30, "epochs": 30}, set()),
    ([1.03 * 0.97**k for k in range(30)], {"batch_size": 128, "epochs": 30}, set()),  # no method, no rule
    ([1.03 * 0.97**k + 0.01 * (k % 3) for k in range(30)], CONFIG, set())])  # the mean of a long epoch
def test_loss_curves(tmp_path, losses, config, wanted):
    assert ssl(tmp_path, losses, config) == wanted


def test_the_loss_that_the_readme_tells(tmp_path):
    assert ssl(tmp_path / "a", [], text="The loss fell from 1.03 to 0.41.") == {"loss-start"}
    assert ssl(tmp_path / "b", [], text="The loss went from 3.46 → 1.14 in the end.") == set()


TABLE = "| threshold | TPR | FPR |\n|---|---|---|\n| {} | 0.90 | 0.16 |\n"


@pytest.mark.parametrize("threshold, text, code", [
    ("0.894", "A fine point.", "threshold-origin"), ("0.894", "It was chosen on the validation set.", None),
    ("0.894", "TPR >= 0.9 on val", None), ("0.894", "I selected it using the test set.", "threshold-origin"),
    ("0.5", "Fine, because it is sensitive.", "threshold-default"), ("0.5", "The default, as a baseline.", None)])
def test_thresholds_say_where_they_come_from(tmp_path, threshold, text, code):
    found = codes(tmp_path, {"operating_point_table.md": TABLE.format(threshold), "README_week7_core.md": text}, 7)
    assert [c for c in found if c.startswith("threshold")] == ([code] if code else [])


@pytest.mark.parametrize("split, severity", [("val", None), ("validation", None), ("test", "error"), (None, "warning")])
def test_selected_on(tmp_path, split, severity):
    found = codes(tmp_path, {"operating_point.json": {"threshold": 0.8, "selected_on": split, "model": "m"}}, 7)
    assert (found["threshold-origin"].severity if "threshold-origin" in found else None) == severity
