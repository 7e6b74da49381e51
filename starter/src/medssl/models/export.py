"""An encoder to keep or to give away: weights as safetensors, which cannot hold a program, and a card that says what
it is. The file says itself how its encoder is built; whoever loads it needs nothing else.
"""

import inspect
import json
from collections.abc import Iterable
from pathlib import Path
from pickle import UnpicklingError

import torch
from torch import Tensor, nn

from medssl.about import VERSION
from medssl.errors import MedsslError
from medssl.files import write_atomic
from medssl.models import ENCODERS, PatchEncoder, count_parameters, digest, encoder_to_fill

WEIGHTS, CARD = "encoder.safetensors", "MODEL_CARD.md"
PATCHES = "patchencoder"  # Prism's: it takes patches and places, not images, and so is no choice of a command line
SHAPE = ("width", "stem", "size", "patch", "pool", "registers", "spacing", "skips", "pixels")  # what builds an encoder
TEMPLATE = """# An encoder for {modality}: {method}, {dataset}

{description}, {parameters:,} numbers, weights {digest}.
It turns {one} into {dim} features and gives no answer by itself.

| | |
|---|---|
{rows}

## What it is for

Research and teaching: as the start of a classifier or a segmentation that is then trained and tested with labels of its
own.

    import medssl
    encoder = medssl.load_encoder("{weights}")
    features = {call} -> [B,{dim}]

## What it is not for

- No diagnosis, no triage, no decision about a patient: it is no medical device, and nobody has tested it as one.
- It has been pretrained without labels and not been evaluated. How good its features are, a test on your own patients
  says, not this card.
- Other scanners, other body parts, other people than those it was trained on: expect less, and measure it.
- What is rare or missing in the training images, it has not learnt; what is systematic in them (a hospital's markers,
  one device) it may have learnt as if it were medicine.
- Weights can carry traces of the images they were trained on. Give them away only where you may give away those.{seen}

medssl {version}; made by a program from the settings of the run, to be completed by whoever trained it.
"""
SEEN = """
  The file also keeps a short hash of each: who has an image, at this size, can tell that it was among them."""
SAYS = {"method": "method", "steps": "steps of the optimiser", "epochs": "passes over the images",
        "batch_size": "images in a step", "pairs": "pairs of views in a step", "n_patches": "patches in a view",
        "patch_mm": "mm along a patch", "lr": "learning rate", "augmentations": "views", "seed": "seed",
        "dataset": "data", "images": "training images", "phantom": "phantom (drawn by a program)",
        "halves": "images were first resized and sharpened, by views.Halves(...).prepare",
        "license": "licence of the data", "image_size": "size", "spacing": "mm from voxel to voxel (z, y, x)",
        "split_hash": "split hash"}


def save_encoder(path: str | Path, encoder: nn.Module, about: dict, seen: Iterable[str] = ()) -> Path:
    """Write encoder.safetensors and MODEL_CARD.md into the folder `path`; returns the first. about: what the card
    tells of data and method, e.g. the config of a pretraining. seen: data.image_hashes of its images, which are kept
    with the weights: whoever tests the encoder can ask `seen_images` whether it was pretrained on a test image."""
    for name, content in reversed(encoder_files(encoder, about, seen).items()):
        written = write_atomic(Path(path) / name, content)
    return written


def encoder_files(encoder: nn.Module, about: dict, seen: Iterable[str] = ()) -> dict[str, bytes | str]:
    """{file name: what is to stand in it}, as for save_encoder."""
    from safetensors.torch import save

    name = type(encoder).__name__.lower()
    kinds = ENCODERS | {PATCHES: PatchEncoder}
    if name not in kinds:
        raise MedsslError(f"An encoder of the class {type(encoder).__name__} cannot be exported.",
                          f"one of {', '.join(kinds)}", "Save its state_dict() with torch.save.")
    settings = {key: vars(encoder)[key] for key in inspect.signature(kinds[name]).parameters if key in vars(encoder)}
    built = {"backbone": name, "settings": settings}
    if name != PATCHES:
        built |= {"channels": encoder.normalise.in_channels, "imagenet": encoder.normalise.mean.numel() == 3}
    state = {key: value.detach().cpu().contiguous() for key, value in encoder.state_dict().items()}
    seen = " ".join(sorted(set(seen)))
    meta = {"medssl": VERSION, "encoder": json.dumps(built), "about": json.dumps(about, default=str), "seen": seen}
    return {WEIGHTS: save(state, metadata=meta), CARD: card(encoder, about, bool(seen))}


def seen_images(path: str | Path) -> set[str]:
    """data.image_hashes of the images that the encoder of this file or folder was pretrained on.

    Empty where the file does not say, as with ssl_encoder.pt alone or what an earlier version wrote: that is no proof
    that it has seen none.
    """
    return set(_metadata(path).get("seen", "").split())


def pretrained_as(path: str | Path) -> dict:
    """What encoder.safetensors tells of its pretraining: image_size "64×64", spacing, …; {} where it does not."""
    return _trusting(_weights(path), lambda _: dict(json.loads(_metadata(path).get("about", "{}"))))


def _metadata(path: str | Path) -> dict[str, str]:
    from safetensors import safe_open

    def read(file: Path) -> dict[str, str]:
        with safe_open(file, "pt") as opened:
            return opened.metadata() or {}

    file = _weights(path)
    return _trusting(file, read) if file.is_file() else {}


