"""Which pictures or volumes lie in a folder, and what a CSV table or the names of its subfolders say of them."""

import csv
import io
import os
import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path

import torch

from medssl.data.pictures import ENDINGS, is_dicom_file
from medssl.errors import MedsslError

FLAGS = {"0": 0, "1": 1, "0.0": 0, "1.0": 1}


@dataclass(frozen=True)
class Listing:
    """The pictures of a folder, none of them opened yet."""

    root: Path
    files: tuple[Path, ...]
    labels: torch.Tensor | None = None  # int64 [N], or [N,K] where a picture may have several of the classes
    classes: tuple[str, ...] = ()
    columns: dict[str, tuple[str, ...]] | None = None  # every column of the table, a value for each file
    skipped: dict[str, str] | None = None  # {file left out: why}

    def take(self, indices) -> "Listing":
        """The listing of some of the files, in this order."""
        keep = [int(i) for i in indices]
        return Listing(self.root, tuple(self.files[i] for i in keep),
                       None if self.labels is None else self.labels[keep], self.classes,
                       {k: tuple(v[i] for i in keep) for k, v in (self.columns or {}).items()}, self.skipped)


def list_folder(path: str | Path, labels: str | Path | None = None, image_column: str = "image",
                label_column: str | Sequence[str] | None = None, classes: Sequence[str] | None = None,
                broken: str = "error", only: str = "*", none: str = "No Finding",
                find: Callable[[Path], list[Path]] | None = None, folders: bool = True) -> Listing:
    """Which pictures there are and what is said of them.

    labels: a CSV file. Its image_column holds a path below the folder, or a file's name, with or without its ending
    (HAM10000's image_id). Without a CSV each subfolder is a class (unless folders=False: then nothing is labelled).
    label_column: several columns of 0 and 1, or one that names several findings in a cell ("Effusion|Mass", as in
    ChestX-ray14; `none` says that there is none of them), give labels [N,K]. A column of one name a cell is such a one,
    too, if `none` is among them: what it becomes must not hang on whether two findings happen to meet in an image. (Of
    a single finding and `none`: two classes, the finding is the positive one. With `none` in classes it is a class.)
    classes: the names in the order of the labels 0, 1, …; label 1 is the positive class. Without, they are sorted.
    only: a pattern such as "*_image.nii.gz" that a name must fit. find: which files count, by default pictures.
    """
    root = Path(path)
    if broken not in ("error", "skip"):
        raise MedsslError(f"broken={broken!r}.", '"error" or "skip"')
    if not root.is_dir():
        raise MedsslError(f"{root} is not there." if not root.exists() else f"{root} is a file.", "a folder",
                          "Is the path right?")
    files = [file for file in (find or picture_files)(root) if fnmatch(file.name, only)]
    if labels is None:
        if label_column is not None:
            raise MedsslError(f"The label column {label_column!r} is of no table.", "a CSV file that holds it",
                              "Name it: labels=, --labels.")
        names = [("", *file.relative_to(root).parts[:-1])[:2][-1] for file in files]
        if len(set(names)) < 2 or not folders:  # one folder in the folder is no class
            return Listing(root, tuple(files), columns={}, skipped={})
        return Listing(root, tuple(files), *_numbers(root, files, names, classes), {}, {})
    files, columns, skipped = _from_table(root, files, Path(labels), image_column, _several(label_column), broken)
    numbers, classes = _labels(Path(labels), files, columns, label_column, classes, none)
    return Listing(root, tuple(files), numbers, classes, columns, skipped)


def _several(names: str | Sequence[str] | None) -> tuple[str, ...]:
    return () if names is None else (names,) if isinstance(names, str) else tuple(names)


def picture_files(root: Path) -> list[Path]:
    """Every picture below the folder, sorted."""
    return [file for file in files_below(root) if file.suffix.lower() in ENDINGS or is_dicom_without_ending(file)]


def is_dicom_without_ending(file: Path) -> bool:
    """As scanners and PACS write them: IM0001."""
    return not file.suffix and file.name != "DICOMDIR" and is_dicom_file(file)


def files_below(root: Path) -> Iterator[Path]:
    """Every file below the folder, sorted. Hidden files and folders do not count; links may not lead out of it."""
    home = root.resolve()
    for at, folders, names in os.walk(root):
        folders[:] = sorted(name for name in folders if name[0] != "." and name != "__MACOSX")
        for name in folders:
            if Path(at, name).is_symlink():
                raise MedsslError(f"{Path(at, name)} is a link to another folder.", "pictures within the folder itself",
                                  "Name the folder that it leads to, or copy the pictures.")
        for file in (Path(at, name) for name in sorted(names) if name[0] != "."):
            if not file.resolve().is_relative_to(home):
                raise MedsslError(f"{file} is a link that leads out of the folder.", "files within the folder",
                                  "Copy the file into the folder.")
            yield file


