"""Ways of learning: each a module with forward(batch) -> {"loss", ...} and encode(images) -> features."""

from medssl.methods.supervised import Supervised

__all__ = ["Supervised"]
