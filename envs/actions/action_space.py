"""What every action space provides, and several of them side by side."""

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
    """Drives some of a body's actuators.

    Attributes:
        names: Name of each action.
        zero_action: The action that does nothing: no muscle is excited, no motor pushes, (actions,).
        actuators: Model ids of the actuators that it drives, (actuators,).
        low, high: Range of an action; what lies outside is clipped.
        every_substep: Whether controls are computed anew at every physics step instead of once a control step.
        buffers: Names of the attributes (W, ...) that exact resume needs.
    """

    every_substep: ClassVar[bool] = False
    buffers: ClassVar[tuple[str, ...]] = ()

    names: tuple[str, ...]
    zero_action: Tensor
    actuators: Tensor
    low: float = -1.0
    high: float = 1.0

    @abstractmethod
    def to_actuators(self, action: Tensor) -> Tensor:
        """Return the command of each actuator, not clipped: what penalties see. (W, actions) -> (W, actuators)."""

    @abstractmethod
    def to_controls(self, command: Tensor, physics: Physics, goal: Goal) -> Tensor:
        """Return what the physics gets. (W, actuators) -> (W, actuators).

        Args:
            command: From `to_actuators`.
            physics: To read lengths, velocities and the like from.
            goal: To read a motion's feedforward from.
        """

    def from_controls(self, controls: Tensor) -> Tensor:
        """Return the action (W, actions) whose controls are these (W, actuators).

        Raises:
            InputError: The space cannot be inverted: a controller that chooses controls cannot act through it.
        """
        raise InputError(f"{type(self).__name__} has no inverse: no action can be named that gives certain controls")

    def begin(self, environments: Tensor) -> None:  # noqa: B027  most spaces have no past
        """Forget the past of the environments (W,) bool, whose episodes begin."""

    def state(self) -> dict[str, Any]:
        """Return copies of all that exact resume needs."""
        return {name: getattr(self, name).clone() for name in self.buffers}

    def load_state(self, state: Mapping[str, Any]) -> None:
        """Continue from what `state` returned."""
        for name in self.buffers:
            getattr(self, name).copy_(state[name])


class ActionSpaces:
    """Several action spaces side by side: actions and commands are joined in order.

    Actuators that none of them drives get a control of 0.

    Attributes:
        low, high: Range of each action, (actions,).
        driven: Model ids of the actuators that the spaces drive, in their order, (commands,).
    """

    def __init__(self, spaces: Mapping[str, ActionSpace], limits: Tensor):
        """Join spaces by name.

        Args:
            spaces: Name -> action space.
            limits: Lowest and highest control of each actuator of the model, (nu, 2); see `control_limits`.

        Raises:
            InputError: Two spaces drive the same actuator.
        """
        self.spaces = dict(spaces)
        self.names = tuple(name for space in self.spaces.values() for name in space.names)
        self.zero_action = torch.cat([space.zero_action for space in self.spaces.values()])
        self._num_controls = len(limits)
        self._low, self._high = limits.unbind(1)
        self._actions = [len(space.names) for space in self.spaces.values()]
        self._commands = [len(space.actuators) for space in self.spaces.values()]
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

    @property
    def every_substep(self) -> bool:
        """Whether one of the spaces computes controls at every physics step."""
        return any(space.every_substep for space in self.spaces.values())

    def to_actuators(self, action: Tensor) -> Tensor:
        """Return the commands (W, commands) of an action (W, actions)."""
        parts = action.split(self._actions, dim=1)
        return _joined([s.to_actuators(part) for s, part in zip(self.spaces.values(), parts, strict=True)])

    def to_controls(self, command: Tensor, physics: Physics, goal: Goal) -> Tensor:
        """Return the controls (W, nu) of a command (W, commands), not yet clamped."""
        parts = command.split(self._commands, dim=1)
        if self._whole:
            return next(iter(self.spaces.values())).to_controls(command, physics, goal)
        controls = command.new_zeros(len(command), self._num_controls)
        for space, part in zip(self.spaces.values(), parts, strict=True):
            controls.index_copy_(1, space.actuators, space.to_controls(part, physics, goal))
        return controls

    def from_controls(self, controls: Tensor) -> Tensor:
        """Return the action (W, actions) whose controls are these (W, nu); actuators that no space drives are ignored.

        Raises:
            InputError: One of the spaces cannot be inverted.
        """
        return _joined([space.from_controls(controls[:, space.actuators]) for space in self.spaces.values()])

    def driven_controls(self, command: Tensor, physics: Physics, goal: Goal) -> Tensor:
        """Return the clamped controls (W, commands) of the driven actuators alone, in the order of `driven`."""
        parts = zip(self.spaces.values(), command.split(self._commands, dim=1), strict=True)
        controls = _joined([space.to_controls(part, physics, goal) for space, part in parts])
        return controls.clamp(self._low[self.driven], self._high[self.driven])

    def clamp(self, controls: Tensor) -> Tensor:
        """Return controls (W, nu) within the actuators' limits: of a muscle its excitation, in [0, 1]."""
        return controls.clamp(self._low, self._high)

    def begin(self, environments: Tensor) -> None:
        """Forget the past of the environments (W,) bool, whose episodes begin."""
        for space in self.spaces.values():
            space.begin(environments)

    def state(self) -> dict[str, Any]:
        """Return copies of all that exact resume needs."""
        return {name: space.state() for name, space in self.spaces.items()}

    def load_state(self, state: Mapping[str, Any]) -> None:
        """Continue from what `state` returned."""
        for name, space in self.spaces.items():
            space.load_state(state[name])

    def _check_disjoint(self) -> None:
        driven: dict[int, str] = {}
        for name, space in self.spaces.items():
            for actuator in space.actuators.tolist():
                if actuator in driven:
                    raise InputError(
                        f"actions={list(self.spaces)}: {driven[actuator]} and {name} drive the same actuator"
                    )
                driven[actuator] = name


def control_limits(embodiment: Embodiment) -> Tensor:
    """Return the lowest and highest control of each actuator, (nu, 2): of a muscle within [0, 1], which is all that
    MuJoCo's muscles read, of a motor its control range."""
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
