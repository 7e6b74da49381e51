"""Names that become folders: one spelling a person, and never a way out of the folder."""

import os
import re
import unicodedata
from pathlib import Path

from medssl.course.contract import FileSlot, Week, load_contract
from medssl.errors import MedsslError
from medssl.settings import nearest

LONGEST = 64
DROPPED = " _.,'’\\-"
WINDOWS_DEVICES = {"con", "prn", "aux", "nul"} | {f"{port}{i}" for port in ("com", "lpt") for i in range(10)}


def slug(name: str) -> str:
    """The one folder name of a person: "First Last", first_last, FirstLast and "FIRST-LAST" are all `firstlast`.

    Accents fall (é becomes e), capitals too, and so do spaces and _ - . , and apostrophes. Between two digits one _
    stays, so that "group 1 1" is not "group 11". Letters of any script stay. Anything else, such as / : < or a control
    character, is refused: a name is never a path.
    """
    expected = "letters, digits, spaces, _ and -, such as ada_lovelace"
    if not isinstance(name, str) or not 0 < len(name) <= LONGEST:
        raise MedsslError(f"The name {str(name)[:80]!r} cannot be a folder.", f"1 to {LONGEST} characters: {expected}")
    if any(unicodedata.category(c)[0] not in "LNM" and c not in DROPPED for c in name):
        raise MedsslError(f"The name {name!r} has characters that a folder name must not have.", expected)
    bare = "".join(c for c in unicodedata.normalize("NFKD", name) if not unicodedata.combining(c))
    text = unicodedata.normalize("NFKC", bare.casefold())
    text = re.sub(rf"(?<=\d)[{DROPPED}]+(?=\d)", "/", text)  # a separator between digits, kept for the moment
    text = "".join(c for c in text if unicodedata.category(c)[0] in "LNM" or c == "/").replace("/", "_")
    if not text or len(text) > LONGEST or text in WINDOWS_DEVICES:
        raise MedsslError(f"The name {name!r} cannot be a folder on every system.", expected)
    return text


def dataset_key(dataset: str) -> str:
    """The contract's spelling of a data set (BreastMNIST -> breastmnist); an unknown one is an error."""
    known = load_contract().datasets
    key = re.sub(r"[ _\-]", "", str(dataset)).casefold()
    if key not in known:
        raise MedsslError(f"The data set {str(dataset)[:80]!r} is not in the contract.", nearest(key, known))
    return key


def results_root(root: str | Path | None = None) -> Path:
    """The folder that holds results/: the argument, $MEDSSL_ROOT, the repository around here, or here."""
    if root or os.environ.get("MEDSSL_ROOT"):
        return Path(root or os.environ["MEDSSL_ROOT"]).expanduser().resolve()
    here = Path.cwd()
    return next((folder for folder in (here, *here.parents) if (folder / "starter/src/medssl").is_dir()), here)


def fill(pattern: str, dataset: str, name: str) -> str:
    """A path of the contract with {dataset} and {name} filled in; both must be canonical (slug, dataset_key)."""
    return pattern.replace("{dataset}", dataset).replace("{name}", name)


def locate(week: Week, file: str, dataset: str, name: str) -> tuple[FileSlot | None, str]:
    """Where `file` lies below the root, and the slot it fills (None for an extra task's file).

    A file that the contract does not know in that week is an error that names the nearest."""
    contract, file = load_contract(), fill(file, dataset, name)
    slot, task = week.slot(file), contract.task_for(week.number, file)
    if slot and fill(slot.short, dataset, name) in (file, slot.short):  # not somebody else's {name}_ethics_limits.md
        return slot, fill(week.pattern(slot).removesuffix(slot.short), dataset, name) + file
    if task and task.dataset not in (dataset, contract.datasets[dataset].phantom_of):
        raise MedsslError(f"{file} is a file of task {task.id}, which is for {task.dataset}, not {dataset}.",
                          f"a task of {dataset}", f"use Submission({week.number}, {task.dataset!r}, …) for it")
    if task:
        return None, fill(week.folder, dataset, name) + "/" + file
    known = [slot.short for slot in week.files]
    fix = "use that name, or an extra task's ending such as _B1.csv" if contract.tasks_of(week.number) else ""
    raise MedsslError(f"Week {week.number} hands in no file {file!r}.", nearest(file, known), fix)


