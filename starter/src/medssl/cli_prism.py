"""The verbs `medssl prism …`: week 15 on tens of thousands of CT and MR scans."""

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
    root: Annotated[Path | None, option(help="Folder that paths are relative to. Default: the catalog's.")] = None,
):  # fmt: skip
    """Which scans of a catalog can be learnt from?

    Each is kept or gets one reason. The exit code is 1 if none is left.
    """
    from medssl.data.preflight import preflight as judge

    found = judge(catalog, "full" if full else "header", report, cache, workers if full else 0, patch_mm,
                  tuple(modality or ("CT", "MR")), root)  # fmt: skip
    print(found.table())
    if report:
        print(f"written: {report}")
    raise typer.Exit(int(not found.kept))
