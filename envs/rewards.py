"""Reward terms: each `exp(-sharpness * distance to the motion)`, penalties of effort and roughness, and their sum.

total = max(0, sum of weight * term + max(-1, -sum of coefficient * penalty)), as in the published system.
"""

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from muscle_torch.config import RewardConfig
from muscle_torch.errors import InputError, nearest
from muscle_torch.rotations import quat_angle, quat_to_matrix

from .state import ModelIndices, State

Term = Callable[[State], Tensor]


def qpos_errors(state: State) -> Tensor:
    """Squared errors of qpos [rad^2, m^2] without the root's quaternion, to each the root's angle [rad], (W, n)."""
    squared = state.squared_error("qpos")
    if not state.body.has_root:
        return squared
    straight = torch.cat((squared[:, :3], squared[:, 7:]), dim=1)
    return straight + quat_angle(state.qpos[:, 3:7], state.reference.qpos[:, 3:7]).unsqueeze(1)


def qvel_errors(state: State) -> Tensor:
    """Squared errors of qvel, root included [rad^2/s^2, m^2/s^2], (W, nv)."""
    return state.squared_error("qvel")


def root_pos_errors(state: State) -> Tensor:
    """Squared errors of the root's x, y, z [m^2], (W, 3)."""
    return state.squared_error("qpos")[:, :3]


def root_vel_errors(state: State) -> Tensor:
    """Squared errors of linear and angular velocity, each in its own root's axes [m^2/s^2, rad^2/s^2], (W, 6)."""
    own = _root_velocity(state.qpos, state.qvel)
    return (own - _root_velocity(state.reference.qpos, state.reference.qvel)).square()


def target_velocity_errors(state: State) -> Tensor:
    """Squared errors of the velocities forward, sideways and turning, each in its own root's axes, (W, 3)."""
    errors = root_vel_errors(state)
    return torch.cat((errors[:, :2], errors[:, 5:]), dim=1)


def _root_velocity(qpos: Tensor, qvel: Tensor) -> Tensor:
    """Linear and angular velocity in root axes, (W, 6)."""
    to_world = quat_to_matrix(qpos[:, 3:7])
    linear = (to_world * qvel[:, :3].unsqueeze(-1)).sum(dim=1)
    return torch.cat((linear, qvel[:, 3:6]), dim=1)


def rpos_errors(state: State) -> Tensor:
    """Squared errors of the sites' positions relative to the anchor [m^2], (W, 3 (S-1))."""
    return state.squared_error("rpos").flatten(1)


def rquat_errors(state: State) -> Tensor:
    """Squared differences of the sites' relative rotation vectors [rad^2], (W, 3 (S-1))."""
    return state.squared_error("rrot").flatten(1)


def rvel_rot_errors(state: State) -> Tensor:
    """Squared errors of the sites' relative angular velocities [rad^2/s^2], (W, 3 (S-1))."""
    return state.squared_error("rvel")[..., :3].flatten(1)


def rvel_lin_errors(state: State) -> Tensor:
    """Squared errors of the sites' relative linear velocities [m^2/s^2], (W, 3 (S-1))."""
    return state.squared_error("rvel")[..., 3:].flatten(1)


def site_pos_errors(state: State) -> Tensor:
    """Three times the squared errors of the tracked sites' coordinates [m^2], (W, 3 S): their mean is that of the
    squared distances."""
    return 3 * state.squared_error("site_pos").flatten(1)


class Tracking(NamedTuple):
    """A reward term `exp(-sharpness * mean error)`, or elementwise `mean of exp(-sharpness * error)`."""

    errors: Term  # (W, n)
    sharpness: float  # unless the config says otherwise

    def distance(self, state: State) -> Tensor:
        """Mean error, (W,)."""
        return self.errors(state).mean(dim=1)


