"""What the UNet of week 13 learns, with the patches in sight and hidden: the tables of reports/unet_mim.md.

    export MEDSSL_DATA=...        # the folder of breastmnist.npz
    export MEDSSL_TEST_DATA=...   # holds nifti/*.nii.gz and nifti/sts/STS_*_{CT,MR_T1}_{image,mask}.nii.gz
    python tests/experiments/unet_mim_reference.py train     # 30 runs of some 90 s of a core
    python tests/experiments/unet_mim_reference.py report    # the one look at the test images; writes the page

All is kept in runs/unet_mim; a run that is there is not made again. Nothing is chosen: the settings are the plan's, in a
quarter of its size.

Two sources. BreastMNIST: pretrained on its train split, probed and drawn on its test split. Slices: pretrained on axial
slices of CT and MR volumes of trunks, heads and necks, probed and drawn on patients with a sarcoma, none of whom they
show: does an axial slice cut the tumour? Each patient in turn is the test, three others choose C, seven train, as in
sts_segmentation.py.
"""

import argparse
import json
import os
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import torch
from torch.nn import functional as F

from medssl import data, evaluate, figures, losses, methods, recipes
from medssl.data import ImageData, slices
from medssl.models import UNet
from medssl.views import Halves

REPO = Path(__file__).resolve().parents[2]
KEPT, PAGE = REPO / "runs/unet_mim", REPO / "reports/unet_mim.md"
SEEDS, STEPS, BATCH, DRAWS, FRACTIONS, RING = 3, 200, 32, 10, (0.1, 1.0), 3
VIEWS = Halves(48, 4, radius=0.5)  # 12 x 12 patches and 25 of 72 hidden, as at 192 pixels; the radius a quarter, too
VARIANTS = {
    "reconstruct, in sight": {"contrast_weight": 0.0},
    "reconstruct, hidden": {"contrast_weight": 0.0, "mask_input": True},
    "contrast": {"recon_weight": 0.0},
    "both, in sight": {},
    "both, hidden": {"mask_input": True},
}
KINDS = {"CT": ("CT", "ct_*[!g].nii.gz"), "MR": ("MR", "mr_[hnpt]*[!g].nii.gz")}  # what has a midline; no label maps


def nifti() -> Path:
    return Path(os.environ["MEDSSL_TEST_DATA"]) / "nifti"


@cache
def source(name: str) -> ImageData:
    """What is pretrained on."""
    if name == "breastmnist":
        return data.load(name)
    return slices.load_slices(nifti(), KINDS, patient="[a-z]+_[a-z]+_[a-z0-9]+", size=96, each=48,
                              fractions=(0.8, 0.2, 0.0))


def train() -> None:
    for seed in range(SEEDS):
        for name in ("breastmnist", "slices"):
            for variant, settings in VARIANTS.items():
                at = KEPT / name / f"{variant.replace(', ', '_')}_{seed}.json"
                if at.exists():
                    continue
                run = recipes.pretrain_unet_mim(source(name), steps=STEPS, batch_size=BATCH, views=VIEWS, seed=seed,
                                                device="cpu", precision="fp32", quiet="silent", **settings)
                at.parent.mkdir(parents=True, exist_ok=True)
                torch.save(run.encoder.state_dict(), at.with_suffix(".pt"))
                at.write_text(json.dumps({"source": name, "variant": variant, "seed": seed, "seconds": run.seconds,
                                          "warning": run.warning, "config": run.config, "history": run.history},
                                         indent=1, default=str))
                print(name, variant, seed, run, run.warning, flush=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["train", "report"])
    train()
