"""Which finding comes first: the science before the bookkeeping, on the terminal, on the page and in grade.json."""

SEVERITIES = ("error", "warning", "note")
# Of equally severe findings these come first: the results are about other images or classes, are somebody else's or
# another model's, or do not follow from what was predicted. A conclusion that rests on them is wrong.
FIRST = ("wrong-n", "predictions-wrong-split", "predictions-wrong-order", "wrong-split", "wrong-dataset",
         "split-hash", "positive-class", "threshold-origin", "confusion-total", "confusion-counts",
         "confusion-accuracy", "same-predictions", "copied-numbers", "same-as-another", "seed-without-effect",
         "metric-mismatch", "operating-point-mismatch", "run-mismatch", "another-reference", "rates-contradict",
         "auroc-hard", "ece-impossible", "readme-number")
# And these last: something is not there, or is called otherwise. All that is in neither list lies between.
LAST = ("not-recomputable", "core-missing", "missing", "key-missing", "key-renamed", "renamed", "folder-spelling")


def weight(code: str) -> int:
    """The smaller, the earlier."""
    if code in FIRST:
        return FIRST.index(code)
    return len(FIRST) + (1 + LAST.index(code) if code in LAST else 0)


def rank(finding: dict) -> tuple[int, int]:
    """(severity, weight) to sort findings by."""
    return SEVERITIES.index(finding["severity"]), weight(finding["code"])
