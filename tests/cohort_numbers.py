"""Faults of the catalogue in numbers and what they rest on: impossible, copied, of another model (D25-D38)."""

import io

from cohort import Hand, dice, gallery, png, tile
from cohort_faults import counts, fault, fresh, said
from PIL import Image


def possible(hand: Hand, accuracy: float, auroc: float, n: tuple[int, int] = ()) -> dict:
    """The nearest accuracy and AUROC that this many images can give."""
    n0, n1 = n or counts(hand)
    return {"accuracy": round(accuracy * (n0 + n1)) / (n0 + n1), "auroc": round(auroc * 2 * n0 * n1) / (2 * n0 * n1)}


# --------------------------------------------------------------------------------------------------- copied and reused
@fault("D27", 3, 4)
def numbers_of_another_run(hand, k):
    before = fresh(hand, 2)
    source = [before.files["metrics_smallcnn.json"], before.files["metrics_smallcnn.json"],
              hand.files["metrics_resnet18_all_basic.json"], before.files["metrics_resnet18_head.json"]][k]
    file = ["metrics_resnet18_all_basic.json", "metrics_resnet18_all_augA.json", "metrics_resnet18_all_augB.json",
            "metrics_resnet18_all_basic.json"][k]
    values = [float(f"{v:.4f}") if k == 1 else v for v in list(source.values())[:3]]
    hand.set(file, **dict(zip(hand.keys, values, strict=True)))
    return said("same|copied|identical|equal", file, "copied.*|.*duplicate.*|same-.*")


@fault("D27", 6, 2)
def finetune_is_the_probe(hand, k):
    if k:
        before = fresh(hand, 5)
        values = list(before.files["probe_metrics_5pct.json"].values())[:3]
    else:
        values = list(hand.files["metrics_supervised_baseline.json"].values())[:3]
    hand.set("metrics_ssl_finetune.json", **dict(zip(hand.keys, values, strict=True)))
    return said("same|copied|identical|equal", "metrics_ssl_finetune.json", "copied.*|.*duplicate.*|same-.*")


# ------------------------------------------------------------------------------------------------ impossible numbers
@fault("D29", 1, 2, "breastmnist")
@fault("D29", 2, 2, "breastmnist")
@fault("D29", 1, 2, "pneumoniamnist")
def other_images(hand, k):
    file, rng = next(f for f in hand.files if f.endswith(".json")), dice(hand.person)
    split = (43, 98) if hand.dataset == "breastmnist" else (316, 855)
    hand.digits = 16
    while True:
        accuracy = possible(hand, rng.uniform(0.78, 0.9), 0.88, split)
        if abs(accuracy["accuracy"] * sum(counts(hand)) % 1) > 1e-6:  # else it could be the official split
            break
    hand.set(file, **accuracy, ece=0.04321987654)
    return said(rf"\b{sum(split)}\b|\b{sum(counts(hand))}\b.*image|whole number", file)


@fault("D30", 1, 4)
def impossible_matrix(hand, k):
    n0, n1 = counts(hand)
    rows = [[[300, 84], [202, 438]], [[n1 - 20, 20], [10, n0 - 10]], [[n0 - 9, 9], [11, n1 - 8]],
            [[n0 - 5, 6], [30, n1 - 30]]][k]
    (a, b), (c, d) = rows
    if k == 0:
        hand.files["test_metrics.json"]["confusion_matrix"] = rows
    else:
        hand.say(*[[], ["|  | pred 0 | pred 1 |", "|---|---|---|", f"| true 0 | {a} | {b} |",
                        f"| true 1 | {c} | {d} |"],
                   [f"Confusion matrix: TN={a}, FP={b}, FN={c}, TP={d}."],
                   [f"Confusion: [[{a}, {b}], [{c}, {d}]]"]][k])
    return said("confusion|matrix|total|sum", "test_metrics.json" if k == 0 else hand.readme)


