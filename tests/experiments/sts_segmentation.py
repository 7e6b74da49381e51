"""Soft-tissue sarcomas in real CT and MR: do frozen tokens find the tumour better than what sees little or nothing?

    export MEDSSL_TEST_DATA=...   # holds nifti/sts/STS_*_{CT,MR_T1}_{image,mask}.nii.gz
    python tests/experiments/sts_segmentation.py                           # the baselines and random encoders
    python tests/experiments/sts_segmentation.py --encoder encoder.safetensors --pretrained-on "phantoms" --out sts.json
    python tests/experiments/sts_segmentation.py --pretrain 200 --mm 4 --out sts.json    # V-JEPA, one encoder a fold
    python tests/experiments/sts_segmentation.py --pretrain 200 --source phantoms        # … or one for all folds

An encoder that was pretrained on the test patient, labels or not, knows the test image. So one that has met patients of
this set is allowed in those folds only in which it has not met the test patient: --encoder "runs/{patient}" names one a
fold, and a path without {patient} needs --pretrained-on, in words, which go into the JSON beside what the file says
itself. --pretrain makes them here: V-JEPA (EMA) on crops of all patients but the one who is tested, or of phantoms
("both": the two together). It is a small network for a CPU, cut off early, and no measure of what V-JEPA can do. What
was pretrained is kept in runs/sts and goes on from there.

Each patient in turn is the test case; the next three (in order of their numbers, round the end) choose C and threshold,
the others train. All is done, and Dice counted, at one spacing, CT in the soft-tissue window, MR between percentiles.
Dice of a patient is the mean over seeds; intervals draw patients. The crops are centred on the tumour, with a margin of
50 mm in CT: the ellipsoid finds that margin, and so most of the tumour, without an image. Tokens know their place, too:
"blank images" says how far that alone takes them.
"""

import argparse
import json
import os
import time
from collections.abc import Callable, Iterable
from functools import cache, partial
from pathlib import Path

import numpy as np
import torch

from medssl import load_encoder, recipes
from medssl.data import ImageData, Split, Volume, read_volume, resample, scale_mr, window_ct
from medssl.data.phantom_volumes import ct_phantom, mr_phantom
from medssl.evaluate import Case, as_tokens, fit_ellipsoid, fit_head, fit_intensity, paired_cases, score_cases
from medssl.models import ViT
from medssl.models.export import WEIGHTS

VAL, PHANTOMS, CROPS = 3, 20, 16  # patients, phantom scans, crops of each scan
KEPT = Path(__file__).resolve().parents[2] / "runs/sts"
SOURCES = ("patients", "phantoms", "both")


def read_cases(folder: Path, modality: str, mm: float) -> dict[str, Case]:
    """{patient: image in [0, 1] and tumour mask at a spacing of mm}."""
    cases = {}
    for path in sorted(folder.glob(f"STS_*_{modality}_image.nii.gz")):
        volume = resample(read_volume(path), mm)
        mask = resample(read_volume(str(path).replace("_image", "_mask")), mm, mode="nearest").array[0]
        cases[path.name[:7]] = Case(grey(volume, modality), (mask > 0).long(), volume.spacing)
    return cases


def grey(volume: Volume, modality: str) -> torch.Tensor:
    return window_ct(volume.array, "soft") if modality == "CT" else scale_mr(volume.array)


def one_fold(cases: list[Case], k: int, fit) -> float:
    """Dice of patient k; fit(train, val) never sees that patient."""
    ring = [cases[(k + step) % len(cases)] for step in range(1, len(cases))]
    val, train = ring[:VAL], ring[VAL:]
    return score_cases(fit(train, val), val, [cases[k]])[0][0, 0]


def cross_validate(cases: list[Case], fit) -> np.ndarray:
    """Dice [patients]."""
    return np.array([one_fold(cases, k, fit) for k in range(len(cases))])


def with_tokens(encoders: Iterable[ViT], cases: list[Case]) -> np.ndarray:
    """Dice [patients], the mean over encoders, each of which has met none of the patients."""
    return np.mean([with_folds(lambda k, encoder=encoder: encoder, cases) for encoder in encoders], 0)


