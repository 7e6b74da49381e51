"""Patches a second out of one scan, against SciPy, MONAI and TorchIO.

1024 rotated patches of 16×16 pixels from a CT of 512×512×200 int16. MONAI gets the whole volume as float32 beforehand;
TorchIO turns the whole volume, then cuts at whole voxels. Before anything is timed, everybody's values are within
0.05 HU of map_coordinates in float64 (TorchIO gives whole numbers: within 1 HU).
"""

import sys

import numpy as np
import torch
from scipy.ndimage import map_coordinates
from scipy.spatial.transform import Rotation
from timing import compare, save

from medssl.views.patches import sample_patches, scan_frame

COUNT, PITCH, HU = 1024, 0.8, 0.05


def places(affine, centres, rotation, pitch):
    """Voxel indices (x, y, z) [N,16,16,3] of all pixels: what everybody but ours has to write down first."""
    across, down = (scan_frame(affine) @ rotation.T)[:, :2].T * pitch
    offset, into = np.arange(16) - 7.5, np.linalg.inv(affine[:3, :3]).T
    index = (centres - affine[:3, 3]) @ into
    return (index[:, None, None] + offset[:, None, None] * (down @ into) + offset[:, None] * (across @ into))


def by_monai(resample, volume, index):
    """Values at voxel indices (x, y, z) [N,16,16,3] of a float32 tensor [1,X,Y,Z]: MONAI counts from the middle."""
    middle = (np.array(volume.shape[1:]) - 1) / 2
    grid = torch.from_numpy(np.moveaxis(index - middle, -1, 0).astype(np.float32))
    return resample(volume, grid)[0].numpy()


def by_scipy(array, index, **how):
    """Values at voxel indices (x, y, z) of an array [Z,Y,X]."""
    return map_coordinates(array, np.moveaxis(index[..., ::-1], -1, 0), order=1, mode="nearest", **how)


def resampler():
    from monai.transforms import Resample

    return Resample(mode="bilinear", padding_mode="border", align_corners=False, dtype=torch.float32)


def measure(side: int = 512, rounds: int = 7) -> list[dict]:
    rng, spacing, shape = np.random.default_rng(0), np.array([0.8, 0.8, 2.0]), (200, side, side)
    coarse = rng.integers(-300, 300, (50, side // 4, side // 4), np.int16).repeat(4, 0).repeat(4, 1).repeat(4, 2)
    voxels = coarse + rng.integers(-700, 700, shape, np.int16)
    affine = np.diag([*spacing, 1.0])
    affine[:3, 3] = -(np.array(shape[::-1]) - 1) / 2 * spacing
    turn = Rotation.from_euler("z", 20, degrees=True).as_matrix()  # TorchIO turns about the middle, which lies at 0
    whole = np.rint(rng.uniform(-40, 40, (COUNT, 3)) / spacing + (side / 2 - 1, side / 2 - 1, 99)).astype(int)
    centres = (whole * spacing + affine[:3, 3] + (0.4, 0.4, 0)) @ turn  # where they come from; 16 pixels: half a voxel

    def ours(**how):
        return sample_patches(voxels, affine, centres, turn, 16 * PITCH, **how)[0][..., 0]

    truth = by_scipy(voxels.astype(np.float64), places(affine, centres, turn, PITCH))

    def checked(cut, at_most=HU):
        error = float(np.abs(cut() - truth).max())
        assert error <= at_most, f"{error:.3g} HU from float64"
        return cut, f"within {error:.1g} HU of float64, ours {ours_error:.1g}"

    ours_error = float(np.abs(ours() - truth).max())
    assert ours_error <= HU, f"ours is {ours_error:.3g} HU from float64"

    def scipy():
        return checked(lambda: by_scipy(voxels, places(affine, centres, turn, PITCH), output=np.float32))

    def monai():
        full, resample = torch.from_numpy(voxels.transpose(2, 1, 0)[None].astype(np.float32)), resampler()
        return checked(lambda: by_monai(resample, full, places(affine, centres, turn, PITCH)))

    def torchio():
        import torchio

        image = torchio.ScalarImage(tensor=torch.from_numpy(voxels.transpose(2, 1, 0)[None].copy()), affine=affine)
        rotate = torchio.Affine(scales=1, degrees=(0, 0, 20), translation=0, default_pad_value=-1000.0)
        cuts = [tuple(slice(a - b, a - b + n) for a, b, n in zip(at, (7, 7, 0), (16, 16, 1), strict=True))
                for at in whole]

        def turn_then_cut():
            turned = rotate(image).data[0].numpy()
            return np.stack([turned[cut][..., 0].T for cut in cuts])

        return checked(turn_then_cut, 1)

    row = {"unit": "patches/s", "work": COUNT}
    size = f"{COUNT} of 16×16 pixels"
    rows = compare("patches", size, ours, {
        "SciPy, one call": ("scipy", scipy), "MONAI Resample, one call": ("monai", monai),
        "ours without numba": ("torch", lambda: checked(lambda: ours(numba=False)))}, rounds=rounds, **row)
    rows[-1] |= {"kind": "own", "version": "ours, plain"}
    return rows + compare("patches", size, ours, {"TorchIO Affine, then crops": ("torchio", torchio)}, rounds=2, **row)


if __name__ == "__main__":
    torch.set_num_threads(1)
    save("patches", measure(256, 2) if "few" in sys.argv[1:] else measure())
