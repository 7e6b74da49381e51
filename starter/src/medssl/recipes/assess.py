"""What an encoder is worth, in one call: linear probe, few labels, few shots, fine-tuning; one dict and one table."""

from collections.abc import Collection, Sequence

import numpy as np
from torch import nn

from medssl.data import ImageData, label_subset
from medssl.errors import MedsslError
from medssl.evaluate import auroc_values, few_shot, fit_many, leave_one_site_out, over_runs, predict_many, report
from medssl.evaluate.over_runs import strata
from medssl.evaluate.probes import scale
from medssl.recipes.beside import beside
from medssl.recipes.finetuning import finetune
from medssl.recipes.probing import Features, probe_grid
from medssl.recipes.unseen import headline, too_few, too_narrow, unseen
from medssl.views import Augment
from medssl.views.presets import STRENGTHS, WHY

SHARES = (0.01, 0.05, 0.1, 0.25, 0.5, 1.0)


def assess(encoder: nn.Module, data: ImageData, *, shares: Sequence[float] = SHARES, draws: int = 10,
           shots: Sequence[int] = (5, 10, 20), episodes: int = 100, finetune_steps: int | None = None, seed: int = 0,
           n_boot: int = 2000, seen: Collection[str] | None = None, exclude_seen: bool = False,
           differs: str = "", baselines: bool = True, **finetune_settings) -> dict:
    """Everything on the test split, once, ready for JSON; `assessment_table` makes a text of it.

    "rows": one dict a line of the table. "linear_probe": all numbers of the probe on all labels. "notes": what was left
    out, and why. Labels may be of two classes, of K, or [N,K] (several at once; few shots are then left out: an episode
    would need images of one label each). Probes choose C on val, all of which counts as labelled; few shots choose
    nothing. Intervals are over test images and, where there are several, label draws or episodes; a new pretraining
    would add its own luck, which no interval of one encoder knows.

    baselines: the same probes on what costs no pretraining, see recipes.beside; "lead" in their rows is how much more
    AUROC the encoder has, on the same test images and label draws, with its interval.
    finetune_steps=…: also fine-tune all of it on all labels (settings of recipes.finetune).
    Data that say where their images are from (Split.about["site"]): also each site in turn, see leave_one_site_out.
    seen: data.image_hashes of the images that the encoder was pretrained on (models.export.seen_images), None: nobody
    knows. Test images among them are counted in "seen" and in the notes; exclude_seen=True takes them, and all images
    of their patients, out of the test. differs: what recipes.unseen.unlike finds; then no image can be known again.
    """
    data, known, notes = unseen(data, seen, exclude_seen, differs)
    if not all(len(part) for part in data.splits.values()):
        raise MedsslError(f"{data.key} has {', '.join(f'{len(s)} {n}' for n, s in data.splits.items())} images.",
                          "labelled images in train, val and test")
    x, y = Features(encoder, data), {name: part.labels.numpy() for name, part in data.splits.items()}
    several = data.multilabel
    for part in () if several else ("train", "test"):
        if missing := [c for k, c in enumerate(data.classes) if k not in y[part]]:
            raise MedsslError(f"{part} has no image of {', '.join(missing)}.", "each class in train and in test",
                              "More images, another seed or split column, or leave the class out.")
    notes += too_narrow(data) + too_few(data)
    p = _probes(x, y, data, sorted({*shares, 1.0}), draws)
    rows, boot = [], {"n_boot": n_boot, "seed": seed}

    def row(what: str, n_labels: int, runs: np.ndarray, share: float | None = None) -> None:
        line, values = what if share is None else f"{what}, {100 * share:g} % of labels", auroc(runs)
        found = over_runs(values, strata(y["test"]), **boot)
        rows.append({"what": line, "labels": n_labels, "metric": "auroc", **found, "runs": len(runs),
                     "per_run": values.mean(1).tolist()})
        rows[-1] |= {} if share is None else {"model": what, "share": share}

    def auroc(runs: np.ndarray) -> np.ndarray:
        return auroc_values(y["test"], runs[..., 1:] if runs.shape[2] == 2 and not several else runs)

    for share, (n_labels, runs) in p.items():
        row("linear probe", n_labels, runs, share)
    others, said = beside(encoder, data) if baselines else ({}, [])
    notes += said
    for name, other in others.items():
        for share, (n_labels, runs) in _probes(Features(other, data), y, data, list(p), draws).items():
            row(name, n_labels, runs, share)
            rows[-1]["lead"] = over_runs(auroc(p[share][1]) - auroc(runs), strata(y["test"]), **boot, least=-1)
    counts = None if several else np.bincount(y["train"])
    if several:
        notes.append("few-shot: left out, an image may have several labels")
    for n in shots if not several else ():
        if counts.min() < n:
            notes.append(f"{n}-shot: left out, the rarest class has {counts.min()} train images")
            continue
        for kind in ("knn", "centroid"):
            found = few_shot(x["train"], y["train"], x["test"], y["test"], shots=(n,), episodes=episodes, kind=kind,
                             **boot)[n]
            rows += [{"what": f"{n}-shot {kind}", "labels": n * len(counts), "metric": metric, **found[metric],
                      "runs": episodes} for metric in ("auroc", "balanced_accuracy")]
    if finetune_steps:
        run = finetune(data, encoder, fraction=1.0, seed=seed, steps=finetune_steps,
                       **{"augment": _views(data), **finetune_settings})
        row(f"fine-tuned, {finetune_steps} steps", len(data.train),
            predict_many(run.model, data.test.images, several=several)[None])
    sites = _sites(x, data, known, boot)
    for site, found in sites.items():
        if "not_scored" in found:
            notes.append(f"site {site}: left out, {found['not_scored'].rstrip('.')}")
            continue
        name = "auroc" if "auroc" in found else "macro_auroc"
        low, high = found["ci95"].get(name, (float("nan"),) * 2)
        rows.append({"what": f"probe of the other sites on {site} (n = {found['n']})", "labels": found["n_train"],
                     "metric": "auroc", "mean": found[name], "lo": low, "hi": high, "runs": 1})
    if sites:
        notes.append("sites: a probe learns from all images of the other sites, whatever their part, C chosen among "
                     "those sites; it is tested on all of the one")
    name = encoder.describe() if hasattr(encoder, "describe") else type(encoder).__name__
    return {"data": data.key, "phantom": data.is_phantom, "split_hash": data.split_hash(), "encoder": name,
            "split": "test", "n": {part: len(labels) for part, labels in y.items()}, "classes": list(data.classes),
            "seen": known["said"], "rows": rows, "notes": notes,
            "linear_probe": report(y["test"], p[1.0][1][0], data.classes, **boot),
            **({"sites": sites} if sites else {})}


