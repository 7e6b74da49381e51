"""What only a notebook needs: a banner for phantom data, code shown from its source, numbers in words and in tables."""

import csv
import inspect
import io
import textwrap
from collections.abc import Callable, Mapping, Sequence

from medssl.course import markdown
from medssl.course.contract import load_contract
from medssl.course.names import dataset_key
from medssl.errors import MedsslError
from medssl.settings import nearest


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


def choose_tasks(task: str, dataset: str = "", phantom: bool = False) -> dict[str, str]:
    """{"P1": "pneumoniamnist"}: the extra tasks to run, each with the data set it belongs to, or that set's phantom.

    task: "P1", "b3" or "all". A dataset that is named leaves out the tasks of the other one, and says so.
    """
    contract = load_contract()
    known = {one.id: one.dataset for one in contract.tasks}
    phantoms = {about.phantom_of: key for key, about in contract.datasets.items() if about.phantom_of}
    wanted = [one for one in known if str(task).casefold() in (one.casefold(), "all")]
    if not wanted:
        raise MedsslError(f"There is no task {task!r}.", f'{nearest(str(task), known)}, or "all"')
    only = dataset_key(dataset) if dataset else ""
    chosen = {one: phantoms[known[one]] if phantom or only in phantoms.values() else known[one] for one in wanted}
    left = {one: key for one, key in chosen.items() if only in ("", known[one], phantoms[known[one]])}
    if only and len(left) < len(chosen):
        print(f"left out, for they do not belong to {only}: {', '.join(one for one in chosen if one not in left)}")
    return left


def csv_text(rows: Sequence[Mapping]) -> str:
    """Rows that share their keys as CSV, numbers with six digits, for Submission.table()."""
    text = io.StringIO()
    writer = csv.DictWriter(text, list(rows[0]), lineterminator="\n")
    writer.writeheader()
    for row in rows:
        writer.writerow({key: f"{value:.6g}" if isinstance(value, float) else value for key, value in row.items()})
    return text.getvalue()


def table(rows: Sequence[Mapping]) -> str:
    """Rows that share their keys as a Markdown table, numbers with three digits; "–" where there is none."""
    def word(value):
        return "–" if value is None else f"{value:.3f}" if isinstance(value, float) else value

    return markdown.table(list(rows[0]), [[word(value) for value in row.values()] for row in rows])


def interval(found: Mapping) -> str:
    """"+0.021 [-0.010, +0.052]" from {"mean", "lo", "hi"} of a difference, which holds 0 or does not."""
    return f"{found['mean']:+.3f} [{found['lo']:+.3f}, {found['hi']:+.3f}]"
