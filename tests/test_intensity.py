"""Grey values of volumes: windows of CT, percentiles, MR scaled alike whatever the air."""

import numpy as np
import pytest
import torch
from small_volumes import RNG

from medssl.data.intensity import otsu, quantiles, scale_mr, window_ct
from medssl.errors import MedsslError


def test_windows_map_their_ends_to_0_and_1():
    hu = torch.tensor([-3024, -160, 40, 240, 3000], dtype=torch.int16)
    assert window_ct(hu, "soft").tolist() == window_ct(hu, 40, 400).tolist() == [0, 0, 0.5, 1, 1]
    assert window_ct(torch.tensor([-600.0, 150.0]), "lung").tolist() == [0.5, 1]
    before = torch.tensor([1.0, 2.0])
    window_ct(before, 0, 10)
    assert before.tolist() == [1, 2]  # the voxels themselves are left alone
    for bad in (("liver",), (40,), (40, 0), ("soft", 100)):
        with pytest.raises(MedsslError):
            window_ct(hu, *bad)


@pytest.mark.parametrize("values", [[-32768, 32767, 0, -1, 5], [3], [7, 7], RNG.integers(-32768, 32768, 9999),
                                    RNG.normal(0, 30, 10**5).round()])
def test_percentiles_by_counting_are_those_of_numpy(values):
    array, shares = torch.tensor(np.asarray(values), dtype=torch.int16), [0, 0.1, 1, 25, 50, 73.21, 99, 99.9, 100]
    assert np.allclose(quantiles(array, shares), np.percentile(array.numpy(), shares), rtol=0, atol=1e-9)
    assert np.allclose(quantiles(array.float(), shares), np.percentile(array.numpy(), shares), rtol=1e-6)
    for above in (-0.5, 2, 2.5):
        kept = array.numpy()[array.numpy() > above]
        for kind in (array, array.float()):
            if len(kept):
                assert np.allclose(quantiles(kind, shares, above), np.percentile(kept, shares), rtol=1e-6)


def test_mr_is_scaled_alike_whatever_the_air_and_one_bright_vessel():
    rng = np.random.default_rng(3)
    body = torch.from_numpy(rng.normal(400, 80, (20, 20, 20)).clip(60).astype(np.int16))
    scans = [torch.from_numpy(np.abs(rng.normal(0, 8, (n, n, n))).astype(np.int16)) for n in (24, 40)]
    for scan in scans:
        scan[2:22, 2:22, 2:22] = body
    scans[1][3, 3, 3] = 32000
    small, large = (scale_mr(scan)[2:22, 2:22, 2:22] for scan in scans)
    assert (small - large).abs().flatten().quantile(0.99) < 0.02 and 0.5 < large.mean() < 0.8
    assert (scans[1] > otsu(scans[1])).float().mean() == pytest.approx(8000 / 40**3, rel=0.1)
    assert large.min() >= 0 and large.max() <= 1
    mask = torch.zeros_like(scans[0], dtype=torch.bool)
    mask[2:22, 2:22, 2:22] = True
    assert scale_mr(scans[0], (0, 50), mask)[mask].median() == 1
    assert scale_mr(torch.full((3, 3), 5, dtype=torch.int16)).tolist() == [[0] * 3] * 3
    with pytest.raises(MedsslError, match="percentiles"):
        scale_mr(body, (99, 1))
    with pytest.raises(MedsslError, match="mask empty"):
        scale_mr(scans[0], mask=torch.zeros_like(mask))
