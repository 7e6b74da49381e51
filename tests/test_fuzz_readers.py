"""Every reader of files from outside, on files that are damaged or mean harm: a value, or an error that names the file.

Never another exception, no 20 seconds, no 1 GiB (fuzz_readers.py). `make test` draws few cases, `make nightly` 10,000 a
reader: MEDSSL_FUZZ_CASES. Below: each fault that was found so, as small as it can be.
"""

import io
import json
import os
import pickle
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from fuzz_readers import readers
from hostile import Evil

from medssl.errors import MedsslError

HERE = Path(__file__).parent


@pytest.fixture(scope="module")
def told(tmp_path_factory) -> dict[str, dict]:
    """What came of it, for each reader. One process for all, as its memory is bounded."""
    folder, count = tmp_path_factory.mktemp("fuzz"), os.environ.get("MEDSSL_FUZZ_CASES", "short")
    done = subprocess.run([sys.executable, HERE / "fuzz_readers.py", folder, count], capture_output=True, text=True,
                          env=os.environ | {"OMP_NUM_THREADS": "1"})
    assert done.returncode == 0, f"died of the case {(folder / 'now').read_text()}: {done.stderr[-3000:]}"
    return {one["reader"]: one for one in json.loads(done.stdout.splitlines()[-1])}


@pytest.mark.parametrize("name", readers())
def test_any_file_is_a_value_or_an_error_that_names_it(told, name):
    one = told[name]
    if "missing" in one:
        pytest.skip(one["missing"])
    assert not one["faults"], "\n".join(f"fuzz_readers.py FOLDER ={n} {name}: {said}" for n, said in one["faults"])
    assert one["value"] and (one["error"] or name in ("submissions", "results")), "all alike: the damage is too little"


def refused(read, path: Path, match: str | None = None) -> None:
    with pytest.raises(MedsslError, match=match) as error:
        read()
    assert path.name in str(error.value)


@pytest.mark.parametrize("claim, said", [("(60000, 60000, 60000)", "216000000000000 bytes"), ("(-1, 28)", "claims")])
def test_a_claim_in_npz_costs_no_memory(tmp_path, claim, said):
    from medssl.data.npz import read_npz

    path = tmp_path / "a.npz"
    np.savez(path, x=np.zeros((2, 3), np.uint8))
    stream = io.BytesIO()  # packed anew, for its checksum to be right
    with zipfile.ZipFile(path) as old, zipfile.ZipFile(stream, "w") as new:
        inside = old.read("x.npy")
        new.writestr("x.npy", inside.replace(b"(2, 3), }" + b" " * 30, f"{claim}, }}".encode().ljust(39)))
    path.write_bytes(stream.getvalue())
    refused(lambda: read_npz(path, ["x"]), path, said)
    refused(lambda: read_npz(path, ["y"]), path, "y.npy")


@pytest.mark.parametrize("start", [np.nan, np.inf, -1e9])
def test_voxels_that_begin_nowhere(tmp_path, start):
    nibabel = pytest.importorskip("nibabel")
    from medssl.data import read_volume

    image = nibabel.Nifti1Image(np.zeros((3, 4, 5), np.int16), np.eye(4))
    header = image.header.copy()
    header["vox_offset"] = start
    path = tmp_path / "a.nii"
    path.write_bytes(header.binaryblock + bytes(500))
    refused(lambda: read_volume(path), path, "begin at byte")


@pytest.mark.parametrize("text", ["x" + ".a" * 100_000 + " = 1", "x = " + "9" * 5000, "x = " + "[" * 5000,
                                  'x = "\udcff"', "[a.b.c]\nx = 1.5.2"])
def test_settings_of_no_sense(tmp_path, text):
    from medssl.settings import read_toml

    path = tmp_path / "c.toml"
    path.write_bytes(text.encode("utf-8", "surrogateescape"))
    refused(lambda: read_toml(path), path, "not valid TOML")


