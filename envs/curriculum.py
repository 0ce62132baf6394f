"""Curricula that follow the failure rate: termination thresholds that tighten, reward weights that grow.

The rules are MuscleMimic's; there the first acts on some terminations only and a weight of 0 never grows.
Failure rate: episodes that ended by termination over all that ended in a rollout.
"""

from collections.abc import Mapping
from typing import Any

from muscle_torch.config import RewardCurriculumConfig, TerminationCurriculumConfig
from muscle_torch.errors import InputError, nearest


class TerminationCurriculum:
    """A ratio, from 1 down to `min_ratio`, that the thresholds are multiplied with.

    The running rate has to be below `low` (or above `high`) in `patience` updates for one step down (or up); updates in
    between, in which it is in neither, start the count anew.
    """

    def __init__(self, config: TerminationCurriculumConfig):
        _check_termination(config)
        self.config = config
        self.ratio, self.rate = 1.0, 1.0
        self.direction, self.count = 0, 0  # of the newest update; updates in a row with that direction

    def observe(self, rate: float) -> None:
        """The failure rate of one rollout in which episodes ended."""
        config = self.config
        self.rate += config.smoothing * (rate - self.rate)
        direction = -1 if self.rate < config.low else 1 if self.rate > config.high else 0
        self.count = 0 if direction == 0 else self.count + 1 if direction == self.direction else 1
        self.direction = direction
        if self.count >= config.patience:
            step = config.factor if direction < 0 else 1 / config.factor
            self.ratio = min(max(self.ratio * step, config.min_ratio), 1.0)
            self.count = 0

    def state(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in ("ratio", "rate", "direction", "count")}

    def load_state(self, state: dict[str, Any]) -> None:
        for name, value in state.items():
            setattr(self, name, value)


class RewardCurriculum:
    """Weights of the terms in `highest`, each growing by the share `growth` after `patience` good updates in a row."""

    def __init__(self, config: RewardCurriculumConfig, weights: Mapping[str, float]):
        """weights: those the config starts from. Raises InputError where a term has none: 0 would stay 0."""
        _check_reward(config, weights)
        self.config = config
        self.weights = {name: float(weights[name]) for name in config.highest}
        self.rate: float | None = None
        self.count = 0

    def observe(self, rate: float) -> None:
        """The failure rate of one rollout; the first only starts the running rate."""
        config = self.config
        if self.rate is None:
            self.rate = rate
            return
        self.rate += config.smoothing * (rate - self.rate)
        self.count = self.count + 1 if self.rate < config.below else 0
        if self.count >= config.patience:
            grown = {name: weight * (1 + config.growth) for name, weight in self.weights.items()}
            self.weights = {name: min(weight, config.highest[name]) for name, weight in grown.items()}
            self.count = 0

    def state(self) -> dict[str, Any]:
        return {"weights": dict(self.weights), "rate": self.rate, "count": self.count}

    def load_state(self, state: dict[str, Any]) -> None:
        self.weights, self.rate, self.count = dict(state["weights"]), state["rate"], state["count"]


def _check_termination(config: TerminationCurriculumConfig) -> None:
    where = "curriculum.termination."
    for name in ("min_ratio", "factor", "smoothing"):
        if not 0 < getattr(config, name) <= 1:
            raise InputError(f"{where}{name}={getattr(config, name)}: must be above 0 and at most 1")
    if not 0 <= config.low <= config.high:
        raise InputError(f"{where}low={config.low} and high={config.high}: 0 <= low <= high is needed")
    if config.patience < 1:
        raise InputError(f"{where}patience={config.patience}: at least 1 is needed")


def _check_reward(config: RewardCurriculumConfig, weights: Mapping[str, float]) -> None:
    where = "curriculum.reward."
    for name, highest in config.highest.items():
        if not weights.get(name):
            known = [n for n, weight in weights.items() if weight]
            raise InputError(
                f"{where}highest names {name!r}, which has no weight to grow from{nearest(name, known)}; "
                "give it one in reward.weights"
            )
        if highest < weights[name]:
            raise InputError(f"{where}highest.{name}={highest} is below its weight {weights[name]:g}: raise it")
    if not 0 < config.smoothing <= 1:
        raise InputError(f"{where}smoothing={config.smoothing}: must be above 0 and at most 1")
    if config.growth < 0 or config.patience < 1:
        raise InputError(f"{where}growth cannot be negative, and patience is at least 1")
