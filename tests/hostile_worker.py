"""Grade a folder in a process of its own and say what that touched: python hostile_worker.py ROOT OUT.

Every file that is opened, every folder listed and every process or connection begun passes an audit hook, which cannot
be taken off again: hence the process. What is printed is JSON.
"""

import json
import os
import re
import resource
import sys
import time
from pathlib import Path

LOUD = ("subprocess.Popen", "os.system", "os.exec", "os.posix_spawn", "socket.connect", "pickle.find_class", "exec",
        "shutil.unpack_archive", "os.remove", "os.rename", "os.chmod", "os.link", "os.symlink", "os.mkdir")


def main(root: Path, out: Path) -> dict:
    from medssl.course.checker import grade as module

    seconds, touched, loud, watching = {}, set(), set(), False
    real = module._grade_guarded

    def timed(work):
        start = time.perf_counter()
        result = real(work)
        seconds[work[0].folder] = time.perf_counter() - start
        return result

    def hook(event, args):
        if not watching:
            return
        if event == "open" and isinstance(args[0], (str, bytes)):
            path = os.fsdecode(args[0])
            writes = args[2] & (os.O_WRONLY | os.O_RDWR | os.O_CREAT) if isinstance(args[2], int) else 0
            touched.add((os.path.abspath(path), os.path.realpath(path), bool(writes)))
        elif event in ("os.scandir", "os.listdir") and isinstance(args[0], (str, bytes, os.PathLike)):
            path = os.path.abspath(os.fsdecode(args[0]))
            touched.add((path, os.path.realpath(path), False))
        elif event in LOUD and event != "exec":
            loud.add((event, repr(args)[:200]))

    module._grade_guarded = timed
    module.grade(root / "warm")  # what is imported late is imported now
    sys.addaudithook(hook)
    watching, start = True, time.perf_counter()
    report = module.grade(root / "results")
    graded = time.perf_counter() - start
    watching = False
    out.mkdir(exist_ok=True)
    report.write_json(out / "grade.json")
    report.write_csv(out / "grade.csv")
    report.write_html(out / "grade.html")
    report.write_feedback(out / "feedback")
    (out / "summary.txt").write_text(report.summary())
    return {"seconds": seconds, "graded": graded, "touched": sorted(touched), "loud": sorted(loud),
            "peak": peak()}


def peak() -> int:
    """Bytes of this program at its largest. ru_maxrss counts the parent, too, from which it was forked (Linux)."""
    status = Path("/proc/self/status")
    if status.is_file() and (found := re.search(r"VmHWM:\s+(\d+) kB", status.read_text())):
        return int(found[1]) * 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


if __name__ == "__main__":
    resource.setrlimit(resource.RLIMIT_AS, (4 << 30, 4 << 30))  # rather an error than a machine that swaps
    print(json.dumps(main(Path(sys.argv[1]), Path(sys.argv[2]))))
