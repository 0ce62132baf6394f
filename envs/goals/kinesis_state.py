"""The state of imitation as in KINESIS: bodies and their references in the heading frame of the root."""

from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from muscle_torch.motion import site_velocity
from muscle_torch.rotations import quat_mul, quat_to_matrix

from ..model_indices import Index
from .motion_state import MotionState, Reference
from .turned_reference import turn

# The human bodies here face -y at the identity quaternion, KINESIS's faces +x: its root is ours turned by -90 degrees.
TO_FACING = (0.5**0.5, 0.0, 0.0, -(0.5**0.5))


@dataclass(eq=False, kw_only=True)
class KinesisState(MotionState):
    """State of a body with a free root and a motion to follow.

    The observed bodies B are in the order of `goal.bodies`, the root first. The tracked points T are the root and the
    sites of `goal.tracked_sites`, which are at the origins of their bodies. The heading frame has its origin in the
    root and is turned with it about the vertical; its x axis points ahead.

    Attributes:
        tracked: Columns of the tracked points after the root among the tracked sites.
    """

    tracked: Index

    @cached_property
    def facing(self) -> Tensor:
        """Orientation of the root with x ahead and z up: rotation matrix, (W, 3, 3)."""
        return quat_to_matrix(quat_mul(self.qpos[:, 3:7], self.qpos.new_tensor(TO_FACING).expand(len(self.qpos), 4)))

    @cached_property
    def heading(self) -> Tensor:
        """Direction of the root's horizontal forward axis, (W,) [rad]."""
        return torch.atan2(self.facing[:, 1, 0], self.facing[:, 0, 0])

    @cached_property
    def tilt(self) -> Tensor:
        """Sideways and forward tilt of the root: its extrinsic Euler angles about x and y, (W, 2) [rad]."""
        sideways = torch.atan2(self.facing[:, 2, 1], self.facing[:, 2, 2])
        return torch.stack((sideways, -self.facing[:, 2, 0].clamp(-1.0, 1.0).asin()), dim=1)

    def to_heading(self, vectors: Tensor) -> Tensor:
        """Return vectors (W, ..., 3) of world axes in the axes of the heading frame."""
        return turn(vectors, -self.heading)

    @cached_property
    def body_pos(self) -> Tensor:
        """World positions of the observed bodies [m], (W, B, 3)."""
        return self.read("body_xpos")

    @cached_property
    def body_mat(self) -> Tensor:
        """Orientations of the observed bodies in world axes, (W, B, 3, 3)."""
        return quat_to_matrix(self.read("body_xquat"))

    @cached_property
    def body_velocity(self) -> tuple[Tensor, Tensor]:
        """Angular [rad/s] and linear velocity [m/s] of the origins of the observed bodies, each (W, B, 3)."""
        return site_velocity(self.body_pos, self.read("body_cvel"), self.read("body_com"))

    @cached_property
    def tracked_pos(self) -> Tensor:
        """World positions of the tracked points [m], (W, T, 3)."""
        return self._points(self.qpos, self.site_pos)

    @cached_property
    def tracked_vel(self) -> Tensor:
        """Velocities of the tracked points, world axes [m/s], (W, T, 3)."""
        linear = site_velocity(self.site_pos, self.read("cvel"), self.read("subtree_com"))[1]
        return self._points(self.qvel, linear)

    def reference_pos(self, reference: Reference) -> Tensor:
        """Return the positions of the tracked points in a frame of the motion [m], (W, T, 3)."""
        return self._points(reference.qpos, reference.site_pos)

    def reference_vel(self, reference: Reference) -> Tensor:
        """Return the velocities of the tracked points in a frame of the motion [m/s], (W, T, 3)."""
        return self._points(reference.qvel, reference.site_linvel)

    @cached_property
    def tracked_error(self) -> Tensor:
        """Vectors from the references of the tracked points to them [m], (W, T, 3)."""
        return self.tracked_pos - self.reference_pos(self.reference)

    @cached_property
    def tracked_distance(self) -> Tensor:
        """Distances of the tracked points from their references [m], (W, T)."""
        return self.tracked_error.norm(dim=-1)

    @cached_property
    def substep_excitation(self) -> Tensor:
        """Excitations in [0, 1] at every call of the action spaces in this control step, (W, calls, muscles)."""
        return self.read("substep_ctrl").clamp(0.0, 1.0)

    def _points(self, root: Tensor, sites: Tensor) -> Tensor:
        return torch.cat((root[:, None, :3], sites[:, self.tracked]), dim=1)
