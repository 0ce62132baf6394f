"""Muscle excitations: one number a muscle, or mixed by synergies."""

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from muscle_torch.embodiments import Embodiment, similarity
from muscle_torch.errors import InputError
from muscle_torch.physics import Physics

from ..goals.goal import Goal
from .action_space import ActionSpace
from .options import Mapping, MuscleOptions

Bound = float | Tensor


def _half(action: Tensor, low: Bound, high: Bound) -> Tensor:
    """[-1, 1] onto the control range. If that is [-1, 1], negative controls stay: MuJoCo reads them as 0."""
    return action.clamp(-1.0, 1.0) * ((high - low) / 2) + (high + low) / 2


def _full(action: Tensor, low: Bound, high: Bound) -> Tensor:
    """[-1, 1] onto [0, 1]: the whole action range excites, and an action of 0 is half excitation."""
    return (action.clamp(-1.0, 1.0) + 1.0) / 2


def _clip(action: Tensor, low: Bound, high: Bound) -> Tensor:
    """[0, 1] as it is."""
    return action.clamp(0.0, 1.0)


def _sigmoid(action: Tensor, low: Bound, high: Bound) -> Tensor:
    """All numbers onto (0, 1)."""
    return action.sigmoid()


# Mapping -> (function, the action that excites nothing or next to nothing)
MAPPINGS: dict[str, tuple[Callable[[Tensor, Bound, Bound], Tensor], float]] = {
    Mapping.half: (_half, -1.0),
    Mapping.full: (_full, -1.0),
    Mapping.clip: (_clip, 0.0),
    Mapping.sigmoid: (_sigmoid, -10.0),  # 4.5e-5
}


class MuscleActions(ActionSpace):
    """Excites all muscles of a body.

    With `synergy_mixing` = s > 0 an action is made of synergies: one number drives all muscles that pull alike, its
    opposite their antagonists. commands = M action with M M^T = (1 - s) I + s C, where C holds the cosines between the
    muscles' moment arms: independent noise of standard deviation 1 on the actions is noise of standard deviation 1 on
    every muscle, correlated by C. The columns of M are ordered by how much they move. M is invertible: every muscle
    can still be driven alone. `action_bias` is added to every muscle's command.
    """

    def __init__(self, options: MuscleOptions, embodiment: Embodiment, num_envs: int, device: torch.device):
        mixing = options.synergy_mixing
        if not 0 <= mixing < 1:
            raise InputError(f"actions.muscles.synergy_mixing={mixing}: choose a fraction from 0 to below 1")
        if not len(embodiment.muscle_ids):
            raise InputError(f"actions=[muscles]: {embodiment.name} has no muscles")
        self._excitation, zero = MAPPINGS[options.mapping]
        self._bias = options.action_bias
        self.names = embodiment.muscle_names
        self.actuators = torch.from_numpy(embodiment.muscle_ids).to(device)
        self._range = _control_range(embodiment, device)
        self._mixing: Tensor | None = None
        idle = torch.full((len(self.names),), zero) - self._bias
        if mixing:
            matrix = mixing_matrix(similarity(embodiment), mixing)
            self._mixing = torch.from_numpy(matrix).float().to(device)
            idle = torch.from_numpy(np.linalg.solve(matrix, idle.double().numpy())).float()
            self.names = tuple(f"synergy_{k}" for k in range(len(self.names)))
        self.zero_action = idle.to(device)

    def to_actuators(self, action: Tensor) -> Tensor:
        if self._mixing is not None:
            action = action @ self._mixing.T
        return action + self._bias if self._bias else action

    def to_controls(self, command: Tensor, physics: Physics, goal: Goal) -> Tensor:
        return self._excitation(command, *self._range)


def mixing_matrix(cosines: np.ndarray, share: float) -> np.ndarray:
    """Return a root M (n, n) of (1 - share) I + share C, its columns by falling weight."""
    weights, directions = np.linalg.eigh((1 - share) * np.eye(len(cosines)) + share * cosines)
    # A direction's sign is arbitrary: take the one that excites more than it relaxes, the same on every machine.
    signs = np.where(directions.sum(axis=0) < 0, -1.0, 1.0)
    return (directions * signs * np.sqrt(weights))[:, ::-1].copy()


def _control_range(embodiment: Embodiment, device: torch.device) -> tuple[Bound, Bound]:
    """Return the lowest and highest control: numbers if all muscles share them, else (muscles,)."""
    limits = torch.from_numpy(embodiment.model.actuator_ctrlrange[embodiment.muscle_ids]).float()
    if (limits == limits[0]).all():
        return float(limits[0, 0]), float(limits[0, 1])
    low, high = limits.to(device).unbind(1)
    return low, high
