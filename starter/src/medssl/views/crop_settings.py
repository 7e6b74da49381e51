"""Settings of MultiCrop3D that cannot be, and such as nothing would read. Said before the first scan is looked at."""

from collections.abc import Sequence
from numbers import Integral, Real

from medssl.errors import MedsslError

TISSUE, SOFT = -500.0, (40.0, 400.0)  # HU: above is tissue; centre and width of the window of soft tissue
LIMITS = {"n_global": (1, 99), "n_local": (0, 99), "global_size": (1, 512), "local_size": (1, 512), "aspect": (1, 3),
          "foreground_threshold": (-5000, 5000), "contrast": (0, 1), "brightness": (0, 1), "gamma": (0, 10),
          "noise": (0, 1), "blur": (0, 20)}
WHOLE = ("n_global", "n_local", "global_size", "local_size")
SWITCHES = ("foreground_fill", "localcrops_subset_of_globalcrops")
PAIRS = {"global_mm": "(low, high) mm a voxel, 0 < low <= high", "local_mm": "(low, high) mm a voxel, 0 < low <= high",
         "window": "(centre, width) in HU, a width above 0"}


def check(s: dict, scans) -> None:
    """Every setting within its limits, or an error that says them."""
    for name, value in s.items():
        expected = None
        if name in SWITCHES:  # a text such as "False" counts as true
            expected = None if isinstance(value, bool) else "True or False (true or false in TOML and after --set)"
        elif name in PAIRS:
            fine = isinstance(value, Sequence) and len(value) == 2 and all(isinstance(v, Real) for v in value)
            fine = fine and (value[1] > 0 if name == "window" else 0 < value[0] <= value[1])
            expected = None if fine else PAIRS[name]
        elif name == "region_mm":
            fine = value is None or (isinstance(value, Real) and value > 0)
            expected = None if fine else "an edge above 0 in mm, or none"
        elif not (value is None and name.endswith("_ratio")):
            low, high = LIMITS.get(name, (0, 1))
            if not (isinstance(value, Integral if name in WHOLE else Real) and low <= value <= high):
                expected = f"a {'whole ' * (name in WHOLE)}number from {low} to {high}"
        if expected:
            raise MedsslError(f"{name}={value!r} cannot be.", expected)
    if not len(scans):
        raise MedsslError("There is no scan.", "one at least")


def unread(s: dict, scans) -> list[str]:
    """A sentence for each group of settings that are given here and change nothing."""
    own = ["global_min_foreground_ratio", "local_min_foreground_ratio"]
    given = {name for name in ("min_foreground_ratio", *own) if s[name] is not None}
    told = []
    if s["foreground_crop_prob"] == 0 and given:
        told.append("A minimum foreground ratio is set, and foreground_crop_prob=0 never asks for it.")
    elif given.issuperset(("min_foreground_ratio", *own)):
        told.append("min_foreground_ratio is set, and global_… and local_min_foreground_ratio take its place.")
    if not s["n_local"] and (own[1] in given or s["localcrops_subset_of_globalcrops"]):
        told.append("Something is asked of local crops, and n_local=0 draws none.")
    if all(scan.modality != "CT" for scan in scans) and (s["foreground_threshold"], *s["window"]) != (TISSUE, *SOFT):
        told.append("foreground_threshold and window are in HU, and no scan is CT: MR goes by its own grey values.")
    return told
