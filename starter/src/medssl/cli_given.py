"""What is said on the command line, as values: numbers, settings, and errors in its own words."""

import re
import tomllib
from contextlib import contextmanager
from importlib.util import find_spec

from medssl.errors import MedsslError
from medssl.settings import read_toml

# what an error says to a caller in Python: what it says here
PYTHON = {'broken="skip"': "--skip-broken", r"fit\(resume=False\), ": "", ", or raise max_gb": "",
          "Name every class in classes=.*": "Leave out --label-column: no label is learnt from.",
          r"max_gb=([\d.]+)": r"\1 GB", "A smaller least=.": "Other volumes by --only, or --skip-broken."}


@contextmanager
def in_options():
    """What is to be done is said in options of the command line."""
    try:
        yield
    except MedsslError as error:
        said = [error.wrong, error.expected, error.fix]
        for python, here in PYTHON.items():
            said = [re.sub(python, here, line) for line in said]
        raise MedsslError(*said) from error


def numbers(name: str, value, kind: type) -> list | None:
    """ "32,64,64" -> [32, 64, 64]; a config gives a list already."""
    try:
        found = [kind(part) for part in value.split(",")] if isinstance(value, str) else value
    except ValueError:
        found = []
    if found is not None and (len(found) not in (1, 3) or not all(0 < number < 1e6 for number in found)):
        raise MedsslError(f"--{name} {value}.", "one number above zero, or three with commas: z,y,x")
    return found


def logging_to(project: str) -> str:
    """The project, where its package is installed."""
    if find_spec("wandb") is None:
        raise MedsslError("--wandb needs the package wandb, which is not installed here.", "wandb, or no --wandb",
                          "pip install wandb")
    return project


def settings_of(config: str | None, said: list[str] | None) -> dict:
    """What a TOML file and then --set KEY=VALUE say; VALUE as in TOML, a bare word is text."""
    if config is not None and not config.endswith(".toml"):
        raise MedsslError(f"There is no config {config} for dino3d.", "a .toml file of yours, with the names of --set")
    found = read_toml(config) if config else {}
    for text in said or []:
        key, equals, value = text.partition("=")
        if not key.strip() or not equals:
            raise MedsslError(f"--set {text}.", "KEY=VALUE without spaces, for example --set foreground_crop_prob=1.0")
        try:
            found[key.strip()] = tomllib.loads(f"x = {value}")["x"]
        except tomllib.TOMLDecodeError:
            found[key.strip()] = value
    return found
