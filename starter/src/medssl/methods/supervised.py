"""Learning with labels: the baseline that every self-supervised method is compared with."""

import torch.nn.functional as F
from torch import Tensor, nn

from medssl.errors import MedsslError
from medssl.models import decay_groups, freeze, unfreeze


class Supervised(nn.Module):
    """An encoder and one linear layer, trained on cross-entropy.

    With p = softmax(W h(x) + b), the loss of one image of class y is -sum_k q_k log p_k, where label smoothing eps
    gives q_y = 1 - eps + eps/K and q_k = eps/K for the other classes: eps = 0 is plain -log p_y.

    train_encoder=False is the "head only" of week 3: W and b learn, the encoder does not, nor do its BatchNorm
    statistics.
    """

    def __init__(self, encoder: nn.Module, *, num_classes: int = 2, label_smoothing: float = 0.0,
                 train_encoder: bool = True, head_lr_scale: float = 1.0):
        super().__init__()
        if not 0 <= label_smoothing < 1 or head_lr_scale <= 0 or num_classes < 2:
            raise MedsslError(f"{label_smoothing=}, {head_lr_scale=}, {num_classes=} cannot be.",
                              "0 <= label_smoothing < 1, head_lr_scale > 0, num_classes >= 2.")
        self.encoder = unfreeze(encoder) if train_encoder else freeze(encoder)
        self.head = nn.Linear(encoder.dim, num_classes)
        self.label_smoothing, self.head_lr_scale = label_smoothing, head_lr_scale

    def forward(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        """batch {"image" [B,C,H,W], "label" int64 [B]} -> {"loss", "accuracy"}, one number each."""
        labels = batch["label"]
        if labels.ndim != 1 or labels.is_floating_point():
            raise MedsslError(
                f"The labels have shape {list(labels.shape)} and type {labels.dtype}.", "int64 of shape [B].",
                "MedMNIST's own files keep labels as [N,1]: use medssl.data.load, or labels.squeeze(1).long().")
        logits = self.predict(batch["image"])
        loss = F.cross_entropy(logits, labels, label_smoothing=self.label_smoothing)
        return {"loss": loss, "accuracy": (logits.detach().argmax(1) == labels).float().mean()}

    def encode(self, x: Tensor) -> Tensor:
        """Images [B,C,H,W] -> features [B,dim]; gradients flow where the encoder trains."""
        return self.encoder(x)

    def predict(self, x: Tensor) -> Tensor:
        """Images [B,C,H,W] -> logits [B,K]; softmax makes probabilities of them."""
        return self.head(self.encode(x))

    def param_groups(self, lr: float, weight_decay: float) -> list[dict]:
        """What the optimiser moves, and how fast: the head may be given a larger step than the encoder."""
        head_lr = lr * self.head_lr_scale
        return decay_groups(self.encoder, lr, weight_decay) + decay_groups(self.head, head_lr, weight_decay)
