"""Verbs of `medssl` for the last weeks: run it all again, answer the questions, write paper, talk and checklist.

cli.py makes commands of them; each calls one function of course/.
"""

from pathlib import Path
from typing import Annotated

import typer

option = typer.Option


def reproduce(
    profile: Annotated[str, option(help="colab: with the recorded parameters. quick: to see that it runs.")] = "colab",
    dataset: Annotated[str | None, option(help="A data set of the contract. Default: the profile's.")] = None,
    against: Annotated[str, option(help="Whose results: a name in results/, or such a folder.")] = "reference",
    out: Annotated[Path, option(help="The rerun is kept here; a next call goes on from it.")] = Path("runs/reproduce"),
    k: Annotated[float, option(help="A band is mean ± k standard deviations over seeds.")] = 2.0,
    only: Annotated[list[int] | None, option(help="Only this week, from 1 to 7 (may be repeated).")] = None,
    seeds: Annotated[int | None, option(help="So many seeds. Default: the profile's.", min=1)] = None,
    keep_going: Annotated[bool, option("--keep-going", help="After a failure, run what does not need it.")] = False,
    fresh: Annotated[bool, option("--fresh", help="Run again what an earlier call has run.")] = False,
    strict: Annotated[bool, option("--strict", help="Exit with code 1 also if a metric was not run.")] = False,
    notebooks: Annotated[Path | None, option(help="Folder of the notebooks. Default: the course's notebooks/.")] = None,
):  # fmt: skip
    """Run weeks 1-7 again and compare each number.

    Baseline, pretraining, probes, operating point and the key plots, from nothing, in a folder of its own. Each metric
    is inside its band, outside, or not run. The exit code is 0 only if nothing is outside and no week failed.
    """
    from medssl.course.reproduce import reproduce

    raise typer.Exit(reproduce(profile, dataset, against, out, k, only, seeds=seeds, keep_going=keep_going, fresh=fresh,
                               strict=strict, notebooks=notebooks))  # fmt: skip


def questions(
    folder: Annotated[Path | None, typer.Argument(help="It holds results/. Default: the course's.")] = None,
    dataset: Annotated[str | None, option(help="Only this data set.")] = None,
    name: Annotated[str | None, option(help="Only this person.")] = None,
):  # fmt: skip
    """Answer the course's three questions.

    From the results, with intervals: when does self-supervision save labels, what does it do to calibration, how do
    Breast and Pneumonia differ. "Not enough evidence" where that is the truth. Writes reports/three_questions.md.
    """
    from medssl.course.writeup.questions import write_questions

    print("\n".join(write_questions(folder, dataset, name)))


def report(
    results: Annotated[Path | None, typer.Argument(help="It holds results/. Default: the course's.")] = None,
    out: Annotated[Path | None, option(help="Default: reports/final_writeup beside results/.")] = None,
    dataset: Annotated[str | None, option(help="Only this data set.")] = None,
    name: Annotated[str | None, option(help="Only this person.")] = None,
    title: Annotated[str | None, option(help="Title of the paper. Default: the one in words.md.")] = None,
    keep_source: Annotated[bool, option(help="Keep draft_v1.typ, to go on in Typst.")] = True,
):
    """Make a paper of 4-6 pages from weeks 1-8.

    Writes draft_v1.pdf, figures/, missing_pieces.md and, once, words.md for your own sentences. All numbers come from
    the files that were handed in; those that do not follow from their predictions are left out, and named.
    """
    from medssl.course.writeup.paper import build

    print(build(results, out, dataset=dataset, name=name, title=title, keep_source=keep_source).summary())


def slides(
    folder: Annotated[Path | None, typer.Argument(help="It holds results/. Default: the course's.")] = None,
    dataset: Annotated[str | None, option(help="Only this data set.")] = None,
    name: Annotated[str | None, option(help="Only this person.")] = None,
    title: Annotated[str | None, option(help="Title of the talk; the file is named by it.")] = None,
    authors: Annotated[str, option(help="Who speaks. Default: the names of the folders.")] = "",
    out: Annotated[Path | None, option(help="Default: results/week10.")] = None,
):  # fmt: skip
    """Make the skeleton of a talk from weeks 1-8.

    Twelve slides, one sentence and one figure each, with speaker notes. Writes slides/<title>.pdf and
    slides/<title>_notes.md. All numbers come from the files that were handed in.
    """
    from medssl.course.writeup.slides import build_slides

    for path in build_slides(folder, out, dataset=dataset, name=name, title=title, authors=authors):
        print(f"written: {path}")


def checklist(
    folder: Annotated[Path | None, typer.Argument(help="It holds results/. Default: the course's.")] = None,
    reproduction: Annotated[Path | None, option(help="reproduction.json of a rerun. Default: the one in "
                                                     "runs/reproduce.")] = None,
    out: Annotated[Path | None, option(help="Default: results/week10.")] = None,
):  # fmt: skip
    """Fill the reproducibility checklist by measuring.

    A box is ticked only by a fact: MD5 of the data, split hashes, metrics against predictions, versions, commits,
    sha256 of weights, and what `medssl reproduce` found. Writes reproducibility_checklist.md.
    """
    from medssl.course.writeup.checklist import write_checklist

    print(f"written: {write_checklist(folder, reproduction, out)}")


VERBS = (reproduce, questions, report, slides, checklist)
