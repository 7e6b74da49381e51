"""How good is a Prism encoder? Five numbers on pairs of views of patients that it was never trained on.

The loss cannot say: it holds the weighted SupCon, whose weight is what an ablation changes, and whose value at chance
grows with the batch. These numbers mean the same in every run, if the pairs are the same.

Each pair is also shown with all patches grey. A view's box is half of a short scan, so places alone tell how large the
scan is, with that how far two views lie apart, and nearly which scan it is. What …_grey reaches was not read from
images.
"""

import math
from collections.abc import Iterable, Sequence

import torch
from torch import Tensor, nn
from torch.nn.functional import normalize

from medssl.errors import MedsslError
from medssl.evaluate.collapse import rankme
from medssl.recipes.prism_metrics import CONTROLLED


def proxies(method: nn.Module, batches: Iterable[dict]) -> dict[str, float]:
    """The proxy_… metrics of a method on held-out batches.

    distance_mae_ratio, rotation_error_ratio: mean error over that of the best constant answer (the median, the mean
    vector, of these very pairs), so 1 is knowing nothing. window_r2: mean of centre and width. retrieval_r1: view a of
    each item looks, by the cosine of centred features, among the views b of all *other* items for one of its series.
    rankme_ratio: directions that the features use, of those they could. In sign mode no distance is said, and the first
    three are not there; how often a sign is right is, where it is known. …_grey, of those in CONTROLLED: with all
    patches grey.
    """
    shown = [(answers(method, batch), answers(method, greyed(batch))) for batch in batches]
    found, control = (_numbers(_joined(parts)) for parts in (zip(*shown, strict=True) if shown else ((), ())))
    return found | {f"{name}_grey": control[name] for name in CONTROLLED if name in control}


def _numbers(of: dict[str, Tensor]) -> dict[str, float]:
    r1, chance = retrieval(of["a"], of["b"], of["label"])
    both = torch.cat([of["a"], of["b"]])
    out = {"proxy_retrieval_r1": r1, "proxy_retrieval_chance": chance, "proxy_items": float(len(of["a"])),
           "proxy_rankme_ratio": rankme(both) / min(both.shape)}
    window = torch.cat([of["said_window_center"], of["said_window_width"]], 1)
    out["proxy_window_sign_accuracy"] = ((window > 0) == (of["window_target"] > 0)).float().mean().item()
    return out | (geometry(of) if "said_distance" in of else signs(of))


def measure(method: nn.Module, batches: Iterable[dict]) -> dict[str, Tensor]:
    """What the proxies are made of: the answers to all batches."""
    return _joined([answers(method, batch) for batch in batches])


@torch.no_grad()
def answers(method: nn.Module, batch: dict) -> dict[str, Tensor]:
    """A row an item: features "a" and "b", "label", "window_target", and of each head "said_…" and "wanted_…" in mm,
    degrees and windows (logits, 0 and 1 in sign mode)."""
    was, device = method.training, next(method.parameters()).device
    method.eval()
    seen = {name: value.to(device) for name, value in batch.items() if torch.is_tensor(value)}
    features = method.both(seen)
    said, wanted = method.predict(features), method.targets(seen)
    a, b = features.float().chunk(2)
    method.train(was)
    found = {"a": a, "b": b, "label": seen["series_label"], "window_target": seen["window_target"],
             **{f"said_{head}": method.raw(head, said[head]) for head in said},
             **{f"wanted_{head}": wanted[head] for head in said}}
    return {name: value.cpu() for name, value in found.items()}


def greyed(batch: dict) -> dict:
    """All patches grey; places stay."""
    return batch | {name: torch.full_like(batch[name], 0.5) for name in ("patches_a", "patches_b")}


def _joined(parts: Sequence[dict[str, Tensor]]) -> dict[str, Tensor]:
    if not parts:
        raise MedsslError("There is no held-out batch to measure on.", "one at least",
                          "Set data.holdout higher, so that somebody of the catalog is held out.")
    return {name: torch.cat([part[name] for part in parts]) for name in parts[0]}


def geometry(of: dict[str, Tensor]) -> dict[str, float]:
    """Distance, rotation and window of a regression against the best constant answer; NaN where that is always right,
    as without any rotation."""
    said, wanted = of["said_distance"], of["wanted_distance"]
    mae = (said - wanted).abs().mean().item()
    turned, turn = of["said_rotation"], of["wanted_rotation"]
    error = (turned - turn).norm(dim=1).mean().item()
    r2 = [1 - _over((of[f"said_{head}"] - of[f"wanted_{head}"]).square().sum().item(),
                    (of[f"wanted_{head}"] - of[f"wanted_{head}"].mean()).square().sum().item())
          for head in ("window_center", "window_width")]
    return {"proxy_distance_mae_mm": mae,
            "proxy_distance_mae_ratio": _over(mae, (wanted - wanted.median()).abs().mean().item()),
            "proxy_rotation_error_deg": error,
            "proxy_rotation_error_ratio": _over(error, (turn - turn.mean(0)).norm(dim=1).mean().item()),
            "proxy_window_r2": sum(r2) / 2}


def _over(error: float, constant: float) -> float:
    return error / constant if constant else math.nan


def signs(of: dict[str, Tensor]) -> dict[str, float]:
    """What sign mode can say."""
    right = (of["said_direction"] > 0) == (of["wanted_direction"] > 0)
    return {"proxy_direction_sign_accuracy": right.float().mean().item()}


def retrieval(a: Tensor, b: Tensor, label: Tensor) -> tuple[float, float]:
    """(share of queries whose nearest is of their series, what guessing would reach); NaN where no series is there
    twice. Items without another of their series are no queries."""
    hit, chance = retrieved(a, b, label)
    queries = chance > 0
    return (hit[queries].mean().item(), chance[queries].mean().item()) if queries.any() else (math.nan, math.nan)


def retrieved(a: Tensor, b: Tensor, label: Tensor) -> tuple[Tensor, Tensor]:
    """Of each item, [N]: 1 if the nearest of the others is of its series, and the share of others that are."""
    middle = torch.cat([a, b]).mean(0)
    cosine = normalize(a - middle, dim=1) @ normalize(b - middle, dim=1).T
    cosine.fill_diagonal_(-torch.inf)
    same = (label[:, None] == label) & ~torch.eye(len(label), dtype=torch.bool)
    hit = same.gather(1, cosine.argmax(1, keepdim=True))[:, 0]
    return hit.float(), same.float().sum(1) / (len(label) - 1)
