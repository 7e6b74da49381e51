"""Small made-up scans and their crops, in the form of views.MultiCrop3D: what DINO-3D can learn in a second."""

import torch
from torch import nn

SCANS, SIDE, SMALL = 32, 12, 6


class Tiny(nn.Module):
    """A 3D encoder of 5 000 weights with what a method asks for: dim, and [B,1,Z,Y,X] -> [B,dim]."""

    dim = 32

    def __init__(self):
        super().__init__()
        self.net = nn.Sequential(nn.Conv3d(1, 16, 3, 3), nn.GELU(), nn.Conv3d(16, self.dim, 2), nn.GELU())

    def forward(self, x):
        return self.net(x).mean((2, 3, 4))


class Scans:
    """A source of the trainer: numbers of scans, 16 at a time in an order from the epoch."""

    def __init__(self, size=16):
        self.size = size

    def __len__(self):
        return SCANS // self.size

    def batches(self, epoch):
        order = torch.randperm(SCANS, generator=torch.Generator().manual_seed(epoch))
        yield from ({"scan": part} for part in order.split(self.size))

    def state_dict(self):
        return {}

    def load_state_dict(self, state):
        pass


def scan_volumes():
    """[SCANS,1,16,16,16]: stripes, each scan with its own direction, width, contrast and grey level."""
    g = torch.Generator().manual_seed(5)
    wave = torch.randn(SCANS, 3, generator=g)
    wave *= (0.6 + 1.2 * torch.rand(SCANS, 1, generator=g)) / wave.norm(dim=1, keepdim=True)  # radians a voxel
    grid = torch.stack(torch.meshgrid(*[torch.arange(16.0)] * 3, indexing="ij"))
    level, contrast = torch.randn(2, SCANS, 1, 1, 1, generator=g)
    return (level + (1 + 0.3 * contrast) * torch.einsum("sa,azyx->szyx", wave, grid).sin())[:, None]


class Crops:
    """Two globals and `n_local` locals: cut at random, noise and grey scale changed; noise=None: always the same."""

    def __init__(self, volumes=None, n_local=2, noise=0.3, empty=0.0):
        self.volumes, self.n_local, self.noise, self.empty = volumes, n_local, noise, empty
        if volumes is None:
            self.volumes = scan_volumes()

    def __call__(self, batch, generator):
        x = self.volumes[batch["scan"]]
        out = {}
        for kind, count, side in (("global", 2, SIDE), ("local", self.n_local, SMALL)):
            crops = [self.crop(x, side, generator) for _ in range(count)]
            out[f"{kind}s"] = torch.stack(crops) if crops else torch.zeros(0, len(x), 1, SMALL, SMALL, SMALL)
            ratio = torch.rand(count, len(x), generator=generator)
            out |= {f"{kind}_ratio": ratio, f"{kind}_relaxed": ratio < 0.1,
                    f"{kind}_spacing": torch.full((count, len(x), 3), 2.0)}
        return out

    def crop(self, x, side, generator):
        if self.noise is None:
            return x[:, :, :side, :side, :side]
        z, y, x0 = (int(torch.randint(16 - side + 1, (), generator=generator)) for _ in range(3))
        part = x[:, :, z:z + side, y:y + side, x0:x0 + side]
        scale = 0.8 + 0.4 * torch.rand(len(x), 1, 1, 1, 1, generator=generator)
        return scale * part + self.noise * torch.randn(part.shape, generator=generator)
