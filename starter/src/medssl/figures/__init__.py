"""One function a figure: arrays in, a matplotlib Figure out. Nothing is shown, and pyplot is never touched."""

from medssl.figures.errors import confusion, misclassified, reliability
from medssl.figures.images import augmented_views, class_counts, picture_grid, sample_grid
from medssl.figures.style import stamp
from medssl.figures.training import learning_curves, model_comparison

__all__ = ["augmented_views", "class_counts", "confusion", "learning_curves", "misclassified", "model_comparison",
           "picture_grid", "reliability", "sample_grid", "stamp"]
