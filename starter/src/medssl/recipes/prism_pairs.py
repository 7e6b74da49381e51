"""One pair of views through a trained run: where the views lie, what they show, and what the heads say of them."""

from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch

from medssl.data.catalog import ScanRecord
from medssl.data.pair_batches import collate, load_scan, mixed
from medssl.errors import MedsslError
from medssl.methods import Prism
from medssl.recipes.prism import build_prism
from medssl.recipes.prism_config import PrismConfig
from medssl.recipes.prism_proxies import measure
from medssl.recipes.prism_scans import how, scans_of
from medssl.settings import build
from medssl.train import load_newest
from medssl.views.pair_views import draw_view, look, pair_targets
from medssl.views.patches import scan_frame

ROWS = {  # {head: (what each of its numbers is, its unit)}
    "distance": (("distance of the centres",), "mm"),
    "rotation": (("rotation about left-right", "about back-front", "about feet-head"), "°"),
    "window_center": (("window centre, B - A",), "spreads of the scan"),
    "window_width": (("window width, ln(B / A)",), ""),
}
SIGNS = {"direction": (("B lies to the right of A", "in front of A", "above A"), "in A's own frame"),
         "window_center": (("B's window centre is higher",), ""), "window_width": (("B's window is wider",), "")}


class Pair(NamedTuple):
    """Two views of a scan, for figures.pair_places and figures.view_mosaics, and the answers."""

    picture: np.ndarray  # [Z,Y,X] in [0, 1]
    spacing: np.ndarray  # mm (z, y, x)
    places: dict[str, tuple]  # {view: (centre, places) in voxels (z, y, x)}
    shown: dict[str, tuple]  # {view: (patches, positions in mm)}
    answers: list[dict]  # rows {"what", "unit", "predicted", "true"}


def config_of_run(tree: dict, catalog: str = "") -> PrismConfig:
    """The settings of a run as they were written down, with another catalog where its own is not on this machine.
    Report and cache of the preflight serve where they are here, and are not needed."""
    data = dict(tree.get("data", {}))
    data |= {name: "" for name in ("report_path", "cache_path") if not Path(data.get(name, "")).expanduser().exists()}
    data |= {"catalog_path": catalog} if catalog else {}
    config = build(PrismConfig, tree | {"data": data}, "the run's config")
    if not Path(config.data.catalog_path).is_file():
        raise MedsslError(f"The catalog {config.data.catalog_path} is not on this machine.",
                          "the table of scans that the run learnt from, or another with scans to look at",
                          "Write its path into the field *catalog*.")
    return config


def trained(config: PrismConfig, folder: str | Path) -> tuple[Prism, int]:
    """(the method with the weights of the newest checkpoint in a folder, the step it is of)."""
    state = load_newest(Path(folder))
    if state is None:
        raise MedsslError(f"There is no checkpoint in {folder}.", "checkpoint-….pt, which training leaves there",
                          "Choose a run that has come to its first checkpoint, and whose folder was not cleaned up.")
    method = build_prism(config)
    try:
        method.load_state_dict(state["method"])
    except (LookupError, RuntimeError, TypeError) as error:
        raise MedsslError(f"The checkpoint in {folder} is not of a run with this config.",
                          str(error).splitlines()[0][:200]) from error
    return method.eval(), int(state["step"])


def scans_to_see(config: PrismConfig) -> tuple[list[ScanRecord], bool]:
    """(scans of patients that the run never saw, True), or where nobody is held out (those it learnt from, False)."""
    train, held = scans_of(config)
    return (held, True) if held else (train, False)


def see_pair(method: Prism, config: PrismConfig, record: ScanRecord, visit: int = 0) -> Pair:
    """The visit-th pair of a scan, the one that the proxies are measured on."""
    scan = load_scan(record, config.data.cache_path or None)
    told = how(config)
    patch_mm, told = told["patch_mm"], {name: told[name] for name in ("n_patches", "prism_mm", "max_degrees")}
    own = np.random.default_rng(mixed(0, record.scan_id, visit)).spawn(2)  # as views.pair_views draws them
    views = {f"view {name}": draw_view(scan, rng=rng, **told) for name, rng in zip("AB", own, strict=True)}
    seen = [look(scan, view, patch_mm) for view in views.values()]
    a, b = views.values()
    item = {"patches_a": seen[0][0], "positions_a": a.positions.astype(np.float32), "patches_b": seen[1][0],
            "positions_b": b.positions.astype(np.float32), "valid_fraction": np.stack([valid for _, valid in seen]),
            **pair_targets(scan, a, b)}
    of = measure(method, [collate([item], [record], {record.series_id: 0})])
    grey = scan.codes.astype(np.float32) * scan.scale + scan.offset
    picture = np.clip((grey - scan.stats.median) / (8 * scan.stats.spread) + 0.5, 0, 1)
    inverse = np.linalg.inv(scan.affine)

    def voxels(points: np.ndarray) -> np.ndarray:
        return (points @ inverse[:3, :3].T + inverse[:3, 3])[..., ::-1]

    frame = scan_frame(scan.affine)
    places = {name: (voxels(view.centre), voxels(view.centre + view.positions @ view.rotation @ frame.T))
              for name, view in views.items()}
    shown = {name: (patches, view.positions) for (name, view), (patches, _) in zip(views.items(), seen, strict=True)}
    spacing = np.linalg.norm(scan.affine[:3, :3], axis=0)[::-1]
    return Pair(picture, spacing, places, shown, _answers(of, method.head_mode))


def _answers(of: dict[str, torch.Tensor], mode: str) -> list[dict]:
    rows = []
    for head, (names, unit) in (SIGNS if mode == "sign" else ROWS).items():
        said, wanted = of[f"said_{head}"][0], of[f"wanted_{head}"][0]
        said = said.sigmoid() if mode == "sign" else said
        for name, one, other in zip(names, said.tolist(), wanted.tolist(), strict=True):
            rows.append({"what": name, "unit": "probability" if mode == "sign" else unit, "predicted": one,
                         "true": other})
    return rows
