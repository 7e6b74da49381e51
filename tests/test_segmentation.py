"""Dice against scikit-learn on plain masks; the head, the grey values and the ellipsoid on cases with known answers."""

import numpy as np
import pytest
import torch
from sklearn.metrics import f1_score

from medssl.errors import MedsslError
from medssl.evaluate import Case, as_tokens, dice, fit_ellipsoid, fit_head, fit_intensity, paired_cases, score_cases
from medssl.evaluate.segmentation import draw, patch_shares
from medssl.models import ViT


class Blocks(torch.nn.Module):
    """An encoder whose tokens are the pixels of each patch."""

    def __init__(self, patch):
        super().__init__()
        self.patch, self.weight = patch, torch.nn.Parameter(torch.zeros(1))

    def tokens(self, x, spacing=None):
        for axis, p in enumerate(self.patch):
            x = x.unflatten(2 + 2 * axis, (-1, p))  # [B,C,g1,p1,g2,p2,...]
        n = len(self.patch)
        order = [0, *range(2, 2 + 2 * n, 2), 1, *range(3, 3 + 2 * n, 2)]
        return x.permute(order).flatten(1 + n).flatten(1, n)


def ball(shape, centre, radius, seed=0, bright=0.8) -> Case:
    at = torch.meshgrid(*[torch.arange(n) for n in shape], indexing="ij")
    mask = sum((a - c) ** 2 for a, c in zip(at, centre, strict=True)) <= radius**2
    noise = torch.rand(shape, generator=torch.Generator().manual_seed(seed)) * 0.2
    return Case((noise + bright * mask)[None].clamp(0, 1), mask.long(), (1.0,) * len(shape))


def balls(shape, n=6):
    rng = np.random.default_rng(0)
    return [ball(shape, [rng.uniform(0.3, 0.7) * s for s in shape], min(shape) / 4, k) for k in range(n)]


@pytest.mark.parametrize("shape", [(20, 23), (6, 9, 11)])
def test_dice_is_f1_and_empty_masks_are_stated(shape):
    rng = np.random.default_rng(0)
    a, b = (torch.from_numpy(rng.integers(0, 3, shape)) for _ in range(2))
    want = f1_score(a.flatten(), b.flatten(), labels=[1, 2], average=None)
    np.testing.assert_allclose(dice(a, b, 3), want, atol=1e-15)
    inside = ((a == 2) & (b == 2)).sum().item() * 2 / ((a == 2).sum() + (b == 2).sum()).item()
    assert dice(a, b, 3)[1] == pytest.approx(inside)
    none = torch.zeros(shape, dtype=torch.int64)
    assert np.isnan(dice(none, none)).all()  # nothing to find, nothing drawn: not a 1, which would be a gift
    assert dice(none, (a > 0).long()).tolist() == [0.0] and dice((a > 0).long(), none).tolist() == [0.0]


def test_shares_of_patches_count_only_pixels_that_are_there():
    mask = torch.from_numpy(np.random.default_rng(0).integers(0, 3, (7, 10)))
    shares = patch_shares(mask, (4, 4), 3)
    assert shares.shape == (3, 2, 3)
    torch.testing.assert_close(shares.sum(0), torch.ones(2, 3))
    for i in range(2):
        for j in range(3):
            part = mask[4 * i:4 * i + 4, 4 * j:4 * j + 4]
            for k in range(3):
                assert shares[k, i, j].item() == pytest.approx((part == k).float().mean().item())


