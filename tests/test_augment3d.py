"""Views of volumes: mm, sides, and chance that comes from the generator alone."""

import pytest
import torch

from medssl.errors import MedsslError
from medssl.views import Augment3D


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def ball(shape=(16, 24, 32), at=(8, 12, 16), mm=(1.0, 1.0, 1.0), radius=5.0):
    axes = [(torch.arange(n) + 0.5 - c) * s for n, c, s in zip(shape, at, mm, strict=True)]
    z, y, x = torch.meshgrid(*axes, indexing="ij")
    return (z**2 + y**2 + x**2 < radius**2).float()[None, None]


def edges(volume):
    """Voxels that the thing is long, along z, y and x."""
    return [int((volume[0, 0].sum(tuple({0, 1, 2} - {axis})) > 0.5).sum()) for axis in range(3)]


def test_nothing_asked_nothing_changed():
    x = torch.randint(0, 256, (3, 1, 6, 8, 10), dtype=torch.uint8)
    assert torch.allclose(Augment3D()(x, seeded()), x / 255, atol=1e-5)


def test_a_turn_is_made_in_mm_so_that_a_ball_stays_a_ball():
    mm = (2.0, 1.0, 0.5)
    x = ball((16, 24, 48), (8, 12, 24), mm, radius=9.0)
    augment = Augment3D(rotate=180, spacing=mm)
    for seed in range(5):
        assert ((augment(x, seeded(seed)) > 0.5) != (x > 0.5)).float().mean() < 0.01
    sheared = [((Augment3D(rotate=90)(x, seeded(seed)) > 0.5) != (x > 0.5)).float().mean() for seed in range(5)]
    assert max(sheared) > 0.03, "without the spacing it does not"


def test_a_quarter_turn_about_z_against_rot90():
    x = torch.rand(1, 2, 5, 8, 8)
    affine = Augment3D(rotate=90).affine(torch.tensor([[1.0, 0, 0, 0, 0]]), (5, 8, 8))
    turned = torch.nn.functional.grid_sample(x, torch.nn.functional.affine_grid(affine, x.shape, align_corners=False),
                                             align_corners=False)
    assert any(torch.allclose(turned, x.rot90(k, (3, 4)), atol=1e-4) for k in (1, 3))


def test_scale_and_place_follow_their_axes():
    augment = Augment3D(scale=0.5, translate=0.25)
    shape, x = (16, 24, 32), ball()

    def view(*numbers):
        grid = torch.nn.functional.affine_grid(augment.affine(torch.tensor([numbers]), shape), x.shape,
                                               align_corners=False)
        return torch.nn.functional.grid_sample(x, grid, align_corners=False)

    assert edges(x) == [10, 10, 10] and all(edge in (6, 7, 8) for edge in edges(view(0.0, 1.0, 0.0, 0.0, 0.0)))
    moved = view(0.0, 0.0, 0.0, 0.0, 1.0)[0, 0]  # the last number is z: a quarter of 16 voxels
    assert torch.allclose(moved[:12], x[0, 0, 4:], atol=1e-4) and (moved[12:] == 0).all()
    moved = view(0.0, 0.0, 1.0, 0.0, 0.0)[0, 0]
    assert torch.allclose(moved[..., :24], x[0, 0, ..., 8:], atol=1e-4), "x, a quarter of 32"


def test_each_volume_has_its_own_numbers_from_the_generator_alone():
    x, augment = ball().expand(4, 1, 16, 24, 32), Augment3D(rotate=15, scale=0.1, translate=0.1)
    one, two = augment(x, seeded(1)), augment(x, seeded(1))
    assert torch.equal(one, two) and not torch.equal(one, augment(x, seeded(2)))
    assert len({tuple(view.flatten()[::97].tolist()) for view in one}) == 4
    assert one.min() >= 0 and one.max() <= 1 + 1e-5


@pytest.mark.parametrize(("wrong", "says"), [({"rotate": -1}, "0 to 180"), ({"scale": 0.9}, "0 to 0.5"),
                                             ({"spacing": (1, 0, 1)}, "above 0"), ({"spacing": (1, 1)}, "z, y and x")])
def test_what_cannot_be_is_refused(wrong, says):
    with pytest.raises(MedsslError, match=says):
        Augment3D(**wrong)
    with pytest.raises(MedsslError, match=r"\[B,C,D,H,W\]"):
        Augment3D()(torch.rand(2, 1, 8, 8), seeded())
