"""A small Vision Transformer for images, volumes and clips, that can be given a part of the patches only."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from medssl.errors import MedsslError
from medssl.models.normalise import Normalise
from medssl.models.positions import positions
from medssl.models.smallcnn import channels

# (width, blocks, heads): small and base are those of the literature; tiny is thinner than theirs, for CPU minutes
SIZES = {"tiny": (128, 4, 4), "small": (384, 12, 6), "base": (768, 12, 12)}


class ViT(nn.Module):
    """[B,C,H,W] -> features [B,dim] (Dosovitskiy et al. 2021, arXiv 2010.11929), sides that are multiples of `patch`.

    Each patch becomes a token, linearly; its position is added; blocks of attention and MLP let tokens see each other.
    patch: a side in pixels, or (y, x); three sides make a network for volumes [B,C,Z,Y,X], (z, y, x), or for clips
    [B,C,T,Y,X], (t, y, x). pool="mean" averages the patch tokens at the end; "cls" adds a token that no patch gave, and
    takes that. registers: so many more tokens that are thrown away at the end (Darcet et al. 2024, arXiv 2309.16588);
    0 is off. spacing: mm from voxel to voxel, of images that come without their own, see tokens().
    """

    def __init__(self, in_channels: int = 1, size: str = "tiny", patch: int | tuple[int, ...] = 4, pool: str = "mean",
                 registers: int = 0, spacing: tuple[float, ...] | None = None):
        super().__init__()
        sides = (patch, patch) if isinstance(patch, int) else tuple(patch)
        if size not in SIZES or pool not in ("mean", "cls") or len(sides) not in (2, 3) or min(sides) < 1 \
                or registers < 0:
            raise MedsslError(f"A ViT of {size=}, {patch=}, {pool=}, {registers=}.",
                              f"size {', '.join(SIZES)}; pool mean or cls; a patch of 1 pixel or more, one number or "
                              "two for images, three for volumes")
        self.dim, depth, heads = SIZES[size]
        self.size, self.pool, self.registers, self.backbone = size, pool, registers, "random"
        self.patch, self.spacing = patch if isinstance(patch, int) else sides, spacing
        self.normalise = Normalise(in_channels, ndim=len(sides))
        self.embed = (nn.Conv2d if len(sides) == 2 else nn.Conv3d)(in_channels, self.dim, sides, stride=sides)
        extra = (pool == "cls") + registers
        self.extra = nn.Parameter(0.02 * torch.randn(1, extra, self.dim)) if extra else None
        self.blocks = nn.ModuleList(Block(self.dim, heads) for _ in range(depth))
        self.norm = nn.LayerNorm(self.dim)

    def forward(self, x: Tensor, keep: Tensor | None = None, spacing=None) -> Tensor:
        """Features [B,dim]; keep and spacing as in tokens()."""
        tokens = self.tokens(x, keep, spacing)
        return tokens[:, 0] if self.pool == "cls" else tokens.mean(1)

    def tokens(self, x: Tensor, keep: Tensor | None = None, spacing=None) -> Tensor:
        """Tokens [B,N,dim] of the patches, row by row; with pool="cls" that token comes first: [B,1+N,dim].

        keep int64 [B,K]: which patches of each image are seen, K tokens in that order. The others are left out before
        the first block, so nothing of them can reach the tokens. (Positions are added first: a token knows its place.)
        spacing: mm from voxel to voxel along each axis, (z, y, x) for all or a tensor [B,3]: positions are then in mm;
        without any, here or in the constructor, in patches.
        """
        tokens = self._start(x, keep, spacing)
        for block in self.blocks:
            tokens = block(tokens)
        tokens, n_cls = self.norm(tokens), int(self.pool == "cls")
        return torch.cat([tokens[:, :n_cls], tokens[:, n_cls + self.registers:]], 1) if self.registers else tokens

    def attention(self, x: Tensor, layer: int = -1, spacing=None) -> Tensor:
        """[B,heads,N,N]: how much token i of tokens() takes from token j in that block, a sum of 1 in each row.

        With registers the rows sum to less: what they gave is left out, as they are. The fused path keeps no weights,
        so this one writes softmax(q kᵀ / √d) out.
        """
        tokens = self._start(x, None, spacing)
        blocks = list(self.blocks)
        for block in blocks[:layer]:
            tokens = block(tokens)
        weights = blocks[layer].weights(blocks[layer].norm1(tokens))
        n_cls = int(self.pool == "cls")
        seen = [i for i in range(weights.shape[-1]) if not n_cls <= i < n_cls + self.registers]
        return weights[:, :, seen][..., seen]

    def grid(self, x) -> tuple[int, ...]:
        """Tokens along each axis, (rows, columns) or (z, rows, columns), of a batch or of a shape that ends so."""
        patch = self.embed.kernel_size
        sides = tuple(getattr(x, "shape", x))[-len(patch):]
        if len(sides) < len(patch) or any(side % cell or not side for side, cell in zip(sides, patch, strict=True)):
            raise MedsslError(f"Images of {' x '.join(map(str, sides))} pixels, patches of {_by(self.patch)}.",
                              f"sides that are multiples of {_by(self.patch)}", "another patch=, or another image size")
        return tuple(side // cell for side, cell in zip(sides, patch, strict=True))

    def step(self, x: Tensor, spacing) -> Tensor | None:
        """[B,axes]: mm from token to token, for a spacing in mm from voxel to voxel; None where there is none."""
        spacing = self.spacing if spacing is None else spacing
        if spacing is None:
            return None
        spacing = torch.as_tensor(spacing, dtype=torch.float32, device=x.device).expand(len(x), -1)
        if spacing.shape[1] != len(self.embed.kernel_size) or not (spacing > 0).all():
            raise MedsslError(f"A spacing of {spacing[0].tolist()} mm, patches of {_by(self.patch)}.",
                              f"{len(self.embed.kernel_size)} numbers above 0 for each image, slowest axis first")
        return spacing * torch.tensor(self.embed.kernel_size, device=x.device)

    def describe(self) -> str:
        """One line for run.json and for the foot of a figure."""
        registers = f", {self.registers} registers" if self.registers else ""
        return (f"vit ({self.size}, patch {_by(self.patch)}, {self.pool} pooling{registers}, {self.backbone} backbone, "
                f"{channels(self.normalise.in_channels)})")

    def _start(self, x: Tensor, keep: Tensor | None, spacing) -> Tensor:
        """What goes into the first block: class token and registers, then the patches that are seen."""
        x = self.normalise(x)
        grid = self.grid(x)
        tokens = self.embed(x).flatten(2).transpose(1, 2)  # [B,N,dim]
        tokens = tokens + positions(grid, self.dim, self.step(x, spacing)).to(tokens.device)
        if keep is not None:
            tokens = select(tokens, keep)
        return tokens if self.extra is None else torch.cat([self.extra.expand(len(x), -1, -1), tokens], 1)


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
        return self.out(F.scaled_dot_product_attention(*self._heads(x)).transpose(1, 2).flatten(2))

    def weights(self, x: Tensor) -> Tensor:
        """softmax(q kᵀ / √d) [B,heads,N,N], by itself."""
        q, k, _ = self._heads(x)
        return torch.softmax(q @ k.transpose(2, 3) / q.shape[-1] ** 0.5, -1)

    def _heads(self, x: Tensor) -> Tensor:
        return self.qkv(x).unflatten(2, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)  # q, k, v, each [B,heads,N,d]


def select(tokens: Tensor, keep: Tensor) -> Tensor:
    """Of tokens [B,N,D] those that keep int64 [B,K] names, image by image: [B,K,D]."""
    if keep.dtype != torch.int64 or keep.ndim != 2 or len(keep) != len(tokens) or not keep.shape[1]:
        raise MedsslError(f"keep is {keep.dtype} of shape {list(keep.shape)} for tokens {list(tokens.shape)}.",
                          f"int64 of shape [{len(tokens)}, K], K at least 1", "one row of patch numbers an image")
    return tokens.gather(1, keep[:, :, None].expand(-1, -1, tokens.shape[2]))


def _by(patch: int | tuple[int, ...]) -> str:
    return str(patch) if isinstance(patch, int) else " x ".join(map(str, patch))