@fault("D30", 1, 1)
@fault("D30", 7, 1)
def matrix_against_accuracy(hand, k):
    """It has the right totals and implies an accuracy of 0.72, where 0.88 is claimed."""
    n0, n1 = counts(hand)
    fn = round(0.28 * (n0 + n1)) - 5
    lines = ["Test accuracy is 0.8814.", f"TN = {n0 - 5}, FP = 5, FN = {fn}, TP = {n1 - fn}"]
    hand.files["error_analysis.md"] = "# Errors\n" + "\n".join(lines)
    return said("accuracy|0\\.72|0\\.88", "error_analysis.md")


@fault("D31", 1, 3)
@fault("D31", 2, 2)
@fault("D31", 6, 2)
def impossible_ece(hand, k):
    file = next(f for f in hand.files if f.endswith(".json"))
    accuracy = hand.files[file][hand.keys["accuracy"]]
    hand.set(file, ece=[1 - accuracy + 0.07, 1 - accuracy + 0.19, 1 - accuracy + 0.03][k])
    return said(r"\bece\b", file, ".*ece.*")


@fault("D31", 1, 2)
def ece_fingerprint(hand, k):
    """The broadcast of the old starter: the very digits, or the same with another model."""
    values = {"accuracy": 0.7628205128205128, "auroc": 0.8252465483234714, "ece": 0.2388967949992571}
    hand.dataset, hand.digits = "pneumoniamnist", 16 if k == 0 else 4
    hand.files["test_metrics.json"] = {hand.keys[m]: round(v, hand.digits) for m, v in values.items()}
    return said(r"\bece\b", "test_metrics.json", ".*ece.*")


@fault("D32", 1, 4)
@fault("D32", 2, 2)
def no_better_than_the_majority(hand, k):
    file, (n0, n1) = next(f for f in hand.files if f.endswith(".json")), counts(hand)
    wanted = [n1 / (n0 + n1), n1 / (n0 + n1) - 0.03, n1 / (n0 + n1) - 0.005, 0.55][k]
    hand.set(file, **possible(hand, wanted, 0.62), ece=0.0812)
    return said("majority|commoner|always", file)


@fault("D33", 7, 4, "breastmnist")
def wrong_positive_class(hand, k):
    hand.say(["Class 1 is malignant, so the curve is about malignancies.", "I plot P(malignant) = P(class 1).",
              "At this threshold 88 of 114 malignancies were missed.", "Labels: 0 = benign, 1 = malignant."][k])
    return said("malignant|class", hand.readme)


@fault("D33", 7, 2, "pneumoniamnist")
@fault("D33", 5, 2)
def wrong_positive_class_in_json(hand, k):
    zero, _ = classes(hand)
    file = "operating_point.json" if hand.week == 7 else "probe_metrics_10pct.json"
    hand.files.setdefault(file, {"threshold": 0.6, "selected_on": "val"})
    hand.files[file] |= [{"positive_class": zero}, {"pos_label": zero}][k]
    return said("class|positive", file)


def classes(hand: Hand) -> tuple[str, str]:
    return {"breastmnist": ("malignant", "benign"), "pneumoniamnist": ("normal", "pneumonia")}[hand.dataset]


@fault("D34", 2, 4)
@fault("D34", 7, 2)
@fault("D34", 2, 3, new=True)
def repeated_image(hand, k):
    """One image again and again: all of them, two equal ones among five, or drawn by matplotlib."""
    file = next(f for f in hand.files if f.endswith("gallery.png"))
    one, others = tile(hand.person, "x"), [tile(hand.person, j) for j in range(4)]
    tiles = [[one] * 5, [others[0], one, others[1], one, others[2]], [one] * 4 + [others[0]], [one] * 5][k]
    hand.files[file] = drawn(tiles) if k == 3 else gallery(tiles, scale=[4, 3, 8][k])
    return said("same|repeat|twice|identical|times|distinct", file)


def drawn(tiles) -> bytes:
    """As matplotlib's imshow draws them, each under its title."""
    from matplotlib.figure import Figure

    figure, buffer = Figure(figsize=(10, 2.4)), io.BytesIO()
    for axes, one in zip(figure.subplots(1, len(tiles)), tiles, strict=True):
        axes.imshow(one, cmap="gray", vmin=0, vmax=255)
        axes.set_title("T:[1] P:1")
        axes.axis("off")
    figure.savefig(buffer, dpi=100)
    with Image.open(buffer) as image:
        return png(image.convert("RGB"))


