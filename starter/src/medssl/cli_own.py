"""The verb `medssl pretrain`: a data set of the course, or a folder of your own; a method; an encoder that is left."""

from pathlib import Path
from typing import Annotated

import typer

from medssl.cli_dino3d import pretrain_scans
from medssl.cli_given import in_options, logging_to, numbers, settings_of
from medssl.cli_images import own_images, own_slices, own_views, several_sets
from medssl.errors import MedsslError

option = typer.Option
PRETRAIN_STEPS = 2000
OF_METHODS = {"ijepa": {"model": "vit"}, "vjepa": {"model": "vit"},  # patches are taken out, which a CNN cannot do
              "unet_mim": {"model": "unet", "batch_size": 64, "lr": 1e-3, "epochs": 100}}  # where nobody says otherwise
PLACES = ("data", "labels", "root", "out")  # text in the context of typer 0.20, paths in that of later ones
DEVICES = ("auto", "cuda", "mps", "cpu")
FOLDER = ("labels", "image_column", "label_column", "patient_column", "split_column", "spacing", "frames", "modality",
          "window", "only", "patient", "midline", "kind", "skip_broken", "name")  # of a folder of one's own alone
SLICES = ("patient", "midline", "kind")  # … and only slices of its NIfTI volumes
OF_RUN, OF_HALVES = ("l2", "patience", "map_every"), ("ratio", "patch", "radius", "amount", "rotate")  # by --set
TABLE = ("image_column", "label_column", "patient_column", "split_column")  # … and a table of it


