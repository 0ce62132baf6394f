"""Observation terms: functions `State -> (W, d)`, by name, joined in the order of the config. A term may return
several tensors: they are joined with the others, in one copy.

`joint_pos joint_vel muscle site_relative reference phase` is the published system's vector for the arms;
`root_pos joint_pos root_vel joint_vel muscle touch site_relative reference phase` that for the full body.
Nothing is scaled or clipped here: the policy normalises.
"""

from collections.abc import Callable

import torch
from torch import Tensor

from muscle_torch.config import ObservationConfig
from muscle_torch.errors import InputError, nearest
from muscle_torch.rotations import quat_conj, quat_mul, quat_to_matrix, quat_to_rotvec, yaw

from .state import MUSCLE_FIELDS, ModelIndices, State


def root_pos(state: State) -> Tensor:
    """Height [m] and orientation of the root in the world (quaternion), (W, 5). No x, y: where is of no matter."""
    return state.qpos[:, 2:7]


def joint_pos(state: State) -> Tensor:
    """Hinges [rad] and slides [m] in model order, (W, joints)."""
    return state.qpos[:, state.body.joint_qpos]


def root_vel(state: State) -> Tensor:
    """Linear velocity in world axes [m/s], angular in root axes [rad/s], (W, 6)."""
    return state.qvel[:, :6]


def joint_vel(state: State) -> Tensor:
    """[rad/s], [m/s], model order, (W, joints)."""
    return state.qvel[:, state.body.joint_qvel]


def muscle(state: State) -> Tensor:
    """Quantities of each muscle side by side, (W, nu * quantities): length [m], velocity [m/s], force [N, negative
    when it pulls], excitation (the control), activation."""
    return torch.stack([state.read(MUSCLE_FIELDS[q]) for q in state.quantities], dim=-1).flatten(1)


def touch(state: State) -> Tensor:
    """Normal force on each touch sensor [N], (W, sensors)."""
    return state.read("sensordata")


def site_relative(state: State) -> tuple[Tensor, ...]:
    """Where the sites are from the anchor: positions, rotations, velocities, (W, 12 (S-1)). See `State`."""
    return state.rpos.flatten(1), state.rrot.flatten(1), state.rvel.flatten(1)


def reference(state: State) -> tuple[Tensor, ...]:
    """The motion in the next frames, all frames of one quantity together: qpos, qvel, rpos [, rrot, rvel], (W, d).

    A body with a root is told qpos without x and y; concisely, only rpos and how far the root moves until then.
    """
    ahead = state.ahead
    if state.body.has_root and state.concise:
        root = torch.cat((ahead.qpos[..., :3], ahead.qvel[..., :6]), dim=-1)
        later = torch.cat((root[:, 1:] - root[:, :1], ahead.rpos[:, 1:].flatten(2)), dim=-1)
        return ahead.rpos[:, 0].flatten(1), later.flatten(1)
    qpos = ahead.qpos[..., 2:] if state.body.has_root else ahead.qpos
    shown = (qpos, ahead.qvel, ahead.rpos) if state.concise else (qpos, ahead.qvel, ahead.rpos, ahead.rrot, ahead.rvel)
    return tuple(quantity.flatten(1) for quantity in shown)


def phase(state: State) -> Tensor:
    """Frame of the motion divided by its length, (W, 1)."""
    return state.phase.unsqueeze(1)


def previous_action(state: State) -> Tensor:
    """The action that led here, unclipped; 0 after a reset, (W, nu)."""
    return state.action


def site_error(state: State) -> Tensor:
    """From each tracked site to where it should be, now and in the next frames, world axes [m], (W, n * S * 3)."""
    return (state.ahead.site_pos - state.site_pos.unsqueeze(1)).flatten(1)


def joint_error(state: State) -> Tensor:
    """From each joint to where it should be, now and in the next frames [rad], [m], (W, n * joints)."""
    joints = state.body.joint_qpos
    return (state.ahead.qpos[..., joints] - state.qpos[:, joints].unsqueeze(1)).flatten(1)