def _views(data: ImageData) -> Augment | str | None:
    """How images differ in fine-tuning: the mildest views of their kind, of pictures of one's own those of all kinds
    (the strength is the same); volumes stay as they are."""
    if data.train.images.ndim == 5:
        return None
    return "A" if data.modality in WHY else Augment(**STRENGTHS["A"])


def _sites(x: Features, data: ImageData, known: dict, boot: dict) -> dict:
    """leave_one_site_out over the images of all parts together; {} where nobody says where they are from."""
    about = [part.about or {} for part in data.splits.values()]
    if not all("site" in one for one in about):
        return {}
    together = {key: [value for one in about for value in one[key]] for key in ("site", "patient") if key in about[0]}
    y = np.concatenate([part.labels.numpy() for part in data.splits.values()])
    return leave_one_site_out(np.concatenate([x[part] for part in data.splits]), y, together["site"], data.classes,
                              patients=together.get("patient"), score=known["new"], **boot)


def _probes(x: Features, y: dict, data: ImageData, shares: Sequence[float], draws: int) -> dict:
    """{share: (labels, P [draws,N,K])}: the fast grid for two classes, scikit-learn for more."""
    if y["train"].ndim == 1 and len(data.classes) == 2:
        grid = probe_grid(data, [x], fractions=shares, draws=draws, split="test")
        return {f: (grid.n_labels[f], np.stack([1 - p, p], 2)) for f, p in grid.p.items()}
    mean, std = scale(x["train"].astype(np.float64))
    train, val, test = ((x[name] - mean) / std for name in ("train", "val", "test"))
    z, labels, out = np.concatenate([train, val]), np.concatenate([y["train"], y["val"]]), {}
    held = np.arange(len(train), len(z))
    for share in shares:
        subsets = [label_subset(strata(y["train"]), share, draw).numpy() for draw in range(draws if share < 1 else 1)]
        p = [fit_many(z, labels, subset, [(subset, held)])[0].predict_proba(test) for subset in subsets]
        out[share] = len(subsets[0]), np.stack(p)
    return out


def efficiency_curves(result: dict) -> tuple[dict[str, dict[float, list[float]]], dict[float, int]]:
    """Of the dict of `assess`: (curves, n_labels) as figures.label_efficiency takes them, the encoder's and what stands
    beside it."""
    curves, n_labels = {}, {}
    for row in result["rows"]:
        if "share" in row:
            curves.setdefault(row["model"], {})[row["share"]] = row["per_run"]
            n_labels[row["share"]] = row["labels"]
    return curves, n_labels


def assessment_table(result: dict) -> str:
    """The dict of `assess` as Markdown: mean [95 % interval] on test, and what stands behind it."""
    def interval(one: dict | None, sign: str = "") -> str:
        return "" if one is None else f"{one['mean']:{sign}.3f} [{one['lo']:{sign}.3f}, {one['hi']:{sign}.3f}]"

    lines = [["what", "labels", "metric", "test [95 % interval]", "runs", "the encoder leads it by"], ["---"] * 6]
    lines += [[r["what"], str(r["labels"]), r["metric"], interval(r), str(r["runs"]), interval(r.get("lead"), "+")]
              for r in result["rows"]]
    widths = [max(len(line[k]) for line in lines) for k in range(6)]
    led = [r for r in result["rows"] if "lead" in r]
    unproven = [r["what"] for r in led if r["lead"]["lo"] <= 0]
    table = ["| " + " | ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)) + " |"
             for line in lines]
    n, probe = result["n"], result["linear_probe"]
    per_class = {c: v["auroc"] for c, v in probe["per_class"].items() if "auroc" in v}
    phantom = " PHANTOM data: made by a program, no patients." * result["phantom"]
    return "\n".join([
        f"{result['encoder']} on {result['data']} (split {result['split_hash']}), test n = {n['test']}.{phantom}"
        f"{headline(result['seen'])}", "",
        *table, "",
        f"Chance: AUROC 0.5, balanced accuracy {1 / len(result['classes']):.2g}. labels: train labels that were used; "
        f"probes also chose C on all {n['val']} val labels. runs: label draws or episodes.",
        *(["Leads: AUROC of the encoder's probe less the row's, same labels and test images. "
           + (f"NO LEAD SHOWN (the interval does not clear 0) over: {'; '.join(unproven)}." if unproven else
              "Each clears 0.")] if led else []),
        "Intervals: test images and runs drawn anew; not another pretraining, not another hospital.",
        *([f"AUROC of each class: {', '.join(f'{c} {v:.3f}' for c, v in per_class.items())}."] if per_class else []),
        *(f"Note: {note}." for note in result["notes"])]) + "\n"
