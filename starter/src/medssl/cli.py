"""The command `medssl`: each verb calls one function elsewhere. torch is imported by a verb, not by `--help`."""

import errno
import os
import sys
from pathlib import Path
from typing import Annotated

import typer
from typer.core import TyperCommand

from medssl import __version__, cli_anonymize, cli_cluster, cli_evaluate, cli_own, cli_prism, cli_writing
from medssl.cli_own import pretrain  # also for starter/src/train_ssl.py
from medssl.errors import MedsslError

SETTINGS = {"no_args_is_help": True, "rich_markup_mode": None,
            "context_settings": {"help_option_names": ["-h", "--help"]}}  # fmt: skip
FEEDBACK = "runs/feedback"
PLAIN = {"pretty_exceptions_enable": False, "add_completion": False}  # an unexpected error keeps Python's own traceback
NO_MEMORY = ("memoryerror", "out of memory", "outofmemory", "not enough memory", "can't allocate memory")
app = typer.Typer(name="medssl", **PLAIN, **SETTINGS)
data = typer.Typer(help="See, check and fetch the data sets.", **SETTINGS)
app.add_typer(data, name="data")
app.add_typer(cli_prism.prism, name="prism")

option = typer.Option
Root = Annotated[Path | None, option(help="Folder of the .npz files. Default: $MEDSSL_DATA, then ~/.medmnist.")]
Size = Annotated[int, option(help="Image size in pixels: 28, 64, 128 or 224.")]
Key = Annotated[str, typer.Argument(metavar="DATASET", help="A key such as breastmnist; `medssl data list` shows all.")]


def _version(asked: bool):
    if asked:
        print(f"medssl {__version__}, Python {sys.version.split()[0]}")
        raise typer.Exit


@app.callback()
def medssl(version: Annotated[bool, option("--version", callback=_version, is_eager=True,
                                                 help="Say which version this is, and stop.")] = False):  # fmt: skip
    """Learn self-supervised learning on medical images: run a week, check a hand-in, look after the data.

    First steps: `medssl doctor` says whether this machine is ready, and `medssl run week01 --name you` runs week 1.
    """


@app.command()
def run(
    weeks: Annotated[list[str], typer.Argument(metavar="WEEK...", help="week01, 1, all, extra_tasks, or a path.")],
    dataset: Annotated[str | None, option(help="The data set; short for -p DATASET=...")] = None,
    name: Annotated[str | None, option(help="You, as in results/week1/breastmnist/NAME; short for -p NAME=...")] = None,
    profile: Annotated[str, option(help="quick: 2 cores, no network. colab: as in class. betty: a big GPU.")] = "colab",
    out: Annotated[Path | None, option(help="Write below this folder, not below the course's results/.")] = None,
    notebooks: Annotated[Path | None, option(help="Folder of the notebooks. Default: the course's notebooks/.")] = None,
    executed: Annotated[Path | None, option(help="Folder of the executed notebooks and logs. Default: below.")] = None,
    parameter: Annotated[list[str] | None, option("--parameter", "-p", metavar="KEY=VALUE",
                         help="Change a line of the parameters cell, for example -p EPOCHS=30.")] = None,
    timeout: Annotated[float, option(help="Stop a notebook after so many seconds; 0: never.")] = 0,
    keep_going: Annotated[bool, option("--keep-going", help="After a failure, run the other notebooks too.")] = False,
    jobs: Annotated[int, option(help="Run so many notebooks at once, each when what it needs is there.", min=1)] = 1,
):  # fmt: skip
    """Run the notebooks of one or more weeks.

    Each runs from top to bottom without a browser, a line for each, the weeks in the order of their needs.

    Values come from the profile, then from --dataset and --name, then from -p. Executed notebooks and logs are kept in
    runs/notebooks (with --out: OUT/notebooks). The exit code is 0 only if every cell of every notebook ran.
    """
    from medssl.course.run import run_weeks

    given = cli_cluster.notebook_parameters(dataset, name, parameter)
    code = run_weeks(weeks, profile=profile, given=given, out=out, notebooks=notebooks, executed=executed,
                     timeout=timeout, keep_going=keep_going, jobs=jobs)  # fmt: skip
    raise typer.Exit(code)


