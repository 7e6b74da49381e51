"""Why a row of ours is behind, or how near a bound it comes: shown beside a row only where it is so.

(row, a part of its size, beginning of the peer's name) -> the reason, and what bounds it. A row that is behind and has
no line here says that no reason is known.
"""

BEHIND = {
    ("SIGReg with gradient", "", ""): "the same sines and cosines, which are most of it. Bound: they alone, see below",
    ("KoLeo with gradient", "", "lightly"): "a call takes less than 1 ms, and the check of the shape and autocast's "
    "switch are part of it. Bound: the arithmetic is the same, so level",
    ("Sinkhorn, 3 rounds", "", "lightly"): "the first of the three rounds is done on logarithms, which is what keeps "
    "large logits right (see Sinkhorn's accuracy below). Bound: the other two rounds are the peer's, so level with "
    "less accuracy",
    ("SimCLR epoch, peak memory", "", "lightly"): "both views go through the network in one pass, for BatchNorm to see "
    "the same statistics in both, so the gradient of the largest layer is twice the size. Bound: the peer's, with a "
    "pass for each view",
    ("pairs of views, peak memory", "2 workers", ""): "each worker loads numba and its machine code for itself. Bound: "
    "the scans themselves are 8 MB each",
    ("first crop of a volume", "", "rejection"): "the table of counts is made first; it is repaid after some crops",
    ("peak memory of crops", "", "rejection"): "the table of counts is kept",
}
BOUNDS = {
    ("SimCLR step, end to end", "", "the bare forward"): "the network itself, some percent of noise aside; what is "
    "left over is views, optimiser, clipping, one look at the losses",
    ("arithmetic of the pass", "", "a matrix product"): "BatchNorm, ReLU and pooling move memory and hardly compute; "
    "convolutions with few channels do not fill the vector units",
    ("SIGReg with gradient", "", "its sines"): "sines and cosines are nearly all of it. Powers of one sine and cosine "
    "by a recurrence would be fewer, but a hundred small kernels on a GPU, so they were left out",
}


def reason(row: dict, known: dict[tuple[str, str, str], str]) -> str:
    """"" where none is known."""
    return next((text for (name, size, peer), text in known.items() if row["row"] == name and size in row["size"]
                 and row["peer"].startswith(peer)), "")


def behind(rows: list[dict]) -> list[str]:
    """A line for each row whose median ratio is below 1."""
    lines = []
    for row in rows:
        if row["ratio"] < 1:
            always = "in every round" if row["most"] < 1 else "the rounds disagree"
            lines.append(f"- {row['row']}, {row['size']}, {row['peer']}: ratio {row['ratio']:.2f} "
                         f"({row['least']:.2f} to {row['most']:.2f}, {always}). "
                         f"{'Why: ' + text if (text := reason(row, BEHIND)) else 'No reason known'}.")
    return lines or ["Nowhere."]
