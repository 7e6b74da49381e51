"""Hand-ins for the acceptance tests of the checker, made from what is known of a real group, not from the checker.

old() is a hand-in of the earlier edition: the files that the course plan named (PLAN), typed by hand; metrics under
many keys, no predictions, no run.json, no env.json. Its numbers are possible ones on the official images. perfect() in
cohort_today.py is one of today. Both give a Hand, files in memory, into which the faults are put before it is written.
"""

import io
import json
import zipfile
import zlib
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from medssl.course.checker.parse.recompute import metrics_of
from medssl.course.contract import load_contract

SETS = {"breastmnist": "breast", "pneumoniamnist": "pneumonia"}
# The folders of the course plan, and the model behind each JSON: one model is one set of scores, whatever the week.
PLAN = {
    1: {"test_metrics.json": "first", "reliability.png": "", "screenshot_env.png": "", "README_week1.md": ""},
    2: {"metrics_smallcnn.json": "smallcnn", "metrics_resnet18_head.json": "head", "cm_smallcnn.png": "",
        "cm_resnet18_head.png": "", "misclassified_gallery.png": "", "reliability_smallcnn.png": "",
        "reliability_resnet18_head.png": "", "README_week2.md": ""},
    3: {"metrics_resnet18_head.json": "head again", "metrics_resnet18_all_basic.json": "basic",
        "metrics_resnet18_all_augA.json": "augA", "metrics_resnet18_all_augB.json": "augB",
        "curves_resnet18_head.png": "", "curves_resnet18_all_basic.png": "", "curves_resnet18_all_augA.png": "",
        "aug_ablation_table.md": "", "README_week3.md": ""},
    4: {"ssl_config.json": "", "ssl_loss_curve.png": "", "ssl_encoder.pt": "", "README_week4.md": ""},
    5: {"probe_metrics_5pct.json": "probe 5", "probe_metrics_10pct.json": "probe 10",
        "probe_vs_supervised_plot_acc.png": "", "probe_vs_supervised_plot_auroc.png": "", "README_week5_core.md": ""},
    6: {"metrics_supervised_baseline.json": "augA", "metrics_ssl_probe.json": "probe 10",
        "metrics_ssl_finetune.json": "finetune", "reliability_supervised.png": "", "reliability_ssl_probe.png": "",
        "reliability_ssl_finetune.png": "", "README_week6_core.md": ""},
    7: {"roc_curve.png": "", "pr_curve.png": "", "operating_point_table.md": "", "high_conf_error_gallery.png": "",
        "README_week7_core.md": ""},
}
# How far apart the two classes' scores lie (in standard deviations), by model.
APART = {"first": 1.5, "smallcnn": 1.4, "head": 1.6, "head again": 1.7, "basic": 2.3, "augA": 2.5, "augB": 2.4,
         "augC": 2.2,
         "probe 1": 1.0, "probe 5": 1.5, "probe 10": 1.8, "finetune": 2.2}
SPELLINGS = [("acc", "auroc", "ece"), ("test_acc", "test_auroc", "test_ece"), ("accuracy", "auroc", "ece"),
             ("acc", "roc_auc", "ece")]
# True sentences that look like others: thresholds, targets, other people's numbers, earlier weeks, the val split.
HONEST = [
    "The majority class alone gives {majority:.1%} accuracy, so accuracy says little here.",
    "Validation accuracy peaked at 0.91 in epoch 3, test is what the table shows.",
    "MedMNIST reports 0.944 AUROC and 0.854 accuracy for ResNet-18 at 28 px.",
    "I used lr = 0.001, weight decay 0.0001 and batch size 128 on a T4.",
    "One bug: `y` had shape [B, 1], so I squeezed it before the loss.",
    "Differences below 0.02 are inside the noise, so I do not claim an improvement.",
    "Class 0 is {zero} and class 1 is {one}.",
    "In week 1 my accuracy was lower, about 0.71, but that was another model.",
    "AUROC and accuracy do not measure the same thing; the first uses the ranking only.",
    "I expected an AUROC of 0.95 or more and did not get it.",
    "A dummy classifier that always says {one} gets {majority:.3f}.",
    "The ECE uses 15 bins; a perfect model would have an ECE of 0.",
    "An AUROC of 0.5 is chance, 1.0 is perfect.",
    "With 10 % more data the accuracy might rise by 2 %, but that is a guess.",
    "I aim for at least 90 % sensitivity later, in week 7.",
    "It took 3.5 minutes on Colab, 0.4 s per step.",
    "I tried learning rates 0.01, 0.001 and 0.0001 and kept 0.001.",
    "Train accuracy was 0.99, so the model overfits a little.",
    "1 of the 5 images that I looked at may be mislabelled.",
    "One image of class 0 was predicted with p = 0.97.",
    "Versions: torch 2.1.0, torchvision 0.16.0, medmnist 3.0.1.",
    "Next week I will train for 30 epochs and compare.",
    "The training loss of the classifier decreased from 0.69 to 0.31.",
    "On validation the accuracy rose from 0.62 to 0.80 during training.",
    "The best validation AUROC was 0.93 (epoch 4), the last one 0.91.",
    "The other students got about 0.84 accuracy, I was told.",
    "A paper on the original X-rays claims 95 % accuracy at 224 px.",
    "If the threshold goes down, more {one} are found and more {zero} are called {one}.",
    "A reliability diagram under the diagonal would mean over-confidence.",
    "The test set has {n} images: {n0} {zero} and {n1} {one}.",
    "So about {n0} / {n} = {share:.1%} of the test images are {zero}.",
]


