"""What a model is worth: numbers from labels and probabilities, with the noise that belongs to them."""

from medssl.evaluate.bootstrap import bootstrap_intervals
from medssl.evaluate.calibration import ece, ece_debiased, ece_if_calibrated, reliability_table
from medssl.evaluate.checks import check_labels_and_probabilities
from medssl.evaluate.collapse import collapse_warning, embedding_health, rankme
from medssl.evaluate.encode import encode, predict_proba
from medssl.evaluate.metrics import evaluate, summarise_seeds

__all__ = ["bootstrap_intervals", "collapse_warning", "check_labels_and_probabilities", "ece", "ece_debiased",
           "ece_if_calibrated", "embedding_health", "encode", "evaluate", "predict_proba", "rankme",
           "reliability_table", "summarise_seeds"]
