"""Proportional-derivative control of muscle length, as in KINESIS (arXiv 2503.14637)."""

import torch
from torch import Tensor

from muscle_torch.embodiments import Embodiment
from muscle_torch.errors import InputError
from muscle_torch.physics import Physics

from ..goals.goal import Goal
from .action_space import ActionSpace
from .muscle_curves import MuscleCurves
from .options import LengthOptions

LEAST_GAIN = 1.0  # [N] lower bound of a muscle's active force, so that a muscle without any is not divided by 0


class LengthActions(ActionSpace):
    """One number a in [-1, 1] per muscle: its target length, from 0 to its longest length.

    The force kp F0 (target - length) - kd F0 velocity, clipped to [-F0, 0], is divided by the muscle's current force at
    full activation, less the passive force; the quotient, clipped to [0, 1], is the excitation. It is computed again at
    every physics step. The gain saturates: a muscle that is 1 / kp metres too long is fully excited. With
    `zero_action`, the longest length, it excites only muscles that lengthen quickly.
    """

    every_substep = True

    def __init__(self, options: LengthOptions, embodiment: Embodiment, num_envs: int, device: torch.device):
        if not len(embodiment.muscle_ids):
            raise InputError(f"actions=[length_pd]: {embodiment.name} has no muscles")
        if not options.kp > 0 or not options.kd >= 0:
            raise InputError(
                f"actions.length_pd.kp={options.kp} kd={options.kd}: kp must be above 0, kd at least 0 "
                "(published code: 5 and 0.5)"
            )
        self._options = options
        self.names = embodiment.muscle_names
        self.actuators = torch.from_numpy(embodiment.muscle_ids).to(device)
        self.zero_action = torch.ones(len(self.names), device=device)
        self._curves = MuscleCurves(embodiment.model, embodiment.muscle_ids, device)
        longest = embodiment.model.actuator_lengthrange[embodiment.muscle_ids, 1]
        self._longest = torch.from_numpy(longest).float().to(device)
        self._rows = {
            name: embodiment.field_rows.get(name) for name in ("actuator_length", "actuator_velocity")
        }  # of muscles, without motors and props

    def to_actuators(self, action: Tensor) -> Tensor:
        return action

    def to_controls(self, command: Tensor, physics: Physics, goal: Goal) -> Tensor:
        """Return the excitations for the current lengths, (W, muscles).

        Args:
            command: Target lengths as actions, (W, muscles).
            physics: Provides lengths and velocities of the muscles.
            goal: Not read.
        """
        length, velocity = (physics.field(name, rows) for name, rows in self._rows.items())
        target = (command.clamp(-1.0, 1.0) + 1.0) / 2 * self._longest
        peak, options = self._curves.peak, self._options
        pull = peak * (options.kp * (target - length) - options.kd * velocity)
        force = torch.minimum(torch.maximum(pull, -peak), torch.zeros_like(pull))
        gain = self._curves.gain(length, velocity).clamp(max=-LEAST_GAIN)
        return ((force - self._curves.bias(length)) / gain).clamp(0.0, 1.0)
