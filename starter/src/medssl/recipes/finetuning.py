"""Fine-tuning: a pretrained encoder learns on, with a few labels and small steps."""

from copy import deepcopy

import numpy as np
import torch
from torch import nn

from medssl.data import ImageData
from medssl.errors import MedsslError
from medssl.models import digest, freeze_batchnorm, unfreeze
from medssl.recipes.supervised import Trained, train_supervised


def finetune(data: ImageData, encoder: nn.Module, *, fraction: float = 0.1, seed: int = 0, steps: int | None = None,
             epochs: int | None = None, lr: float = 2e-4, head_lr_scale: float = 10.0, batchnorm: str = "frozen",
             probe: tuple[np.ndarray, float] | None = None, batch_size: int = 64, augment="A",
             label_smoothing: float = 0.05, **settings) -> Trained:
    """Train a copy of `encoder` and a new last layer on a share of the labels; the encoder itself stays as it is.

    Two classes, K classes, or K findings at once (labels [N,K]); predict_proba or predict_many then ask run.model.

    - lr moves the encoder, head_lr_scale · lr the new layer: what is learnt already needs small steps.
    - batchnorm="frozen" keeps the means and variances of the pretraining (the scales still learn): a batch of a few
      dozen labelled images estimates them worse than thousands of unlabelled ones did. "train" lets them move.
    - probe=(w [D], b), a linear probe of two classes on the same labels, is where the new layer starts; otherwise it
      starts at random, and its first gradients pull good features apart (Kumar et al. 2022, arXiv 2202.10054).
    - patience=…, monitor and select as in train_supervised: early stopping looks at val.
    """
    if batchnorm not in ("frozen", "train"):
        raise MedsslError(f"batchnorm={batchnorm!r}", "'frozen' (statistics of the pretraining) or 'train'")
    encoder = unfreeze(deepcopy(encoder))  # first: to thaw an encoder that a probe froze would thaw BatchNorm, too
    if batchnorm == "frozen":
        freeze_batchnorm(encoder)
    first_head = _two_logits(probe)
    about = {"start": f"{encoder.backbone} {digest(encoder.state_dict())}", "batchnorm": batchnorm,
             "head_start": f"probe {digest(first_head)}" if probe else "random"}
    return train_supervised(data, encoder, fraction=fraction, seed=seed, steps=steps, epochs=epochs, lr=lr,
                            head_lr_scale=head_lr_scale, first_head=first_head, batch_size=batch_size,
                            augment=augment, label_smoothing=label_smoothing, about=about, **settings)


def _two_logits(probe: tuple[np.ndarray, float] | None) -> dict[str, torch.Tensor] | None:
    """One logit w · x + b as two, -half and +half: softmax of the two is the sigmoid of the one."""
    if probe is None:
        return None
    w, b = (torch.as_tensor(np.asarray(part), dtype=torch.float32) for part in probe)
    return {"weight": torch.stack([-w, w]) / 2, "bias": torch.stack([-b, b]).reshape(2) / 2}
