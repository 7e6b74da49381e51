"""LeJEPA: all views of an image should have one embedding, and the embeddings of all images be Gaussian."""

import torch
from torch import Generator, Tensor, nn

from medssl.errors import MedsslError
from medssl.losses import gaussian_level, pair_cosines, random_directions, sigreg
from medssl.models import decay_groups, projection_head


class LeJEPA(nn.Module):
    """Encoder and projection head under LeJEPA's loss (Balestriero & LeCun 2025, arXiv 2511.08544).

        loss = (1 - λ) · mean over views v, images n, dimensions of (m_n - z_vn)²  +  λ · mean over v of SIGReg(z_v)

    with m_n the mean embedding of the global views of image n. The first term alone is least when all images share one
    point; SIGReg forbids that, so there are no negatives, no teacher, no predictor and no stopped gradient: it flows
    into m_n as well as into z_vn. A batch has "global" [V,B,C,H,W] and may have "local" views, see views.ManyViews.

    SIGReg's directions are drawn anew each step from torch's own generator, which the trainer seeds for every step; in
    eval() they are always the same.
    """

    split_along = {"global": 1, "local": 1}  # several processes learn what one learns: see train/processes.py

    def __init__(self, encoder: nn.Module, *, proj_dim: int = 128, lam: float = 0.05, slices: int = 256,
                 hidden: int = 512):
        super().__init__()
        if not 0 <= lam <= 1 or slices < 1:
            raise MedsslError(f"lam={lam}, slices={slices}", "lam from 0 to 1 (0.02 to 0.1 is usual), 1 slice or more")
        self.encoder, self.head = encoder, projection_head(encoder.dim, proj_dim, hidden, layers=3)
        self.lam, self.slices = lam, slices

    def forward(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        z = self.embed(batch)  # [V,B,D]
        centre = z[:len(batch["global"])].mean(0)
        prediction = (centre - z).square().mean()
        chance = torch.default_generator if self.training else Generator().manual_seed(0)
        directions = random_directions(z.shape[2], self.slices, chance).to(z.device)
        gaussian = torch.stack([sigreg(view, directions) for view in z]).mean()
        positive, negative = pair_cosines(z[0], z[1])
        return {"loss": (1 - self.lam) * prediction + self.lam * gaussian, "prediction": prediction, "sigreg": gaussian,
                "positive_cosine": positive, "negative_cosine": negative, **spread(z)}

    def embed(self, batch: dict[str, Tensor]) -> Tensor:
        """[V,B,D] in float32, global views first. Those of one size pass the encoder together, all pass the head so."""
        views = [batch[kind] for kind in ("global", "local") if kind in batch]
        if len(views[0]) + (len(views[1]) if len(views) > 1 else 0) < 2:
            raise MedsslError("The batch holds a single view.", "2 or more of each image", "ManyViews(augment, 4)")
        features = torch.cat([self.encoder(view.flatten(0, 1)) for view in views])
        return self.head(features).float().unflatten(0, (-1, views[0].shape[1]))

    def chance_level(self, n_global: int, n_local: int = 0) -> float:
        """The loss of embeddings that are Gaussian and tell nothing: N(0, I), drawn anew for each view.

        A global view is 1/V of its own centre of V, so E (m - z)² is 1 - 1/V for it and 1 + 1/V for a local view.
        """
        prediction = 1 + (n_local - n_global) / (n_global * (n_global + n_local))
        return (1 - self.lam) * prediction + self.lam * gaussian_level()

    def encode(self, x: Tensor) -> Tensor:
        """Images [B,C,H,W] -> features [B,dim], from below the head."""
        return self.encoder(x)

    def param_groups(self, lr: float, weight_decay: float) -> list[dict]:
        """Biases and BatchNorm scales do not decay."""
        return decay_groups(self, lr, weight_decay)


@torch.no_grad()
def spread(z: Tensor) -> dict[str, Tensor]:
    """{"embedding_std", "embedding_rank"} of z [V,B,D], views pooled: 1 and nearly D where SIGReg has its way.

    std: the mean over dimensions. rank: (sum of the covariance's eigenvalues)² / (sum of their squares), which needs no
    eigenvalues and so costs one product of matrices a step; 1 where all embeddings lie on a line.
    """
    flat = z.detach().flatten(0, 1)
    covariance = torch.cov(flat.T).reshape(flat.shape[1], -1).nan_to_num()  # the trainer is to say what is no number
    rank = covariance.trace() ** 2 / covariance.square().sum().clamp(min=1e-30)
    return {"embedding_std": flat.std(0).mean(), "embedding_rank": rank}
