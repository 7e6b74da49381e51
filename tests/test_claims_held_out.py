"""READMEs written after the checks were done, and not used to build them: what is missed is said here."""

import pytest
from test_claims import CONFIG, LOSS_CSV, findings
from test_claims import WEEK1 as W1
from test_claims import WEEK3 as W3

W5 = {"week5_probe_metrics.json": {"probe_5pct": {"test_acc": 0.7853, "test_auroc": 0.8961},
                                   "probe_10pct": {"test_acc": 0.7933, "test_auroc": 0.9283}}}
W6 = {"metrics_supervised_baseline.json": {"acc": 0.8413, "auroc": 0.9481, "ece": 0.1201},
      "metrics_ssl_probe.json": {"acc": 0.8189, "auroc": 0.9142, "ece": 0.0931, "label_fraction": 0.1},
      "metrics_ssl_finetune.json": {"acc": 0.8814, "auroc": 0.9524, "ece": 0.1124, "label_fraction": 0.1}}
SSL = {"ssl_config.json": CONFIG}
SSL_LOSS = SSL | {"ssl_loss.csv": LOSS_CSV}
HONEST = [
    (3, W3, "Overall the finetune-all model clearly beats the frozen one (86.7 vs 76.3 % accuracy, 0.912 vs 0.825 "
            "AUROC)."),
    (3, W3, "AugA hurts a bit: accuracy 86.5 (-0.2), AUROC 90.6 (-0.6)."),
    (3, W3, "I expected AugA to increase accuracy from 0.867 to maybe 0.88, but it stayed at 0.865."),
    (3, W3, "Best val accuracy was reached at epoch 7 (0.923); after that the val loss increases from 0.35 to 0.51."),
    (3, W3, "The head-only run underfits: train acc 0.78, test acc 0.763."),
    (3, W3, "| Run | Test Acc | Test AUROC | Val AUROC | #params |\n|---|---|---|---|---|\n| head | 0.7628 | 0.8252 | "
     "0.84 | 1026 |\n| all (no aug) | 0.8670 | 0.9123 | 0.95 | 11.2M |"),
    (3, W3, "ECE got worse with augmentation (0.07 -> 0.09), so better accuracy isn't better calibration."),
    (6, W6, "SSL fine-tuning with only 10 % of the labels reaches 0.952 AUROC, slightly higher than the supervised "
     "baseline with 0.948."),
    (6, W6, "The probe has the lowest ECE (0.093) of the three; the baseline has 0.120 and the fine-tuned model "
            "0.112."),
    (6, W6, "| Model | Labels | Acc | AUROC | ECE |\n|---|---|---|---|---|\n| Supervised | 100% | 0.841 | 0.948 | "
     "0.120 |\n| SSL probe | 10% | 0.819 | 0.914 | 0.093 |\n| SSL fine-tune | 10% | 0.881 | 0.952 | 0.112 |"),
    (6, W6, "Compared with week 3 (accuracy 0.897, AUROC 0.978), the baseline dropped to 0.841."),
    (6, W6, "After temperature scaling (T=1.42) the over-confidence was reduced and ECE dropped from 0.112 to 0.061."),
    (6, W6, "Temperature scaling with T = 0.93 made the model more confident, since it was under-confident on val."),
    (5, W5, "| fraction | Acc | AUROC |\n|---|---|---|\n| 5 % | 0.785 | 0.896 |\n| 10 % | 0.793 | 0.928 |\n| 100 % "
     "(supervised, week 3) | 0.897 | 0.978 |"),
    (5, W5, "Doubling the labels from 5 % to 10 % lifts AUROC by 0.03 but accuracy only by 0.8 points."),
    (5, W5, "With 5% labels: Acc 78.5%, AUROC 89.6%. With 10% labels: Acc 79.3%, AUROC 92.8%."),
    (1, W1, "The confusion matrix shows TP=101, FN=13, FP=12, TN=30, so sensitivity is 0.886 and specificity 0.714."),
    (1, W1, "Balanced accuracy would be around 0.80, I computed it by hand."),
    (1, W1, "My first run crashed because of y.long(); the second run gave the numbers above. Learning rate 3e-4, 64 "
     "px, AdamW."),
    (1, W1, "I got 131/156 correct, i.e. 83.97 %. Chance AUROC is 0.5."),
    (4, SSL_LOSS, "Batch 128, 30 epochs, tau=0.2, lr 1e-3. The loss went from 3.2 to 1.46, the chance level ln(255) "
     "is 5.54. A quick linear probe with lr 0.01 for 10 epochs gave 0.81 AUROC."),
    (4, SSL_LOSS, "I first tried batch size 64 and 10 epochs, which was too short. No blur, because speckle carries "
     "information. Color jitter is mild (0.05)."),
    (7, {}, "I chose threshold 0.62 on val for TPR 0.90; on test TPR was 0.842 and FPR 0.429, i.e. 18 of 42 malignant "
     "images called benign. 96 of 114 benign are right. The gallery shows 5 FP and 5 FN."),
    (2, {}, "546 train / 78 val / 156 test. Malignant: 147/21/42, benign+normal: 399/57/114.\n\n## "
     "Notes\n\n![grid](sample_grid.png)\n\nThe figure comes from `medmnist` itself; `torch.save` was not used."),
]
# Other people's models, other languages, another data set or threshold, and the clinic's own words.
HONEST += [(1, W1, text) for text in (
    "Clinicians reach an AUROC of 0.87.", "AUROC 0.95 is what a specialist reaches.", "Google AutoML gets AUC 0.919.",
    "Table 3 of [1] has accuracy 0.863.", "The top model on Kaggle has 0.93 AUROC.", "ViT-B gets an AUROC of 0.93.",
    "On PneumoniaMNIST I got accuracy 0.88.", "Accuracy rose from 0.70 in the first epoch to 0.840.",
    "At 0.3 accuracy becomes 0.85.", "Auf dem Validierungsset ist die AUROC 0,966 und damit gut.",
    "Según el artículo de referencia el modelo alcanza AUC 0,901.", "Le papier de départ donne une AUC de 0,901.",
    "论文的 AUC 为 0.901。", "A cancer (1 of 10) is missed.", "Clinically, the positive class is malignant.",
    "The prevalence is 0.73, so PR-AUC of cancer detection looks high.", "Malignant = positive in most papers.",
    "In the clinic malignant is the positive finding; here class 1 is benign.")]
