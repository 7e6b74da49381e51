"""All benches, each in a process of its own, in an environment of their own; then reports/benchmarks.md, its figures
and README's table.

`make bench` runs this, in some 15 minutes on two quiet cores. `python tests/bench/all.py views losses` runs these two
and takes the other rows from the last run; `few` makes everything tiny, to see that it works. The environment is
runs/bench/.venv: it sees the packages of the Python that runs this, and has the peers on top, installed one by one with
torch and numpy held where they are: all are measured with the same ones. A peer that does not install that way takes no
part, and the page says why.
"""

import json
import os
import platform
import subprocess
import sys
import sysconfig
import time
import tomllib
import venv
from importlib.metadata import version
from pathlib import Path

import page
from timing import OUT

HERE, REPO = Path(__file__).parent, Path(__file__).parents[2]
BENCHES = ("views", "losses", "dino", "probes", "intervals", "steps", "compiled", "crops", "patches", "items",
           "checker", "growth", "gpu")
HELD = ("torch", "torchvision", "numpy", "scikit-learn")
ASKED = ("solo-learn",)  # asked for as well, so that the page says what came of it
LIMIT = 900  # seconds for a bench


def environment(folder: Path = REPO / "runs/bench/.venv") -> tuple[Path, dict[str, str]]:
    """(its Python, {peer: version or why there is none}); made once, and again when peers, Python, torch or numpy
    change. A peer that did not install is tried again each time."""
    bench = tomllib.loads((REPO / "starter/pyproject.toml").read_text())["project"]["optional-dependencies"]["bench"]
    wanted = [*bench, *ASKED]
    python, done = folder / "bin/python", folder / "peers.json"
    made_for = [*wanted, sys.version, *(f"{name}=={version(name).partition('+')[0]}" for name in HELD)]
    if not done.is_file() or json.loads(done.read_text()).get("made for") != made_for:
        venv.create(folder, clear=True, with_pip=True)
        inside = subprocess.run([python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"],
                                capture_output=True, text=True, check=True).stdout.strip()
        Path(inside, "shared.pth").write_text(f"import site; site.addsitedir({sysconfig.get_path('purelib')!r})\n")
        held = folder / "held.txt"
        held.write_text("".join(f"{name}=={version(name).partition('+')[0]}\n" for name in HELD))
        states = {peer: install(python, held, peer) for peer in wanted}
        done.write_text(json.dumps({"made for": made_for, "states": states}, indent=1))
    states = json.loads(done.read_text())["states"]
    if failed := [peer for peer, state in states.items() if state.startswith("not installed") and peer not in ASKED]:
        states |= {peer: install(python, folder / "held.txt", peer) for peer in failed}
        done.write_text(json.dumps({"made for": made_for, "states": states}, indent=1))
    return python, states


def install(python: Path, held: Path, peer: str) -> str:
    """Its version, or the line in which pip says why not."""
    print(f"Installing {peer} for the benches", flush=True)
    name = peer.replace(">", "=").replace("<", "=").partition("=")[0].strip()
    pip = [python, "-m", "pip", "install", "--disable-pip-version-check", "-c", held, peer]
    told = subprocess.run(pip, capture_output=True, text=True)
    if told.returncode:
        lines = (told.stdout + told.stderr).splitlines()
        reasons = [line.strip() for line in lines if " depends on " in line or line.startswith("ERROR:")]
        return f"not installed: {(reasons or ['pip failed'])[0].removeprefix('ERROR: ')}"
    return subprocess.run([python, "-c", f"from importlib.metadata import version; print(version({name!r}))"],
                          capture_output=True, text=True, check=True).stdout.strip()


def run(name: str, python: Path, few: bool) -> str:
    """"" where the bench ended well, else what went wrong."""
    print(f"\n== {name}", flush=True)
    file, begun = OUT / f"{name}.json", time.monotonic()
    file.unlink(missing_ok=True)
    settings = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONWARNINGS": "ignore"}
    try:
        done = subprocess.run([python, HERE / f"{name}.py", *(["few"] if few else [])], env=settings, timeout=LIMIT)
    except subprocess.TimeoutExpired:
        return f"no result within {LIMIT} s"
    if file.is_file():
        file.write_text(json.dumps(json.loads(file.read_text()) | {"took_s": round(time.monotonic() - begun)}, indent=1)
                        + "\n")
    return f"ended with {done.returncode}" if done.returncode else ""


def machine(found: dict[str, dict]) -> dict:
    cpu = next((line.partition(":")[2].strip() for line in Path("/proc/cpuinfo").read_text().splitlines()
                if line.startswith("model name")), platform.processor()) if Path("/proc/cpuinfo").is_file() else ""
    pages = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return {"cpu": cpu or platform.machine(), "cores": os.cpu_count(), "memory_gb": pages,
            "python": platform.python_version(), **{name: version(name) for name in ("torch", "numpy")},
            "note": measured_when(found)}


def measured_when(found: dict[str, dict]) -> str:
    """From when to when the rows were measured, and the load after each bench: one of our own makes it 1."""
    loads, times, took = ([bench[key] for bench in found.values() if key in bench]
                          for key in ("load", "when", "took_s"))
    if not loads or not times:
        return "When is not known."
    busy = max(loads) > 2.5
    return (f"Measured from {min(times)} to {max(times)} UTC, load {min(loads):.1f} to {max(loads):.1f}; all of it "
            f"took {sum(took) / 60:.0f} minutes. "
            + ("Other programs were running: read ratios, not times." if busy else "Hardly anything else was running."))


def main(names: list[str], few: bool) -> int:
    OUT.mkdir(parents=True, exist_ok=True)
    python, peers = environment()
    wrong = {name: problem for name in names if (problem := run(name, python, few))}
    files = {name: OUT / f"{name}.json" for name in BENCHES}
    found = {name: json.loads(file.read_text()) for name, file in files.items() if file.is_file()}
    rows = [row for name in BENCHES if name != "gpu" for row in found.get(name, {"rows": []})["rows"]]
    rows += [{"row": name, "size": "all", "peer": "all", "failed": wrong.get(name, "was not run")}
             for name in BENCHES if name not in found]
    gpu = found.get("gpu", {"rows": [], "gpu": "not measured"})
    report = page.write({"rows": rows, "gpu_rows": gpu["rows"], "gpu": gpu["gpu"], "machine": machine(found),
                         "peers": peers, "accuracy": found.get("dino", {}).get("accuracy", [])},
                        OUT if few else REPO / "reports")
    if not few:  # README's table is made of the same numbers
        subprocess.run([sys.executable, REPO / "course/render.py"], check=True)
    print(f"\nThe page: {report}" + "".join(f"\n{name}: {problem}" for name, problem in wrong.items()))
    return 1 if wrong else 0


if __name__ == "__main__":
    chosen = [name for name in sys.argv[1:] if name != "few"]
    if unknown := set(chosen) - set(BENCHES):
        sys.exit(f"There is no bench {', '.join(sorted(unknown))}; there are {', '.join(BENCHES)}.")
    sys.exit(main(chosen or list(BENCHES), "few" in sys.argv[1:]))