def with_folds(encoder_of: Callable[[int], ViT], cases: list[Case]) -> np.ndarray:
    """Dice [patients]; encoder_of(k) is the one that has not met patient k."""
    out, tokens, last = [], [], None
    for k in range(len(cases)):
        encoder = encoder_of(k)
        patch = encoder.embed.kernel_size
        if encoder is not last:
            tokens, last = [as_tokens(encoder, case, patch) for case in cases], encoder
        out.append(one_fold(tokens, k, lambda train, val, patch=patch: fit_head(train, val, patch)))
    return np.array(out)


def crops(images: Iterable[torch.Tensor], side: int, n: int, seed: int) -> torch.Tensor:
    """uint8 [N,1,side,side,side]: n from each image [1,Z,Y,X] in [0, 1], anywhere in it; small ones padded with 0."""
    rng, found = np.random.default_rng(seed), []
    for image in images:
        short = [max(0, side - have) for have in image.shape[:0:-1]]  # the last axis first, as F.pad asks for
        image = torch.nn.functional.pad(image, [part for lack in short for part in (lack // 2, lack - lack // 2)])
        for _ in range(n):
            cut = [slice(at := int(rng.integers(0, have - side + 1)), at + side) for have in image.shape[1:]]
            found.append((image[:, *cut] * 255).round().to(torch.uint8))
    return torch.stack(found)


def phantom_scans(modality: str, mm: float) -> list[torch.Tensor]:
    """Trunks of which nothing is real, at the spacing of the patients: no patient can be recognised in them."""
    make, shape = (ct_phantom, mr_phantom)[modality != "CT"], tuple(round(360 / mm) for _ in range(3))
    return [grey(make(seed, shape, (mm,) * 3).image, modality) for seed in range(PHANTOMS)]


def unlabelled(named: dict[str, Case], modality: str, test: str | None, source: str, mm: float, side: int) -> ImageData:
    """Crops to pretrain on, without a voxel of the test patient. val is only watched: crops of the same scans."""
    scans = [case.image for name, case in named.items() if name != test] if source != "phantoms" else []
    scans += phantom_scans(modality, mm) if source != "patients" else []
    parts = [crops(scans, side, n, seed) for seed, n in enumerate((CROPS, 1, 1))]
    splits = [Split(part, torch.zeros(len(part), dtype=torch.int64)) for part in parts]
    splits[2] = Split(parts[2][:0], splits[2].labels[:0])
    return ImageData(f"sts_{modality}_without_{test or 'any'}", *splits, ("unlabelled",), modality, "CC BY 3.0",
                     source != "patients", side, (mm,) * 3)


def pretrained(named: dict[str, Case], modality: str, test: str | None, seed: int, said) -> ViT:
    """V-JEPA's encoder of one fold. test=None: of phantoms, the same for all folds."""
    data = unlabelled(named, modality, test, said.source, said.mm, said.crop)
    torch.manual_seed(seed)
    model = ViT(patch=tuple(said.patch), spacing=(said.mm,) * 3)
    name = f"{modality}_{said.source}_{test or 'all'}_{said.mm:g}mm_{said.crop}_{said.pretrain}_{seed}"
    run = recipes.pretrain(data, "vjepa", model=model, seed=seed, steps=said.pretrain, batch_size=8, lr=1e-3,
                           weight_decay=0.04, masks="blocks_3d", foreground=0.05, out=KEPT / name, quiet="silent")
    print(f"  {name}: {run}{' ' + run.warning if run.warning else ''}", flush=True)
    return run.encoder


def random_encoders(patch: tuple[int, ...], seeds: int) -> list[ViT]:
    encoders = []
    for seed in range(seeds):
        torch.manual_seed(seed)
        encoders.append(ViT(patch=patch))
    return encoders


def learnt(named: dict[str, Case], modality: str, said) -> dict[str, tuple[np.ndarray, dict]]:
    """{name: (Dice [patients], what the encoders were pretrained on)} of those that are given, and made here."""
    cases, patients, found, load = list(named.values()), list(named), {}, cache(load_encoder)
    if said.encoder:
        runs = [with_folds(lambda k, path=path: load(path.format(patient=patients[k])), cases)
                for path in said.encoder]
        first = {path: says(Path(path.format(patient=patients[0]))) for path in said.encoder}
        found[f"encoder, {len(runs)} seeds"] = np.mean(runs, 0), {
            "said": said.pretrained_on or "one encoder a fold", "its file says": first}
    if said.pretrain:
        make, runs = partial(pretrained, named, modality, said=said), []
        for seed in range(said.pretrain_seeds):
            shared = make(None, seed) if said.source == "phantoms" else None
            runs.append(with_folds(lambda k, shared=shared, seed=seed: shared or make(patients[k], seed), cases))
        found[f"V-JEPA, {len(runs)} seeds"] = np.mean(runs, 0), {
            "source": said.source, "an encoder a fold": said.source != "phantoms", "steps": said.pretrain,
            "crop": said.crop, "crops of a scan": CROPS, "phantoms": 0 if said.source == "patients" else PHANTOMS}
    return found


def says(path: Path) -> dict:
    """What an exported encoder's file tells of its pretraining."""
    from safetensors import safe_open

    with safe_open(path / WEIGHTS if path.is_dir() else path, "pt") as opened:
        about = json.loads((opened.metadata() or {}).get("about", "{}"))
    return {key: about[key] for key in ("method", "dataset", "images", "steps", "split_hash", "seed") if key in about}


def main(arguments=None) -> dict:
    ask = argparse.ArgumentParser()
    ask.add_argument("--encoder", nargs="*", default=[], help="one a pretraining seed; with {patient} one a fold, too")
    ask.add_argument("--pretrained-on", help="what those without {patient} have met: no patient of it")
    ask.add_argument("--pretrain", type=int, default=0, metavar="STEPS", help="V-JEPA, here and now; 0: no")
    ask.add_argument("--source", choices=SOURCES, default="patients", help="what --pretrain learns from")
    ask.add_argument("--pretrain-seeds", type=int, default=1)
    ask.add_argument("--crop", type=int, default=24, help="side of what --pretrain learns from, in voxels")
    ask.add_argument("--modalities", nargs="*", default=["CT", "MR_T1"])
    ask.add_argument("--seeds", type=int, default=3, help="random encoders")
    ask.add_argument("--mm", type=float, default=3.0)
    ask.add_argument("--patch", type=int, nargs=3, default=(4, 4, 4), help="of the random encoders, in voxels")
    ask.add_argument("--out", type=Path)
    said = ask.parse_args(arguments)
    if said.encoder and not said.pretrained_on and not all("{patient}" in path for path in said.encoder):
        ask.error("an encoder for all folds has met no patient of this set: say with --pretrained-on what it has met, "
                  "or name one a fold with {patient}")
    kept = {}
    for modality in said.modalities:
        named = read_cases(Path(os.environ["MEDSSL_TEST_DATA"]) / "nifti/sts", modality, said.mm)
        cases, found, start = list(named.values()), {}, time.time()
        found["ellipsoid, no pixel"] = cross_validate(cases, fit_ellipsoid)
        found["grey values"] = cross_validate(cases, fit_intensity)
        name = f"random ViT, {said.seeds} seeds"
        found[name] = with_tokens(random_encoders(tuple(said.patch), said.seeds), cases)
        blank = [case._replace(image=torch.zeros_like(case.image)) for case in cases]
        found["random ViT, blank images"] = with_tokens(random_encoders(tuple(said.patch), 1), blank)
        about = {}
        for what, (values, source) in learnt(named, modality, said).items():
            name, found[what], about[what] = what, values, source
        last = name
        kept[modality] = {"pretrained on": about, "patients": list(named), "mm": said.mm, "patch": list(said.patch),
                          "dice": {n: d.tolist() for n, d in found.items()},
                          "mean": {name: paired_cases(d) for name, d in found.items()},
                          f"{last}, less": {n: paired_cases(found[last], d) for n, d in found.items() if n != last}}
        print(f"{modality}: {len(cases)} patients, {said.mm} mm, {time.time() - start:.0f} s")
        for name, d in found.items():
            lead = "" if name == last else "   {} less this: {:+.3f} [{:+.3f}, {:+.3f}]".format(
                last, *(kept[modality][f"{last}, less"][name][key] for key in ("mean", "lo", "hi")))
            print("  {:24} Dice {mean:.3f} [{lo:.3f}, {hi:.3f}]".format(name, **paired_cases(d)) + lead, flush=True)
    if said.out:
        said.out.write_text(json.dumps(kept, indent=2) + "\n")
    return kept


if __name__ == "__main__":
    main()