def _from_table(root: Path, files: list[Path], table: Path, image_column: str, label_columns: Sequence[str],
                broken: str) -> tuple[list[Path], dict[str, tuple[str, ...]], dict[str, str]]:
    """(the files that the table names, in its order, its columns, {what was left out: why})."""
    rows = read_table(table)
    for column in (image_column, *label_columns):
        if column not in rows[0]:
            raise MedsslError(f"{table} has no column '{column}'.", f"one of {', '.join(rows[0])}",
                              "Name it: image_column=, label_column= (--image-column, --label-column).")
    known = {}
    for file in files:
        for name in {str(file.relative_to(root)), file.name, file.stem, file.name.removesuffix(".nii.gz")}:
            known.setdefault(name, []).append(file)
    found, kept, skipped = [], [], {}
    for number, row in enumerate(rows, 2):  # line 1 holds the names of the columns
        name = (row[image_column] or "").strip()
        if not name or ".." in re.split(r"[/\\]", name) or re.match(r"[/\\]|[A-Za-z]:|\w+://", name):
            raise MedsslError(f"{table}, line {number}: '{name}' is no path below the folder.",
                              "a file's name, or its path from the folder on", "Mend the table.")
        fitting = known.get(str(Path(name)), [])
        if len(fitting) > 1:
            raise MedsslError(f"{table}, line {number}: '{name}' could be {fitting[0]} or {fitting[1]}.",
                              "one picture", "Write its path from the folder on.")
        wrong = None if fitting else f"{root / name} is not there ({table.name}, line {number})."
        if wrong is None and not all((row[column] or "").strip() for column in label_columns):
            wrong = f"{fitting[0]} has no label ({table.name}, line {number})."
        if wrong and broken == "error":
            raise MedsslError(wrong, "a picture and a label in every line",
                              'Mend the table, or leave such lines out with broken="skip".')
        if wrong:
            skipped[str(root / name)] = wrong
            continue
        found.append(fitting[0])
        kept.append(row)
    twice = [file for file, n in Counter(found).items() if n > 1]
    if twice:
        raise MedsslError(f"{table} names {len(twice)} pictures more than once, the first {twice[0]}.",
                          "one line for each picture", "Keep one of the lines; if they disagree, find out which.")
    return found, {name: tuple((row[name] or "").strip() for row in kept) for name in rows[0]}, skipped


def read_table(path: str | Path) -> list[dict[str, str]]:
    """The lines of a CSV file (comma, semicolon or tab; UTF-8) as dicts."""
    path = Path(path)
    if not path.is_file():
        raise MedsslError(f"{path} is not there.", "a CSV file", "Is the path right?")
    try:
        text = path.read_text("utf-8-sig")
    except UnicodeDecodeError as error:
        raise MedsslError(f"{path} is not UTF-8 text.", "a CSV file", "Save it as CSV, UTF-8.") from error
    first = text.split("\n", 1)[0]
    mark = max(",;\t", key=first.count)
    try:
        rows = list(csv.DictReader(io.StringIO(text, newline=""), delimiter=mark))
    except csv.Error as error:
        raise MedsslError(f"{path} is no table ({error}).", "a CSV file", "Save it as CSV, UTF-8.") from error
    if not rows:
        raise MedsslError(f"{path} has no line below the names of its columns.", "a line for each picture",
                          "Add the lines, or leave the table out.")
    long = next((n for n, row in enumerate(rows, 2) if None in row or None in row.values()), None)
    if long:
        raise MedsslError(f"{path}, line {long} has another number of fields than the first line.",
                          "the same number in each line", "Put a field that holds the separator in quotes.")
    return rows


def _labels(table: Path, files, columns: dict, label_column, classes, none: str):
    """(labels [N] or [N,K] or None, the names of the classes)."""
    names = _several(label_column)
    if not names:
        return None, ()
    if len(names) > 1:
        odd = next(((name, value) for name in names for value in columns[name] if value not in FLAGS), None)
        if odd:
            raise MedsslError(f"{table}: the column '{odd[0]}' says '{odd[1]}'.", "0 or 1 in each of several columns",
                              "Decide what unknown (-1, empty) means, and write 0 or 1.")
        return torch.tensor([[FLAGS[v] for v in row] for row in zip(*(columns[name] for name in names), strict=True)],
                            dtype=torch.int64).reshape(-1, len(names)), names
    values = columns[names[0]]
    said = [{part.strip() for part in value.split("|")} - {none} for value in values]
    one = not any("|" in value for value in values)
    if one and (none not in values or none in (classes or ())):
        return _numbers(table, files, values, classes)
    if one and classes is None and len(set().union(*said)) == 1:
        return _numbers(table, files, values, (none, *set().union(*said)))
    classes = _in_order(table, set().union(*said), classes)
    return torch.tensor([[int(name in row) for name in classes] for row in said], dtype=torch.int64), classes


def _numbers(where: Path, files, names, classes) -> tuple[torch.Tensor, tuple[str, ...]]:
    """Names of classes -> numbers 0, 1, …"""
    if "" in names:
        raise MedsslError(f"{files[list(names).index('')]} lies beside the folders of the classes.",
                          "every picture in the folder of its class", "Move it into one, or give a CSV of labels.")
    classes = _in_order(where, set(names), classes)
    return torch.tensor([classes.index(name) for name in names], dtype=torch.int64), classes


def _in_order(where: Path, there: set[str], classes) -> tuple[str, ...]:
    order = sorted(there, key=lambda name: (not name.isdigit(), int(name) if name.isdigit() else 0, name))
    classes = tuple(order) if classes is None else tuple(str(name) for name in classes)
    strange = there - set(classes)
    if strange or len(classes) < 2:
        raise MedsslError(f"{where}: the labels are {', '.join(order[:12])}{' …' * (len(order) > 12)}.",
                          f"only {', '.join(classes)}" if strange else "two classes at least",
                          "Name every class in classes=; label 1 is the positive one.")
    return classes
