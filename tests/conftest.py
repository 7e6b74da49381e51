"""What every test shares: one thread, no window, and real data only where the machine has it."""

import os
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("MPLBACKEND", "Agg")

import pytest
import torch

torch.set_num_threads(1)
REPO = Path(__file__).resolve().parents[1]


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