class GradeCommand(TyperCommand):
    """`--feedback` alone means its usual folder: typer itself knows no option whose value may be left out."""

    def parse_args(self, ctx, args: list[str]) -> list[str]:
        if "--feedback" in args:
            after = args.index("--feedback") + 1
            if after == len(args) or args[after].startswith("-"):
                args = [*args[:after], FEEDBACK, *args[after:]]
        return super().parse_args(ctx, args)


@app.command(cls=GradeCommand)
def grade(
    folder: Annotated[Path, typer.Argument(help="The folder that holds week1/, week2/, ...")] = Path("results"),
    html: Annotated[Path | None, option(help="Write a report to read in a browser.")] = None,
    csv: Annotated[Path | None, option(help="Write a gradebook that Canvas and Moodle import.")] = None,
    roster: Annotated[Path | None, option(help="Who is who in Canvas or Moodle: see course/grading.md.")] = None,
    as_json: Annotated[Path | None, option("--json", help="Write everything that was found, for programs.")] = None,
    feedback: Annotated[Path | None, option(metavar="[DIR]", help="Write a draft of feedback for each submission. "
                        f"Without DIR: below {FEEDBACK}/.")] = None,
    strict: Annotated[bool, option("--strict", help="Exit with code 1 if anything handed in has an error.")] = False,
    jobs: Annotated[int, option(help="Check so many hand-ins at once.", min=1)] = 1,
):  # fmt: skip
    """Check what was handed in.

    What is there, missing, empty or unreadable, and every metric recomputed from its predictions.
    """
    from medssl.course.checker.grade import grade
    from medssl.course.checker.pages.gradebook import read_lines

    for file in (html, csv, as_json):  # before a whole course is graded
        if file and file.is_dir():
            raise MedsslError(f"{file} is a folder.", "a file to write", f"Name one in it: {file / 'NAME'}")
    if roster:
        read_lines(roster)
    if feedback and feedback.resolve() == folder.resolve():
        raise MedsslError(f"--feedback {feedback} would write the drafts among the hand-ins.", "a folder of their own",
                          f"medssl grade {folder} --feedback")
    report = grade(folder, jobs=jobs)
    print(report.summary())
    if html:
        print(f"written: {report.write_html(html)}")
    if csv:
        print(f"written: {report.write_csv(csv, roster)}")
    if roster:
        print(report.unmatched(roster))
    if as_json:
        print(f"written: {report.write_json(as_json)}")
    if feedback:
        print(f"written: drafts below {feedback}, {len(report.write_feedback(feedback))} in all")
    raise typer.Exit(int(strict and report.totals()["error"] > 0))


for _verb in (*cli_writing.VERBS, *cli_anonymize.VERBS, *cli_evaluate.VERBS, *cli_own.VERBS, *cli_cluster.VERBS):
    app.command()(_verb)


@app.command()
def doctor(as_json: Annotated[bool, option("--json", help="Print a list that a program can read.")] = False):
    """Check this machine, and say what to do.

    Python, packages, device, disk, data sets, weights, tools. The exit code is 1 only if something is broken.
    """
    from medssl.doctor import examine, show

    findings = examine()
    print(show(findings, as_json))
    raise typer.Exit(int(any(f.state == "bad" for f in findings)))


@app.command()
def train(
    dataset: Annotated[str, option(help="A key from `medssl data list`.")] = "breastmnist",
    model: Annotated[str, option(help="smallcnn or resnet18.")] = "smallcnn",
    finetune: Annotated[str, option(help="all: train every layer. head: the last one, on a frozen network.")] = "all",
    epochs: Annotated[int, option(help="Passes over the train split.", min=1)] = 5,
    batch_size: Annotated[int, option(help="Images in one step.", min=1)] = 128,
    lr: Annotated[float, option(help="Learning rate.")] = 1e-3,
    seed: Annotated[int, option(help="The same seed gives the same result.", min=0, max=2**32 - 1)] = 0,
    augment: Annotated[str, option(help="How train images are varied: none, A, B or C.")] = "none",
    weights: Annotated[str, option(help="What resnet18 starts from: imagenet, or none (random).")] = "imagenet",
    size: Size = 28,
    root: Root = None,
    out: Annotated[Path | None, option(help="Default: runs/<dataset>_<model>_<finetune>_seed<seed>.")] = None,
):  # fmt: skip
    """Train one classifier and test it once.

    Writes best.pt (the epoch with the best AUROC on val), val_log.jsonl, test_metrics.json, predictions_test.csv,
    reliability.png, config.json and env.json.
    """
    from medssl.handout import train_and_test

    train_and_test(dataset, model, finetune=finetune, epochs=epochs, batch_size=batch_size, lr=lr, seed=seed,
                   augment=augment, weights=weights, size=size, root=root, out=out)  # fmt: skip


