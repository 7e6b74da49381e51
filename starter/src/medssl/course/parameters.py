"""The parameters cell of a notebook: what it offers, and whether what a student asks for fits."""

import ast
import json
from pathlib import Path

from medssl.errors import MedsslError
from medssl.settings import nearest

KINDS = {bool: "True or False", int: "a whole number", float: "a number", list: "a list", tuple: "a list"}


def parameters_of(notebook: Path) -> dict:
    """Names and default values in the cell tagged `parameters`; a default that is no plain value counts as None."""
    try:
        cells = json.loads(notebook.read_text(encoding="utf-8"))["cells"]
        tagged = ["".join(c["source"]) for c in cells if "parameters" in c.get("metadata", {}).get("tags", [])]
        lines = ast.parse(tagged[0] if tagged else "").body
    except (ValueError, KeyError, TypeError, AttributeError, SyntaxError) as error:
        why = error if isinstance(error, ValueError | SyntaxError) else "it holds no list of cells"
        raise MedsslError(f"{notebook} cannot be read as a notebook ({why}).", "a file saved by Jupyter",
                          "Mend the cell tagged `parameters`, or fetch the course's own notebook again.") from error
    defaults = {}
    for line in lines:
        for target in line.targets if isinstance(line, ast.Assign) else [getattr(line, "target", None)]:
            if isinstance(target, ast.Name):
                try:
                    defaults[target.id] = ast.literal_eval(line.value)
                except (ValueError, TypeError):
                    defaults[target.id] = None
    return defaults


def parse_value(text: str):
    """`30`, `1e-3`, `true`, `None`, `[0, 1]` and `0,1,2` mean what they say; anything else is a piece of text."""
    for read in (json.loads, ast.literal_eval):
        try:
            return read(text)
        except (ValueError, SyntaxError):
            pass
    return text


def fit_value(key: str, text: str, default):
    """The value of `-p key=text`, which must be of the kind that the notebook's own value has."""
    value = parse_value(text)
    if isinstance(default, str):
        return value if isinstance(value, str) else text  # the name 007 is not the number 7
    if isinstance(default, (list, tuple)) and isinstance(value, (int, float)):
        value = [value]  # -p FRACTIONS=0.1
    fits = {float: (int, float), list: (list, tuple), tuple: (list, tuple)}.get(type(default), (type(default),))
    if type(default) in KINDS and type(value) not in fits:
        raise MedsslError(f"{key}={text} does not fit.", f"{KINDS[type(default)]}, for example {key}={default}")
    return value


def choose_parameters(notebooks: dict[Path, dict], given: dict[str, str]) -> dict[Path, dict]:
    """What each notebook gets: its profile's values where it has the name, then what was asked for, and nothing else.

    notebooks: the profile's values for each path. given: KEY -> text of `--dataset`, `--name` and `-p KEY=VALUE`.
    """
    known = {path: parameters_of(path) for path in notebooks}
    every = {key for defaults in known.values() for key in defaults}
    for key in given:
        if key not in every:
            raise MedsslError(f"No notebook in this run has a parameter {key!r}: {nearest(key.upper(), every)}")
    return {
        path: {key: value for key, value in profile.items() if key in known[path]}
        | {key: fit_value(key, text, known[path][key]) for key, text in given.items() if key in known[path]}
        for path, profile in notebooks.items()
    }
