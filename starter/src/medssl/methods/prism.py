"""Prism: where does one view of a scan lie from the other, how is it turned and windowed, and which scan is it?"""

import math
from functools import cache

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from medssl.errors import MedsslError
from medssl.losses import supcon
from medssl.models import decay_groups, projection_head

HEADS = {  # what each mode predicts of a pair of views, and how many numbers that is
    "regression": {"distance": 1, "rotation": 3, "window_center": 1, "window_width": 1},
    "sign": {"direction": 3, "window_center": 1, "window_width": 1},
}
LEAST_VALID = 0.5  # of a patch that is shown, the share within the scan


class Prism(nn.Module):
    """One encoder sees two views a, b of a scan; small heads answer from both features, a projection goes to SupCon:

        loss = w_distance · L_distance + w_rotation · L_rotation + w_window · (L_center + L_width) + w(step) · SupCon

    head_mode="regression": the distance of the centres, the rotation vector of R_b R_aᵀ, the change of window centre
    and of log width. L is the smooth L1 of normalised targets, (target - mean) / std with *fixed* `constants`
    {head: (mean, std)} of the distribution that the views are drawn from: no loss depends on the batch size.
    head_mode="sign": L is the binary cross-entropy over ln 2 (1 is guessing) of yes or no along each axis, three of the
    way from a to b, then window centre and width. A distance has no sign, and a rotation is not asked for.

    A batch holds patches_a/_b [B,N,s,s,1], positions_a/_b [B,N,3], center_distance_mm [B], center_delta_mm [B,3],
    rotation_delta_deg [B,3], window_target [B,2], series_label [B], and where known valid_fraction [B,2,N]: a patch of
    which less than half lies within its scan is not shown.
    """

    split_along: dict[str, int] = {}  # several processes learn what one learns: see train/processes.py

    def __init__(self, encoder: nn.Module, *, constants: dict[str, tuple[float, float]], head_mode: str = "regression",
                 proj_dim: int = 128, w_distance: float = 1.0, w_rotation: float = 1.0, w_window: float = 1.0,
                 w_supcon: float = 0.2, temperature: float = 0.1, warmup: int = 0, ramp: int = 0,
                 normalize_targets: bool = True):
        super().__init__()
        if head_mode not in HEADS or any(std <= 0 for _, std in constants.values()):
            raise MedsslError(f"{head_mode=}, {constants=}.", f"{' or '.join(HEADS)}; a std above 0 for each target")
        self.encoder, self.head_mode, self.sizes = encoder, head_mode, HEADS[head_mode]
        self.heads = nn.ModuleDict({head: nn.Sequential(nn.Linear(2 * encoder.dim, encoder.dim), nn.GELU(),
                                                        nn.Linear(encoder.dim, n)) for head, n in self.sizes.items()})
        self.project = projection_head(encoder.dim, proj_dim)
        self.weights = {"distance": w_distance, "direction": w_distance, "rotation": w_rotation,
                        "window_center": w_window, "window_width": w_window}
        self.constants = constants if head_mode == "regression" and normalize_targets else {}
        self.spread = constants  # in whose units the diagnostics are, normalised or not
        self.target, self.temperature, self.warmup, self.ramp = w_supcon, temperature, warmup, ramp
        self.w_supcon = supcon_weight(0, warmup, ramp, w_supcon)

    def before_step(self, step: int, _total: int) -> None:
        """The weight of SupCon is a function of the step alone, so a resumed run has the right one."""
        self.w_supcon = supcon_weight(step, self.warmup, self.ramp, self.target)

    def forward(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        features = self.both(batch)
        predicted, wanted = self.predict(features), self.targets(batch)
        out, loss = {}, 0.0
        for head in self.sizes:
            term, raw = self._terms(head, predicted[head], wanted[head])
            loss = loss + self.weights[head] * term
            out |= {f"loss_{head}": term, f"loss_{head}_raw": raw}
            out |= self._moments(head, predicted[head], wanted[head])
        labels = batch["series_label"].repeat(2)
        out["loss_supcon"] = supcon(self.project(features), labels, self.temperature)
        out["loss_geometry"], out["w_supcon"] = loss, self.w_supcon
        positives = (labels[:, None] == labels).sum(1) - 1  # over both views, 2B embeddings, itself left out
        out |= {"positives_per_anchor": positives.float().mean(), "positives_per_anchor_min": positives.min(),
                "distinct_series_per_batch": len(labels.unique())}
        if "valid_fraction" in batch:
            out["valid_fraction"] = batch["valid_fraction"].mean()
        return {"loss": loss + self.w_supcon * out["loss_supcon"], **out}

    def both(self, batch: dict[str, Tensor]) -> Tensor:
        """Features [2B,dim]: those of the views a, then those of the views b, in one pass."""
        patches, places = (torch.cat([batch[f"{name}_a"], batch[f"{name}_b"]]) for name in ("patches", "positions"))
        share = batch.get("valid_fraction")
        return self.encoder(patches, places, None if share is None else torch.cat(share.unbind(1)) >= LEAST_VALID)

    def predict(self, features: Tensor) -> dict[str, Tensor]:
        """What the heads say of the pairs, float32 [B,n]: in units of the normalised targets, or logits of signs."""
        pair = torch.cat(features.chunk(2), 1)
        return {head: layer(pair).float() for head, layer in self.heads.items()}

    def targets(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        """What they should say [B,n], in mm, degrees and windows; in sign mode 0 or 1."""
        centre, width = batch["window_target"].float().split(1, 1)
        if self.head_mode == "sign":
            return {head: (value > 0).float() for head, value in
                    (("direction", batch["center_delta_mm"]), ("window_center", centre), ("window_width", width))}
        return {"distance": batch["center_distance_mm"].float()[:, None], "window_center": centre,
                "rotation": batch["rotation_delta_deg"].float(), "window_width": width}

    def encode(self, patches: Tensor, places: Tensor, valid: Tensor | None = None) -> Tensor:
        """A view -> features [B,dim], from below the heads."""
        return self.encoder(patches, places, valid)

    def param_groups(self, lr: float, weight_decay: float) -> list[dict]:
        """Biases and norm scales do not decay."""
        return decay_groups(self, lr, weight_decay)

    def raw(self, head: str, predicted: Tensor) -> Tensor:
        """A prediction in the units of its target: mm, degrees, windows."""
        mean, std = self.constants.get(head, (0.0, 1.0))
        return predicted * std + mean

    def _terms(self, head: str, predicted: Tensor, wanted: Tensor) -> tuple[Tensor, Tensor]:
        """(the loss that is minimised, the same before normalisation: a mean absolute error, or nats)."""
        if self.head_mode == "sign":
            nats = F.binary_cross_entropy_with_logits(predicted, wanted)
            return nats / math.log(2), nats.detach()
        mean, std = self.constants.get(head, (0.0, 1.0))
        return (F.smooth_l1_loss(predicted, (wanted - mean) / std),
                (self.raw(head, predicted) - wanted).abs().mean().detach())

    @torch.no_grad()
    def _moments(self, head: str, predicted: Tensor, wanted: Tensor) -> dict[str, Tensor]:
        """First and second moments of each number: means over many batches, from which a std needs no large batch."""
        if self.head_mode == "sign":
            pairs = {"target": wanted, "pred": predicted.sigmoid()}
        else:
            mean, std = self.spread[head]
            pairs = {"target": (wanted - mean) / std, "pred": (self.raw(head, predicted) - mean) / std}
        return {f"moment{power}/{who}/{head}/{axis}": column.pow(power).mean()
                for who, values in pairs.items() for axis, column in enumerate(values.T) for power in (1, 2)}


def supcon_weight(step: int, warmup: int, ramp: int, target: float) -> float:
    """0 for `warmup` steps, then a straight line up to `target` over `ramp` steps, then `target`."""
    if step < warmup:
        return 0.0
    return target * min(1.0, (step - warmup) / ramp) if ramp > 0 else target


@cache  # the table of an ablation asks for the same six sums of 30,000 steps over and over
def supcon_exposure(steps: int, warmup: int, ramp: int, target: float) -> float:
    """The weight summed over a run: what a longer ramp costs SupCon, and with it a fair comparison."""
    return sum(supcon_weight(step, warmup, ramp, target) for step in range(steps))
