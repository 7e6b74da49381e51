"""Hand-ins taken along and found again: zip, Drive, git lines; a hostile zip writes nothing elsewhere."""

import zipfile

import pytest
from hand_ins import filled

from medssl.course import Submission, find_artifact
from medssl.errors import MedsslError


def test_a_zip_holds_the_contract_files_and_gives_last_weeks_file_back(tmp_path):
    work = filled(tmp_path / "a")
    work.finish(params={})
    (work.folder / "junk.txt").write_text("x")
    (work.folder / "reliability.png").symlink_to(__file__)
    packed = work.pack()
    with zipfile.ZipFile(packed) as archive:
        names = archive.namelist()
    base = "results/week1/breastmnist/adalovelace/"
    assert sorted(names) == sorted(
        base + f for f in ("test_metrics.json", "predictions_test.csv", "README_week1.md", "run.json", "env.json")
    )
    assert work.pack().read_bytes() == packed.read_bytes()
    fresh = tmp_path / "b"  # Colab forgot everything; the zip was uploaded, and the browser renamed it
    fresh.mkdir()
    (fresh / "week01_breastmnist_adalovelace (1).zip").write_bytes(packed.read_bytes())
    found = find_artifact(1, "test_metrics.json", "BreastMNIST", "ada lovelace", fresh)
    assert found.read_bytes() == work.path("test_metrics.json").read_bytes()
    assert found.resolve().is_relative_to(fresh.resolve())
    assert find_artifact(1, "test_metrics.json", "breastmnist", "ada", fresh) is None


def test_find_prefers_results_then_zip_then_drive(tmp_path):
    root, drive = tmp_path / "root", tmp_path / "drive" / "medmnist-ssl"
    with pytest.raises(MedsslError, match="no Drive is mounted"):
        filled(root).pack("drive", drive)
    drive.parent.mkdir()
    work = filled(root)
    assert work.pack("drive", drive) == drive / "results/week1/breastmnist/adalovelace"
    work.pack()

    def find(**more):
        return find_artifact(1, "test_metrics.json", "breastmnist", "ada lovelace", root, drive=drive, **more)

    assert find() == work.path("test_metrics.json")
    work.path("test_metrics.json").unlink()
    assert "unpacked" in find().parts
    (root / "runs/packed/week01_breastmnist_adalovelace.zip").write_bytes(b"PK broken")
    assert find() == drive / "results/week1/breastmnist/adalovelace/test_metrics.json"
    find().unlink()
    assert find() is None
    with pytest.raises(MedsslError, match="is nowhere.*") as caught:
        find(required=True)
    assert "week01_baseline.ipynb" in str(caught.value)
    with pytest.raises(MedsslError, match="perhaps test_metrics.json"):
        find_artifact(1, "test_metric.json", "breastmnist", "ada", root)
    with pytest.raises(MedsslError):
        find_artifact(1, "../../../../etc/passwd", "breastmnist", "ada", root)


def test_a_hostile_zip_writes_nothing_elsewhere(tmp_path):
    evil = tmp_path / "root" / "week04_breastmnist_ada.zip"
    evil.parent.mkdir()
    with zipfile.ZipFile(evil, "w") as archive:
        archive.writestr("../../outside.txt", "x")
        archive.writestr("/tmp/medssl-outside.txt", "x")
        archive.writestr("results/week4/breastmnist/ada/../../../../ssl_encoder.pt", "x")
    assert find_artifact(4, "ssl_encoder.pt", "breastmnist", "ada", evil.parent) is None
    assert sorted(p.name for p in tmp_path.rglob("*")) == ["root", evil.name]


def test_the_git_lines_name_each_file_and_no_weights(tmp_path):
    work = filled(tmp_path)
    lines = work.pack("git").splitlines()
    assert work.pack("git") == work.pull_request_lines()
    assert lines[0] == "git switch -c week01_breastmnist_adalovelace" and lines[-1].startswith("# then open https://")
    assert 'git add "results/week1/breastmnist/adalovelace/test_metrics.json"' in lines
    encoder = Submission(4, "breastmnist", "ada", tmp_path)
    encoder.weights("ssl_encoder.pt", {})
    assert "ssl_encoder.pt" not in encoder.pull_request_lines()
