"""Fill the tables of README and course pages from the contract: `python course/render.py`.

Run it after every change of contract.toml and after adding a notebook; `make bench` does, for the table of its numbers
comes from reports/benchmarks.json. tests/test_docs.py fails until you have. Only
what stands between markers is made anew. The task board is not touched: names are written into its rows.
"""

import json
from pathlib import Path

from medssl.about import colab_url
from medssl.course.contract import load_contract
from medssl.course.markdown import files_table, render_between_markers, syllabus_table, table

REPO = Path(__file__).resolve().parents[1]
VIEWS = ("torchvision, PIL", "lightly", "kornia")
IN_SHORT = (  # README's table out of all benches: what, against whom, [(row, its size begins, its peer begins)]
    ("SimCLR views, 28 px", "torchvision on PIL images, lightly, kornia", [("views", "28 px", peer) for peer in VIEWS]),
    ("SimCLR views, 64 px", "the same", [("views", "64 px", peer) for peer in VIEWS]),
    ("a whole SimCLR step, SmallCNN, ResNet-18", "lightly",
     [("SimCLR step, end to end", model, "lightly") for model in ("smallcnn", "resnet18")]),
    ("NT-Xent, SIGReg with gradients", "lightly",
     [("NT-Xent with gradient", "2 × 256", "lightly"), ("SIGReg with gradient", "256 × 64", "lightly")]),
    ("ten metrics with intervals, 156 images", "loops of scikit-learn, torchmetrics",
     [("ten metrics with intervals", "156", f"loop of {peer}") for peer in ("scikit-learn", "torchmetrics")]),
    ("the grid of probes of week 5", "a loop of scikit-learn", [("grid of probes", "", "loop of scikit-learn")]),
    ("a crop of a CT that is half patient", "MONAI, TorchIO",
     [("a further crop", "", peer) for peer in ("MONAI pos/neg", "TorchIO")]),
    ("turned patches of a CT", "SciPy, MONAI, TorchIO",
     [("patches", "", peer) for peer in ("SciPy", "MONAI", "TorchIO")]),
    ("pairs of views, two workers, CPU time", "MONAI (CacheDataset, SmartCacheDataset), TorchIO",
     [("pairs of views, CPU", "2 × 256 patches, 2 workers", peer)
      for peer in ("MONAI CacheDataset", "MONAI SmartCacheDataset", "TorchIO")]))
BADGE = "https://colab.research.google.com/assets/colab-badge.svg"


def weeks_table() -> str:
    """The map of the weeks: a badge where the notebook is there, the word `planned` where it is not."""
    rows = []
    for week in load_contract().weeks:
        there = (REPO / "notebooks" / week.notebook).exists()
        page = (REPO / "course" / f"{week.key}.md").exists()
        badge = f"[![Open week {week.number} in Colab]({BADGE})]({colab_url(week.notebook)})"
        rows.append([week.number, f"[{week.title}](course/{week.key}.md)" if page else week.title, week.theme,
                     badge if there else "planned", f"{week.budget_seconds} s" if there else ""])
    return table(["Week", "What", "In one line", "Notebook", "Quick profile, at most"], rows)


def benchmarks_table(result: dict) -> str:
    """Some ratios of reports/benchmarks.json, and in how many rows ours is ahead; a dash where none was measured."""
    peers = [row for row in result["rows"] if row.get("kind", "peer") == "peer" and "ratio" in row]

    def ratio(row: str, size: str, peer: str) -> str:
        found = [r["ratio"] for r in peers
                 if r["row"] == row and r["size"].startswith(size) and r["peer"].lower().startswith(peer.lower())]
        return f"{found[0]:.0f}" if found and found[0] >= 9.95 else f"{found[0]:.1f}" if found else "–"

    ahead, beyond = sum(r["least"] >= 1 for r in peers), sum(r["most"] < 1 for r in peers)
    return table(["what", "against", "times as fast"],
                 [[what, against, ", ".join(ratio(*key) for key in keys)] for what, against, keys in IN_SHORT]) + (
        f"\n\nOf {len(peers)} comparisons ours is ahead in every round in {ahead}, behind in every round in {beyond}; "
        f"in {len(peers) - ahead - beyond} the rounds disagree. On a GPU: {result['gpu']}. {result['machine']['note']}")


def tables() -> dict[str, dict[str, str]]:
    """{page: {marker: what stands there}}"""
    benchmarks = json.loads((REPO / "reports/benchmarks.json").read_text(encoding="utf-8"))
    pages = {"README.md": {"weeks": weeks_table(), "benchmarks": benchmarks_table(benchmarks)},
             "course/syllabus.md": {"handin": syllabus_table()}}
    for week in load_contract().weeks:
        own = f"course/{week.key}.md"
        page = own if (REPO / own).exists() else "course/syllabus.md"
        pages.setdefault(page, {})[week.key] = files_table(week)
    return pages


def rendered(page: str) -> str:
    """The text of a page as it should be today."""
    text = (REPO / page).read_text(encoding="utf-8")
    for marker, body in tables()[page].items():
        text = render_between_markers(text, marker, body)
    return text


if __name__ == "__main__":
    for page in tables():
        if rendered(page) != (REPO / page).read_text(encoding="utf-8"):
            (REPO / page).write_text(rendered(page), encoding="utf-8")
            print("rendered", page)
