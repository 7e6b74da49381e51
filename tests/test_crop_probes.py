"""Probes on crops of scans: the right place and organ, strengths chosen between scans, intervals over scans."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from sklearn.metrics import balanced_accuracy_score, r2_score

from medssl.data.phantom_volumes import ORGANS, ct_phantom
from medssl.errors import MedsslError
from medssl.evaluate import class_probe, class_rates, place_errors, place_probe
from medssl.evaluate.by_scan import scan_folds
from medssl.models import ViT
from medssl.recipes import crop_probes


@pytest.fixture(scope="module")
def scans():
    return [ct_phantom(k, (26, 34, 37), (10.0, 10.0, 10.0)) for k in range(3)]


def test_the_middle_of_a_crop_is_its_organ_and_its_place(scans):
    """On a scan whose grey value *is* its index, the middle of each crop must say where it was cut."""
    scan = scans[0]
    for axis in range(3):
        ramp = torch.arange(scan.image.shape[axis], dtype=torch.int16).view([-1 if k == axis else 1 for k in range(3)])
        marked = scan._replace(image=replace(scan.image, array=(ramp * 4 - 100).expand(scan.image.shape)[None].clone()))
        crops = crop_probes.organ_crops([marked], 12, 8, 10.0, seed=1)
        middle = crops.x[:, 0, 3:5, 3:5, 3:5].mean((1, 2, 3)) * 400 - 160  # out of the soft window again
        inside = (crops.x.flatten(1) > 0).all(1).numpy()  # those that do not reach beyond the scan
        index = (middle.numpy() + 100) / 4
        apart = np.diff(index[inside]) * 10 - np.diff(crops.place[inside, axis])
        assert inside.sum() > 2 and np.abs(apart).max() < 10.1  # a voxel: crops begin at whole ones
    honest = crop_probes.organ_crops(scans, 20, 8, 10.0, seed=2)
    assert len(honest.x) == 60 and set(honest.scan) == {0, 1, 2} and set(honest.label) <= set(crop_probes.NAMED)
    lungs = np.isin(honest.label, [ORGANS.index("lung left"), ORGANS.index("lung right")])
    middle = honest.x[:, 0, 3:5, 3:5, 3:5].mean((1, 2, 3)).numpy()
    assert middle[lungs].mean() < 0.3 < middle[~lungs].mean()
    right, left = (honest.place[honest.label == ORGANS.index(f"kidney {side}"), 2].mean() for side in ("right", "left"))
    assert right > left + 50  # x grows to the patient's right
    again = crop_probes.organ_crops(scans, 20, 8, 10.0, seed=2)
    assert torch.equal(again.x, honest.x) and (again.label == honest.label).all()


def test_thirds_lie_above_one_another_and_only_ct_is_cut(scans):
    crops = crop_probes.third_crops([scan.image for scan in scans], 20, 8, 8.0)
    heights = [crops.place[crops.label == k, 0] for k in range(3)]
    assert len(crops.x) == 60 and all(len(h) for h in heights)
    for scan in range(3):
        mine = crops.scan == scan
        lower, upper = (crops.place[mine & (crops.label == k), 0] for k in (0, 2))
        assert not len(lower) or not len(upper) or lower.max() < upper.min()
    with pytest.raises(MedsslError, match="MR"):
        crop_probes.third_crops([replace(scans[0].image, modality="MR")], 4, 8, 8.0)


def test_features_of_any_reader_are_probed_alike(scans):
    learn, test = (crop_probes.organ_crops(some, 80, 8, 10.0, seed) for seed, some in enumerate((scans[:2], scans[2:])))
    network = ViT(patch=(4, 4, 4))
    said = crop_probes.ask({"grey": crop_probes.grey_statistics, "voxels": crop_probes.thumbnail, "network":
                            lambda crops: crop_probes.encode_crops(network, crops)}, learn, test)
    assert all(s["label"].shape == (80,) and s["place"].shape == (80, 3) for s in said.values())
    assert crop_probes.grey_statistics(test).shape == (80, 8) and crop_probes.thumbnail(test).shape == (80, 64)


def toy(seed=0, scans=8, each=25):
    r = np.random.default_rng(seed)
    scan = np.repeat(np.arange(scans), each)
    y = r.integers(0, 3, len(scan))
    x = r.standard_normal((len(scan), 6))
    x[:, 0] += 2 * y
    place = np.stack([20 * x[:, 1], 10 * x[:, 2], r.standard_normal(len(scan))], 1)
    return x, y, place, scan


def test_probes_find_what_is_there_and_fold_between_scans():
    x, y, place, scan = toy()
    fit = scan < 5
    label, where = class_probe(x[fit], y[fit], scan[fit], x[~fit]), place_probe(x[fit], place[fit], scan[fit], x[~fit])
    rates = class_rates(y[~fit], {"probe": label, "always 1": np.ones(len(label))}, scan[~fit], "always 1")
    assert rates["probe"]["value"] == pytest.approx(balanced_accuracy_score(y[~fit], label))
    assert rates["probe"]["value"] > 0.6 and rates["always 1"]["value"] == pytest.approx(1 / 3)
    assert rates["probe"]["lead"] == pytest.approx(rates["probe"]["value"] - 1 / 3)
    assert rates["probe"]["lead_ci95"][0] > 0 and "lead" not in rates["always 1"]
    guess = place[fit].mean(0)
    errors = place_errors(place[~fit], {"probe": where, "guess": np.tile(guess, (len(where), 1))}, guess, scan[~fit])
    assert errors["guess"]["value"] == pytest.approx(0) and errors["probe"]["value"] > 0.95
    # with the test's own mean in place of the guess it is sklearn's R², weighed by variance
    own = place_errors(place[~fit], {"probe": where}, place[~fit].mean(0), scan[~fit])["probe"]["value"]
    assert own == pytest.approx(r2_score(place[~fit], where, multioutput="variance_weighted"))
    assert errors["probe"]["mm"] == pytest.approx(np.linalg.norm(where - place[~fit], axis=1).mean())
    for rows, held in scan_folds(scan):
        assert not set(scan[rows]) & set(scan[held])
    with pytest.raises(MedsslError, match="1 scan"):
        scan_folds(np.zeros(9))


def test_copies_of_a_crop_do_not_make_an_interval_narrower():
    x, y, _, scan = toy(1)
    predicted = np.where(np.random.default_rng(2).random(len(y)) < 0.3, (y + 1) % 3, y)
    predicted[scan < 2] = (y[scan < 2] + 1) % 3  # two scans on which the probe fails
    once = class_rates(y, {"p": predicted}, scan)["p"]["ci95"]
    often = class_rates(np.tile(y, 20), {"p": np.tile(predicted, 20)}, np.tile(scan, 20))["p"]["ci95"]
    assert np.allclose(once, often) and once[1] - once[0] > 0.2
