"""UNet-MIM: draw masked patches of the whole image, and know the other half of a slice among those of others."""

import torch
from torch import Tensor, nn
from torch.nn.functional import normalize

from medssl.errors import MedsslError
from medssl.losses import mask_of_pixels, masked_error, nt_xent, pair_cosines
from medssl.models import decay_groups, projection_head

GREY = 0.5  # of a hidden patch: 0 after the encoder's normalisation, and no air, which is black


class UNetMIM(nn.Module):
    """A UNet and a projection head under

        loss = recon_weight · masked_error(x̂, x)  +  contrast_weight · InfoNCE(z_left, z_right)

    x is the whole image, x̂ what the UNet draws of it; InfoNCE is nt_xent over the 2N halves of the batch, each of which
    has to find the other half of its slice. A batch is that of views.Halves. A term of weight 0 is not computed; with
    contrast_weight=0 there is no head.

    mask_input=False shows the network the image unmasked, and asks for patches that it sees. Its skip connections then
    carry the answer past the bottleneck, so that term is solved by copying. mask_input=True paints the patches grey
    before the network sees the image, as masked image modelling does elsewhere (SimMIM: Xie et al. 2022, arXiv
    2111.09886): they have to be guessed from their surroundings.

    Grey values in [0, 1] give reconstruction errors of some 0.01, InfoNCE begins at ln(2N - 1), about 5: weights of
    1 and 1 are far from equal shares of the gradient.
    """

    def __init__(self, encoder: nn.Module, *, proj_dim: int = 128, temperature: float = 0.2, mask_input: bool = False,
                 recon_weight: float = 1.0, contrast_weight: float = 1.0, l2: float = 0.0):
        super().__init__()
        if not hasattr(encoder, "decode") or min(recon_weight, contrast_weight, l2) < 0 or \
                not recon_weight + contrast_weight > 0:
            raise MedsslError(f"{type(encoder).__name__}, {recon_weight=}, {contrast_weight=}, {l2=}.",
                              "a UNet, weights of 0 or more, one of the first two above 0", 'Take model="unet".')
        self.encoder = encoder
        if contrast_weight:
            self.head = projection_head(encoder.dim, proj_dim)
        self.temperature, self.mask_input, self.l2 = temperature, bool(mask_input), l2
        self.recon_weight, self.contrast_weight = recon_weight, contrast_weight

    def forward(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        loss, out = 0.0, {}
        if self.recon_weight:
            maps = self.encoder.maps(self.seen(batch))
            out["reconstruction"] = masked_error(self.encoder.decode(maps), batch["image"], batch["mask"], self.l2)
            loss = loss + self.recon_weight * out["reconstruction"]
            z = self.encoder.pool(maps)
        if self.contrast_weight:
            z = self.head(self.encoder(torch.cat([batch["left"], batch["right"]])))  # in one pass, as in SimCLR
            left, right = z.chunk(2)
            out["contrast"] = nt_xent(left, right, self.temperature)
            out["positive_cosine"], out["negative_cosine"] = pair_cosines(left, right)
            loss = loss + self.contrast_weight * out["contrast"]
        return {"loss": loss, **out, **unit_variance(z)}

    def seen(self, batch: dict[str, Tensor]) -> Tensor:
        """The image as the network is shown it for the reconstruction."""
        image = batch["image"]
        return image.masked_fill(mask_of_pixels(batch["mask"], image), GREY) if self.mask_input else image

    @torch.no_grad()
    def draw(self, batch: dict[str, Tensor], skips: bool | None = None) -> Tensor:
        """The reconstruction x̂ [B,C,H,W] of a batch, in eval mode; skips=False: from the bottleneck alone."""
        training = self.training
        drawn = self.eval().encoder.reconstruct(self.seen(batch), skips).float()
        self.train(training)
        return drawn

    def encode(self, x: Tensor) -> Tensor:
        """Images [B,C,H,W] -> features [B,dim], from below the head."""
        return self.encoder(x)

    def param_groups(self, lr: float, weight_decay: float) -> list[dict]:
        """Biases and BatchNorm scales do not decay."""
        return decay_groups(self, lr, weight_decay)


@torch.no_grad()
def unit_variance(z: Tensor) -> dict[str, Tensor]:
    """{"variance_mean", "variance_min", "dead"} over the dimensions of z / |z|, z [N,D]: the variance of each in the
    batch, and in how many it is below 1 % of an even spread.

    Directions spread evenly give 1 / D (0.0078 for 128) in every dimension; a collapse to one point gives 0.
    """
    variance = normalize(z.float(), dim=1).var(0, unbiased=False)
    return {"variance_mean": variance.mean(), "variance_min": variance.min(),
            "dead": (variance < 0.01 / z.shape[1]).float().sum()}
