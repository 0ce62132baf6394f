"""Observation terms of imitation: `MotionState -> (W, d)`, or several tensors that are joined."""

import torch
from torch import Tensor

from muscle_torch.rotations import quat_conj, quat_mul, quat_to_matrix, quat_to_rotvec, yaw

from ..terms import ObservationTerm
from .motion_state import MotionState


def reference(state: MotionState) -> tuple[Tensor, ...]:
    """The motion in the next frames, all frames of one quantity together: qpos, qvel, rpos [, rrot, rvel], (W, d).

    qpos of a body with a root is without x and y. The compact form of such a body is rpos, and for the frames after
    the first how far the root moves until then.
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
    """Frame of the motion divided by its length, (W, 1)."""
    return state.phase.unsqueeze(1)


def site_error(state: MotionState) -> Tensor:
    """From each tracked site to its reference, now and in the next frames, world axes [m], (W, n * S * 3)."""
    return (state.ahead.site_pos - state.site_pos.unsqueeze(1)).flatten(1)


def joint_error(state: MotionState) -> Tensor:
    """From each joint to its reference, now and in the next frames [rad], [m], (W, n * joints)."""
    joints = state.body.joint_qpos
    return (state.ahead.qpos[..., joints] - state.qpos[:, joints].unsqueeze(1)).flatten(1)


def next_joint_error(state: MotionState) -> Tensor:
    """From each joint to its reference in the next frame shown [rad], [m], (W, joints)."""
    joints = state.body.joint_qpos
    return state.next_reference.qpos[:, joints] - state.qpos[:, joints]


def root_error(state: MotionState) -> Tensor:
    """From the reference of the root to the root, along the root's heading (z up): position [m], rotation vector
    [rad], linear [m/s] and angular velocity [rad/s], (W, 12)."""
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
    """How much longer each muscle is than in the next frame shown, in its length range, (W, muscles).

    The next frame, because muscles take tens of milliseconds to develop force.
    """
    return (state.read("actuator_length") - state.next_reference.muscle_length) / state.body.muscle_range


def muscle_velocity_error(state: MotionState) -> Tensor:
    """How much faster each muscle lengthens than in the next frame shown, length ranges a second, (W, muscles)."""
    return (state.read("actuator_velocity") - state.next_reference.muscle_velocity) / state.body.muscle_range


def feedforward(state: MotionState) -> Tensor:
    """Excitations that inverse dynamics with static optimization finds for the motion's frame, (W, muscles).

    See `muscle_torch.control.feedforward`.
    """
    return state.reference.feedforward


OBSERVATIONS: dict[str, ObservationTerm] = {
    "reference": reference,
    "phase": phase,
    "site_error": site_error,
    "joint_error": joint_error,
    "next_joint_error": next_joint_error,
    "root_error": root_error,
    "muscle_length_error": muscle_length_error,
    "muscle_velocity_error": muscle_velocity_error,
    "feedforward": feedforward,
}
NEED_ROOT = frozenset({"root_error"})
