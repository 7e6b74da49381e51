"""Faults of the catalogue in names and folders: misspelt, moved, renamed, merged (D01-D11)."""

import re

from cohort import gallery, picture, tile
from cohort_faults import FAULTS, both, fault, filled, fresh, said

MISSPELT = {"breastmnist": ["breasmnist", "Breastmnist", "breast_mnist", "BreastMNIST", "breatsmnist", "brestmnist"],
            "pneumoniamnist": ["pneumoniamist", "pnuemoniamnist", "PneumoniaMNIST", "pneumonia-mnist", "Pneumoniamnst",
                               "pneumonimnist"]}


@fault("D01", 1, 6)
@fault("D01", 6, 3, "breastmnist")
def dataset_misspelt(hand, k):
    hand.parts = [f"week{hand.week}", MISSPELT[hand.dataset][(k + hand.week) % 6], hand.person]
    return both(said(f"git mv .*{hand.dataset}", hand.folder),
                lambda report, h: any(s["folder"] == h.folder and s["dataset"] == h.dataset
                                      for s in report["submissions"]))


@fault("D01", 2, 2, new=True)
def week_misspelt(hand, k):
    hand.parts = [["Week_02", "week 2"][k], MISSPELT[hand.dataset][k], hand.person]
    return said(f"git mv .*{hand.dataset}", hand.folder)


@fault("D02", 1, 2)
@fault("D02", 2, 2, new=True)
def dataset_level_left_out(hand, k):
    hand.parts = [f"week{hand.week}", hand.person]
    return said(f"git mv .*{hand.dataset}/{hand.person}" if hand.new else f"git mv .*{hand.person}", hand.folder)


@fault("D02", 3, 2)
def levels_swapped(hand, k):
    hand.parts = [f"week{hand.week}", hand.person, hand.dataset]
    return said(rf"git mv .*{hand.dataset}/{hand.person}", hand.person)


@fault("D02", 5, 3, loose=True)
def loose_file(hand, k):
    file = ["B2_probe_results.json", "week5_probe_loose.json", "curves_loose.png"][k]
    hand.files = {file: {"acc": 0.7628, "auroc": 0.8371} if k < 2 else picture(file)}
    hand.parts = ["week5", hand.dataset] if k != 1 else ["week5"]
    return said("git mv", f"{hand.folder}/{file}")


@fault("D03", 2, 4)
def another_spelling(hand, k):
    """First_Last one week, FirstLast the next."""
    base = f"erin_{'wxyz'[k]}alker"
    hand.person, other = base, ["Erin_{}alker", "Erin{}alker", "erin-{}alker", "ERIN {}ALKER"][k].format("wxyz"[k])
    hand.person = other
    later = fresh(hand, 3)
    later.person = base.replace("_", "")
    plain = base.replace("_", "")

    def found(report, h):
        mine = [s for s in report["submissions"] if s["folder"] == h.folder]
        return all(s["name"] == plain for s in mine) and said("spelling|read as", h.folder)(report, h)

    return found


@fault("D04", 5, 3)
@fault("D04", 1, 4)
@fault("D04", 2, 2, new=True)
def readme_name(hand, k):
    right, w = hand.readme, hand.week
    name = [f"README_week{w}.md" if w > 4 else "README.md", "README.md" if w > 4 else f"Readme-Week{w}.md",
            f"README week {w} core.md" if w > 4 else f"readme_week_{w}.md", f"week{w}_README.md"][k]
    hand.rename(right, name)
    return filled(right, "renamed present", name)


@fault("D05", 2, 1)
@fault("D05", 7, 1)
@fault("D05", 5, 1, new=True)
def readme_absent(hand, k):
    right = hand.readme
    del hand.files[right]
    return both(filled(right, "missing"), said(re.escape(right), generic=True))


@fault("D06", 2, 4)
@fault("D06", 3, 2)
def readme_placeholder(hand, k):
    table = ["| Model | Acc | AUROC | ECE |\n|---|---|---|---|\n| smallcnn | 0. | 0. | 0. |\n| head | 0. | 0. | 0. |",
             "| Model | Acc | AUROC |\n|---|---|---|\n| smallcnn | 0.00 | 0.00 |\n| resnet18 | 0.00 | 0.00 |",
             "| Model | Acc |\n|---|---|\n| smallcnn | xx.x |\n| head | xx.x |",
             "Accuracy: TBD\nAUROC: TBD\nECE: TBD"][k]
    hand.files[hand.readme] = f"# Week {hand.week}\n\n## Results\n\n{table}\n\n## Discussion\n\n## Error analysis\n\n"
    return said("placeholder|zero|0\\.|empty|nothing|filled|TBD|xx", hand.readme, "readme-unfilled", generic=True)


