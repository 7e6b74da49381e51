"""medssl: self-supervised learning on medical images, small enough to read.

Rooms: data, views, models, losses, methods, train, evaluate, figures, recipes, course.
Each loads when it is first named. `medssl.load_encoder(path)` gives an exported encoder back.
"""

import importlib

from medssl.about import VERSION as __version__

__all__ = ["__version__"]
_ROOMS = {"data", "views", "models", "losses", "methods", "train", "evaluate", "figures", "recipes", "course"}


def __getattr__(name: str):
    if name in _ROOMS:
        return importlib.import_module(f"medssl.{name}")
    if name == "load_encoder":
        return importlib.import_module("medssl.models.export").load_encoder
    raise AttributeError(f"medssl has no room {name!r}; it has {', '.join(sorted(_ROOMS))}")
