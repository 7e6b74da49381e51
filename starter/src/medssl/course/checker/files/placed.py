"""What is where: slots that nothing fills, files under another name or inside another file, files nobody asked for."""

import shlex
from collections import Counter
from collections.abc import Iterator

from medssl.course.checker.files.fit import ENDINGS_OF, task_in
from medssl.course.checker.files.levels import Item
from medssl.course.checker.files.pieces import IMAGES
from medssl.course.checker.parse.filenames import ENDINGS, week_in
from medssl.course.checker.parse.handed_in import Problem, clean, read_bytes
from medssl.course.checker.parse.spelling import KEPT, apart, is_junk, person
from medssl.course.checker.reading import Reading, not_a_file
from medssl.course.contract import FileSlot, Task

Said = Iterator[tuple[str, Problem]]
MOST_COPIED = 3_000_000  # bytes of a file that is compared with others


def folder(reading: Reading) -> Said:
    """Where the folder itself should lie, as the walk has seen it."""
    yield from reading.hand_in.said


def said_once(reading: Reading) -> Said:
    """What each block of one file lacks in the same way is one finding that names the blocks."""
    kept: dict[tuple, dict] = {}
    times: Counter = Counter()
    for one in reading.result["findings"]:
        key = one["code"], one["where"], one["message"], one["fix"]
        kept.setdefault(key, one)
        times[key] += 1
    for key, one in kept.items():
        names = [match.at for match in reading.matches.values()
                 if match.at and match.items and clean(match.items[0].shown) == one["where"]]
        if times[key] > 1:
            which = f": {', '.join(names)}" if len(names) == times[key] else ""
            one["message"] = clean(f"{one['message']} (in {times[key]} blocks{which})", 600)
    reading.result["findings"][:] = kept.values()
    yield from ()


def missing(reading: Reading) -> Said:
    """A required file is not there. Without its predictions a metrics file that is there cannot be checked: one
    finding for all predictions, for they have one cause."""
    sources = {s.predictions for s in reading.slots if isinstance(reading.held_as("metrics").get(s.path), dict)}
    who, week = person(reading.hand_in.name), reading.hand_in.week
    absent = [s for s in reading.slots if reading.matches[s.path].status == "missing"
              and (s.required or s.path in sources)]
    scores = [s for s in absent if s.kind == "predictions"]
    if scores:
        code = "not-recomputable" if any(s.path in sources for s in scores) else "missing"
        why = "every metric is recomputed from it" if code != "missing" else scores[0].about
        if len(scores) > 1:
            why = "every metric is recomputed from them"
        names = ", ".join(s.path for s in scores)
        yield reading.hand_in.folder, Problem(code, f"There is no {names} ({why})", reading.context.rerun)
    for slot in absent:
        note = reading.matches[slot.path].note
        if slot.kind != "predictions":
            there = slot.path if "{" not in slot.path else week.pattern(slot).format(
                dataset=reading.result["dataset"], name=who)
            yield reading.hand_in.folder, Problem(
                "missing", f"There is no {there} ({slot.about}){'; ' + note if note else ''}",
                reading.context.rerun)


def renamed(reading: Reading) -> Said:
    """A file stands under another name: accepted, and the command that gives it the right one."""
    for slot in reading.slots:
        match = reading.matches[slot.path]
        if match.status != "renamed":
            continue
        item, why = match.items[0], match.note
        if slot.kind == "env" and item.path.suffix.casefold() in IMAGES:
            yield item.shown, Problem("screenshot", "is a picture of the set-up: nobody can search it or compare "
                                      "versions in it, and env.json is not there", reading.context.rerun, "note")
            continue
        there = right_place(reading, slot, item)
        if "*" in there:
            yield item.shown, Problem("renamed", f"stands for {slot.short}", f"name it like {slot.short}", "note")
            continue
        right, (_, about, other) = there.rpartition("/")[2], why.partition(": it is about ")
        if about:  # the right name would be a wrong label
            other, _, asked = other.partition(", not ")
            yield item.shown, Problem(
                "renamed", f"is the nearest to {right}, but it is about {other}, not {asked}: a result of {asked} is "
                "not here", f"keep the name, which says {other}; the {asked} run is missing: {reading.context.rerun}",
                "warning")
        elif not elsewhere(reading, item, slot) and not (
                slot.kind == "weights" and item.path.suffix.casefold() not in ENDINGS_OF["weights"][0]):
            yield item.shown, Problem(  # a text is no encoder under any name: what it is, `weights` says
                "renamed", f"stands for {right}: later weeks look for the right name",
                f"git mv {shlex.quote(reading.hand_in.after(item))} {shlex.quote(there)}", "note")


