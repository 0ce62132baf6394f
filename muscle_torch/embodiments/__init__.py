"""Bodies: model, tracked sites, muscles and motors. `make_embodiment("bimanual")`."""

import copy
import dataclasses
import functools
from typing import Any

from muscle_torch.config import Choice, Config, Row
from muscle_torch.config.kinds import Layer, choose, row
from muscle_torch.errors import InputError

from .embodiment import Coupling, Embodiment
from .exoskeleton import wear
from .guard import check_mujoco, check_muscle_lengths
from .moment_arms import actuator_moments, moment_matrix, similarity
from .options import EMBODIMENTS, BodyOptions
from .simulation import with_physics

__all__ = [
    "EMBODIMENTS",
    "Coupling",
    "Embodiment",
    "actuator_moments",
    "configured_embodiment",
    "make_embodiment",
    "moment_matrix",
    "similarity",
    "with_physics",
]


def make_embodiment(name: str, /, **options: Any) -> Embodiment:
    """Build a body: `make_embodiment("fullbody", fingers=True)`.

    Args:
        name: A key of `EMBODIMENTS`.
        options: Fields of the body's options (muscle_torch/embodiments/options.py); omitted fields keep their defaults.

    Returns:
        The body with a new copy of its compiled model, which the caller may edit.

    Raises:
        InputError: The body or an option does not exist, MuJoCo or the body models are not the tested version, or
            muscle lengths differ from the validated ones.
    """
    return _chosen(choose("embodiment", name, [Layer({"embodiment": {"name": name, **options}}, strict=True)]))


def configured_embodiment(config: Config) -> Embodiment:
    """Build the body of a config, with its exoskeleton and physics settings.

    Args:
        config: A configuration; reads `embodiment`, `exoskeleton` and `physics`.

    Returns:
        The body with a new copy of its compiled model.

    Raises:
        InputError: As `make_embodiment`, `exoskeleton.with_device` and `with_physics`.
    """
    return with_physics(_chosen(config.embodiment, config.exoskeleton), config.physics)


def _chosen(choice: Choice, device: Choice | None = None) -> Embodiment:
    # Tuples instead of lists: `_make` caches by options, so they must be hashable.
    values = {f.name: getattr(choice.options, f.name) for f in dataclasses.fields(choice.options)}
    lists = {name: tuple(value) for name, value in values.items() if isinstance(value, list)}
    options = dataclasses.replace(choice.options, **lists)
    made = _make(choice.name, row("embodiment", choice.name), options)
    made = made if device is None else wear(made, device)
    return dataclasses.replace(made, model=copy.copy(made.model))


@functools.cache
def _make(name: str, row: Row, options: BodyOptions) -> Embodiment:
    """Build a body once per process: compiling takes one or two seconds, copying the model milliseconds."""
    check_mujoco()
    made: Embodiment = row.load()(options)
    if made.key != name:
        raise InputError(f"embodiment {name!r}: {row.path} builds a body with the key {made.key!r}; make them equal")
    check_muscle_lengths(made)
    return made