@fault("D07", 1, 3)
@fault("D07", 1, 2, new=True)
def case_only(hand, k):
    right, wrong = [("reliability.png", "Reliability.png"), ("README_week1.md", "README_Week1.md"),
                    ("test_metrics.json", "Test_Metrics.JSON")][k]
    hand.rename(right, wrong)
    return filled(right, "renamed present", wrong)


def _renamed(forms):
    """A fault for each (week, slot, name as typed)."""
    def enter(put, code):
        for week, right, wrong in forms:
            def one(hand, k, right=right, wrong=wrong):
                hand.rename(right, wrong)
                return filled(right if right != "screenshot_env.png" else "env.json", "renamed merged", wrong)

            one.__name__ = f"{put}-{wrong.partition('.')[0]}"
            fault(code, week, 1, ["pneumoniamnist", "breastmnist"][len(FAULTS) % 2])(one)

    return enter


_renamed([(3, "metrics_resnet18_all_basic.json", "metrics_restnet18_all.json"),
          (2, "cm_resnet18_head.png", "cm_restnet18_all.png"),
          (2, "misclassified_gallery.png", "missclassified_gallery.png"), (1, "reliability.png", "relaibility.png"),
          (1, "screenshot_env.png", "Configuration.png"),
          (1, "screenshot_env.png", "Screenshot 2024-11-02 at 10.14.png"),
          (2, "metrics_smallcnn.json", "metrics_smalcnn.json"), (4, "ssl_config.json", "ssl_confg.json"),
          (4, "ssl_loss_curve.png", "ssl_lose_curve.png"), (5, "probe_metrics_5pct.json", "prob_metrics_5pct.json"),
          (7, "operating_point_table.md", "operatng_point_table.md"), (7, "roc_curve.png", "roc_cruve.png")],
         )("typo", "D08")
_renamed([(3, "metrics_resnet18_all_augA.json", "metrics_pneumoniamnist_resnet18_all_augA.json"),
          (3, "metrics_resnet18_head.json", "metrics_basic_head.json"),
          (3, "curves_resnet18_all_augA.png", "curves_AugA_all.png"),
          (3, "curves_resnet18_all_basic.png", "all_basic_curves.png"),
          (3, "metrics_resnet18_all_augB.json", "augB_metrics.json"),
          (3, "curves_resnet18_head.png", "learning_curves_head.png"),
          (6, "metrics_ssl_finetune.json", "metrics_ssl_finetune_10.json"),
          (6, "metrics_ssl_finetune.json", "finetune_metrics_10pct.json"),
          (6, "metrics_ssl_probe.json", "probe_metrics_10pct.json"),
          (6, "metrics_supervised_baseline.json", "baseline_supervised_metrics.json"),
          (6, "reliability_ssl_finetune.png", "ReliabilityDiagram_SSL-FineTune.png"),
          (6, "reliability_supervised.png", "week6_reliability_supervised_resnet18.png"),
          (7, "operating_point_table.md", "P2_Operating_Points.md"),
          (7, "operating_point_table.md", "operating_points_table.csv"),
          (7, "roc_curve.png", "breastmnist_ROC.png"), (7, "pr_curve.png", "precision_recall_curve.png"),
          (7, "high_conf_error_gallery.png", "gallery_high_confidence_errors.png"),
          (5, "probe_metrics_5pct.json", "metrics_probe_5.json"),
          (5, "probe_metrics_10pct.json", "probe10pct_metrics.json"),
          (5, "probe_metrics_10pct.json", "linear_probe_results_0.10.json"),
          (5, "probe_vs_supervised_plot_auroc.png", "auroc_probe_vs_supervised.png"),
          (2, "metrics_resnet18_head.json", "resnet18-head-metrics (1).json"),
          (2, "cm_smallcnn.png", "confusion_matrix_smallcnn.png"),
          (1, "test_metrics.json", "metrics_test_week1_final.json"),
          (4, "ssl_loss_curve.png", "simclr_loss_curve_30ep.png"), (4, "ssl_encoder.pt", "encoder_ssl_resnet18.pt")],
         )("order", "D09")


