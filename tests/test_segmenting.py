"""Masks of one's own lie on their images, whatever the file; segmentation through the command line; no mask of test."""

import json

import numpy as np
import pytest
import torch
from PIL import Image

from medssl.data import Volume, image_hashes, load_own, write_nifti
from medssl.data.masks import load_masks
from medssl.errors import MedsslError
from medssl.models import ViT
from medssl.models.export import save_encoder
from medssl.recipes.beside import untrained
from medssl.recipes.segmenting import segment, segmentation_table


def blob(k: int, shape, seed=0) -> tuple[np.ndarray, np.ndarray]:
    """(image in 0…255, mask): a bright box in the dark, nowhere in the middle."""
    rng = np.random.default_rng([seed, k])
    mask = np.zeros(shape, np.uint8)
    first = [rng.integers(0, n // 2) for n in shape]
    mask[tuple(slice(a, a + n // 3) for a, n in zip(first, shape, strict=True))] = 1
    return rng.integers(20, 60, shape) + 150 * mask, mask


def pictures(root, n=16, shape=(24, 40)):
    for k in range(n):
        image, mask = blob(k, shape)
        for name, values in ((f"a{k % 2}/scan{k}.png", image), (f"b/scan{k}_mask.png", 255 * mask)):
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(values.astype(np.uint8)).save(root / name)
    (root / "a").mkdir()
    for k in range(2):
        (root / f"a{k}").rename(root / f"a/{k}")
    return root / "a", root / "b"


def agree(data, masks, least):
    assert len(masks) == sum(map(len, data.splits.values()))
    for part in data.splits.values():
        for image, file in zip(part.images, part.about["file"], strict=True):
            assert masks[file].shape == image.shape[1:] and masks[file].dtype == torch.int64 and masks[file].any()
            assert ((image[0] > 110) == masks[file].bool()).float().mean() > least


def test_masks_of_pictures_lie_on_them(tmp_path):
    images, masks = pictures(tmp_path)
    for size, least in ((40, 1.0), (20, 0.97), (64, 0.97)):
        data = load_own(images, size=[size], folders=False, fractions=(0.5, 0.25, 0.25))
        agree(data, load_masks(data, masks, images), 0.9999 if least == 1 else least)
    held = Image.open(images / "0/scan0.png")
    exif = Image.Exif()
    exif[0x0112] = 6  # turned by a quarter on the screen, and so its mask was drawn
    held.transpose(Image.Transpose.ROTATE_90).save(images / "0/scan0.png", exif=exif)
    data = load_own(images, size=[40], folders=False, fractions=(0.5, 0.25, 0.25))
    agree(data, load_masks(data, masks, images), 0.9999)


def test_masks_of_volumes_lie_on_them_however_they_are_stored(tmp_path):
    for k in range(6):
        image, mask = blob(k, (12, 20, 16))
        for name, values, order in (("ct_image", image - 100, "LPS"), ("ct_mask", 2 * mask, "RAS")):
            (tmp_path / f"case{k}").mkdir(exist_ok=True)
            write_nifti(tmp_path / f"case{k}/{name}.nii.gz", Volume(torch.from_numpy(values.astype(np.int16))[None], (
                3.0, 2.0, 2.0), np.diag([2.0, 2.0, 3.0, 1.0])), order)
    data = load_own(tmp_path, size=[12, 20, 24], spacing=[3, 2, 2], only="*_image.nii.gz", modality="CT", folders=False,
                    fractions=(0.5, 0.25, 0.25), window=(10, 200))
    agree(data, load_masks(data, tmp_path, tmp_path), 0.9999)
    write_nifti(tmp_path / "case0/ct_mask.nii.gz", Volume(torch.ones(1, 12, 20, 16, dtype=torch.int16), (3.0, 2.0, 2.0),
                                                          np.array([[2, 0, 0, 9], [0, 2, 0, 0], [0, 0, 3.0, 0],
                                                                    [0, 0, 0, 1]])))
    with pytest.raises(MedsslError, match="in another place"):
        load_masks(data, tmp_path, tmp_path)


def test_a_mask_that_is_not_of_its_image_is_refused(tmp_path):
    images, masks = pictures(tmp_path, 8)
    data = load_own(images, size=[40], folders=False, fractions=(0.5, 0.25, 0.25))
    whole = (masks / "scan0_mask.png").read_bytes()
    Image.fromarray(np.ones((40, 24), np.uint8)).save(masks / "scan0_mask.png")
    with pytest.raises(MedsslError, match="scan0_mask.png is 40×24, .*scan0.png is 24×40"):
        load_masks(data, masks, images)
    (masks / "scan0_mask.png").unlink()
    with pytest.raises(MedsslError, match="holds no mask of .*scan0.png"):
        load_masks(data, masks, images)
    for at in ("x", "y"):
        (masks / at).mkdir()
        (masks / at / "scan0.png").write_bytes(whole)
    with pytest.raises(MedsslError, match="could be"):
        load_masks(data, masks, images)
    (masks / "0").mkdir()
    (masks / "0/scan0_seg.png").write_bytes(whole)  # the subfolder of its image settles it
    assert load_masks(data, masks, images)[images / "0/scan0.png"].any()


def test_masks_of_several_structures_are_merged_only_when_asked(tmp_path):
    images, masks = pictures(tmp_path, 8)
    data = load_own(images, size=[40], folders=False, fractions=(0.5, 0.25, 0.25))
    want = load_masks(data, masks, images)
    drawn = np.asarray(Image.open(masks / "scan3_mask.png")).copy()
    drawn[tuple(np.argwhere(drawn)[0])] = 2
    for values in (drawn, np.stack([drawn, drawn * 0, drawn * 0], 2)):
        Image.fromarray(values).save(masks / "scan3_mask.png")
        with pytest.raises(MedsslError, match="(?s)values above 0 .*--merge-masks"):
            load_masks(data, masks, images)
        found = load_masks(data, masks, images, merge=True)
        assert all(torch.equal(found[file], mask) for file, mask in want.items())


def test_a_label_volume_is_no_mask(tmp_path):
    for k in range(6):
        image, mask = blob(k, (6, 8, 8))
        mask[0, 0, 0] = 3
        for name, values in (("ct_image", image), ("ct_mask", mask)):
            (tmp_path / f"case{k}").mkdir(exist_ok=True)
            write_nifti(tmp_path / f"case{k}/{name}.nii.gz", Volume(
                torch.from_numpy(values.astype(np.int16))[None], (1.0, 1.0, 1.0), np.eye(4)))
    data = load_own(tmp_path, size=[6, 8, 8], spacing=[1, 1, 1], only="*_image.nii.gz", modality="CT", folders=False,
                    fractions=(0.5, 0.25, 0.25))
    with pytest.raises(MedsslError, match=r"2 values above 0 \(1, 3\)"):
        load_masks(data, tmp_path, tmp_path)
    assert len(load_masks(data, tmp_path, tmp_path, merge=True)) == 6


@pytest.fixture(scope="module")
def cases(tmp_path_factory):
    images, masks = pictures(tmp_path_factory.mktemp("seg"), 20)
    data = load_own(images, size=[32], folders=False, fractions=(0.5, 0.2, 0.3))
    torch.manual_seed(0)
    return images, masks, data, load_masks(data, masks, images), ViT(patch=8)


def test_masks_of_test_only_score(cases):
    _, _, data, masks, encoder = cases
    found = segment(encoder, data, masks)
    assert found["n"] == {name: len(part) for name, part in data.splits.items()}
    rows = {row["what"]: row for row in found["rows"]}
    assert rows["grey values"]["mean"] > 0.9 and rows["frozen tokens, linear head"]["mean"] > 0.35
    assert found["less"]["ellipse, no pixel"]["mean"] == pytest.approx(
        rows["frozen tokens, linear head"]["mean"] - rows["ellipse, no pixel"]["mean"])
    assert json.loads(json.dumps(found)) == found
    blank = masks | {file: torch.zeros_like(masks[file]) for file in data.test.about["file"][1:]}
    other = segment(encoder, data, blank)
    assert other["thresholds"] == found["thresholds"]
    with pytest.raises(MedsslError, match="no patch tokens"):
        segment(torch.nn.Flatten(), data, masks)


def test_the_random_twin_has_the_same_build_and_other_weights(cases):
    encoder, twin = cases[4], untrained(cases[4], 3)
    assert twin.describe() == encoder.describe() and not torch.equal(twin.embed.weight, encoder.embed.weight)
    assert torch.equal(untrained(encoder, 3).embed.weight, twin.embed.weight)


def test_the_command_line_segments_and_says_what_was_seen(cases, tmp_path, capsys):
    from medssl.cli import main

    images, masks, _, _, encoder = cases
    data = load_own(images, size=[32], folders=False, fractions=(0.7, 0.15, 0.15))
    save_encoder(tmp_path / "encoder", encoder, {}, image_hashes(data.test.images[:1]))

    def evaluate(*words):
        with pytest.raises(SystemExit) as ended:
            main(["evaluate", str(tmp_path / "encoder"), "--data", str(images), "--size", "32", *map(str, words)])
        shown = capsys.readouterr()
        return int(ended.value.code or 0), shown.out, shown.err

    code, out, err = evaluate("--masks", masks, "--out", tmp_path / "out")
    assert code == 0, err
    found = json.loads((tmp_path / "out/evaluation.json").read_text())
    assert found["split_hash"] == data.split_hash() and found["seen"]["test"] == 1 and len(found["rows"]) == 4
    assert "**SEEN IN PRETRAINING: 1 of the 3 test images.**" in out and segmentation_table(found) in out
    code, out, _ = evaluate("--masks", masks, "--exclude-seen")
    assert code == 0 and "test n = 2" in out and "left out of the test: 1 of 3" in out
    code, _, err = evaluate("--masks", masks, "--site-column", "x")
    assert code == 1 and "another run" in err
    code, _, err = evaluate("--masks", masks, "--patient-column", "x")
    assert code == 1 and "the CSV that has it" in err