@in_options()
def pretrain(
    ctx: typer.Context,
    method: Annotated[str, typer.Argument(metavar="METHOD", help="simclr, moco, lejepa, ijepa, vjepa or unet-mim; of "
                                          "volumes ijepa and vjepa; of whole scans dino3d.")] = "simclr",
    data: Annotated[Path | None, option(help="A folder of your own: pictures, DICOM, NIfTI.")] = None,
    labels: Annotated[Path | None, option(help="CSV that says which images count, and what is on them.")] = None,
    image_column: Annotated[str, option(help="Its column of file names.")] = "image",
    label_column: Annotated[list[str] | None, option(help="Its column of labels (several: say it again). No label is "
                                                     "learnt from; the split shares them out evenly.")] = None,
    patient_column: Annotated[str | None, option("--patient-column", "--patients", help="Its column of patients, each "
                                                 "kept in one part.")] = None,
    split_column: Annotated[str | None, option(help="Its column that says train, val or test.")] = None,
    only: Annotated[str, option(help='Only files of such a name, for example "*_image.nii.gz".')] = "*",
    patient: Annotated[str | None, option(metavar="REGEX", help="Of slices for unet-mim: what in a file's name says "
                                          'the patient, such as "STS_[0-9]+". Default: each volume is one.')] = None,
    midline: Annotated[str | None, option(help="Of slices for unet-mim: find (the axis of symmetry is moved into the "
                                          "middle, the default), or middle (it is there).")] = None,
    kind: Annotated[list[str] | None, option(metavar="NAME=CT:FILES", help="Of slices for unet-mim, instead of "
                                             '--modality and --only, for each kind: "head=MR:*t1*".')] = None,
    skip_broken: Annotated[bool, option("--skip-broken", help="Leave broken files out and count them.")] = False,
    spacing: Annotated[str | None, option(help="Read volumes, at so many mm from voxel to voxel: 2 or 3,1,1 (z,y,x). "
                                          "A folder of DICOM slices is then one volume.")] = None,
    frames: Annotated[int | None, option(help="Read clips (films, cine DICOM, 4-D NIfTI): so many frames of each, "
                                         "evenly spaced.", min=2)] = None,
    modality: Annotated[str | None, option(help="What the images are; of NIfTI volumes CT or MR.")] = None,
    window: Annotated[str | None, option(help="Of CT: lung, soft, bone, brain. Of DICOM pictures also file.")] = None,
    name: Annotated[str | None, option(help="What the data are called in the model card. Default: the folder's name in "
                                       "your own files, and none in the card: a folder may be named after a patient.")
                    ] = None,
    config: Annotated[str | None, option(help="base_config, chest_xray, histopathology, brain_mri, or a TOML file of "
                                         "yours. Options of the command line win.")] = None,
    dataset: Annotated[str, option(help="Instead of --data: a key from `medssl data list`; several with commas, also "
                                   "beside --data: all at once.")] = "breastmnist",
    model: Annotated[str, option(help="smallcnn, resnet18 or vit. ijepa and vjepa take vit alone, unet-mim unet.")
                     ] = "smallcnn",
    steps: Annotated[int | None, option(help=f"Steps of the optimiser. Default: {PRETRAIN_STEPS}; of unet-mim 100 "
                                             "epochs.", min=1)] = None,
    epochs: Annotated[int | None, option(help="Instead of steps: passes over the train split.", min=1)] = None,
    batch_size: Annotated[int, option(help="Images in one step; views are made of each. Default: 256 (unet-mim: "
                                        "64), or all train images if they are fewer.", min=2,
                                        show_default=False)] = 256,
    lr: Annotated[float, option(help="Learning rate. Of unet-mim: 0.001.")] = 2e-3,
    weight_decay: Annotated[float, option(help="Pull of the weights towards 0.")] = 1e-4,
    temperature: Annotated[float | None, option(help="Of simclr, moco, unet-mim: the smaller, the more the hardest "
                                                "candidates count. Default: 0.2.")] = None,
    proj_dim: Annotated[int, option(help="Numbers in an embedding.", min=1)] = 128,
    augment: Annotated[str, option(help="How views differ: ssl, or the weaker none, A, B, C.")] = "ssl",
    seed: Annotated[int, option(help="The same seed gives the same result.", min=0, max=2**32 - 1)] = 0,
    queue_size: Annotated[int | None, option(help="Keys that moco keeps. Default: 1024.", min=1)] = None,
    momentum: Annotated[float | None, option(help="How slowly moco's key encoder follows. Default: 0.99. Of ijepa and "
                                             "vjepa: their teacher.")] = None,
    lam: Annotated[float | None, option(help="Share of SIGReg in the loss. lejepa: 0.05, masked: 0.5.")] = None,
    slices: Annotated[int | None, option(help="Directions lejepa tests in a step. Default: 256.", min=1)] = None,
    global_views: Annotated[int | None, option(help="Views of lejepa. Default: 4.", min=1)] = None,
    local_views: Annotated[int | None, option(help="Its smaller views, of a part. Default: 0.", min=0)] = None,
    masks: Annotated[str | None, option(help="Of ijepa and vjepa: multi_block, random, blocks_3d, tubes or temporal. "
                                        "Default: multi_block for images, tubes for vjepa, blocks_3d for ijepa of "
                                        "volumes.")] = None,
    foreground: Annotated[float | None, option(help="Grey value, 0 to 1, above which a pixel is no background: blocks "
                                               "to predict are then moved to where there is something to see. Default: "
                                               "anywhere.", min=0)] = None,
    least_foreground: Annotated[float | None, option(help="Share of such a block that is to be foreground. Default: "
                                                     "0.25.", min=0, max=1)] = None,
    target: Annotated[str | None, option(help="Of ijepa: ema (the paper's), or the experimental sigreg.")] = None,
    mode: Annotated[str | None, option(help="Of vjepa: ema (the paper's), or the experimental lejepa.")] = None,
    loss: Annotated[str | None, option(help="Of ijepa and vjepa: smooth_l1 or l1.")] = None,
    predictor_depth: Annotated[int | None, option(help="Blocks of their predictor. Default: 3.", min=1)] = None,
    mask_input: Annotated[bool | None, option(help="Of unet-mim: hide the masked patches from the network. Default: "
                                              "it sees them.")] = None,
    recon_weight: Annotated[float | None, option(help="Of unet-mim: weight of the reconstruction. Default: 1.",
                                                 min=0)] = None,
    contrast_weight: Annotated[float | None, option(help="Of unet-mim: weight of the contrast of halves. Default: 1.",
                                                    min=0)] = None,
    pixels: Annotated[int | None, option(help="Of unet-mim: side of the images it sees, a multiple of 32. Default: "
                                        "192, which is 12 patches of 16.", min=32)] = None,
    setting: Annotated[list[str] | None, option("--set", metavar="KEY=VALUE", help="Of dino3d, as often as needed: any "
                                                "setting of its crops, its loss, its training. A --config of dino3d "
                                                "is a TOML file of such keys. Of unet-mim: "
                                                f"{', '.join(OF_RUN + OF_HALVES)}.")] = None,
    vit_size: Annotated[str | None, option(help="Of vit: tiny, small or base. Default: tiny.")] = None,
    patch: Annotated[str | None, option(help="Of vit, in pixels: 8, or 2,16,16 (z,y,x or t,y,x). Default: 4 to 16, by "
                                        "the size of the images.")] = None,
    weights: Annotated[str, option(help="What resnet18 starts from: none (random), or imagenet.")] = "none",
    size: Annotated[str | None, option(help="Pixels: of a data set 28, 64, 128 or 224 (default: 28), of pictures of "
                                       "yours any (default: 224; slices for unet-mim: 192). Voxels of volumes: 64, "
                                       "or 32,64,64 (z,y,x).")] = None,
    device: Annotated[str, option(help="auto, cuda, mps or cpu.")] = "auto",
    precision: Annotated[str, option(help="auto, fp32, bf16 or fp16.")] = "auto",
    wandb: Annotated[str | None, option(metavar="PROJECT", help="Also log to Weights & Biases. It sends settings and "
                                        "losses over the network.")] = None,
    root: Annotated[Path | None, option(help="Folder of the .npz files. Default: $MEDSSL_DATA, ~/.medmnist.")] = None,
    out: Annotated[Path | None, option(help="Default: runs/<dataset>_<method>_<model>_seed<seed>.")] = None,
    fresh: Annotated[bool, option("--fresh", help="Start over where an earlier run left its checkpoints.")] = False,
):  # fmt: skip
    """Pretrain an encoder without labels.

    Writes ssl_encoder.pt, ssl_config.json, ssl_loss.csv, ssl_loss_curve.png, view_pairs.png (ijepa and vjepa:
    masks.png), history.jsonl, env.json, and to give away encoder.safetensors with MODEL_CARD.md; unet-mim also
    README.md, panels/ and tsne/. A run that was cut goes on: say the same command again.
    """
    from medssl.configs import names
    from medssl.handout import pretrain_and_keep

    ctx.params.update({key: Path(ctx.params[key]) for key in PLACES if ctx.params[key] is not None})
    if ctx.params["method"] in ("dino3d", "dino-3d"):
        return pretrain_scans(ctx.params, _said(ctx))
    values, said_by = _settled(ctx)
    if said := values.pop("setting"):
        if values["method"] != "unet_mim":
            raise MedsslError("--set belongs to dino3d and unet-mim.",
                              "an option of its own for each setting of the other methods")
        values |= _numbers_of_unet(said)
    views, images = values.pop("views", None), values.pop("data")
    own = {key: values.pop(key) for key in FOLDER}
    for needed, given, belong in (("--data DIR", images, FOLDER), ("--labels CSV", own["labels"], TABLE)):
        alone = [f"--{key.replace('_', '-')}" for key in belong if said_by.get(key) == "command line"]
        if alone and given is None:
            raise MedsslError(f"{' and '.join(alone)} without {needed}.", needed, "Or leave them out.")
    if values["device"] not in DEVICES:
        raise MedsslError(f"There is no device {values['device']}.", f"one of {', '.join(DEVICES)}")
    if (project := values.pop("wandb")) is not None:
        values["wandb"] = {"project": logging_to(project)}
    values["device"] = None if values["device"] == "auto" else values["device"]
    if values["steps"] is None and values["epochs"] is None:
        values["steps"] = PRETRAIN_STEPS
    sides, patch = numbers("size", values["size"], int), numbers("patch", values["patch"], int)
    values["patch"] = patch[0] if patch and len(patch) == 1 else patch
    values["called"] = own.pop("name")
    values["fewer"] = said_by.get("batch_size") in (None, *names())  # not from the user, nor from a file of theirs
    if images is not None:
        slices = values["method"] == "unet_mim" and own_slices(images, sides, own, values["seed"])
        if not slices and (alone := [f"--{key}" for key in SLICES if own[key]]):
            raise MedsslError(f"{' and '.join(alone)} without slices.", "unet-mim, and a folder that holds NIfTI files")
        own = {key: value for key, value in own.items() if key not in SLICES}
        values["dataset"] = slices or own_images(images, sides, own, values["seed"])
        values["augment"] = own_views(values, views, said_by)
    elif sides and len(sides) > 1:
        raise MedsslError(f"--size {values['size']} of a data set.", "one number")
    values["size"] = sides[0] if sides else 28
    if "," in values["dataset"] if images is None else said_by.get("dataset") == "command line":
        values["dataset"] = several_sets(ctx.params["dataset"], values)
    del values["config"]
    pretrain_and_keep(**values, settings_from=said_by)


