"""The benches' page: what rows become, that a missing peer and a slower row of ours are named, and what a row is."""

import json
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent / "bench"))
import aims
import items
import page
import reasons
import timing

FAST = {"row": "views", "size": "28 px", "peer": "kornia", "version": "0.9", "unit": "views/s", "ours": 50_000.0,
        "theirs": 10_000.0, "ratio": 5.0, "least": 4.0, "most": 6.0, "rounds": 7, "equal": "mean grey 0.001 apart"}
SLOW = FAST | {"row": "SIGReg", "peer": "lightly", "unit": "ms", "ours": 2.0, "theirs": 1.0, "ratio": 0.5, "least": 0.4,
               "most": 0.6}
GROWTH = {"kind": "growth", "row": "images", "what": "Views.", "number": [256, 2560], "seconds": [0.1, 1.0],
          "slope": 1.0, "last_slope": 1.0}
RESULT = {"rows": [FAST, SLOW, FAST | {"kind": "bound", "ratio": 0.9}, GROWTH,
                   {"row": "views", "size": "28 px", "peer": "torchvision", "version": None, "missing": "not here"}],
          "gpu_rows": [], "gpu": "not measured: no GPU at hand", "peers": {"solo-learn": "not installed: old torch"},
          "machine": {"cpu": "a CPU", "cores": 2, "memory_gb": 16.0, "python": "3.11", "torch": "2.4", "numpy": "2.0",
                      "note": "Alone."}}


def section(text: str, title: str) -> str:
    return text.partition(f"# {title}\n")[2].partition("\n#")[0]


def test_the_page_says_what_was_measured_and_where_a_peer_is_ahead():
    text = page.page(RESULT)
    assert "2 comparisons with peers were measured: in 1 of them\nours is ahead in every round, in 1 the peer" in text
    assert "| views | 28 px | kornia 0.9 | 50,000 views/s | 10,000 views/s | 5.00 (4.00–6.00) | mean grey" in text
    behind = section(text, "Where a peer is ahead")
    assert "SIGReg, 28 px, lightly: ratio 0.50" in behind and "views" not in behind
    assert "Not measured: no GPU at hand" in section(text, "On a GPU")


def test_a_reason_stands_only_beside_a_row_that_is_behind():
    row = SLOW | {"row": "Sinkhorn, 3 rounds"}
    assert "Why: the first of the three rounds" in reasons.behind([row])[0]
    assert reasons.behind([row | {"ratio": 1.2}]) == ["Nowhere."]
    assert "No reason known." in reasons.behind([SLOW | {"row": "views"}])[0]
    assert "the rounds disagree" in reasons.behind([row | {"most": 1.1}])[0]
    bench = "".join(path.read_text() for path in Path(reasons.__file__).parent.glob("*.py"))
    assert [row for row, *_ in (*reasons.BEHIND, *reasons.BOUNDS) if f'"{row}"' not in bench] == []


def test_aims_are_judged_by_the_peer_that_comes_nearest():
    size = f"{aims.ITEMS}, 2 workers"
    peers = [FAST, FAST | {"row": "patches", "size": "1024", "ratio": 3.0}, FAST | {"row": "patches", "size": "1024",
             "peer": "SciPy", "ratio": 2.0}, SLOW | {"row": "pairs of views, CPU", "size": size, "ratio": 2.5}]
    tail = {"kind": "tail", "row": aims.OURS, "size": "2 workers", "p50": 10.0, "p99": 51.0}
    text = "\n".join(aims.lines(peers, [tail]))
    assert "| views, 28 px, against kornia | × 3.4 | × 5 | hit |" in text
    assert "| patches, against the best | × 2.5 | × 2 (SciPy) | missed |" in text
    assert "| pairs of views, CPU, 2 workers, against the best | × 2 | × 2.5 (lightly) | hit |" in text
    assert "| views, 64 px, against lightly | × 8.7 | – | not measured |" in text
    assert "| 5.1 times | missed |" in text and "| 4 rows | 4 rows | hit |" in text
    assert aims.OURS == items.OURS and f"2 × {items.N} patches" == aims.ITEMS


