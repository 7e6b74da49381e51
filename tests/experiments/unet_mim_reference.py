"""What the UNet of week 13 learns, with the patches in sight and hidden: the tables of reports/unet_mim.md.

    export MEDSSL_DATA=...        # the folder of breastmnist.npz
    export MEDSSL_TEST_DATA=...   # holds nifti/*.nii.gz and nifti/sts/STS_*_{CT,MR_T1}_{image,mask}.nii.gz
    python tests/experiments/unet_mim_reference.py train     # 15 runs of about a minute of a core
    python tests/experiments/unet_mim_reference.py report    # the one look at the test images; writes the page
    python tests/experiments/unet_mim_reference.py render    # the page again, from runs/unet_mim/measured.json

All is kept in runs/unet_mim; a run that is there is not made again. Nothing is chosen: the settings are the plan's, at
a quarter of its size.

Each network is pretrained once on two sources together, the train split of BreastMNIST and axial slices of CT and MR
volumes (trunks, heads, necks), and looked at on two sets of images that it never met. BreastMNIST's test split: benign
or malignant? Slices of patients with a sarcoma: is the tumour in this slice? Each patient in turn is the test, three
others choose C, seven train, as in sts_segmentation.py.
"""

import argparse
import json
import os
import time
from functools import cache
from pathlib import Path

import numpy as np
import torch
from sklearn.metrics import roc_auc_score
from torch.nn import functional as F

from medssl import data, evaluate, figures, losses, methods, recipes
from medssl.data import ImageData, slices
from medssl.evaluate import over_runs
from medssl.models import UNet
from medssl.views import Halves

REPO = Path(__file__).resolve().parents[2]
KEPT, PAGE = REPO / "runs/unet_mim", REPO / "reports/unet_mim.md"
SEEDS, STEPS, BATCH, DRAWS, FRACTIONS, RING = 3, 120, 32, 10, (0.1, 1.0), 3
VIEWS = Halves(48, 4, radius=0.5)  # 12 x 12 patches and 25 of 72 hidden, as at 192 pixels; the radius a quarter, too
VARIANTS = {
    "reconstruct, in sight": {"contrast_weight": 0.0},
    "reconstruct, hidden": {"contrast_weight": 0.0, "mask_input": True},
    "contrast": {"recon_weight": 0.0},
    "both, in sight": {},
    "both, hidden": {"mask_input": True},
}
PAIRS = [*((variant, "random") for variant in VARIANTS), ("reconstruct, hidden", "reconstruct, in sight"),
         ("both, hidden", "both, in sight"), ("both, in sight", "contrast")]
KINDS = {"CT": ("CT", "ct_*[!g].nii.gz"), "MR": ("MR", "mr_[hnpt]*[!g].nii.gz")}  # what has a midline; no label maps


def nifti() -> Path:
    return Path(os.environ["MEDSSL_TEST_DATA"]) / "nifti"


@cache
def breast() -> ImageData:
    return data.load("breastmnist")


@cache
def pretrained_on() -> ImageData:
    volumes = slices.load_slices(nifti(), KINDS, patient="[a-z]+_[a-z]+_[a-z0-9]+", size=VIEWS.size, each=48,
                                 fractions=(0.8, 0.2, 0.0))
    return data.together([breast(), volumes], size=VIEWS.size)


def kept(variant: str, seed: int) -> Path:
    return KEPT / f"{variant.replace(', ', '_').replace(' ', '_')}_{seed}.json"


def train() -> None:
    KEPT.mkdir(parents=True, exist_ok=True)
    for seed in range(SEEDS):
        for variant, settings in VARIANTS.items():
            if (at := kept(variant, seed)).exists():
                continue
            start = time.process_time()
            run = recipes.pretrain_unet_mim(pretrained_on(), steps=STEPS, batch_size=BATCH, views=VIEWS, seed=seed,
                                            device="cpu", precision="fp32", quiet="silent", **settings)
            torch.save(run.encoder.state_dict(), at.with_suffix(".pt"))
            at.write_text(json.dumps({"cpu_seconds": time.process_time() - start, "warning": run.warning,
                                      "config": run.config, "history": run.history}, indent=1, default=str))
            print(variant, seed, run, run.warning, flush=True)


@cache
def patients(modality: str) -> dict[str, tuple]:
    """{patient: (slices uint8 [N,1,96,96], does it cut the tumour [N], how far from the stack's middle it is [N])}"""
    found = {}
    for path in sorted((nifti() / "sts").glob(f"STS_*_{modality}_image.nii.gz")):
        volume = data.read_volume(path, modality[:2])
        tumour = data.read_volume(str(path).replace("_image", "_mask")).array[0].flatten(1).any(1)
        z = slices.filled(volume, 24)
        found[path.name[:7]] = (slices.slices_of(volume, 96, 24, midline="middle"), tumour[z].numpy().astype(int),
                                (z - (len(tumour) - 1) / 2).abs().numpy())
    return found


