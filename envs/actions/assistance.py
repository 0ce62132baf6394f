"""Controllers of an exoskeleton that are not learned: a torque profile over the gait cycle, and myoelectric control.

They are action spaces without actions: they read the physics and drive the motors, whoever drives the muscles.
"""

import mujoco
import numpy as np
import torch
from torch import Tensor

from muscle_torch.biomechanics.muscle_mechanics import peak_force
from muscle_torch.biomechanics.torque_profile import profile_shape
from muscle_torch.embodiments import Embodiment
from muscle_torch.embodiments.moment_arms import moment_arms
from muscle_torch.errors import InputError
from muscle_torch.physics import Physics

from ..goals.goal import Goal
from .assistance_options import MyoelectricOptions, ProfileOptions
from .exoskeleton import DeviceActions

CONTACT_FORCE = 20.0  # [N] on a foot above which it is in contact
SHORTEST_STRIDE, LONGEST_STRIDE = 0.4, 2.5  # [s] durations that count as a gait cycle
MOVING = 0.1  # [rad/s] velocity above which a joint without touch sensors counts as moving forward


class Assistance(DeviceActions):
    """Base class: no actions, no commands."""

    names = ()

    def __init__(self, embodiment: Embodiment, num_envs: int, device: torch.device):
        super().__init__(embodiment, num_envs, device)
        self.zero_action = torch.zeros(0, device=device)

    @property
    def num_commands(self) -> int:
        return 0

    def to_actuators(self, action: Tensor) -> Tensor:
        return action

    def from_controls(self, controls: Tensor, physics: Physics, goal: Goal) -> Tensor:
        """Return the empty action (W, 0): whatever the controls, the space computes its own.

        Args:
            controls: Controls, (W, motors).
            physics: Not used.
            goal: Not used.
        """
        return controls[:, :0]


class GaitClock:
    """Phase of the gait cycle of each motor, from events of its side.

    The event is the heel strike, if touch sensors of that side exist; else the largest angle of the motor's joint,
    which for a hip is close to it. The phase is unknown until a first whole cycle.
    """

    def __init__(self, embodiment: Embodiment, step: float, num_envs: int, device: torch.device):
        assert embodiment.device is not None, "the caller checks it"
        self._step, joints = step, embodiment.device.joints
        model = embodiment.model
        dofs = [int(model.joint(joint).dofadr[0]) for joint in joints]
        self._dofs = torch.tensor(dofs, device=device)
        sensors = [_sensors_of(embodiment, joint) for joint in joints]
        self._touch = tuple(model.sensor_adr[embodiment.resolve("sensor", embodiment.touch_sensors)].tolist())
        mask = [[name in one_side for name in embodiment.touch_sensors] for one_side in sensors]
        self._by_touch = bool(self._touch) and all(any(row) for row in mask)
        self._mask = torch.tensor(mask, dtype=torch.float32, device=device) if self._by_touch else None
        shape = (num_envs, len(joints))
        self.elapsed = torch.zeros(shape, device=device)  # time since the last event [s]
        self.period = torch.full(shape, -1.0, device=device)  # last cycle [s]; 0: unknown, -1: no event yet
        self.active = torch.ones(shape, dtype=torch.bool, device=device)  # foot in contact, or joint moving back

    def begin(self, environments: Tensor) -> None:
        """Forget the phase of the environments (W,) bool."""
        chosen = environments.unsqueeze(1)
        self.elapsed.masked_fill_(chosen, 0.0)
        self.period.masked_fill_(chosen, -1.0)
        self.active.masked_fill_(chosen, True)

    def advance(self, physics: Physics) -> Tensor:
        """Advance by one physics step.

        Args:
            physics: The worlds.

        Returns:
            Phase since the last event, as a fraction of the last cycle, (W, motors); -1 if unknown or overdue.
        """
        self.elapsed.add_(self._step)
        if self._mask is not None:
            active = physics.field("sensordata", self._touch) @ self._mask.T > CONTACT_FORCE
        else:
            velocity = physics.field("qvel")[:, self._dofs]
            active = torch.where(self.active, velocity < MOVING, velocity < 0)
        first = self.period < 0
        event = active & ~self.active & (first | (self.elapsed > SHORTEST_STRIDE))
        whole = ~first & (self.elapsed < LONGEST_STRIDE)
        self.period.copy_(torch.where(event, torch.where(whole, self.elapsed, 0.0), self.period))
        self.elapsed.masked_fill_(event, 0.0)
        self.active.copy_(active)
        phase = self.elapsed / self.period.clamp(min=1e-6)
        return torch.where((self.period > 0) & (phase <= 1.0), phase, -1.0)


