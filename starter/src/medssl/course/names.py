"""Names that become folders: one spelling a person, and never a way out of the folder."""

import os
import re
import unicodedata
from pathlib import Path

from medssl.course.contract import FileSlot, Week, load_contract
from medssl.errors import MedsslError
from medssl.settings import nearest

LONGEST = 64
DROPPED = " _.,'’-"
WINDOWS_DEVICES = {"con", "prn", "aux", "nul"} | {f"{port}{i}" for port in ("com", "lpt") for i in range(10)}


def slug(name: str) -> str:
    """The one folder name of a person: "First Last", first_last, FirstLast and "FIRST-LAST" are all `firstlast`.

    Accents fall (é becomes e), capitals too, and so do spaces and _ - . , and apostrophes. Between two digits one _
    stays, so that "group 1 1" is not "group 11". Letters of any script stay. Anything else, such as / : < or a control
    character, is refused: a name is never a path.
    """
    name = str(name) if isinstance(name, (str, int)) else ""
    strange = {c for c in name if unicodedata.category(c)[0] not in "LNM" and c not in DROPPED}
    bare = "".join(c for c in unicodedata.normalize("NFKD", name) if not unicodedata.combining(c))
    text = unicodedata.normalize("NFKC", bare.casefold())
    text = re.sub(rf"(?<=\d)[{DROPPED}]+(?=\d)", "/", text)  # a separator between digits, kept for the moment
    text = "".join(c for c in text if unicodedata.category(c)[0] in "LNM" or c == "/").replace("/", "_")
    if strange or not text or max(len(name), len(text)) > LONGEST or text in WINDOWS_DEVICES:
        raise MedsslError(f"The name {name[:80]!r} cannot be a folder on every system.",
                          f"1 to {LONGEST} letters, digits, spaces, _ and -", "choose one such as adalovelace")
    return text


def in_any_order(name: str) -> str:
    """Equal for a person's names in either order, written together: johnsonkatherine is katherinejohnson turned."""
    return min(name[k:] + name[:k] for k in range(len(name))) if 8 <= len(name) <= LONGEST else name


def dataset_key(dataset: str) -> str:
    """The contract's spelling of a data set (BreastMNIST -> breastmnist); an unknown one is an error."""
    known, key = load_contract().datasets, re.sub(r"[ _-]", "", str(dataset)).casefold()
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
    """The slot that `file` fills (None for an extra task's file), and its path below the root.

    A file that the contract does not know in that week is an error that names the nearest.
    """
    contract, file = load_contract(), fill(file, dataset, name)
    slot, task = week.slot(file), contract.task_for(week.number, file)
    if slot and ("{name}" not in slot.short or file == fill(slot.short, dataset, name)):  # nobody else's note
        return slot, fill(week.pattern(slot).removesuffix(slot.short), dataset, name) + file
    if task and task.dataset in (dataset, contract.datasets[dataset].phantom_of):
        return None, f"{fill(week.folder, dataset, name)}/{file}"
    if task:
        raise MedsslError(f"{file} belongs to task {task.id}, which is for {task.dataset}.", f"a task of {dataset}",
                          f"hand it in with Submission({week.number}, {task.dataset!r}, …)")
    raise MedsslError(f"Week {week.number} hands in no file {file!r}.", nearest(file, [s.short for s in week.files]))
