"""The interface of action spaces, and several of them side by side."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from muscle_torch.embodiments import Embodiment
from muscle_torch.errors import InputError
from muscle_torch.physics import Physics

from ..goals.goal import Goal


class ActionSpace(ABC):
    """A mapping from actions to the controls of some of a body's actuators.

    `to_actuators` maps actions to commands, `to_controls` commands to controls. Penalties read the unclipped commands.

    Attributes:
        names: Name of each action.
        zero_action: Action without effect: no excitation, no torque, (actions,).
        actuators: Model ids of the driven actuators, (actuators,).
        low: Lowest action; lower ones are clipped.
        high: Highest action; higher ones are clipped.
        every_substep: Whether controls are computed at every physics step instead of once per control step.
        buffers: Names of the attributes (W, ...) that exact resume needs.
        torque: Torque of each motor of an exoskeleton, changed in place, (W, motors) [N m]; None for other spaces.
    """

    every_substep: ClassVar[bool] = False
    buffers: ClassVar[tuple[str, ...]] = ()

    names: tuple[str, ...]
    zero_action: Tensor
    actuators: Tensor
    low: float = -1.0
    high: float = 1.0
    torque: Tensor | None = None

    @property
    def num_commands(self) -> int:
        """Number of commands: one per actuator, or 0 if the space computes the controls itself."""
        return len(self.actuators)

    @abstractmethod
    def to_actuators(self, action: Tensor) -> Tensor:
        """Return the unclipped commands, which penalties read.

        Args:
            action: Actions, (W, actions).

        Returns:
            Commands, (W, actuators).
        """

    @abstractmethod
    def to_controls(self, command: Tensor, physics: Physics, goal: Goal) -> Tensor:
        """Return the controls for the physics.

        Args:
            command: Commands from `to_actuators`, (W, actuators).
            physics: Provides the current state, such as muscle lengths.
            goal: Provides the feedforward of a motion.

        Returns:
            Controls, (W, actuators).
        """

    def desired_controls(self, command: Tensor, physics: Physics, goal: Goal) -> Tensor:
        """Return the controls without the actuator dynamics that the space simulates, for exported policies.

        Args:
            command: Commands from `to_actuators`, (W, actuators).
            physics: Provides the current state.
            goal: Provides the feedforward of a motion.
        """
        return self.to_controls(command, physics, goal)

    def from_controls(self, controls: Tensor, physics: Physics, goal: Goal) -> Tensor:
        """Return the action that results in the given controls.

        Args:
            controls: Controls, (W, actuators).
            physics: Provides the current state, such as activations.
            goal: Provides the feedforward of a motion.

        Returns:
            Actions, (W, actions).

        Raises:
            InputError: The space has no inverse, so a controller that chooses controls cannot use it.
        """
        raise InputError(f"{type(self).__name__} has no inverse: choose an action space with `from_controls`")

    def begin(self, environments: Tensor) -> None:  # noqa: B027  most spaces are stateless
        """Reset the internal state of the environments (W,) bool in which an episode starts."""

    def state(self) -> dict[str, Any]:
        """Return copies of all state that exact resume needs."""
        return {name: getattr(self, name).clone() for name in self.buffers}

    def load_state(self, state: Mapping[str, Any]) -> None:
        """Restore what `state` returned."""
        for name in self.buffers:
            getattr(self, name).copy_(state[name])


class ActionSpaces:
    """Several action spaces side by side: actions and commands are concatenated in order.

    Actuators that no space drives get a control of 0.

    Attributes:
        spaces: Name -> action space.
        names: Name of each action.
        zero_action: Action without effect, (actions,).
        low: Lowest value of each action, (actions,).
        high: Highest value of each action, (actions,).
        num_commands: Number of commands.
        driven: Model ids of the driven actuators, in the order of the commands, (commands,).
        columns: Name of a space -> columns of its actions.
        torque: Torque of each motor of the exoskeleton, (W, motors) [N m]; None without one.
        fatigued: Fatigued share of each muscle, (W, muscles); None: muscles do not fatigue.
    """

    fatigued: Tensor | None = None

    def __init__(self, spaces: Mapping[str, ActionSpace], limits: Tensor, idle_torque: Tensor | None = None):
        """Join spaces by name.

        Args:
            spaces: Name -> action space.
            limits: Lowest and highest control of each actuator, (nu, 2); see `control_limits`.
            idle_torque: Zeros (W, motors): the torque of an exoskeleton that no space drives; None: there is none.

        Raises:
            InputError: Two spaces drive the same actuator.
        """
        self.spaces = dict(spaces)
        self.names = tuple(name for space in self.spaces.values() for name in space.names)
        self.zero_action = torch.cat([space.zero_action for space in self.spaces.values()])
        self._num_controls = len(limits)
        self._low, self._high = limits.unbind(1)
        self._actions = [len(space.names) for space in self.spaces.values()]
        self._commands = [space.num_commands for space in self.spaces.values()]
        self.num_commands = sum(self._commands)
        self._check_disjoint()
        self.driven = torch.cat([space.actuators for space in self.spaces.values()])
        first = next(iter(self.spaces.values()))
        identity = torch.arange(self._num_controls, device=first.actuators.device)
        self.low, self.high = (
            torch.cat([torch.full_like(s.zero_action, getattr(s, bound)) for s in self.spaces.values()])
            for bound in ("low", "high")
        )
        self._whole = len(self.spaces) == 1 and torch.equal(first.actuators, identity)
        self.columns = dict(zip(self.spaces, _slices(self._actions), strict=True))
        torques = [space.torque for space in self.spaces.values() if space.torque is not None]
        self.torque = torques[0] if torques else idle_torque

    @property
    def every_substep(self) -> bool:
        """Whether a space computes controls at every physics step."""
        return any(space.every_substep for space in self.spaces.values())

    def to_actuators(self, action: Tensor) -> Tensor:
        """Return the commands (W, commands) of an action (W, actions)."""
        parts = action.split(self._actions, dim=1)
        return _joined([s.to_actuators(part) for s, part in zip(self.spaces.values(), parts, strict=True)])

    def to_controls(self, command: Tensor, physics: Physics, goal: Goal) -> Tensor:
        """Return the controls, not yet clamped.

        Args:
            command: Commands from `to_actuators`, (W, commands).
            physics: Provides the current state.
            goal: Provides the feedforward of a motion.

        Returns:
            Controls, (W, nu).
        """
        parts = command.split(self._commands, dim=1)
        if self._whole:
            return next(iter(self.spaces.values())).to_controls(command, physics, goal)
        controls = command.new_zeros(len(command), self._num_controls)
        for space, part in zip(self.spaces.values(), parts, strict=True):
            controls.index_copy_(1, space.actuators, space.to_controls(part, physics, goal))
        return controls

    def from_controls(self, controls: Tensor, physics: Physics, goal: Goal) -> Tensor:
        """Return the action that results in the given controls; actuators that no space drives are ignored.

        Args:
            controls: Controls, (W, nu).
            physics: Provides the current state.
            goal: Provides the feedforward of a motion.

        Returns:
            Actions, (W, actions).

        Raises:
            InputError: A space has no inverse.
        """
        spaces = self.spaces.values()
        return _joined([space.from_controls(controls[:, space.actuators], physics, goal) for space in spaces])

    def driven_controls(self, command: Tensor, physics: Physics, goal: Goal) -> Tensor:
        """Return the clamped controls of the driven actuators only.

        Args:
            command: Commands from `to_actuators`, (W, commands).
            physics: Provides the current state.
            goal: Provides the feedforward of a motion.

        Returns:
            Controls in the order of `driven`, (W, commands).
        """
        parts = zip(self.spaces.values(), command.split(self._commands, dim=1), strict=True)
        controls = _joined([space.desired_controls(part, physics, goal) for space, part in parts])
        return controls.clamp(self._low[self.driven], self._high[self.driven])

    def clamp(self, controls: Tensor) -> Tensor:
        """Clamp controls (W, nu) to the actuators' limits; those of muscles are excitations in [0, 1]."""
        return controls.clamp(self._low, self._high)

    def apply(self, controls: Tensor, substeps: int) -> Tensor:
        """Return the controls (W, nu) that reach the actuators.

        Args:
            controls: Controls from `to_controls`, not yet clamped, (W, nu).
            substeps: Number of physics steps for which they are applied.
        """
        return self.clamp(controls)

    def begin(self, environments: Tensor) -> None:
        """Reset the internal state of the environments (W,) bool in which an episode starts."""
        for space in self.spaces.values():
            space.begin(environments)

    def state(self) -> dict[str, Any]:
        """Return copies of all state that exact resume needs."""
        return {name: space.state() for name, space in self.spaces.items()}

    def load_state(self, state: Mapping[str, Any]) -> None:
        """Restore what `state` returned."""
        for name, space in self.spaces.items():
            space.load_state(state[name])

    def _check_disjoint(self) -> None:
        driven: dict[int, str] = {}
        for name, space in self.spaces.items():
            for actuator in space.actuators.tolist():
                if actuator in driven:
                    pair = {driven[actuator], name}
                    remedy = "set assistance=zero, or " if "assistance" in pair else ""
                    raise InputError(
                        f"{' and '.join(sorted(pair))} drive the same actuator: {remedy}remove one from actions="
                    )
                driven[actuator] = name


def control_limits(embodiment: Embodiment) -> Tensor:
    """Return the lowest and highest control of each actuator, (nu, 2).

    Motors have their control range; that of muscles is intersected with [0, 1], to which MuJoCo clips excitations.
    """
    model = embodiment.model
    limited = model.actuator_ctrllimited.astype(bool)[:, None]
    limits = torch.from_numpy(np.where(limited, model.actuator_ctrlrange, [-np.inf, np.inf]))
    limits[embodiment.muscle_ids] = limits[embodiment.muscle_ids].clamp(0.0, 1.0)
    return limits.float()


def _slices(sizes: Sequence[int]) -> list[slice]:
    stops = torch.tensor(sizes).cumsum(0).tolist()
    return [slice(stop - size, stop) for stop, size in zip(stops, sizes, strict=True)]


def _joined(parts: list[Tensor]) -> Tensor:
    return parts[0] if len(parts) == 1 else torch.cat(parts, dim=1)
