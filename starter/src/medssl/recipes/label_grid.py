"""Every run of a ladder as a row of a table: what a label grid hands in."""

from medssl.data import ImageData, label_subset
from medssl.recipes.baselines import Ladder
from medssl.recipes.probing import numbers


def every_run(rungs: Ladder, data: ImageData) -> list[dict]:
    """One dict a run: {"model", "fraction", "n_labels", "encoder", "draw", "auroc", "accuracy", ..., "nll", "ece"}.

    Models that were not scored on several draws, or encoders, count theirs from 0, too.
    """
    return [{"model": name, "fraction": fraction, "n_labels": len(label_subset(data.train.labels, fraction)),
             "encoder": encoder, "draw": draw, **numbers(rungs.y, p)}
            for name, curve in rungs.rungs.items() for fraction, runs in curve.items()
            for encoder, draws in enumerate(runs) for draw, p in enumerate(draws)]
