"""A body with weaker muscles."""

import dataclasses
from typing import Any

import numpy as np

from .deficits import deficits
from .embodiment import Embodiment

FORCE, SCALE = 2, 3  # columns of the muscle parameters; MuJoCo reads the scale if the force is negative


def weakened(embodiment: Embodiment, strength: np.ndarray) -> Embodiment:
    """Return the body with a copy of its model whose muscles have another strength, active and passive force together.

    New specs of the body (`build_spec`) keep their strength.

    Args:
        embodiment: The body.
        strength: Factors, (muscles,).
    """
    model = embodiment.model.__copy__()
    for muscle, factor in zip(embodiment.muscle_ids, strength, strict=True):
        for parameters in (model.actuator_gainprm, model.actuator_biasprm):
            parameters[muscle, FORCE if parameters[muscle, FORCE] >= 0 else SCALE] *= factor
    return dataclasses.replace(embodiment, model=model)


def deficit_strength(embodiment: Embodiment, deficit: Any) -> np.ndarray:
    """Return the strength of every muscle under the key `deficit`, for ranges their middle, (muscles,).

    Args:
        embodiment: The body.
        deficit: A preset, or group -> fraction of strength that remains; see `deficits`.

    Raises:
        InputError: A preset, group or side does not exist, or a severity is out of range.
    """
    strength = np.ones(len(embodiment.muscle_ids))
    for one in deficits(deficit, embodiment):
        strength[embodiment.muscle_columns(one.muscles)] *= 0.5 * (one.lowest + one.highest)
    return strength
