"""Muscle excitations: one number a muscle."""

from collections.abc import Callable

import torch
from torch import Tensor

from muscle_torch.embodiments import Embodiment
from muscle_torch.errors import InputError
from muscle_torch.physics import Physics

from ..goals.goal import Goal
from .action_space import ActionSpace
from .options import Mapping, MuscleOptions

Bound = float | Tensor


def _half(action: Tensor, low: Bound, high: Bound) -> Tensor:
    """[-1, 1] onto the control range. If that is [-1, 1], a negative control excites nothing, and stays negative in
    the observation term `excitation`, as in the published system."""
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


# Mapping -> (function, lowest action, which excites nothing or next to nothing, highest action)
MAPPINGS: dict[str, tuple[Callable[[Tensor, Bound, Bound], Tensor], float, float]] = {
    Mapping.half: (_half, -1.0, 1.0),
    Mapping.full: (_full, -1.0, 1.0),
    Mapping.clip: (_clip, 0.0, 1.0),
    Mapping.sigmoid: (_sigmoid, -10.0, 10.0),  # 4.5e-5 to 1 - 4.5e-5
}


class MuscleActions(ActionSpace):
    """Excites all muscles of a body, each by its own number."""

    def __init__(self, options: MuscleOptions, embodiment: Embodiment, num_envs: int, device: torch.device):
        if not len(embodiment.muscle_ids):
            raise InputError(f"actions=[muscles]: {embodiment.name} has no muscles")
        self._excitation, self.low, self.high = MAPPINGS[options.mapping]
        self.names = embodiment.muscle_names
        self.actuators = torch.from_numpy(embodiment.muscle_ids).to(device)
        self._range = _control_range(embodiment, device)
        self.zero_action = torch.full((len(self.names),), self.low, device=device)

    def to_actuators(self, action: Tensor) -> Tensor:
        return action

    def to_controls(self, command: Tensor, physics: Physics, goal: Goal) -> Tensor:
        return self._excitation(command, *self._range)


def _control_range(embodiment: Embodiment, device: torch.device) -> tuple[Bound, Bound]:
    """Return the lowest and highest control: numbers if all muscles share them, else (muscles,)."""
    limits = torch.from_numpy(embodiment.model.actuator_ctrlrange[embodiment.muscle_ids]).float()
    if (limits == limits[0]).all():
        return float(limits[0, 0]), float(limits[0, 1])
    low, high = limits.to(device).unbind(1)
    return low, high
