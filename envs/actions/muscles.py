"""Muscle excitations: one number per muscle."""

from collections.abc import Callable
from typing import NamedTuple

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
    """Map [-1, 1] to the control range.

    If that is [-1, 1], negative controls excite nothing but stay negative in the observed `excitation`, as published.
    """
    return action.clamp(-1.0, 1.0) * ((high - low) / 2) + (high + low) / 2


def _full(action: Tensor, low: Bound, high: Bound) -> Tensor:
    """Map [-1, 1] to [0, 1]: the whole action range excites; an action of 0 is half excitation."""
    return (action.clamp(-1.0, 1.0) + 1.0) / 2


def _clip(action: Tensor, low: Bound, high: Bound) -> Tensor:
    """Clip to [0, 1]."""
    return action.clamp(0.0, 1.0)


def _sigmoid(action: Tensor, low: Bound, high: Bound) -> Tensor:
    """Map all real numbers to (0, 1)."""
    return action.sigmoid()


def _from_half(control: Tensor, low: Bound, high: Bound) -> Tensor:
    return (2 * control - (high + low)) / (high - low)


def _from_full(control: Tensor, low: Bound, high: Bound) -> Tensor:
    return 2 * control - 1


def _from_clip(control: Tensor, low: Bound, high: Bound) -> Tensor:
    return control


def _from_sigmoid(control: Tensor, low: Bound, high: Bound) -> Tensor:
    return control.logit(4.5e-5)


class _Mapping(NamedTuple):
    """A mapping from actions to excitations."""

    excitation: Callable[[Tensor, Bound, Bound], Tensor]
    inverse: Callable[[Tensor, Bound, Bound], Tensor]
    low: float  # lowest action; its excitation is 0, or almost 0 for sigmoid
    high: float


MAPPINGS: dict[str, _Mapping] = {
    Mapping.half: _Mapping(_half, _from_half, -1.0, 1.0),
    Mapping.full: _Mapping(_full, _from_full, -1.0, 1.0),
    Mapping.clip: _Mapping(_clip, _from_clip, 0.0, 1.0),
    Mapping.sigmoid: _Mapping(_sigmoid, _from_sigmoid, -10.0, 10.0),  # 4.5e-5 to 1 - 4.5e-5
}


class MuscleActions(ActionSpace):
    """One number per muscle, mapped to its excitation."""

    def __init__(self, options: MuscleOptions, embodiment: Embodiment, num_envs: int, device: torch.device):
        if not len(embodiment.muscle_ids):
            raise InputError(f"actions=[muscles]: {embodiment.name} has no muscles")
        self._mapping = MAPPINGS[options.mapping]
        self.low, self.high = self._mapping.low, self._mapping.high
        self.names = embodiment.muscle_names
        self.actuators = torch.from_numpy(embodiment.muscle_ids).to(device)
        self._range = _control_range(embodiment, device)
        self.zero_action = torch.full((len(self.names),), self.low, device=device)

    def to_actuators(self, action: Tensor) -> Tensor:
        return action

    def to_controls(self, command: Tensor, physics: Physics, goal: Goal) -> Tensor:
        return self._mapping.excitation(command, *self._range)

    def from_controls(self, controls: Tensor, physics: Physics, goal: Goal) -> Tensor:
        """Return the actions of controls.

        Args:
            controls: Controls, (W, muscles).
            physics: Not read.
            goal: Not read.
        """
        return self._mapping.inverse(controls, *self._range)


def _control_range(embodiment: Embodiment, device: torch.device) -> tuple[Bound, Bound]:
    """Return the lowest and highest control: scalars if all muscles have the same, else (muscles,)."""
    limits = torch.from_numpy(embodiment.model.actuator_ctrlrange[embodiment.muscle_ids]).float()
    if (limits == limits[0]).all():
        return float(limits[0, 0]), float(limits[0, 1])
    low, high = limits.to(device).unbind(1)
    return low, high
