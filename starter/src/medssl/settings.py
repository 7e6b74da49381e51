"""One loader for every settings file (contract, profiles, pretraining, Prism): a dataclass is the schema.

`build(Contract, {...}, "contract.toml")` fills the dataclass from the dict and complains, naming file, key and the
nearest right key, about whatever the dataclass does not say. A misspelt key can therefore never be ignored in silence.
"""

import dataclasses
import difflib
import tomllib
import types
from pathlib import Path
from typing import Any, TypeVar, Union, get_args, get_origin, get_type_hints

from medssl.errors import MedsslError

T = TypeVar("T")


def read_toml(path: str | Path) -> dict[str, Any]:
    """The file as nested dicts; an unreadable file is an error that names it and the line."""
    try:
        return tomllib.loads(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise MedsslError(f"{path} cannot be read ({error.strerror}).", "a TOML file") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise MedsslError(f"{path} is not valid TOML: {error}.", 'lines such as EPOCHS = 30 or NAME = "ada"') from error


def nearest(word: str, known) -> str:
    """For the second line of an error: the known words most like `word`, or all of them when none is close."""
    known = sorted(known)
    close = difflib.get_close_matches(word, known, n=3, cutoff=0.6)
    return f"perhaps {' or '.join(close)}" if close else f"one of {', '.join(known)}" if known else "nothing here"


def load(schema: type[T], path: str | Path) -> T:
    """read_toml and build in one call."""
    return build(schema, read_toml(path), Path(path).name)


def build(schema: Any, value: Any, where: str) -> Any:
    """`value` (from TOML or JSON) as an instance of `schema`: a dataclass, list[...], tuple[..., ...], dict[str, ...],
    `X | None` or a plain type. `where` is the file, then the path of keys inside it: it begins every message."""
    if dataclasses.is_dataclass(schema):
        return _build_dataclass(schema, value, where)
    kind, inner = get_origin(schema), get_args(schema)
    if schema is Any:
        return value
    if kind in (Union, types.UnionType):
        return _build_union(schema, inner, value, where)
    if kind in (list, tuple) and isinstance(value, (list, tuple)):
        return kind(build(inner[0], item, f"{where}[{i}]") for i, item in enumerate(value))
    if kind is dict and isinstance(value, dict):
        return {key: build(inner[1], item, f"{where}.{key}") for key, item in value.items()}
    if schema is float and type(value) is int:
        return float(value)  # TOML's 1 where 1.0 is meant
    if type(value) is not (kind or schema):  # `is`, so that true is not taken for the number 1
        raise MedsslError(f"{where} is {value!r} ({type(value).__name__}).", _spell(schema), f"correct {where}")
    return value


def _build_union(schema: Any, choices: tuple, value: Any, where: str) -> Any:
    for choice in choices:
        if type(value) is choice or (choice is not type(None) and get_origin(choice) is type(value)):
            return build(choice, value, where)
    rest = [c for c in choices if c is not type(None)]
    if len(rest) == 1 and value is not None:
        return build(rest[0], value, where)
    raise MedsslError(f"{where} is {value!r} ({type(value).__name__}).", _spell(schema), f"correct {where}")


def _build_dataclass(schema: type, value: Any, where: str) -> Any:
    if not isinstance(value, dict):
        raise MedsslError(f"{where} is {value!r}.", f"a table with the keys of {schema.__name__}")
    hints, fields = get_type_hints(schema), {f.name: f for f in dataclasses.fields(schema) if f.init}
    for key in value:
        if key not in fields:
            raise MedsslError(f"{where}: unknown key {key!r}.", nearest(key, fields), f"rename or remove {key}")
    for name, field in fields.items():
        if name not in value and field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING:
            raise MedsslError(f"{where}: the key {name!r} is missing.", f"{name} = … ({_spell(hints[name])})")
    return schema(**{key: build(hints[key], item, f"{where}: {key}") for key, item in value.items()})


def _spell(schema: Any) -> str:
    words = {int: "a whole number", float: "a number", str: "text in quotes", bool: "true or false"}
    return words.get(schema) or (str(schema) if get_args(schema) else getattr(schema, "__name__", str(schema)))
