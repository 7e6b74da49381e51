"""What all benches share: turns taken in rounds, CPU seconds, one shape of row, one file of rows a bench.

A row says {"row", "size", "peer", "version", "ours", "theirs", "unit", "ratio", "least", "most", "rounds", "equal"}:
ratio is how many times as fast ours is, the median over rounds of a pair measured in turn, least and most its spread;
`equal` is how it was checked, before the clock ran, that both do the same. In place of numbers stands "missing" where
the peer is not installed and "failed" where it does something else or nothing at all.
"""

import json
import os
import random
import resource
import statistics
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

OUT = Path("runs/bench") / ("few" if "few" in sys.argv[1:] else "")  # "few": tiny numbers, to see that all works


def cpu_seconds() -> float:
    """Of this process and of its children that have ended: what other programs on the machine hardly change."""
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(u.ru_utime + u.ru_stime for u in used)


def clock(function: Callable, at_least: float = 0.2, now: Callable[[], float] = cpu_seconds) -> float:
    """Seconds a call, over as many calls as last `at_least` together."""
    calls, start = 0, now()
    while (gone := now() - start) < at_least or not calls:
        function()
        calls += 1
    return gone / calls


def turns(contestants: dict[str, Callable], rounds: int, at_least: float = 0.1, now=cpu_seconds) -> dict[str, list]:
    """Seconds a call of each, [rounds]: all take turns in every round, in an order drawn anew."""
    seconds = {name: [] for name in contestants}
    for order in orders(contestants, rounds):
        for name in order:
            seconds[name].append(clock(contestants[name], at_least, now))
    return seconds


def orders(names, rounds: int) -> list[list]:
    """For each round all names in an order of its own: who comes after whom changes what lies in the caches."""
    chance = random.Random(0)
    return [chance.sample(list(names), len(names)) for _ in range(rounds)]


def versions(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def rate(seconds: float, unit: str, work: float) -> float:
    """Seconds a call as what the unit says: work a second ("views/s"), or ms, or s; other quantities as they are."""
    return work / seconds if unit.endswith("/s") else seconds * {"µs": 1e6, "ms": 1e3}.get(unit, 1) / work


def compare(row: str, size: str, ours: Callable, peers: dict[str, tuple], *, unit: str = "ms", work: float = 1,
            rounds: int = 5, at_least: float = 0.1, now=cpu_seconds, counted: float = 1) -> list[dict]:
    """Rows of ours against each of peers {name: (package, make)}; make() returns (function, how it was checked).

    make() imports the peer, asserts that it does what ours does, and may fail: that peer's row then says so, and the
    others are measured all the same. counted: how many calls of a peer do what one call of ours does.
    """
    rows, found = [], {}
    for peer, (package, make) in peers.items():
        head = {"row": row, "size": size, "peer": peer, "version": versions(package)}
        if head["version"] is None:
            rows.append(head | {"missing": f"{package} is not installed"})
            continue
        try:
            found[peer], equal = make()
            rows.append(head | {"equal": equal})
        except Exception as error:
            rows.append(head | {"failed": f"{type(error).__name__}: {error}".splitlines()[0]})
    ours()
    seconds = turns({"ours": ours, **found}, rounds, at_least, now)
    for line in rows:
        if line["peer"] in found:
            line |= paired(seconds["ours"], [counted * s for s in seconds[line["peer"]]], unit, work)
        tell(line)
    return rows


def paired(ours: list[float], theirs: list[float], unit: str, work: float = 1) -> dict:
    """The numbers of a row out of two lists of seconds, of the same rounds."""
    ratios = sorted(b / a for a, b in zip(ours, theirs, strict=True))
    return {"unit": unit, "ours": rate(statistics.median(ours), unit, work),
            "theirs": rate(statistics.median(theirs), unit, work), "ratio": statistics.median(ratios),
            "least": ratios[0], "most": ratios[-1], "rounds": len(ratios)}


def tell(row: dict) -> None:
    name = f"{row['row']}, {row['size']}, {row['peer']}"
    if "ratio" not in row:
        print(f"{name}: {row.get('missing') or 'FAILED: ' + row['failed']}", flush=True)
        return
    print(f"{name}: ours {row['ours']:,.4g} {row['unit']}, theirs {row['theirs']:,.4g}; "
          f"ratio {row['ratio']:.2f} ({row['least']:.2f} to {row['most']:.2f})", flush=True)


def peak_mb(function: Callable) -> float:
    """MB that a call needs at most beyond what was there: asked of a forked child. What it imports counts, so import
    before."""
    out, into = os.pipe()
    child = os.fork()
    if child == 0:
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        try:
            function()
            os.write(into, str((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024).encode())
        finally:
            os._exit(0)
    os.close(into)
    os.waitpid(child, 0)
    return float(os.read(out, 64) or "nan")


def stamp() -> dict:
    """When, and with how many other programs: benches run on their own keep their rows for the next page."""
    return {"when": f"{datetime.now(UTC):%Y-%m-%d %H:%M}", "load": round(os.getloadavg()[0], 1)}


def save(name: str, rows: list[dict], **more) -> None:
    """Write a bench's rows to runs/bench/<name>.json; some of them failing is the bench's failure too."""
    OUT.mkdir(parents=True, exist_ok=True)
    (OUT / f"{name}.json").write_text(json.dumps({"rows": rows, **more, **stamp()}, indent=1) + "\n")
    print(f"written to {OUT / name}.json", flush=True)
    sys.exit(any("failed" in row for row in rows))
