"""The muscle strength with which a rollout was played."""

import numpy as np

from muscle_torch.embodiments import Embodiment
from muscle_torch.motion.rollout_archive import Episode

from .metabolic import active_force, passive_force

SAME = 0.05  # recorded forces are one substep old: a strength nearer to 1 is taken as 1


def played_strength(
    embodiment: Embodiment, episode: Episode, lengths: np.ndarray, velocities: np.ndarray
) -> np.ndarray:
    """Return the strength of every muscle in a rollout over the model's, (muscles,), from its recorded forces.

    Args:
        embodiment: The body, with the strength of the model.
        episode: The rollout, T frames.
        lengths: Actuator lengths, (T, muscles) [m].
        velocities: Actuator velocities, (T, muscles) [m/s].
    """
    model = episode.activation * active_force(embodiment, lengths, velocities) + passive_force(embodiment, lengths)
    recorded, model = -episode.muscle_force[1:].astype(float), model[1:]  # the first row is from before the rollout
    squares = (model**2).sum(axis=0)
    ratio = np.where(squares > 1.0, (recorded * model).sum(axis=0) / np.maximum(squares, 1.0), 1.0)
    return np.where(np.abs(ratio - 1.0) < SAME, 1.0, ratio)
