"""Observation terms of the body, `State -> (W, d)`, and the class that joins the configured terms into one vector.

`joint_pos joint_vel muscle site_relative reference phase` is the published system's vector for the arms;
`root_pos joint_pos root_vel joint_vel muscle touch site_relative reference phase` that for the full body. Goals add
terms: `reference` and `phase` belong to the motion goal. Values are not scaled or clipped: the policy normalizes.
"""

from collections.abc import Mapping

import torch
from torch import Tensor

from muscle_torch.config import ObservationConfig
from muscle_torch.errors import InputError, nearest

from .goals.goal import Goal
from .history import History
from .model_indices import ModelIndices
from .state import MUSCLE_FIELDS, State
from .terms import ObservationTerm


def root_pos(state: State) -> Tensor:
    """Return the height [m] and orientation of the root in the world (quaternion), (W, 5).

    x and y are omitted: the task is invariant to horizontal position.
    """
    return state.qpos[:, 2:7]


def joint_pos(state: State) -> Tensor:
    """Return the positions of hinges [rad] and slides [m] in model order, (W, joints)."""
    return state.qpos[:, state.body.joint_qpos]


def root_vel(state: State) -> Tensor:
    """Return the linear velocity in world axes [m/s] and angular velocity in root axes [rad/s] of the root, (W, 6)."""
    return state.qvel[:, :6]


def joint_vel(state: State) -> Tensor:
    """Return the velocities of hinges [rad/s] and slides [m/s] in model order, (W, joints)."""
    return state.qvel[:, state.body.joint_qvel]


def muscle(state: State) -> Tensor:
    """Return the configured quantities of each muscle, all of one muscle together, (W, muscles * quantities).

    Length [m], velocity [m/s], force [N, negative if it pulls], excitation (the control), activation.
    """
    return torch.stack([state.read(MUSCLE_FIELDS[q]) for q in state.quantities], dim=-1).flatten(1)


def touch(state: State) -> Tensor:
    """Return the normal force on each touch sensor [N], (W, sensors)."""
    return state.read("sensordata")


def site_relative(state: State) -> tuple[Tensor, ...]:
    """Return position, rotation and velocity of the sites relative to the anchor, (W, 12 (S-1)); see `State`."""
    return state.rpos.flatten(1), state.rrot.flatten(1), state.rvel.flatten(1)


def joint_torque(state: State) -> Tensor:
    """Return the generalized forces of the actuators at the hinges [N m] and slides [N], (W, joints)."""
    return state.read("qfrc_actuator")[:, state.body.joint_qvel]


def metabolic(state: State) -> Tensor:
    """Return the metabolic proxy of all muscles over their mass, as the penalty `metabolic`, (W, 1)."""
    return state.metabolic.unsqueeze(1)


def last_site(state: State) -> Tensor:
    """Return the world position of the last tracked site, which is an arm's wrist or hand [m], (W, 3)."""
    return state.site_pos[:, -1]


def zeros(state: State) -> Tensor:
    """Return a constant 0 for each muscle, as in the published mouse task, (W, muscles)."""
    return state.action.new_zeros(len(state.action), len(state.body.muscle_range))


def muscle_strength(state: State) -> Tensor:
    """Return the mean strength factor of each leg muscle group, right then left, 1 if healthy, (W, groups).

    Groups are those of `muscle_torch.embodiments.deficits` that the body has.
    """
    assert state.strength is not None, "the environment provides it"
    return state.strength @ state.body.strength_groups


def device_angle(state: State) -> Tensor:
    """Return the angles of the exoskeleton's joints, as its encoders measure them [rad], (W, motors)."""
    return state.qpos[:, state.body.device_qpos]


def device_velocity(state: State) -> Tensor:
    """Return the angular velocities of the exoskeleton's joints [rad/s], (W, motors)."""
    return state.qvel[:, state.body.device_qvel]


def device_torque(state: State) -> Tensor:
    """Return the torques of the exoskeleton at the end of the last control step, per body mass [N m/kg], (W, motors).

    0 after a reset.
    """
    assert state.device_torque is not None and state.body.device is not None, "checked when the terms are resolved"
    return state.device_torque / state.body.device.body_mass


def trunk_pitch(state: State) -> Tensor:
    """Return forward pitch [rad] and pitch rate [rad/s] of the root, as an inertial sensor measures them, (W, 2).

    The root's axes are those of the human bodies: x to the left or right, -y forward, z up.
    """
    w, x, y, z = state.qpos[:, 3:7].unbind(1)
    # The world's vertical in root axes, (2 (x z - w y), 2 (y z + w x), 1 - 2 (x x + y y)): forward lean raises its y.
    pitch = torch.atan2(2 * (y * z + w * x), 1 - 2 * (x * x + y * y))
    return torch.stack((pitch, state.qvel[:, 3]), dim=1)


