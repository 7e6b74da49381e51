"""A masked predictor as one often sees it written, to be shown beside MaskedJEPA: do not pretrain with it."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from medssl.methods.jepa import MaskedJEPA, at_blocks
from medssl.methods.lejepa import spread
from medssl.models import select


class SeedJEPA(MaskedJEPA):
    """Encode all patches, then take the context's tokens; a stopped gradient; a penalty on the covariance.

        loss = mean of (p/|p| - h/|h|)²  +  λ · mean of (covariance of all tokens - I)²,   no gradient through h

    Two faults, beside the I-JEPA it means to be. The context's tokens have seen the targets, by attention: they need
    not predict, they can carry. And the penalty is no SIGReg: of N ≈ D samples it says the same of a single point as of
    a Gaussian, and it never sees where the mean lies.
    """

    TARGETS = ("covariance",)

    def __init__(self, encoder: nn.Module, *, lam: float = 1.0, **predictor_settings):
        super().__init__(encoder, target="covariance", lam=lam, **predictor_settings)

    def forward(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        h = self.full(batch)
        predicted = self.predict(batch, select(h, batch["context"]))
        wanted = at_blocks(h.float().detach(), batch["targets"])
        prediction = F.mse_loss(F.normalize(predicted, dim=-1), F.normalize(wanted, dim=-1))
        covariance = torch.cov(h.float().flatten(0, 1).T)
        penalty = F.mse_loss(covariance, torch.eye(len(covariance), device=h.device))
        return {"loss": prediction + self.lam * penalty, "prediction": prediction, "penalty": penalty,
                **spread(h.mean(1)[None].float())}

    def context(self, batch: dict[str, Tensor]) -> Tensor:
        """[B,K,dim]: the fault. What is selected here has attended to every patch before."""
        return select(self.full(batch), batch["context"])

    def chance_level(self) -> float:
        """The loss of directions that have nothing to do with one another, and no penalty."""
        return 2 / self.encoder.dim

    def settings(self) -> dict:
        """What it was built with, for the run's record."""
        return {"target": self.target, "lam": self.lam}
