"""An epoch of SimCLR end to end: against lightly's recipe, over the bare forward and backward pass, with peak memory.

All train the same network from the same first weights on the same images (28 px, as many as BreastMNIST has) with the
same operations on views, NT-Xent at 0.2 and AdamW, in batches of 256, in float32 on one thread. lightly's is the loop
of its own PyTorch example: DataLoader, SimCLRTransform, NTXentLoss. Times are CPU seconds: a worker would move a peer's
views to another core without making them cheaper, so the peer reads in the process itself. solo-learn's recipe needs
Lightning 1.4 and torch 1.9, and is named where they do not install.

Then what a setting buys: the same pass with the weights in another layout, in bf16, on images of 224 px; training by a
budget of steps (compiled: compiled.py).
"""

import copy
import sys

import torch
import torch.nn.functional as F
from timing import compare, cpu_seconds, paired, peak_mb, save, tell, turns, versions
from torchvision.transforms.functional import to_pil_image
from views import RECIPE, Pictures, by_lightly

from medssl import data
from medssl.evaluate import encode
from medssl.methods import SimCLR
from medssl.models import build_encoder
from medssl.recipes import pretrain
from medssl.train import Trainer
from medssl.train.device import PRECISIONS, autocast, choose_precision
from medssl.views import Augment, TwoViews

CPU = torch.device("cpu")


def learner(model: str, layout=torch.channels_last) -> SimCLR:
    torch.manual_seed(0)
    return SimCLR(build_encoder(model)).to(memory_format=layout).train()


def bare(method, batch, precision: str = "fp32", device=CPU):
    """A forward and a backward pass, and nothing else."""
    def call():
        method.zero_grad()
        with autocast(device, precision):
            loss = method(batch)["loss"]
        loss.backward()
        return loss.detach()

    return call


def pair(split, batch: int) -> dict:
    return TwoViews(Augment(**RECIPE))({"image": split.images[:batch]}, torch.Generator().manual_seed(0))


def ours(start, split, batch: int):
    def epoch():
        source = data.InMemory(split, batch, drop_last=True)
        Trainer(copy.deepcopy(start), source, epochs=1, views=TwoViews(Augment(**RECIPE)), precision="fp32",
                device="cpu", quiet="silent").fit()

    return epoch


def lightly_epoch(start, split, batch: int):
    from lightly.loss import NTXentLoss

    both, pictures = by_lightly(split.images.shape[-1]), [to_pil_image(image) for image in split.images]
    loss = NTXentLoss(temperature=start.temperature)

    def epoch():
        method = copy.deepcopy(start)
        optimizer = torch.optim.AdamW(method.parameters(), lr=1e-3)
        for one, other in torch.utils.data.DataLoader(Pictures(pictures, both), batch, shuffle=True, drop_last=True):
            z = [method.head(method.encoder(views)) for views in (one, other)]
            value = loss(*z)
            value.backward()
            optimizer.step()
            optimizer.zero_grad()

    return epoch


def end_to_end(model: str, split, batch: int, rounds: int) -> list[dict]:
    start, steps, seen = learner(model), len(split) // batch, pair(split, batch)
    size = f"{model}, {split.images.shape[-1]} px, batch {batch}"
    rows = []
    if versions("lightly"):
        need = [peak_mb(make(start, split, batch)) for make in (ours, lightly_epoch)]
        rows.append({"row": "SimCLR epoch, peak memory", "size": size, "peer": "lightly",
                     "version": versions("lightly"), **paired([need[0]], [need[1]], "MB")})
        tell(rows[0])

    def lightly():
        from lightly.loss import NTXentLoss

        z = [start.head(start.encoder(seen[f"view{k}"])) for k in (1, 2)]
        both = start(seen)["loss"], NTXentLoss(temperature=start.temperature)(*z)
        assert torch.isclose(*both, rtol=0.02), f"losses {both}"  # its BatchNorm sees one view at a time, ours both
        return lightly_epoch(start, split, batch), f"loss of the first weights {abs(both[0] - both[1]):.3f} apart"

    def pass_alone():
        step = bare(start, seen)
        return (lambda: [step() for _ in range(steps)]), "the same network and loss on views made beforehand"

    name = {"size": size, "ours": ours(start, split, batch), "unit": "ms", "work": steps, "rounds": rounds}
    timed = compare("SimCLR step, end to end", peers={
        "lightly": ("lightly", lightly), "the bare forward and backward pass": ("torch", pass_alone)}, **name)
    timed[-1]["kind"] = "bound"
    return timed + rows


