"""One function a figure: arrays in, a matplotlib Figure out. Nothing is shown, and pyplot is never touched."""

from medssl.figures.attention import attention_overlay, token_colours
from medssl.figures.crops import crop_boxes, ratio_histograms
from medssl.figures.embeddings import embeddings, error_statistics
from medssl.figures.errors import confusion, misclassified, reliability
from medssl.figures.images import augmented_views, class_counts, picture_grid, sample_grid
from medssl.figures.labels import label_efficiency, ladder
from medssl.figures.masks import masks
from medssl.figures.operating import pr_curves, roc_curves, score_histograms, threshold_drift, trade_off
from medssl.figures.pairs import pair_places, run_panels, view_mosaics
from medssl.figures.pretraining import ssl_curves, view_pairs
from medssl.figures.reconstruction import reconstruction
from medssl.figures.shadows import shadows
from medssl.figures.shifts import loss_parts, shift_curves, shifted_examples
from medssl.figures.style import stamp
from medssl.figures.training import learning_curves, model_comparison
from medssl.figures.volumes import three_planes

__all__ = ["attention_overlay", "augmented_views", "class_counts", "confusion", "crop_boxes", "embeddings",
           "error_statistics", "label_efficiency", "ladder", "learning_curves", "loss_parts", "masks", "misclassified",
           "model_comparison", "pair_places", "picture_grid", "pr_curves", "ratio_histograms", "reconstruction",
           "reliability", "roc_curves", "run_panels", "sample_grid", "score_histograms", "shadows", "shift_curves",
           "shifted_examples", "ssl_curves", "stamp", "three_planes", "threshold_drift", "token_colours", "trade_off",
           "view_mosaics", "view_pairs"]
