"""Files that are not what they seem: notebooks that do not open, weights that are a link, tasks of another meaning or
data set, results of another week."""

import io
import json
import re
import shlex
import zipfile
from collections import Counter
from collections.abc import Iterator

from medssl.course.checker.files.levels import Item
from medssl.course.checker.files.placed import elsewhere, task_of
from medssl.course.checker.files.slots import FOUND
from medssl.course.checker.parse.handed_in import MAX_JSON_BYTES, Problem, clean
from medssl.course.checker.parse.spelling import is_junk
from medssl.course.checker.reading import TEXTS, Reading
from medssl.course.contract import Task

Said = Iterator[tuple[str, Problem]]
MUCH = 20_000_000  # bytes: an fp16 ResNet-18 has 22 MB, and every clone of the repository carries it for ever
MOST_BOOKS = 8  # opened; one a week is handed in
SMALL = 200_000  # no weights are that small, but pointers, web pages and cut uploads are
LINK = re.compile(r"https?://([\w.-]{1,100})")
PERSONAL = re.compile(r"(?:drive|docs)\.google\.|dropbox\.|1drv\.ms|onedrive\.|icloud\.|we\.tl|wetransfer\.|mega\.nz"
                      r"|sharepoint\.|box\.com", re.I)
SHA256 = re.compile(r"\b[0-9a-fA-F]{64}\b")


def notebooks(reading: Reading) -> Said:
    """A .ipynb must be a notebook: a JSON object with a list of cells and nbformat."""
    books = [i for i in reading.files() if i.path.suffix.casefold() == ".ipynb" and not is_junk(i.shown)]
    for item in books[:MOST_BOOKS]:
        raw = reading.bytes_of(item)
        if raw is None:
            continue
        if len(raw) > MAX_JSON_BYTES:  # outputs make it large; that it is one is seen without parsing it
            fine = raw.lstrip()[:1] == b"{" and b'"nbformat"' in raw and b'"cells"' in raw
        else:
            try:
                book = json.loads(raw)
            except (ValueError, RecursionError):
                book = None
            fine = isinstance(book, dict) and isinstance(book.get("cells"), list) and isinstance(
                book.get("nbformat"), int)
        if not fine:
            yield item.shown, Problem("notebook-broken", "is no notebook (no JSON with cells and nbformat): neither "
                                      "Colab nor Jupyter opens it", "download it again from Colab: File > Download > "
                                      "Download .ipynb", "warning")


def weights(reading: Reading) -> Said:
    """Weights can be left out, or be a file with a checksum; a personal link is neither, and dies."""
    fix = ("write its sha256 and a public address (a release, Zenodo) into the file, or leave it out: run.json has the "
           "sha256, and the run can be repeated")
    for slot in (slot for slot in reading.slots if slot.kind == "weights"):
        for item in reading.matches[slot.path].items:
            raw = reading.bytes_of(item) if item.size <= SMALL else b""
            head = (raw or b"")[:20_000].decode("utf-8", "replace")
            if item.size > MUCH:
                yield item.shown, Problem(
                    "weights-large", f"has {item.size / 1e6:.0f} MB: every clone of the repository carries these "
                    "weights for ever", f"git rm --cached {shlex.quote(reading.hand_in.after(item))}", "note")
            elif not raw:
                continue
            elif head.startswith("version https://git-lfs"):
                yield item.shown, Problem("weights-pointer", "is a Git LFS pointer, not the weights: nobody without "
                                          "the store gets them", fix, "warning")
            elif found := LINK.search(head) if item.path.suffix.casefold() in TEXTS else None:
                personal = PERSONAL.search(found[1])
                if personal or not SHA256.search(head):
                    what = "a personal cloud link, which expires" if personal else "a link without a checksum"
                    yield item.shown, Problem("weights-link", f"holds {what} ({clean(found[1], 60)}) in place of the "
                                              "weights: nobody can tell later what it led to", fix, "warning")
            elif item.path.suffix.casefold() in TEXTS or head.lstrip()[:1] == "<" or (
                    head.startswith("PK") and not zipfile.is_zipfile(io.BytesIO(raw))):
                yield item.shown, Problem("weights-broken", "cannot be opened as weights: it is "
                                          + ("cut off" if head.startswith("PK") else "a text or a web page"), fix,
                                          "warning")