@data.command("list")
def data_list(root: Root = None):
    """List the data sets and which are here."""
    from medssl.data import list_datasets

    rows = list_datasets(root)
    table = [list(rows[0]), *(list(row.values()) for row in rows)]
    widths = [max(len(line[column]) for line in table) for column in range(len(table[0]))]
    for line in table:
        print("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip())


@data.command("check")
def data_check(key: Key, root: Root = None, size: Size = 28):
    """Is a file the official one, what does it hold, and which images are in it twice?"""
    from medssl.data import check

    print(check(key, root, size))


@data.command("get")
def data_get(key: Key, root: Root = None, size: Size = 28):
    """Download a data set, unless it is here, and compare its MD5 with the published one, where there is one.

    Of the large public sets (ham10000, chestxray14, …) licence and size are shown first; run it again to go on after
    a break.
    """
    from medssl.data import get

    print(get(key, root, size) or f"{key} needs no file: the package makes its images.")


def _one_of_several(args: list[str], verb) -> None:
    """What torchrun starts several times is said once; only `pretrain` can be shared."""
    if (verb is not pretrain) if verb else args[:1] != ["pretrain"]:
        raise MedsslError(f"torchrun starts {os.environ['WORLD_SIZE']} processes, which would all do the same.",
                          "medssl pretrain simclr or lejepa", "start it without torchrun")
    if os.environ["RANK"] != "0":
        sys.stdout = open(os.devnull, "w")  # noqa: SIM115  # until the process ends


def main(args: list[str] | None = None, prog: str = "medssl", verb=None):
    """Run the command line, or one verb of it. A MedsslError is told without a traceback, unless MEDSSL_DEBUG=1."""
    program = app
    if verb:
        program = typer.Typer(**PLAIN, rich_markup_mode=None)
        program.command()(verb)
    try:
        if int(os.environ.get("WORLD_SIZE", 1)) > 1 and "RANK" in os.environ:
            _one_of_several(sys.argv[1:] if args is None else args, verb)
        program(args, prog_name=prog)
    except MedsslError as error:
        if os.environ.get("MEDSSL_DEBUG") == "1":
            raise
        print(f"medssl: {error}", file=sys.stderr)
        sys.exit(1)
    except OSError as error:
        place = error.filename2 or error.filename
        if place is None or os.environ.get("MEDSSL_DEBUG") == "1":
            raise
        in_the_way = isinstance(error, FileExistsError | NotADirectoryError)
        why = "a file is there, where a folder should be" if in_the_way else error.strerror
        full = error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
        todo = "make room there, and say the same command again" if full else "name another place"
        print(f"medssl: {place} cannot be {'written' if full else 'used'}: {why}.\nWhat to do: {todo}", file=sys.stderr)
        sys.exit(1)
    except (MemoryError, RuntimeError) as error:
        said = (str(error).splitlines() or [type(error).__name__])[0]
        if not any(word in f"{type(error).__name__} {said}".lower() for word in NO_MEMORY) or (
                os.environ.get("MEDSSL_DEBUG") == "1"):
            raise
        print(f"medssl: not enough memory: {said}\nWhat to do: a smaller --batch-size, smaller images (--size), or a "
              "machine with more memory", file=sys.stderr)  # fmt: skip
        sys.exit(1)
    except ModuleNotFoundError as error:
        if str(error.name).startswith("medssl"):
            raise
        print(f"medssl: the package {error.name} is missing.\nWhat to do: pip install -r starter/requirements.txt, "
              "then `medssl doctor`", file=sys.stderr)  # fmt: skip
        sys.exit(1)
