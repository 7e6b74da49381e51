"""Joint-embedding prediction: from the patches that are seen, predict how the others would be embedded."""

import math

import torch
import torch.nn.functional as F
from torch import Generator, Tensor, nn

from medssl.errors import MedsslError
from medssl.losses import gaussian_level, random_directions, sigreg
from medssl.methods.lejepa import spread
from medssl.models import Predictor, decay_groups, follow, freeze, momentum_copy, projection_head, select

LOSSES = {"smooth_l1": F.smooth_l1_loss, "l1": F.l1_loss}


class MaskedJEPA(nn.Module):
    """I-JEPA (Assran et al. 2023, arXiv 2301.08243), target="ema":

        context  c = encoder(the patches `keep` and no others)
        target   h = LayerNorm (no weights) of teacher(all patches), no gradient; teacher <- m teacher + (1 - m) encoder
        loss       = mean of smooth L1(predictor(c, places of a target block), h there) over all blocks

    Each block is predicted by itself. m rises from `momentum` to 1, a straight line over the steps. A batch has "image"
    [B,C,(D,)H,W], "context" int64 [B,K], "targets" int64 [T,B,M] (T blocks an image, token numbers, see views.masks)
    and may have "spacing" [B,3] in mm.

    encode() and what `pretrain` leaves are the encoder; the paper evaluates the teacher. As m ends at 1 the teacher
    stands still at last, as a mean of late encoders; in a short run it lags behind them.

    The loss, the teacher, its momentum and the shares of the masks are the paper's; this is not: the weight decay stays
    what it is (there 0.04 rising to 0.4); the weights of a block are not divided by sqrt(2 · its number) at the start;
    the predictor has 3 blocks (there 6 for a base encoder, 12 for larger ones: predictor_depth=); the tokens seen are
    cut to the fewest of the batch at random (there from the end). What these change has not been measured here.

    target="sigreg" is EXPERIMENTAL, no published method: h is a projection of the encoder's own tokens, no gradient is
    stopped, and (1 - λ) · loss + λ · SIGReg(mean h of each image) is to keep it from a collapse. (What is predicted is
    what SIGReg sees: a projection for SIGReg alone can be Gaussian while the tokens are nearly one.) LeJEPA's λ of 0.05
    is too little here: most of a volume's mean token is the same for all of them, and on AdrenalMNIST3D SIGReg stayed
    at the value of a single point, where 0.5 left it within 30 steps (reports/vjepa.md). Always show it beside "ema".
    """

    TARGETS = ("ema", "sigreg")

    def __init__(self, encoder: nn.Module, *, target: str = "ema", loss: str = "smooth_l1", momentum: float = 0.996,
                 lam: float = 0.5, slices: int = 256, proj_dim: int = 64, predictor_width: int | None = None,
                 predictor_depth: int = 3):
        super().__init__()
        if target not in self.TARGETS or loss not in LOSSES or not 0 <= momentum <= 1 or not 0 <= lam <= 1:
            raise MedsslError(f"{target=}, {loss=}, {momentum=}, {lam=}.",
                              f"target {' or '.join(self.TARGETS)}, loss {' or '.join(LOSSES)}, the others 0 to 1")
        if not hasattr(encoder, "tokens") or encoder.pool != "mean":
            raise MedsslError("The encoder has no tokens, or pools by another token.", 'a ViT with pool="mean"',
                              'model="vit": a part of the patches cannot be taken from a convolutional network')
        self.encoder = encoder
        self.predictor = Predictor(encoder.dim, predictor_width, predictor_depth,
                                   out=proj_dim if target == "sigreg" else None)
        self.target, self.loss, self.lam, self.slices = target, loss, lam, slices
        self.first_momentum = self.momentum = momentum
        if target == "ema":
            self.teacher = freeze(momentum_copy(encoder))  # frozen: in eval mode, too, while the encoder trains
        if target == "sigreg":
            self.head = projection_head(encoder.dim, proj_dim, 512, layers=3)

    def forward(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        h = self.full(batch)
        h = F.layer_norm(h.float(), h.shape[-1:]) if self.target == "ema" else self.project(h).float()
        z, loss = h.mean(1), LOSSES[self.loss](self.predict(batch, self.context(batch)), at_blocks(h, batch["targets"]))
        out = {"loss": loss, "prediction": loss, **spread(z[None])}
        if self.target == "sigreg":
            chance = torch.default_generator if self.training else Generator().manual_seed(0)
            out["sigreg"] = sigreg(z, random_directions(z.shape[1], self.slices, chance).to(z.device))
            out["loss"] = (1 - self.lam) * loss + self.lam * out["sigreg"]
        return out

    def project(self, tokens: Tensor) -> Tensor:
        """[B,N,dim] -> [B,N,D], token by token; of target="sigreg"."""
        return self.head(tokens.flatten(0, 1)).unflatten(0, tokens.shape[:2])

    def context(self, batch: dict[str, Tensor]) -> Tensor:
        """[B,K,dim]: the tokens of the context, by an encoder that saw nothing else."""
        return self.encoder.tokens(batch["image"], batch["context"], batch.get("spacing"))

    def full(self, batch: dict[str, Tensor]) -> Tensor:
        """[B,N,dim]: the tokens of the whole image, by whoever makes the targets."""
        if self.target == "ema":
            with torch.no_grad():
                return self.teacher.tokens(batch["image"], spacing=batch.get("spacing"))
        return self.encoder.tokens(batch["image"], spacing=batch.get("spacing"))

    def predict(self, batch: dict[str, Tensor], context: Tensor) -> Tensor:
        """[T,B,M,D] in float32. All blocks pass the predictor together, as T · B sequences that know of no other."""
        image, keep, targets = batch["image"], batch["context"], batch["targets"]
        many, step = len(targets), self.encoder.step(image, batch.get("spacing"))
        predicted = self.predictor(context.repeat(many, 1, 1), keep.repeat(many, 1), targets.flatten(0, 1),
                                   self.encoder.grid(image), None if step is None else step.repeat(many, 1))
        return predicted.float().unflatten(0, (many, -1))

    def before_step(self, step: int, total: int) -> None:
        """m = m_0 + (1 - m_0) · step / total: the teacher follows less and less."""
        self.momentum = self.first_momentum + (1 - self.first_momentum) * step / total

    def after_step(self) -> None:
        """The teacher follows once the optimiser has moved the encoder."""
        if self.target == "ema":
            follow(self.teacher, self.encoder, self.momentum)

    def chance_level(self) -> float:
        """The loss of a predictor that says 0, of targets that are N(0, 1) in each dimension, and no more than that."""
        by_chance = {"smooth_l1": 0.4246, "l1": math.sqrt(2 / math.pi)}[self.loss]  # E of loss(x, 0) for x of N(0, 1)
        return by_chance if self.target == "ema" else (1 - self.lam) * by_chance + self.lam * gaussian_level()

    def settings(self) -> dict:
        """What it was built with, as far as it matters: for the run's record."""
        own = {"momentum": self.first_momentum} if self.target == "ema" else {"lam": self.lam, "slices": self.slices}
        return {"target": self.target, "loss": self.loss, "predictor_depth": len(self.predictor.blocks), **own}

    def encode(self, x: Tensor, spacing=None) -> Tensor:
        """Images -> features [B,dim], the mean token of the encoder; with gradients, so that it can be fine-tuned."""
        return self.encoder(x, spacing=spacing)

    def param_groups(self, lr: float, weight_decay: float) -> list[dict]:
        """The teacher learns nothing; biases and norm scales do not decay."""
        return decay_groups(self, lr, weight_decay)


class VJEPA(MaskedJEPA):
    """V-JEPA (Bardes et al. 2024, arXiv 2404.08471): the same machine with L1 and a momentum from 0.998, for clips and
    volumes.

    mode="ema" is the paper's, but for what MaskedJEPA's docstring says of I-JEPA's (the predictor there has 12 blocks)
    and for the masks: there each clip is seen with both kinds, here a batch with one (see views.tubes).

    mode="lejepa" has no teacher and stops no gradient; SIGReg alone is to prevent a collapse
    (MaskedJEPA's "sigreg", as experimental here).
    """

    def __init__(self, encoder: nn.Module, *, mode: str = "ema", loss: str = "l1", momentum: float = 0.998, **settings):
        if mode not in ("ema", "lejepa"):
            raise MedsslError(f"{mode=}", "ema or lejepa")
        super().__init__(encoder, target="ema" if mode == "ema" else "sigreg", loss=loss, momentum=momentum, **settings)


def at_blocks(tokens: Tensor, targets: Tensor) -> Tensor:
    """Of tokens [B,N,dim] those of each target block [T,B,M]: [T,B,M,dim]."""
    return torch.stack([select(tokens, block) for block in targets])
