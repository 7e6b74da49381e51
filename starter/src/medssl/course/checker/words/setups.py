"""Settings in words against settings in files: epochs, batch size, learning rate, temperature of the loss, seeds, which
layers were trained, augmentations; the SSL loss against its log.

A setting is only said to differ where the files name it and none of the values that a text gives is theirs.
"""

import csv
import re
from collections.abc import Iterator

from medssl.course.checker.parse.handed_in import Problem, clean
from medssl.course.checker.parse.recompute import is_number
from medssl.course.checker.words.holdings import Holdings, Note
from medssl.course.checker.words.stated import number_of, statements

Said = Iterator[tuple[str, Problem]]
SMALL = {"one": 1, "two": 2, "three": 3, "four": 4, "five": 5, "six": 6, "seven": 7, "eight": 8, "nine": 9, "ten": 10}
_INT, _REAL = r"(\d{1,3}(?:,\d{3})+|\d{1,6})(?![\w.,]*\d)", r"(\d+(?:[.,]\d+)?(?:e-?\d+)?|\.\d+)"
_IS = r"\s{0,2}(?:size\s{0,2})?(?:of|is|was|:|=|\||at)?\s{0,2}"
WRITTEN = {  # what a text calls a setting -> the words before its value, and behind it
    "epochs": (rf"\bepochs{_IS}{_INT}\b(?!\s?[-–])", rf"(?<![\w.,-]){_INT} epochs?\b"),
    "batch size": (rf"\bbatch(?:[ _-]?size)?(?:es of)?{_IS}{_INT}\b(?!\s?[x×])", rf"\bbatches of {_INT}\b"),
    "learning rate": (rf"\b(?:learning[ _-]rate|lr){_IS}{_REAL}(?![\w%])",),
    "temperature": (rf"\b(?:temperature|tau){_IS}{_REAL}(?![\w%])", rf"τ{_IS}{_REAL}(?![\w%])"),
}
KEYS = {"epochs": {"epochs", "n_epochs", "num_epochs", "max_epochs", "ssl_epochs", "pretrain_epochs", "ft_epochs",
                   "finetune_epochs", "head_epochs", "epoch"},
        "batch size": {"batch_size", "batch", "batchsize", "bs", "ssl_batch_size", "train_batch_size"},
        "learning rate": {"lr", "learning_rate", "base_lr", "lr_head", "lr_backbone", "head_lr", "backbone_lr",
                          "ssl_lr", "max_lr", "init_lr", "ft_lr"},
        "temperature": {"tau", "temperature", "temp"}}
# A plan, a remark or a part of a run is no statement of how this run was set.
NO_CLAIM = re.compile(r"\b(?:would|could|should|might|may|more|longer|fewer|first|after|until|every|warm-?up|up to|"
                      r"next|try|tried|best|early|stopp\w*|previous\w*|earlier|instead|rather|not|than|increas\w*|"
                      r"decreas\w*|if|originally|paper|papers|default|weeks? \d+|reduc\w*|plan\w*|future|with only|"
                      r"at least|last|chosen from|grid|sweep|compared?|or|versus|vs|against|between|within|around|per|"
                      r"by epoch|from epoch|at epoch|patience|extra|another|supervised|probe|classifier|sanity)\b|≥|≤|"
                      r"<|>|\?|→", re.I)
AUGMENTATIONS = {"blur": r"\bblur", "grayscale": r"gr[ae]y-?scale", "jitter": r"jitter", "flip": r"\bflip|mirror",
                 "rotation": r"rotat", "crop": r"\bcrop", "solarize": r"solari[sz]"}
SAME_THING = {"grayscale": "gr[ae]y", "jitter": "jitter|brightness|contrast", "rotation": "rot", "solarize": "solari",
              "flip": "flip|mirror", "crop": "crop", "blur": "blur"}
NO = re.compile(r"\b(?:no|not|without|never|avoid\w*|skip\w*|exclud\w*|drop\w*|remov\w*|instead|rather|would|could|"
                r"nor|left out|off|disabl\w*|omit\w*|un\w+istic|why|against|too strong)\b|n['’]t\b", re.I)


def setups(held: Holdings) -> Said:
    """One finding a file for all of its settings."""
    for note in held.notes:
        if note.kind == "table":
            continue
        wrong = [said for name in WRITTEN if (said := _differs(name, note, held))]
        wrong += filter(None, (_layers(note, held), _seeds(note, held), _views(note, held)))
        if wrong:
            yield note.item.shown, Problem(
                "readme-config", f"says {'; '.join(what for what, _ in wrong[:4])}. Nobody can repeat a run whose "
                                 f"settings "
                "are not sure", wrong[0][1], "warning")
    yield from _file_names(held)
    yield from _two_epochs(held)


