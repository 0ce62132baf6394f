"""Termination terms of imitation: deviations of the body from the motion, `MotionState -> (W,)`."""

import torch
from torch import Tensor

from muscle_torch.rotations import quat_angle, quat_normalize

from ..terms import Term
from .motion_state import MotionState, RootRange


def mean_site_deviation(state: MotionState) -> Tensor:
    """Return the mean distance of the termination sites from their reference [m], (W,)."""
    return state.site_deviation[:, state.termination_sites.all].mean(dim=1)


def max_site_deviation(state: MotionState) -> Tensor:
    """Return the largest distance of a termination site from its reference [m], (W,)."""
    return state.site_deviation[:, state.termination_sites.all].amax(dim=1)


def mean_relative_site_deviation(state: MotionState) -> Tensor:
    """Return the mean error of the termination sites' positions relative to the anchor [m], (W,)."""
    return state.squared_error("rpos").sum(dim=-1).sqrt()[:, state.termination_sites.after_anchor].mean(dim=1)


def mean_ankle_deviation(state: MotionState) -> Tensor:
    """Return the mean distance of the ankles from their reference [m], (W,)."""
    return state.site_deviation[:, state.termination_sites.ankles].mean(dim=1)


def max_ankle_deviation(state: MotionState) -> Tensor:
    """Return the largest distance of an ankle from its reference [m], (W,)."""
    return state.site_deviation[:, state.termination_sites.ankles].amax(dim=1)


def root_deviation(state: MotionState) -> Tensor:
    """Return the distance of the anchor (of a free body the pelvis) from its reference [m], (W,)."""
    return state.site_deviation[:, 0]


def root_orientation(state: MotionState) -> Tensor:
    """Return the angle between the root's orientation and its reference [rad], (W,)."""
    return quat_angle(quat_normalize(state.qpos[:, 3:7]), quat_normalize(state.reference.qpos[:, 3:7]))


def root_height_in_motions(state: MotionState) -> Tensor:
    """Return the distance of the root's height from the range of heights in the motions [m], (W,); published: 0.3."""
    height, motions = state.qpos[:, 2], _range(state)
    return torch.maximum(motions.lowest - height, height - motions.highest).clamp(min=0.0)


def root_orientation_in_motions(state: MotionState) -> Tensor:
    """Return the angle between the root's orientation and the mean of the motions [rad], (W,); published: 0.5236."""
    return quat_angle(quat_normalize(state.qpos[:, 3:7]), _range(state).orientation.expand(len(state.qpos), 4))


def _range(state: MotionState) -> RootRange:
    assert state.root_range is not None, "a body with a root has a range"
    return state.root_range


TERMINATIONS: dict[str, Term] = {
    "mean_site_deviation": mean_site_deviation,
    "max_site_deviation": max_site_deviation,
    "mean_relative_site_deviation": mean_relative_site_deviation,
    "root_deviation": root_deviation,
    "root_orientation": root_orientation,
    "root_height_in_motions": root_height_in_motions,
    "root_orientation_in_motions": root_orientation_in_motions,
    "mean_ankle_deviation": mean_ankle_deviation,
    "max_ankle_deviation": max_ankle_deviation,
}
# The anchor of a body that is fixed to the world never leaves its reference, so these thresholds would have no effect.
NEED_ROOT = frozenset(name for name in TERMINATIONS if name.startswith("root_"))
NEED_ANKLES = frozenset({"mean_ankle_deviation", "max_ankle_deviation"})
