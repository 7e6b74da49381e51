"""Random views of a batch of 2-D images: all of it at once, on whatever device it lies on, each image its own draw."""

import math
from numbers import Real

import torch
import torch.nn.functional as F
from torch import Generator, Tensor

from medssl.errors import MedsslError

LIMITS = {"flip": 1, "vertical_flip": 1, "rotate": 180, "shear": 45, "translate": 0.5, "brightness": 1, "contrast": 1,
          "noise": 1, "blur": 1}  # the largest sensible value of each; the smallest is 0
DRAWS = ("flip", "vertical_flip", "angle", "shear", "move_x", "move_y", "area", "aspect", "crop_x", "crop_y",
         "brightness", "contrast", "noise", "blur", "sigma")
PIXELS_AT_ONCE = 2**18


class Augment:
    """images [B,C,H,W], uint8 or float in [0, 1] -> float32 [B,C,H,W] in [0, 1].

    crop=(low, high): keep a random part of that share of the area, stretched back to full size; ratio: its change of
    aspect. flip, vertical_flip, blur: probabilities. rotate, shear: at most so many degrees either way. translate: at
    most that fraction of the side. brightness, contrast: factors in 1 +- that. noise: standard deviation drawn in
    [0, noise]. blur_sigma=(low, high): width of the Gaussian in pixels. size: views of size x size pixels, as the image
    where it is None.

    Geometry is one affine map and one bilinear resampling: two in a row would soften the image twice.

    padding says what lies beyond the edge. "reflection" mirrors the few pixels inside it, so a turned image keeps its
    brightness. "zeros" would draw black wedges: in ultrasound they resemble the shadow below a lesion, a sign of
    cancer, in X-ray a collimator; and to a network that compares two views they give the angle away.

    A call draws its numbers first, the same ones whatever the settings, and noise after them: two Augments that are
    called with one seed share flips and angles.
    """

    def __init__(self, *, crop: tuple[float, float] | None = None, ratio: tuple[float, float] = (3 / 4, 4 / 3),
                 flip: float = 0.0, vertical_flip: float = 0.0, rotate: float = 0.0, shear: float = 0.0,
                 translate: float = 0.0, brightness: float = 0.0, contrast: float = 0.0, noise: float = 0.0,
                 blur: float = 0.0, blur_sigma: tuple[float, float] = (0.3, 1.0), padding: str = "reflection",
                 size: int | None = None, why: str = ""):
        self.settings = {name: value for name, value in locals().items() if name not in ("self", "why")}
        self.why = why
        for name, high in LIMITS.items():
            if not (isinstance(self.settings[name], Real) and 0 <= self.settings[name] <= high):
                raise MedsslError(f"{name}={self.settings[name]} cannot be.", f"a number from 0 to {high}.")
        for name, pair, high in [("crop", (1, 1) if crop is None else crop, 1), ("ratio", ratio, 10),
                                 ("blur_sigma", blur_sigma, 20)]:
            numbers = isinstance(pair, (tuple, list)) and [isinstance(number, Real) for number in pair]
            if numbers != [True, True] or not 0 < pair[0] <= pair[1] <= high:
                raise MedsslError(f"{name}={pair} cannot be.", f"(low, high) with 0 < low <= high <= {high}.")
        if padding not in ("reflection", "border", "zeros"):
            raise MedsslError(f"padding={padding!r} cannot be.", '"reflection", "border" or "zeros".')

        if size is not None and (not isinstance(size, int) or size < 1):
            raise MedsslError(f"size={size!r} cannot be.", "a number of pixels, or None: the size of the image.")

    def __repr__(self) -> str:
        return f"Augment({', '.join(f'{name}={value!r}' for name, value in self.settings.items())})"

    def __call__(self, images: Tensor, generator: Generator) -> Tensor:
        if not isinstance(generator, Generator):
            raise MedsslError(f"The generator is {generator!r}.", "a torch.Generator: all chance comes from it",
                              "Make one with torch.Generator().manual_seed(0).")
        u = torch.rand(len(DRAWS), len(images), generator=generator, device=generator.device).to(images.device)
        # Up to twice as fast on a CPU when a piece and its grid stay in the cache; a GPU wants all of it at once.
        on_cpu = images.device.type == "cpu"
        piece = max(1, PIXELS_AT_ONCE // images.shape[1:].numel() if on_cpu else len(images))
        views = [self.view(*part, generator) for part in zip(images.split(piece), u.split(piece, 1), strict=True)]
        return views[0] if len(views) == 1 else torch.cat(views)

    def view(self, images: Tensor, numbers: Tensor, generator: Generator) -> Tensor:
        """One piece of the batch, with its numbers in [0, 1) [draws, B]; only the noise is drawn here."""
        s, x, u = self.settings, to_float(images), dict(zip(DRAWS, numbers, strict=True))
        if any(s[name] for name in ("crop", "flip", "vertical_flip", "rotate", "shear", "translate", "size")):
            x = resample(x, *self.affine(u, *x.shape[2:]), s["padding"], s["size"])
        if s["blur"]:
            blurred = gaussian_blur(x, _between(u["sigma"], *s["blur_sigma"]), math.ceil(3 * s["blur_sigma"][1]))
            x = torch.where(_per_image(u["blur"] < s["blur"]), blurred, x)
        if s["brightness"] or s["contrast"]:
            # contrast (b x - m) + m, with m the mean of b x: about its own mean, so contrast changes no brightness
            b, contrast = 1 + s["brightness"] * _sign(u["brightness"]), 1 + s["contrast"] * _sign(u["contrast"])
            mean = b * x.mean((1, 2, 3))
            x = (x * _per_image(contrast * b)).add_(_per_image((1 - contrast) * mean))
        if s["noise"]:
            field = torch.randn(x.shape, generator=_generator_on(x.device, generator), device=x.device)
            x = field.mul_(_per_image(s["noise"] * u["noise"])).add_(x)
        return x if x is images else x.clamp_(0, 1)  # images that nothing changed come back as they are

    def affine(self, u: dict[str, Tensor], height: int, width: int) -> tuple[Tensor, Tensor]:
        """Where each pixel q of the view comes from: p = A q + b, in pixels from the centre, A [B,2,2], b [B,2].

        A = R(angle) . shear . diag(+-w, +-h), with w, h the sides of the crop as fractions and minus for a flip. In
        pixels, not in the [-1, 1] of grid_sample: there the rotation of an oblong image would shear it.
        """
        s, size = self.settings, torch.tensor([width, height], device=u["angle"].device)
        angle = math.radians(s["rotate"]) * _sign(u["angle"])
        slope = torch.tan(math.radians(s["shear"]) * _sign(u["shear"]))
        cos, sin = angle.cos(), angle.sin()
        turn = torch.stack([cos, slope * cos - sin, sin, slope * sin + cos], 1).view(-1, 2, 2)
        crop, ratio = (s["crop"], s["ratio"]) if s["crop"] else ((1, 1), (1, 1))
        area, aspect = _between(u["area"], *crop), _between(u["aspect"], *map(math.log, ratio)).exp()
        side = torch.stack([area * aspect, area / aspect], 1).sqrt().clamp(max=1)
        centre = (1 - side) / 2 * torch.stack([_sign(u["crop_x"]), _sign(u["crop_y"])], 1)
        move = s["translate"] * torch.stack([_sign(u["move_x"]), _sign(u["move_y"])], 1)
        mirror = 1 - 2 * torch.stack([u["flip"] < s["flip"], u["vertical_flip"] < s["vertical_flip"]], 1).float()
        return turn * (side * mirror)[:, None], (turn * (centre * size)[:, None]).sum(2) + move * size


def to_float(images: Tensor) -> Tensor:
    """[B,C,H,W] uint8 in 0..255 -> float32 in [0, 1]; float32 images pass as they are.

    Floats in 0..255, or normalised ones, would be cut to [0, 1] later on. They are refused where looking is cheap, on
    the CPU; a GPU would have to stop and wait for the answer.
    """
    if images.ndim != 4 or not (images.dtype == torch.uint8 or images.is_floating_point()):
        raise MedsslError(f"These images have shape {list(images.shape)} and type {images.dtype}.",
                          "[B,C,H,W], uint8 in 0..255 or float in [0, 1].", "For one image take images[None].")
    if images.dtype == torch.uint8:
        return images / 255
    if images.device.type == "cpu" and images.numel():
        low, high = (bound.item() for bound in images.aminmax())
        if not (low >= -1e-3 and high <= 1.001):
            raise MedsslError(f"These float images run from {low:.4g} to {high:.4g}.", "float in [0, 1], or uint8.",
                              "Divide by 255, or hand in the uint8 images; normalising is the encoder's part.")
    return images.float()


def resample(x: Tensor, A: Tensor, b: Tensor, padding: str, side: int | None = None) -> Tensor:
    """One bilinear resampling: the value at p = A q + b for each pixel q of the view (see Augment.affine).

    side: the view has side x side pixels, which lie over all of the image's.
    """
    height, width = x.shape[2:]
    size = torch.tensor([width, height], device=x.device)
    A, b = A * size / size[:, None], 2 * b / size  # from pixels to the [-1, 1] of grid_sample
    columns, rows = ((2 * torch.arange(n, device=x.device) + 1) / n - 1 for n in (side or width, side or height))
    along_x = A[..., 0, None] * columns + b[..., None]  # [B,2,W]
    along_y = A[..., 1, None] * rows  # [B,2,H]
    # Their sum [B,2,H,W] keeps the x together and the y together: 10 times faster than F.affine_grid, which does not.
    grid = (along_x[:, :, None] + along_y[..., None]).permute(0, 2, 3, 1)
    return F.grid_sample(x, grid, mode="bilinear", padding_mode=padding, align_corners=False)


def gaussian_blur(x: Tensor, sigma: Tensor, radius: int) -> Tensor:
    """Each image with its own sigma [B], rows then columns: one convolution in which every image is its own group."""
    n, c, height, width = x.shape
    offsets = torch.arange(-radius, radius + 1, device=x.device)
    kernels = torch.softmax(-(offsets**2) / (2 * sigma[:, None] ** 2), 1).repeat_interleave(c, 0)  # [B*C, 2 radius + 1]
    planes = F.pad(x.reshape(1, n * c, height, width), (radius,) * 4, mode="replicate")
    planes = F.conv2d(planes, kernels[:, None, None, :], groups=n * c)
    return F.conv2d(planes, kernels[:, None, :, None], groups=n * c).view(x.shape)


def _between(u: Tensor, low: float, high: float) -> Tensor:
    return low + (high - low) * u


def _sign(u: Tensor) -> Tensor:
    return 2 * u - 1  # from [0, 1) to [-1, 1)


def _per_image(values: Tensor) -> Tensor:
    return values.view(-1, 1, 1, 1)


def _generator_on(device: torch.device, generator: Generator) -> Generator:
    """The generator itself, or, where the images lie elsewhere, one on their device whose seed is its next draw."""
    if generator.device == device:
        return generator
    seed = int(torch.randint(2**62, (), generator=generator, device=generator.device))
    return Generator(device).manual_seed(seed)