def elsewhere(reading: Reading, item: Item, slot: FileSlot | None) -> int:
    """The other week that the name of a README, or of a file in use, tells; 0 if none."""
    week, name = reading.hand_in.week, item.path.name
    number = week_in(name)
    if number == week.number or number not in {one.number for one in reading.context.contract.weeks}:
        return 0
    readme = "readme" in name.casefold() and not task_of(reading, item)
    return number if readme or slot and week.slot(name) is None else 0


def merged(reading: Reading) -> Said:
    """One file holds several of the contract's, or one of these was split: accepted, said once a file."""
    held: dict[str, list[FileSlot]] = {}
    for slot in reading.slots:
        match = reading.matches[slot.path]
        if match.status == "merged" and len(match.items) == 1:
            held.setdefault(match.items[0].shown, []).append(slot)
        elif match.status == "merged":
            yield match.items[0].shown, Problem(
                "split", f"is one part of {slot.path}, which is {clean(match.note, 200)}",
                f"put the parts into one {slot.path}", "note")
    for shown, slots in sorted(held.items()):
        names = " and ".join(slot.path for slot in slots)
        poor = slots[0].kind == "metrics" and not shown.casefold().endswith(".json")
        text = ", as text where JSON is expected" if poor else ""
        yield shown, Problem("merged", f"holds what belongs into {names}{text}: later weeks look for "
                             f"{'files of these names' if len(slots) > 1 else 'a file of this name'}",
                             f"write {names}: {reading.context.rerun}", "note")


def right_place(reading: Reading, slot: FileSlot, item: Item) -> str:
    """Where a file belongs: under the right name in the same folder, or above it where it lies in a folder too many."""
    key = next((path for path, one in reading.hand_in.files.items() if one is item), "")
    deep = max(0, key.count("/") - reading.hand_in.week.pattern(slot).count("/")) if key else 0
    folder = reading.hand_in.after(item).rsplit("/", 1 + deep)[0]
    return f"{folder}/{slot.short.replace('{name}', person(reading.hand_in.name))}"


def leftovers(reading: Reading) -> Said:
    """What no slot asked for: extra tasks, links, junk, copies, and the rest by name."""
    hand_in, result = reading.hand_in, reading.result
    taken = {item.shown for match in reading.matches.values() for item in match.items}
    twins = _twins(reading, taken)
    tasks = [task_of(reading, item) for item in reading.files() if item.shown not in taken]  # what is core is no extra
    result["tasks"] = sorted({task.id for task in tasks if task})
    for item in sorted(item for item in hand_in.files.values() if item.shown not in taken):
        name = item.path.name
        if item.kind != "file":
            yield item.shown, not_a_file(item)
        elif is_junk(item.shown):
            yield item.shown, Problem("junk", "was left there by a program; nobody needs it",
                                      f"git rm --cached {shlex.quote(hand_in.after(item))}", "note")
        elif task_of(reading, item):
            continue
        elif twin := twins.get(item.shown):
            yield item.shown, Problem("duplicate", f"is byte for byte the same file as {twin}: one of them is a copy",
                                      f"git rm {shlex.quote(hand_in.after(item))}", "note")
        elif apart(ENDINGS.sub("", name.casefold()), "feedback") in (1, 2):
            now = hand_in.after(item)
            right = now.rpartition("/")[0] + "/feedback.md"
            yield item.shown, Problem("renamed", "is the feedback under a misspelt name",
                                      f"git mv {shlex.quote(now)} {shlex.quote(right)}", "note")
        elif name.casefold() not in KEPT and len(result["extra_files"]) < 50:
            result["extra_files"].append(clean(item.shown.removeprefix(hand_in.folder + "/"), 120))


def task_of(reading: Reading, item: Item) -> Task | None:
    """The extra task to which a file belongs, by an ending such as _P1.csv or by P1 anywhere in its name."""
    tasks = {task.id: task for task in reading.context.contract.tasks_of(reading.hand_in.week.number)}
    return tasks.get(task_in(item.path.name))


def _twins(reading: Reading, taken: set[str]) -> dict[str, str]:
    """{file that no slot asked for: name of the file of which it is a copy}. Empty files are no copies."""
    of_size: dict[int, list[Item]] = {}
    for item in reading.files():
        if 0 < item.size <= MOST_COPIED:
            of_size.setdefault(item.size, []).append(item)
    twins, budget = {}, 10 * MOST_COPIED  # bytes that are read to compare: no hand-in costs more
    for same in of_size.values():
        first: dict[bytes, str] = {}
        for item in sorted(same, key=lambda item: (item.shown not in taken, item.shown)) if len(same) > 1 else ():
            budget -= item.size
            if budget < 0:
                return twins
            try:
                raw = read_bytes(item.path, MOST_COPIED)
            except Problem:
                continue
            if first.setdefault(raw, item.path.name) != item.path.name and item.shown not in taken:
                twins[item.shown] = first[raw]
    return twins


CHECKS = (said_once, folder, renamed, merged, missing, leftovers)
