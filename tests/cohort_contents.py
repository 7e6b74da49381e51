"""Faults of the catalogue in what files are and hold: labels, containers, junk, keys, tables (D12-D24, D39-D42)."""

import json

from cohort import picture
from cohort_faults import both, counts, either, fault, filled, said


# ----------------------------------------------------------------------------------- labels, containers, missing parts
@fault("D12", 2, 3)
def label_against_content(hand, k):
    if k == 0:  # there is no head mode of the small network
        hand.files["reliability_smallcnn_head.png"] = hand.files.pop("reliability_smallcnn.png")
        return said("head|smallcnn|contradict", "reliability_smallcnn_head.png")
    file = ["", "metrics_smallcnn.json", "metrics_resnet18_head.json"][k]
    hand.files[file] |= [{}, {"model": "resnet18"}, {"model": "resnet18", "finetune": "all"}][k]
    return said("resnet18|'all'|finetune|head|label|contradict", file)


@fault("D12", 5, 2)
def fraction_against_name(hand, k):
    file = f"probe_metrics_{(5, 10)[k]}pct.json"
    hand.files[file]["label_fraction"] = (0.1, 0.2)[k]
    return said("fraction|%|0\\.[12]", file)


@fault("D12", 1, 2)
def head_or_all(hand, k):
    hand.say(["I ran head fine-tuning: the backbone was frozen.", "Setup: `--finetune head`, only the last layer."][k],
             ["My configuration cell: FINETUNE='all', EPOCHS=5", "Config: `MODEL='resnet18'`, `FINETUNE = \"all\"`"][k])
    return said("head.*all|all.*head|frozen", hand.readme)


@fault("D13", 2, 2)
def metrics_as_text(hand, k):
    small, head = hand.files.pop("metrics_smallcnn.json"), hand.files.pop("metrics_resnet18_head.json")
    both_of = {"smallcnn": small, "resnet18_head": head}
    name = ["all_metrics.txt", "results.txt"][k]
    hand.files[name] = json.dumps(both_of, indent=1)
    return both(filled("metrics_smallcnn.json", "merged renamed", name), said("json|text|\\.txt", name))


@fault("D13", 4, 3)
def weights_as_link(hand, k):
    del hand.files["ssl_encoder.pt"]
    name = ["ssl_encoder.txt", "ssl_encoder_link.md", "encoder.txt"][k]
    hand.files[name] = ["https://drive.google.com/file/d/1AbC/view?usp=sharing",
                        "Weights: [Drive](https://1drv.ms/u/s!x)",
                        "https://www.dropbox.com/s/q1/ssl_encoder.pt?dl=0"][k]
    return said("link|cloud|weights|sha256", name)


@fault("D14", 4, 4)
def weights_of_no_use(hand, k):
    hand.files["ssl_encoder.pt"] = [b"", b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 45000\n",
                                    b"<!DOCTYPE html><html>Sign in to continue</html>", b"PK\x03\x04"][k]
    return said("weights|empty|no content|lfs|checkpoint|zip|torch|opened", "ssl_encoder.pt")


@fault("D14", 4, 2)
def weights_too_large(hand, k):
    del hand.files["ssl_encoder.pt"]
    hand.say(["The encoder files were too large to upload.",
              "ssl_encoder.pt is not in the repo because of its size."][k])
    return either(said("encoder|weights", generic=True), filled("ssl_encoder.pt", "missing"))


@fault("D15", 4, 2)
@fault("D15", 4, 1, new=True)
def config_absent(hand, k):
    del hand.files["ssl_config.json"]
    return both(filled("ssl_config.json", "missing"), said("ssl_config", generic=True))


@fault("D16", 6, 2)
def diagram_absent(hand, k):
    file = ["reliability_supervised.png", "reliability_ssl_finetune.png"][k]
    del hand.files[file]
    if k:
        hand.say(f"The diagram of the fine-tuned model is in {file}.")
    return said(file, generic=True)