@fault("D34", 2, 3, new=True)
@fault("D34", 7, 2)
def gallery_of_no_errors(hand, k):
    file = f"{'misclassified' if hand.week == 2 else 'high_conf_error'}_gallery.csv"
    rows = [["3,1,0.91,1", "7,0,0.11,0", "9,1,0.77,1"], ["3,1,0.12,0"] * 3, ["3,1,0.1,1", "4,0,0.9,0", "8,0,0.8,0"]][k]
    hand.files[file] = "\n".join(["index,y_true,p,predicted", *rows]) + "\n"
    return said("error|wrong|same|twice|repeat|right|correct|misclassified", file)


@fault("D35", 1, 3)
def a_single_seed(hand, k):
    hand.files["test_metrics.json"] |= [{"seed": 42}, {"seeds": [0]}, {"n_seeds": 1}][k]
    return said("(single|one|1) seed|spread", "test_metrics.json", "one-seed|single-seed", generic=True)


@fault("D35", 3, 2)
def five_seeds_claimed(hand, k):
    hand.files["metrics_resnet18_all_augA.json"]["seed"] = 42
    hand.say(["Over 5 seeds: accuracy 0.888 ± 0.013, AUROC 0.914 ± 0.018.",
              "Mean over five seeds (± std): 0.888 ± 0.013"][k])
    return said("seeds", codes="one-seed|single-seed|.*seeds.*")


@fault("D36", 6, 3)
def another_reference(hand, k):
    before, key = fresh(hand, 3), hand.keys["accuracy"]
    file = "metrics_supervised_baseline.json"
    before.expected.clear()
    weak = possible(hand, hand.files[file][key] - [0.05, 0.08, 0.03][k], 0.948 - 0.02 * k)
    hand.set(file, **weak, ece=0.07)
    return said("reference|week 3|baseline", file)


@fault("D36", 5, 2)
def another_reference_in_the_table(hand, k):
    fresh(hand, 3)
    hand.say("| Model | Acc | AUROC |", "|---|---|---|", ["| Supervised (100 %) | 0.7413 | 0.7884 |",
                                                         "| supervised ResNet-18, 100% labels | 0.758 | 0.803 |"][k])
    return said("reference|week 3|supervised", hand.readme)


@fault("D37", 5, 5)
def another_encoder(hand, k):
    before, what = fresh(hand, 4), ["jitter 0.4 + RandomGrayscale(0.2) + GaussianBlur", "temperature tau = 0.5",
                                    "batch size 512", "MoCo with a queue of 4096", "300 epochs"][k]
    before.files["ssl_config.json"]["augmentations"] = "RandomResizedCrop(0.7, 1.0) + flip + jitter 0.05"
    hand.say("## Encoder", f"The SSL encoder of week 4 was pretrained with {what}.")
    return said("week 4|ssl_config|encoder|pretrain", hand.readme)


@fault("D38", 4, 6)
@fault("D38", 4, 4, new=True)
def loss_that_cannot_be(hand, k):
    config = hand.files["ssl_config.json"]
    config |= {"batch_size": 128, "epochs": 30}
    if k == 3:
        hand.say("Training: batch size 64, because of memory. The loss fell.")
        return said("batch", hand.readme)
    if k == 4:
        hand.say("The loss went from 1.03 to 0.41 over the 30 epochs.")
        return said("1\\.03|ln\\(|chance|2B", hand.readme)
    if k == 5:
        hand.say("The loss went from 5.1 to 1.55 in 10 epochs, then I stopped.")
        return said("10|epochs", hand.readme)
    loss = [[1.0, 0.7, 0.5], [1.03 * 0.97**e for e in range(30)], [5.4 - 0.1 * e for e in range(18)]][k]
    hand.files["ssl_loss.csv"] = "epoch,loss\n" + "\n".join(f"{e + 1},{v:.4f}" for e, v in enumerate(loss))
    return said("epoch|ln\\(|chance|2B|placeholder|debug", "ssl_loss.csv")
