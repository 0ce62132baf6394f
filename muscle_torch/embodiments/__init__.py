"""Bodies: how each is built, what is tracked, which muscles it has. `make_embodiment("bimanual")`."""

import copy
import dataclasses
import functools

from muscle_torch.errors import InputError, nearest

from . import bimanual, fullbody, toy_arm
from .embodiment import Coupling, Embodiment
from .guard import check_muscle_lengths, check_versions
from .moment_arms import moment_matrix, similarity

EMBODIMENTS = {"toy_arm": toy_arm.make, "bimanual": bimanual.make, "fullbody": fullbody.make}

__all__ = ["EMBODIMENTS", "Coupling", "Embodiment", "make_embodiment", "moment_matrix", "similarity"]


def make_embodiment(name: str, fingers: bool = False, motor: bool = False) -> Embodiment:
    """The body `name`, after the version and muscle-path guard. Each call gets its own copy of the model."""
    if name not in EMBODIMENTS:
        raise InputError(f"unknown embodiment {name!r}{nearest(name, tuple(EMBODIMENTS))}")
    made = _make(name, bool(fingers))
    return dataclasses.replace(made, model=copy.copy(made.model))


@functools.cache
def _make(name: str, fingers: bool) -> Embodiment:
    """Compiled once a process: compiling takes a second or two, copying milliseconds."""
    check_versions(with_bodies=name != "toy_arm")
    made = EMBODIMENTS[name](fingers)
    if name != "toy_arm":
        check_muscle_lengths(made)
    return made
