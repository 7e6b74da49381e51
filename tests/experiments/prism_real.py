"""Prism on real CT and MR: the verdicts, ratios and proxies of reports/prism.md.

    python tests/experiments/prism_real.py FOLDER run                 # every arm and fold that is missing
    python tests/experiments/prism_real.py FOLDER run --arm default --fold 0   # that one only
    python tests/experiments/prism_real.py FOLDER report              # tables of what was kept, in runs/prism_real
    python tests/experiments/prism_real.py FOLDER control             # made scans, in which a rotation shows

FOLDER holds NIfTI files, modality and patient in their names (see `patient`). Preflight judges all of them, masks too.
Patients go into three folds: each fold's are held out once, by a network trained on all others for 500 steps. So every
patient is measured on once, and an interval draws patients.

An arm is a way to train. Places alone tell a lot where scans are small: a view's box is half of a short scan, so its
places say how large the scan is, and with that how far two views are apart and, nearly, which scan it is. So each
network is also asked with all patches grey, and "small box" has a box that fits into every scan. "turns of 45°"
instead of 20° asks what rotations need.
"""

import argparse
import csv
import json
import time
from pathlib import Path

import numpy as np
import torch

from medssl.data.catalog import ScanRecord
from medssl.data.pair_batches import LoadedScan, collate, mixed, sample
from medssl.data.preflight import preflight
from medssl.data.scan_cache import cached_scan
from medssl.data.scan_stats import scan_stats
from medssl.evaluate.bootstrap import intervals_of
from medssl.evaluate.collapse import rankme
from medssl.recipes.prism import build_prism, read_config, train_prism
from medssl.recipes.prism_proxies import measure, retrieved
from medssl.recipes.prism_scans import held_out_batches, open_source
from medssl.train import load_newest
from medssl.views.pair_views import draw_view, pair_targets

KEPT = Path(__file__).resolve().parents[2] / "runs/prism_real"
FOLDS, VISITS, HEADS = 3, 16, ("distance", "rotation", "window_center", "window_width")
ONE_PERSON = {"totalseg": "totalseg", "px0000": "px0000", "mr_neck_sct": "sct"}  # files that are, or may be, of one
SETTINGS = ("train.max_steps=500", "train.batch_size=16", "data.distinct_series_per_batch=8", "data.n_patches=32",
            "train.lr=1e-3", "train.log_every=50", "train.precision=fp32", "loss.supcon_warmup_steps=100",
            "loss.supcon_ramp_steps=200", "data.workers=0", "data.storage_mode=cached", "runtime.device=cpu",
            "wandb.mode=disabled")
ARMS = {"default": (), "small box": ("data.prism_mm=20", "data.patch_mm=8"), "turns of 45°": ("data.max_degrees=45",)}


def patient(name: str) -> str:
    """STS_002_CT_image.nii.gz is of STS_002; other files are of one person each, but for ONE_PERSON."""
    if name.startswith("STS_"):
        return name[:7]
    return next((who for part, who in ONE_PERSON.items() if part in name), name.removesuffix(".nii.gz"))


def write_catalog(folder: Path) -> Path:
    """A row for each file, masks too: nobody has sorted them."""
    path = KEPT / "catalog.csv"
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["patient", "modality", "nifti_path"])
        for scan in sorted(folder.rglob("*.nii.gz")):
            kind = "CT" if scan.name.startswith("ct_") or "_CT_" in scan.name else "MR"
            writer.writerow([patient(scan.name), kind, scan.relative_to(folder).as_posix()])
    return path


def folds(records: list[ScanRecord]) -> list[set[str]]:
    """Patients held out in each fold: those with a CT and an MR are dealt first, so that every fold has some."""
    kinds = {}
    for record in records:
        kinds.setdefault(record.patient, set()).add(record.modality)
    order = sorted(kinds, key=lambda who: (-len(kinds[who]), who))
    return [set(order[k::FOLDS]) for k in range(FOLDS)]


