"""A motion turned about the vertical."""

from functools import cached_property

import torch
from torch import Tensor

from muscle_torch.motion import relative_sites_from_matrices
from muscle_torch.rotations import quat_mul

from .motion_state import Reference, Tables


class TurnedReference(Reference):
    """Frames of a motion library, turned about the vertical axis through the environment's origin."""

    def __init__(self, tables: Tables, rows: Tensor, origin: Tensor, angle: Tensor):
        """Select frames.

        Args:
            tables: The motion library.
            rows: Rows of the frames, (W,) or (W, n).
            origin: Horizontal position of the reference's root at the start of the episode, (W, 2) [m].
            angle: Angles of the turn, (W,) [rad].
        """
        super().__init__(tables, rows, origin)
        self._angle = angle

    def frame(self, index: int) -> "TurnedReference":
        """Return frame `index` of each environment, or the last one if there are fewer."""
        assert self._origin is not None, "a turned reference has an origin"
        rows = self._rows[:, min(index, self._rows.shape[1] - 1)]
        return TurnedReference(self._tables, rows, self._origin, self._angle)

    @cached_property
    def qpos(self) -> Tensor:
        qpos = self._shifted(self._read("qpos"))
        quat = quat_mul(self._quat.view(-1, *[1] * (qpos.dim() - 2), 4).expand_as(qpos[..., 3:7]), qpos[..., 3:7])
        return torch.cat((self._turned(qpos[..., :3]), quat, qpos[..., 7:]), dim=-1)

    @cached_property
    def qvel(self) -> Tensor:
        qvel = self._read("qvel")  # the angular velocity of the root is in its axes
        return torch.cat((self._turned(qvel[..., :3]), qvel[..., 3:]), dim=-1)

    @cached_property
    def site_pos(self) -> Tensor:
        return self._turned(self._shifted(self._read("site_pos")))

    @cached_property
    def site_linvel(self) -> Tensor:
        return self._turned(self._read("site_linvel"))

    @cached_property
    def rpos(self) -> Tensor:
        return self._turned(self._read("rpos"))

    @cached_property
    def rvel(self) -> Tensor:
        angvel, columns = self._turned(self._read("site_angvel")), self._read("site_mat").transpose(-1, -2)
        mat = self._turned(columns).transpose(-1, -2)
        # Its frames are mixed, so that it cannot be turned itself.
        return relative_sites_from_matrices(self.site_pos, mat, angvel, self.site_linvel)[2]

    @cached_property
    def _quat(self) -> Tensor:
        nothing = torch.zeros_like(self._angle)
        return torch.stack(((self._angle / 2).cos(), nothing, nothing, (self._angle / 2).sin()), dim=-1)

    def _turned(self, vectors: Tensor) -> Tensor:
        """Turn vectors (W, ..., 3)."""
        return turn(vectors, self._angle)


def turn(vectors: Tensor, angle: Tensor) -> Tensor:
    """Turn vectors about the vertical.

    Args:
        vectors: (W, ..., 3).
        angle: Angle of each environment, (W,) [rad].
    """
    shape = (-1, *[1] * (vectors.dim() - 2))
    cos, sin = angle.cos().view(shape), angle.sin().view(shape)
    x, y, z = vectors.unbind(-1)
    return torch.stack((cos * x - sin * y, sin * x + cos * y, z), dim=-1)
