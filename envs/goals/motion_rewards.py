"""Reward terms of imitation: each `exp(-sharpness * error against the reference)`."""

import torch
from torch import Tensor

from muscle_torch.rotations import quat_angle, quat_to_matrix

from ..terms import RewardTerm, Tracking
from .motion_state import MotionState


def qpos_errors(state: MotionState) -> Tensor:
    """Return squared errors of qpos without the quaternion [rad^2, m^2], each plus the root's angle [rad], (W, n)."""
    squared = state.squared_error("qpos")
    if not state.body.has_root:
        return squared
    straight = torch.cat((squared[:, :3], squared[:, 7:]), dim=1)
    return straight + quat_angle(state.qpos[:, 3:7], state.reference.qpos[:, 3:7]).unsqueeze(1)


def qvel_errors(state: MotionState) -> Tensor:
    """Return the squared errors of qvel, including the root [rad^2/s^2, m^2/s^2], (W, nv)."""
    return state.squared_error("qvel")


def root_pos_errors(state: MotionState) -> Tensor:
    """Return the squared errors of the root's x, y, z [m^2], (W, 3)."""
    return state.squared_error("qpos")[:, :3]


def root_vel_errors(state: MotionState) -> Tensor:
    """Return the squared errors of the root's linear and angular velocity [m^2/s^2, rad^2/s^2], (W, 6).

    Each velocity is in the axes of its root: that of the body or that of the reference.
    """
    body = _root_velocity(state.qpos, state.qvel)
    return (body - _root_velocity(state.reference.qpos, state.reference.qvel)).square()


def target_velocity_errors(state: MotionState) -> Tensor:
    """Return the squared errors of forward, sideways and turning velocity in the axes of `root_vel_errors`, (W, 3)."""
    errors = root_vel_errors(state)
    return torch.cat((errors[:, :2], errors[:, 5:]), dim=1)


def _root_velocity(qpos: Tensor, qvel: Tensor) -> Tensor:
    """Return the linear and angular velocity of the root in root axes, (W, 6)."""
    to_world = quat_to_matrix(qpos[:, 3:7])
    linear = (to_world * qvel[:, :3].unsqueeze(-1)).sum(dim=1)
    return torch.cat((linear, qvel[:, 3:6]), dim=1)


def rpos_errors(state: MotionState) -> Tensor:
    """Return the squared errors of the sites' positions relative to the anchor [m^2], (W, 3 (S-1))."""
    return state.squared_error("rpos").flatten(1)


def rquat_errors(state: MotionState) -> Tensor:
    """Return the squared differences of the sites' relative rotation vectors [rad^2], (W, 3 (S-1))."""
    return state.squared_error("rrot").flatten(1)


def rvel_rot_errors(state: MotionState) -> Tensor:
    """Return the squared errors of the sites' relative angular velocities [rad^2/s^2], (W, 3 (S-1))."""
    return state.squared_error("rvel")[..., :3].flatten(1)


def rvel_lin_errors(state: MotionState) -> Tensor:
    """Return the squared errors of the sites' relative linear velocities [m^2/s^2], (W, 3 (S-1))."""
    return state.squared_error("rvel")[..., 3:].flatten(1)


def site_pos_errors(state: MotionState) -> Tensor:
    """Return three times the squared errors of the tracked sites' coordinates [m^2], (W, 3 S).

    The mean of these is the mean squared distance.
    """
    return 3 * state.squared_error("site_pos").flatten(1)


REWARDS: dict[str, RewardTerm] = {
    "qpos": Tracking(qpos_errors, 10.0),
    "qvel": Tracking(qvel_errors, 2.0),
    "root_pos": Tracking(root_pos_errors, 10.0),
    "root_vel": Tracking(root_vel_errors, 10.0),
    "rpos": Tracking(rpos_errors, 100.0),
    "rquat": Tracking(rquat_errors, 10.0),
    "rvel_rot": Tracking(rvel_rot_errors, 0.1),
    "rvel_lin": Tracking(rvel_lin_errors, 0.1),
    "site_pos": Tracking(site_pos_errors, 100.0),
    "target_velocity": Tracking(target_velocity_errors, 10.0),
}
NEED_ROOT = frozenset({"root_pos", "root_vel", "target_velocity"})