def networks(variant: str) -> list[UNet]:
    """Those that were trained; "random": with the weights that they began with."""
    found = []
    for seed in range(SEEDS):
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            found.append(UNet().eval())
        if variant != "random":
            found[-1].load_state_dict(torch.load(kept(variant, seed).with_suffix(".pt"), weights_only=True))
    return found


def held_out(name: str) -> tuple[dict, np.ndarray]:
    """(the test images with their masks, whose they are [N]): in BreastMNIST each image is its own."""
    if name == "breastmnist":
        images = breast().test.images
        whose = np.arange(len(images))
    else:
        some = [(patient, x[0]) for modality in ("CT", "MR_T1") for patient, x in patients(modality).items()]
        images, whose = torch.cat([x for _, x in some]), np.repeat([p for p, _ in some], [len(x) for _, x in some])
    return VIEWS({"image": images}, torch.Generator().manual_seed(7)), whose


def errors(drawn, batch: dict, whose, outside: bool = False) -> np.ndarray:
    """Mean |error| of the grey values inside (outside) of the mask, for each of `whose`."""
    at = losses.mask_of_pixels(batch["mask"] ^ outside, batch["image"])
    each = (((drawn - batch["image"]).abs() * at).sum((1, 2, 3)) / at.sum((1, 2, 3))).numpy()
    return np.array([each[whose == one].mean() for one in np.unique(whose)])