@fault("D10", 5, 3)
def probes_in_one(hand, k):
    five, ten = (hand.files.pop(f"probe_metrics_{n}pct.json") for n in (5, 10))
    name = ["week5_probe_metrics.json", "probe_results.json", "metrics_week5.json"][k]
    hand.files[name] = [{"probe_5pct": five, "probe_10pct": ten}, {"5%": five, "10%": ten},
                        {"results": [five, ten]}][k]
    return both(*(filled(f"probe_metrics_{n}pct.json", "merged", name) for n in (5, 10)))


@fault("D10", 6, 3)
def comparison_in_one(hand, k):
    keys = [("baseline_supervised", "ssl_probe_10pct", "ssl_finetune_full"), ("supervised", "probe", "finetune"),
            ("Supervised baseline", "SSL probe", "SSL fine-tuned")][k]
    slots = ["metrics_supervised_baseline.json", "metrics_ssl_probe.json", "metrics_ssl_finetune.json"]
    name = ["week6_comparison.json", "comparison.json", "metrics_all_models.json"][k]
    hand.files[name] = {key: hand.files.pop(slot) for key, slot in zip(keys, slots, strict=True)}
    return both(*(filled(slot, "merged", name) for slot in slots))


@fault("D10", 7, 2)
def curves_in_one(hand, k):
    name = ["roc_pr_curves.png", "PR_ROC.png"][k]
    hand.files[name] = hand.files.pop("roc_curve.png")
    del hand.files["pr_curve.png"]
    return both(*(filled(f"{c}_curve.png", "merged", name) for c in ("roc", "pr")))


@fault("D10", 5, 2)
def plots_in_one(hand, k):
    name = ["comparison_metrics.png", "probe_vs_supervised.png"][k]
    hand.files[name] = hand.files.pop("probe_vs_supervised_plot_acc.png")
    del hand.files["probe_vs_supervised_plot_auroc.png"]
    return both(*(filled(f"probe_vs_supervised_plot_{m}.png", "merged renamed", name) for m in ("acc", "auroc")))


@fault("D10", 2, 2)
def gallery_split(hand, k):
    names = [("misclassified_smallcnn.png", "misclassified_resnet18_head.png"),
             ("gallery_smallcnn.png", "gallery_head.png")][k]
    image = hand.files.pop("misclassified_gallery.png")
    hand.files |= {names[0]: image, names[1]: gallery([tile(hand.person, "b", j) for j in range(4)])}
    return filled("misclassified_gallery.png", "merged renamed", *names)


@fault("D10", 2, 2)
def baselines_in_one(hand, k):
    small, head = hand.files.pop("metrics_smallcnn.json"), hand.files.pop("metrics_resnet18_head.json")
    name = ["metrics.json", "week2_metrics.json"][k]
    hand.files[name] = [{"smallcnn": small, "resnet18_head": head},
                        [{"model": "SmallCNN", **small}, {"model": "ResNet18 (head)", **head}]][k]
    return both(*(filled(slot, "merged", name) for slot in ("metrics_smallcnn.json", "metrics_resnet18_head.json")))


@fault("D11", 7, 2)
def table_in_readme(hand, k):
    hand.say("## Operating point", hand.files.pop("operating_point_table.md"))
    return filled("operating_point_table.md", "merged", hand.readme)


@fault("D11", 3, 1)
def ablation_in_readme(hand, k):
    hand.say("## Augmentation ablation", hand.files.pop("aug_ablation_table.md"))
    return filled("aug_ablation_table.md", "merged", hand.readme)


@fault("D11", 7, 1)
def errors_in_readme(hand, k):
    del hand.files["high_conf_error_gallery.png"]
    hand.say("## High-confidence errors", "| image | true | p | comment |", "|---|---|---|---|",
             "| 12 | 0 | 0.97 | dark |", "| 40 | 0 | 0.95 | blurry |", "| 77 | 1 | 0.04 | small |")
    return filled("high_conf_error_gallery.png", "merged", hand.readme)
