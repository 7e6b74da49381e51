"""`medssl doctor`: is this machine ready, and if not, what to do about it."""

import json
import os
import platform
import shutil
import sys
import tempfile
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path
from typing import NamedTuple

from medssl.errors import MedsslError


class Finding(NamedTuple):
    """state: ok; warn (something is missing that not everybody needs); bad (the course does not run)."""

    state: str
    what: str
    found: str
    fix: str = ""


def judge(good: bool, what: str, found: str, fix: str = "", worse: str = "warn") -> Finding:
    return Finding("ok" if good else worse, what, found, "" if good else fix)


def packages() -> Iterator[Finding]:
    """Python, and each package that medssl names against its range; what only notebooks need is a warning."""
    from packaging.requirements import Requirement

    old = sys.version_info < (3, 11)
    found = f"{platform.python_version()} in {sys.prefix}"
    yield judge(not old, "Python", found, "install Python 3.11 or newer and make a new .venv with it", "bad")
    try:
        wanted = [Requirement(line) for line in metadata.requires("medssl") or []]
    except metadata.PackageNotFoundError:
        yield Finding("warn", "medssl", "runs from its folder, is not installed", "pip install -e starter")
        return
    good = []
    for need in wanted:
        basic = not need.marker or need.marker.evaluate({"extra": ""})
        if not basic and not need.marker.evaluate({"extra": "run"}):
            continue
        try:
            version = metadata.version(need.name)
        except metadata.PackageNotFoundError:
            version = "absent"
        if version != "absent" and need.specifier.contains(version, prereleases=True):
            good.append(f"{need.name} {version}")
        else:
            fix = f'pip install "{need.name}{need.specifier}"' + ("" if basic else " (only headless runs need it)")
            yield Finding("bad" if basic else "warn", need.name, f"{version}, needed: {need.specifier}", fix)
    yield Finding("ok", "packages", ", ".join(good))


def device() -> Iterator[Finding]:
    """Does torch load, and on what will it compute?"""
    try:
        import torch
        import torchvision  # noqa: F401  (a pair that does not match breaks here)
    except Exception as error:  # a broken binary raises OSError, RuntimeError, ...
        fix = "pip install --upgrade --force-reinstall torch torchvision"
        yield Finding("bad", "torch", f"does not load ({type(error).__name__}: {error})", fix)
        return
    if torch.cuda.is_available():
        memory = torch.cuda.get_device_properties(0).total_memory / 2**30
        yield Finding("ok", "device", f"CUDA: {torch.cuda.get_device_name(0)}, {memory:.0f} GiB")
    elif torch.backends.mps.is_available():
        yield Finding("ok", "device", "MPS: the GPU of this Mac")
    else:
        driver, cuda = shutil.which("nvidia-smi"), torch.version.cuda
        why = "this torch has none" if not cuda else f"the driver is not for {cuda}" if driver else "no NVIDIA driver"
        fix = "compare `nvidia-smi` with the CUDA version of torch: one of the two must be renewed"
        yield judge(not driver, "device", f"CPU with {os.cpu_count()} cores; CUDA: {why}", fix)


def disk() -> Iterator[Finding]:
    """Room and the right to write: here, for temporary files, for the data."""
    from medssl.data import data_root

    for what, folder in {"work": Path.cwd(), "temporary": Path(tempfile.gettempdir()), "data": data_root()}.items():
        there = next(p for p in [folder, *folder.parents] if p.exists())
        free = shutil.disk_usage(there).free / 2**30
        worse = "warn" if free > 0.2 else "bad"
        yield judge(free > 2, f"disk: {what}", f"{free:.1f} GiB free in {folder}", "make room", worse)
        if not os.access(there, os.W_OK):
            yield Finding("bad", f"disk: {what}", f"{folder} cannot be written to", "work in a folder of your own")


def data() -> Iterator[Finding]:
    """The data sets of the course and the ImageNet weights: at hand, whole, official?"""
    from medssl.data.medmnist import PHANTOM_FOR, file_path, get
    from medssl.models import imagenet_weights_at_hand

    for key, phantom in PHANTOM_FOR.items():
        path, fix = file_path(key), f"medssl data get {key}; meanwhile --dataset {phantom} serves"
        try:
            yield judge(path.exists(), key, f"{get(key)}, MD5 right" if path.exists() else f"not in {path.parent}", fix)
        except MedsslError as error:
            yield Finding("warn", key, error.wrong, error.fix)
    found = imagenet_weights_at_hand("resnet18")
    yield judge(found, "ImageNet", f"weights of resnet18 are {'' if found else 'not '}at hand",
                "the first use downloads 45 MB; without network: -p WEIGHTS=none, a random backbone")  # fmt: skip


def tools() -> Iterator[Finding]:
    lab = shutil.which("jupyter-lab", path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}")
    yield judge(bool(lab), "JupyterLab", lab or "not found", "pip install jupyterlab")
    git = shutil.which("git")
    yield judge(bool(git), "git", git or "not found", "install git: work is handed in by pull request")


def examine() -> list[Finding]:
    """Every check; one that breaks is a finding itself."""
    findings = []
    for check in (packages, device, disk, data, tools):
        try:
            findings += check()
        except Exception as error:
            findings.append(Finding("bad", check.__name__, f"cannot be checked: {type(error).__name__}: {error}"))
    return findings


def show(findings: list[Finding], as_json: bool = False) -> str:
    """One line for each finding, and below it what to do."""
    if as_json:
        return json.dumps([finding._asdict() for finding in findings], indent=2)
    lines = [f"{f.state:<6}{f.what:<17}{f.found}" + (f"\n{'':<23}-> {f.fix}" if f.fix else "") for f in findings]
    bad, warn = (sum(f.state == state for f in findings) for state in ("bad", "warn"))
    return "\n".join([*lines, f"{len(findings) - bad - warn} fine, {warn} to know about, {bad} to mend"])
