"""The verb `medssl launch`: one function of course/cluster.py. And what it shares with `medssl run`: -p KEY=VALUE."""

from pathlib import Path
from typing import Annotated

import typer

from medssl.errors import MedsslError

option = typer.Option


def notebook_parameters(dataset: str | None, name: str | None, parameter: list[str] | None) -> dict[str, str]:
    """{KEY: text} of --dataset, --name and each -p KEY=VALUE."""
    given = {key: value for key, value in {"DATASET": dataset, "NAME": name}.items() if value is not None}
    for text in parameter or []:
        key, equals, value = text.partition("=")
        if not key.strip() or not equals:
            raise MedsslError(f"-p {text} is not a parameter.", "KEY=VALUE without spaces, for example -p EPOCHS=30")
        given[key.strip()] = value
    return given


def launch(
    what: Annotated[list[str], typer.Argument(metavar="WHAT...", help="Weeks, as in `medssl run`; or one of "
                    "prism-train, prism-smoke, prism-ablate, prism-heads, prism-low-batch, prism-high-batch.")],
    profile: Annotated[str, option(help="Of weeks: which parameters.")] = "betty",
    dataset: Annotated[str | None, option(help="Of weeks: the data set.")] = None,
    name: Annotated[str | None, option(help="Of weeks: you, as in results/week1/breastmnist/NAME.")] = None,
    parameter: Annotated[list[str] | None, option("--parameter", "-p", metavar="KEY=VALUE",
                         help="Of weeks: change a line of the parameters cell.")] = None,
    config: Annotated[Path | None, option(help="Of Prism: its TOML file, as in `medssl prism train`.")] = None,
    set_: Annotated[list[str] | None, option("--set", metavar="PART.KEY=VALUE",
                    help="Of Prism: change a setting.")] = None,
    out: Annotated[Path | None, option(help="Of weeks: default the clone. Of Prism: checkpoint.folder.")] = None,
    partition: Annotated[str, option(help="Slurm's partition.")] = "dgx-b200",
    account: Annotated[str | None, option(help="Slurm's account. Default: yours.")] = None,
    sbatch_arg: Annotated[list[str] | None, option(metavar="ARG", help="One more argument of sbatch, such as "
                          "--sbatch-arg=--time=02:00:00.")] = None,
    dry_run: Annotated[bool, option("--dry-run", help="Print script and command, submit nothing.")] = False,
):  # fmt: skip
    """Send weeks or Prism to a GPU of the cluster.

    Fills in a job script of course/betty and submits it. A Prism job that is preempted, or out of time, queues again
    and goes on from its checkpoint. The ablation runs what has not ended well yet.
    """
    from medssl.course import cluster

    given = notebook_parameters(dataset, name, parameter)
    if given if what[0].startswith("prism") else config or set_:
        raise MedsslError(f"These options do not fit {what[0]}.", "--dataset, --name and -p for weeks; --config and "
                          "--set for Prism")  # fmt: skip
    print(cluster.launch(what, profile=profile, given=given, config=config, settings=set_, out=out, account=account,
                         partition=partition, sbatch_args=sbatch_arg, dry_run=dry_run))  # fmt: skip


VERBS = (launch,)
