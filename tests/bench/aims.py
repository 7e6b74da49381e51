"""What was aimed at before it was built, beside what was measured: hit or missed, by the median ratio.

The aims for views are what a prototype reached on one core of another machine; those for patches and pairs were set
for week 15. "best" means the peer that comes nearest.
"""

ITEMS = "2 × 256 patches"
AIMS = [(f"views, {size}, against {peer}", "views", size, peer, least) for size, peers in
        {"28 px": {"torchvision, PIL": 30, "lightly": 41, "kornia": 3.4},
         "64 px": {"torchvision, PIL": 5, "lightly": 8.7, "kornia": 1.7}}.items() for peer, least in peers.items()]
AIMS += [("patches, against the best", "patches", "", "", 2.5)]
AIMS += [(f"{row}, {workers} workers, against the best", row, f"{ITEMS}, {workers} workers", "", least)
         for workers in (0, 2) for row, least in (("pairs of views, wall clock", 2), ("pairs of views, CPU", 2),
                                                  ("pairs of views, peak memory", 1))]
TAIL, OURS = 5, "pool, cache"  # p99 over p50, at most


def lines(peers: list[dict], rows: list[dict]) -> list[str]:
    """Table rows "what | aim | measured | verdict"."""
    out = []
    for what, row, size, peer, least in AIMS:
        found = [r for r in peers if r["row"] == row and (r["size"] == size if row == "views" else size in r["size"])
                 and r["peer"] in (peer or r["peer"])]
        worst = min(found, key=lambda r: r["ratio"], default=None)
        out.append(f"| {what} | × {least} | " + (
            "– | not measured |" if worst is None else
            f"× {worst['ratio']:.3g}{'' if peer else ' (' + worst['peer'] + ')'} | "
            f"{'hit' if worst['ratio'] >= least else 'missed'} |"))
    for tail in rows:
        if tail.get("kind") == "tail" and tail["row"] == OURS:
            share = tail["p99"] / tail["p50"]
            out.append(f"| slowest batches of pairs, {tail['size']} | p99 at most {TAIL} times p50 | {share:.2g} times "
                       f"| {'hit' if share <= TAIL else 'missed'} |")
    behind = [r for r in peers if r["ratio"] < 1]
    return [*out, f"| ahead of every peer in every row | {len(peers)} rows | {len(peers) - len(behind)} rows | "
                  f"{'missed: see where a peer is ahead' if behind else 'hit'} |"]
