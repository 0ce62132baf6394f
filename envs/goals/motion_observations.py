"""Observation terms of imitation: `MotionState -> (W, d)`, or several tensors that are concatenated."""

import torch
from torch import Tensor

from muscle_torch.rotations import quat_conj, quat_mul, quat_to_matrix, quat_to_rotvec, yaw

from ..terms import ObservationTerm
from .motion_state import MotionState


def reference(state: MotionState) -> tuple[Tensor, ...]:
    """Return the reference in the look-ahead frames, grouped by quantity: qpos, qvel, rpos [, rrot, rvel], (W, d).

    For a body with a root, qpos omits x and y; the compact form is rpos of the first frame, then for each later frame
    the change of the root's position and velocity since the first and rpos.
    """
    ahead = state.ahead
    if state.body.has_root and state.compact_reference:
        root = torch.cat((ahead.qpos[..., :3], ahead.qvel[..., :6]), dim=-1)
        later = torch.cat((root[:, 1:] - root[:, :1], ahead.rpos[:, 1:].flatten(2)), dim=-1)
        return ahead.rpos[:, 0].flatten(1), later.flatten(1)
    qpos = ahead.qpos[..., 2:] if state.body.has_root else ahead.qpos
    shown = (qpos, ahead.qvel, ahead.rpos)
    if not state.compact_reference:
        shown = (*shown, ahead.rrot, ahead.rvel)
    return tuple(quantity.flatten(1) for quantity in shown)


def phase(state: MotionState) -> Tensor:
    """Return the current frame divided by the length of the clip, (W, 1)."""
    return state.phase.unsqueeze(1)


def site_error(state: MotionState) -> Tensor:
    """Return the vectors from sites to their references in the look-ahead frames, world axes [m], (W, n * S * 3)."""
    return (state.ahead.site_pos - state.site_pos.unsqueeze(1)).flatten(1)


def joint_error(state: MotionState) -> Tensor:
    """Return the position errors (reference - joint) in the n look-ahead frames [rad, m], (W, n * joints)."""
    joints = state.body.joint_qpos
    return (state.ahead.qpos[..., joints] - state.qpos[:, joints].unsqueeze(1)).flatten(1)


def next_joint_error(state: MotionState) -> Tensor:
    """Return the position errors (reference - joint) in the second look-ahead frame [rad, m], (W, joints)."""
    joints = state.body.joint_qpos
    return state.next_reference.qpos[:, joints] - state.qpos[:, joints]


def next_joint_velocity_error(state: MotionState) -> Tensor:
    """Return the velocity errors (reference - joint) in the second look-ahead frame [rad/s, m/s], (W, joints)."""
    joints = state.body.joint_qvel
    return state.next_reference.qvel[:, joints] - state.qvel[:, joints]


def root_error(state: MotionState) -> Tensor:
    """Return the errors of the root in its heading frame (z up), (W, 12).

    Position [m], rotation vector [rad], linear [m/s] and angular velocity [rad/s], root minus reference.
    """
    root, target, velocity = state.qpos[:, :7], state.reference.qpos[:, :7], state.reference.qvel[:, :6]
    world, goal = quat_to_matrix(root[:, 3:7]), quat_to_matrix(target[:, 3:7])
    turn = quat_to_rotvec(quat_mul(root[:, 3:7], quat_conj(target[:, 3:7])))
    spin = torch.einsum("wij,wj->wi", world, state.qvel[:, 3:6]) - torch.einsum("wij,wj->wi", goal, velocity[:, 3:])
    vectors = torch.stack((root[:, :3] - target[:, :3], turn, state.qvel[:, :3] - velocity[:, :3], spin), dim=1)
    heading = yaw(root[:, 3:7])
    cos, sin = heading.cos().unsqueeze(1), heading.sin().unsqueeze(1)
    x, y, z = vectors.unbind(-1)
    return torch.stack((cos * x + sin * y, cos * y - sin * x, z), dim=-1).flatten(1)


def muscle_length_error(state: MotionState) -> Tensor:
    """Return muscle length minus that in the second look-ahead frame, divided by its range, (W, muscles).

    That frame, and not the current one, because muscles take tens of milliseconds to develop force.
    """
    return (state.read("actuator_length") - state.next_reference.muscle_length) / state.body.muscle_range


def muscle_velocity_error(state: MotionState) -> Tensor:
    """Return muscle velocity minus that in the second look-ahead frame, in length ranges per second, (W, muscles)."""
    return (state.read("actuator_velocity") - state.next_reference.muscle_velocity) / state.body.muscle_range


def feedforward(state: MotionState) -> Tensor:
    """Return the excitations of the current frame from inverse dynamics and static optimization, (W, muscles).

    See `muscle_torch.control.feedforward`.
    """
    return state.reference.feedforward


OBSERVATIONS: dict[str, ObservationTerm] = {
    "reference": reference,
    "phase": phase,
    "site_error": site_error,
    "joint_error": joint_error,
    "next_joint_error": next_joint_error,
    "next_joint_velocity_error": next_joint_velocity_error,
    "root_error": root_error,
    "muscle_length_error": muscle_length_error,
    "muscle_velocity_error": muscle_velocity_error,
    "feedforward": feedforward,
}
NEED_ROOT = frozenset({"root_error"})