def _two_epochs(held: Holdings) -> Said:
    """Where no file says how long was trained: README and another note that agree in no number of epochs."""
    if any(key in KEYS["epochs"] for _, key, _ in held.settings):
        return
    told = [(note, list(_written("epochs", note))) for note in held.notes if note.kind != "table"]
    told = [(note, claims) for note, claims in told if claims]
    for (first, ours), (other, theirs) in zip(told, told[1:], strict=False):
        if not {value for value, _ in ours} & {value for value, _ in theirs}:
            yield other.item.shown, Problem(
                "readme-config", f"says {theirs[0][0]:g} epochs (line {theirs[0][1]}), {first.item.path.name} "
                f"{ours[0][0]:g} (line {ours[0][1]}): two runs, or one that is told in two ways",
                "say which run each text is about, and hand in its run.json", "note")
            return


def _differs(name: str, note: Note, held: Holdings) -> tuple[str, str] | None:
    """(what is said, fix) where no value that the text gives for a setting is one that the files give."""
    stored = [(file, float(value)) for file, key, value in held.settings if key in KEYS[name] and is_number(value)]
    if not stored or name == "temperature" and held.reading.hand_in.week.number != 4:
        return None
    true = {value for _, value in stored}
    if name == "epochs":  # a run that is counted in steps has epochs too
        steps = [float(v) for _, k, v in held.settings if k == "steps" and is_number(v)]
        per = [float(v) for _, k, v in held.settings if k == "batches_per_epoch" and is_number(v) and v > 0]
        true |= {round(s / p) for s in steps[:50] for p in per[:50]}
    if name == "batch size":  # a batch is not larger than the images there are
        true |= {float(v) for _, k, v in held.settings if k in ("n_train", "n_labels", "train_size") and is_number(v)}
    claims = list(_written(name, note))
    wrong = [(value, line) for value, line in claims if not any(abs(value - one) <= 0.02 * abs(one) for one in true)]
    # Week 4 has one run and one configuration; elsewhere one right value may stand beside those of other runs.
    if not wrong or len(wrong) < len(claims) and held.reading.hand_in.week.number != 4:
        return None
    value, line = wrong[0]
    file, right = min(stored, key=lambda one: abs(one[1] - value))
    file = file.rpartition("/")[2]
    return (f"{name} {value:g} (line {line}), {clean(file, 60)} has {right:g}",
            f"line {line}: write {right:g}, or hand in the {clean(file, 60)} of the run with {value:g}")


def _written(name: str, note: Note) -> Iterator[tuple[float, int]]:
    texts = [(s.text, s.line) for s in note.prose.sentences]
    texts += [(" ".join(row[:2])[:120], t.line) for t in note.prose.tables if not t.block and len(t.header) == 2
              for row in t.rows[:60]]
    for text, line in texts:
        if NO_CLAIM.search(text):
            continue
        for pattern in WRITTEN[name]:
            for found in re.finditer(pattern, text[:400], re.I):
                digits = found[1].replace(",", "" if name in ("epochs", "batch size") else ".")
                yield float(digits), line


def _layers(note: Note, held: Holdings) -> tuple[str, str] | None:
    """Head or all layers: the README's one against the settings' (or the one in its own code)."""
    stored = {str(value).casefold() for _, key, value in held.settings
              if key in ("finetune", "mode", "train_mode", "regime", "finetune_mode") and isinstance(value, str)}
    code = re.findall(r"FINETUNE['\"]?\s{0,3}[=:]\s{0,3}['\"]?(\w{2,10})", note.text[:50_000])
    stored |= {mode.casefold() for mode in code}
    stored &= {"head", "all"}
    if len(stored) != 1:
        return None
    is_all = stored == {"all"}
    mine = r"\bfinetune[ =:'\"]{1,4}head\b|\bonly the last layer\b|" \
           r"\bhead[- ]only\b|\bhead fine-?tun|\bonly the head\b|\bfrozen backbone\b|\bbackbone (?:is|was) frozen\b|" \
           r"fine-?tun\w* (?:only )?(?:the )?head\b"
    other = r"\ball layers\b|fine-?tun\w*[ -]all\b|\bfull fine-?tun|\bend[- ]to[- ]end\b|\bwhole network\b"
    for sentence in note.prose.sentences:
        wrong, right = (mine, other) if is_all else (other, mine)
        found = re.search(wrong, sentence.text, re.I)
        if found and not re.search(right, note.text[:50_000], re.I) and not NO.search(sentence.text) \
                and not re.search(r"\b(?:would|could|next|weeks? \d|compar\w*|than|vs|versus|against|"
                                  r"or)\b", sentence.text):
            return (f"'{clean(found[0], 30)}' (line {sentence.line}), the settings have "
                    f"FINETUNE='{next(iter(stored))}'",
                    f"line {sentence.line}: say which layers were trained, as the settings have it")
    return None


