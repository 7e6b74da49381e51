"""Damaged and hostile files for every reader of files from outside, each case told by its reader and its number.

python tests/fuzz_readers.py FOLDER COUNT|short [READER ...] tells in JSON what came of so many cases a reader: a
value, a MedsslError, or what must never be: another exception, 20 seconds, 1 GiB of memory, no file named.
To see one case again: python tests/fuzz_readers.py FOLDER =17 nifti
"""

import faulthandler
import json
import re
import resource
import signal
import sys
import time
import traceback
import warnings
import zlib
from collections.abc import Callable
from pathlib import Path

import fuzz_pictures
import fuzz_runs
import fuzz_scans
import fuzz_tables
import numpy as np

from medssl.errors import MedsslError

SECONDS, MEMORY = 20, 1 << 30  # of the processor: other programs may hold the machine. CharLS takes 6 for a bad JPEG-LS
Case = Callable[[], object]  # reads the files that were written
Reader = Callable[[np.random.Generator], Case]


class Hang(BaseException):
    """More than SECONDS. No Exception: a reader that catches everything must not swallow it."""


def readers() -> dict[str, Callable[[Path], Reader]]:
    return {name: make for kinds in (fuzz_pictures, fuzz_scans, fuzz_tables, fuzz_runs)
            for name, make in vars(kinds).items() if isinstance(getattr(make, "short", None), int)}


def causes(error: BaseException) -> list[BaseException]:
    """The errors that led to one; a chain may bite its tail."""
    found = []
    while (error := error.__cause__ or error.__context__) and error not in found:
        found.append(error)
    return found


def outcome(read: Case, folder: Path) -> tuple[str, str]:
    """("value" | "error" | "fault", what was said)."""
    signal.setitimer(signal.ITIMER_PROF, SECONDS)
    faulthandler.dump_traceback_later(60 * SECONDS, exit=True)  # stuck in a library, where no signal is looked at
    try:
        read()
        return "value", ""
    except MedsslError as error:
        said = str(error)
        if any(type(cause) is MemoryError for cause in causes(error)):  # FFmpeg has its own, for a claim it refuses
            return "fault", f"took {MEMORY >> 20} MiB: {said}"
        named = str(folder) in said or any(path.name in said for path in folder.iterdir())
        return ("error", re.sub(r"\d+", "9", said.splitlines()[0].replace(str(folder), "")[:60])) if named else (
            "fault", f"names no file: {said}")
    except BaseException as error:  # a panic in Rust, for one, is no Exception
        if isinstance(error, (KeyboardInterrupt, SystemExit)):
            raise
        frames = traceback.extract_tb(error.__traceback__)[1:]
        at = "; ".join(f"{Path(frame.filename).name}:{frame.lineno}" for frame in frames)
        return "fault", f"{at}: {type(error).__name__}: {str(error)[:300]}"
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        faulthandler.cancel_dump_traceback_later()


def run(name: str, make, folder: Path, numbers) -> dict:
    """What came of these cases of one reader. The files of a fault stay in FOLDER/faults."""
    place = folder / name
    place.mkdir(parents=True, exist_ok=True)
    draw, found = make(place), {"value": 0, "error": 0, "fault": 0}
    kinds, faults, began = set(), {}, time.process_time()
    for number in numbers:
        (folder / "now").write_text(f"{name} {number}")  # should the process itself die of it
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            kind, said = outcome(draw(np.random.default_rng([zlib.crc32(name.encode()), number])), place)
        found[kind] += 1
        kinds.add(said) if kind == "error" else None
        if kind == "fault":
            faults.setdefault(" ".join(said.split()[:4]), [number, said])
    return {"reader": name, **found, "kinds": len(kinds), "seconds": time.process_time() - began,
            "faults": list(faults.values())}


def main(folder: Path, count: str, *names: str) -> list[dict]:
    """A reader is warmed first: what it imports is no memory of its files."""
    found = []
    for name, make in readers().items():
        if names and name not in names:
            continue
        numbers = range(make.short if count == "short" else int(count)) if count[0] != "=" else [int(count[1:])]
        try:
            run(name, make, folder / "warm", [0, 1, 2])
            here = int(re.search(r"VmSize:\s+(\d+)", Path("/proc/self/status").read_text())[1]) * 1024
            resource.setrlimit(resource.RLIMIT_AS, (here + MEMORY, resource.RLIM_INFINITY))
            found.append(run(name, make, folder, numbers))
        except ModuleNotFoundError as error:  # a library of an extra
            if str(error.name).startswith(("medssl", "fuzz")):
                raise
            found.append({"reader": name, "missing": str(error)})
        finally:
            resource.setrlimit(resource.RLIMIT_AS, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    return found


def hang(*_):
    raise Hang


if __name__ == "__main__":
    faulthandler.enable()
    signal.signal(signal.SIGPROF, hang)
    print(json.dumps(main(Path(sys.argv[1]), *sys.argv[2:])))
