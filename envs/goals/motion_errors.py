"""Tracking errors of a control step in SI units, `MotionState -> (W,)`. They do not depend on the reward."""

import torch
from torch import Tensor

from muscle_torch.rotations import yaw

from ..terms import Term
from .motion_rewards import root_pos_errors, rpos_errors
from .motion_state import MotionState


def joint_pos(state: MotionState) -> Tensor:
    """Return the root mean square of the position error over joints, without the root [rad], (W,)."""
    return state.squared_error("qpos")[:, state.body.joint_qpos].mean(dim=1).sqrt()


def joint_vel(state: MotionState) -> Tensor:
    """Return the root mean square of the velocity error over joints, without the root [rad/s], (W,)."""
    return state.squared_error("qvel")[:, state.body.joint_qvel].mean(dim=1).sqrt()


def root_xyz(state: MotionState) -> Tensor:
    """Return the root mean square of the root's position error over x, y, z [m], (W,)."""
    return root_pos_errors(state).mean(dim=1).sqrt()


def root_yaw(state: MotionState) -> Tensor:
    """Return the heading error, in [0, pi] [rad], (W,)."""
    difference = yaw(state.qpos[:, 3:7]) - yaw(state.reference.qpos[:, 3:7])
    return torch.atan2(difference.sin(), difference.cos()).abs()


def rpos(state: MotionState) -> Tensor:
    """Return the root mean square of the position error relative to the anchor, over sites and axes [m], (W,)."""
    return rpos_errors(state).mean(dim=1).sqrt()


def site_abs(state: MotionState) -> Tensor:
    """Return the mean distance of the tracked sites from their reference [m], (W,)."""
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
