"""Bodies: how each is built, what is tracked, which muscles and motors it has. `make_embodiment("bimanual")`."""

import copy
import dataclasses
import functools
from typing import Any

from muscle_torch.config import Choice, Config, Row
from muscle_torch.config.kinds import Layer, choose, row
from muscle_torch.errors import InputError

from .embodiment import Coupling, Embodiment
from .guard import check_mujoco, check_muscle_lengths
from .moment_arms import moment_matrix, similarity
from .options import EMBODIMENTS, BodyOptions
from .simulation import with_physics

__all__ = [
    "EMBODIMENTS",
    "Coupling",
    "Embodiment",
    "configured_embodiment",
    "make_embodiment",
    "moment_matrix",
    "similarity",
    "with_physics",
]


def make_embodiment(name: str, /, **options: Any) -> Embodiment:
    """Build a body: `make_embodiment("fullbody", fingers=True)`. Each call gets its own copy of the model.

    Args:
        name: A key of EMBODIMENTS.
        options: Fields of the body's options (muscle_torch/embodiments/options.py); the others keep their defaults.

    Raises:
        InputError: There is no such body or option, the installed MuJoCo or body models are another version than the
            tested one, or muscles of the body bend otherwise than the tested ones.
    """
    return _chosen(choose("embodiment", name, [Layer({"embodiment": {"name": name, **options}}, strict=True)]))


def configured_embodiment(config: Config) -> Embodiment:
    """Build the body of a training config, with the physics settings that the config names."""
    return with_physics(_chosen(config.embodiment), config.physics)


def _chosen(choice: Choice) -> Embodiment:
    # Lists as tuples: the options have to be hashable.
    values = {f.name: getattr(choice.options, f.name) for f in dataclasses.fields(choice.options)}
    lists = {name: tuple(value) for name, value in values.items() if isinstance(value, list)}
    options = dataclasses.replace(choice.options, **lists)
    made = _make(choice.name, row("embodiment", choice.name), options)
    return dataclasses.replace(made, model=copy.copy(made.model))


@functools.cache
def _make(name: str, row: Row, options: BodyOptions) -> Embodiment:
    """Compiled once a process: compiling takes a second or two, copying milliseconds."""
    check_mujoco()
    made: Embodiment = row.load()(options)
    if made.key != name:
        raise InputError(f"embodiment {name!r}: {row.path} builds a body with the key {made.key!r}; make them equal")
    check_muscle_lengths(made)
    return made
