"""The motors of an exoskeleton: commands pass a first-order lag and a slew limit before they become torques."""

import math

import torch
from torch import Tensor

from muscle_torch.embodiments import Embodiment
from muscle_torch.embodiments.device import Device
from muscle_torch.errors import InputError
from muscle_torch.physics import Physics

from ..goals.goal import Goal
from .action_space import ActionSpace
from .options import ExoskeletonOptions


class DeviceActions(ActionSpace):
    """Base class of all that drives a device: it turns desired torques into torques, at every physics step.

    Attributes:
        torque: Torque of each motor, (W, motors) [N m]; changed in place.
    """

    every_substep = True
    buffers = ("torque",)
    torque: Tensor  # pyright: ignore[reportIncompatibleVariableOverride]

    def __init__(self, embodiment: Embodiment, num_envs: int, device: torch.device):
        """Resolve the motors.

        Args:
            embodiment: The body with the device.
            num_envs: Number of environments W.
            device: Device of all tensors.

        Raises:
            InputError: The body wears no device.
        """
        self.worn = _device_of(embodiment)
        self.actuators = torch.from_numpy(embodiment.resolve("actuator", self.worn.motors)).to(device)
        self.torque = torch.zeros(num_envs, len(self.worn.motors), device=device)
        self._low = torch.tensor(self.worn.low, device=device)
        self._high = torch.tensor(self.worn.high, device=device)
        self._step = float(embodiment.model.opt.timestep)
        self._share = 1.0 - math.exp(-self._step / self.worn.lag) if self.worn.lag else 1.0
        self._largest = self.worn.slew * self._step

    def begin(self, environments: Tensor) -> None:
        self.torque.masked_fill_(environments.unsqueeze(1), 0.0)

    def follow(self, desired: Tensor) -> Tensor:
        """Advance the torques by one physics step.

        torque += clamp(share * (clamp(desired) - torque)): an exact first-order lag with a slew limit.

        Args:
            desired: Desired torques, (W, motors) [N m].

        Returns:
            A copy of the torques, within the limits.
        """
        change = self._share * (desired.clamp(self._low, self._high) - self.torque)
        self.torque.add_(change.clamp(-self._largest, self._largest))
        return self.torque.clone()


class ExoskeletonActions(DeviceActions):
    """One number per motor in [-1, 1], mapped to its torque range; 0 is no torque."""

    def __init__(self, options: ExoskeletonOptions, embodiment: Embodiment, num_envs: int, device: torch.device):
        super().__init__(embodiment, num_envs, device)
        self.names = self.worn.motors
        self.zero_action = torch.zeros(len(self.names), device=device)

    def to_actuators(self, action: Tensor) -> Tensor:
        return action

    def to_controls(self, command: Tensor, physics: Physics, goal: Goal) -> Tensor:
        """Advance the torques towards the command; return them, (W, motors) [N m].

        Args:
            command: In [-1, 1], (W, motors).
            physics: Not used.
            goal: Not used.
        """
        return self.follow(self.desired_controls(command, physics, goal))

    def desired_controls(self, command: Tensor, physics: Physics, goal: Goal) -> Tensor:
        """Return the desired torques (W, motors) [N m]; a real device has its own lag.

        Args:
            command: In [-1, 1], (W, motors).
            physics: Not used.
            goal: Not used.
        """
        command = command.clamp(-1.0, 1.0)
        return torch.where(command < 0, -command * self._low, command * self._high)

    def from_controls(self, controls: Tensor, physics: Physics, goal: Goal) -> Tensor:
        """Return the action for desired torques; lag and slew limit still delay them.

        Args:
            controls: Desired torques, (W, motors) [N m].
            physics: Not used.
            goal: Not used.
        """
        side = torch.where(controls < 0, -self._low, self._high)
        return torch.where(side > 0, controls / side.clamp(min=1e-12), 0.0)


def _device_of(embodiment: Embodiment) -> Device:
    if embodiment.device is None:
        raise InputError(f"{embodiment.name} wears no exoskeleton: choose one, e.g. exoskeleton=hip_ankle")
    return embodiment.device
