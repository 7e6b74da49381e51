"""The course: what is handed in (contract), how it is written (submission), run and checked."""

from medssl.course.artifacts import find_artifact
from medssl.course.contract import load_contract, load_profiles, profile_parameters
from medssl.course.names import dataset_key, slug
from medssl.course.submission import Submission

__all__ = ["Submission", "dataset_key", "find_artifact", "load_contract", "load_profiles", "profile_parameters", "slug"]
