"""The images that the options of the command line ask for: a folder of one's own, its slices, several data sets."""

import re
from pathlib import Path

from medssl.cli_given import in_options, numbers
from medssl.errors import MedsslError


@in_options()
def own_images(path: Path, size: list[int] | None, own: dict, seed: int):
    """The images of a folder, own: the options of FOLDER; what was not asked for is left to load_own."""
    from medssl.data import load_own
    from medssl.data.video import load_clip_folder

    spacing, frames = numbers("spacing", own.pop("spacing"), float), own.pop("frames", None)
    broken, columns = "skip" if own.pop("skip_broken") else "error", own.pop("label_column") or []
    own |= {"label_column": columns[0] if len(columns) == 1 else columns or None, "patients": own.pop("patient_column")}
    if own["labels"] is None:  # a config may name columns of a table that is not given
        own |= {"label_column": None, "patients": None, "split_column": None}
    given = {key: value for key, value in own.items() if value is not None}
    given |= {"broken": broken, "seed": seed, "folders": False}
    if frames is None:
        return load_own(path, size=size, spacing=spacing, **given)
    if spacing or len(size or [1]) != 1:
        raise MedsslError("--frames with --spacing, or with a size of three numbers.",
                          "one --size, the side of a frame", "Clips have no spacing; for volumes leave --frames out.")
    return load_clip_folder(path, frames=frames, **({"size": size[0]} if size else {}), **given)


@in_options()
def own_slices(path: Path, size: list[int] | None, own: dict, seed: int):
    """Slices of the NIfTI volumes in a folder, of --modality CT or MR or of each --kind; None where it holds none."""
    from medssl.data.folder_listing import files_below
    from medssl.data.slices import load_slices
    from medssl.data.volume_folders import NIFTI

    if not any(file.name.lower().endswith(NIFTI) for file in files_below(path)):
        return None
    wrong = [f"--{name}" for name in ("labels", "spacing", "frames") if own[name] is not None]
    kinds = {own["modality"]: (own["modality"], own["only"])}
    if own["kind"]:
        asked = [re.fullmatch("([^=]+)=(CT|MR):(.+)", text) for text in own["kind"]]
        wrong += ["a --kind that is no NAME=CT:FILES or NAME=MR:FILES"] * (None in asked)
        wrong += ["--kind beside --modality or --only"] * (own["modality"] is not None or own["only"] != "*")
        kinds = {match[1]: (match[2], match[3]) for match in asked if match}
    else:
        wrong += ["no --modality of CT or MR"] * (own["modality"] not in ("CT", "MR"))
    wrong += [f"--midline {own['midline']}, which is not find or middle"] * (own["midline"] not in (
        None, "find", "middle"))
    wrong += ["--size of three numbers"] * (len(size or []) > 1)
    if wrong:
        raise MedsslError(f"Slices of NIfTI volumes with {' and '.join(wrong)}.",
                          "--modality CT (seen through --window) or MR (scaled by its own percentiles)",
                          "unet-mim takes axial slices: --size is one side of a slice, --only picks volumes by name.")
    given = {"size": size[0]} if size else {}
    given |= {key: own[key] for key in ("patient", "midline") if own[key]}
    return load_slices(path, kinds, window=own["window"] or "soft", broken="skip" if own["skip_broken"] else "error",
                       seed=seed, **given)


def several_sets(keys: str, values: dict):
    """The data sets of these keys, and the folder's images if there are some, as one; a label is where it is from."""
    from medssl.data import ImageData, load, together

    folder = [values["dataset"]] if isinstance(values["dataset"], ImageData) else []
    sets = [load(key, values["root"], values["size"] if not folder else None) for key in keys.split(",")]
    return together([*folder, *sets], size=max(data.size for data in [*folder, *sets]))


def own_views(values: dict, views: dict | None, said_by: dict):
    """Of a folder's images: the config's views, unless the command line names a strength. "ssl" lets a method that
    predicts from masks take its own."""
    from medssl.recipes.learners import MASKED
    from medssl.views import Augment
    from medssl.views.presets import STRENGTHS

    if values["augment"] not in STRENGTHS:
        raise MedsslError(f"There is no strength {values['augment']!r}.", f"one of {', '.join(STRENGTHS)}.")
    if "augment" in said_by:
        return Augment(**STRENGTHS[values["augment"]])
    return "ssl" if values["method"] in (*MASKED, "unet_mim") else Augment(**views or STRENGTHS["ssl"])
