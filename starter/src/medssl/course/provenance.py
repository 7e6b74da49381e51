"""Where a number comes from: versions, machine and commit, asked of the machine instead of typed or photographed."""

import os
import platform
import subprocess
from importlib import metadata
from pathlib import Path

PACKAGES = ("torch", "torchvision", "numpy", "scikit-learn", "medmnist", "medssl")


def versions() -> dict[str, str]:
    """Versions of what every result depends on."""
    return {package: metadata.version(package) for package in PACKAGES}


def hardware() -> dict:
    """{"device": "Tesla T4" | "Apple GPU" | "CPU", "cpu_count": 2}."""
    import torch

    device = "Apple GPU" if torch.backends.mps.is_available() else "CPU"
    device = torch.cuda.get_device_name() if torch.cuda.is_available() else device
    return {"device": device, "cpu_count": os.cpu_count()}


def environment() -> dict:
    """What env.json says. No user name, host name or path: hand-ins are public."""
    system, colab = f"{platform.system()} {platform.release()}", "COLAB_RELEASE_TAG" in os.environ
    return {"python": platform.python_version(), **versions(), **hardware(), "os": system, "colab": colab}


def git_commit(folder: str | Path) -> str | None:
    """The commit `folder` is at, with "-dirty" where tracked files differ from it; None outside a repository."""
    command = ["git", "-C", str(folder), "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"]
    try:
        return subprocess.run(command, capture_output=True, text=True, timeout=10, check=True).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return None