def dice(*what) -> np.random.Generator:
    """The same generator for the same words, on every machine."""
    return np.random.default_rng(zlib.crc32(repr(what).encode()))


def scores(dataset: str, model: str, who: str, seed: int = 0, split: str = "test") -> tuple[np.ndarray, np.ndarray]:
    """(y [N], p [N]): calibrated probabilities of two normal scores, on the official counts."""
    facts, rng, apart = load_contract().datasets[dataset], dice(dataset, model, who, seed, split), APART[model]
    counts = facts.counts[split]
    y = np.array(facts.labels_of(split) or dice(dataset, split).permutation(np.repeat([0, 1], counts)))
    z = apart * (rng.normal(y * apart, 1) - apart / 2) + np.log(counts[1] / counts[0])
    return y, 1 / (1 + np.exp(-z))


def png(image: Image.Image) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, "PNG", compress_level=1)
    return buffer.getvalue()


def picture(*what, size: tuple[int, int] = (240, 160)) -> bytes:
    """A figure with a line of its own."""
    rng, image = dice("picture", *what), Image.new("RGB", size, "white")
    x, y = np.linspace(10, size[0] - 10, 30), rng.uniform(10, size[1] - 10, 30)
    ImageDraw.Draw(image).line([*zip(x, y, strict=True)], fill=(30, 80, 160), width=2)
    return png(image)


def tile(*what) -> np.ndarray:
    """[28, 28] grey values, smooth as a medical image is."""
    rough = dice("tile", *what).integers(0, 255, (7, 7)).astype(np.uint8)
    return np.asarray(Image.fromarray(rough).resize((28, 28), Image.BICUBIC))


def gallery(tiles: list[np.ndarray], scale: int = 4, gap: int = 12) -> bytes:
    """A row of images on white, with room for a title over each."""
    side = 28 * scale
    image = Image.new("RGB", (gap + len(tiles) * (side + gap), side + 3 * gap), "white")
    for k, one in enumerate(tiles):
        left = gap + k * (side + gap)
        image.paste(Image.fromarray(one).resize((side, side), Image.NEAREST), (left, 2 * gap))
        ImageDraw.Draw(image).text((left, 4), f"T:{k % 2} P:{1 - k % 2}", fill="black")
    return png(image)


def weights(content: bytes) -> bytes:
    """What torch.save writes, as seen from outside: a zip of a pickle and of numbers."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("archive/data.pkl", b"\x80\x02}q\x00.")
        archive.writestr("archive/version", b"3\n")
        archive.writestr("archive/data/0", content)
    return buffer.getvalue()


@dataclass
class Hand:
    """A hand-in before it is written: file name -> JSON value, text or bytes. `parts`: its folders as typed."""

    week: int
    dataset: str
    person: str
    new: bool = False
    files: dict[str, object] = field(default_factory=dict)
    parts: list[str] = field(default_factory=list)
    keys: dict[str, str] = field(default_factory=dict)  # our metric -> its key in this person's JSON
    digits: int = 16
    expected: dict[str, tuple[set[str], set[str]]] = field(default_factory=dict)  # slot -> (statuses, found names)
    more: list["Hand"] = field(default_factory=list)  # the same person's hand-ins of other weeks

    @property
    def folder(self) -> str:
        return "/".join(["results", *(self.parts or [f"week{self.week}", self.dataset, self.person])])

    @property
    def readme(self) -> str:
        return next((f for f in self.files if f.casefold().startswith("readme")), "")

    def say(self, *lines: str) -> None:
        """More text of the student's own, where a README has room for it."""
        text = self.files[self.readme]
        mark = "\n## How it was run"  # the package's README ends with a table
        head, found, tail = text.partition(mark)
        self.files[self.readme] = head.rstrip("\n") + "\n\n" + "\n".join(lines) + "\n" + found + tail

    def set(self, file: str, **values) -> None:
        """Other metrics in an old JSON, and in the README's table too: they agree, and are wrong together."""
        for metric, value in values.items():
            key = self.keys[metric]
            old, new = self.files[file][key], round(value, self.digits)
            self.files[self.readme] = self.files[self.readme].replace(f"{old:.4f}", f"{new:.4f}")
            self.files[file][key] = new

    def rename(self, old: str, new: str, status: str = "renamed") -> None:
        self.files[new] = self.files.pop(old)
        self.expected[old] = ({status}, {new})

    def write(self, root: Path) -> Path:
        folder = root / self.folder
        folder.mkdir(parents=True, exist_ok=True)
        for file, content in self.files.items():
            (folder / file).parent.mkdir(parents=True, exist_ok=True)
            if isinstance(content, (dict, list)):
                content = json.dumps(content, indent=1)
            (folder / file).write_bytes(content if isinstance(content, bytes) else content.encode())
        for other in self.more:
            other.write(root)
        return folder