def settings(model: str, split, views: int, rounds: int) -> list[dict]:
    """Rows "with the setting" against "without", a pass of so many views; `taken` says whether training does it."""
    seen, method = pair(split, views // 2), learner(model)
    plain = bare(learner(model, torch.contiguous_format), seen)
    contestants = {"channels_last": (bare(method, seen), plain, "yes: the Trainer"),
                   "bf16": (bare(method, seen, "bf16"), bare(method, seen),
                            "yes, here too: precision=\"auto\"" if choose_precision("auto", CPU) == "bf16" else
                            "not here: precision=\"auto\" asks for AVX-512 BF16, which this CPU lacks")}
    few = max(4, views // 64)
    small, large = (pair(split, few), {})
    for name in ("view1", "view2"):
        large[name] = F.interpolate(small[name], (224, 224))
    contestants["28 px, not blown up to 224"] = (bare(method, small), bare(method, large), "yes: images as they are")
    weights = [copy.deepcopy(method), copy.deepcopy(method)]
    for one in weights:
        bare(one, small)()
    contestants["fused AdamW, the step alone"] = (
        torch.optim.AdamW(weights[0].parameters(), 1e-3, fused=True).step,
        torch.optim.AdamW(weights[1].parameters(), 1e-3).step, "yes: the Trainer")
    rows, sizes = [], {"28 px, not blown up to 224": f"{2 * few} views", "fused AdamW, the step alone": "no views"}
    for name, (with_it, without, taken) in contestants.items():
        with_it(), without()
        seconds = turns({"with": with_it, "without": without}, rounds, 0.1)
        rows.append({"kind": "setting", "row": name, "size": f"{model}, {sizes.get(name, f'{views} views')}",
                     "peer": "without it",
                     "taken": taken, **paired(seconds["with"], seconds["without"], "ms")})
        tell(rows[-1])
    return rows


def budget(images, few: bool) -> list[dict]:
    """What a budget of steps buys: time, and what it costs in a probe's test AUROC."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.metrics import roc_auc_score
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    auroc, seconds, lengths = {}, {}, {"steps": {"steps": 20}, "epochs": {"epochs": 1 if few else 10}}
    for seed in range(2):
        for name, length in lengths.items():
            begun = cpu_seconds()
            run = pretrain(images, batch_size=64, seed=seed, device="cpu", quiet="silent", **length)
            seconds.setdefault(name, []).append(cpu_seconds() - begun)
            x, test = (encode(run.encoder, split.images) for split in (images.train, images.test))
            probe = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000)).fit(x, images.train.labels)
            auroc.setdefault(name, []).append(roc_auc_score(images.test.labels, probe.predict_proba(test)[:, 1]))
    said = {name: " and ".join(f"{value:.2f}" for value in values) for name, values in auroc.items()}
    row = {"kind": "setting", "row": "a budget of 20 steps", "size": "SimCLR, smallcnn, 2 × 64 views a step",
           "peer": f"{lengths['epochs']['epochs']} epochs",
           "taken": f"yes: the quick profile's weeks; test AUROC of a probe, two seeds: {said['steps']}, with the "
                    f"{lengths['epochs']['epochs']} epochs {said['epochs']}",
           **paired(seconds["steps"], seconds["epochs"], "s")}
    tell(row)
    return [row]


def share_of_matmul(model: str, split, views: int, device=CPU, precision: str = "fp32", now=cpu_seconds) -> list[dict]:
    """How near the pass comes to what a large matrix product reaches on this device: arithmetic a second of both."""
    from torch.utils.flop_counter import FlopCounterMode

    side, seen = 1024 if device.type == "cpu" else 8192, pair(split, views // 2)
    step = bare(learner(model).to(device), {k: v.to(device) for k, v in seen.items()}, precision, device)
    a = torch.rand(side, side, device=device, dtype=PRECISIONS[precision])
    with FlopCounterMode(display=False) as counter:
        step()
    seconds = turns({"pass": step, "product": lambda: a @ a}, 5, now=now)
    per_gflop = [[second * 1e9 / work for second in seconds[name]] for name, work in
                 (("pass", counter.get_total_flops()), ("product", 2 * side**3))]
    row = {"kind": "bound", "row": "arithmetic of the pass", "size": f"{model}, {views} views",
           "peer": f"a matrix product of {side}³", "version": torch.__version__, **paired(*per_gflop, "GFLOP/s")}
    tell(row)
    return [row]


if __name__ == "__main__":
    torch.set_num_threads(1)
    few = "few" in sys.argv[1:]
    split = data.load("breastphantom").train
    rows = end_to_end("smallcnn", split, 32 if few else 256, 2 if few else 3)
    rows += settings("smallcnn", split, 64, 2 if few else 3) + budget(data.load("breastphantom"), few)
    rows += share_of_matmul("smallcnn", split, 64)
    if not few:
        rows += end_to_end("resnet18", split, 256, 2) + share_of_matmul("resnet18", split, 64)
    save("steps", rows)
