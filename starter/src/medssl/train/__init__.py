"""One trainer for every method: it sees a batch, a loss and a clock, and knows no method by name."""

from medssl.train.checkpoint import load_newest, save_checkpoint
from medssl.train.device import find_device
from medssl.train.tracking import nobody_watches
from medssl.train.trainer import Trainer, TrainResult

__all__ = ["Trainer", "TrainResult", "find_device", "load_newest", "nobody_watches", "save_checkpoint"]