def without_network(batch: dict) -> dict:
    """Guesses: an even grey, what surrounds a patch, the other side."""
    image, width = batch["image"], 3 * VIEWS.patch + 1
    sight = (~losses.mask_of_pixels(batch["mask"], image)).float()
    near, weight = (F.avg_pool2d(x, width, 1, width // 2) for x in (image * sight, sight))
    grey = (image * sight).sum((1, 2, 3), keepdim=True) / sight.sum((1, 2, 3), keepdim=True)
    return {"plain grey": grey.expand_as(image), "neighbourhood": near / weight.clamp(min=1e-6),
            "mirror image": image.flip(3)}


@torch.no_grad()
def readable(net: UNet, fit: torch.Tensor, test: torch.Tensor) -> float:
    """R² on `test` of a linear regression, learnt on `fit`, from a cell of the bottleneck to the 8 x 8 pixels below."""
    x, x_test = (net.maps(images)[-1].movedim(1, -1).flatten(0, 2).double() for images in (fit, test))
    y, y_test = (F.pixel_unshuffle(images, 8).movedim(1, -1).flatten(0, 2).double() for images in (fit, test))
    mean, std, middle = x.mean(0), x.std(0) + 1e-9, y.mean(0)
    x, x_test = (x - mean) / std, (x_test - mean) / std
    weight = torch.linalg.solve(x.T @ x + torch.eye(x.shape[1]), x.T @ (y - middle))
    return 1 - float((x_test @ weight + middle - y_test).square().sum() / (y_test - middle).square().sum())


def span(values, name: str, less=None) -> dict:
    """Mean of values [seeds, units] less those of another, with a 95 % interval: of images over images and seeds, of
    patients, who are few, over patients (paired_cases)."""
    values = np.atleast_2d(values) - (0 if less is None else np.atleast_2d(less))
    if name == "slices":
        return evaluate.paired_cases(values.mean(0)) | {"std": spread(values.mean(1))}
    return over_runs(values, np.zeros(values.shape[1]), least=-1) | {"std": spread(values.mean(1))}


def spread(values) -> float:
    return float(np.std(values, ddof=1)) if len(values) > 1 else 0.0


def drawing(name: str) -> dict:
    """The second table: what is drawn, in sight and hidden, with skips and without, and what the bottleneck holds."""
    batch, whose = held_out(name)
    image = batch["image"]
    if name == "breastmnist":
        parts = VIEWS.prepare(breast().train.images), image
    else:
        last = np.isin(whose, np.unique(whose)[6:])  # learnt on six patients, measured on five
        parts = image[torch.from_numpy(~last)], image[torch.from_numpy(last)]
    guessed = {guess: errors(x, batch, whose) for guess, x in without_network(batch).items()}
    rows, leads = {f"no network: {guess}": {"hidden": span(x, name)} for guess, x in guessed.items()}, {}
    for variant in ("random", *VARIANTS):
        nets, rows[variant] = networks(variant), {}
        held = [readable(net, *parts) for net in nets]
        rows[variant]["R2"] = {"mean": float(np.mean(held)), "std": spread(held)}
        if variant in ("random", "contrast"):
            continue  # their decoders never learnt
        hides = "hidden" in variant
        both = {on: [methods.UNetMIM(net, mask_input=on, contrast_weight=0.0).draw(batch) for net in nets]
                for on in (False, True)}
        cut = [methods.UNetMIM(net, mask_input=hides, contrast_weight=0.0).draw(batch, False) for net in nets]
        found = {"sight": both[False], "hidden": both[True], "cut": cut}
        found = {column: np.stack([errors(x, batch, whose) for x in drawn]) for column, drawn in found.items()}
        found["outside"] = np.stack([errors(x, batch, whose, True) for x in both[hides]])
        rows[variant] |= {column: span(x, name) for column, x in found.items()}
        own = found["hidden" if hides else "sight"]
        leads[variant] = {"inside, less outside": span(own, name, found["outside"]),
                          "patches hidden, less neighbourhood": span(found["hidden"], name, guessed["neighbourhood"]),
                          "skips cut, less plain grey": span(found["cut"], name, guessed["plain grey"])}
        for title, x in ((variant, both[hides][0]), (f"{variant}, skips cut", cut[0])):
            at = torch.linspace(0, len(image) - 1, 6).long()
            figures.reconstruction(image[at], batch["mask"][at], x[at], title=title).savefig(
                KEPT / f"{name}_{title.replace(', ', '_').replace(' ', '_')}.png", dpi=110)
    return {"rows": rows, "leads": leads, "units": len(np.unique(whose)), "images": len(image)}


def probe_breastmnist() -> dict:
    """AUROC on test of linear probes on frozen features, and paired leads."""
    ready = recipes.prepared(breast(), VIEWS)
    options = {"fractions": FRACTIONS, "draws": DRAWS, "split": "test"}
    rungs = recipes.ladder(ready, model=UNet, seeds=SEEDS, **options)
    for variant in VARIANTS:
        rungs.add(variant, recipes.probe_grid(ready, networks(variant), **options))
    rungs.rungs = {name.replace("random encoder, frozen", "random"): p for name, p in rungs.rungs.items()}
    rows = {name: {str(f): rungs.rows(f)[name] for f in FRACTIONS} for name in rungs.rungs}
    leads = {f"{a}, less {b}": {str(f): evaluate.difference(rungs.y, rungs.rungs[a][f], rungs.rungs[b][f])
                                for f in FRACTIONS} for a, b in PAIRS}
    return {"rows": rows, "leads": leads, "n": len(rungs.y)}


def probe_slices(modality: str) -> dict:
    """AUROC among the slices of a patient, by a probe that has met other patients only: mean over patients."""
    x, y, place = zip(*patients(modality).values(), strict=True)
    prepared = [VIEWS.prepare(one) for one in x]

    def within(encoder) -> np.ndarray:
        z, found = [evaluate.encode(encoder, one) for one in prepared], []
        for k in range(len(y)):
            ring = [(k + step) % len(y) for step in range(1, len(y))]
            (z_val, y_val), (z_fit, y_fit) = ((np.concatenate([part[j] for j in some]) for part in (z, y))
                                              for some in (ring[:RING], ring[RING:]))
            probe = evaluate.fit_probes(z_fit, y_fit, z_val, y_val, [np.arange(len(y_fit))])
            found.append(roc_auc_score(y[k], probe.predict_proba(z[k])[0]))
        return np.array(found)

    found = {"place in the stack, no pixel": np.array([[roc_auc_score(a, -b) for a, b in zip(y, place, strict=True)]]),
             "pixels": within(recipes.Pixels())[None]}
    found |= {variant: np.stack([within(net) for net in networks(variant)])
              for variant in ("random", *VARIANTS)}
    return {"rows": {row: span(x, "slices") for row, x in found.items()}, "n": sum(map(len, y)),
            "tumour": int(sum(map(sum, y))), "patients": list(patients(modality)),
            "leads": {f"{a}, less {b}": span(found[a], "slices", found[b]) for a, b in PAIRS}}


def number(found: dict | None, sign: str = "", digits: int = 3) -> str:
    """mean ± deviation over seeds [95 %], as far as it is known."""
    if found is None:
        return ""
    std = f" ± {found['std']:.{digits}f}" if found.get("std") and not sign else ""
    ends = f" [{found['lo']:{sign}.{digits}f}, {found['hi']:{sign}.{digits}f}]" if "lo" in found else ""
    return f"{found['mean']:{sign}.{digits}f}{std}{ends}"


def table(head: list[str], rows: list[list[str]]) -> list[str]:
    return [*(f"| {' | '.join(row)} |" for row in (head, ["---"] * len(head), *rows)), ""]


def rendered(found: dict) -> str:
    """The tables of the page, from what was measured."""
    bm, lines = found["breastmnist"]["probe"], []
    labels = [f"{100 * f:g} % of the labels" for f in FRACTIONS]
    lines += [f"## Probes: BreastMNIST, {bm['n']} test images", "",
              "AUROC, malignant against benign; mean ± standard deviation over runs [95 % over images, label draws and "
              "seeds].", ""]
    lines += table(["network", *labels], [[name, *(number(row[str(f)]) for f in FRACTIONS)]
                                          for name, row in bm["rows"].items()])
    lines += table(["paired lead", *labels], [[name, *(number(row[str(f)], "+") for f in FRACTIONS)]
                                              for name, row in bm["leads"].items()])
    ct, mr = (found["slices"][modality] for modality in ("CT", "MR_T1"))
    lines += [f"## Probes: slices, {len(ct['patients'])} patients who were never shown", "",
              f"Does a slice cut the tumour ({ct['tumour']} of {ct['n']} CT slices, {mr['tumour']} of {mr['n']} MR "
              "slices)? AUROC among the slices of a patient, mean over patients ± standard deviation over seeds [95 % "
              "over patients].", ""]
    lines += table(["network", "CT", "MR"], [[name, number(row), number(mr["rows"][name])]
                                             for name, row in ct["rows"].items()])
    lines += table(["paired lead", "CT", "MR"], [[name, number(row, "+"), number(mr["leads"][name], "+")]
                                                 for name, row in ct["leads"].items()])
    for name, what in (("breastmnist", "BreastMNIST, test images"), ("slices", "slices of the patients")):
        drawn = found[name]["drawing"]
        lines += [f"## Reconstruction: {what}", "",
                  f"Mean |error| of grey values from 0 to 1, {drawn['images']} images, the same masks for all. Inside: "
                  "of the patches that the loss asks for. Intervals as above.", ""]
        lines += table(["network", "inside, patches in sight", "inside, patches hidden", "outside, as trained",
                        "inside, skips cut", "R² of the bottleneck"],
                       [[row, *(number(cell.get(column), digits=4) for column in ("sight", "hidden", "outside", "cut")),
                         number(cell.get("R2"))] for row, cell in drawn["rows"].items()])
        heads = list(next(iter(drawn["leads"].values())))
        lines += table(["paired difference", *heads], [[row, *(number(cell[head], "+", 4) for head in heads)]
                                                       for row, cell in drawn["leads"].items()])
    lines += ["## The pretrainings", "", f"Mean over {SEEDS} seeds; processor time of one core.", ""]
    lines += table(["variant", "loss, first epoch", "last", "best epoch (val)", "rank of val embeddings", "warned of a "
                    "collapse", "seconds"],
                   [[row["variant"], f"{row['first']:.3f}", f"{row['last']:.3f}",
                     f"{row['best']:.1f} of {row['epochs']:.0f}", f"{row['rank']:.1f}", f"{row['warned']} of {SEEDS}",
                     f"{row['seconds']:.0f}"] for row in found["runs"]])
    return "\n".join(lines)


def pretrainings() -> list[dict]:
    """What the logs of the runs say, mean over seeds."""
    out = []
    for variant in VARIANTS:
        runs = [json.loads(kept(variant, seed).read_text()) for seed in range(SEEDS)]
        logs = [run["history"] for run in runs]
        means = {"epochs": [len(log) for log in logs], "best": [run["config"]["best_epoch"] for run in runs],
                 "first": [log[0]["loss"] for log in logs], "last": [log[-1]["loss"] for log in logs],
                 "rank": [log[-1]["val_rank"] for log in logs], "seconds": [run["cpu_seconds"] for run in runs]}
        out.append({"variant": variant, "warned": sum(bool(run["warning"]) for run in runs),
                    **{key: float(np.mean(values)) for key, values in means.items()}})
    return out


def report() -> None:
    sarcomas = {modality: probe_slices(modality) for modality in ("CT", "MR_T1")}
    found = {"breastmnist": {"probe": probe_breastmnist(), "drawing": drawing("breastmnist")},
             "slices": sarcomas | {"drawing": drawing("slices")}, "runs": pretrainings()}
    (KEPT / "measured.json").write_text(json.dumps(found, indent=1))


def render() -> None:
    before, rest = PAGE.read_text().split("<!-- measured -->")
    after = rest.split("<!-- /measured -->")[1]
    found = json.loads((KEPT / "measured.json").read_text())
    PAGE.write_text(f"{before}<!-- measured -->\n{rendered(found)}<!-- /measured -->{after}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["train", "report", "render"])
    asked = parser.parse_args().what
    if asked == "train":
        train()
    elif asked == "report":
        report()
    if asked != "train":
        render()