SEEDS = re.compile(rf"(?<![\w.-])(\d{{1,2}}|{'|'.join(SMALL)}) (?:different |random )?seeds\b", re.I)


def _seeds(note: Note, held: Holdings) -> tuple[str, str] | None:
    """More seeds than any file holds."""
    if not held.sources:
        return None
    counted = [len(value) for _, key, value in held.settings if key == "seeds" and isinstance(value, list)]
    counted += [int(value) for _, key, value in held.settings if is_number(value) and value < 1000
                and key in ("n_seeds", "num_seeds", "seeds", "runs", "n_runs")]
    counted += [len(value) for value in held.reading.held_as("predictions").values() if isinstance(value, dict)]
    single = {str(value) for _, key, value in held.settings if key == "seed" and is_number(value)}
    names = [item.path.name for item in held.reading.files() if re.search(r"seed", item.path.name, re.I)]
    rows = [len(table.rows) for _, table in held.tables]
    rows += [text.count("\n") for item in held.reading.files() if item.path.suffix.casefold() == ".csv"
             and not item.path.name.startswith("predictions") and (text := held.reading.text_of(item) or "")]
    most = max([*counted, len(single), len(names), 1])
    for sentence in note.prose.sentences:
        found = SEEDS.search(sentence.text)
        if found and not NO_CLAIM.search(sentence.text) and not NO.search(sentence.text):
            said = SMALL.get(found[1].casefold()) or int(found[1])
            if said > most and said > 1 and not any(said <= count <= 30 for count in rows):
                return (f"'{clean(found[0], 30)}' (line {sentence.line}), the files hold {most}",
                        f"hand in the metrics of all {said} seeds (per_seed), or write how many there were")
    return None


def _views(note: Note, held: Holdings) -> tuple[str, str] | None:
    """Augmentations of the README that ssl_config.json does not have, and a jitter of another strength."""
    stored = next((str(value) for file, key, value in held.settings if key in ("augmentations", "augmentation", "augs",
                  "transforms") and "config" in file.casefold() and isinstance(value, (str, list, dict))), "")[:3_000]
    low = stored.casefold()
    known = [name for name, word in SAME_THING.items() if re.search(word, low)]
    if not stored:
        return _jitter(note, held)
    if len(known) < 2 or "see code" in low and len(known) < 3:
        return None
    given = r"\w{0,6}['\"]?\s?[=:]\s?"
    off = [name for name in AUGMENTATIONS if re.search(rf"{name}{given}(?:0(?:\.0+)?\b|none|false)", low)
           and not re.search(rf"{name}{given}(?:0\.0*[1-9]|[1-9(\[])", low)]
    for sentence in note.prose.sentences:
        if NO.search(sentence.text) or NO_CLAIM.search(sentence.text) or not re.search(
                "augment|transform|view", f"{sentence.heading} {sentence.text}", re.I):
            continue
        for name, word in AUGMENTATIONS.items():
            if re.search(word, sentence.text, re.I) and (name not in known or name in off):
                return (f"{name} (line {sentence.line}), the augmentations of the config file have none",
                        f"line {sentence.line}: describe the views that the encoder was trained on")
        strength = JITTER.search(sentence.text)
        numbers = {number_of(m)[0] for m in re.findall(r"(?<![\w.])\d\.\d+", low)}
        if strength and numbers and "jitter" in low and number_of(strength[1])[0] not in numbers:
            return (f"jitter {strength[1]} (line {sentence.line}), the config file has {clean(sorted(numbers), 60)}",
                    f"line {sentence.line}: write the strengths that the encoder was trained with")
    return None


JITTER = re.compile(r"jitter\w*[^0-9.;]{0,25}(0[.,]\d{1,3})", re.I)


