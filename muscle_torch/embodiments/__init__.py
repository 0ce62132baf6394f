"""Bodies: how each is built, what is tracked, which muscles and motors it has. `make_embodiment("bimanual")`."""

import copy
import dataclasses
import functools
from typing import Any

from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from muscle_torch.config import Config
from muscle_torch.config.kinds import Row
from muscle_torch.errors import InputError, nearest

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
    if name not in EMBODIMENTS:
        raise InputError(f"unknown embodiment {name!r}{nearest(name, tuple(EMBODIMENTS))}")
    row = EMBODIMENTS[name]
    made = _make(name, row, _parsed(name, row.options, options))
    return dataclasses.replace(made, model=copy.copy(made.model))


def configured_embodiment(config: Config) -> Embodiment:
    """Build the body of a training config."""
    body = make_embodiment(config.embodiment.name, **dataclasses.asdict(config.embodiment.options))
    return with_physics(body, config.physics)


@functools.cache
def _make(name: str, row: Row, options: BodyOptions) -> Embodiment:
    """Compiled once a process: compiling takes a second or two, copying milliseconds."""
    check_mujoco()
    made: Embodiment = row.load()(options)
    if made.key != name:
        raise InputError(f"embodiment {name!r}: {row.path} builds a body with the key {made.key!r}; make them equal")
    check_muscle_lengths(made)
    return made


def _parsed(name: str, schema: type, values: dict[str, Any]) -> Any:
    """Return `values` as an instance of the body's options dataclass, lists as tuples, so that it can be hashed."""
    known = [f.name for f in dataclasses.fields(schema)]
    for option in values:
        if option not in known:
            hint = nearest(option, known) if known else "; it has none"
            raise InputError(f"embodiment {name!r} has no option {option!r}{hint}")
    try:
        parsed = OmegaConf.to_object(OmegaConf.merge(OmegaConf.structured(schema), values))
    except OmegaConfBaseException as error:
        raise InputError(f"embodiment {name!r}: bad option: {str(error).splitlines()[0]}") from None
    lists = {f: tuple(v) for f in known if isinstance(v := getattr(parsed, f), list)}
    return dataclasses.replace(parsed, **lists)  # type: ignore[type-var]
