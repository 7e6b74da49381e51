"""Claims that the numbers of a small course experiment cannot carry, and what to write instead.

Only notes, at most three a file; negated, hedged and quoted words are left alone, and so is what the package rendered.
"""

import re
from collections.abc import Iterator

from medssl.course.checker.parse.handed_in import Problem, clean
from medssl.course.checker.parse.recompute import is_number
from medssl.course.checker.reading import Reading
from medssl.course.checker.words.holdings import Holdings, Note

Said = Iterator[tuple[str, Problem]]
MOST = 3  # more would not be read
NOT = re.compile(r"\b(?:not|no|never|nothing|none|cannot|neither|nor|without|hardly|barely|far from|rather than|"
                 r"instead of|would|could|might|may|whether|if|before|until|unless|must|should|too|less|how|"
                 r"prevent\w*|avoid\w*|impossible to (?:say|tell|know|separate|distinguish)|perhaps|seems?|"
                 r"needs?|require\w*|only)\b|n['’]t\b|\?|[\"“”«»]", re.I)
TESTED = re.compile(r"\b(?:interval|ci|bootstrap\w*|test\b.{0,20}\bp\b|p ?[<=>]|t-test|mcnemar|delong|wilcoxon|"
                    r"permutation|standard errors?|paired|± )|±|statistic", re.I)
RULES = (  # (code word, what is flagged, what to write instead)
    ("proof", r"\b(?:proves?|proved|proven|proof)\b", "one data set and a few seeds support a claim, they do not "
     "prove it: write 'suggests' or 'is consistent with', and give the interval"),
    ("certainty", r"\b(?:guarantee[sd]?|impossible|undoubtedly|without (?:any )?doubt|certainly)\b",
     "say how sure the numbers make you (interval, seeds), and under which conditions"),
    ("perfect", r"\b(?:is|are|was|were|looks?|works?|performs?|separat\w{1,4}|classif\w{1,4}) (?:\w+ ){0,2}(?:perfect|"
     r"flawless)(?:ly)?\b(?! calibrat)|\bperfect (?:accuracy|auroc|results?|separation|classification|"
     r"performance)\b", "give the number and its interval: on so few test images nothing can be shown to be perfect"),
    ("clinical", r"\b(?:clinical(?:ly)? (?:use|usable|useful|ready|relevant|deploy\w*|practice|applica\w*|safe|"
     r"reliable|valid)|(?:ready|safe|suitable|used|deployed) (?:for|in|to) (?:the )?(?:clinic\w*|patients|hospital\w*|"
     r"diagnos\w*)|can diagnose|diagnoses (?:cancer|pneumonia|patients))", "these are 28-pixel benchmark images: say "
     "what was measured on them, and that use on patients was not studied"),
    ("separability", r"\b(?:umap|t-?sne|pca)\b.{0,60}\b(?:shows?|demonstrates?|confirms?|proves?|"
     r"reveals?)\b.{0,60}\b(?:separa\w*|learn\w*|better|clusters?)\b", "a two-dimensional map shows what its settings "
     "make of the features: support the claim with a probe's AUROC"),
    ("loss", r"\b(?:lower|smaller|falling|decreasing) (?:\w+ ){0,2}loss\b.{0,40}\b(?:means?|shows?|so|therefore|"
     r"implies)\b.{0,40}\b(?:better|good|learn\w*|quality)\b", "a contrastive loss depends on batch size, temperature "
     "and views: compare encoders by a probe"),
    ("auroc", r"\b(?:auroc|auc)\b.{0,50}\b(?:means?|shows?|so|therefore|implies|hence|"
              r"indicat\w*)\b.{0,40}\bcalibrat\w*",
     "AUROC only knows the order of the scores; calibration needs ECE, NLL or the reliability diagram"),
)
WELL = re.compile(r"\b(?:well|nicely|very well|perfectly|better)[ -]calibrated\b", re.I)
SIGNIFICANT = re.compile(r"\bsignificant(?:ly)?\b", re.I)
# 95th percentile of the ECE of a perfectly calibrated model (10 bins) on the official test splits, by simulation.
FLOOR_P95 = {156: 0.059, 624: 0.031}


def wording(reading: Reading) -> Said:
    """The claims lint."""
    held = Holdings(reading)
    for note in held.notes:
        if note.kind == "table":
            continue
        for phrase, line, instead in _claims(note, held)[:MOST]:
            yield note.item.shown, Problem("wording", f"says '{clean(phrase, 80)}' (line {line}): that is more than "
                                                      f"these "
                                           "numbers can carry", instead, "note")


def _claims(note: Note, held: Holdings) -> list[tuple[str, int, str]]:
    found, said = [], set()
    for sentence in note.prose.sentences:
        if NOT.search(sentence.text):
            continue
        for code, pattern, instead in RULES:
            match = re.search(pattern, sentence.text, re.I)
            if match and code not in said:
                said.add(code)
                found.append((match[0], sentence.line, instead))
        if "well" not in said and (match := WELL.search(sentence.text)) and "perfect" not in said \
                and match[0][:6].casefold() != "better" and (why := _above_floor(held, note)):
            said.add("well")
            found.append((match[0], sentence.line, why))
        match = SIGNIFICANT.search(sentence.text)
        if match and "significant" not in said and not TESTED.search(note.text[:50_000]):
            said.add("significant")
            found.append((match[0], sentence.line, "give an interval or a test of the difference, or write 'larger' "
                          "and the two numbers"))
    return found


def _above_floor(held: Holdings, note: Note) -> str:
    """Why "well calibrated" is not covered: no ECE anywhere, or all above what chance alone gives; "" if it is."""
    values = [source.block.values["ece"] for source in held.of("ece")]
    if not values:
        return "" if re.search(r"\b(?:ece|brier|nll)\b", note.text[:50_000], re.I) else \
            "say the ECE and its binning: without a number nobody can see how well"
    floors = [leaf.value for leaf in held.leaves if leaf.path.endswith("ece_if_calibrated.p95")]
    official = held.reading.context.official
    n = sum(official.counts["test"]) if official else 156
    floor = max(floors) if floors else FLOOR_P95.get(n, 0.059)
    if is_number(floor) and min(values) > floor:
        return (f"the ECE is {min(values):.3f}, and a calibrated model would nearly always stay below {floor:.3f} on "
                f"these "
                "images: write how far above it lies")
    return ""
