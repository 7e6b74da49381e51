"""The predictor of a JEPA: from tokens of what is seen, and places of what is not, to tokens for those places."""

import torch
from torch import Tensor, nn

from medssl.errors import MedsslError
from medssl.models.positions import positions
from medssl.models.vit import Block, select


class Predictor(nn.Module):
    """A narrow transformer (Assran et al. 2023, arXiv 2301.08243): context and mask tokens in, targets out.

    Every target starts as the same learnt mask token; only the position that is added tells one from another. Width is
    half of the encoder's where none is given (I-JEPA: 384 for 768 to 1280): a predictor as wide as the encoder could
    do the encoder's work. Without a pixel of its own it cannot tell more of a target than context and place do.
    out: numbers in a prediction, where it is not those of a token.
    """

    def __init__(self, dim: int, width: int | None = None, depth: int = 3, heads: int = 4,
                 out: int | None = None):
        super().__init__()
        width = width or dim // 2
        if width % heads or depth < 1:
            raise MedsslError(f"A predictor of {width=}, {depth=}, {heads=}.",
                              "a width that is a multiple of heads; 1 block or more")
        self.enter, self.leave = nn.Linear(dim, width), nn.Linear(width, out or dim)
        self.mask_token = nn.Parameter(0.02 * torch.randn(width))
        self.blocks, self.norm = nn.ModuleList(Block(width, heads) for _ in range(depth)), nn.LayerNorm(width)

    def forward(self, context: Tensor, keep: Tensor, targets: Tensor, grid: tuple[int, ...],
                step: Tensor | None = None) -> Tensor:
        """context [B,K,dim] of the tokens keep [B,K], token numbers targets [B,M] -> predictions [B,M,out].

        step [B,axes]: mm from token to token (ViT.step), where the encoder's positions are in mm.
        """
        places = positions(grid, self.mask_token.shape[0], step).to(context.device)
        places = places.expand(len(context), -1, -1)
        known, asked = self.enter(context) + select(places, keep), self.mask_token + select(places, targets)
        tokens = torch.cat([known, asked], 1)
        for block in self.blocks:
            tokens = block(tokens)
        return self.leave(self.norm(tokens[:, keep.shape[1]:]))
