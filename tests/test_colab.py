"""Colab's situation: a fresh folder with nothing but the notebook, no medssl, torch and numpy already there."""

import importlib.util
import json
import os
import site
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import pytest

REPO = Path(__file__).resolve().parents[1]
SETUP = REPO / "starter/src/medssl/course/templates/setup_cell.py"


@pytest.fixture(scope="module")
def bare_python(tmp_path_factory):
    """A Python that has this one's libraries but not medssl: a folder named in a .pth file is no site folder itself,
    so the editable install's own .pth is not read."""
    home = tmp_path_factory.mktemp("colab") / "venv"
    pip = ["--without-pip"] if importlib.util.find_spec("pip") else []  # one is enough, and takes time to install
    subprocess.run([sys.executable, "-m", "venv", *pip, str(home)], check=True)
    python = home / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    ask = "import sysconfig; print(sysconfig.get_paths()['purelib'])"
    folder = subprocess.run([python, "-c", ask], check=True, capture_output=True, text=True).stdout.strip()
    Path(folder, "libraries.pth").write_text("\n".join(site.getsitepackages()) + "\n")
    return python


def test_the_set_up_cell_fetches_the_course_and_leaves_torch_and_numpy_alone(bare_python, tmp_path):
    before = {name: version(name) for name in ("torch", "torchvision", "numpy")}
    probe = "import importlib.util as u; print(u.find_spec('torch') is not None, u.find_spec('medssl') is not None)"
    seen = subprocess.run([bare_python, "-c", probe], cwd=tmp_path, capture_output=True, text=True, check=True).stdout
    assert seen.split() == ["True", "False"], "the test's own footing: torch there, medssl not"

    after = "\nimport torch, torchvision, numpy, json\nfrom medssl.data import label_subset\n" \
            "print(json.dumps([medssl.__file__, torch.__version__, torchvision.__version__, numpy.__version__]))"
    (tmp_path / "cell.py").write_text(SETUP.read_text() + after)
    env = {**os.environ, "MEDSSL_REPOSITORY": REPO.as_uri()}
    done = subprocess.run([bare_python, "cell.py"], cwd=tmp_path, env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    file, *versions = json.loads(done.stdout.splitlines()[-1])
    assert Path(file).is_relative_to(tmp_path / "medmnist-ssl")
    assert [number.split("+")[0] for number in versions] == [number.split("+")[0] for number in before.values()]
    kept = (tmp_path / "medmnist-ssl/runs/keep.txt").read_text().split()
    assert kept == [f"{name}=={number}" for name, number in before.items()]

    again = subprocess.run([bare_python, "cell.py"], cwd=tmp_path, env=env, capture_output=True, text=True)
    assert again.returncode == 0, f"the cell cannot be run twice: {again.stderr[-500:]}"
