"""Contradictions between README, JSON, tables and weeks (D26): the forms that were seen, and new ones of each."""

from cohort import Hand
from cohort_faults import fault, fresh, said


def value(hand: Hand, file: str, metric: str) -> float:
    """What a metrics file says, of this edition or of the earlier one."""
    return hand.files[file][metric if hand.new else hand.keys[metric]]


@fault("D26", 3, 4)
@fault("D26", 3, 3, new=True)
def text_against_json(hand, k):
    """The text says 84 %, the JSON 0.8974."""
    acc = value(hand, "metrics_resnet18_all_basic.json", "accuracy")
    wrong = acc - [0.057, 0.09, 0.043, 0.07][k]
    hand.say([f"Finetune-all (basic) reached {100 * wrong:.0f} % accuracy on test.",
              f"The basic finetune-all model has a test accuracy of {wrong:.3f}.",
              f"With `all_basic`, Acc = {100 * wrong:.1f}%.",
              f"Test accuracy for resnet18_all_basic: **{wrong:.4f}**"][k])
    return said("accuracy|acc", hand.readme, ".*claim.*|.*readme.*|.*contradict.*")


@fault("D26", 1, 3)
@fault("D26", 1, 3, new=True)
def only_model_against_json(hand, k):
    auroc, ece = (value(hand, "test_metrics.json", m) for m in ("auroc", "ece"))
    hand.say([f"The test AUROC is {auroc - 0.06:.3f}.", f"ECE = {ece + 0.09:.3f}, see the diagram.",
              f"I got an AUROC of {100 * (auroc - 0.08):.1f} % on the test set."][k])
    return said("ece" if k == 1 else "auroc", hand.readme, ".*claim.*|.*readme.*|.*contradict.*")


@fault("D26", 3, 4)
@fault("D26", 2, 3, new=True)
def direction_against_numbers(hand, k):
    hand.say(["With augA the AUROC decreases from 0.895 to 0.906.", "Accuracy improved from 0.8606 to 0.8429.",
              "AUROC drops 0.895 -> 0.906 with augmentation.", "The ECE got lower, 0.071 → 0.104."][k])
    return said("decreas|improv|drop|lower|rise|fall|direction|sign", hand.readme)


@fault("D26", 3, 2, "pneumoniamnist")
def gain_against_table(hand, k):
    """AugA is said to gain 2 %; the JSON show a loss."""
    names = [f"metrics_resnet18_all_{a}.json" for a in ("basic", "augA")]
    for name, accuracy in zip(names, (0.8670, 0.8654), strict=True):
        hand.set(name, accuracy=round(accuracy * 624) / 624)
    hand.say(["AugA improves accuracy by +2 % over basic.", "AugA accuracy +2 % compared to the basic setting."][k])
    return said("2 ?%|gain|improv|augA", hand.readme)


@fault("D26", 1, 2)
@fault("D26", 1, 2, new=True)
def three_values_of_one(hand, k):
    hand.say(*["The ECE of my model is 0.112.", "With an ECE of 0.101 it is well behaved.", "So ECE: 0.131."][k:])
    return said("ece", hand.readme, ".*claim.*|.*contradict.*")


@fault("D26", 5, 2, "pneumoniamnist")
def epochs_of_two_notes(hand, k):
    hand.say("I fine-tuned for 2 epochs." if k else "EPOCHS = 2 because of Colab.")
    hand.files["README_week5_P3.md"] = "# P3: mini domain shift\nThe model was trained for 1 epoch.\nAUROC falls."
    return said("epoch", "README")


@fault("D26", 1, 2)
@fault("D26", 1, 2, new=True)
def epochs_against_run(hand, k):
    if hand.new:
        hand.say(["I trained for 30 epochs.", "EPOCHS = 50, batch size 128."][k])
    else:
        hand.files["test_metrics.json"]["epochs"] = 5
        hand.files[hand.readme] = hand.files[hand.readme].replace("5 epochs", ["30 epochs", "10 epochs"][k])
    return said("epoch", hand.readme)


@fault("D26", 6, 3)
def two_aurocs_of_one_text(hand, k):
    auroc = value(hand, "metrics_ssl_finetune.json", "auroc")
    hand.files["error_analysis.md"] = ["# Error analysis\nROC-AUC = 0.487 for the fine-tuned model.",
                                       "# ROC\nThe fine-tuned model has AUC 0.3986.", "AUROC: 0.399, FPR 1.0"][k]
    hand.say(f"The fine-tuned model has AUROC = {auroc:.4f}.")
    return said("auc|auroc", "error_analysis.md")


@fault("D26", 6, 3)
def temperature_that_sharpens(hand, k):
    hand.say(["Temperature scaling gave T = 0.976 and reduced the over-confidence.",
              "The fitted temperature is 0.93, so the model became less overconfident.",
              "With temperature=0.88 we soften the probabilities."][k])
    return said("temperature|sharpen|T ?=", hand.readme)


@fault("D26", 7, 3)
def one_error_of_many(hand, k):
    n1 = 390 if hand.dataset.startswith("p") else 114
    n0 = 234 if n1 == 390 else 42
    hand.say(f"Confusion at this threshold: TN={n0 - 20}, FP=20, FN=31, TP={n1 - 31}.",
             ["There is only 1 FN (see the gallery).", "The model makes one false negative.", "False negatives: 3"][k])
    return said("fn|false negative", hand.readme)


@fault("D26", 6, 3)
def probe_of_another_week(hand, k):
    """One encoder, one share of the labels, and another result a week later."""
    before = fresh(hand, 5)
    ten = before.files["probe_metrics_10pct.json"]
    hand.set("metrics_ssl_probe.json", accuracy=list(ten.values())[0] - [0.083, 0.05, 0.06][k],
             auroc=list(ten.values())[1] - 0.039, ece=0.081)
    return said("probe|week 5", "metrics_ssl_probe.json")


@fault("D26", 2, 3)
@fault("D26", 5, 2)
def one_cell_of_the_table(hand, k):
    file = next(f for f in hand.files if f.endswith(".json"))
    shown = f"{value(hand, file, ['accuracy', 'auroc', 'ece'][k]):.4f}"
    digit = "1" if shown[-3] != "1" else "9"
    text = hand.files[hand.readme]
    assert shown in text
    hand.files[hand.readme] = text.replace(shown, shown[:-3] + digit + shown[-2:])
    return said("acc|auroc|ece|table", hand.readme, ".*claim.*|.*readme.*|.*contradict.*|.*table.*")


@fault("D26", 4, 3)
@fault("D26", 4, 2, new=True)
def settings_against_config(hand, k):
    text = hand.files[hand.readme].replace("30 epochs", "thirty epochs") if not hand.new else hand.files[hand.readme]
    hand.files[hand.readme] = text
    hand.say(["I pretrained for 100 epochs.", "The temperature tau was 0.5.", "Learning rate 0.03 with AdamW."][k])
    return said("epoch|tau|temperature|lr|learning rate", hand.readme)