@fault("D16", 6, 3)
@fault("D16", 3, 2, new=True)
def named_and_absent(hand, k):
    file = ["umap_embeddings.png", "temperature_scaling_sweep.csv", "figures/tsne_finetune.png"][k]
    hand.say([f"See `{file}` for the embeddings.", f"All values are in [{file}]({file}).", f"![t-SNE]({file})"][k])
    return said(file.rpartition("/")[2])


@fault("D17", 5, 2, "breastmnist")
@fault("D17", 7, 2, "pneumoniamnist")
def only_tasks(hand, k):
    ids = ("B2", "B4") if hand.week == 5 else ("P2", "P4")
    hand.files = {f"{hand.dataset[:6]}_summary_{ids[0]}.json": {"auroc": 0.71},
                  f"figure_{ids[1]}.png": picture(hand.person, 1),
                  f"README_week{hand.week}_{ids[k]}.md": "# Task\nDone."}
    return said("core|only|instead|alone")


@fault("D18", 5, 3, "pneumoniamnist")
def task_of_the_other_set(hand, k):
    file = ["embedding_tsne_B2.png", "README_week5_B3.md", "B2_probe_results.json"][k]
    hand.files[file] = [picture(hand.person, "b"), "# B3: augmentations A against B\nA wins by 0.01.",
                        {"auroc": 0.8}][k]
    return said("B[23].*breast|breast.*B[23]", file)


@fault("D19", 5, 3)
def task_of_another_meaning(hand, k):
    file, text = [("README_week5_B2.md", "# B2: augmentation ablation (AugA against AugB)\nAugB is better."),
                  ("README_week5_P1.md", "# P1 - Temperature scaling\nT = 1.4 lowers the ECE."),
                  ("temperature_scaling_P1.json", {"temperature": 1.4, "ece_before": 0.12, "ece_after": 0.05})][k]
    hand.dataset = "breastmnist" if "B2" in file else "pneumoniamnist"
    hand.files[file] = text
    return said(r"(B2|P1).*(mean|t-SNE|label fractions|version|description|different|is about)", file)


@fault("D20", 3, 4)
@fault("D20", 1, 3, new=True)
def junk(hand, k):
    file = [".DS_Store", "Thumbs.db", "__MACOSX/._README.md", ".ipynb_checkpoints/x-checkpoint.ipynb"][k]
    hand.files[file] = b"\x00\x00\x00\x01Bud1"
    return said("program|junk|nobody", file.rpartition("/")[2], "junk")


@fault("D20", 2, 3)
@fault("D20", 1, 2, new=True)
def same_file_twice(hand, k):
    first = next(f for f in hand.files if f.startswith("reliability"))
    copy = ["reliability (1).png", "Untitled.png", "copy of figure.png"][k]
    hand.files[copy] = hand.files[first]
    return said("same|identical|duplicate|copy|twice", copy)


@fault("D21", 1, 4)
@fault("D21", 2, 2, new=True)
def notebook_not_json(hand, k):
    file = ["ML_Basics_MedMNIST_Colab.ipynb", "week1.ipynb", "Colab (1).ipynb", "notebook.ipynb"][k]
    hand.files[file] = ["import torch\nprint(torch.__version__)\n", '{"cells": [{"cell_type": "code", "sour',
                        {"hello": 1}, "<!DOCTYPE html><html><body>Colab</body></html>"][k]
    return said("notebook|nbformat|JSON", file)


