"""Penalties of effort and roughness, and their sum with the goal's reward terms.

total = max(0, sum of weight * term + max(-1, -sum of coefficient * penalty)), as in the published system;
`reward.signed=true` removes both bounds: total = sum of weight * term - sum of coefficient * penalty.
"""

from collections.abc import Mapping

import torch
from torch import Tensor

from muscle_torch.config import RewardConfig
from muscle_torch.errors import InputError, nearest

from .goals.goal import Goal
from .state import State
from .terms import RewardTerm, Term, Tracking


def action_out_of_bounds(state: State) -> Tensor:
    """Return the mean over commands of the squared excess beyond [-1, 1], (W,)."""
    return (state.action - state.action.clamp(-1.0, 1.0)).square().mean(dim=1)


def joint_acc(state: State) -> Tensor:
    """Return the sum of the squared changes of joint velocity without the root, divided by the control step, (W,)."""
    assert state.previous_qvel is not None, "the environment stores the velocities for this penalty"
    joints = state.body.joint_qvel
    return (state.qvel - state.previous_qvel)[:, joints].square().sum(dim=1) / state.body.control_step


def joint_torque(state: State) -> Tensor:
    """Return the sum of the squared generalized forces of the actuators [N^2 m^2], (W,)."""
    return state.read("qfrc_actuator").square().sum(dim=1)


def action_rate(state: State) -> Tensor:
    """Return the sum over commands of the squared change since the last control step, (W,)."""
    return (state.action - state.previous_action).square().sum(dim=1)


def control(state: State) -> Tensor:
    """Return the sum of the squared unclipped commands, (W,)."""
    return state.action.square().sum(dim=1)


def excitation(state: State) -> Tensor:
    """Return the sum over muscles of the squared excitation in [0, 1], without negative controls, (W,)."""
    return state.read("ctrl").clamp(0.0, 1.0).square().sum(dim=1)


def power(state: State) -> Tensor:
    """Return the sum over joints of the absolute power of the actuators [W], clipped to 50 W, (W,)."""
    joints = state.body.joint_qvel
    return (state.qvel * state.read("qfrc_actuator"))[:, joints].abs().sum(dim=1).clamp(max=50.0)


def activation_energy(state: State) -> Tensor:
    """Return the mean over muscles of the squared activation, (W,)."""
    return state.read("act").square().mean(dim=1)


def metabolic(state: State) -> Tensor:
    """Return the metabolic proxy of all muscles over their mass, (W,): 0 at rest, 1 if all are fully active and still.

    Each muscle contributes mass * (activation^2 + positive power over F0 times maximal velocity).
    """
    return state.metabolic


def alive(state: State) -> Tensor:
    """Return 1 for every control step, which rewards survival, (W,)."""
    return state.action.new_ones(len(state.action))


REWARDS: dict[str, RewardTerm] = {"alive": alive}
PENALTIES: dict[str, Term] = {
    "action_out_of_bounds": action_out_of_bounds,
    "joint_acc": joint_acc,
    "joint_torque": joint_torque,
    "action_rate": action_rate,
    "control": control,
    "excitation": excitation,
    "power": power,
    "activation_energy": activation_energy,
    "metabolic": metabolic,
}
NEED_PREVIOUS_QVEL = frozenset({"joint_acc"})


