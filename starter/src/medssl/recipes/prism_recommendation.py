"""Which settings of Prism to start from, out of the ablation's results, or plainly that they are too few to say.

Each run of the ablation is made once, so noise is what a sum of one effect a factor leaves over:

    composite = constant + effect(batch) + effect(pool) + effect(weight) + effect(ramp) + rest,     s² = Σ rest² / df

A level replaces the baseline's only where the interval of its lead is above 0; the intervals hold together for all
levels asked about (Bonferroni, Student's t with df). Interactions are in the rest: they make the intervals wider.
"""

import math
from collections.abc import Iterable, Mapping

import numpy as np

from medssl.recipes.prism_ablation import BASELINE, FACTORS, PROXIES, of_study, ranked, runs
from medssl.recipes.prism_metrics import CONTROLLED

FEWEST_FREE = 6  # degrees of freedom of the rest: with fewer, the interval is a guess
ALPHA = 0.05
HEALTHY = (0.05, 3.0)  # pred_std / target_std
LONGEST = 5.0  # p99 / p50 of a step's time


def recommendation(results: Iterable[Mapping]) -> str:
    """Markdown: which settings, why, and what speaks against it. `results`: result.json of each run; those that are
    not of the study core24 are no evidence."""
    given = list(results)
    results, others = of_study(given)
    good = [row for row in ranked(results) if math.isfinite(row["composite"])]
    settings = {result["run_id"]: {key: _setting(result, key) for key in FACTORS} for result in results}
    said = [f"Runs at hand: {len(given)}. With settings of the ablation's table of {len(runs())}: {len(results)}. "
            f"Ended well, with all five proxies: {len(good)}."
            + f" Not of this study: {', '.join(others)}." * bool(others)]
    leads, free = effects([settings[row["name"]] for row in good], [row["composite"] for row in good])
    if free < FEWEST_FREE:
        said += [f"**Too few to recommend anything by.** The settings' effects leave {max(free, 0)} degrees of freedom "
                 f"for noise, and {FEWEST_FREE} are the least. Until then start from the baseline, which nobody has "
                 "compared with anything:", "", *_listed(BASELINE), "",
                 "What is missing: `medssl launch prism-ablate` sends what has not ended well yet."]
        return "\n".join(said)
    chosen = dict(BASELINE)
    lines = ["| setting | level | baseline | lead | low | high | which is |", f"|{' --- |' * 7}"]
    for key in FACTORS:
        ahead = [(lead, level) for level, (lead, low, _) in leads[key].items() if low > 0]
        if ahead:
            chosen[key] = max(ahead)[1]
        for level, (lead, low, high) in leads[key].items():
            word = "ahead" if low > 0 else "behind" if high < 0 else "not to be told apart"
            lines.append(f"| {key} | {level:g} | {BASELINE[key]:g} | {lead:+.2f} | {low:+.2f} | {high:+.2f} | {word} |")
    best = good[0]
    said += ["", "**Start from:**", "", *_listed(chosen), "",
             f"Composite of proxies (mean z-score over these runs), lead of each level over the baseline's, "
             f"{1 - ALPHA:.0%} intervals for all {len(lines) - 2} together, {free} degrees of freedom:", "", *lines, "",
             f"The best single run is {best['name']} ({best['composite']:+.2f}); best of {len(good)} is no evidence by "
             "itself.", *_doubts(results, chosen, settings)]
    return "\n".join(said)


def effects(points: list[Mapping], values: list[float]) -> tuple[dict, int]:
    """({factor: {level: (lead over the baseline's level, low, high)}}, degrees of freedom), by least squares."""
    from scipy.stats import t as student

    names = [(key, level) for key, levels in FACTORS.items() for level in levels if level != BASELINE[key]]
    design = np.array([[1.0, *(float(point[key] == level) for key, level in names)] for point in points])
    free = len(points) - len(names) - 1
    if free < 1 or np.linalg.matrix_rank(design) <= len(names):
        return {}, min(free, 0)
    solution, *_ = np.linalg.lstsq(design, np.asarray(values, float), rcond=None)
    rest = values - design @ solution
    spread = np.sqrt(np.diag(np.linalg.inv(design.T @ design)) * (rest @ rest) / free)
    half = student.ppf(1 - ALPHA / 2 / len(names), free) * spread
    leads = {key: {} for key in FACTORS}
    for k, (key, level) in enumerate(names, 1):
        leads[key][level] = tuple(float(x) for x in (solution[k], solution[k] - half[k], solution[k] + half[k]))
    return leads, free


def _setting(result: Mapping, key: str):
    part, _, name = key.partition(".")
    return result.get("config", {}).get(part, {}).get(name)


def _listed(settings: Mapping) -> list[str]:
    return ["```", *(f"{key}={value:g}" for key, value in settings.items()), "```"]


def _doubts(results: list[Mapping], chosen: Mapping, settings: Mapping) -> list[str]:
    """What the runs with the chosen settings say that the composite does not."""
    said = []
    for result in results:
        if result["status"] != "ok" or settings[result["run_id"]] != chosen:
            continue
        of = result["metrics"]
        for name, value in of.items():
            if name.startswith("ratio_") and value is not None and not HEALTHY[0] <= value <= HEALTHY[1]:
                said.append(f"- {result['run_id']}: {name} is {value:.2g}, outside of {HEALTHY}: its loss is not to be "
                            "believed.")
        for name in CONTROLLED:
            value, grey = of.get(name), of.get(f"{name}_grey")
            if value is not None and grey is not None and PROXIES[name] * (value - grey) <= 0:
                said.append(f"- {result['run_id']}: {name} is {value:.2g}, and {grey:.2g} with grey patches: places "
                            "alone say as much, and it is no sign that images are read.")
        p50, p99 = of.get("total_step_time_ms_p50"), of.get("total_step_time_ms_p99")
        if p50 and p99 and p99 > LONGEST * p50:
            said.append(f"- {result['run_id']}: p99 of a step is {p99 / p50:.1f} times p50: look at the loader.")
    ran = chosen in settings.values()
    said += [] if ran else ["- No run has exactly these settings: the sum of effects says so, make one before you rely "
                            "on it."]
    said += [f"- {sum(r['status'] != 'ok' for r in results)} runs did not end well; whether their settings are why is "
             "not said here."] * any(r["status"] != "ok" for r in results)
    said.append("- Batch and pool decide how many partners SupCon has, and a longer ramp gives it less weight: these "
                "leads are of all that together, with one seed each, by proxies and no diagnosis.")
    return ["", "Doubts:", "", *said]