def card(encoder: nn.Module, about: dict, seen: bool = False) -> str:
    """The model card. What `about` does not say is said to be unknown."""
    rows = [f"| {told} | {str(about[key]).replace('|', '/')} |" for key, told in SAYS.items()
            if about.get(key) not in (None, "")]
    told = {key: about.get(key) or "unknown" for key in ("method", "dataset", "modality")}
    if isinstance(encoder, PatchEncoder):
        side = encoder.pixels
        one, call = "patches of a scan", (f"encoder(patches, places)  # grey values from 0 to 1 [B,N,{side},{side},1], "
                                          "their centres [B,N,3] in mm")
    else:
        axes = "H,W" if encoder.normalise.mean.ndim == 4 else "D,H,W"
        one, call = "an image", f"encoder(images)  # uint8 [B,{encoder.normalise.in_channels},{axes}]"
    return TEMPLATE.format(**told, description=encoder.describe(), parameters=count_parameters(encoder)["total"],
                           digest=digest(encoder.state_dict()), dim=encoder.dim, rows="\n".join(rows), one=one,
                           call=call, weights=WEIGHTS, version=VERSION, seen=SEEN * seen)


def load_encoder(path: str | Path) -> nn.Module:
    """The encoder of a safetensors file, of its folder, or of a pretraining's folder (ssl_config.json, ssl_encoder.pt).

    Nothing in such a file is run. What does not fit together is an error that says so.
    """
    path, weights = Path(path), _weights(path)
    if path.is_dir() and not weights.is_file() and (path / "ssl_config.json").is_file():
        try:
            config = json.loads((path / "ssl_config.json").read_text(encoding="utf-8"))
        except (OSError, ValueError, RecursionError) as error:
            raise MedsslError(f"{path / 'ssl_config.json'} cannot be read ({error}).",
                              "the settings of a pretraining") from error
        return encoder_of(config, path / "ssl_encoder.pt")
    if not weights.is_file():
        raise MedsslError(f"{weights} is not there.", f"{WEIGHTS}, or a folder of `medssl pretrain`",
                          "Is the path right?")
    return _trusting(weights, _of_safetensors)


def _weights(path: str | Path) -> Path:
    return Path(path) / WEIGHTS if Path(path).is_dir() else Path(path)


def _of_safetensors(file: Path) -> nn.Module:
    from safetensors import safe_open

    with safe_open(file, "pt") as opened:
        meta = opened.metadata() or {}
        if "encoder" not in meta:
            raise MedsslError(f"{file} does not say how its encoder is built.", "a file that medssl has exported",
                              "Load its tensors with safetensors.torch.load_file.")
        built, about = json.loads(meta["encoder"]), json.loads(meta.get("about", "{}"))
        return rebuild(built["backbone"], built.get("channels"), built.get("imagenet"), built["settings"],
                       {key: opened.get_tensor(key) for key in opened.keys()}, about)  # noqa: SIM118 (no dict)


def encoder_of(config: dict, weights: str | Path) -> nn.Module:
    """The encoder of ssl_encoder.pt, built as its ssl_config.json says."""

    def read(file: Path) -> nn.Module:
        settings = dict(config.get("backbone_settings", {}))
        imagenet = bool(settings.pop("weights", None))
        return rebuild(config["backbone"], config.get("channels", 1), imagenet, settings,
                       torch.load(file, map_location="cpu", weights_only=True), config)

    return _trusting(Path(weights), read, "both files of one pretraining",
                     "copy ssl_config.json and ssl_encoder.pt from week 4's folder, or run week 4 again")


def rebuild(name: str, channels: int | None, imagenet: bool | None, settings: dict, state: dict[str, Tensor],
            about: dict) -> nn.Module:
    """The encoder with these weights. First as a shape without memory: a file that lies about its size costs none."""
    settings = {key: tuple(value) if isinstance(value, list) else value for key, value in settings.items()}
    if more := settings.keys() - set(SHAPE):  # such as weights="imagenet", which would fetch them from the network
        raise ValueError(f"its settings name {', '.join(sorted(more))}, which is no matter of its shape")

    def build() -> nn.Module:
        return PatchEncoder(**settings) if name == PATCHES else encoder_to_fill(name, channels, imagenet, **settings)

    with torch.device("meta"):
        wanted = {key: list(value.shape) for key, value in build().state_dict().items()}
    if wanted != {key: list(value.shape) for key, value in state.items()}:
        raise ValueError(f"its weights are not those of {name} with {settings}, {channels} channels")
    if not all(value.isfinite().all() for value in state.values()):
        raise ValueError("some of its weights are no numbers (NaN)")
    encoder = build()
    encoder.load_state_dict(state)
    encoder.backbone = f"{about.get('method', 'loaded')} {about.get('epochs', '?')} epochs"
    return encoder


def _trusting(file: Path, read, expected: str = f"{WEIGHTS} as medssl has written it",
              todo: str = "It is damaged, or not of this package: fetch or export it again.") -> nn.Module:
    """read(file), with one kind of error for whatever a damaged or hostile file leads to."""
    from safetensors import SafetensorError

    try:
        return read(file)
    except (SafetensorError, UnpicklingError, LookupError, TypeError, AttributeError, ValueError, RuntimeError,
            EOFError, OSError, OverflowError, RecursionError) as error:
        if isinstance(error, MedsslError) and str(file) in error.wrong:
            raise
        why = (str(error).splitlines() or [type(error).__name__])[0][:200]
        raise MedsslError(f"{file} cannot be loaded as an encoder: {why}", expected, todo) from error