def test_a_missing_peer_is_named_in_its_row_and_among_the_peers():
    text = page.page(RESULT)
    assert "| views | 28 px | torchvision  | – | – | – | not here |" in text
    assert "| solo-learn | not installed: old torch |" in text
    rows = timing.compare("x", "y", lambda: None, {"nobody": ("no-such-package", pytest.fail)}, rounds=1, at_least=0)
    assert rows == [{"row": "x", "size": "y", "peer": "nobody", "version": None,
                     "missing": "no-such-package is not installed"}]


def test_page_json_and_figures_are_written(tmp_path):
    assert page.write(RESULT, tmp_path).read_text() == page.page(RESULT)
    assert json.loads((tmp_path / "benchmarks.json").read_text()) == RESULT
    for figure in (page.RATIOS, page.GROWTH):
        assert (tmp_path / figure).read_bytes()[:4] == b"\x89PNG" and figure in page.page(RESULT)


def test_a_peer_that_does_something_else_fails_and_the_others_are_measured(capsys):
    def other():
        raise AssertionError("other views")

    peers = {"bad": ("torch", other), "good": ("torch", lambda: (lambda: None, "same"))}
    rows = timing.compare("x", "y", lambda: None, peers, rounds=3, at_least=0)
    assert "other views" in rows[0]["failed"] and "ratio" not in rows[0]
    assert rows[1]["rounds"] == 3 and rows[1]["equal"] == "same"
    assert "FAILED" in capsys.readouterr().out


def test_a_ratio_is_the_median_of_pairs_not_of_medians():
    row = timing.paired([1.0, 4.0, 2.0], [3.0, 4.0, 10.0], "views/s", work=8)  # pairs: 3, 1, 5
    assert (row["ratio"], row["least"], row["most"]) == (3, 1, 5)
    assert (row["ours"], row["theirs"]) == (4, 2)  # 8 views in the median time


def test_every_round_has_an_order_of_its_own():
    order = []
    timing.turns({name: lambda name=name: order.append(name) for name in "abcd"}, 6, at_least=0, now=lambda: 0.0)
    rounds = ["".join(order[k:k + 4]) for k in range(0, 24, 4)]
    assert all(sorted(each) == list("abcd") for each in rounds) and len(set(rounds)) > 3


def test_who_fails_in_a_round_is_named_and_the_others_are_compared():
    said = {"first_s": 1.0, "ms": [2.0, 3.0], "wall_s": 0.5, "cpu_s": 0.25, "peak_MiB": 100.0}
    found = {items.OURS: [said, said], items.CACHED: [said | {"cpu_s": 1.0}] * 2,
             items.QUEUE: [said, {"failed": "TypeError: no"}]}
    rows = items.rows_of(found, 2, {"monai": "the same patches"})
    ratios = {(row["row"], row["peer"]): row.get("ratio", row.get("failed")) for row in rows if "peer" in row}
    assert ratios == {("pairs of views, wall clock", items.CACHED): 1, ("pairs of views, CPU", items.CACHED): 4,
                      ("pairs of views, peak memory", items.CACHED): 1,
                      ("pairs of views", items.QUEUE): "TypeError: no"}
    tails = {row["row"]: row["p50"] for row in rows if row.get("kind") == "tail"}
    assert tails == {items.OURS: 2.5, items.CACHED: 2.5}


def test_a_contestant_whose_process_crashes_says_why(tmp_path, monkeypatch):
    (tmp_path / "crash.py").write_text("raise TypeError('no')")
    monkeypatch.setattr(items, "__file__", str(tmp_path / "crash.py"))
    assert items.asked(items.QUEUE, 2, 8, tmp_path) == {"failed": "TypeError: no"}
