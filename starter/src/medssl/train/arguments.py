"""Small questions about what the trainer was given: is it a whole number, is the name known, what is it called?"""

import hashlib
import re

from medssl.errors import MedsslError


def whole(name: str, value: int | None) -> int | None:
    """The value as an int of 1 or more, or None where none was given."""
    if value is not None and (value != int(value) or value < 1):
        raise MedsslError(f"{name}={value}", f"{name} a whole number, 1 or more")
    return None if value is None else int(value)


def pick(options: dict, name: str, what: str):
    """The option of that name; an unknown one is an error that lists the known."""
    if name not in options:
        raise MedsslError(f"{what}={name!r} is not known", " or ".join(options))
    return options[name]


def length_of(source, steps: int | None) -> int | None:
    """Batches an epoch, None where the source has no end: then the budget has to be in steps."""
    try:
        batches = len(source)
    except TypeError:
        batches = None
    if batches == 0 or (batches is None and steps is None):
        raise MedsslError("the source has no batches" if batches == 0 else "the source has no length",
                          "at least one batch an epoch; a budget in steps where there is no length")
    return batches


def name_of(thing) -> str:
    """Its repr without the address in memory, which differs from process to process."""
    return re.sub(r" at 0x[0-9a-f]+", "", repr(thing))


def mixed_seed(seed: int, purpose: str, count: int) -> int:
    """One well-mixed 63-bit seed for each purpose and count."""
    return int.from_bytes(hashlib.blake2b(f"{seed}/{purpose}/{count}".encode(), digest_size=8).digest()) >> 1
