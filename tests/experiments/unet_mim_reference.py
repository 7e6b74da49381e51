"""What the UNet of week 13 learns, with the patches in sight and hidden: the tables of reports/unet_mim.md.

    export MEDSSL_DATA=...        # the folder of breastmnist.npz
    export MEDSSL_TEST_DATA=...   # holds nifti/*.nii.gz and nifti/sts/STS_*_{CT,MR_T1}_{image,mask}.nii.gz
    python tests/experiments/unet_mim_reference.py train     # 15 runs of about a minute of a core
    python tests/experiments/unet_mim_reference.py report    # reads the test images, chooses nothing; writes the page
    python tests/experiments/unet_mim_reference.py render    # the page again, from runs/unet_mim/measured.json

All is kept in runs/unet_mim; a run that is there is not made again. Nothing is chosen: the settings are the plan's, at
a quarter of its size. `--pixels 192 --steps 2400 --device cuda` is the plan's size (100 epochs; BreastMNIST of 224
pixels, not of 28): give them to train and to report. That is kept in a folder of its own, and so is its page.

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
from medssl.methods.unet_mim import GREY
from medssl.models import UNet
from medssl.views import Halves

REPO = Path(__file__).resolve().parents[2]
PAGE, PAGE_PIXELS, PAGE_STEPS = REPO / "reports/unet_mim.md", 48, 120
ASKED = argparse.Namespace(pixels=PAGE_PIXELS, steps=PAGE_STEPS, device="cpu")  # the command line writes into it
SEEDS, BATCH, DRAWS, FRACTIONS, RING = 3, 32, 10, (0.1, 1.0), 3
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
def halves() -> Halves:
    """12 x 12 patches and 25 of 72 hidden, as at 192 pixels; the radius of the unsharp mask shrinks with the image."""
    return Halves(ASKED.pixels, ASKED.pixels // 12, radius=ASKED.pixels / 96)


def is_page() -> bool:
    return (ASKED.pixels, ASKED.steps) == (PAGE_PIXELS, PAGE_STEPS)


def folder() -> Path:
    return REPO / "runs/unet_mim" / ("" if is_page() else f"{ASKED.pixels}_pixels_{ASKED.steps}_steps")


@cache
def breast() -> ImageData:
    return data.load("breastmnist", size=28 if ASKED.pixels <= 56 else 224)


@cache
def pretrained_on() -> ImageData:
    volumes = slices.load_slices(nifti(), KINDS, patient="[a-z]+_[a-z]+_[a-z0-9]+", size=halves().size, each=48,
                                 fractions=(0.8, 0.2, 0.0))
    return data.together([breast(), volumes], size=halves().size)


def kept(variant: str, seed: int) -> Path:
    return folder() / f"{variant.replace(', ', '_').replace(' ', '_')}_{seed}.json"


def train() -> None:
    folder().mkdir(parents=True, exist_ok=True)
    for seed in range(SEEDS):
        for variant, settings in VARIANTS.items():
            if (at := kept(variant, seed)).exists():
                continue
            start, clock = time.process_time(), time.time()
            run = recipes.pretrain_unet_mim(pretrained_on(), steps=ASKED.steps, batch_size=BATCH, views=halves(),
                                            seed=seed, device=ASKED.device, precision="fp32", quiet="silent",
                                            **settings)
            torch.save(run.encoder.state_dict(), at.with_suffix(".pt"))
            at.write_text(json.dumps({"cpu_seconds": time.process_time() - start, "seconds": time.time() - clock,
                                      "device": ASKED.device, "warning": run.warning, "config": run.config,
                                      "history": run.history}, indent=1, default=str))
            print(variant, seed, run, run.warning, flush=True)


@cache
def patients(modality: str) -> dict[str, tuple]:
    """{patient: (slices uint8 [N,1,S,S], does it cut the tumour [N], how far from the stack's middle it is [N])}"""
    found = {}
    for path in sorted((nifti() / "sts").glob(f"STS_*_{modality}_image.nii.gz")):
        volume = data.read_volume(path, modality[:2])
        tumour = data.read_volume(str(path).replace("_image", "_mask")).array[0].flatten(1).any(1)
        z = slices.filled(volume, 24)
        found[path.name[:7]] = (slices.slices_of(volume, max(96, ASKED.pixels), 24, midline="middle"),
                                tumour[z].numpy().astype(int), (z - (len(tumour) - 1) / 2).abs().numpy())
    return found


def networks(variant: str) -> list[UNet]:
    """Those that were trained; "random": with the weights that they began with."""
    found = []
    for seed in range(SEEDS):
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            found.append(UNet().eval())
        if variant != "random":
            found[-1].load_state_dict(torch.load(kept(variant, seed).with_suffix(".pt"), weights_only=True,
                                                 map_location="cpu"))
    return found


def held_out(name: str) -> tuple[dict, np.ndarray]:
    """(the test images with their masks, whose they are [N]): in BreastMNIST each image is its own."""
    if name == "breastmnist":
        images = breast().test.images
        whose = np.arange(len(images))
    else:
        some = [(patient, x[0]) for modality in ("CT", "MR_T1") for patient, x in patients(modality).items()]
        images, whose = torch.cat([x for _, x in some]), np.repeat([p for p, _ in some], [len(x) for _, x in some])
    return halves()({"image": images}, torch.Generator().manual_seed(7)), whose


def errors(drawn, batch: dict, whose, outside: bool = False) -> np.ndarray:
    """Mean |error| of the grey values inside (outside) of the mask, for each of `whose`."""
    at = losses.mask_of_pixels(batch["mask"] ^ outside, batch["image"])
    each = (((drawn - batch["image"]).abs() * at).sum((1, 2, 3)) / at.sum((1, 2, 3))).numpy()
    return np.array([each[whose == one].mean() for one in np.unique(whose)])


def without_network(batch: dict) -> dict:
    """Guesses: an even grey, what surrounds a patch, the other side; and what hides it, handed on as it is."""
    image, width = batch["image"], 3 * halves().patch + 1
    sight = (~losses.mask_of_pixels(batch["mask"], image)).float()
    near, weight = (F.avg_pool2d(x, width, 1, width // 2) for x in (image * sight, sight))
    grey = (image * sight).sum((1, 2, 3), keepdim=True) / sight.sum((1, 2, 3), keepdim=True)
    return {"plain grey": grey.expand_as(image), "neighbourhood": near / weight.clamp(min=1e-6),
            "mirror image": image.flip(3), "copy of the grey that hides it": torch.full_like(image, GREY)}


@torch.no_grad()
def carried(net: UNet, batch: dict, whose: np.ndarray, hides: bool) -> dict:
    """Drawn with one of the ways to the decoder blocked, or carrying what another image sends: which one is used?"""
    maps = net.eval().maps(methods.UNetMIM(net, mask_input=hides, contrast_weight=0.0).seen(batch))
    step = next(k for k in range(1, len(whose)) if (whose != np.roll(whose, k)).all())  # no slice of its patient
    other = [found.roll(step, 0) for found in maps]
    ways = {"own": maps, "bottleneck 0": [*maps[:-1], torch.zeros_like(maps[-1])],
            "other bottleneck": [*maps[:-1], other[-1]], "other skips": [*other[:-1], maps[-1]],
            "other lower skips": [maps[0], *other[1:-1], maps[-1]]}
    return {way: net.decode(found) for way, found in ways.items()} | {"cut": net.decode(maps, skips=False)}


@torch.no_grad()
def readable(net: UNet, fit: torch.Tensor, test: torch.Tensor) -> float:
    """R² on `test` of a linear regression, learnt on `fit`, from a cell of the bottleneck to the 8 x 8 pixels below."""
    x, x_test = (net.maps(images)[-1].movedim(1, -1).flatten(0, 2).double() for images in (fit, test))
    y, y_test = (F.pixel_unshuffle(images, 8).movedim(1, -1).flatten(0, 2).double() for images in (fit, test))
    mean, std, middle = x.mean(0), x.std(0) + 1e-9, y.mean(0)
    x, x_test = (((part - mean) / std).clamp(-5, 5) for part in (x, x_test))  # a unit may be all but dead in `fit`
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
    """What is drawn, in sight and hidden, which way it comes to the decoder, and what the bottleneck holds."""
    batch, whose = held_out(name)
    image = batch["image"]
    if name == "breastmnist":
        parts = halves().prepare(breast().train.images), image
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
        each = [carried(net, batch, whose, hides) for net in nets]
        ways = {way: [one[way] for one in each] for way in each[0]}
        found = {"sight": both[False], "hidden": both[True], **ways}
        found = {column: np.stack([errors(x, batch, whose) for x in drawn]) for column, drawn in found.items()}
        found["outside"] = np.stack([errors(x, batch, whose, True) for x in both[hides]])
        rows[variant] |= {column: span(x, name) for column, x in found.items()}
        grey = {**batch, "image": torch.full_like(image, GREY)}
        rows[variant]["from grey"] = span(np.stack([errors(x, grey, whose) for x in both[True]]), name)
        own = found["own"]
        leads[variant] = {"bottleneck of another, less own": span(found["other bottleneck"], name, own),
                          "skips of another, less own": span(found["other skips"], name, own),
                          "skips cut, less plain grey": span(found["cut"], name, guessed["plain grey"]),
                          "patches hidden, less neighbourhood": span(found["hidden"], name, guessed["neighbourhood"]),
                          "inside, less outside": span(own, name, found["outside"])}
        for title, x in ((variant, both[hides][0]), (f"{variant}, skips cut", ways["cut"][0]),
                         (f"{variant}, patches {'in sight' if hides else 'hidden'}", both[not hides][0])):
            at = torch.linspace(0, len(image) - 1, 6).long()
            figures.reconstruction(image[at], batch["mask"][at], x[at], title=title).savefig(
                folder() / f"{name}_{title.replace(', ', '_').replace(' ', '_')}.png", dpi=110)
    return {"rows": rows, "leads": leads, "units": len(np.unique(whose)), "images": len(image)}


def probe_breastmnist() -> dict:
    """AUROC on test of linear probes on frozen features, and paired leads."""
    ready = recipes.prepared(breast(), halves())
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
    prepared = [halves().prepare(one) for one in x]

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
        columns = {"sight": "inside, patches in sight", "hidden": "inside, patches hidden",
                   "outside": "outside, as trained", "from grey": "patches hidden: how far from their grey"}
        lines += table(["network", *columns.values(), "R² of the bottleneck"],
                       [[row, *(number(cell.get(column), digits=4) for column in columns), number(cell.get("R2"))]
                        for row, cell in drawn["rows"].items()])
        split = {"breastmnist": "the train images, measured on the test images", "slices":
                 "six of the patients, measured on the other five"}[name]
        whom = {"breastmnist": "another image", "slices": "a slice of another patient"}[name]
        lines += [f"R²: fitted on {split}, no interval.", "",
                  "Which way does the drawing come? The error inside, of the images as trained (in sight or hidden). "
                  f"Of another: the map comes from {whom}. Lower skips: all but that of the first map, which has the "
                  "size of the image.", ""]
        columns = {"own": "whole", "bottleneck 0": "bottleneck zeroed", "other bottleneck": "bottleneck of another",
                   "cut": "skips cut (zeros)", "other skips": "skips of another",
                   "other lower skips": "lower skips of another"}
        lines += table(["network", *columns.values()],
                       [[row, *(number(cell[column], digits=4) for column in columns)]
                        for row, cell in drawn["rows"].items() if "own" in cell])
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
    (folder() / "measured.json").write_text(json.dumps(found, indent=1))


def render() -> None:
    page = PAGE if is_page() else folder() / "tables.md"
    before, rest = (page.read_text() if is_page() else "<!-- measured --><!-- /measured -->").split("<!-- measured -->")
    after = rest.split("<!-- /measured -->")[1]
    found = json.loads((folder() / "measured.json").read_text())
    page.write_text(f"{before}<!-- measured -->\n{rendered(found)}<!-- /measured -->{after}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["train", "report", "render"])
    parser.add_argument("--pixels", type=int, help="a multiple of 24 (48); above 56 BreastMNIST of 224 pixels is read")
    parser.add_argument("--steps", type=int, help="of each pretraining (120)")
    parser.add_argument("--device", help="of the pretrainings (cpu)")
    asked = parser.parse_args(namespace=ASKED).what
    if asked == "train":
        train()
    elif asked == "report":
        report()
    if asked != "train":
        render()
