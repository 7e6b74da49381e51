"""One loader for every settings file (contract, profiles, pretraining, Prism): a dataclass is the schema.

`build(Contract, {...}, "contract.toml")` fills the dataclass from the dict and complains about whatever the dataclass
does not say, naming file, key and the nearest right key. A misspelt key can therefore never be ignored in silence.
"""

import dataclasses
import difflib
import re
import tomllib
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, Union, get_args, get_origin, get_type_hints

from medssl.errors import MedsslError

DEEP = re.compile(r"(?:\.\s*[\w\"'-]{0,64}\s*){100}")  # a.b.c. … in a key
WORDS = {int: "a whole number", float: "a number", str: "text in quotes", bool: "true or false"}


def read_toml(path: str | Path) -> dict[str, Any]:
    """The file as nested dicts; an unreadable file is an error that names it and the line."""
    try:
        text = Path(path).read_text(encoding="utf-8")
        if DEEP.search(text):  # the parser would take minutes: its time grows with the square
            raise ValueError("a key of more than 100 parts")
        return tomllib.loads(text)
    except OSError as error:
        raise MedsslError(f"{path} cannot be read ({error.strerror}).", "a TOML file", "Is the path right?") from error
    except (ValueError, RecursionError) as error:  # also a number of 5,000 digits, or tables in tables without end
        raise MedsslError(f"{path} is not valid TOML: {error}.", 'lines such as EPOCHS = 30 or NAME = "ada"',
                          "Mend that line: text stands in quotes, a key in a table once.") from error


def nearest(word: str, known) -> str:
    """For the second line of an error: the known words most like `word`, or all of them when none is close."""
    close = difflib.get_close_matches(word, known := sorted(known), n=3, cutoff=0.6)
    return f"perhaps {' or '.join(close)}" if close else f"one of {', '.join(known)}" if known else "nothing here"


def build(schema: Any, value: Any, where: str) -> Any:
    """`value` (from TOML or JSON) as an instance of `schema`: a dataclass, list[X], tuple[X, ...], dict[str, X],
    X | None or a plain type. `where` is the file, then the path of keys inside it: it begins every message."""
    kind, inner = get_origin(schema), get_args(schema)
    if dataclasses.is_dataclass(schema):
        return _build_dataclass(schema, value, where)
    if kind in (Union, UnionType):
        return None if value is None else build(next(x for x in inner if x is not NoneType), value, where)
    if kind in (list, tuple) and isinstance(value, (list, tuple)):
        return kind(build(inner[0], item, f"{where}[{i}]") for i, item in enumerate(value))
    if kind is dict and isinstance(value, dict):
        return {key: build(inner[1], item, f"{where}.{key}") for key, item in value.items()}
    if schema is float and type(value) is int and abs(value) < 1e308:
        return float(value)  # TOML's 1 where 1.0 is meant
    if schema is not Any and type(value) is not schema:  # not isinstance: true is no whole number
        raise MedsslError(f"{where} is {value!r}.", WORDS.get(schema) or str(schema), f"correct {where}")
    return value


def _build_dataclass(schema: type, value: Any, where: str) -> Any:
    if not isinstance(value, dict):
        raise MedsslError(f"{where} is {value!r}.", f"a table with the keys of {schema.__name__}")
    hints, fields = get_type_hints(schema), {f.name: f for f in dataclasses.fields(schema) if f.init}
    for key in value:
        if key not in fields:
            raise MedsslError(f"{where}: unknown key {key!r}.", nearest(key, fields), f"rename or remove {key}")
    for name, field in fields.items():
        if name not in value and field.default is field.default_factory is dataclasses.MISSING:
            kind = WORDS.get(hints[name]) or str(hints[name])
            raise MedsslError(f"{where}: the key {name!r} is missing.", f"{name} = … ({kind})")
    return schema(**{key: build(hints[key], item, f"{where}: {key}") for key, item in value.items()})
