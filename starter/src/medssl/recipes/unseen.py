"""Has the encoder met the test images in its pretraining? Without their labels, but a test on them flatters it."""

from collections.abc import Collection
from dataclasses import replace

import numpy as np
import torch

from medssl.data import ImageData, Split, image_hashes
from medssl.errors import MedsslError

ADVICE = ("To have none: pretrain with the --labels, columns, --size and --seed of this test; then only its train part "
          "is learnt from")


FEW = 10  # test images of a class


def unlike(about: dict, data: ImageData) -> str:
    """How the images differ from those of the pretraining (models.export.pretrained_as); "" if in nothing it tells.

    Another size, spacing or number of channels makes other pixels of the same file: it would not be known again.
    """
    shape, here = about.get("image_size"), "×".join(map(str, data.train.images.shape[2:]))
    spacing, channels = about.get("spacing"), about.get("channels")
    return ", ".join([
        *([f"size {here} here, {shape} there"] if shape and str(shape) != here else []),
        *([f"spacing {list(data.spacing)} mm here, {spacing} there"] if spacing and data.spacing
          and list(spacing) != list(data.spacing) else []),
        *([f"{data.channels} channels here, {channels} there"] if channels and channels != data.channels else [])])


def unseen(data: ImageData, seen: Collection[str] | None, exclude: bool,
           differs: str = "") -> tuple[ImageData, dict, list[str]]:
    """(the data, {"said": counts for JSON, "new" [N]: may an image of any part be tested on?}, notes).

    An image is known if its pixels are; its patient is if any image of the patient is, in whichever part it lies.
    exclude: take what is known out of the test. differs: what `unlike` found; then nothing can be known again.
    """
    notes = [f"parts: {data.parted}"] if data.parted else []
    if seen and differs:
        if exclude:
            raise MedsslError(f"Nobody can tell which images this encoder has seen: {differs}.",
                              "images as they were in its pretraining, which are known again by their pixels",
                              "Leave --size and --spacing out (they are then as in the pretraining), or leave "
                              "--exclude-seen out.")
        notes.append(f"NOT KNOWN which images the encoder was pretrained on, for it saw others than these ({differs}): "
                     "test images may be among them, and its features may be worse than they need be")
        return data, {"said": None, "new": None}, notes
    if not seen:
        if exclude:
            raise MedsslError("Nobody knows which images this encoder has seen.",
                              "encoder.safetensors of `medssl pretrain`, which keeps hashes of them",
                              "Leave --exclude-seen out, and say that it is not known.")
        notes.append("NOT KNOWN which images the encoder was pretrained on: test images may be among them")
        return data, {"said": None, "new": None}, notes
    mine = {name: np.array([pixels in seen for pixels in image_hashes(part.images)], bool)
            for name, part in data.splits.items()}
    owners = {name: (part.about or {}).get("patient") for name, part in data.splits.items()}
    met = {who for name, who_of in owners.items() for who, hit in zip(who_of or (), mine[name], strict=bool(who_of))
           if hit}
    known = {name: hit | np.array([who in met for who in owners[name] or [None] * len(hit)], bool)
             for name, hit in mine.items()}
    n, of, more = int(mine["test"].sum()), len(data.test), int((known["test"] & ~mine["test"]).sum())
    said = {"test": n, "of": of, "of_their_patients": more, "all": int(sum(map(np.sum, mine.values()))),
            "excluded": exclude}
    beside = f", and on other images of the patients of {more} more" * bool(more)
    if exclude and n + more:
        if n + more == of:
            raise MedsslError(f"The encoder has seen all {of} test images, or others of their patients.",
                              "test images that are new to it", ADVICE)
        keep = torch.from_numpy(np.flatnonzero(~known["test"]))
        about = {key: tuple(values[k] for k in keep.tolist()) for key, values in (data.test.about or {}).items()}
        data = replace(data, test=Split(data.test.images[keep], data.test.labels[keep], about or None))
        known["test"] = known["test"][keep.numpy()]
        notes.insert(0, f"left out of the test: {n} of {of} images that the encoder was pretrained on"
                     f"{f', and {more} of the same patients' * bool(more)}")
    elif n + more:
        notes.insert(0, f"SEEN: the encoder was pretrained on {n} of the {of} test images{beside}, without their "
                     "labels. These numbers are not those of new patients; --exclude-seen leaves such images out. "
                     + ADVICE)
    else:
        notes.append(f"the encoder was pretrained on none of the {of} test images as they are here, pixel by pixel "
                     "(of another size or window they would not be known again)")
    new = ~np.concatenate(list(known.values())) if exclude else None
    return data, {"said": said, "new": new}, notes


def too_narrow(data: ImageData) -> list[str]:
    """A note where a test patient has several images."""
    who = (data.test.about or {}).get("patient") or ()
    return [f"the {len(who)} test images are of {len(set(who))} patients: intervals draw images as if each were of "
            "another patient, and are too narrow"] * (len(set(who)) < len(who))


def too_few(data: ImageData) -> list[str]:
    """A note where so few test images have a label that an interval shrinks to nothing: [0, 0] with two of them."""
    y = data.test.labels
    rarest = [(int(min(n, len(y) - n)), f"with and without {name}") for n, name in
              zip(y.sum(0).tolist(), data.classes, strict=True)] if data.multilabel else \
             [(int((y == k).sum()), f"of {name}") for k, name in enumerate(data.classes)]
    few = [f"{n} {of}" for n, of in rarest if n < FEW]
    return [f"FEW test images ({', '.join(few)}): below {FEW} an interval says little, and may be a single "
            "point; do not report it"] * bool(few)


def headline(said: dict | None) -> str:
    """The line above a table whose test images the encoder has met; else nothing."""
    if not said or said["excluded"] or not said["test"] + said["of_their_patients"]:
        return ""
    more = f" and {said['of_their_patients']} more of the same patients" * bool(said["of_their_patients"])
    return f"\n\n**SEEN IN PRETRAINING: {said['test']} of the {said['of']} test images{more}.**"
