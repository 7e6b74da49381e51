"""Clips: the right frames in the right order from every kind of file, and a reason where there is none."""

import sys

import numpy as np
import pytest
import torch

from medssl.data import load
from medssl.data.phantom_cine import cine_phantom
from medssl.data.video import cine_data, load_clip_folder, read_clip
from medssl.data.volumes import Volume, write_nifti
from medssl.errors import MedsslError

STEPS = np.linspace(20, 230, 21).round()  # one grey value a frame: frame k is known by its brightness


def film(path, frames, rate: int = 10, codec: str = "mpeg4"):
    """Frames uint8 [T,H,W,3] as a film."""
    av = pytest.importorskip("av")
    with av.open(str(path), "w") as out:
        stream = out.add_stream(codec, rate=rate)
        stream.height, stream.width, stream.pix_fmt = *frames.shape[1:3], "yuv420p"
        stream.bit_rate = 4_000_000
        for frame in frames:
            out.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        out.mux(stream.encode())
    return path


def dicom(path, frames):
    """Frames [T,H,W] uint16, or [T,H,W,3] uint8, as one ultrasound file."""
    pydicom = pytest.importorskip("pydicom")
    ds = pydicom.Dataset()
    ds.file_meta = pydicom.dataset.FileMetaDataset()
    ds.file_meta.TransferSyntaxUID = pydicom.uid.ExplicitVRLittleEndian
    ds.SOPClassUID = ds.file_meta.MediaStorageSOPClassUID = "1.2.840.10008.5.1.4.1.1.3.1"
    ds.SOPInstanceUID = ds.file_meta.MediaStorageSOPInstanceUID = pydicom.uid.generate_uid()
    ds.Modality, ds.Rows, ds.Columns, ds.NumberOfFrames = "US", *frames.shape[1:3], len(frames)
    colour = frames.ndim == 4
    ds.SamplesPerPixel, ds.PhotometricInterpretation = (3, "RGB") if colour else (1, "MONOCHROME2")
    if colour:
        ds.PlanarConfiguration = 0
    ds.BitsAllocated = ds.BitsStored = 8 * frames.itemsize
    ds.HighBit, ds.PixelRepresentation, ds.PixelData = ds.BitsStored - 1, 0, frames.tobytes()
    ds.save_as(path, enforce_file_format=True)
    return path


def nifti(path, frames):
    """Frames [T,Z,Y,X] in RAS+ order as a 4-D file."""
    pytest.importorskip("nibabel")
    affine = np.diag([1.5, 1.5, 8, 1.0])
    return write_nifti(path, Volume(torch.tensor(frames).short(), (8, 1.5, 1.5), affine))


def steps(*shape) -> np.ndarray:
    return np.broadcast_to(STEPS.reshape(-1, *(1 for _ in shape)), (21, *shape))


@pytest.mark.parametrize("kind", ["mp4", "avi", "dcm", "nii.gz"])
def test_frames_are_evenly_spaced_from_first_to_last(tmp_path, kind):
    path = tmp_path / f"clip.{kind}"
    if kind in ("mp4", "avi"):
        film(path, steps(48, 64, 3).astype(np.uint8))
    elif kind == "dcm":
        dicom(path, steps(48, 64).astype(np.uint16) * 9)
    else:
        nifti(path, steps(3, 48, 64) * 5)
    for frames, wanted in [(6, [0, 4, 8, 12, 16, 20]), (21, range(21)), (2, [0, 20])]:
        clip = read_clip(path, 32, frames)
        assert clip.shape == (1, frames, 32, 32) and clip.dtype == torch.uint8
        found = clip[0, :, 16, 16].double()
        wanted = torch.from_numpy(STEPS[list(wanted)])
        if kind in ("dcm", "nii.gz"):  # 0.5th and 99.5th percentile of what is read become 0 and 255
            wanted = (wanted - wanted.min()) / (wanted.max() - wanted.min()) * 255
        assert (found - wanted).abs().max() <= 4
    with pytest.raises(MedsslError, match="has 21 frames, and 22 are asked for"):
        read_clip(path, 32, 22)
    grey = read_clip(path, 16, frames=4, channels=3)
    assert grey.shape == (3, 4, 16, 16) and (grey.amax(0) - grey.amin(0)).max() <= 3  # grey in three channels


