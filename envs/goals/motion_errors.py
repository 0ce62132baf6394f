"""Tracking errors of each control step in SI units, `MotionState -> (W,)`: reported whatever is rewarded."""

import torch
from torch import Tensor

from muscle_torch.rotations import yaw

from ..terms import Term
from .motion_rewards import root_pos_errors, rpos_errors
from .motion_state import MotionState


def joint_pos(state: MotionState) -> Tensor:
    """Root mean square over the joints, without the root [rad], (W,)."""
    return state.squared_error("qpos")[:, state.body.joint_qpos].mean(dim=1).sqrt()


def joint_vel(state: MotionState) -> Tensor:
    """Root mean square over the joints, without the root [rad/s], (W,)."""
    return state.squared_error("qvel")[:, state.body.joint_qvel].mean(dim=1).sqrt()


def root_xyz(state: MotionState) -> Tensor:
    """Root mean square over x, y, z of the root's position error [m], (W,)."""
    return root_pos_errors(state).mean(dim=1).sqrt()


def root_yaw(state: MotionState) -> Tensor:
    """Heading error, in [0, pi] [rad], (W,)."""
    difference = yaw(state.qpos[:, 3:7]) - yaw(state.reference.qpos[:, 3:7])
    return torch.atan2(difference.sin(), difference.cos()).abs()


def rpos(state: MotionState) -> Tensor:
    """Root mean square over sites and axes of the position error relative to the anchor [m], (W,)."""
    return rpos_errors(state).mean(dim=1).sqrt()


def site_abs(state: MotionState) -> Tensor:
    """Mean distance of the tracked sites from their reference [m], (W,)."""
    return state.site_deviation.mean(dim=1)


ERRORS: dict[str, Term] = {
    "joint_pos": joint_pos,
    "joint_vel": joint_vel,
    "root_xyz": root_xyz,
    "root_yaw": root_yaw,
    "rpos": rpos,
    "site_abs": site_abs,
}
NEED_ROOT = frozenset({"root_xyz", "root_yaw"})
