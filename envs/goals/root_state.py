"""The state of a free body whose root has a target: terms of imitation read the body itself as their reference."""

import weakref
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from muscle_torch.motion import site_velocity

from .kinesis_state import KinesisState
from .motion_state import TerminationSites


class OwnBody:
    """The body as its own reference, with the root, and the anchor among the sites, moved to the target.

    Velocities are the body's own, so a policy trained by imitation sees a reference that differs from the body only in
    the position of its root. Quantities have the shapes of `Reference`.
    """

    def __init__(self, state: "RootState", frames: int = 0):
        """Refer to a state.

        Args:
            state: The state, which must outlive this object.
            frames: Number n of equal look-ahead frames, for shapes (W, n, ...); 0: one frame, (W, ...).
        """
        self._state, self._frames = state, frames

    def frame(self, index: int) -> "OwnBody":
        """Return one frame; all are equal."""
        return OwnBody(self._state)

    def _repeated(self, values: Tensor) -> Tensor:
        return values.unsqueeze(1).expand(-1, self._frames, *values.shape[1:]) if self._frames else values

    @cached_property
    def qpos(self) -> Tensor:
        """Pose with the root at the target, (..., nq)."""
        return self._repeated(torch.cat((self._state.point, self._state.qpos[:, 3:]), dim=1))

    @cached_property
    def qvel(self) -> Tensor:
        """Velocity, (..., nv)."""
        return self._repeated(self._state.qvel)

    @cached_property
    def site_pos(self) -> Tensor:
        """World positions of the tracked sites, with the anchor at the target [m], (..., S, 3)."""
        return self._repeated(torch.cat((self._state.point.unsqueeze(1), self._state.site_pos[:, 1:]), dim=1))

    @cached_property
    def site_linvel(self) -> Tensor:
        """Velocities of the tracked sites, world axes [m/s], (..., S, 3)."""
        return self._repeated(self._state.site_linvel)

    @cached_property
    def rpos(self) -> Tensor:
        """As `State.rpos`, (..., S-1, 3)."""
        return self._repeated(self._state.rpos)

    @cached_property
    def rrot(self) -> Tensor:
        """As `State.rrot`, (..., S-1, 3)."""
        return self._repeated(self._state.rrot)

    @cached_property
    def rvel(self) -> Tensor:
        """As `State.rvel`, (..., S-1, 6)."""
        return self._repeated(self._state.rvel)

    @cached_property
    def muscle_length(self) -> Tensor:
        """Muscle lengths [m], (..., muscles)."""
        return self._repeated(self._state.read("actuator_length"))

    @cached_property
    def muscle_velocity(self) -> Tensor:
        """Muscle velocities [m/s], (..., muscles)."""
        return self._repeated(self._state.read("actuator_velocity"))


@dataclass(eq=False, kw_only=True)
class RootState(KinesisState):
    """State of a free body whose root has a target on the floor.

    Attributes:
        reference: The body itself, at the target.
        ahead: The same in every look-ahead frame.
        target: Horizontal position of the target [m], (W, 2).
        height: Height of the root at the target, as in the motions [m].
        radius: Distance from the target that counts as reached [m].
        forward: Direction in which the body faces when the yaw of its root is 0 [rad].
        previous_distance: Distance before this control step [m], (W,).
        lookahead: Number of look-ahead frames.
    """

    reference: Any = field(init=False)
    ahead: Any = field(init=False)
    phase: Tensor = field(init=False)
    termination_sites: TerminationSites = field(init=False)
    target: Tensor
    height: float
    radius: float
    forward: float
    previous_distance: Tensor
    lookahead: int

    def __post_init__(self) -> None:
        proxy: Any = weakref.proxy(self)  # no reference cycle, which would keep tensors until a collection
        self.reference, self.ahead = OwnBody(proxy), OwnBody(proxy, self.lookahead)
        self.phase = torch.zeros_like(self.previous_distance)

    @cached_property
    def site_linvel(self) -> Tensor:
        """Velocities of the tracked sites, world axes [m/s], (W, S, 3)."""
        return site_velocity(self.site_pos, self.read("cvel"), self.read("subtree_com"))[1]

    @cached_property
    def offset(self) -> Tensor:
        """Horizontal vector from the root to the target, world axes [m], (W, 2)."""
        return self.target - self.qpos[:, :2]

    @cached_property
    def distance(self) -> Tensor:
        """Horizontal distance from the root to the target [m], (W,)."""
        return torch.linalg.vector_norm(self.offset, dim=1)

    @cached_property
    def point(self) -> Tensor:
        """Position of the root at the target [m], (W, 3)."""
        height = torch.full_like(self.offset[:, :1], self.height)
        return torch.cat((self.qpos[:, :2] + self.offset, height), dim=1)
