"""Tracking errors of each control step in SI units, `State -> (W,)`: what is reported, whatever is rewarded."""

from collections.abc import Callable

import torch
from torch import Tensor

from muscle_torch.rotations import yaw

from .rewards import REWARDS
from .state import State


def joint_pos(state: State) -> Tensor:
    """Root mean square over the joints, without the root [rad], (W,)."""
    return state.squared_error("qpos")[:, state.body.joint_qpos].mean(dim=1).sqrt()


def joint_vel(state: State) -> Tensor:
    """Root mean square over the joints, without the root [rad/s], (W,)."""
    return state.squared_error("qvel")[:, state.body.joint_qvel].mean(dim=1).sqrt()


def root_xyz(state: State) -> Tensor:
    """Root mean square over x, y, z of the root's position error [m], (W,)."""
    return REWARDS["root_pos"].distance(state).sqrt()


def root_yaw(state: State) -> Tensor:
    """Heading error, in [0, pi] [rad], (W,)."""
    difference = yaw(state.qpos[:, 3:7]) - yaw(state.reference.qpos[:, 3:7])
    return torch.atan2(difference.sin(), difference.cos()).abs()


def rpos(state: State) -> Tensor:
    """Root mean square over sites and axes of the position error relative to the anchor [m], (W,)."""
    return REWARDS["rpos"].distance(state).sqrt()


def site_abs(state: State) -> Tensor:
    """Mean distance of the tracked sites from their reference [m], (W,)."""
    return state.site_deviation.mean(dim=1)


ERRORS: dict[str, Callable[[State], Tensor]] = {
    "joint_pos": joint_pos,
    "joint_vel": joint_vel,
    "root_xyz": root_xyz,
    "root_yaw": root_yaw,
    "rpos": rpos,
    "site_abs": site_abs,
}
OF_ROOT = {"root_xyz", "root_yaw"}


def tracking_errors(state: State) -> dict[str, Tensor]:
    """`err/<name>` -> (W,); those of the root only where there is one."""
    names = [name for name in ERRORS if state.body.has_root or name not in OF_ROOT]
    return {f"err/{name}": ERRORS[name](state) for name in names}
