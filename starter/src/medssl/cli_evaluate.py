"""The verb `medssl evaluate`: an encoder and labelled images in, one table and one JSON file out."""

from pathlib import Path
from typing import Annotated

import typer

from medssl.errors import MedsslError

option = typer.Option


def evaluate(
    checkpoint: Annotated[Path, typer.Argument(help="encoder.safetensors, or a folder of `medssl pretrain`.")],
    data: Annotated[Path | None, option(help="A folder of your own: pictures, DICOM, NIfTI.")] = None,
    labels: Annotated[Path | None, option(help="CSV that says what is on them.")] = None,
    image_column: Annotated[str, option(help="Its column of file names.")] = "image",
    label_column: Annotated[list[str] | None, option(help="Its column of labels (several: say it again).")] = None,
    patient_column: Annotated[str | None, option("--patient-column", "--patients", help="Its column of patients, each "
                                                 "kept in one part.")] = None,
    split_column: Annotated[str | None, option(help="Its column that says train, val or test.")] = None,
    site_column: Annotated[str | None, option(help="Its column of hospitals or devices, three or more: also test on "
                                              "each what was learnt on the others.")] = None,
    masks: Annotated[Path | None, option(help="A folder of masks drawn on the images (scan7.png: scan7.png or "
                                         "scan7_mask.png): segmentation instead of labels. The CSV may then be left "
                                         "out.")] = None,
    merge_masks: Annotated[bool, option("--merge-masks", help="Masks of several values: all above 0 is one "
                                        "foreground.")] = False,
    exclude_seen: Annotated[bool, option("--exclude-seen", help="Leave test images out that the encoder was pretrained "
                                         "on, and those of the same patients.")] = False,
    only: Annotated[str, option(help='Only files of such a name, for example "*_image.nii.gz".')] = "*",
    skip_broken: Annotated[bool, option("--skip-broken", help="Leave broken files out and count them.")] = False,
    spacing: Annotated[str | None, option(help="Of volumes: 2 or 3,1,1 mm (z,y,x), as in the pretraining.")] = None,
    modality: Annotated[str | None, option(help="What the images are; of NIfTI volumes CT or MR.")] = None,
    frames: Annotated[int | None, option(help="Read clips, so many frames of each, as in the pretraining.",
                                         min=1)] = None,
    window: Annotated[str | None, option(help="Of CT: lung, soft, bone, brain. Of DICOM pictures also file.")] = None,
    dataset: Annotated[str | None, option(help="Instead of --data: a key from `medssl data list`.")] = None,
    root: Annotated[Path | None, option(help="Folder of the .npz files. Default: $MEDSSL_DATA, ~/.medmnist.")] = None,
    size: Annotated[str | None, option(help="Pixels or voxels, as in the pretraining: 64, or 32,64,64 (z,y,x). "
                                       "Default: that of the pretraining.")] = None,
    baselines: Annotated[bool, option(help="Also probe random weights of the same build, and the pixels.")] = True,
    finetune_steps: Annotated[int, option(help="Also fine-tune for so many steps; 0: no.", min=0)] = 0,
    draws: Annotated[int, option(help="Label draws for each share of the labels.", min=1)] = 10,
    episodes: Annotated[int, option(help="Episodes of few-shot classification.", min=1)] = 100,
    seed: Annotated[int, option(help="Of split, fine-tuning, episodes and intervals.", min=0, max=2**32 - 1)] = 0,
    out: Annotated[Path | None, option(help="Folder for evaluation.json and .md, and "
                                        "label_efficiency.png. Default: print only.")] = None,
):  # fmt: skip
    """Test a pretrained encoder with labels.

    Linear probe, 1 to 100 % of the labels, beside random weights and pixels; 5, 10 and 20 shots, and fine-tuning where
    asked; or, with --masks, segmentation from frozen tokens. Everything is chosen on val and scored on test once. Says
    how many test images the encoder was pretrained on.
    """
    import json

    from medssl import load_encoder
    from medssl.cli_given import numbers
    from medssl.cli_images import own_images
    from medssl.data import load
    from medssl.data.masks import load_masks
    from medssl.figures import label_efficiency
    from medssl.files import write_atomic
    from medssl.handout import to_png
    from medssl.models.export import pretrained_as, seen_images
    from medssl.recipes import assess, assessment_table, efficiency_curves
    from medssl.recipes.segmenting import segment, segmentation_table
    from medssl.recipes.unet_mim import Prepared
    from medssl.recipes.unseen import unlike

    if (data is None) == (dataset is None) or (data is None) != (labels is None) and not (data and masks):
        raise MedsslError("Which images?", "--data DIR with --labels CSV (or with --masks DIR), or --dataset KEY, and "
                          "not both")
    if masks and (dataset or label_column or site_column or frames):
        raise MedsslError("--masks with --dataset, --label-column, --site-column or --frames.",
                          "--data DIR --masks DIR; of a CSV the columns of images, patients and parts",
                          "Labels are tested by another run, without --masks.")
    encoder, about = load_encoder(checkpoint), pretrained_as(checkpoint)
    if not hasattr(encoder, "normalise"):
        raise MedsslError(f"{checkpoint} holds an encoder of patches and their places, as Prism trains it.",
                          "an encoder of images or volumes", "What it has learnt says result.json, beside it.")
    if halves := about.get("halves"):  # of unet-mim: its images were made sharper, here they are, too
        encoder.normalise = Prepared(encoder.normalise, halves)
    sides, before = numbers("size", size, int), _as_pretrained(about)
    if dataset:
        known = before["size"] if before["size"] in ([28], [64], [128], [224]) else [28]
        images = load(dataset, root, (sides or known)[0])
    else:
        own = {"labels": labels, "image_column": image_column, "label_column": label_column, "only": only,
               "patient_column": patient_column, "split_column": split_column, "skip_broken": skip_broken,
               "site_column": site_column, "spacing": spacing, "modality": modality, "window": window, "frames": frames}
        if masks:  # a test part, too, where no label asks for one
            own["fractions"] = (0.7, 0.15, 0.15)
        if labels is None and (patient_column or split_column):
            raise MedsslError("--patient-column or --split-column without --labels CSV.", "the CSV that has it")
        if encoder.normalise.mean.ndim == 4:  # pictures as it knows them: grey ones of colour ones, or the reverse
            own["channels"] = encoder.normalise.in_channels
        taken = {}
        if frames is None:
            taken = {key: value for key, value in before.items() if value and not {"size": sides, **own}[key]}
            print(*(f"{key} {value}, as in the pretraining" for key, value in taken.items()), sep="\n")
        sides = sides or taken.pop("size", None)
        images = own_images(data, sides, own | taken, seed)
    print(images, flush=True)
    known = {"seed": seed, "seen": seen_images(checkpoint), "exclude_seen": exclude_seen,
             "differs": unlike(about, images)}
    if masks:
        result = segment(encoder, images, load_masks(images, masks, data, merge=merge_masks), **known)
        table = segmentation_table(result)
    else:
        result = assess(encoder, images, draws=draws, episodes=episodes, finetune_steps=finetune_steps,
                        baselines=baselines, **known)
        table = assessment_table(result)
    print(table)
    if out:
        write_atomic(out / "evaluation.json", json.dumps(result, indent=2) + "\n")
        print(f"written: {out / 'evaluation.json'}, {write_atomic(out / 'evaluation.md', table)}")
        if not masks:
            curves, n_labels = efficiency_curves(result)
            black = "random weights" if "random weights" in curves else None
            figure = label_efficiency(curves, "auroc", n_labels, baseline=black)
            print(f"written: {write_atomic(out / 'label_efficiency.png', to_png(figure, images))}")


def _as_pretrained(about: dict) -> dict:
    """{"size", "spacing", "modality"} of the pretraining, None where it is not told or is no option for a folder."""
    sides = [int(side) for side in str(about.get("image_size", "")).split("×") if side.isdecimal()]
    spacing = about.get("spacing")
    if len(sides) == 3 and not spacing:  # clips, or volumes without millimetres
        sides = []
    return {"size": sides[:1] if len(sides) == 2 else sides or None, "spacing": spacing,
            "modality": about.get("modality") if about.get("modality") in ("CT", "MR") else None}


VERBS = (evaluate,)
