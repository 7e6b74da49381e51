"""One question to think about for each feedback draft: what instructors of this course ask again and again, by week."""

from zlib import crc32

QUESTIONS = {
    1: ["If you always said the commoner class, what would your accuracy be, and how much does yours add to that?",
        "How many optimiser steps did your run make, and what makes you think that it was long enough (or too short)?",
        "AUROC says how well the images are ranked. What does it not say about the probabilities themselves?"],
    2: ["Is the gap between your two baselines larger than the spread between seeds, and larger than what the test "
        "images alone can explain?",
        "A perfectly calibrated model would not score an ECE of 0 on so few images. What would it, and where is yours?",
        "Which class do your errors come from, and what does balanced accuracy say that accuracy hides?"],
    3: ["Which of your augmentations could change the label of a real image: a mirrored side, a cut-off lesion?",
        "With another seed, would your ranking of the variants stay the same? How do you know?",
        "Your best epoch was chosen on val. Which number would be too kind if it had been chosen on test?"],
    4: ["Your loss fell. What would you look at to be sure that the representation is good, and has not collapsed?",
        "Where would the loss start for a network that knows nothing, ln(2B−1), and where did yours start?",
        "Which difference between two views should the encoder ignore in these images, and which must it keep?"],
    5: ["How does the probe compare with logistic regression on the raw pixels, with the same few labels?",
        "With another draw of the few labels, how far would your AUROC move? What does that say about your comparison?",
        "The supervised baseline saw how many labels? Is it a fair opponent for your probe?"],
    6: ["Did fine-tuning change the ranking of the images, the probabilities, or both? Which number shows which?",
        "Would a temperature fitted on val change your AUROC? Would it change your ECE? Why?",
        "Is the difference in ECE between your models larger than the noise of the same test set?"],
    7: ["You chose the threshold on val. How far did the rates move on test, and is that more than chance?",
        "Which class is the positive one here, and who pays for a false alarm, who for a miss?",
        "Beside which number should the precision be read, and what is it for a model without any skill?"],
    8: ["Under which shift did the ranking stay while the threshold did not, and what would you watch for in use?",
        "Who is not in this data set, and what would you have to measure before you said anything about them?"],
    9: ["Which sentence of your draft would fall if the test set were drawn anew?",
        "Which of your claims has a gap, its spread and the number of seeds beside it, and which does not yet?"],
    10: ["What would somebody need, besides your repository, to get your main figure within an hour?",
         "Which one result would you bet on in another hospital, and which not?"],
    11: ["Your loss fell. Which number tells you that the features did not all become the same?",
         "What does the context encoder of your masked predictor see, and how would you show that no target leaks in?",
         "LeJEPA and the masked predictor saw the same images. Which lead between them clears its interval?"],
    12: ["An ellipsoid that sees no image scores a Dice, too. By how much does your model beat it, patient by patient?",
         "How many patients stand behind your interval, and what would change if they came from another scanner?",
         "How large are your target blocks in millimetres, and what could be guessed from their neighbours alone?"],
    13: ["Your reconstruction error is small. Could it be a copy of what the network saw, and which run says so?",
         "What is left of your reconstruction when the skip connections are cut, and is that the network's lesson?",
         "Which of your images has a midline? What does the contrast of two halves ask of an image without one?"],
    14: ["How much of your crops was patient, and does your threshold count a lung as patient?",
         "The mean entropy of your answers fell. Why is that no sign that the network tells crops apart, and what is?",
         "How many rows did your teacher see in a batch, for how many prototypes, and what follows for its answers?",
         "Your probe names organs. What does a random encoder name, and how many scans stand behind the interval?"],
    15: ["Which of your broken runs had the lowest loss, and which number gave it away?",
         "What did your network reach with grey patches, and which of your heads is better than that?",
         "Why is a difference of Euler angles no rotation, and what is asked instead?",
         "Preflight refused some scans. Which fault would a header alone not have shown, and what would it have cost?"],
}


def question(submission: dict) -> str:
    """A question that fits the week; which one depends on the name, so that neighbours do not all get the same."""
    asked = QUESTIONS.get(submission["week"], ["What would make you change your mind about your main result?"])
    return asked[crc32(f"{submission['name']}/{submission['dataset']}".encode()) % len(asked)]