def _jitter(note: Note, held: Holdings) -> tuple[str, str] | None:
    """Where the settings have no list of augmentations, but a number of their own for the jitter."""
    stored = [(file.rpartition("/")[2], one) for file, key, value in held.settings if "jitter" in key
              for one in (value[:9] if isinstance(value, list) else [value])]
    for sentence in note.prose.sentences if stored and all(is_number(one) for _, one in stored) else ():
        told = JITTER.search(sentence.text)
        if told and not NO.search(sentence.text) and not NO_CLAIM.search(sentence.text) and not any(
                abs(number_of(told[1])[0] - one) <= 1e-9 for _, one in stored):
            file, right = stored[0]
            return (f"jitter {told[1]} (line {sentence.line}), {clean(file, 60)} has {right:g}",
                    f"line {sentence.line}: write the strength that the encoder was trained with")
    return None


def _file_names(held: Holdings) -> Said:
    """A file named after a head that was never trained alone: its JSON says all, or it is the SmallCNN."""
    said = set()
    for shown, key, value in held.settings:
        name = shown.rpartition("/")[2]
        if key == "finetune" and str(value).casefold() == "all" and re.search(r"(?:^|_)head(?:_|\.|$)", name) \
                and "all" not in name and shown not in said:
            said.add(shown)
            yield shown, Problem("readme-config", "is named 'head', its settings say finetune = 'all': one of them is "
                                 "about another run", "name it after what was trained, or hand in the head "
                                                      "run", "warning")
    heads = {str(value).casefold() for _, key, value in held.settings if key == "finetune"}
    for item in held.reading.files():
        if re.search(r"small_?cnn.{0,12}head|head.{0,12}small_?cnn", item.path.stem, re.I) and "head" not in heads:
            yield item.shown, Problem("readme-config", "is named 'head', but the SmallCNN has no pretrained backbone "
                                      "to freeze and is trained whole: the name does not say what is shown",
                                      "name the file after the model and layers that it shows", "warning")


def losses(held: Holdings) -> Said:
    """Losses of the pretraining outside everything that ssl_loss.csv holds."""
    reading = held.reading
    log = next((item for item in reading.files() if re.search(r"loss.{0,10}\.csv$", item.path.name, re.I)), None)
    if reading.hand_in.week.number != 4:
        return
    if log is None:
        yield from _two_losses(held)
        return
    for note in held.notes:
        for sentence in note.prose.sentences:
            told = [one for one in statements(sentence.text) if one.metric == "loss" and one.kind == "value"]
            if not told or OTHER_LOSS.search(sentence.text):
                continue
            values = _logged(reading.text_of(log) or "")
            bad = [one for one in told if values and not min(values) - 2 * one.unit - 0.05 <= one.value
                   <= max(values) + 2 * one.unit + 0.05]
            if bad:
                yield note.item.shown, Problem(
                    "readme-number", f"gives the loss as {clean(bad[0].text, 20)} (line {sentence.line}); "
                    f"{log.path.name} runs from {max(values):.2f} to {min(values):.2f}: text and log are from "
                    f"different "
                    "runs", f"line {sentence.line}: write the losses of {log.path.name}", "warning")
                break


def _two_losses(held: Holdings) -> Said:
    """Without a log: two first losses that cannot be of one run."""
    for note in held.notes:
        starts = [(one, sentence.line) for sentence in note.prose.sentences for one in statements(sentence.text)
                  if one.metric == "loss" and one.joint == "from" and not OTHER_LOSS.search(sentence.text)]
        for (first, line), (other, there) in zip(starts, starts[1:], strict=False):
            if abs(first.value - other.value) > 0.5:
                yield note.item.shown, Problem(
                    "readme-number", f"lets the loss begin at {first.text} (line {line}) and at {other.text} (line "
                    f"{there}): these are two runs", "hand in ssl_loss.csv, and write the losses that it "
                                                     "has", "warning")
                return


OTHER_LOSS = re.compile(r"\bval|chance|\bln\b|ln\(|log\(|expected|theor|probe|supervised|paper|ideal|weeks? [^4]", re.I)


def _logged(text: str) -> list[float]:
    """Every number in the columns of a log that are called loss."""
    rows = csv.DictReader(text[:150_000].splitlines())
    return [float(v) for row, _ in zip(rows, range(20_000), strict=False) for k, v in row.items()
            if k and "loss" in k.casefold() and isinstance(v, str)
            and re.fullmatch(r"\d{1,6}(?:\.\d{1,20})?(?:e-?\d{1,3})?", v.strip())]
