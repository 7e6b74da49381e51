"""What every test shares: one thread, no window, and real data only where the machine has it."""

import dataclasses
import os
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("MPLBACKEND", "Agg")

import pytest
import torch

torch.set_num_threads(1)
REPO = Path(__file__).resolve().parents[1]


def pytest_configure(config):
    """What a library is about to take away must not be used by us: such a warning from a line of ours is an error."""
    for kind in ("DeprecationWarning", "PendingDeprecationWarning", "FutureWarning"):
        config.addinivalue_line("filterwarnings", f"error::{kind}:medssl")


@pytest.fixture(scope="session")
def repo() -> Path:
    """Root of the repository."""
    return REPO


@pytest.fixture(scope="session")
def real_data_root() -> Path:
    """Folder with official MedMNIST files: $MEDSSL_TEST_DATA/medmnist."""
    folder = os.environ.get("MEDSSL_TEST_DATA")
    if not folder or not (Path(folder) / "medmnist").is_dir():
        pytest.skip("MEDSSL_TEST_DATA names no folder with medmnist/: real-data tests need the official files")
    return Path(folder) / "medmnist"


@pytest.fixture(scope="session")
def breast():
    """The breast phantom, drawn once."""
    from medssl.data import load

    return load("breastphantom")


@pytest.fixture(scope="session")
def few(breast):
    """80 of its images to train on: three batches of 24 an epoch."""
    from medssl.data import Split

    parts = {name: Split(split.images[:n], split.labels[:n])
             for (name, split), n in zip(breast.splits.items(), (80, 24, 24), strict=True)}
    return dataclasses.replace(breast, **parts)
