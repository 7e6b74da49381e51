"""What a run of Prism is described by: the one list of names, for whoever writes them and whoever reads them."""

import math
import warnings
from collections.abc import Mapping

from medssl.methods.prism import HEADS

CONTROLLED = ("proxy_distance_mae_ratio", "proxy_window_r2", "proxy_retrieval_r1")  # each also as …_grey
TARGETS = tuple(dict.fromkeys(head for heads in HEADS.values() for head in heads))
GROUPS = {
    "progress": ("step", "epoch", "lr", "seconds", "grad_norm"),
    # minimised: "loss", the sum. L_head is of normalised targets; _raw of mm, degrees, windows, or nats
    "loss": ("loss", "loss_geometry", *(f"loss_{head}" for head in TARGETS), *(f"loss_{head}_raw" for head in TARGETS),
             "loss_supcon", "w_supcon"),
    # of the normalised targets: what the sampling promises is a mean of 0 and a std of 1. _min: the axis that is least
    "sanity": (*(f"{who}_{head}_{what}" for head in TARGETS for who in ("target", "pred") for what in ("mean", "std")),
               *(f"target_{head}_std_min" for head in TARGETS), *(f"ratio_{head}" for head in TARGETS),
               "positives_per_anchor", "positives_per_anchor_min", "distinct_series_per_batch"),
    "throughput": ("throughput_effective_patches_per_sec", "patches_per_sec_step", "wall_seconds", "loader_wait_ms",
                   "loader_wait_ms_total", "time_to_first_batch_ms", "first_step_time_ms",
                   *(f"total_step_time_ms_{what}" for what in ("mean", "p50", "p95", "p99", "max")),
                   "stall_steps_ge_2000ms", "stall_steps_ge_10000ms", "vram_allocated_gb_max", "vram_reserved_gb_max"),
    "replacement": ("replacement_completed_count", "replacement_failed_count", "replacement_wait_time_ms_total",
                    "replacement_load_ms_total", "valid_fraction"),
    "proxy": ("proxy_distance_mae_ratio", "proxy_rotation_error_ratio", "proxy_window_r2", "proxy_retrieval_r1",
              "proxy_rankme_ratio", "proxy_distance_mae_mm", "proxy_rotation_error_deg", "proxy_retrieval_chance",
              "proxy_direction_sign_accuracy", "proxy_window_sign_accuracy", "proxy_items", "proxy_seconds",
              "proxy_scans_failed", *(f"{name}_grey" for name in CONTROLLED)),
}
METRICS = tuple(name for names in GROUPS.values() for name in names)
NEARLY_CONSTANT, PATIENCE = 1e-3, 3  # std of a normalised target; rows in which it has to stay below


class Diagnostics:
    """Turns the moments that methods.Prism gives into means, stds and their ratio, over all batches of a row:

        std² = mean over the axes of  E[x²] - E[x]²,      ratio = pred_std / target_std

    and warns of a target that says nearly nothing for PATIENCE rows: its loss is near 0 and teaches nothing.
    """

    def __init__(self):
        self.quiet_rows: dict[str, int] = {}

    def __call__(self, row: dict) -> dict:
        moments = {name: row[name] for name in row if name.startswith("moment")}
        out = {name: value for name, value in row.items() if name not in moments}
        for head in TARGETS:
            for who in ("target", "pred"):
                axes = [(value, moments[name.replace("moment1", "moment2")]) for name, value in moments.items()
                        if name.startswith(f"moment1/{who}/{head}/")]
                if not axes:
                    continue
                variances = [max(0.0, square - mean * mean) for mean, square in axes]
                out[f"{who}_{head}_mean"] = sum(mean for mean, _ in axes) / len(axes)
                out[f"{who}_{head}_std"] = math.sqrt(sum(variances) / len(axes))
                if who == "target":
                    out[f"target_{head}_std_min"] = math.sqrt(min(variances))
                    self._watch(head, out[f"target_{head}_std_min"])
                else:
                    wanted = out[f"target_{head}_std"]
                    out[f"ratio_{head}"] = out[f"pred_{head}_std"] / wanted if wanted else math.nan
        return out

    def _watch(self, head: str, std: float) -> None:
        self.quiet_rows[head] = self.quiet_rows.get(head, 0) + 1 if std < NEARLY_CONSTANT else 0
        if self.quiet_rows[head] == PATIENCE:
            warnings.warn(f"The target {head} has been constant for {PATIENCE} rows (std {std:.1e} of the expected 1): "
                          "its loss will be near 0 and teaches nothing. Look at the views.", stacklevel=2)


def line(row: Mapping[str, float]) -> str:
    """A row for the log, losses in scientific notation: 0.0000 would hide which zero it is."""
    losses = [name for name in GROUPS["loss"] if name in row]
    ratios = [name for name in GROUPS["sanity"] if name.startswith("ratio_") and name in row]
    rest = ("positives_per_anchor", "throughput_effective_patches_per_sec", "total_step_time_ms_p50",
            "total_step_time_ms_p99", "loader_wait_ms", "replacement_failed_count")
    return " ".join([f"step {row['step']:>6}", *(f"{name} {row[name]:.3e}" for name in losses),
                     *(f"{name} {row[name]:.3f}" for name in ratios),
                     *(f"{name} {row[name]:.1f}" for name in rest if name in row)])