def distances(config, records: list[ScanRecord]) -> tuple[float, float]:
    """(mean, std) of the distance of two views, each scan as often as any other: the constants of a training set."""
    found = []
    for record in records:
        scan = cached_scan(record, config.data.cache_path)
        for k in range(50):
            views = (draw_view(scan, 1, rng, config.data.prism_mm, config.data.max_degrees)
                     for rng in np.random.default_rng(mixed("distances", record.scan_id, k)).spawn(2))
            found.append(pair_targets(scan, *views)["center_distance_mm"])
    return round(float(np.mean(found)), 1), round(float(np.std(found)), 1)


def blank(batch: dict) -> dict:
    """All patches grey; places stay."""
    return batch | {name: torch.full_like(batch[name], 0.5) for name in ("patches_a", "patches_b")}


def one_fold(arm: str, k: int, records: list[ScanRecord], catalog: Path, more: list[str]) -> dict:
    """Train without the patients of fold k, then ask about them."""
    held = [record for record in records if record.patient in folds(records)[k]]
    train = [record for record in records if record not in held]
    settings = [*SETTINGS, *ARMS[arm], f"data.catalog_path={catalog}", f"data.cache_path={KEPT / 'cache'}",
                f"train.seed={k}", f"checkpoint.folder={KEPT / 'runs'}", f"runtime.run_id={list(ARMS).index(arm)}-{k}",
                f"quota.folder={KEPT}", f"runtime.scratch={KEPT / 'scratch'}", *more]
    mean, std = distances(read_config(None, settings), train)
    config = read_config(None, [*settings, f"loss.distance_mean_mm={mean}", f"loss.distance_std_mm={std}"])
    untrained, begun, used = build_prism(config), time.perf_counter(), time.process_time()
    result = train_prism(config, open_source(config, train))
    seconds, used = time.perf_counter() - begun, time.process_time() - used
    method = build_prism(config)
    method.load_state_dict(load_newest(Path(result.folder))["method"])
    batches = list(held_out_batches(config, held, VISITS))
    return {"arm": arm, "fold": k, "status": result.status, "seconds": seconds, "cpu_seconds": used,
            "steps": result.steps, "constants": (mean, std), "history": [
                json.loads(line) for line in (Path(result.folder) / "history.jsonl").read_text().splitlines()],
            "patient": [record.patient for record in held for _ in range(VISITS)],
            "scan": [Path(record.nifti_path).name for record in held for _ in range(VISITS)],
            "items": measure(method, batches), "blank": measure(method, map(blank, batches)),
            "untrained": measure(untrained, batches),
            "extent": [torch.cat([batch[f"positions_{view}"] for batch in batches]).std(1) for view in "ab"]}


def sums(one: dict, of: dict) -> dict[str, torch.Tensor]:
    """Numbers of each item that add up: errors, and those of who knows only what a constant can say."""
    out, scan = {}, np.array(one["scan"])
    for head in HEADS:
        said, wanted = of[f"said_{head}"], of[f"wanted_{head}"]
        if head in ("distance", "rotation"):
            constant = wanted.median(0).values if head == "distance" else wanted.mean(0)
            off, blind = (said - wanted).norm(dim=1), (constant - wanted).norm(dim=1)
        else:
            off, blind = (said - wanted)[:, 0] ** 2, (wanted.mean() - wanted)[:, 0] ** 2
        out |= {f"{head} error": off, f"{head} constant": blind}
    own = torch.cat([(rows - rows.median()).abs()[:, 0] for name in dict.fromkeys(scan)
                     for rows in [of["wanted_distance"][scan == name]]])  # items lie in the order of scans
    hit, chance = retrieved(of["a"], of["b"], of["label"])
    return out | {"distance own scan": own, "hit": hit, "chance": chance, "items": torch.ones(len(hit))}


