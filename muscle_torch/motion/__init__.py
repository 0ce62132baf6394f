"""Reference motion: clips and their files, resampling, the motion library, generated motions, sampling."""

from .clip import MotionClip
from .failures import FailureRates
from .generated import generate, generated_names
from .library import MotionLibrary
from .load import load_motion
from .relative_sites import RelativeSites, relative_sites_from_matrices, site_velocity
from .sampler import Sampler

__all__ = [
    "FailureRates",
    "MotionClip",
    "MotionLibrary",
    "RelativeSites",
    "Sampler",
    "generate",
    "generated_names",
    "load_motion",
    "relative_sites_from_matrices",
    "site_velocity",
]
