"""Settings of `medssl pretrain` in a TOML file: --config NAME for one of this folder, --config FILE for one of yours.

The keys are the options of the command, with _ for -, and a table [views]: the arguments of medssl.views.Augment.
"""

from collections.abc import Callable
from dataclasses import asdict, make_dataclass
from pathlib import Path
from typing import get_type_hints

from medssl.errors import MedsslError
from medssl.settings import build, nearest, read_toml

HERE = Path(__file__).parent
OF_A_RUN = ("ctx", "data", "dataset", "name", "labels", "root", "out", "fresh", "config", "setting",
            "return")  # not of a method
LISTS = {"size": list[int], "spacing": list[float], "patch": list[int]}


def names() -> list[str]:
    """Those that come with the package."""
    return sorted(file.stem for file in HERE.glob("*.toml"))


def read_config(config: str, verb: Callable) -> dict:
    """{option: value} of what the file says. A key that is no option of the verb is an error."""
    from medssl.views import Augment

    file = HERE / f"{config}.toml" if config in names() else Path(config)
    if file.suffix != ".toml" or not file.is_file():
        raise MedsslError(f"There is no config {config}.", nearest(config, names()), "or name a .toml file of your own")
    hints = get_type_hints(Augment.__init__)
    views = make_dataclass("Views", [(key, kind | None, None) for key, kind in hints.items() if key != "return"])
    options = {key: LISTS.get(key, kind) for key, kind in get_type_hints(verb).items() if key not in OF_A_RUN}
    schema = make_dataclass("Config", [(key, kind | None, None) for key, kind in options.items()]
                            + [("views", views | None, None), ("why", str, "")])
    said = asdict(build(schema, read_toml(file), str(file.name if file.parent == HERE else file)))
    said["views"] = {key: value for key, value in (said["views"] or {}).items() if value is not None}
    return {key: value for key, value in said.items() if value not in (None, {}) and key != "why"}
