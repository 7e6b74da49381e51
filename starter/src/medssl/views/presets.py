"""Which views are medically reasonable: five strengths for each kind of image, each with one line that says why."""

from medssl.errors import MedsslError
from medssl.views.augment2d import Augment

A = {"flip": 0.5, "rotate": 10}
B = A | {"crop": (0.8, 1.0), "translate": 0.05, "brightness": 0.1, "contrast": 0.1}
C = B | {"noise": 0.05, "blur": 0.3}
SSL = {"crop": (0.3, 1.0), "flip": 0.5, "rotate": 15, "brightness": 0.4, "contrast": 0.4, "noise": 0.1}
STRENGTHS = {"none": {}, "A": A, "B": B, "C": C, "ssl": SSL}

WHY = {
    "xray": {
        "none": "No change: the reference for every other strength.",
        "A": "Patients stand askew; the flip mirrors the heart (situs), so not where a label names a side; "
             "never upside down.",
        "B": "As A; collimation and exposure differ from film to film, and the crop keeps 80 % of the chest.",
        "C": "As B; the grain of a low dose, the softness of a breath not held.",
        "ssl": "Strong on purpose: two views of one film share anatomy, not position or exposure; never upside down.",
    },
    "ultrasound": {
        "none": "No change: the reference for every other strength.",
        "A": "Probes tilt, breasts are left or right (laterality is no label here); upside down would put "
             "shadows above.",
        "B": "As A; depth, position and gain are set by hand in every examination.",
        "C": "As B; more noise, and blur as away from the focus, but too little to erase the margin of a lesion.",
        "ssl": "Strong on purpose: gain, zoom and tilt are the examiner's, the lesion is the patient's; "
               "shadows stay below.",
    },
}


def preset(modality: str, strength: str) -> Augment:
    """The Augment for "xray" or "ultrasound" at strength "none", "A", "B", "C" (week 3) or "ssl" (from week 4 on)."""
    if modality not in WHY:
        raise MedsslError(f"There are no views for {modality!r}.", f"one of {', '.join(WHY)}.",
                          "Or compose your own: Augment(rotate=10, noise=0.05, why='...').")
    if strength not in STRENGTHS:
        raise MedsslError(f"There is no strength {strength!r}.", f"one of {', '.join(STRENGTHS)}.")
    return Augment(**STRENGTHS[strength], why=WHY[modality][strength])