class Reward:
    """Weighted sum of the configured terms with nonzero weight.

    Attributes:
        weights: Reward term -> weight.
        penalties: Penalty -> coefficient.
    """

    def __init__(self, config: RewardConfig, goal: Goal, device: torch.device):
        """Resolve the terms.

        Args:
            config: Weights, coefficients and sharpness.
            goal: Provides reward terms beside those of the body.
            device: Device of the weights.

        Raises:
            InputError: A term does not exist, or the body lacks what it reads.
        """
        table = REWARDS | dict(goal.rewards)
        _check(config, goal, table)
        self._config, self._goal = config, goal
        self.weights = {name: float(w) for name, w in config.weights.items() if w}
        self.penalties = {name: float(c) for name, c in config.penalties.items() if c}
        self._terms = {name: table[name] for name in self.weights}
        self._weights = torch.tensor(list(self.weights.values()), device=device)

    @property
    def needs_previous_qvel(self) -> bool:
        """Whether a penalty reads the velocities before the control step."""
        return not NEED_PREVIOUS_QVEL.isdisjoint(self.penalties)

    def __call__(self, state: State) -> tuple[Tensor, dict[str, Tensor]]:
        """Evaluate the reward.

        Args:
            state: State after a control step.

        Returns:
            The reward (W,); and `reward/<term>` -> unweighted term, `penalty` -> sum of the penalties, each (W,).
        """
        penalty = self._penalty(state)
        if not self._terms:
            return self._floor(penalty), {"penalty": penalty}
        values = self._values(state, self._terms)
        total = (values * self._weights).sum(dim=1) + penalty
        terms = {f"reward/{name}": value for name, value in zip(self._terms, values.unbind(1), strict=True)}
        return self._floor(total), terms | {"penalty": penalty}

    def set_weight(self, name: str, weight: float) -> None:
        """Change the weight of a term with nonzero weight, in place."""
        self.weights[name] = weight
        self._weights[list(self.weights).index(name)] = weight

    def unweighted_terms(self, state: State) -> dict[str, Tensor]:
        """Return the goal's terms with zero weight and measures of effort, for evaluation, each (W,)."""
        goal = self._goal
        terms = {n: t for n, t in goal.rewards.items() if n not in self.weights and goal.missing(n) is None}
        values = self._values(state, terms).unbind(1) if terms else ()
        named = {f"reward/{name}": value for name, value in zip(terms, values, strict=True)}
        named |= {"activation_energy": activation_energy(state), "metabolic": state.metabolic}
        if state.device_torque is not None:
            named["device_torque"] = state.device_torque.abs().mean(dim=1)
        return named

    def _values(self, state: State, terms: Mapping[str, RewardTerm]) -> Tensor:
        """Return the values of terms, (W, terms)."""
        tracking = {name: term for name, term in terms.items() if isinstance(term, Tracking)}
        if not tracking:
            return torch.stack([term(state) for term in terms.values()], dim=1)  # type: ignore[operator]
        values = self._tracking(state, tracking)
        if len(tracking) == len(terms):
            return values
        columns = dict(zip(tracking, values.unbind(1), strict=True))
        return torch.stack([columns[n] if n in columns else t(state) for n, t in terms.items()], 1)  # type: ignore[operator]

    def _tracking(self, state: State, terms: Mapping[str, Tracking]) -> Tensor:
        sharpness = {name: float(self._config.sharpness.get(name, term.sharpness)) for name, term in terms.items()}
        if self._config.elementwise:
            return torch.stack([torch.exp(-sharpness[n] * t.errors(state)).mean(dim=1) for n, t in terms.items()], 1)
        # All exponentials in one call: launching a kernel costs more than evaluating it.
        return torch.exp(-torch.stack([sharpness[n] * t.distance(state) for n, t in terms.items()], dim=1))

    def _penalty(self, state: State) -> Tensor:
        """Return the negative sum of the penalties, clipped to [-1, 0] unless the reward is signed, (W,)."""
        total = state.action.new_zeros(len(state.action))
        for name, coefficient in self.penalties.items():
            total = total - coefficient * PENALTIES[name](state)
        return total if self._config.signed else total.clamp(min=-1.0)

    def _floor(self, total: Tensor) -> Tensor:
        return total if self._config.signed else total.clamp(min=0.0)


def _check(config: RewardConfig, goal: Goal, table: Mapping[str, RewardTerm]) -> None:
    for name in (*config.weights, *config.sharpness):
        if name not in table:
            raise InputError(f"unknown reward term {name!r}{nearest(name, list(table))}")
    for name in config.sharpness:
        if not isinstance(table[name], Tracking):
            raise InputError(f"reward.sharpness.{name}: {name!r} is no exponential term: leave it out")
    for name in config.penalties:
        if name not in PENALTIES:
            raise InputError(f"unknown penalty {name!r}{nearest(name, list(PENALTIES))}")
    for name, weight in config.weights.items():
        lacking = goal.missing(name)
        if weight and lacking:
            raise InputError(f"reward term {name!r} needs {lacking}, which {goal.body.name} lacks: set its weight to 0")
