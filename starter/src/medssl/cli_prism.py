"""The verbs `medssl prism …`: week 15 on tens of thousands of CT and MR scans."""

import os
import tempfile
from pathlib import Path
from typing import Annotated

import typer

prism = typer.Typer(help="Prism: learn from pairs of views of CT and MR scans (week 15).", no_args_is_help=True,
                    rich_markup_mode=None, context_settings={"help_option_names": ["-h", "--help"]})  # fmt: skip
option = typer.Option


@prism.command()
def preflight(
    catalog: Annotated[Path, typer.Argument(help="Table of scans: .csv, .csv.gz, .tsv, .parquet. Columns pmbb_id, "
                                            "modality, series_path; or patient, modality, nifti_path.")],
    report: Annotated[Path | None, option(help="Write the verdict on every scan here, as JSON.")] = None,
    full: Annotated[bool, option("--full", help="Read voxels too, and write --cache. Default: headers only.")] = False,
    cache: Annotated[Path | None, option(help="Folder for the cached scans; needs their size on a fast disk.")] = None,
    workers: Annotated[int, option(help="Processes of --full. A run that was stopped goes on where it was.",
                                   min=0)] = 4,
    patch_mm: Annotated[float, option(help="Edge of a patch in mm: smaller scans are rejected.", min=1)] = 16,
    modality: Annotated[list[str] | None, option(help="Keep CT or MR only. Default: both.")] = None,
    root: Annotated[Path | None, option(help="Folder that paths are relative to. Default: the catalog's. Training "
                                             "finds it in the report; without one, set data.root.")] = None,
):  # fmt: skip
    """Which scans of a catalog can be learnt from?

    Each is kept or gets one reason. The exit code is 1 if none is left.
    """
    from medssl.data.preflight import preflight as judge

    found = judge(catalog, "full" if full else "header", report, cache, workers if full else 0, patch_mm,
                  tuple(name.upper() for name in modality or ("CT", "MR")), root)  # fmt: skip
    print(found.table())
    if report:
        print(f"written: {report}")
    raise typer.Exit(int(not found.kept))


Set = Annotated[list[str] | None, option("--set", metavar="PART.KEY=VALUE", help="Change a setting of the config, such "
                                         "as train.lr=1e-3. Say it again for more.")]


@prism.command()
def train(
    config: Annotated[Path | None, typer.Argument(help="TOML file with tables [data], [model], [loss], [train], "
                                                  "[wandb], [checkpoint], [quota], [runtime].")] = None,
    set_: Set = None,
):
    """Train, or go on with a run that was cut: say the same command again.

    The exit code is 0 only if all went well; 75 after a checkpoint because the machine was taken back. Writes
    checkpoint-*.pt, history.jsonl and result.json below checkpoint.folder.
    """
    _leave_home_alone()
    from medssl.recipes.prism import read_config, train_prism

    raise typer.Exit(train_prism(read_config(config, set_ or [])).exit_code)


@prism.command()
def ablate(
    config: Annotated[Path | None, typer.Argument(help="TOML file with what all runs share: catalog, folders.")] = None,
    study: Annotated[str, option(help="core24 or heads.")] = "core24",
    list_: Annotated[bool, option("--list", help="Show the runs, and train none.")] = False,
    run: Annotated[int | None, option(help="Train the run of this number (SLURM_ARRAY_TASK_ID).")] = None,
    rank: Annotated[Path | None, option(help="Rank the runs below this folder by their "
                                       "result.json, and recommend settings, or say why not. Runs that were all given "
                                       "some --set are ranked with the same --set.")] = None,
    set_: Set = None,
):  # fmt: skip
    """The ablation: 24 runs of one table (core24), or what the heads predict (heads)."""
    _leave_home_alone()
    from medssl.errors import MedsslError
    from medssl.recipes import prism_ablation
    from medssl.recipes.prism import read_config, train_prism
    from medssl.recipes.prism_recommendation import recommendation

    if [list_, run is not None, rank is not None].count(True) != 1:
        raise MedsslError("medssl prism ablate was not told what to do.", "one of --list, --run I, --rank FOLDER")
    if list_:
        rows = prism_ablation.runs(study)
        same = set.intersection(*(set(row["overrides"].items()) for row in rows))
        print("all runs:", *(f"{k}={v}" for k, v in rows[0]["overrides"].items() if (k, v) in same))
        for row in rows:
            own = (f"{k}={v}" for k, v in row["overrides"].items() if (k, v) not in same)
            print(f"{row['index']:>2}  {row['name']:<26}", *own)
    elif rank is not None:
        results = prism_ablation.read_results(rank)
        ours, others = prism_ablation.of_study(results, study, set_ or [])
        print("\n".join([prism_ablation.table(ours) or f"No run of {study}, with its settings, is below {rank}.",
                         *(f"not of this study: {other}" for other in others)]))
        if study == "core24" and not set_:  # a smaller study recommends nothing for the large one
            print("\n" + recommendation(results))
    else:
        settings = prism_ablation.settings(prism_ablation.one_run(run, study), set_ or [])
        raise typer.Exit(train_prism(read_config(config, settings)).exit_code)


def _leave_home_alone() -> None:
    """matplotlib writes its list of fonts into the home directory as soon as it is imported."""
    os.environ.setdefault("MPLCONFIGDIR", str(Path(tempfile.gettempdir()) / f"matplotlib-{os.getuid()}"))