def numbers(total: dict) -> dict:
    """The proxies, of sums over items."""
    out = {f"{head} ratio": total[f"{head} error"] / total[f"{head} constant"] for head in ("distance", "rotation")}
    out |= {f"{head} R²": 1 - total[f"{head} error"] / total[f"{head} constant"] for head in HEADS[2:]}
    out["window R²"] = (out["window_center R²"] + out["window_width R²"]) / 2
    return out | {"distance mm": total["distance error"] / total["items"],
                  "rotation °": total["rotation error"] / total["items"],
                  "distance ratio, own scan": total["distance error"] / total["distance own scan"],
                  "retrieval": total["hit"] / total["items"], "chance": total["chance"] / total["items"],
                  "retrieval lead": (total["hit"] - total["chance"]) / total["items"]}


def pooled(found: list[dict], which: str, other: str = "") -> dict[str, str]:
    """{number: "value [interval]"} of the items of all folds, or its lead over another's; patients are drawn."""
    who = np.concatenate([one["patient"] for one in found])
    people, column = np.unique(who, return_inverse=True)

    def by_patient(which):
        parts = [sums(one, one[which]) for one in found]
        return {name: np.bincount(column, torch.cat([part[name] for part in parts]).double().numpy(), len(people))
                for name in parts[0]}

    both = [by_patient(name) for name in (which, other) if name]

    def weighted(weights):
        all_of = [numbers({name: weights @ values for name, values in each.items()}) for each in both]
        return all_of[0] if len(all_of) == 1 else {name: all_of[0][name] - all_of[1][name] for name in all_of[0]}

    ends = intervals_of(weighted, np.zeros(len(people)), 2000, 0)
    sign = "+" if other else ""
    return {name: f"{value:{sign}.2f} [{ends[name][0]:{sign}.2f}, {ends[name][1]:{sign}.2f}]"
            for name, (value,) in weighted(np.ones((1, len(people)))).items()}


def report(found: dict[str, list[dict]]) -> str:
    lines = ["| pred_std / target_std | distance | rotation | window centre | window width |", "|---|---|---|---|---|"]
    for arm, each in found.items():
        for one in each:
            rows = [[row[f"ratio_{head}"] for row in one["history"]] for head in HEADS]
            cells = [f"{min(r):.3f}–{max(r):.3f}, last {r[-1]:.3f}" for r in rows]
            lines.append(f"| {arm}, fold {one['fold']} | {' | '.join(cells)} |")
    shown = ("distance mm", "distance ratio", "distance ratio, own scan", "rotation °", "rotation ratio",
             "window_center R²", "window_width R²", "window R²", "retrieval", "chance", "retrieval lead")
    asked = {"": ("items",), ", grey patches": ("blank",), ", untrained": ("untrained",),
             ", minus grey": ("items", "blank"), ", minus untrained": ("items", "untrained")}
    tables = {f"{arm}{more}": pooled(each, *which) for arm, each in found.items() for more, which in asked.items()}
    lines += ["", f"| held-out patients | {' | '.join(shown)} |", "|---" * (1 + len(shown)) + "|"]
    lines += [f"| {name} | {' | '.join(table[key] for key in shown)} |" for name, table in tables.items()]
    lines += ["", "| fold | CPU s | wall s | constants, mm | rank share | R@1 by extent of places | held out |",
              "|---|---|---|---|---|---|---|"]
    for arm, each in found.items():
        for one in each:
            both = torch.cat([one["items"]["a"], one["items"]["b"]])
            extents = torch.cat(one["extent"])
            a, b = ((part - extents.mean(0)) / extents.std(0) for part in one["extent"])
            by_place = retrieved(a, b, one["items"]["label"])[0].mean()
            lines.append(f"| {arm}, {one['fold']} | {one['cpu_seconds']:.0f} | {one['seconds']:.0f} | "
                         f"{one['constants']} | {rankme(both) / min(both.shape):.2f} | {by_place:.2f} | "
                         f"{', '.join(dict.fromkeys(one['patient']))} |")
    return "\n".join(lines)


