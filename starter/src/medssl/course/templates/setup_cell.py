# Set-up: the same cell in every notebook. In Colab it fetches the course; torch and numpy stay as they are.
import importlib.metadata
import importlib.util
import os
import subprocess
import sys
from pathlib import Path

if importlib.util.find_spec("medssl") is None:
    here = [folder for folder in (Path.cwd(), *Path.cwd().parents) if (folder / "starter/src/medssl").is_dir()]
    home = here[0] if here else Path.cwd() / "medmnist-ssl"
    if not home.exists():
        address = os.environ.get("MEDSSL_REPOSITORY", "https://github.com/medmnist-ssl/medmnist-ssl")
        subprocess.run(["git", "clone", "--quiet", "--depth", "1", address, str(home)], check=True)
    installed = {d.metadata["Name"]: d.version for d in importlib.metadata.distributions()}
    keep = "".join(f"{n}=={installed[n]}\n" for n in ("torch", "torchvision", "numpy") if n in installed)
    (home / "runs").mkdir(exist_ok=True)
    (home / "runs/keep.txt").write_text(keep)
    install = [sys.executable, "-m", "pip", "install", "--quiet", "-r", str(home / "starter/requirements.txt")]
    subprocess.run([*install, "-c", str(home / "runs/keep.txt")], check=True)
    sys.path.insert(0, str(home / "starter/src"))

import medssl

print("medssl", medssl.__version__)