def old(week: int, dataset: str, person: str, who: str = "") -> Hand:
    """An honest hand-in of the earlier edition. `who`: whose scores (two who share a starter share them)."""
    rng, who = dice("old", week, dataset, person), who or person
    names = SPELLINGS[rng.integers(len(SPELLINGS))]
    hand = Hand(week, dataset, person, keys=dict(zip(("accuracy", "auroc", "ece"), names, strict=True)),
                digits=4 if rng.random() < 0.3 else 16)
    facts, rows = load_contract().datasets[dataset], []
    for file, model in PLAN[week].items():
        hand.expected[file] = ({"present"}, {file})
        if model:
            result = metrics_of(*scores(dataset, model, who))
            hand.files[file] = {hand.keys[m]: round(result[m], hand.digits) for m in hand.keys}
            if week >= 5 and (share := {"probe 5": 0.05, "probe 10": 0.1, "finetune": 0.1}.get(model)):
                hand.files[file] |= {"label_fraction": share, "n_train": round(share * sum(facts.counts["train"]))}
            rows.append([model, *(f"{result[m]:.4f}" for m in hand.keys)])
        elif file.endswith("gallery.png"):
            hand.files[file] = gallery([tile(who, week, k) for k in range(5)])
        elif file.endswith(".png"):
            hand.files[file] = picture(who, week, file)
    if week == 3:
        hand.files["aug_ablation_table.md"] = _table(rows)
    if week == 4:
        hand.files |= {"ssl_encoder.pt": weights(rng.bytes(2000)), "ssl_config.json": {
            "method": "simclr-lite", "backbone": "resnet18", "proj_dim": 128, "batch_size": 128, "epochs": 30,
            "optimizer": "AdamW", "lr": 0.001, "weight_decay": 0.0001, "tau": 0.2, "seed": 42, "dataset": dataset,
            "augmentations": "RandomResizedCrop(0.7, 1.0) + flip + rotation 10 + jitter 0.1"}}
    if week == 7:
        y, p = scores(dataset, "finetune", who, split="val")
        threshold = float(np.sort(p[y == 1])[int(0.1 * (y == 1).sum())])
        hand.files["operating_point_table.md"] = operating(threshold, {
            split: scores(dataset, "finetune", who, split=split) for split in ("val", "test")})
    hand.files[list(PLAN[week])[-1]] = _old_readme(hand, rows, rng)
    return hand


def _table(rows: list[list]) -> str:
    return "\n".join(["| Model | Accuracy | AUROC | ECE |", "|---|---|---|---|",
                      *("| " + " | ".join(row) + " |" for row in rows)])


def operating(threshold: float, split: dict) -> str:
    lines = ["| split | threshold | Acc | TPR | FPR | Precision | Recall |", "|---|---|---|---|---|---|---|"]
    for name, (y, p) in split.items():
        said = p >= threshold
        tp, fp = (said & (y == 1)).sum(), (said & (y == 0)).sum()
        tpr, fpr = tp / (y == 1).sum(), fp / (y == 0).sum()
        lines.append(f"| {name} | {threshold:.3f} | {(said == y).mean():.4f} | {tpr:.4f} | {fpr:.4f} | "
                     f"{tp / (tp + fp):.4f} | {tpr:.4f} |")
    return "\n".join([*lines, "", "The threshold was chosen on the validation set for TPR >= 0.90."])


def _old_readme(hand: Hand, rows: list[list], rng) -> str:
    facts = load_contract().datasets[hand.dataset]
    n0, n1 = facts.counts["test"]
    lines = [f"# Week {hand.week} - {SETS[hand.dataset]}", ""]
    lines += ["## Setup", "ResNet-18, 5 epochs, batch size 128, seed 42."] if hand.week != 4 else [
        "## Method", "SimCLR-lite with ResNet-18, 30 epochs, batch size 128, tau 0.2, AdamW with lr 0.001.",
        "The loss fell from 5.3 to 1.4 and then stayed flat."]
    lines += ["", "## Results", _table(rows), ""] if rows else [""]
    if hand.week == 7:
        lines += ["I chose the operating point on the validation set (TPR of at least 0.90) and then looked at test.",
                  "It favours sensitivity. The most confident errors are small and blurry."]
    known = {"n": n0 + n1, "n0": n0, "n1": n1, "majority": max(n0, n1) / (n0 + n1), "share": n0 / (n0 + n1),
             "zero": facts.classes[0], "one": facts.classes[1]}
    fits = [line for line in HONEST if hand.week != 4 or "loss" not in line]  # in week 4 the loss is another one
    lines += [fits[k].format(**known) for k in rng.permutation(len(fits))[:4]]
    return "\n".join(lines) + "\n"
