"""Motions of the toy arm, which has one elbow."""

from collections.abc import Callable

import numpy as np

from muscle_torch.embodiments import Embodiment

from .key_poses import flowing, through


def reach(embodiment: Embodiment, random: np.random.Generator) -> dict[str, np.ndarray]:
    """Move between random targets, with a pause at each."""
    angles = np.concatenate(([0.2], 0.4 + 1.2 * random.permutation(np.linspace(0, 1, 4)), [0.2]))
    times = [0.0, 0.3, *(0.3 + np.arange(1, 5) * 0.9), 4.8, 5.0]
    values = np.concatenate((angles[:1], angles, angles[-1:]))
    return {"elbow": through(times, values, embodiment.control_frequency)}


def swing(embodiment: Embodiment, random: np.random.Generator) -> dict[str, np.ndarray]:
    """Swing back and forth at 0.8 Hz with varying amplitude."""
    times = np.arange(0, 9) * 0.625
    angles = np.array([0.8, 1.2, 0.5, 1.3, 0.4, 1.4, 0.4, 1.2, 0.8])
    return {"elbow": flowing(times, angles, embodiment.control_frequency)}


MOTIONS: dict[str, Callable[[Embodiment, np.random.Generator], dict[str, np.ndarray]]] = {
    "reach": reach,
    "swing": swing,
}