def test_colour_and_shape(tmp_path):
    red = np.zeros((4, 32, 64, 3), np.uint8)
    red[..., :32, 0], red[..., 32:, 2] = 250, 250  # red on the left, blue on the right
    for path in (film(tmp_path / "a.mp4", red), dicom(tmp_path / "a.dcm", red)):
        clip = read_clip(path, 32, 4, channels=3)
        assert clip[:, 0, 16, 4].tolist()[0] > 225 and clip[:, 0, 16, 28].tolist()[2] > 225
        assert clip[:, 0, 16, 4].tolist()[2] < 25 and clip[:, :, :7].max() < 20  # padded above, not stretched
        assert read_clip(path, 32, 4, fit="stretch")[0, 0, 2, 4] == pytest.approx(0.299 * 250, abs=6)


def test_one_scale_for_all_frames_of_a_clip(tmp_path):
    """Scaled frame by frame, a heart that brightens would look the same in each."""
    frames = np.random.default_rng(0).integers(0, 100, (8, 20, 20)).astype(np.uint16)
    frames[4:] *= 10
    clip = read_clip(dicom(tmp_path / "a.dcm", frames), 20, 8).double()
    assert clip[:, 4:].mean() > 8 * clip[:, :4].mean()
    flat = read_clip(dicom(tmp_path / "b.dcm", np.full((3, 8, 8), 7, np.uint16)), 8, 3)
    assert flat.float().std() == 0
    windowed = read_clip(dicom(tmp_path / "c.dcm", frames), 20, 8, window=(500, 1000))
    assert windowed[0, 7].float().mean() == pytest.approx(frames[7].mean() / 1000 * 255, abs=2)


def test_a_slice_of_a_4d_volume_is_turned_as_it_is_looked_at(tmp_path):
    frames = np.zeros((3, 5, 16, 16))
    frames[:, 2, 12, 13] = 1000  # in front, on the patient's right; middle slice
    frames[:, 4, 1, 1] = 1000
    path = nifti(tmp_path / "a.nii.gz", frames)
    assert (read_clip(path, 16, 3)[0, 0] == 255).nonzero().tolist() == [[3, 2]]  # above, on the left of the picture
    assert (read_clip(path, 16, 3, level=4)[0, 2] == 255).nonzero().tolist() == [[14, 14]]
    with pytest.raises(MedsslError, match="5 slices"):
        read_clip(path, 16, 3, level=5)


def test_a_folder_of_clips_becomes_data(tmp_path):
    films, ramp = tmp_path / "films", STEPS[:, None, None, None]
    (films / "deeper").mkdir(parents=True)
    film(films / "a.mp4", steps(16, 16, 3).astype(np.uint8))
    dicom(films / "b.dcm", np.broadcast_to(ramp[..., 0] ** 2, (21, 16, 16)).astype(np.uint16))
    dicom(films / "IM0001", np.broadcast_to(ramp[..., 0][::-1] * 9, (21, 16, 16)).astype(np.uint16))
    nifti(films / "deeper/c.NII.GZ", np.broadcast_to(ramp * 5, (21, 3, 16, 16)))
    (films / "notes.txt").write_text("no film")
    (tmp_path / "table.csv").write_text("image,part,dies\nc.NII.GZ,test,1\nIM0001,val,0\na,train,1\nb,train,0")
    data = load_clip_folder(films, tmp_path / "table.csv", label_column="dies", size=8, frames=6, split_column="part")
    assert data.train.images.shape == (2, 1, 6, 8, 8) and data.train.labels.tolist() == [1, 0]
    assert torch.equal(data.train.images[0], read_clip(films / "a.mp4", 8, 6)) and data.spacing is None
    assert (data.test.images.float().mean((0, 1, 3, 4)).diff() > 20).all(), "NIfTI, whatever the case of its ending"
    assert (data.val.images.float().mean((0, 1, 3, 4)).diff() < -20).all()
    dicom(films / "one.dcm", np.zeros((1, 8, 8), np.uint16))
    with pytest.raises(MedsslError, match="one.dcm has 1 frame"):
        load_clip_folder(films, size=8, frames=6, folders=False)
    with pytest.warns(UserWarning, match="1 of 5 images were left out"):
        assert len(load_clip_folder(films, size=8, frames=6, broken="skip", folders=False).train) == 2


