"""Figures of what a ViT makes of an image: where its tokens look, and which of them are alike."""

import math

import numpy as np
from matplotlib import colormaps
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize

from medssl.errors import MedsslError
from medssl.figures.masks import colours, numbers, over_images, to_pixels


def attention_overlay(images, weights, grid, n: int = 4, *, spacing=None, title: str = ""):
    """Each patch coloured by how much attention it gets, laid over the image: 1 is an even share.

    weights: `vit.attention(images)` [B,heads,N,N], the mean over heads; of a ViT with a class token what that one takes
    from each patch, else the mean over all patches that ask. Or your own [B,N]. Images, n and spacing as in `masks`.
    It shows where numbers came from, not why a class was chosen.
    """
    weights, tokens = numbers(weights).astype(float), math.prod(grid)
    if weights.ndim == 4:
        asked = weights.mean(1)  # [B,asking,asked]
        weights = asked[:, 0, -tokens:] if asked.shape[2] > tokens else asked.mean(1)
    _check(weights, (len(images), tokens), "weights")
    shown = colours(images, grid, n)
    shares, scale = weights[:len(shown)] * tokens, colormaps["viridis"]
    norm = Normalize(0, max(2.0, float(shares.max())))  # the same in all images, and 1 never looks like much
    laid = [0.45 * picture + 0.55 * np.moveaxis(scale(norm(to_pixels(share, picture, grid)))[..., :3], -1, 0)
            for picture, share in zip(shown, shares, strict=True)]
    figure = over_images({"image": shown, "attention": laid}, grid, n, spacing, title, "where the tokens look")
    bar = figure.colorbar(ScalarMappable(norm, scale), ax=figure.axes, shrink=0.8, alpha=0.75)
    bar.set_label("attention ÷ an even share", fontsize=9)
    return figure


def token_colours(images, tokens, grid, n: int = 4, *, spacing=None, title: str = ""):
    """Tokens [B,N,dim] as colours: their first three principal components are red, green and blue.

    Tokens of one colour are alike to the encoder, in all images shown: there is one PCA for them together, so parts of
    the body should keep their colour from image to image. The colours themselves mean nothing, and an untrained encoder
    has some, too: of the positions that are added. A class token in front is left out. Images, n, spacing: see `masks`.
    """
    values = numbers(tokens).astype(float)[:, -math.prod(grid):]
    _check(values, (len(images), math.prod(grid)), "tokens")
    shown = colours(images, grid, n)
    values = values[:len(shown)].reshape(-1, values.shape[-1])
    values = values - values.mean(0)
    _, strength, axes = np.linalg.svd(values, full_matrices=False)
    if values.shape[1] < 3 or len(strength) < 3 or strength[0] < 1e-9:
        raise MedsslError(f"{len(values)} tokens of {values.shape[1]} numbers, which are all the same or too few.",
                          "3 tokens and 3 numbers at least, that differ", "Has the encoder collapsed?")
    axes = axes[:3] * np.sign(axes[:3, np.abs(axes[:3]).argmax(1)].diagonal())[:, None]  # else the sign is by chance
    scores = values @ axes.T
    low, high = np.percentile(scores, [1, 99], axis=0)
    scores = ((scores - low) / np.maximum(high - low, 1e-9)).clip(0, 1).reshape(len(shown), -1, 3)
    painted = [np.stack([to_pixels(one, picture, grid) for one in score.T])
               for picture, score in zip(shown, scores, strict=True)]
    about = f"one colour: tokens alike · three components hold {(strength[:3]**2).sum() / (strength**2).sum():.0%}"
    return over_images({"image": shown, "tokens": painted}, grid, n, spacing, title, about)


def _check(values: np.ndarray, shape: tuple[int, int], name: str) -> None:
    if values.shape[:2] != shape or not np.isfinite(values).all():
        raise MedsslError(f"{name} has shape {list(values.shape)}, or holds no numbers (NaN).",
                          f"{shape[0]} images of {shape[1]} tokens, finite", "take both from one batch and one encoder")
