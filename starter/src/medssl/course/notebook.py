"""What only a notebook needs: a banner for phantom data, code shown from its source, mean ± spread in words."""

import inspect
import textwrap
from collections.abc import Callable


def banner(is_phantom: bool):
    """A red frame where no patient was imaged, nothing where one was."""
    from IPython.display import HTML

    warning = ("<div style='border:3px solid #D55E00;padding:8px 14px;max-width:60em'><b>Phantom data.</b> A program "
               "drew these images so that the course runs offline. No patient was imaged; the numbers say that the "
               "code works, nothing about medicine.</div>")
    return HTML(warning if is_phantom else "")


def show(function: Callable):
    """The package's own lines, so that what you read is what runs."""
    from IPython.display import Code

    return Code(textwrap.dedent(inspect.getsource(function)), language="python")


def mean_std(summary: dict) -> str:
    """"0.839 ± 0.012" from {"mean", "std", "per_seed"}; one seed has no spread, and says so."""
    if len(summary["per_seed"]) == 1:
        return f"{summary['mean']:.3f} (one seed)"
    return f"{summary['mean']:.3f} ± {summary['std']:.3f}"