def _said(ctx: typer.Context) -> dict[str, str]:
    """{option: "command line"} of those that were given there."""
    return {key: "command line" for key in ctx.params if ctx.get_parameter_source(key).name == "COMMANDLINE"}


def _settled(ctx: typer.Context) -> tuple[dict, dict]:
    """({option: value}, {option: who said it}): the command line before the config before the defaults."""
    from medssl.configs import read_config
    from medssl.recipes.learners import BELONGS, METHODS

    values, said_by = ctx.params | {"method": ctx.params["method"].replace("-", "_")}, _said(ctx)
    name = values["config"] or ("base_config" if values["data"] and values["method"] != "unet_mim" else None)
    for key, value in (read_config(name, pretrain) if name else {}).items():
        if said_by.get("method") == "command line" and values["method"] not in BELONGS.get(key, METHODS):
            continue  # the config is of another method, and so is this setting
        if key == "steps" and said_by.get("epochs") or key == "epochs" and said_by.get("steps"):
            continue  # one budget, that of the command line
        if key not in said_by:
            values[key], said_by[key] = value, name
    for key, value in OF_METHODS.get(values["method"], {}).items():
        if key not in said_by and not (key == "epochs" and values["steps"]):
            values[key] = value
    return values, said_by


def _numbers_of_unet(said: list[str]) -> dict:
    """What --set KEY=VALUE says of unet-mim, as arguments of its recipe."""
    found = settings_of(None, said)
    for key, value in found.items():
        if key not in OF_RUN + OF_HALVES or type(value) not in (int, float) or not 0 <= value < 1e6 or (
                key in ("patience", "map_every", "patch") and (type(value) is float or not value)):
            raise MedsslError(f"--set {key}={value} of unet-mim.", f"one of {', '.join(OF_RUN + OF_HALVES)}, a number "
                              "of 0 or more (patience, map_every, patch: a whole one above 0)")
    halves = {key: found.pop(key) for key in OF_HALVES if key in found}
    return found | ({"halves": halves} if halves else {})


VERBS = (pretrain,)