def control(steps: int = 300) -> str:
    """Scans of stripes, from fresh pairs: R² of the rotation about each axis. They show the one about the third."""
    config = read_config(None, ["data.catalog_path=none", "loss.w_distance=0", "loss.w_window=0"])
    method, along = build_prism(config), np.arange(128)
    scans = []
    for k in range(4):
        wave = [np.sin(2 * np.pi * (along / mm + phase))
                for mm, phase in zip((12, 20), np.random.default_rng(k).uniform(size=2), strict=True)]
        codes = (400 * np.tanh(3 * wave[0]) + 120 * wave[1][:, None] + np.zeros((128, 1, 1))).astype(np.int16)
        scans.append(LoadedScan(codes, np.diag([1.0, 1, 1, 1]), scan_stats(torch.from_numpy(codes), "MR")))
    records = [ScanRecord(str(k), str(k), "MR", "", "") for k in range(4)] * 2
    optimiser, kept = torch.optim.AdamW(method.parameters(), 1e-3), []
    for step in range(steps):
        items = [sample(scans[k % 4], str(k), step, 0, n_patches=16, patch_mm=16.0) for k in range(8)]
        batch = collate(items, records, {str(k): k for k in range(4)})
        with torch.no_grad():
            said = method.raw("rotation", method.predict(method.both(batch))["rotation"])
        kept.append((said, batch["rotation_delta_deg"]))  # before the step that learns from this batch
        optimiser.zero_grad()
        method(batch)["loss_rotation"].backward()
        optimiser.step()
    said, wanted = (torch.cat(part[-50:]) for part in zip(*kept, strict=True))
    return f"R² {1 - (said - wanted).square().sum(0) / wanted.square().sum(0)}, ratio {said.std() / wanted.std():.2f}"


def verdicts(scans: list[dict]) -> str:
    """What preflight said of each file, with the numbers it goes by."""
    lines = ["| file | said to be | voxels | verdict | threshold, share above, median, spread |", "|---" * 5 + "|"]
    for one in sorted(scans, key=lambda one: one["path"]):
        of = one.get("stats")
        told = of and f"{of['threshold']:.0f}, {of['foreground']:.2f}, {of['median']:.0f}, {of['spread']:.0f}"
        lines.append(f"| {Path(one['path']).name.removesuffix('.nii.gz')} | {one['modality']} | "
                     f"{'×'.join(map(str, one['shape']))} | {one['reason'] or 'kept'} | {told or one['why']} |")
    return "\n".join([*lines, ""])


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("what", choices=["run", "report", "control"])
    parser.add_argument("--arm", choices=list(ARMS))
    parser.add_argument("--fold", type=int, choices=range(FOLDS))
    parser.add_argument("--set", action="append", default=[], help="part.key=value, as of medssl prism train")
    given = parser.parse_args()
    torch.set_num_threads(1)
    if given.what == "run":
        catalog = write_catalog(given.folder)
        judged = preflight(catalog, "full", KEPT / "preflight.json", KEPT / "cache", root=given.folder)
        print(judged.table())
        for arm in [given.arm] if given.arm else ARMS:
            for k in range(FOLDS) if given.fold is None else [given.fold]:
                file = KEPT / f"{arm}-{k}.pt"
                if not file.exists():
                    torch.save(one_fold(arm, k, judged.kept, catalog, given.set), file)
    elif given.what == "control":
        print(control())
    else:
        print(verdicts(json.loads((KEPT / "preflight.json").read_text())["scans"]))
        saved = {arm: [torch.load(file) for file in sorted(KEPT.glob(f"{arm}-?.pt"))] for arm in ARMS}
        print(report({arm: each for arm, each in saved.items() if each}))