def previous_action(state: State) -> Tensor:
    """Return the unclipped commands of the last control step; 0 after a reset, (W, commands)."""
    return state.action


def fatigue(state: State) -> Tensor:
    """Return the fatigued share of each muscle, (W, muscles); 0 without `fatigue.enabled`."""
    return state.read("fatigue")


OBSERVATIONS: dict[str, ObservationTerm] = {
    "root_pos": root_pos,
    "joint_pos": joint_pos,
    "root_vel": root_vel,
    "joint_vel": joint_vel,
    "muscle": muscle,
    "touch": touch,
    "site_relative": site_relative,
    "joint_torque": joint_torque,
    "metabolic": metabolic,
    "last_site": last_site,
    "zeros": zeros,
    "muscle_strength": muscle_strength,
    "device_angle": device_angle,
    "device_velocity": device_velocity,
    "device_torque": device_torque,
    "trunk_pitch": trunk_pitch,
    "previous_action": previous_action,
    "fatigue": fatigue,
}
NEED_ROOT = frozenset({"root_pos", "root_vel", "trunk_pitch"})
NEED_DEVICE = frozenset({"device_angle", "device_velocity", "device_torque"})


class Observer:
    """Computes observation vectors (W, D) from states, with the configured history.

    Attributes:
        layout: Term -> its columns; `muscle_<quantity>` -> the columns of a muscle quantity.
        size: Size D of the observation.
        terms: Term -> its function, in order.
    """

    def __init__(self, config: ObservationConfig, goal: Goal, state: State):
        """Resolve the terms.

        Args:
            config: Terms, muscle quantities and history.
            goal: Provides terms beside those of the body.
            state: Any state, to determine the size of each term.

        Raises:
            InputError: A term does not exist, or the body lacks what it reads.
        """
        table = OBSERVATIONS | dict(goal.observations)
        _check(config, goal, state.body, table)
        self.terms = {name: table[name] for name in config.terms}
        columns = self._layout(state)
        newest_only = [n for n in config.terms if n in goal.observations and not config.goal_history]
        self._history = History(config.history, columns, list(config.terms), newest_only)
        self.layout = self._history.layout
        self.size = self.begin(state).shape[1]

    def begin(self, state: State) -> Tensor:
        """Return the observation (W, D) of episodes that start with a state."""
        return self._history.begin(self._newest(state))

    def add(self, previous: Tensor, state: State) -> Tensor:
        """Return the observation (W, D) after the previous one (W, D) and a new state."""
        return self._history.add(previous, self._newest(state))

    def _newest(self, state: State) -> Tensor:
        return torch.cat([part for term in self.terms.values() for part in _parts(term, state)], dim=1)

    def _layout(self, state: State) -> dict[str, slice]:
        columns: dict[str, slice] = {}
        start = 0
        for name, term in self.terms.items():
            stop = start + sum(part.shape[1] for part in _parts(term, state))
            columns[name] = slice(start, stop)
            if name == "muscle":
                stride = len(state.quantities)
                columns |= {f"muscle_{q}": slice(start + i, stop, stride) for i, q in enumerate(state.quantities)}
            start = stop
        return columns


def _parts(term: ObservationTerm, state: State) -> tuple[Tensor, ...]:
    value = term(state)
    return value if isinstance(value, tuple) else (value,)


def _lacking(term: str, body: ModelIndices) -> str | None:
    """Return what a term needs and the body lacks, or None."""
    if term in NEED_ROOT and not body.has_root:
        return "a free root joint"
    if term in NEED_DEVICE and body.device is None:
        return "an exoskeleton (exoskeleton=hip_ankle)"
    if term == "muscle_strength" and not body.strength_groups.shape[1]:
        return "leg muscle groups"
    return None


def _check(config: ObservationConfig, goal: Goal, body: ModelIndices, table: Mapping[str, ObservationTerm]) -> None:
    if not config.terms:
        raise InputError(f"observation.terms is empty: choose from {', '.join(table)}")
    for name in config.terms:
        if name not in table:
            raise InputError(f"unknown observation term {name!r}{nearest(name, list(table))}")
        lacking = _lacking(name, body) or goal.missing(name)
        if lacking:
            raise InputError(f"observation term {name!r} needs {lacking}, which {body.name} lacks: leave it out")
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
        raise InputError(f"observation.history={config.history}: must be at least 1 (the current control step)")
