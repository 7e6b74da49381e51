"""How an answer is checked: in every case beside the right one; a wrong one is compared with the mistakes we know."""

import copy
import warnings
from collections.abc import Callable

import numpy as np

LONGEST = 120  # letters of an answer that are shown


def check(mine: Callable, right: Callable, cases: list[tuple], hint: str, mistakes: dict[str, Callable], *,
          also: Callable | None = None, serves: Callable | None = None, gradient: bool = False) -> Callable:
    """Says what `mine` is worth, and returns the function that serves from here on: `mine` where it is right.

    cases: tuples of arguments. right: gives the expected value, in float64. mistakes: {what is wrong and what to do: a
    function that makes this mistake}; one is named only where it gives the very answers of `mine` in all cases.
    also: another right answer. serves: the package's own, where that is not `right`. gradient: the answer must be a
    tensor, and its gradient with respect to each tensor among the arguments that of `right`.
    """
    serves, name = serves or right, getattr(mine, "__name__", "your function")
    unfilled = f"not filled in yet: the package's own {name} is used from here on"
    if not callable(mine):
        called = f"not yet: {_shown(mine)} is no function; give its name, without brackets. The package's own is used"
        print(unfilled if mine is None or mine is ... else called)
        return serves
    got = []
    for place, case in enumerate(cases):
        expected, wanted, right_slopes = _ask(right, case, gradient)
        answer, told, slopes = _ask(mine, case, gradient)
        if place == 0 and told in ("None", "Ellipsis") or told.startswith("NotImplementedError"):
            print(unfilled)
            return serves
        got.append(answer)
        agrees = _agree(answer, expected) or also is not None and _agree(answer, _numbers(also(*copy.deepcopy(case))))
        if agrees and not (gradient and (hint := _wrong_gradient(slopes, right_slopes))):
            continue
        if not agrees:
            got += [_ask(mine, later)[0] for later in cases[place + 1 :]]
            other_shape = answer is not None and answer.shape != expected.shape
            hint = f"{_shape(answer)}, where {_shape(expected)} was expected" if other_shape else hint
            hint = next((known for known, wrong in mistakes.items() if _same_mistake(wrong, cases, got)), hint)
            if answer is not None and answer.size > 3 and not other_shape:  # where do they part?
                where = tuple(int(i[0]) for i in np.nonzero(~np.isclose(answer, expected, rtol=1e-4, atol=1e-6)))
                told, wanted = f"{_shown(answer[where])} at {list(where)}", _shown(expected[where])
        shown = ", ".join(_shown(np.asarray(x)) for x in case)
        print(f"not yet: {name}({shown}) gives {told}, expected {wanted}\nhint: {hint}\n"
              "The package's own is used from here on.")
        return serves
    print(f"right: {name} agrees with the package in all {len(cases)} cases")
    return mine


def predict(question: str, guess: float | None, truth: float, tolerance: float) -> None:
    """Print a guess made before the measurement beside what was measured (None: nobody guessed)."""
    said = "no guess was made"
    if guess is not None:
        off = guess - truth
        far = f"too {'high' if off > 0 else 'low'} by {abs(off):.3g}"
        said = f"your guess of {guess:.3g} is {'close' if abs(off) <= tolerance else far}"
    print(f"{question} Measured: {truth:.3g}; {said}.")


def _ask(function: Callable, case: tuple, gradient: bool = False) -> tuple:
    """(the answer in float64, None where it is no number; the answer in words; its gradients, None where it has none)

    The function gets arguments of its own: what it does to them harms nobody.
    """
    case, answer, told, slopes = copy.deepcopy(case), None, "", None
    inputs = [x.requires_grad_() for x in case if gradient and hasattr(x, "requires_grad_")]
    try:
        got = function(*case)
        told = _shown(got)
        answer = _numbers(got)
        if gradient and getattr(got, "requires_grad", False):
            from torch.autograd import grad

            slopes = [_numbers(s) for s in grad(got.sum(), inputs, allow_unused=True, materialize_grads=True)]
    except Exception as error:  # a mistake of any kind is told, not thrown, be it in `mine` or in what it returns
        told = told or repr(error)[:LONGEST]
    return answer, told, slopes


def _numbers(got) -> np.ndarray:
    """A number, list, array or tensor (on any device, with or without a gradient) as float64."""
    if hasattr(got, "detach"):
        got = got.detach().cpu()
        got = (got.double() if got.is_floating_point() else got).numpy()
    got = np.asarray(got)
    if got.dtype.kind not in "biuf":
        raise TypeError(f"numbers were expected, not {got.dtype}")
    return got.astype(np.float64)


def _agree(a: np.ndarray | None, b: np.ndarray, **more) -> bool:
    """Equal as far as float32 can tell."""
    return a is not None and a.shape == b.shape and bool(np.allclose(a, b, rtol=1e-4, atol=1e-6, **more))


def _same_mistake(wrong: Callable, cases: list[tuple], got: list) -> bool:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # 0 / 0 is what some mistakes are about
        try:
            return all(_agree(answer, _numbers(wrong(*copy.deepcopy(case))), equal_nan=True)
                       for answer, case in zip(got, cases, strict=True))
        except (ArithmeticError, ValueError, TypeError):
            return False


def _wrong_gradient(slopes: list | None, right: list) -> str:
    """What is wrong with the gradients of a right value, or ""."""
    if slopes is None:
        return "the value is right, but no gradient leads back: numpy, .item(), .detach() and no_grad cut it off"
    wrong = [str(i) for i, (a, b) in enumerate(zip(slopes, right, strict=True), 1) if not _agree(a, b)]
    return (f"the value is right, but not its gradient with respect to argument {' and '.join(wrong)}: is a part "
            "detached, or computed without torch?" if wrong else "")


def _shape(x: np.ndarray) -> str:
    return f"an array of shape {list(x.shape)}" if x.ndim else "one number"


def _shown(x) -> str:
    """0.75 and not np.float64(0.75); an array in a line, and of a table its shape: <20 x 3>."""
    if hasattr(x, "item") and np.ndim(x) == 0:  # of numpy or torch
        x = x.item()
    if isinstance(x, float):
        return repr(float(f"{x:.6g}"))
    if isinstance(x, np.ndarray):
        short = np.array2string(x, threshold=12, edgeitems=3, precision=4).replace("\n", "")
        return short if x.ndim < 2 else f"<{' x '.join(map(str, x.shape))}>"
    if isinstance(x, (tuple, list)):
        short = ", ".join(map(_shown, x[:12])) + ", ..." * (len(x) > 12)
        return f"({short})" if isinstance(x, tuple) else f"[{short}]"
    return " ".join(repr(x).split())[:LONGEST]
