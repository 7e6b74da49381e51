"""The whole label grid (6 fractions x 10 draws x all Cs) at once, against a loop of sklearn's LogisticRegression.

`make bench` prints medians over interleaved rounds and the ratio round by round; it asserts nothing about speed.
Before it times anything it checks that both give the same test AUROC within 0.005 in every run, sklearn told
to be exact; the clock then runs against sklearn as it comes (lbfgs, tol=1e-4), which is faster and less exact.
Both get the same features of a frozen random encoder, standardised, and both leave out subsets that are the same.
Real BreastMNIST where MEDSSL_TEST_DATA has it, else the phantom of the same size.
"""

import os
import sys
from pathlib import Path

import numpy as np
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler
from timing import compare, save

from medssl import data
from medssl.evaluate import encode, fit_probes
from medssl.evaluate.probes import CS, auroc_rows
from medssl.models import build_encoder
from medssl.recipes import FRACTIONS

FEW = "few" in sys.argv[1:]
ROUNDS, DRAWS = (2, 2) if FEW else (3, 10)


def ours():
    return fit_probes(x["train"], y["train"], x["val"], y["val"], subsets).predict_proba(x["test"])


def loop(**exact):
    out = []
    for subset in subsets:
        best = np.inf
        for C in CS:
            model = LogisticRegression(C=C, max_iter=10_000, **exact).fit(x["train"][subset], y["train"][subset])
            loss = np.logaddexp(0, (1 - 2 * y["val"]) * model.decision_function(x["val"])).mean()
            if loss < best:
                best, chosen = loss, model
        out.append(chosen.predict_proba(x["test"])[:, 1])
    return np.stack(out)


if __name__ == "__main__":
    torch.set_num_threads(1)
    root = Path(os.environ.get("MEDSSL_TEST_DATA") or ".") / "medmnist"
    key = "breastmnist" if (root / "breastmnist.npz").is_file() else "breastphantom"
    images = data.load(key, root=root)
    torch.manual_seed(0)
    encoder = build_encoder("smallcnn", in_channels=images.channels)
    y = {name: split.labels.numpy() for name, split in images.splits.items()}
    scaler = StandardScaler().fit(encode(encoder, images.train.images).astype(float))
    x = {name: scaler.transform(encode(encoder, split.images)) for name, split in images.splits.items()}
    subsets = [data.label_subset(images.train.labels, f, draw).numpy()
               for f in FRACTIONS for draw in range(DRAWS if f < 1 else 1)]
    aurocs = [auroc_rows(y["test"], p) for p in (ours(), loop(solver="newton-cholesky", tol=1e-6))]
    apart = float(np.abs(aurocs[0] - aurocs[1]).max())
    assert apart < 0.005, f"the two disagree: AUROC {apart:.4f} apart"
    size = f"{key}, {len(subsets) * len(CS)} probes of {encoder.dim} features"
    save("probes", compare("grid of probes", size, ours, {
        "loop of scikit-learn": ("scikit-learn", lambda: (loop, f"AUROC at most {apart:.4f} apart"))},
        unit="s", rounds=ROUNDS))
