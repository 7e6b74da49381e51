"""Preflight of real CT and MR: every image is kept, every mask and label map is told from an image."""

import csv

import pytest

from medssl.data.preflight import preflight
from medssl.data.scan_cache import open_cached

pytest.importorskip("polars")
pytest.importorskip("blosc2")


def test_every_file(real_data_root, tmp_path):
    folder = real_data_root.parent / "nifti"
    files = sorted(folder.rglob("*.nii.gz"))
    with open(tmp_path / "catalog.csv", "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["patient", "modality", "nifti_path"])
        for path in files:
            modality = "CT" if path.name.startswith("ct_") or "_CT_" in path.name else "MR"
            writer.writerow([path.name.partition("_CT_")[0].partition("_MR_")[0], modality, path.relative_to(folder)])
    catalog = tmp_path / "catalog.csv"
    assert len(preflight(catalog, root=folder).kept) == len(files) == 57  # headers cannot tell a mask
    report = preflight(catalog, "full", cache=tmp_path / "cache", root=folder)
    told = {one.path.rpartition("/")[2]: one.reason for one in report.rejected}
    assert told == {path.name: "not_hounsfield" if path.name.endswith("_seg.nii.gz") else "few_values"
                    for path in files if path.name.endswith(("_mask.nii.gz", "_seg.nii.gz"))}
    for one in report.kept:
        scan = open_cached(tmp_path / "cache", one.scan_id)
        assert scan.max_error == 0 and 0.05 < scan.stats.foreground < 0.95  # whole numbers, though some are floats
        if one.modality == "CT":
            assert -150 < scan.stats.median < 150 and -1024 <= scan.stats.background <= -1000
    assert len(report.kept) == 34
