"""The verb `medssl evaluate`: an encoder and labelled images in, one table and one JSON file out."""

from pathlib import Path
from typing import Annotated

import typer

from medssl.errors import MedsslError

option = typer.Option


def evaluate(
    checkpoint: Annotated[Path, typer.Argument(help="encoder.safetensors, or a folder of `medssl pretrain`.")],
    data: Annotated[Path | None, option(help="A folder of your own images: pictures, NIfTI or DICOM.")] = None,
    labels: Annotated[Path | None, option(help="CSV: which image has which label.")] = None,
    image_column: Annotated[str, option(help="The column of --labels that names the image.")] = "image",
    label_column: Annotated[list[str] | None, option(help="The column of the label; repeat it for several labels of "
                            "0 and 1.")] = None,
    patient_column: Annotated[str | None, option(help="The column of the patient: each is in one part only.")] = None,
    split_column: Annotated[str | None, option(help="The column that says train, val or test.")] = None,
    dataset: Annotated[str | None, option(help="Instead of --data: a key from `medssl data list`.")] = None,
    root: Annotated[Path | None, option(help="Folder of the .npz files. Default: $MEDSSL_DATA, ~/.medmnist.")] = None,
    size: Annotated[list[int] | None, option(help="Pixels a side, as in the pretraining; volumes: once or three times "
                    "(z, y, x). Default: 28 for a data set, else 224.")] = None,
    spacing: Annotated[list[float] | None, option(help="Of volumes: mm, once or three times (z, y, x).")] = None,
    finetune_steps: Annotated[int, option(help="Also fine-tune for so many steps; 0: no.", min=0)] = 0,
    draws: Annotated[int, option(help="Label draws for each share of the labels.", min=1)] = 10,
    episodes: Annotated[int, option(help="Episodes of few-shot classification.", min=1)] = 100,
    seed: Annotated[int, option(help="Of split, fine-tuning, episodes and intervals.", min=0, max=2**32 - 1)] = 0,
    out: Annotated[Path | None, option(help="Folder for evaluation.json and .md. Default: print only.")] = None,
):  # fmt: skip
    """Test a pretrained encoder with labels.

    Linear probe, 1 to 100 % of the labels, 5, 10 and 20 shots, and fine-tuning where asked. Everything is chosen on
    val and scored on test once.
    """
    import json

    from medssl import load_encoder
    from medssl.data import load, load_own
    from medssl.files import write_atomic
    from medssl.recipes import assess, assessment_table

    if (data is None) == (dataset is None) or (data is None) != (labels is None):
        raise MedsslError("Which images?", "--data DIR with --labels CSV, or --dataset KEY, and not both")
    encoder = load_encoder(checkpoint)
    if dataset:
        images = load(dataset, root, *(size or [28])[:1])
    else:
        seen = encoder.normalise  # of pictures: grey ones are made of colour ones, and colour ones of grey ones
        how = {} if spacing or seen.mean.ndim == 5 else {"channels": seen.in_channels}
        columns = label_column[0] if label_column and len(label_column) == 1 else label_column
        images = load_own(data, size or (224,), spacing, labels=labels, image_column=image_column, seed=seed,
                          label_column=columns, patients=patient_column, split_column=split_column, **how)
    print(images, flush=True)
    result = assess(encoder, images, draws=draws, episodes=episodes, finetune_steps=finetune_steps, seed=seed)
    table = assessment_table(result)
    print(table)
    if out:
        write_atomic(out / "evaluation.json", json.dumps(result, indent=2) + "\n")
        print(f"written: {out / 'evaluation.json'}, {write_atomic(out / 'evaluation.md', table)}")


VERBS = (evaluate,)