def tasks(reading: Reading) -> Said:
    """Extra tasks: of this data set, with the meaning that they have in this contract, and beside the core."""
    said: set[str] = set()
    mine = reading.context.dataset
    also = reading.context.official.phantom_of if reading.context.official else ""
    texts, taken = None, {item.shown for match in reading.matches.values() for item in match.items}
    for item in reading.files():
        task = task_of(reading, item)
        if task is None or is_junk(item.shown) or item.shown in taken:  # what fills a core slot is judged as that
            continue
        if mine and task.dataset not in (mine, also) and task.id not in said:
            texts = texts if texts is not None else _texts(reading)
            if task.dataset.removesuffix("mnist") not in texts:
                said.add(task.id)
                yield item.shown, Problem("task-dataset", f"belongs to task {task.id}, which is one of {task.dataset}, "
                                          f"but lies under {mine}, and no text says why",
                                          f"write into its README on which data set {task.id} was run", "warning")
        about = _about(reading, item, task)
        if about and f"{task.id} about" not in said:
            said.add(f"{task.id} about")
            yield item.shown, Problem(
                "task-meaning", f"is called {task.id}, but speaks of '{clean(about[1], 30)}', which is task "
                f"{about[0].id}: in contract {reading.context.contract.version} {task.id} means '{task.description}'",
                f"rename its files from _{task.id} to _{about[0].id}, or say which version of the contract they follow",
                "warning")
    yield from _no_core(reading)


def _about(reading: Reading, item: Item, task: Task) -> tuple[Task, str] | None:
    """(the task that a file is about, the word that says it) where its name and first lines never mention its own."""
    text = item.path.stem[:120].replace("_", " ").casefold()
    if item.path.suffix.casefold() in (".md", ".txt", ".json"):
        text += " " + (reading.text_of(item) or str(reading.json_of(item) or ""))[:400].casefold()
    if any(_mentions(text, word) for word in task.words):
        return None
    others = [(other, word) for other in reading.context.contract.tasks if other.id != task.id
              for word in other.words if _mentions(text, word)]
    others.sort(key=lambda one: one[0].dataset != task.dataset)
    return others[0] if others else None


def _mentions(text: str, word: str) -> bool:
    return bool(re.search(rf"(?<![a-z]){re.escape(word.casefold())}(?![a-z])", text))


def _texts(reading: Reading) -> str:
    return " ".join((reading.text_of(item) or "")[:5_000].casefold() for item in reading.files()[:40]
                    if item.path.suffix.casefold() in (".md", ".txt"))


def _no_core(reading: Reading) -> Said:
    """Extra tasks in place of the core of the week."""
    core = [slot for slot in reading.slots if slot.required and slot.kind not in ("predictions", "run", "env")]
    filled = [slot for slot in core if reading.matches[slot.path].status in FOUND]
    own = [slot for slot in filled if not task_of(reading, reading.matches[slot.path].items[0])]
    if reading.result["tasks"] and not own:
        stands = f" ({len(filled)} more in a task's file)" if filled else ""
        yield reading.hand_in.folder, Problem(
            "core-missing", f"Only the extra task {' and '.join(reading.result['tasks'])} is here: core 0/{len(core)}"
            f"{stands}. Extra tasks come on top of the core, not instead of it", reading.context.rerun, "warning")


def other_week(reading: Reading) -> Said:
    """A README or a file in use whose name says another week; or a whole folder of another week's files."""
    week, contract = reading.hand_in.week, reading.context.contract
    taken = {item.shown: slot for slot in reading.slots for item in reading.matches[slot.path].items}
    own = {slot.path for slot in week.files}
    theirs = {file.path: one.number for one in contract.weeks if one.personal and one is not week
              for file in one.files if file.required and file.path not in own}
    counted = Counter()
    for item in reading.files():
        name, slot = item.path.name, taken.get(item.shown)
        if number := elsewhere(reading, item, slot):
            now = reading.hand_in.after(item)
            there = now.replace(now.split("/")[1], f"week{number}", 1)
            yield item.shown, Problem("other-week", f"says week {number} but lies in week {week.number}: is it in the "
                                      "right folder?", f"if it belongs to week {number}: git mv {shlex.quote(now)} "
                                      f"{shlex.quote(there)}", "warning")
        elif slot is None and name in theirs:
            counted[theirs[name]] += 1
    core = [s for s in reading.slots if s.required and reading.matches[s.path].status in FOUND
            and s.kind not in ("run", "env", "readme")]
    if not core and counted and max(counted.values()) > 1:
        (number, times), = counted.most_common(1)
        yield reading.hand_in.folder, Problem(
            "other-week", f"Nothing of week {week.number} is here, but {times} files that week {number} "
            "asks for", f"move them into the folder of week {number}", "warning")


CHECKS = (notebooks, weights, tasks, other_week)
