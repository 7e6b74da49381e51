"""`medssl pretrain dino3d`: whole scans of a folder, each of its own size, in; an encoder of crops out."""

import json
from collections.abc import Collection
from inspect import signature
from pathlib import Path

from medssl.cli_given import logging_to, numbers, settings_of
from medssl.errors import MedsslError

TAKES = ("data", "labels", "image_column", "label_column", "patient_column", "split_column", "only", "skip_broken",
         "modality", "window", "name", "config", "steps", "batch_size", "lr", "weight_decay", "seed", "vit_size",
         "patch", "size", "momentum", "device", "precision", "wandb", "out", "fresh", "setting", "method")
PLAIN = ("steps", "batch_size", "lr", "weight_decay", "seed", "vit_size", "momentum", "device", "precision")
BUDGET = {"steps": 2000, "batch_size": 8}  # where nobody says otherwise


def pretrain_scans(values: dict, asked: Collection[str]) -> None:
    """Read the scans, pretrain, write the folder. values: the options of `medssl pretrain`; asked: those that were
    given, for what is default there belongs to other methods."""
    from medssl.data import WINDOWS, load_scans
    from medssl.recipes.dino3d import pretrain_dino3d, sort_settings

    if foreign := [key for key in asked if key not in TAKES]:
        raise MedsslError(f"dino3d has no {', '.join('--' + key.replace('_', '-') for key in foreign)}.",
                          "its settings are given as --set KEY=VALUE", "leave them out")
    if values["data"] is None:
        raise MedsslError("dino3d learns from whole scans.", "--data DIR (NIfTI, DICOM series), --modality CT or MR")
    settings = BUDGET | settings_of(values["config"], values["setting"])
    settings |= {key: values[key] for key in PLAIN if key in asked}
    for key, name in (("size", "global_size"), ("patch", "patch")):
        if key in asked:
            found = numbers(key, values[key], int)
            settings[name] = found[0] if len(found) == 1 else tuple(found)
    if "window" in asked:
        if values["window"] not in WINDOWS:
            raise MedsslError(f"There is no window {values['window']!r}.", f"one of {', '.join(WINDOWS)}")
        settings["window"] = WINDOWS[values["window"]]
    if "wandb" in asked:
        settings["wandb"] = {"project": logging_to(values["wandb"])}
    own = set(signature(pretrain_dino3d).parameters) - {"volumes", "watch", "model", "out", "resume", "settings"}
    sort_settings({key: value for key, value in settings.items() if key not in own})  # a typo, before any scan is read
    columns = values["label_column"] or []
    parts = load_scans(values["data"], values["labels"], values["image_column"],
                       (columns[0] if len(columns) == 1 else columns) or None, modality=values["modality"],
                       only=values["only"], patients=values["patient_column"], split_column=values["split_column"],
                       broken="skip" if values["skip_broken"] else "error", seed=settings.get("seed", 0))
    print(", ".join(f"{len(part)} scans in {name}" for name, part in parts.items()), flush=True)
    folder = Path(values["out"] or f"runs/{values['data'].resolve().name}_dino3d_seed{settings.get('seed', 0)}")
    if settings.get("device") == "auto":
        del settings["device"]
    try:
        run = pretrain_dino3d(parts["train"], watch=parts["val"] or None, out=folder / "checkpoints",
                              resume=not values["fresh"], **settings)
    except (KeyboardInterrupt, SystemExit):
        print("stopped: the same command (without --fresh) goes on from here", flush=True)
        raise
    _write(folder, run, parts["train"], values["name"], settings)


def _write(folder: Path, run, scans: list, called: str | None, settings: dict) -> None:
    """The encoder for others, its card, what it was made with, its history."""
    from medssl.course.provenance import environment
    from medssl.data import image_hashes
    from medssl.data.volume_folders import on_grid
    from medssl.files import write_atomic
    from medssl.models.export import save_encoder

    side, mm = run.config["image_size"].split("×"), run.config["spacing"]
    windows = {"window": run.views.settings["window"]}
    seen = [image_hashes(on_grid(scan, [int(n) for n in side], mm, **windows)[None])[0] for scan in scans]
    about = run.config | {"dataset": called or "images of one's own", "images": len(scans)}
    path = save_encoder(folder, run.encoder, about, seen)
    write_atomic(folder / "ssl_config.json", json.dumps(run.config | {"said": settings}, indent=2, default=str) + "\n")
    write_atomic(folder / "env.json", json.dumps(environment(), indent=2) + "\n")
    write_atomic(folder / "history.jsonl", "".join(json.dumps(row) + "\n" for row in run.history))
    print("\n".join(line for line in (str(run), run.warning, f"written: {folder}") if line))
    print(f"next: read history.jsonl, then `medssl evaluate {path}` with labels. MODEL_CARD.md is to be completed "
          "before the encoder goes to anybody")