def test_a_catalog_of_200_000_columns(tmp_path):
    pytest.importorskip("polars")
    from medssl.data.catalog import read_catalog

    path = tmp_path / "c.csv"
    path.write_text("patient,modality,nifti_path" + "," * 200_000 + "\n")
    refused(lambda: read_catalog(path), path, "200,003 columns")


def test_predictions_that_are_no_text(tmp_path):
    from medssl.course.predictions import read_predictions

    path = tmp_path / "p.csv"
    path.write_bytes("seed,index,y_true,p\n0,0,1,0.5".encode("utf-16"))
    refused(lambda: read_predictions(path), path, "not UTF-8")


@pytest.mark.parametrize("element, value", [
    ("ImagePositionPatient", ["\x110.0", "1", "2"]), ("ImageOrientationPatient", [1.0, 0, 0, 0]),
    ("PixelSpacing", ["1e400", "1"]), ("SeriesInstanceUID", ["1.2", "1.3"]), ("SOPClassUID", ["1.2", "1.3"]),
    ("MediaStorageSOPClassUID", ["1.2", "1.3"]), ("ImageOrientationPatient", r"1\0\0\0\1\0")])
def test_elements_of_another_kind(tmp_path, element, value):
    pydicom = pytest.importorskip("pydicom")
    from test_dicom_series import make_slice

    from medssl.data.dicom_series import read_series

    for k in range(3):
        ds, tag = make_slice(k), pydicom.tag.Tag(element)
        text = isinstance(value, str)  # numbers in an element that says of itself that it holds words
        raw = (value if text else "\\".join(map(str, value))).encode()
        vr = "LO" if text else pydicom.datadict.dictionary_VR(tag)
        of = ds.file_meta if tag.group == 2 else ds
        of[tag] = pydicom.dataelem.RawDataElement(tag, vr, len(raw), raw, 0, False, True)
        ds.save_as(path := tmp_path / f"{k}.dcm", enforce_file_format=False, implicit_vr=False, little_endian=True)
    assert path.stat().st_size > 200
    with pytest.raises(MedsslError, match=r"\.dcm .*damaged"):
        read_series(tmp_path)


def save(folder: Path, content: object, raw: bytes = b"") -> Path:
    """A checkpoint under the name of its digest, which whoever means harm can compute too."""
    from medssl.train.checkpoint import _digest

    path = folder / "x"
    path.write_bytes(raw) if raw else torch.save(content, path)
    return path.rename(folder / f"checkpoint-00000003-{_digest(path)}.pt")


@pytest.mark.parametrize("change", [{"config": None}, {"step": -1}, {"step": 2**63}, {"history": 3}, {"best": {"x": 1}},
                                    {"history": [{"a": torch.zeros(2)}]}, {"method": []}, {"optimizer": "x"},
                                    {"sums": {"loss": "0.5"}}, {"seconds": None},
                                    {"optimizer": {"state": {}, "param_groups": [{"params": [0, 1]}]}}])
def test_a_checkpoint_of_something_else_is_named(tmp_path, change):
    from test_trainer import make

    _, trainer = make(out=tmp_path, epochs=1)
    trainer.fit()
    (newest,) = tmp_path.glob("*.pt")
    state = torch.load(newest, weights_only=True)
    newest.unlink()
    path = save(tmp_path, state | change)
    refused(lambda: make(out=tmp_path, epochs=1)[1].fit(), path, "no run that can go on here")


def test_a_checkpoint_can_run_nothing(tmp_path):
    from medssl.train import load_newest

    flag = tmp_path / "it was run"
    for raw in (pickle.dumps(Evil(str(flag))), b""):
        path = save(tmp_path, {"config": Evil(str(flag))}, raw)
        refused(lambda: load_newest(tmp_path), path, "no run that can go on here")
        path.unlink()
    assert not flag.exists()
    torch.load(save(tmp_path, Evil(str(flag))), weights_only=False)
    assert flag.exists()  # it would have been


