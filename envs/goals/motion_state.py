"""The state of imitation: the body, and the reference in the current and the look-ahead frames."""

from dataclasses import dataclass, field
from functools import cached_property
from typing import NamedTuple, Protocol, cast

import torch
from torch import Tensor

from muscle_torch.motion import MotionLibrary

from ..model_indices import Index
from ..state import State


class RootRange(NamedTuple):
    """Range of the root's pose over all frames of the motions."""

    lowest: Tensor  # height [m], ()
    highest: Tensor  # height [m], ()
    orientation: Tensor  # mean quaternion, (4,)

    @classmethod
    def of(cls, qpos: Tensor) -> "RootRange":
        """Return the range over frames (F, nq).

        The mean orientation minimizes the squared distance and does not depend on the signs of the quaternions.
        """
        quat = qpos[:, 3:7].double()
        mean = torch.linalg.eigh(quat.T @ quat).eigenvectors[:, -1]
        return cls(qpos[:, 2].min(), qpos[:, 2].max(), mean.to(qpos.dtype))


class TerminationSites(NamedTuple):
    """Indices of the tracked sites that termination reads."""

    all: Index  # among all tracked sites
    after_anchor: Index  # among the sites after the anchor
    ankles: Index | None  # among all tracked sites; None: the body has no tracked ankles


class Tables(Protocol):
    """Tables of a motion library, one row per frame, (F, ...); see `MotionLibrary`."""

    qpos: Tensor
    qvel: Tensor
    site_pos: Tensor
    site_mat: Tensor
    site_angvel: Tensor
    site_linvel: Tensor
    rpos: Tensor
    rrot: Tensor
    rvel: Tensor
    muscle_length: Tensor
    muscle_velocity: Tensor


class Reference:
    """Frames of a motion library, read lazily. Quantities have shape (*rows.shape, ...) and the library's axes."""

    def __init__(self, tables: Tables, rows: Tensor, origin: Tensor | None = None):
        """Select frames.

        Args:
            tables: The motion library.
            rows: Rows of the frames, (W,) or (W, n).
            origin: Horizontal position of the reference's root at the start of the episode, (W, 2) [m], which is
                subtracted from positions; None for a body without a root.
        """
        self._tables, self._rows, self._origin = tables, rows, origin

    def frame(self, index: int) -> "Reference":
        """Return frame `index` of each environment, or the last one if there are fewer."""
        return Reference(self._tables, self._rows[:, min(index, self._rows.shape[1] - 1)], self._origin)

    def _read(self, name: str) -> Tensor:
        table = getattr(self._tables, name)
        return table.index_select(0, self._rows.flatten()).view(*self._rows.shape, *table.shape[1:])

    def _shifted(self, values: Tensor) -> Tensor:
        if self._origin is not None:
            values[..., :2] -= self._origin.view(-1, *[1] * (values.dim() - 2), 2)
        return values

    @cached_property
    def qpos(self) -> Tensor:
        """Pose, (..., nq)."""
        return self._shifted(self._read("qpos"))

    @cached_property
    def qvel(self) -> Tensor:
        """Velocity, (..., nv)."""
        return self._read("qvel")

    @cached_property
    def site_pos(self) -> Tensor:
        """World positions of the tracked sites [m], (..., S, 3)."""
        return self._shifted(self._read("site_pos"))

    @cached_property
    def site_linvel(self) -> Tensor:
        """Velocities of the tracked sites, world axes [m/s], (..., S, 3)."""
        return self._read("site_linvel")

    @cached_property
    def rpos(self) -> Tensor:
        """As `State.rpos`, (..., S-1, 3)."""
        return self._read("rpos")

    @cached_property
    def rrot(self) -> Tensor:
        """As `State.rrot`, (..., S-1, 3)."""
        return self._read("rrot")

    @cached_property
    def rvel(self) -> Tensor:
        """As `State.rvel`, (..., S-1, 6)."""
        return self._read("rvel")

    @cached_property
    def muscle_length(self) -> Tensor:
        """Muscle lengths [m], (..., muscles)."""
        return self._read("muscle_length")

    @cached_property
    def muscle_velocity(self) -> Tensor:
        """Muscle velocities [m/s], (..., muscles)."""
        return self._read("muscle_velocity")

    @cached_property
    def feedforward(self) -> Tensor:
        """Feedforward excitations in [0, 1], (..., muscles), computed on first read."""
        from muscle_torch.control import add_feedforward  # only here, so that other policies do without it

        add_feedforward(cast(MotionLibrary, self._tables))
        return self._read("feedforward")


@dataclass(eq=False, kw_only=True)
class MotionState(State):
    """State of a body with a motion to follow.

    Attributes:
        reference: Current frame, rows (W,).
        ahead: Current frame and the following look-ahead frames, rows (W, n).
        phase: Current frame / clip length, (W,).
        termination_sites: Sites that termination reads.
        root_range: Range of the root in the motions; None for a body without a root.
        compact_reference: Leave relative site rotations and velocities out of the look-ahead.
    """

    reference: Reference
    ahead: Reference
    phase: Tensor
    termination_sites: TerminationSites
    root_range: RootRange | None = None
    compact_reference: bool = True
    _squared: dict[str, Tensor] = field(default_factory=dict, init=False)

    @cached_property
    def next_reference(self) -> Reference:
        """The second look-ahead frame, or the first if there is only one; rows (W,)."""
        return self.ahead.frame(1)

    @cached_property
    def site_deviation(self) -> Tensor:
        """Distance of each tracked site from its reference [m], (W, S)."""
        return self.squared_error("site_pos").sum(dim=-1).sqrt_()

    def squared_error(self, name: str) -> Tensor:
        """Return the squared difference of an attribute of the body and of the reference, (W, ...)."""
        if name not in self._squared:
            self._squared[name] = (getattr(self, name) - getattr(self.reference, name)).square_()
        return self._squared[name]
