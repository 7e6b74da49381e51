"""What torch.compile buys a pass of SimCLR on this CPU, and after how many steps it has paid for its first call."""

import steps
import torch
from timing import cpu_seconds, paired, save, tell, turns

from medssl import data

VIEWS = 64

if __name__ == "__main__":
    torch.set_num_threads(1)
    seen = steps.pair(data.load("breastphantom").train, VIEWS // 2)
    method, twin = steps.learner("smallcnn"), steps.learner("smallcnn")
    plain, begun = steps.bare(method, seen), cpu_seconds()
    twin.encoder.compile()
    fast = steps.bare(twin, seen)
    assert torch.isclose(fast(), plain(), rtol=1e-3)
    first = cpu_seconds() - begun
    seconds = turns({"with": fast, "without": plain}, 5)
    row = {"kind": "setting", "row": "torch.compile", "size": f"smallcnn, {VIEWS} views", "peer": "without it",
           **paired(seconds["with"], seconds["without"], "ms")}
    gain = (row["theirs"] - row["ours"]) / 1e3
    row["taken"] = f"no: the first call takes {first:.0f} s" + (
        f", repaid after {first / gain:,.0f} steps" if gain > 0 else ", and no step repays it")
    tell(row)
    save("compiled", [row])
