"""Where a number comes from: versions, machine and commit, asked of the machine instead of typed or photographed."""

import os
import platform
import subprocess
import sys
from importlib import metadata
from pathlib import Path

PACKAGES = ("torch", "torchvision", "numpy", "scikit-learn", "medmnist", "medssl")


def versions() -> dict[str, str | None]:
    """Installed versions; None for what is absent."""
    found = {}
    for package in PACKAGES:
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            found[package] = None
    return found


def hardware() -> dict:
    """{"device": "Tesla T4" | "Apple GPU" | "CPU", "cpu_count": 2}."""
    import torch

    device = "Apple GPU" if torch.backends.mps.is_available() else "CPU"
    if torch.cuda.is_available():
        device = torch.cuda.get_device_name(0)
    return {"device": device, "cpu_count": os.cpu_count()}


def environment() -> dict:
    """What env.json says. No user name, host name or path: hand-ins are public."""
    system = f"{platform.system()} {platform.release()}"
    colab = "google.colab" in sys.modules or "COLAB_RELEASE_TAG" in os.environ
    return {"python": platform.python_version(), **versions(), **hardware(), "os": system, "colab": colab}


def git_commit(folder: str | Path = ".") -> str | None:
    """The commit that `folder` is at, with "+changes" where tracked files differ from it; None outside a repository."""
    def ask(*words):
        command = ["git", "-C", str(folder), *words]
        return subprocess.run(command, capture_output=True, text=True, timeout=10, check=True).stdout.strip()

    try:
        return ask("rev-parse", "HEAD") + ("+changes" if ask("status", "--porcelain", "-uno") else "")
    except (OSError, subprocess.SubprocessError):
        return None