REWARDS: dict[str, Tracking] = {
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
NEED_ROOT = {"root_pos", "root_vel", "target_velocity"}


def action_out_of_bounds(state: State) -> Tensor:
    """Mean over actions of the squared excess beyond [-1, 1], (W,)."""
    return (state.action - state.action.clamp(-1.0, 1.0)).square().mean(dim=1)


def joint_acc(state: State) -> Tensor:
    """Sum over joints, without the root, of the squared change of velocity divided by the control step, (W,)."""
    assert state.previous_qvel is not None, "the environment keeps the velocities for this penalty"
    joints = state.body.joint_qvel
    return (state.qvel - state.previous_qvel)[:, joints].square().sum(dim=1) / state.body.control_step


def joint_torque(state: State) -> Tensor:
    """Sum of the squared generalised forces of the actuators [N^2 m^2], (W,)."""
    return state.read("qfrc_actuator").square().sum(dim=1)


def action_rate(state: State) -> Tensor:
    """Sum over actions of the squared change since the last control step, (W,)."""
    return (state.action - state.previous_action).square().sum(dim=1)


def activation_energy(state: State) -> Tensor:
    """Mean over muscles of the squared activation, (W,)."""
    return state.read("act").square().mean(dim=1)


PENALTIES: dict[str, Term] = {
    "action_out_of_bounds": action_out_of_bounds,
    "joint_acc": joint_acc,
    "joint_torque": joint_torque,
    "action_rate": action_rate,
    "activation_energy": activation_energy,
}
NEED_PREVIOUS_QVEL = {"joint_acc"}


class Reward:
    """The weighted sum of the terms that a config names with a weight other than 0."""

    def __init__(self, config: RewardConfig, body: ModelIndices, device: torch.device):
        _check(config, body)
        self._config = config
        self.weights = {name: float(w) for name, w in config.weights.items() if w}
        self.penalties = {name: float(c) for name, c in config.penalties.items() if c}
        self.sharpness = {n: float(config.sharpness.get(n, REWARDS[n].sharpness)) for n in self.weights}
        self._weights = torch.tensor(list(self.weights.values()), device=device)

    @property
    def needs_previous_qvel(self) -> bool:
        return not NEED_PREVIOUS_QVEL.isdisjoint(self.penalties)

    def __call__(self, state: State) -> tuple[Tensor, dict[str, Tensor]]:
        """The reward (W,), and `reward/<term>` -> the term before its weight (W,), `penalty` -> what they take away."""
        penalty = self._penalty(state)
        if not self.weights:
            return penalty.clamp(min=0.0), {"penalty": penalty}
        tracking = self._tracking(state, self.sharpness)
        total = (tracking * self._weights).sum(dim=1) + penalty
        terms = {f"reward/{name}": value for name, value in zip(self.weights, tracking.unbind(1), strict=True)}
        return total.clamp(min=0.0), terms | {"penalty": penalty}

    def set_weight(self, name: str, weight: float) -> None:
        """Of a term that has one; in place, for a curriculum."""
        self.weights[name] = weight
        self._weights[list(self.weights).index(name)] = weight

    def others(self, state: State) -> dict[str, Tensor]:
        """What is reported whatever is rewarded: `reward/<term>` of the other terms, `activation_energy`, each (W,)."""
        names = [n for n in REWARDS if n not in self.weights and (state.body.has_root or n not in NEED_ROOT)]
        sharpness = {name: float(self._config.sharpness.get(name, REWARDS[name].sharpness)) for name in names}
        others = self._tracking(state, sharpness).unbind(1) if names else ()
        terms = {f"reward/{name}": value for name, value in zip(names, others, strict=True)}
        return terms | {"activation_energy": activation_energy(state)}

    def _tracking(self, state: State, sharpness: dict[str, float]) -> Tensor:
        """The terms that `sharpness` names, (W, terms)."""
        if self._config.elementwise:
            return torch.stack([torch.exp(-s * REWARDS[n].errors(state)).mean(dim=1) for n, s in sharpness.items()], 1)
        # All exponentials in one go: a kernel costs more than the numbers in it.
        distances = [s * REWARDS[name].distance(state) for name, s in sharpness.items()]
        return torch.exp(-torch.stack(distances, dim=1))

    def _penalty(self, state: State) -> Tensor:
        """Between -1 and 0, (W,)."""
        total = torch.zeros_like(state.phase)
        for name, coefficient in self.penalties.items():
            total = total - coefficient * PENALTIES[name](state)
        return total.clamp(min=-1.0)


def _check(config: RewardConfig, body: ModelIndices) -> None:
    for name in (*config.weights, *config.sharpness):
        if name not in REWARDS:
            raise InputError(f"unknown reward term {name!r}{nearest(name, list(REWARDS))}")
    for name in config.penalties:
        if name not in PENALTIES:
            raise InputError(f"unknown penalty {name!r}{nearest(name, list(PENALTIES))}")
    for name, weight in config.weights.items():
        if weight and name in NEED_ROOT and not body.has_root:
            raise InputError(
                f"reward term {name!r} needs a free root joint, which {body.name} lacks: set its weight to 0"
            )
