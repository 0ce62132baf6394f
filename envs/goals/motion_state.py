"""What the terms of imitation read besides the body: the reference, now and in the next frames."""

from dataclasses import dataclass, field
from functools import cached_property
from typing import NamedTuple, Protocol

import torch
from torch import Tensor

from ..model_indices import Index
from ..state import State


class RootRange(NamedTuple):
    """Where the root is in all frames of the motions."""

    lowest: Tensor  # [m], ()
    highest: Tensor
    orientation: Tensor  # mean quaternion, (4,)

    @classmethod
    def of(cls, qpos: Tensor) -> "RootRange":
        """Return the range over frames (F, nq).

        The mean orientation minimizes the squared distance, whatever the signs of the quaternions.
        """
        quat = qpos[:, 3:7].double()
        mean = torch.linalg.eigh(quat.T @ quat).eigenvectors[:, -1]
        return cls(qpos[:, 2].min(), qpos[:, 2].max(), mean.to(qpos.dtype))


class TerminationSites(NamedTuple):
    """Which of the tracked sites termination looks at."""

    all: Index
    after_anchor: Index  # the same among the sites after the anchor
    ankles: Index | None


class Tables(Protocol):
    """What a motion library holds, one row a frame: (F, ...)."""

    qpos: Tensor
    qvel: Tensor
    site_pos: Tensor
    rpos: Tensor
    rrot: Tensor
    rvel: Tensor
    muscle_length: Tensor
    muscle_velocity: Tensor


class Reference:
    """Frames of a motion library, read when a term asks: (*rows.shape, ...), shapes and frames as in the library.

    origin (W, 2): horizontal position of the reference's root where the episode began [m], which is the world's origin
    from then on; None for a body without a root.
    """

    def __init__(self, tables: Tables, rows: Tensor, origin: Tensor | None = None):
        self._tables, self._rows, self._origin = tables, rows, origin

    def frame(self, index: int) -> "Reference":
        """Return one of several frames an environment, or the last one."""
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
        """(..., nq)."""
        return self._shifted(self._read("qpos"))

    @cached_property
    def qvel(self) -> Tensor:
        """(..., nv)."""
        return self._read("qvel")

    @cached_property
    def site_pos(self) -> Tensor:
        """World position of the tracked sites [m], (..., S, 3)."""
        return self._shifted(self._read("site_pos"))

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
        """[m], (..., muscles)."""
        return self._read("muscle_length")

    @cached_property
    def muscle_velocity(self) -> Tensor:
        """[m/s], (..., muscles)."""
        return self._read("muscle_velocity")


@dataclass(eq=False, kw_only=True)
class MotionState(State):
    """A body and the motion that it should follow."""

    reference: Reference  # the frame the body should be at: rows (W,)
    ahead: Reference  # that frame and the next ones shown to the policy: rows (W, n)
    phase: Tensor  # frame / clip length, (W,)
    termination_sites: TerminationSites
    root_range: RootRange | None = None  # for a body with a root
    compact_reference: bool = True  # leave relative rotations and velocities of the sites out of the look-ahead
    _squared: dict[str, Tensor] = field(default_factory=dict, init=False)

    @cached_property
    def next_reference(self) -> Reference:
        """The second frame of the look-ahead, or the first if there is only one; rows (W,)."""
        return self.ahead.frame(1)

    @cached_property
    def site_deviation(self) -> Tensor:
        """Distance of each tracked site from its reference [m], (W, S)."""
        return self.squared_error("site_pos").sum(dim=-1).sqrt_()

    def squared_error(self, name: str) -> Tensor:
        """Return squared differences between the body's and the reference's `name`, an attribute of both, (W, ...)."""
        if name not in self._squared:
            self._squared[name] = (getattr(self, name) - getattr(self.reference, name)).square_()
        return self._squared[name]
