"""What tests of hand-ins share: honest scores on the official split, and a hand-in of week 1 that holds them."""

import numpy as np

from medssl.course import Submission
from medssl.course.contract import load_contract
from medssl.evaluate import evaluate

CLASSES = ("malignant", "normal, benign")


def scores(seed, split="test"):
    """Honest scores on the official split of BreastMNIST: its 42 + 114 images of test, or 21 + 57 of val."""
    rng, y = np.random.default_rng(seed), np.array(load_contract().datasets["breastmnist"].labels_of(split))
    n = len(y)
    return np.arange(n), y, np.clip(0.5 + 0.3 * (y - 0.5) + 0.2 * rng.standard_normal(n), 0.001, 0.999)


def filled(root, name="Ada Lovelace", dataset="breastmnist", seeds=(0, 1, 2), **more):
    work, results = Submission(1, dataset, name, root, **more), []
    for seed in seeds:
        index, y, p = scores(seed)
        work.predictions("predictions_test.csv", seed=seed, index=index, y=y, p=p)
        results.append(evaluate(y, p, CLASSES, n_boot=0))
    work.metrics("test_metrics.json", results, model="smallcnn")
    return work
