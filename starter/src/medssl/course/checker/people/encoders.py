"""Is the encoder of weeks 5 to 7 the one of week 4? By its sha256, by run.json, and by what READMEs say of it.

A setting is compared only where both name it; a sentence counts only if it is about the pretraining and nothing else.
"""

import json
import re
from collections.abc import Iterator

from medssl.course.checker.parse.handed_in import Problem, clean
from medssl.course.checker.parse.recompute import is_number
from medssl.course.checker.people.copies import by_person
from medssl.course.checker.people.weeks import stand_ins
from medssl.course.checker.reading import Reading

Said = Iterator[tuple[dict, str, Problem]]
METHODS = ("simclr", "moco", "byol", "barlow", "simsiam", "vicreg", "dino", "mae")
ABOUT = re.compile(r"pre-?train|week ?4|contrastive|\bssl (?:training|encoder (?:was|is) trained)|\bsimclr\b", re.I)
# Another training, a plan or a comparison: such a sentence says nothing of how week 4's encoder was made.
OTHER = re.compile(r"fine-?tun|\bprob(?:e|ing)|\bhead\b|linear|classif|(?<!self-)(?<!self )supervised|would|could|"
                   r"should|might|future|longer|fewer|\bmore\b|instead|paper|\bif\b|\bthan\b|\bnext\b|\bor\b|"
                   r"imagenet", re.I)
NUMBERS = {
    "temperature": r"(?:temperature|\btau|τ)[\s=:]{0,3}(?:of |is |tau\b|τ)?[\s=:]{0,3}(\d?\.\d{1,4})",
    "batch size": r"batch(?:[ _-]?size)?(?: of|[\s=:]){0,3}(\d{1,5})\b",
    "epochs": r"\b(\d{1,5}) epochs\b",
    "jitter": r"jitter\W{0,3}(?:[a-z_]{1,12}\W{1,3})?(\d?\.\d{1,3})",
}
WORDS = {"blur": r"(?<!no )(?<!without )(?:gaussian ?)?\bblur|gaussianblur",
         "grayscale": r"(?<!no )(?<!without )gr[ae]y-?scale"}
KEYS = {"temperature": ("tau", "temperature"), "batch size": ("batch_size", "batch"), "epochs": ("epochs", "n_epochs")}


def said_of_it(reading: Reading) -> dict:
    """What ssl_config.json of week 4 says of the encoder, and what run.json and READMEs of weeks 5 to 7 do."""
    week = reading.context.week.number
    run = next((reading.held.get(s.path) for s in reading.slots if s.kind == "run"), None)
    run = run if isinstance(run, dict) else {}
    weights = run.get("weights") if isinstance(run.get("weights"), dict) else {}
    hashes = {clean(file, 80): clean(one["sha256"], 64) for file, one in list(weights.items())[:20]
              if isinstance(one, dict) and "encoder" in str(file) and "sha256" in one}
    if week == 4:
        path = next((s.path for s in reading.slots if s.path == "ssl_config.json"), "")
        config = reading.held.get(path)
        settings = _of_config(config) if isinstance(config, dict) else {}
        return {"shown": reading.found(path), "settings": settings, "sha256": hashes}
    if week not in (5, 6, 7):
        return {}
    place, settings = "", {}
    for item in reading.files():
        if item.path.suffix.casefold() == ".md" and (here := _of_text(reading.text_of(item) or "")):
            place, settings = item.shown, here
            break
    names = run.get("parameters", {}).get("encoders") if isinstance(run.get("parameters"), dict) else None
    return {"shown": place, "settings": settings, "sha256": hashes, "names": clean(names, 400) if names else ""}


def _of_config(config: dict) -> dict:
    found = {"method": next((m for m in METHODS if m in str(config.get("method", ""))[:60].casefold()), None)}
    for what, keys in KEYS.items():
        found[what] = next((float(config[key]) for key in keys if is_number(config.get(key))), None)
    keys = ("augmentations", "augmentation", "transforms", "views", "aug")
    given = next((config[key] for key in keys if key in config), "")
    text = (given if isinstance(given, str) else json.dumps(given, default=str))[:3000].casefold()
    strength = re.findall(r"(?:jitter|brightness|contrast)\W{0,4}(?:[a-z_]{1,12}\W{1,3})?(\d?\.\d{1,3})", text)
    found["jitter"] = max(map(float, strength), default=None)
    if text:
        found["blur"] = "blur" in text and not re.search(r"\bblur\W{1,3}(?:0\.0+\b|0\b|none|false)", text)
        found["grayscale"] = bool(re.search(r"gr[ae]y", text))
    return {what: value for what, value in found.items() if value is not None}


def _of_text(text: str) -> dict:
    """The settings that sentences about the pretraining name; what two of them name differently is left out."""
    found: dict[str, set] = {}
    for sentence in re.split(r"(?<=[.!?])\s|\n", text[:60_000])[:3000]:
        line = sentence[:400].casefold()
        if not ABOUT.search(line) or OTHER.search(line):
            continue
        for what, pattern in NUMBERS.items():
            for value in re.findall(pattern, line)[:5]:
                found.setdefault(what, set()).add(float(value))
        for what, pattern in WORDS.items():
            if re.search(pattern, line):
                found.setdefault(what, set()).add(True)
        for method in METHODS:
            if re.search(rf"\b{method}\b", line):
                found.setdefault("method", set()).add(method)
    return {what: values.pop() for what, values in found.items() if len(values) == 1}


def another_encoder(graded: list[dict]) -> Said:
    for mine in by_person(graded).values():
        first = next((s["_evidence"].get("encoder") for s in mine if s["week"] == 4), None)
        for s in (s for s in mine if 5 <= s["week"] <= 7 and first and not stand_ins(s)):
            later, run = s["_evidence"].get("encoder") or {}, f"{s['folder']}/run.json"
            differ = [f"{what} {_say(later['settings'][what])} (there {_say(first['settings'][what])})"
                      for what in later.get("settings", {}) if what in first["settings"]
                      and later["settings"][what] != first["settings"][what]]
            other = [file for file, sha in later.get("sha256", {}).items() if first["sha256"].get(file, sha) != sha]
            named = _of_names(later.get("names", ""))
            wrong = [f"{what} {_say(named[what])} (there {_say(first['settings'][what])})" for what in named
                     if first["settings"].get(what, named[what]) != named[what]]
            place, what = ((later.get("shown"), differ) if differ else (run, wrong) if wrong else
                           (run, [f"another sha256 of {other[0]}"] if other else []))
            if what:
                yield s, place, Problem(
                    "encoder-mismatch", f"says of week 4's encoder: {'; '.join(what[:4])}. That is not what week 4 "
                    f"handed in ({clean(first['shown'], 120)}): which encoder do these results belong to?",
                    "write what ssl_config.json says, or use the encoder that was handed in", "warning")


def _of_names(names: str) -> dict:
    """Of "smallcnn (width 32, simclr 1000 epochs backbone, 1 channel)": the method, and for how long."""
    match = re.search(rf"\b({'|'.join(METHODS)})\b(?: (\d{{1,6}}) epochs)?", names)
    return {} if not match else {"method": match[1]} | ({"epochs": float(match[2])} if match[2] else {})


def _say(value: object) -> str:
    return f"{value:g}" if isinstance(value, float) else {True: "yes", False: "no"}.get(value, str(value))


CHECKS = (another_encoder,)
