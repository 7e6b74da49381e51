"""A small Vision Transformer that can be given a part of the patches only."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from medssl.errors import MedsslError
from medssl.models.normalise import Normalise
from medssl.models.smallcnn import channels

# (width, blocks, heads): small and base are those of the literature; tiny is thinner than theirs, for CPU minutes
SIZES = {"tiny": (128, 4, 4), "small": (384, 12, 6), "base": (768, 12, 12)}


class ViT(nn.Module):
    """[B,C,H,W] -> features [B,dim] (Dosovitskiy et al. 2021, arXiv 2010.11929), H and W multiples of `patch`.

    Each patch becomes a token, linearly; its position is added; blocks of attention and MLP let tokens see each other.
    pool="mean" averages the patch tokens at the end; "cls" adds a token that no patch gave, and takes that. registers:
    so many more tokens that are thrown away at the end (Darcet et al. 2024, arXiv 2309.16588); 0 is off.
    """

    def __init__(self, in_channels: int = 1, size: str = "tiny", patch: int = 4, pool: str = "mean",
                 registers: int = 0):
        super().__init__()
        if size not in SIZES or pool not in ("mean", "cls") or patch < 1 or registers < 0:
            raise MedsslError(f"A ViT of {size=}, {patch=}, {pool=}, {registers=}.",
                              f"size {', '.join(SIZES)}; pool mean or cls; a patch of 1 pixel or more")
        self.dim, depth, heads = SIZES[size]
        self.size, self.patch, self.pool, self.registers, self.backbone = size, patch, pool, registers, "random"
        self.normalise = Normalise(in_channels)
        self.embed = nn.Conv2d(in_channels, self.dim, patch, stride=patch)
        extra = (pool == "cls") + registers
        self.extra = nn.Parameter(0.02 * torch.randn(1, extra, self.dim)) if extra else None
        self.blocks = nn.ModuleList(Block(self.dim, heads) for _ in range(depth))
        self.norm = nn.LayerNorm(self.dim)

    def forward(self, x: Tensor, keep: Tensor | None = None) -> Tensor:
        """Features [B,dim]; keep as in tokens()."""
        tokens = self.tokens(x, keep)
        return tokens[:, 0] if self.pool == "cls" else tokens.mean(1)

    def tokens(self, x: Tensor, keep: Tensor | None = None) -> Tensor:
        """Tokens [B,N,dim] of the patches, row by row; with pool="cls" that token comes first: [B,1+N,dim].

        keep int64 [B,K]: which patches of each image are seen, K tokens in that order. The others are left out before
        the first block, so nothing of them can reach the tokens. (Positions are added first: a token knows its place.)
        """
        x = self.normalise(x)
        if x.shape[2] % self.patch or x.shape[3] % self.patch:
            raise MedsslError(f"Images of {x.shape[2]} x {x.shape[3]} pixels, patches of {self.patch}.",
                              f"sides that are multiples of {self.patch}", "another patch=, or another image size")
        patches = self.embed(x)  # [B,dim,h,w]
        tokens = patches.flatten(2).transpose(1, 2) + positions(*patches.shape[2:], self.dim).to(patches.device)
        if keep is not None:
            tokens = select(tokens, keep)
        if self.extra is not None:  # the class token, then the registers
            tokens = torch.cat([self.extra.expand(len(x), -1, -1), tokens], 1)
        for block in self.blocks:
            tokens = block(tokens)
        tokens, n_cls = self.norm(tokens), int(self.pool == "cls")
        return torch.cat([tokens[:, :n_cls], tokens[:, n_cls + self.registers:]], 1)

    def describe(self) -> str:
        """One line for run.json and for the foot of a figure."""
        registers = f", {self.registers} registers" if self.registers else ""
        return (f"vit ({self.size}, patch {self.patch}, {self.pool} pooling{registers}, {self.backbone} backbone, "
                f"{channels(self.normalise.in_channels)})")


class Block(nn.Module):
    """x + attention(norm(x)), then x + MLP(norm(x))."""

    def __init__(self, dim: int, heads: int):
        super().__init__()
        self.heads = heads
        self.norm1, self.norm2 = nn.LayerNorm(dim), nn.LayerNorm(dim)
        self.qkv, self.out = nn.Linear(dim, 3 * dim), nn.Linear(dim, dim)
        self.mlp = nn.Sequential(nn.Linear(dim, 4 * dim), nn.GELU(), nn.Linear(4 * dim, dim))

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.attend(self.norm1(x))
        return x + self.mlp(self.norm2(x))

    def attend(self, x: Tensor) -> Tensor:
        """softmax(q kᵀ / √d) v for each head, d its width: every token takes from all that are like what it asks."""
        q, k, v = self.qkv(x).unflatten(2, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)  # each [B,heads,N,d]
        return self.out(F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2))


def positions(rows: int, columns: int, dim: int) -> Tensor:
    """[rows * columns, dim]: where a patch lies, half of it for its row and half for its column, in patches.

    For each p: sin(p ω_k), then cos(p ω_k), ω_k = 10000^(-k / (dim/4)) for k = 0 … dim/4 - 1. Nothing is learnt, so
    images of any size have positions.
    """
    if dim % 4:
        raise MedsslError(f"Positions of {dim} numbers.", "a multiple of 4: sine and cosine, of row and column")
    frequencies = 10000 ** (-torch.arange(dim // 4) / (dim // 4))
    row, column = torch.meshgrid(torch.arange(rows), torch.arange(columns), indexing="ij")
    angles = [place.flatten()[:, None] * frequencies for place in (row, column)]
    return torch.cat([wave for angle in angles for wave in (angle.sin(), angle.cos())], 1)


def select(tokens: Tensor, keep: Tensor) -> Tensor:
    """Of tokens [B,N,D] those that keep int64 [B,K] names, image by image: [B,K,D]."""
    if keep.dtype != torch.int64 or keep.ndim != 2 or len(keep) != len(tokens) or not keep.shape[1]:
        raise MedsslError(f"keep is {keep.dtype} of shape {list(keep.shape)} for tokens {list(tokens.shape)}.",
                          f"int64 of shape [{len(tokens)}, K], K at least 1", "one row of patch numbers an image")
    return tokens.gather(1, keep[:, :, None].expand(-1, -1, tokens.shape[2]))
