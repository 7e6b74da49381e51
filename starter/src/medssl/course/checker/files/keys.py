"""Keys that the contract asks for, found under another name, nested or listed: accepted, with the line that mends it"""

from medssl.course.checker.parse.handed_in import Problem, clean
from medssl.course.checker.parse.numerals import as_fractions, numeral
from medssl.course.checker.parse.recompute import is_number
from medssl.course.checker.parse.values import METRICS, Block, blocks
from medssl.course.contract import Contract, FileSlot
from medssl.course.predictions import split_of


def settle(block: dict, slot: FileSlot, contract: Contract) -> tuple[list[str], list[Problem]]:
    """Put what stands under another name under the contract's, in `block` itself: (keys still missing, notes)."""
    missing, notes, deep = [], [], None
    for key in (key for key in slot.keys if key not in block):
        other = next((alias for alias in contract.metric_aliases.get(key, []) if alias in block), None)
        value, line = (block[other], "") if other else (None, "")
        if other and key in METRICS and not is_number(value):
            number = numeral(value, other)
            value = as_fractions({key: number})[key].value if number else value
            line = f'write "{key}": {value}, the test value alone' if number else ""
        elif other and key == "seeds":
            value = value if isinstance(value, list) else [value]
            line = f"write \"seeds\": {clean(value, 20)}, a list"
        elif not other and key in METRICS:
            deep = _deep(block, slot, contract) if deep is None else deep
            found = next((one for one in deep if key in one.values), None)
            if found:
                value = found.values[key]
                other = ".".join(part for part in (found.at.partition("#")[0], found.names[key]) if part)
                line = f'write "{key}": {value} at the top of the file'
        if other:
            block[key] = value
            notes.append(Problem("key-renamed", f"calls {key} '{clean(other, 60)}'", line or f"rename the key to {key}",
                                 "note"))
        else:
            missing.append(key)
    return missing, notes


def _deep(block: dict, slot: FileSlot, contract: Contract) -> list[Block]:
    """The one block that a metrics file of one model holds somewhere below; [] where several could be meant."""
    if slot.kind != "metrics":
        return []
    wanted = split_of(slot.predictions)
    found = [one for one in blocks(block, contract) if one.split == wanted and not one.at.startswith("per_seed")]
    return found if len({one.at.partition("#")[0] for one in found}) == 1 else []