def test_what_is_no_clip_says_why(tmp_path, monkeypatch):
    one = dicom(tmp_path / "one.dcm", np.zeros((1, 8, 8), np.uint16))
    volume = nifti(tmp_path / "one.nii", np.zeros((1, 4, 8, 8)))
    (tmp_path / "notes.txt").write_text("no film")
    for path in (one, volume):
        with pytest.raises(MedsslError, match="has 1 frame, and 16 are asked for"):
            read_clip(path, 8)
    for name, why in [("notes.txt", "no clip"), ("gone.mp4", "not there"), (".", "is a folder")]:
        with pytest.raises(MedsslError, match=why):
            read_clip(tmp_path / name, 8)
    with pytest.raises(MedsslError, match="holds no clip"):
        load_clip_folder(tmp_path, size=8, only="*.mov")
    for wrong in ({"fit": "squash"}, {"channels": 2}, {"frames": 1}):
        with pytest.raises(MedsslError):
            read_clip(one, 8, **wrong)
    monkeypatch.setitem(sys.modules, "av", None)
    (tmp_path / "a.mp4").write_bytes(b"film")
    with pytest.raises(MedsslError, match=r"(?s)PyAV.*extra `video`.*pip install 'medssl\[video\]'"):
        read_clip(tmp_path / "a.mp4", 8)


def test_a_damaged_film_is_an_error_that_names_it(tmp_path):
    whole = film(tmp_path / "whole.avi", np.random.default_rng(0).integers(0, 255, (30, 64, 64, 3)).astype(np.uint8))
    (tmp_path / "no.mp4").write_bytes(b"this is no film at all" * 9)
    cut = tmp_path / "cut.mp4"
    cut.write_bytes(film(tmp_path / "long.mp4", steps(64, 64, 3).astype(np.uint8)).read_bytes()[:600])
    for path in (tmp_path / "no.mp4", cut):
        with pytest.raises(MedsslError, match=f"{path.name}.*damaged"):
            read_clip(path, 16)
    data = whole.read_bytes()
    (tmp_path / "short.avi").write_bytes(data[:len(data) // 2])
    with pytest.raises(MedsslError, match="short.avi"):
        read_clip(tmp_path / "short.avi", 16, 30)


def test_the_phantom_hearts():
    data = cine_data(24, frames=8)
    assert data.train.images.shape == (96, 1, 8, 24, 24) and data.is_phantom and data.positive == "reduced"
    assert 0.2 < data.train.labels.double().mean() < 0.6
    clip, ejection = cine_phantom(1000 + 5, 8, 24)
    assert torch.equal(data.val.images[5], clip.transpose(0, 1)) and data.val.labels[5] == int(ejection <= 0.4)
    hashes = {image.numpy().tobytes() for split in data.splits.values() for image in split.images}
    assert len(hashes) == 96 + 32 + 64  # no clip stands in two splits
    assert cine_data(24, frames=8).split_hash() == data.split_hash()
    assert load("cinephantom", size=24).split_hash() == cine_data(24).split_hash()
