"""Segmentation with an encoder's frozen patch tokens, beside what finds something without having learnt from images."""

from collections.abc import Collection, Mapping

import numpy as np
from torch import nn

from medssl.data import ImageData
from medssl.errors import MedsslError
from medssl.evaluate import Case, as_tokens, fit_ellipsoid, fit_head, fit_intensity, paired_cases, score_cases
from medssl.models import ViT
from medssl.recipes.beside import untrained
from medssl.recipes.unseen import headline, too_narrow, unseen


def segment(encoder: nn.Module, data: ImageData, masks: Mapping, *, seed: int = 0, seen: Collection[str] | None = None,
            exclude_seen: bool = False, differs: str = "") -> dict:
    """Dice on the test split, once, ready for JSON; `segmentation_table` makes a text of it.

    masks: {file: int64 [*S]} as data.load_masks gives them, 0 or 1. A linear layer on frozen tokens learns on train; C
    and the threshold are chosen on val. Beside it: the same from an encoder of the same build with random weights, a
    histogram of grey values, and an ellipse or ellipsoid that sees no pixel. "rows": mean Dice over cases; "less": how
    much more the encoder has than each, case by case. seen, exclude_seen, differs: as in assess.
    """
    if not isinstance(encoder, ViT):
        raise MedsslError("This encoder has no patch tokens.", "a ViT, as lejepa, ijepa and vjepa train it",
                          "medssl pretrain … --model vit")
    data, known, notes = unseen(data, seen, exclude_seen, differs)
    notes += too_narrow(data)
    cases = {name: [Case(image.float() / 255, masks[file], data.spacing) for image, file in
                    zip(part.images, part.about["file"], strict=True)] for name, part in data.splits.items()}
    for name, part in cases.items():
        if len(part) < 2 or not any(case.mask.any() for case in part):
            raise MedsslError(f"{name} has {len(part)} cases, {sum(bool(c.mask.any()) for c in part)} with anything "
                              "drawn.", "two cases or more in each part, not all empty",
                              "More images, or another seed.")
    patch = encoder.embed.kernel_size
    found = {"frozen tokens, linear head": _with_tokens(encoder, cases, patch),
             "the same, random weights": _with_tokens(untrained(encoder, seed), cases, patch),
             "grey values": score_cases(fit_intensity(cases["train"]), cases["val"], cases["test"]),
             f"{'ellipse' if len(patch) == 2 else 'ellipsoid'}, no pixel": score_cases(
                 fit_ellipsoid(cases["train"], cases["val"]), cases["val"], cases["test"])}
    dice, thresholds = ({name: pair[k] for name, pair in found.items()} for k in (0, 1))
    dice = {name: values[:, 0] for name, values in dice.items()}
    first = next(iter(dice))
    empty = int(np.isnan(dice[first]).sum())
    if empty:
        notes.append(f"{empty} test images have nothing to find, and nothing was found: they are in no mean")
    return {"data": data.key, "phantom": data.is_phantom, "split_hash": data.split_hash(),
            "encoder": encoder.describe(), "split": "test", "n": {name: len(part) for name, part in cases.items()},
            "metric": "dice", "seen": known["said"], "notes": notes, "thresholds": thresholds,
            "rows": [{"what": name, "metric": "dice", **paired_cases(values)} for name, values in dice.items()],
            "less": {name: paired_cases(dice[first], values) for name, values in dice.items() if name != first}}


def _with_tokens(encoder: ViT, cases: dict[str, list[Case]], patch: tuple[int, ...]) -> tuple[np.ndarray, float]:
    train, val, test = ([as_tokens(encoder, case, patch) for case in cases[name]] for name in ("train", "val", "test"))
    return score_cases(fit_head(train, val, patch), val, test)


def segmentation_table(result: dict) -> str:
    """The dict of `segment` as Markdown."""
    rows, n = result["rows"], result["n"]
    lines = [["what", "Dice on test [95 % interval]", "frozen tokens have more by"], ["---"] * 3]
    for row in rows:
        more = result["less"].get(row["what"])
        lines.append([row["what"], *("" if one is None else f"{one['mean']:{sign}.3f} [{one['lo']:{sign}.3f}, "
                                     f"{one['hi']:{sign}.3f}]" for one, sign in ((row, ""), (more, "+")))])
    widths = [max(len(line[k]) for line in lines) for k in range(3)]
    table = ["| " + " | ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)) + " |"
             for line in lines]
    phantom = " PHANTOM data: made by a program, no patients." * result["phantom"]
    return "\n".join([
        f"{result['encoder']} on {result['data']} (split {result['split_hash']}), test n = {n['test']}.{phantom}"
        f"{headline(result['seen'])}", "", *table, "",
        f"Learnt on {n['train']} train masks; C and threshold chosen on {n['val']} of val. Dice case by case, the mean "
        "over cases; intervals draw cases, not another pretraining.",
        *(f"Note: {note}." for note in result["notes"])]) + "\n"
