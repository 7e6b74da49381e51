"""What preflight found: for programs (JSON) and for people (a table, one sentence a reason)."""

import json
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from medssl.data.catalog import Rejected, ScanRecord
from medssl.errors import MedsslError

REASONS = {  # every code there is
    "other_modality": "the row is of another modality than those asked for",
    "no_patient": "the row names no patient",
    "no_path": "the row names no path",
    "duplicate": "the same scan stands in the catalog before",
    "several_patients": "rows of several patients name the same file",
    "no_folder": "the folder of the series is not there, or may not be opened",
    "no_file": "no NIfTI file is there",
    "ambiguous_nifti": "the folder holds several NIfTI files, and nothing says which",
    "nifti_load_failed": "the file is no NIfTI file, damaged or cut short",
    "ndim": "not one volume: fewer than three axes, or several frames",
    "dtype": "colours or complex numbers instead of grey values",
    "affine_singular": "the affine cannot be inverted: two axes point the same way",
    "affine_sheared": "the axes are not at right angles, as after a gantry tilt",
    "spacing_mismatch": "no spacing, or another one in the header than in the affine",
    "forms_disagree": "sform and qform place the scan differently",
    "shape_too_small": "too few voxels or millimetres for a patch",
    "nonfinite": "voxels are not a number or infinite",
    "few_values": "a handful of grey values: a mask or an empty scan",
    "not_hounsfield": "called CT, but no voxel lies below 0 HU",
    "empty_foreground": "hardly a voxel belongs to the patient, or all are of one value",
}


def kept_scans(path: str | Path) -> tuple[set[str], str]:
    """(the scan_ids that a report in JSON kept, to train on no other; the root that preflight was given, or "")."""
    try:
        report = json.loads(Path(path).read_text(encoding="utf-8"))
        return {one["scan_id"] for one in report["scans"] if not one.get("reason")}, str(report.get("root", ""))
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise MedsslError(f"{path} is no report of preflight ({type(error).__name__}: {error}).",
                          "the JSON of `medssl prism preflight CATALOG --full --cache DIR --report FILE`") from error


@dataclass(frozen=True)
class Report:
    """kept: the records to train on. verdicts: {scan_id: shape, spacing, stats, …}."""

    level: str
    kept: list[ScanRecord]
    rejected: list[Rejected]
    verdicts: dict[str, dict]
    seconds: dict[str, float]
    settings: dict

    @property
    def reasons(self) -> dict[str, int]:
        """{reason: how many}, the most frequent first; they sum to len(rejected)."""
        return dict(Counter(sorted(one.reason for one in self.rejected)).most_common())

    def as_dict(self) -> dict:
        """kept, rejected and reasons as counts, then one entry for each scan or row."""
        scans = [{"scan_id": one.scan_id, "series_id": one.series_id, "modality": one.modality, "patient": one.patient,
                  "path": one.nifti_path} | self._about(one.scan_id) for one in self.kept]
        scans += [{"scan_id": one.scan_id, "series_id": one.series_id, "modality": one.modality, "path": one.path,
                   "patient": one.patient, "row": one.row} | self._about(one.scan_id)
                  | {"reason": one.reason, "why": one.why} for one in self.rejected]
        return {"kept": len(self.kept), "rejected": len(self.rejected), "reasons": self.reasons,
                "total": len(self.kept) + len(self.rejected), "level": self.level, **self.settings,
                "modalities": dict(Counter(one.modality for one in self.kept)),
                "patients": len({one.patient for one in self.kept}),
                "seconds": self.seconds | {"per_scan": self.per_scan}, "scans": scans}

    @property
    def per_scan(self) -> float:
        """Median seconds of work a scan, those of the journal included."""
        return median(one["seconds"] for one in self.verdicts.values()) if self.verdicts else 0.0

    def _about(self, scan_id: str) -> dict:
        verdict = self.verdicts.get(scan_id, {})
        return {key: value for key, value in verdict.items() if key not in ("scan_id", "key")}

    def table(self) -> str:
        """Lines for the screen."""
        total = len(self.kept) + len(self.rejected)
        kinds = ", ".join(f"{n} {kind}" for kind, n in sorted(Counter(one.modality for one in self.kept).items()))
        lines = [f"preflight ({self.level}): {len(self.kept)} of {total} kept"
                 f"{f' ({kinds}; {len({one.patient for one in self.kept})} patients)' if self.kept else ''}, "
                 f"{len(self.rejected)} rejected; {1000 * self.per_scan:.3g} ms a scan"]
        width = max(map(len, self.reasons), default=0)
        for reason, n in self.reasons.items():
            first = next(one for one in self.rejected if one.reason == reason)
            where = first.path or f"row {first.row}"
            lines += [f"  {n:>6}  {reason:<{width}}  {REASONS[reason]}",
                      f"          {'':<{width}}  e.g. {where}: {first.why}"]
        return "\n".join(lines)
