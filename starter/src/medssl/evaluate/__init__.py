"""What a model is worth: numbers from labels and probabilities, with the noise that belongs to them."""

from medssl.evaluate.bootstrap import bootstrap_intervals, paired_change
from medssl.evaluate.by_scan import class_probe, class_rates, place_errors, place_probe
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
from medssl.evaluate.collapse import collapse_warning, embedding_health, rank_share, rankme
from medssl.evaluate.compare import contrast, difference
from medssl.evaluate.dark_spot import dark_spot, outlined
from medssl.evaluate.encode import encode, predict_many, predict_proba
from medssl.evaluate.fewshot import few_shot
from medssl.evaluate.image_statistics import compare_errors, compare_groups, image_statistics
from medssl.evaluate.maps import flat_map, umap_at_hand
from medssl.evaluate.metrics import evaluate, summarise_seeds
from medssl.evaluate.multiclass import evaluate_multiclass, evaluate_multilabel
from medssl.evaluate.over_runs import auroc_values, over_runs
from medssl.evaluate.probes import Probes, fit_probes, knn_proba
from medssl.evaluate.probes_many import fit_many, report
from medssl.evaluate.prototypes import (
    collapse_alarms,
    collapse_kind,
    collapse_numbers,
    healthy_limits,
    prototype_health,
    teacher_student_kl,
    unique_prototypes,
)
from medssl.evaluate.robustness import ranking_or_threshold, robustness, shift_changes, told_apart
from medssl.evaluate.segmentation import (
    Case,
    as_tokens,
    dice,
    fit_ellipsoid,
    fit_head,
    fit_intensity,
    paired_cases,
    score_cases,
)
from medssl.evaluate.sites import leave_one_site_out
from medssl.evaluate.spread import sources_of_spread
from medssl.evaluate.thresholds import (
    at_threshold,
    choose_threshold,
    operating_point_table,
    operating_points,
    rule_name,
    wilson,
)

__all__ = ["adjust_prior", "as_tokens", "at_threshold", "auroc_values", "bootstrap_intervals", "calibration_table",
           "Calibrator", "Case", "check_labels_and_probabilities", "choose_threshold", "class_probe", "class_rates",
           "collapse_alarms", "collapse_kind", "collapse_numbers", "collapse_warning", "compare_calibrators",
           "compare_errors", "compare_groups", "contrast", "dark_spot", "dice", "difference", "ece", "ece_debiased",
           "ece_if_calibrated", "embedding_health", "encode", "estimate_prior", "evaluate", "evaluate_multiclass",
           "evaluate_multilabel", "few_shot", "fit_calibrator", "fit_ellipsoid", "fit_head", "fit_intensity",
           "fit_many", "fit_probes", "flat_map", "healthy_limits", "image_statistics", "knn_proba",
           "leave_one_site_out", "operating_point_table", "operating_points", "outlined", "over_runs", "paired_cases",
           "paired_change", "place_errors", "place_probe", "predict_many", "predict_proba", "Probes",
           "prototype_health", "rank_share", "ranking_or_threshold", "rankme", "reliability_table", "report",
           "robustness", "rule_name", "score_cases", "shift_changes", "sources_of_spread", "summarise_seeds",
           "teacher_student_kl", "told_apart", "umap_at_hand", "unique_prototypes", "wilson"]