def root_error(state: State) -> Tensor:
    """From where the motion has the root to where it is, along the root's heading (z up): position [m], rotation vector
    [rad], linear [m/s] and angular velocity [rad/s], (W, 12)."""
    now, wanted, velocity = state.qpos[:, :7], state.reference.qpos[:, :7], state.reference.qvel[:, :6]
    world, goal = quat_to_matrix(now[:, 3:7]), quat_to_matrix(wanted[:, 3:7])
    turn = quat_to_rotvec(quat_mul(now[:, 3:7], quat_conj(wanted[:, 3:7])))
    spin = torch.einsum("wij,wj->wi", world, state.qvel[:, 3:6]) - torch.einsum("wij,wj->wi", goal, velocity[:, 3:])
    vectors = torch.stack((now[:, :3] - wanted[:, :3], turn, state.qvel[:, :3] - velocity[:, :3], spin), dim=1)
    heading = yaw(now[:, 3:7])
    cos, sin = heading.cos().unsqueeze(1), heading.sin().unsqueeze(1)
    x, y, z = vectors.unbind(-1)
    return torch.stack((cos * x + sin * y, cos * y - sin * x, z), dim=-1).flatten(1)


def muscle_length_error(state: State) -> Tensor:
    """How much longer each muscle is than the motion soon wants it, in its length range, (W, nu).

    Soon: the second frame of the look-ahead, for muscles take tens of milliseconds to pull.
    """
    wanted = state.soon.muscle_length
    return (state.read("actuator_length") - wanted) / state.body.muscle_range


def muscle_velocity_error(state: State) -> Tensor:
    """How much faster each muscle lengthens than the motion soon wants it to, length ranges a second, (W, nu)."""
    wanted = state.soon.muscle_velocity
    return (state.read("actuator_velocity") - wanted) / state.body.muscle_range


OBSERVATIONS: dict[str, Callable[[State], Tensor | tuple[Tensor, ...]]] = {
    "root_pos": root_pos,
    "joint_pos": joint_pos,
    "root_vel": root_vel,
    "joint_vel": joint_vel,
    "muscle": muscle,
    "touch": touch,
    "site_relative": site_relative,
    "reference": reference,
    "phase": phase,
    "previous_action": previous_action,
    "site_error": site_error,
    "joint_error": joint_error,
    "root_error": root_error,
    "muscle_length_error": muscle_length_error,
    "muscle_velocity_error": muscle_velocity_error,
}
NEED_ROOT = {"root_pos", "root_vel", "root_error"}


def check_observation(config: ObservationConfig, body: ModelIndices) -> None:
    """Raises InputError where the config asks for what does not exist."""
    if not config.terms:
        raise InputError(f"observation.terms is empty: choose from {', '.join(OBSERVATIONS)}")
    for name in config.terms:
        if name not in OBSERVATIONS:
            raise InputError(f"unknown observation term {name!r}{nearest(name, list(OBSERVATIONS))}")
        if name in NEED_ROOT and not body.has_root:
            raise InputError(
                f"observation term {name!r} needs a free root joint, which {body.name} lacks: leave it out"
            )
        if config.terms.count(name) > 1:
            raise InputError(f"observation.terms names {name!r} twice: leave one out")
    for name in config.muscle:
        if name not in MUSCLE_FIELDS:
            raise InputError(f"unknown muscle quantity {name!r}{nearest(name, list(MUSCLE_FIELDS))}")
    if "muscle" in config.terms and not config.muscle:
        raise InputError("observation.muscle is empty: name quantities, or leave 'muscle' out of observation.terms")
    if "touch" in config.terms and not body.touch_ids:
        raise InputError(f"observation term 'touch' needs touch sensors; {body.name} has none: leave it out")
    if config.history < 1:
        raise InputError(f"observation.history={config.history}: at least 1 control step, the newest, is shown")
    if config.lookahead < 1 or config.stride < 1:
        raise InputError(
            f"observation.lookahead={config.lookahead} stride={config.stride}: both must be at least 1 "
            "(the first frame shown is the current one)"
        )


def observe(state: State, terms: list[str]) -> Tensor:
    """The observation, (W, D)."""
    return torch.cat([part for name in terms for part in _parts(name, state)], dim=1)


def layout(state: State, terms: list[str]) -> dict[str, slice]:
    """Term -> its columns; and `muscle_<quantity>` -> the columns of one quantity, every so many of them."""
    found: dict[str, slice] = {}
    start = 0
    for name in terms:
        stop = start + sum(part.shape[1] for part in _parts(name, state))
        found[name] = slice(start, stop)
        if name == "muscle":
            stride = len(state.quantities)
            found |= {f"muscle_{q}": slice(start + i, stop, stride) for i, q in enumerate(state.quantities)}
        start = stop
    return found


def _parts(name: str, state: State) -> tuple[Tensor, ...]:
    value = OBSERVATIONS[name](state)
    return value if isinstance(value, tuple) else (value,)