@pytest.mark.parametrize("kept", [[], {"salt": "", "patients": {}, "uids": {}, "files": {}},
                                  {"salt": "ab" * 32, "patients": 3, "uids": {}, "files": {}}])
def test_a_key_of_something_else(tmp_path, kept):
    """An empty salt was replaced by a new one: the next delivery had other pseudonyms."""
    from PIL import Image

    from medssl.data.deidentify import anonymize

    Image.new("L", (3, 3)).save(tmp_path / "a.png")
    key = tmp_path / "key.json"
    key.write_text(json.dumps(kept))
    refused(lambda: anonymize(tmp_path / "a.png", tmp_path / "out", key=key), key, "no key of an earlier run")


def test_a_length_in_a_dicom_costs_no_memory_where_only_the_patient_is_read(tmp_path):
    pytest.importorskip("pydicom")
    from test_dicom_series import make_slice

    from medssl.data.folders import dicom_patients

    make_slice(0, shape=(4, 3)).save_as(path := tmp_path / "a.dcm", enforce_file_format=True)
    whole = path.read_bytes()
    path.write_bytes(whole[:140] + b"\xff\xff" + whole[142:])  # the length of the file header's first element
    assert dicom_patients([path, path]) is None


@pytest.mark.parametrize("odd", [{"shape": (2**40, 8, 8, 3)}, {"data": 3}, {"data": "text"},
                                 {"shape": (3, 0, 8, 3)}, None])
def test_an_hdf5_file_of_something_else(tmp_path, odd):
    h5py = pytest.importorskip("h5py")
    from medssl.data.public import SETS
    from medssl.data.public.pictures import read_pcam

    for name in ("train", "valid", "test"):
        for key, shape in (("x", (3, 8, 8, 3)), ("y", (3,))):
            with h5py.File(tmp_path / f"camelyonpatch_level_2_split_{name}_{key}.h5", "w") as file:
                file[key] = np.ones(shape, np.uint8)
    path = tmp_path / "camelyonpatch_level_2_split_valid_x.h5"
    with h5py.File(path, "w") as file:
        file.create_dataset("x", dtype="u1" if "shape" in odd else None, **odd) if odd else file.create_group("x")
    refused(lambda: read_pcam(tmp_path, SETS["pcam"], 8), path)


@pytest.mark.parametrize("modality", [["CT"], 3, {"0": None}])
def test_a_dataset_json_of_something_else(tmp_path, modality):
    from medssl.data.public import SETS
    from medssl.data.public.scans import read_msd

    path = tmp_path / "dataset.json"
    path.write_text(json.dumps({"modality": modality, "training": [{"image": "a.nii", "label": "a.nii"}]}))
    refused(lambda: read_msd(tmp_path, SETS["msd-spleen"], 4), path, "no dataset.json")
    path.write_text("[" * 100_000)
    refused(lambda: read_msd(tmp_path, SETS["msd-spleen"], 4), path, "no dataset.json")


def test_a_setting_no_float_can_hold():
    from medssl.settings import build

    with pytest.raises(MedsslError, match="c.toml: lr is 1000"):
        build(float, 10**400, "c.toml: lr")


def test_the_weights_that_week_3_hands_in_can_run_nothing(few, tmp_path):
    from medssl.recipes.supervised import load_classifier

    flag, path = tmp_path / "it was run", tmp_path / "reference_supervised.pt"
    config = {"model": "smallcnn (3 blocks)", "split_hash": few.split_hash(), "image_size": few.size, "dataset": "few"}
    path.write_bytes(pickle.dumps(Evil(str(flag))))
    refused(lambda: load_classifier(config, path, few), path, "does not fit its config")
    torch.save({"weight": Evil(str(flag))}, path)
    refused(lambda: load_classifier(config, path, few), path, "(?i)weights.?only")
    assert not flag.exists()
