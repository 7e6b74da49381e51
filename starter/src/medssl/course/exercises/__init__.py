"""Exercises with an instant check: `f = exercises.ece(mine)` says whether `mine` is right, and returns what serves.

An exercise that is not filled in yet (it returns ... or None) is no failure: the package's own solution serves, so
every notebook runs from top to bottom. A wrong answer is told with the first case in which it differs, and a mistake
that many have made before is told by its name.
"""

from medssl.course.exercises.baseline import majority_accuracy, optimiser_steps, paired_gap
from medssl.course.exercises.calibration import apply_temperature, brier, ece, temperature_nll
from medssl.course.exercises.check import predict
from medssl.course.exercises.contrastive import nt_xent, queue_mask
from medssl.course.exercises.crops import box_ratio, mutual_information, pair_loss
from medssl.course.exercises.halves import anti_mirror, masked_l1
from medssl.course.exercises.operating import expected_cost, operating_point, threshold_for_tpr
from medssl.course.exercises.pairs import centre_distance, rotation_delta, supcon_loss
from medssl.course.exercises.prediction import context_tokens, epps_pulley, leak
from medssl.course.exercises.probing import label_counts, may_claim, standardise
from medssl.course.exercises.reproducing import seed_band
from medssl.course.exercises.shifts import lower_contrast
from medssl.course.exercises.volumes import block_tokens, voxel_to_world
from medssl.course.exercises.writing import gap_of_gaps

__all__ = [
    "anti_mirror", "apply_temperature", "block_tokens", "box_ratio", "brier", "centre_distance", "context_tokens",
    "ece", "epps_pulley", "expected_cost", "gap_of_gaps", "label_counts", "leak", "lower_contrast",
    "majority_accuracy", "masked_l1", "may_claim", "mutual_information", "nt_xent", "operating_point",
    "optimiser_steps", "pair_loss", "paired_gap", "predict", "queue_mask", "rotation_delta", "seed_band",
    "standardise", "supcon_loss", "temperature_nll", "threshold_for_tpr", "voxel_to_world",
]  # fmt: skip
