"""What a model is worth: numbers from labels and probabilities, with the noise that belongs to them."""

from medssl.evaluate.bootstrap import bootstrap_intervals, paired_change
from medssl.evaluate.calibration import ece, ece_debiased, ece_if_calibrated, reliability_table
from medssl.evaluate.calibrators import (
    Calibrator,
    adjust_prior,
    calibration_table,
    compare_calibrators,
    estimate_prior,
    fit_calibrator,
)
from medssl.evaluate.checks import check_labels_and_probabilities
from medssl.evaluate.collapse import collapse_warning, embedding_health, rankme
from medssl.evaluate.compare import contrast, difference
from medssl.evaluate.dark_spot import dark_spot, outlined
from medssl.evaluate.encode import encode, predict_proba
from medssl.evaluate.image_statistics import compare_errors, compare_groups, image_statistics
from medssl.evaluate.maps import flat_map, umap_at_hand
from medssl.evaluate.metrics import evaluate, summarise_seeds
from medssl.evaluate.multiclass import evaluate_multiclass, evaluate_multilabel
from medssl.evaluate.probes import Probes, fit_probes, knn_proba
from medssl.evaluate.robustness import ranking_or_threshold, robustness, shift_changes, told_apart
from medssl.evaluate.spread import sources_of_spread
from medssl.evaluate.thresholds import (
    at_threshold,
    choose_threshold,
    operating_point_table,
    operating_points,
    rule_name,
    wilson,
)

__all__ = ["adjust_prior", "at_threshold", "bootstrap_intervals", "calibration_table", "Calibrator",
           "check_labels_and_probabilities", "choose_threshold", "collapse_warning", "compare_calibrators",
           "compare_errors", "compare_groups", "contrast", "dark_spot", "difference", "ece", "ece_debiased",
           "ece_if_calibrated", "embedding_health", "encode", "estimate_prior", "evaluate", "evaluate_multiclass",
           "evaluate_multilabel", "fit_calibrator", "fit_probes", "flat_map", "image_statistics", "knn_proba",
           "operating_point_table", "operating_points", "outlined", "paired_change", "predict_proba", "Probes",
           "ranking_or_threshold", "rankme", "reliability_table", "robustness", "rule_name", "shift_changes",
           "sources_of_spread", "summarise_seeds", "told_apart", "umap_at_hand", "wilson"]
