"""An encoder of loose patches: each is a token at a place in millimetres, in no order and on no grid."""

import torch
from torch import Tensor, nn

from medssl.errors import MedsslError
from medssl.models.positions import positions_mm
from medssl.models.vit import SIZES, Block


class PatchEncoder(nn.Module):
    """Patches [B,N,s,s,1] with grey values in [0, 1] and their places [B,N,3] in mm -> features [B,dim].

        token_n = W · (2 x_n - 1) + b + waves(place_n),   blocks of attention,   mean over the valid tokens

    valid bool [B,N]: a patch that lies outside the scan shows no grey value but a learnt token, so that what it was
    filled with cannot be learnt from, and the mean leaves it out. Tokens come in any order: only places tell them
    apart.
    """

    def __init__(self, size: str = "tiny", pixels: int = 16):
        super().__init__()
        if size not in SIZES or pixels < 1:
            raise MedsslError(f"A patch encoder of {size=}, {pixels=}.", f"size {', '.join(SIZES)}; 1 pixel or more")
        self.dim, depth, heads = SIZES[size]
        self.size, self.pixels = size, pixels
        self.embed = nn.Linear(pixels * pixels, self.dim)
        self.outside = nn.Parameter(0.02 * torch.randn(self.dim))
        self.blocks = nn.ModuleList(Block(self.dim, heads) for _ in range(depth))
        self.norm = nn.LayerNorm(self.dim)

    def forward(self, patches: Tensor, places: Tensor, valid: Tensor | None = None) -> Tensor:
        """Features [B,dim]; of a view with no valid patch at all: 0."""
        tokens = self.tokens(patches, places, valid)
        if valid is None:
            return tokens.mean(1)
        seen = valid.unsqueeze(-1)
        return (tokens * seen).sum(1) / seen.sum(1).clamp(min=1)

    def tokens(self, patches: Tensor, places: Tensor, valid: Tensor | None = None) -> Tensor:
        """[B,N,dim], a token for each patch."""
        want = [*places.shape[:2], self.pixels, self.pixels, 1]
        if list(patches.shape) != want or places.shape[-1] != 3 or valid is not None and list(valid.shape) != want[:2]:
            raise MedsslError(f"Patches {list(patches.shape)}, places {list(places.shape)}.",
                              f"[B,N,{self.pixels},{self.pixels},1] and [B,N,3] in mm, valid bool [B,N] or none")
        tokens = self.embed(2 * patches.flatten(2) - 1)
        if valid is not None:
            tokens = torch.where(valid.unsqueeze(-1), tokens, self.outside.to(tokens.dtype))
        tokens = tokens + positions_mm(places.float(), self.dim)
        for block in self.blocks:
            tokens = block(tokens)
        return self.norm(tokens)

    def describe(self) -> str:
        """One line for run.json."""
        return f"patch encoder ({self.size}, {self.pixels} x {self.pixels} pixels)"
