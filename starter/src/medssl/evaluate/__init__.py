"""What a model is worth: numbers from labels and probabilities, with the noise that belongs to them."""

from medssl.evaluate.bootstrap import bootstrap_intervals
from medssl.evaluate.calibration import ece, ece_debiased, ece_if_calibrated, reliability_table
from medssl.evaluate.checks import check_labels_and_probabilities
from medssl.evaluate.collapse import collapse_warning, embedding_health, rankme
from medssl.evaluate.compare import difference
from medssl.evaluate.encode import encode, predict_proba
from medssl.evaluate.metrics import evaluate, summarise_seeds
from medssl.evaluate.probes import Probes, fit_probes, knn_proba

__all__ = ["bootstrap_intervals", "check_labels_and_probabilities", "collapse_warning", "difference", "ece",
           "ece_debiased", "ece_if_calibrated", "embedding_health", "encode", "evaluate", "fit_probes", "knn_proba",
           "predict_proba", "Probes", "rankme", "reliability_table", "summarise_seeds"]
