"""Motors beside the muscles, such as those of an exoskeleton or a robot."""

import torch
from torch import Tensor

from muscle_torch.embodiments import Embodiment
from muscle_torch.errors import InputError
from muscle_torch.physics import Physics

from ..goals.goal import Goal
from .action_space import ActionSpace
from .options import MotorOptions


class MotorActions(ActionSpace):
    """One number per motor in [-1, 1], mapped to its control range; 0 is no torque."""

    def __init__(self, options: MotorOptions, embodiment: Embodiment, num_envs: int, device: torch.device):
        if not len(embodiment.motor_ids):
            raise InputError(f"actions=[motors]: {embodiment.name} has no motors; leave motors out")
        if not 0 < options.limit <= 1:
            raise InputError(f"actions.motors.limit={options.limit}: choose a fraction above 0, at most 1")
        self.names = embodiment.motor_names
        self.actuators = torch.from_numpy(embodiment.motor_ids).to(device)
        limits = torch.from_numpy(embodiment.model.actuator_ctrlrange[embodiment.motor_ids]).float()
        if (limits[:, 0] > 0).any() or (limits[:, 1] < 0).any():
            raise InputError(f"a motor of {embodiment.name} cannot be idle: extend its control range to include 0")
        self._low, self._high = (options.limit * limits).to(device).unbind(1)
        self.zero_action = torch.zeros(len(self.names), device=device)

    def to_actuators(self, action: Tensor) -> Tensor:
        return action

    def to_controls(self, command: Tensor, physics: Physics, goal: Goal) -> Tensor:
        command = command.clamp(-1.0, 1.0)
        return torch.where(command < 0, -command * self._low, command * self._high)

    def from_controls(self, controls: Tensor, physics: Physics, goal: Goal) -> Tensor:
        """Return the actions of controls.

        Args:
            controls: Controls, (W, motors).
            physics: Not read.
            goal: Not read.
        """
        # If the range ends at 0, the control on that side can only be 0.
        side = torch.where(controls < 0, -self._low, self._high)
        return torch.where(side > 0, controls / side.clamp(min=1e-12), 0.0)
