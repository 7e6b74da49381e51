"""Soft-tissue sarcomas in real CT and MR: do frozen tokens find the tumour better than what sees little or nothing?

    export MEDSSL_TEST_DATA=...   # holds nifti/sts/STS_*_{CT,MR_T1}_{image,mask}.nii.gz
    python tests/experiments/sts_segmentation.py                           # the baselines and random encoders
    python tests/experiments/sts_segmentation.py --encoder encoder.safetensors --out sts.json

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
from pathlib import Path

import numpy as np
import torch

from medssl.data import read_volume, resample, scale_mr, window_ct
from medssl.evaluate import Case, as_tokens, fit_ellipsoid, fit_head, fit_intensity, paired_cases, score_cases
from medssl.models import ViT

VAL = 3


def read_cases(folder: Path, modality: str, mm: float) -> dict[str, Case]:
    """{patient: image in [0, 1] and tumour mask at a spacing of mm}."""
    cases = {}
    for path in sorted(folder.glob(f"STS_*_{modality}_image.nii.gz")):
        volume = resample(read_volume(path), mm)
        mask = resample(read_volume(str(path).replace("_image", "_mask")), mm, mode="nearest").array[0]
        image = window_ct(volume.array, "soft") if modality == "CT" else scale_mr(volume.array)
        cases[path.name[:7]] = Case(image, (mask > 0).long(), volume.spacing)
    return cases


def cross_validate(cases: list[Case], fit) -> np.ndarray:
    """Dice [patients]; fit(train, val) never sees the patient it is scored on."""
    out = []
    for k in range(len(cases)):
        ring = [cases[(k + step) % len(cases)] for step in range(1, len(cases))]
        val, train = ring[:VAL], ring[VAL:]
        out.append(score_cases(fit(train, val), val, [cases[k]])[0][0, 0])
    return np.array(out)


def with_tokens(encoders, cases: list[Case]) -> np.ndarray:
    """Dice [patients], the mean over encoders."""
    runs = []
    for encoder in encoders:
        patch = encoder.embed.kernel_size
        tokens = [as_tokens(encoder, case, patch) for case in cases]
        runs.append(cross_validate(tokens, lambda train, val, patch=patch: fit_head(train, val, patch)))
    return np.mean(runs, 0)


def random_encoders(patch: tuple[int, ...], seeds: int) -> list[ViT]:
    encoders = []
    for seed in range(seeds):
        torch.manual_seed(seed)
        encoders.append(ViT(patch=patch))
    return encoders


def main(arguments=None) -> dict:
    ask = argparse.ArgumentParser()
    ask.add_argument("--encoder", type=Path, nargs="*", default=[], help="one a pretraining seed")
    ask.add_argument("--modalities", nargs="*", default=["CT", "MR_T1"])
    ask.add_argument("--seeds", type=int, default=3, help="random encoders")
    ask.add_argument("--mm", type=float, default=3.0)
    ask.add_argument("--patch", type=int, nargs=3, default=(4, 4, 4), help="of the random encoders, in voxels")
    ask.add_argument("--out", type=Path)
    said = ask.parse_args(arguments)
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
        if said.encoder:
            from medssl import load_encoder

            found[f"encoder, {len(said.encoder)} seeds"] = with_tokens(map(load_encoder, said.encoder), cases)
        last = list(found)[-1] if said.encoder else name
        kept[modality] = {"patients": list(named), "mm": said.mm, "dice": {n: d.tolist() for n, d in found.items()},
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