@pytest.mark.parametrize(("shape", "patch"), [((30, 38), (4, 2)), ((14, 22, 18), (2, 4, 4))])
def test_tokens_lie_where_their_patches_are(shape, patch):
    image = torch.rand(1, *shape)
    case = as_tokens(Blocks(patch), Case(image, torch.zeros(shape, dtype=torch.int64)), patch)
    assert case.image.shape[1:] == tuple(-(-s // p) for s, p in zip(shape, patch, strict=True))
    place = tuple(1 for _ in patch)
    cut = tuple(slice(p, 2 * p) for p in patch)
    torch.testing.assert_close(case.image[(slice(None), *place)], image[(0, *cut)].flatten())


@pytest.mark.parametrize(("shape", "patch"), [((32, 38), (2, 2)), ((14, 16, 18), (2, 2, 2))])
def test_the_head_finds_what_the_tokens_show_and_nothing_where_labels_are_shuffled(shape, patch):
    cases = [as_tokens(Blocks(patch), case, patch) for case in balls(shape)]
    scores, _ = score_cases(fit_head(cases[:3], cases[3:5], patch), cases[3:5], cases[5:])
    assert scores.shape == (1, 1) and scores[0, 0] > 0.85
    p = fit_head(cases[:3], cases[3:5], patch)(cases[5])
    torch.testing.assert_close(p.sum(0), torch.ones(shape), atol=1e-5, rtol=0)
    rng = np.random.default_rng(0)
    shuffled = [c._replace(mask=c.mask.flatten()[rng.permutation(c.mask.numel())].reshape(shape)) for c in cases]
    lost, _ = score_cases(fit_head(shuffled[:3], shuffled[3:5], patch), shuffled[3:5], cases[5:])
    everything = dice(cases[5].mask, torch.ones_like(cases[5].mask))[0]  # what no knowledge at all can reach
    assert lost[0, 0] < everything + 0.12 < scores[0, 0] - 0.3


def test_the_upsampled_map_is_not_moved():
    """A step between two patches: P passes one half at the border of the patches, not beside it."""
    image, mask = torch.zeros(1, 16, 32), torch.zeros(16, 32, dtype=torch.int64)
    image[..., 16:], mask[:, 16:] = 1, 1
    case = as_tokens(Blocks((4, 4)), Case(image, mask), (4, 4))
    drawn = draw(fit_head([case], [case], (4, 4))(case), 0.5)
    assert torch.equal(drawn, mask)


def test_three_classes_and_a_class_that_train_lacks():
    a, b = balls((32, 32), 2)
    both = [Case(torch.cat([c.image, c.image.flip(2)]), torch.where(c.mask > 0, 1, torch.where(
        c.mask.flip(1) > 0, 2, 0)), None) for c in (a, b)]
    cases = [as_tokens(Blocks((2, 2)), case, (2, 2)) for case in both]
    scores, _ = score_cases(fit_head(cases[:1], cases[1:], (2, 2), 3), cases[:1], cases[1:], 3)
    assert scores.shape == (1, 2) and scores.min() > 0.7
    assert fit_intensity(both[:1], classes=4)(both[1]).shape == (4, 32, 32)


def test_a_real_encoder_in_three_dimensions():
    torch.manual_seed(0)
    encoder = ViT(patch=(2, 4, 4), pool="cls")
    case = as_tokens(encoder, ball((9, 18, 16), (4, 9, 8), 4), (2, 4, 4))
    assert case.image.shape == (encoder.dim, 5, 5, 4)
    x = torch.nn.functional.pad(ball((9, 18, 16), (4, 9, 8), 4).image, (0, 0, 0, 2, 0, 1))[None]
    with torch.no_grad():
        want = encoder.tokens(x, spacing=(1.0, 1.0, 1.0))[0, 1:]  # without the class token
    torch.testing.assert_close(case.image.flatten(1).T, want)
    encoder.train().blocks[0].eval()
    as_tokens(encoder, ball((9, 18, 16), (4, 9, 8), 4), (2, 4, 4))
    assert encoder.training and not encoder.blocks[0].training, "each part is left in its own mode"
    with pytest.raises(MedsslError, match="patch side"):
        as_tokens(encoder, ball((18, 16), (9, 8), 4), (2, 4, 4))


def test_grey_values_find_what_is_bright_and_only_that():
    cases = balls((30, 30))
    assert score_cases(fit_intensity(cases[:4]), cases[3:5], cases[5:])[0][0, 0] > 0.95
    dark = [ball((30, 30), (15, 15), 7, seed=k, bright=0.0) for k in range(6)]  # nothing to see
    lost = score_cases(fit_intensity(dark[:4]), dark[3:5], dark[5:])[0][0, 0]
    assert lost < dice(dark[5].mask, torch.ones(30, 30, dtype=torch.int64))[0] + 0.1


def test_the_ellipsoid_is_found_in_mm_and_sees_no_pixel():
    """Balls of radius L/2 - 10 mm, whatever the field of view and the spacing: the margin gives them away."""
    cases = []
    for side, mm in ((40, 1.0), (48, 1.0), (60, 2.0), (100, 5.0)):
        n = round(side / mm)
        at = torch.stack(torch.meshgrid(*[(torch.arange(n) + 0.5) * mm - n * mm / 2] * 3, indexing="ij"))
        cases.append(Case(torch.rand(1, n, n, n), (at.square().sum(0).sqrt() <= n * mm / 2 - 10).long(), (mm,) * 3))
    predict = fit_ellipsoid(cases[:3])
    assert dice(cases[3].mask, predict(cases[3])[1].long())[0] > 0.9
    blind = cases[3]._replace(image=torch.zeros_like(cases[3].image), mask=torch.zeros_like(cases[3].mask))
    assert torch.equal(predict(blind), predict(cases[3]))
    no_mm = fit_ellipsoid([c._replace(spacing=None) for c in cases[:3]])
    assert dice(cases[3].mask, no_mm(cases[3]._replace(spacing=None))[1].long())[0] < 0.8


def test_the_ellipsoid_follows_an_offset():
    cases = [ball((40, 30), (10, 20), 6, seed=k) for k in range(4)]
    drawn = fit_ellipsoid(cases[:3])(cases[3])[1]
    assert dice(cases[3].mask, drawn.long())[0] > 0.75


def test_paired_intervals():
    rng = np.random.default_rng(0)
    hard = rng.uniform(0, 0.8, 12)
    a, b = hard + 0.05 + rng.normal(0, 0.01, 12), hard
    paired = paired_cases(a, b)
    assert paired["lo"] > 0.03 and paired["hi"] < 0.07 and paired["n"] == 12
    alone = paired_cases(a)
    assert alone["hi"] - alone["lo"] > 5 * (paired["hi"] - paired["lo"])
    assert paired_cases(np.r_[a, np.nan], np.r_[b, 0.3]) == paired
    with pytest.raises(MedsslError, match="two or more"):
        paired_cases([np.nan, 0.2], [0.1, 0.1])


def test_few_cases_get_the_width_of_students_t():
    d = np.random.default_rng(1).normal(size=8)
    found = paired_cases(d)
    half = 2.365 * d.std(ddof=1) / np.sqrt(8)  # Student's t of 7 degrees of freedom
    assert (found["hi"] - found["lo"]) / 2 == pytest.approx(half, rel=0.12)