FALSE = [
    ("readme-number", 3, W3, "Fine-tuning all layers without augmentation gives 0.897 accuracy."),
    ("readme-number", 3, W3, "Our best model reaches an AUROC of 0.978."),
    ("readme-number", 6, W6, "The fine-tuned model has an ECE of 0.343."),
    ("readme-number", 6, W6, "| Model | Acc | AUROC |\n|---|---|---|\n| Supervised | 0.841 | 0.948 |\n| SSL probe | "
                             "0.889 | 0.966 |"),
    ("readme-number", 6, W6, "SSL probe: Acc 81.9 %, AUROC 0.966, ECE 0.093."),
    ("readme-number", 5, W5, "With 5 % labels accuracy is 0.712 and AUROC is 0.755."),
    ("readme-number", 5, W5, "| fraction | Acc | AUROC |\n|---|---|---|\n| 5 % | 0.785 | 0.896 |\n| 10 % | 0.793 | "
                             "0.862 |"),
    ("readme-number", 1, W1, "Results: accuracy=0.8654, auroc=0.8882, ece=0.093"),
    ("readme-number", 1, W1, "The final test accuracy was 76 %, which is fine."),
    ("readme-direction", 3, W3, "Interestingly, AUROC increased (0.912 → 0.906) with AugA."),
    ("readme-direction", 6, W6, "Fine-tuning reduced the ECE from 0.093 to 0.112."),
    ("readme-direction", 6, W6, "The AUROC drops to 0.952 from 0.914 after fine-tuning."),
    ("readme-direction", 3, W3, "Accuracy of AugA (86.5 %) is higher than without augmentation (86.7 %)."),
    ("readme-direction", 6, W6, "Calibration improves: ECE 0.093 -> 0.112."),
    ("readme-direction", 3, W3, "With AugA we gained +2 % accuracy."),
    ("readme-config", 4, SSL, "Hyperparameters: batch size = 256, 30 epochs."),
    ("readme-config", 4, SSL, "Pretraining ran for 100 epochs on a T4."),
    ("readme-config", 4, SSL, "## Augmentations\n\nRandom crops, flips and grayscale."),
    ("readme-config", 3, W3, "Mean over three seeds."),
    ("readme-file", 7, {}, "See `pr_curve_zoom.png` for details."),
    ("unfinished", 6, {}, "## Discussion\n\nTODO: write this."),
    ("unfinished", 3, W3, "| Aug | Acc | AUROC |\n|---|---|---|\n| A | ... | ... |"),
    ("positive-class", 7, {}, "We treat missing cancer as FN: of the 114 cancers 18 are missed."),
    ("positive-class", 7, {}, "The ROC curve uses malignant (class 1) as positive."),
    ("positive-class", 2, {}, "Labels: 0 = benign, 1 = malignant."),
]
MISSED = ("Accuracy of AugA (86.5 %) is higher than without augmentation (86.7 %).",)  # "without" looks like a negation


def _said(tmp_path, week, files, text):
    dataset = "pneumoniamnist" if week in (4, 5, 6) else "breastmnist"
    readme = f"# Week {week}\n\n## Results\n\n{text}\n"
    return findings(tmp_path, readme, week, files | {"sample_grid.png": "x"}, dataset)


@pytest.mark.parametrize("k", range(len(HONEST)))
def test_an_honest_text_gets_no_finding(k, tmp_path):
    found = _said(tmp_path, *HONEST[k])
    assert not found, found


@pytest.mark.parametrize("k", range(len(FALSE)))
def test_a_contradictory_text_gets_its_finding(k, tmp_path):
    code, *hand_in = FALSE[k]
    found = {f["code"] for f in _said(tmp_path, *hand_in)}
    assert code in found or hand_in[-1] in MISSED
