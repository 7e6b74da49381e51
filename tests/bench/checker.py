"""How long the checker takes for 40 whole submissions with figures of 50-100 kB, all outputs written, on two cores.

Prints seconds by stage; where the whole takes more than LIMIT, also where the time goes. It asserts that each of the 40
was graded, and nothing about speed. There is no peer: nobody else grades this course.
"""

import cProfile
import io
import pstats
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

REPO = Path(__file__).parents[2]
sys.path.insert(0, str(REPO / "tests"))
from cohort import PLAN, SETS  # noqa: E402
from cohort_today import perfect  # noqa: E402
from timing import cpu_seconds, save  # noqa: E402

from medssl.course.checker.grade import grade  # noqa: E402

LIMIT, WHOLE = 5.0, 40
START = "from medssl.course.checker.grade import grade"


def plot(seed: int) -> bytes:
    """A figure of the reference hand-ins with a line of its own, so that no two are equal."""
    figures = sorted((REPO / "results").glob("week*/breastmnist/reference/*.png"))
    with Image.open(figures[seed % len(figures)]) as image:
        image = image.convert("RGB")
    rng, buffer = np.random.default_rng(seed), io.BytesIO()
    ImageDraw.Draw(image).line([tuple(rng.integers(0, image.size).tolist()) for _ in range(20)], fill=(200, 60, 30),
                               width=3)
    image.save(buffer, "PNG")
    return buffer.getvalue()


def cohort(root: Path, wanted: int = WHOLE) -> int:
    """So many submissions: weeks 1-7 of one person, then of the next; the numbers of 40 are those of six people."""
    for made in range(wanted):
        k, week = made // len(PLAN), list(PLAN)[made % len(PLAN)]
        hand = perfect(root, week, list(SETS)[k % 2], f"person{k}", seeds=(0, 1, 2))
        for j, file in enumerate(sorted(f for f in hand.files if f.endswith(".png"))):
            hand.files[file] = plot(997 * k + 101 * week + j)
        hand.write(root)
    return wanted


def timed(what: str, do) -> float:
    start = time.perf_counter()
    do()
    seconds = time.perf_counter() - start
    print(f"  {what:32} {seconds:6.2f} s")
    return seconds


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        root, out, held = Path(folder), Path(folder) / "out", {}
        n = cohort(root)
        size = sum(f.stat().st_size for f in root.rglob("*.*") if f.is_file())
        print(f"{n} submissions, {size / 1e6:.0f} MB")
        out.mkdir()
        used = cpu_seconds()
        total = timed("start", lambda: subprocess.run([sys.executable, "-c", START], check=True))
        total += timed("grade, two processes", lambda: held.update(report=grade(root, jobs=2)))
        report = held["report"]
        total += timed("grade.json", lambda: report.write_json(out / "grade.json"))
        total += timed("gradebook.csv", lambda: report.write_csv(out / "gradebook.csv"))
        total += timed("grade.html", lambda: report.write_html(out / "grade.html"))
        total += timed("feedback", lambda: report.write_feedback(out / "feedback"))
        assert len(report.submissions) == n, f"{len(report.submissions)} of {n} submissions were graded"
        print(f"  {'all':32} {total:6.2f} s; the page has {(out / 'grade.html').stat().st_size / 1e6:.1f} MB; "
              f"findings: {dict(report.totals())}")
        used = cpu_seconds() - used
        if total > LIMIT:
            profile, text = cProfile.Profile(), io.StringIO()
            profile.runcall(grade, root)
            pstats.Stats(profile, stream=text).sort_stats("cumulative").print_stats("checker|PIL|json", 30)
            print(text.getvalue().partition("Ordered by")[2])
    save("checker", [{"kind": "alone", "row": "grading 40 submissions", "size": f"{n} submissions, {size / 1e6:.0f} MB",
                      "ours": total, "unit": "s", "cpu_seconds": used, "equal": f"all {n} graded"}])
