"""The verb `medssl anonymize`: calls data/deidentify.py."""

from pathlib import Path
from typing import Annotated

import typer

option = typer.Option


def anonymize(
    source: Annotated[Path, typer.Argument(metavar="IN", help="A file or a folder of images. It is never changed.")],
    out: Annotated[Path, typer.Argument(metavar="OUT", help="A new or empty folder, outside IN.")],
    shift_dates: Annotated[bool, option("--shift-dates", help="Move each patient's dates by the same secret number of "
                                        "days. Default: dates are removed.")] = False,
    key: Annotated[Path | None, option(help="Keep the way back to the patients in this file, outside IN and "
                                            "OUT. Default: there is none.")] = None,
):  # fmt: skip
    """Copy images without what identifies the patient.

    After DICOM PS3.15 Basic Profile: DICOM, NIfTI, PNG, JPEG, TIFF; other files are refused. It looks at no pixel, and
    is a tool, no certificate. Writes report.txt and report.json. The exit code is 0 only if every file was copied.
    """
    from medssl.data.deidentify import NOTICE, anonymize

    report = anonymize(source, out, shift_dates=shift_dates, key=key)
    refused = report.refused()
    for path, why in refused:
        print(f"not copied: {path}: {why}")
    print(f"{len(report.files) - len(refused)} of {len(report.files)} files copied to {out}; see {out / 'report.txt'}")
    print(NOTICE)
    raise typer.Exit(int(bool(refused)))


VERBS = (anonymize,)