# ---------------------------------------------------------------------------------------------- keys and bookkeeping
@fault("D22", 1, 8)
def keys_of_their_own(hand, k):
    n0, n1 = counts(hand)
    acc, auroc, ece = (hand.files["test_metrics.json"][key] for key in hand.keys.values())
    hand.files["test_metrics.json"], words = [
        ({"acc (train/test)": [0.9123, acc], "auroc (train/test)": [0.96, auroc], "ece (train/test)": [0.02, ece]},
         "list|train/test"),
        ({"test": {"acc": acc, "auroc": auroc, "ece": ece}}, "test"),
        ({"metrics": {"accuracy": acc, "roc_auc": auroc, "ece": ece}}, "metrics|roc_auc"),
        ({"acc": acc, "auroc": auroc, "ece": None}, "ece"),
        ({"acc": acc, "auroc": auroc}, r"\bece\b"),
        ({"accuracy": acc, "roc_auc": auroc, "ece": ece}, "roc_auc"),
        ({"Test Accuracy": f"{100 * acc:.2f}%", "Test AUROC": f"{auroc:.4f}", "ECE": f"{ece:.4f}"}, "Test A"),
        ([{"split": "val", "acc": 0.81, "auroc": 0.9, "ece": 0.1}, {"split": "test", "acc": acc, "auroc": auroc,
                                                                   "ece": ece}], "list|test")][k]
    return said(words, "test_metrics.json", generic=True)


@fault("D22", 6, 2)
def keys_below_a_block(hand, k):
    file = "metrics_ssl_finetune.json"
    hand.files[file] = {["ssl_finetune_full", "clean_metrics"][k]: hand.files[file]}
    return said("ssl_finetune_full|clean_metrics|nested|inside", file, generic=True)


@fault("D24", 1, 2)
@fault("D24", 6, 2)
def nothing_said_of_the_run(hand, k):
    file = next(f for f in hand.files if f.endswith(".json"))
    return said(r"seed|split|dataset", file, "key-missing", generic=True)


@fault("D25", 5, 4)
def labels_counted_otherwise(hand, k):
    file = f"probe_metrics_{(5, 10, 5, 10)[k]}pct.json"
    hand.dataset = "pneumoniamnist"
    hand.files[file] |= [{"n_train": 230}, {"n_train": 480}, {"label_fraction": 0.125, "n_train": 565},
                         {"n_train": 47}][k]
    return said("n_train|labels|fraction|%", file)


# ------------------------------------------------------------------------------------- thresholds and unfinished tables
@fault("D39", 7, 4)
def threshold_of_unknown_origin(hand, k):
    rows = ["| 0.894 | 0.8413 | 0.90 | 0.162 |", "| 0.970 | 0.8077 | 0.826 | 0.103 |", "| 0.5 | 0.85 | 0.93 | 0.28 |",
            "| 0.50 | 0.86 | 0.95 | 0.31 |"]
    hand.files["operating_point_table.md"] = "\n".join(["| threshold | Acc | TPR | FPR |", "|---|---|---|---|",
                                                        rows[k]])
    hand.files[hand.readme] = "# Week 7\n\nI took this operating point because it favours sensitivity.\n"
    return said("threshold", codes=".*threshold.*")


@fault("D39", 7, 2, new=True)
def threshold_chosen_on_test(hand, k):
    hand.files["operating_point.json"]["selected_on"] = ["test", None][k]
    return said("threshold|selected_on|test", "operating_point.json")


@fault("D40", 3, 3)
@fault("D40", 3, 2, new=True)
def unfinished_table(hand, k):
    lines = [["| head | TO DO! | TO DO! |"], ["| augA | 0.86 | 0.93 |", "|  |  |  |"], ["| augB | TBD | ? |"]][k]
    hand.files["aug_ablation_table.md"] = "\n".join(["| Regime | Acc | AUROC |", "|---|---|---|",
                                                     "| basic | 0.84 | 0.91 |", *lines])
    return said("TO ?DO|empty|unfinished|TBD|cell|row", "aug_ablation_table.md")


@fault("D40", 3, 2)
def ablation_of_one_row(hand, k):
    text = "\n".join(["| Regime | Acc | AUROC |", "|---|---|---|", "| augA | 0.8590 | 0.9312 |"])
    if k:
        del hand.files["aug_ablation_table.md"]
        hand.say("## Augmentation ablation", text)
    else:
        hand.files["aug_ablation_table.md"] = text
    return said("one row|single row|1 row|nothing to compare|only one", hand.readme if k else "aug_ablation_table.md")


@fault("D42", 1, 2)
def screenshot_for_environment(hand, k):
    return filled("env.json", "renamed merged", "screenshot_env.png")