class ProfileAssistance(Assistance):
    """A torque profile over the gait cycle: cubic rise to a peak and cubic fall (the shape of Zhang et al. 2017)."""

    buffers = ("torque", "elapsed", "period", "active")

    def __init__(self, options: ProfileOptions, embodiment: Embodiment, num_envs: int, device: torch.device):
        super().__init__(embodiment, num_envs, device)
        self.clock = GaitClock(embodiment, self._step, num_envs, device)
        rows = [_profile(options, "ankle" if "ankle" in joint else "hip") for joint in self.worn.joints]
        peak, self._time, self._rise, self._fall = torch.tensor(rows, device=device).T
        self._peak = peak * self.worn.body_mass

    elapsed = property(lambda self: self.clock.elapsed)
    period = property(lambda self: self.clock.period)
    active = property(lambda self: self.clock.active)

    def begin(self, environments: Tensor) -> None:
        super().begin(environments)
        self.clock.begin(environments)

    def to_controls(self, command: Tensor, physics: Physics, goal: Goal) -> Tensor:
        """Advance the torques by one physics step; return them, (W, motors) [N m].

        Args:
            command: Empty, (W, 0).
            physics: Provides contacts and joint velocities, or activations.
            goal: Not used.
        """
        return self.follow(self.desired(self.clock.advance(physics)))

    def desired(self, phase: Tensor) -> Tensor:
        """Return the torque (W, motors) [N m] at phases (W, motors) in [0, 1]; 0 at negative ones."""
        return self._peak * profile_shape(phase, self._time, self._rise, self._fall)


class MyoelectricAssistance(Assistance):
    """Proportional myoelectric control: torques follow the activations of the muscles that turn the joint.

    Muscles count by maximal force times moment arm in the default pose, those of each direction for themselves.
    """

    def __init__(self, options: MyoelectricOptions, embodiment: Embodiment, num_envs: int, device: torch.device):
        if options.gain < 0 or not 0 <= options.threshold < 1:
            raise InputError(
                f"assistance.gain={options.gain} assistance.threshold={options.threshold}: write a gain of at least 0 "
                "and a threshold in [0, 1)"
            )
        super().__init__(embodiment, num_envs, device)
        self._options, self._rows = options, embodiment.field_rows.get("act")
        raising, lowering = _pulls(embodiment, self.worn.joints)
        self._raising = torch.from_numpy(raising).float().to(device)
        self._lowering = torch.from_numpy(lowering).float().to(device)

    def to_controls(self, command: Tensor, physics: Physics, goal: Goal) -> Tensor:
        """Advance the torques by one physics step; return them, (W, motors) [N m].

        Args:
            command: Empty, (W, 0).
            physics: Provides contacts and joint velocities, or activations.
            goal: Not used.
        """
        return self.follow(self.desired(physics.field("act", self._rows)))

    def desired(self, activation: Tensor) -> Tensor:
        """Return the torque (W, motors) [N m] for activations (W, muscles)."""
        up, down = (self._above(activation @ weights) for weights in (self._raising, self._lowering))
        return self._options.gain * (up * self._high + down * self._low)

    def _above(self, activation: Tensor) -> Tensor:
        return (activation - self._options.threshold).clamp(min=0.0) / (1.0 - self._options.threshold)


def _profile(options: ProfileOptions, kind: str) -> tuple[float, float, float, float]:
    """Return peak [N m/kg], and time, rise and fall as fractions of the cycle."""
    peak, time, rise, fall = (float(getattr(options, f"{kind}_{name}")) for name in ("peak", "time", "rise", "fall"))
    if not 0 <= time <= 100 or not 0 < rise <= 50 or not 0 < fall <= 50:
        raise InputError(
            f"assistance.{kind}_time={time:g} rise={rise:g} fall={fall:g}: write a time from 0 to 100, rise and fall "
            "above 0 and at most 50 % of the cycle"
        )
    return peak, time / 100, rise / 100, fall / 100


def _sensors_of(embodiment: Embodiment, joint: str) -> list[str]:
    """Return the touch sensors on the side of a joint."""
    side = joint.rpartition("_")[2]
    return [name for name in embodiment.touch_sensors if name.startswith(f"{side}_") or name.endswith(f"_{side}")]


def _pulls(embodiment: Embodiment, joints: tuple[str, ...]) -> tuple[np.ndarray, np.ndarray]:
    """Return the weights (muscles, joints) of muscles that raise and that lower each joint angle; columns sum to 1."""
    model = embodiment.model
    arms = -moment_arms(embodiment, mujoco.MjData(model), embodiment.qpos0)
    arms = arms[:, [int(model.joint(joint).dofadr[0]) for joint in joints]]
    moments = arms * np.array([peak_force(model, i) for i in embodiment.muscle_ids.tolist()])[:, None]
    raising, lowering = np.maximum(moments, 0.0), np.maximum(-moments, 0.0)
    for joint, up, down in zip(joints, raising.sum(axis=0), lowering.sum(axis=0), strict=True):
        if not up or not down:
            raise InputError(f"assistance=myoelectric: no muscles turn {joint} both ways; choose another controller")
    return raising / raising.sum(axis=0), lowering / lowering.sum(axis=0)
