"""What SIGReg sees: points, their shadow on a direction, and the shadow's waves beside a Gaussian's."""

from collections.abc import Mapping, Sequence
from textwrap import fill

import numpy as np

from medssl.errors import MedsslError
from medssl.figures.style import COLOURS, GREY, new_figure


def shadows(clouds: Mapping[str, Sequence], direction: Sequence[float] = (0.8, 0.6), *, title: str = ""):
    """{name: points [N,2]}, a column each: the points and the direction a; the shadow x = z·a; φ(t) = mean exp(i t x).

    The dashed lines are those of N(0, 1): its density, and its exp(-t²/2). The grey area is what SIGReg adds up.
    """
    clouds = {name: np.asarray(points, float) for name, points in clouds.items()}
    a = np.asarray(direction, float)
    wrong = [name for name, z in clouds.items() if z.ndim != 2 or z.shape[1] != 2 or not np.isfinite(z).all()]
    if wrong or not clouds or a.shape != (2,) or not a.any():
        raise MedsslError(f"No shadow can be drawn of {', '.join(wrong) or 'these clouds'} on {direction}.",
                          "finite points [N,2], and a direction of two numbers")
    a, t, grid = a / np.linalg.norm(a), np.linspace(0, 3, 61), np.linspace(-4, 4, 81)
    figure, axes = new_figure(2.3 * len(clouds) + 0.4, 6.4, 3, len(clouds), sharey="row")
    for (points, shadow, waves), (name, z) in zip(axes.T, clouds.items(), strict=True):
        x, gaussian = z @ a, np.exp(-t**2 / 2)
        points.scatter(*z.T, s=5, alpha=0.4, color=COLOURS[0], linewidths=0)
        points.plot(*np.outer(a, (-4, 4)), color=COLOURS[3], linewidth=1.5)
        points.set(xlim=(-4, 4), ylim=(-4, 4), aspect="equal")
        points.set_title(fill(name, 22), fontsize=9)
        shadow.hist(np.clip(x, -4, 4), np.linspace(-4, 4, 25), density=True, color=COLOURS[5])
        shadow.plot(grid, np.exp(-grid**2 / 2) / np.sqrt(2 * np.pi), "--", color="black")
        shadow.set(xlabel="shadow x", ylim=(0, 1))
        real, imaginary = np.cos(np.outer(t, x)).mean(1), np.sin(np.outer(t, x)).mean(1)
        waves.fill_between(t, real, gaussian, color=GREY, linewidth=0)
        waves.fill_between(t, imaginary, 0, color=GREY, alpha=0.5, linewidth=0)
        waves.plot(t, gaussian, "--", color="black")
        waves.plot(t, real, color=COLOURS[0])
        waves.plot(t, imaginary, color=COLOURS[1], linestyle=":", linewidth=2)
        waves.set(xlabel="frequency t", ylim=(-1.1, 1.1))
    labels = ("points and direction", "density of the shadow", "φ: cosines solid, sines dotted")
    for ax, name in zip(axes[:, 0], labels, strict=True):
        ax.set_ylabel(fill(name, 18))
    if title:
        figure.suptitle(fill(title, 24 * len(clouds)), fontsize=10)
    return figure
