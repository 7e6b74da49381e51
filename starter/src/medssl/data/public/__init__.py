"""Public data sets: `load("ham10000", root)` reads the folder as its makers publish it, `get` fetches it.

What each set is lies in sets.toml. ROOT/ham10000 or ROOT itself may hold the files.
"""

from dataclasses import dataclass, field, replace
from pathlib import Path

from medssl.data.images import ImageData
from medssl.data.medmnist import data_root
from medssl.errors import MedsslError
from medssl.settings import build, read_toml


@dataclass(frozen=True)
class File:
    """One file to fetch."""

    name: str
    url: str
    md5: str


@dataclass(frozen=True)
class Task:
    """One of the ten sets of the Decathlon."""

    name: str
    n: int
    gb: float
    md5: str
    mm: float
    window: str = "soft"


@dataclass(frozen=True)
class PublicSet:
    """A table of sets.toml, whose head says what the less plain keys mean."""

    title: str
    images: str
    licence: str
    page: str
    cite: str
    route: str
    gb: float
    disk_gb: float
    by_hand: str
    reader: str
    modality: str
    needs: tuple[str, ...]
    classes: dict[str, str]
    source: str = ""
    files: tuple[File, ...] = ()
    table: tuple[str, ...] = ()
    image_column: str = ""
    label_column: str = ""
    patient_column: str = ""
    below: str = ""  # the subfolder of the labelled images, where others lie beside it
    lists: dict[str, str] = field(default_factory=dict)  # official lists of files: their part
    size: int = 224
    channels: int = 3
    mm: float = 0.0
    window: str = "soft"
    folder: str = ""  # the folder that the archive unpacks to
    note: str = ""
    tasks: dict[str, Task] = field(default_factory=dict)


def _sets() -> dict[str, PublicSet]:
    path = Path(__file__).with_name("sets.toml")
    sets = build(dict[str, PublicSet], read_toml(path), path.name)
    msd = sets.pop("msd")
    for short, task in msd.tasks.items():
        archive = File(f"{task.name}.tar", f"{msd.source}/{task.name}.tar", task.md5)
        sets[f"msd-{short}"] = replace(msd, title=f"{task.name}, {msd.title}", images=f"{task.n} {msd.images}",
                                       gb=task.gb, disk_gb=2.1 * task.gb, mm=task.mm, window=task.window,
                                       files=(archive,), folder=task.name, tasks={})
    return sets


SETS = _sets()


def place(key: str, root: str | Path | None = None) -> Path:
    """The folder of a set: ROOT/key, ROOT/Task02_Heart, or ROOT itself if it lies right there; else where it will."""
    root, about = data_root(root), SETS[key]
    for folder in (root / key, *([root / about.folder] if about.folder else [])):
        if folder.is_dir():
            return folder
    return root if has(root, about.needs[0], depth=0) else root / key


def has(folder: Path, need: str, depth: int = 2) -> bool:
    """Does a file of this pattern (or of the one after "|") lie in the folder, at most `depth` folders down?"""
    return any(next(folder.glob("*/" * level + pattern), None) for pattern in need.split("|")
               for level in range(depth + 1))


def at_hand(key: str, root: str | Path | None = None) -> bool:
    """Are its files there? (Not: are they whole? Reading them says that.)"""
    return all(has(place(key, root), need) for need in SETS[key].needs)


def load(key: str, root: str | Path | None = None, size: int | tuple | None = None, **how) -> ImageData:
    """The set in memory, patients (where they are known) in one part each. size: pixels, of volumes also (z, y, x).

    how: broken="skip", max_gb, seed, fractions; of pictures channels and fit, of volumes mm, window and masks=True,
    which gives the label maps [N,1,D,H,W] of the same cases in the same parts instead of the images.
    """
    from medssl.data.public import pictures, scans

    about, folder = SETS[key], place(key, root)
    if missing := [need for need in about.needs if not has(folder, need)]:
        raise MedsslError(f"{key} is not in {folder}: there is no {missing[0].replace('|', ' or ')}.",
                          f"the files as {about.page} has them", f"`medssl data get {key}`, or root=")
    read = {"pictures": pictures.read, "pcam": pictures.read_pcam, "brats": scans.read_brats, "msd": scans.read_msd}
    data = read[about.reader](folder, about, size or about.size, **how)
    return replace(data, key=key, license=about.licence)


def rows(root: str | Path | None = None) -> list[dict[str, str]]:
    """One row for each set, as `medssl.data.list_datasets` prints them."""
    return [{"key": key, "train/val/test": about.images.split(" ")[0] + " in all",
             "classes": about.images.partition(", ")[2] or "label maps", "sizes": "any",
             "licence": about.licence.split(":")[0], "at hand": "yes" if at_hand(key, root) else "no"}
            for key, about in SETS.items()]
