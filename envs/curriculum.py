"""Curricula: thresholds that tighten and reward weights that grow with success, weights that shrink with time.

The rules are those of MuscleMimic, where the first applies to some terminations only and a weight of 0 never grows.
Failure rate: terminated episodes divided by all episodes that ended in a rollout.
"""

from collections.abc import Mapping
from typing import Any

from muscle_torch.config import RewardCurriculumConfig, TerminationCurriculumConfig
from muscle_torch.errors import InputError, nearest


class TerminationCurriculum:
    """A factor of the thresholds, from 1 down to `min_ratio`.

    It takes one step down (up) after the running failure rate was below `low` (above `high`) in `patience` consecutive
    updates.

    Attributes:
        config: Its options.
        ratio: Factor of the thresholds.
        rate: Running failure rate.
        direction: -1, 0 or 1: step that the last update called for.
        count: Consecutive updates with that direction.
    """

    def __init__(self, config: TerminationCurriculumConfig):
        """Start with a ratio of 1.

        Raises:
            InputError: An option is out of range.
        """
        _check_termination(config)
        self.config = config
        self.ratio, self.rate = 1.0, 1.0
        self.direction, self.count = 0, 0

    def observe(self, rate: float) -> None:
        """Update with the failure rate of one rollout."""
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
        """Return all state that exact resume needs."""
        return {name: getattr(self, name) for name in ("ratio", "rate", "direction", "count")}

    def load_state(self, state: dict[str, Any]) -> None:
        """Restore what `state` returned."""
        for name, value in state.items():
            setattr(self, name, value)


class RewardCurriculum:
    """Reward weights of the terms in `highest` and `lowest`.

    The former grow by the fraction `growth`, up to `highest`, after `patience` consecutive updates with a running
    failure rate below `below`. The latter shrink by the fraction `decay` at every update, down to `lowest`: a reference
    that a weak body cannot follow then gives way to compensation.

    Attributes:
        config: Its options.
        weights: Term -> current weight.
        rate: Running failure rate; None before the first update.
        count: Consecutive updates with a low rate.
    """

    def __init__(self, config: RewardCurriculumConfig, weights: Mapping[str, float]):
        """Start with the configured weights.

        Args:
            config: Options.
            weights: Term -> configured weight.

        Raises:
            InputError: A term in `highest` has no weight to start from, or an option is out of range.
        """
        _check_reward(config, weights)
        self.config = config
        self.weights = {name: float(weights[name]) for name in (*config.highest, *config.lowest)}
        self.rate: float | None = None
        self.count = 0

    def shrink(self) -> None:
        """Shrink the weights of the terms in `lowest`, once per update."""
        for name, lowest in self.config.lowest.items():
            self.weights[name] = max(self.weights[name] * (1 - self.config.decay), lowest)

    def observe(self, rate: float) -> None:
        """Update with the failure rate of one rollout; the first only initializes the running rate."""
        config = self.config
        if self.rate is None:
            self.rate = rate
            return
        self.rate += config.smoothing * (rate - self.rate)
        self.count = self.count + 1 if self.rate < config.below else 0
        if self.count >= config.patience:
            grown = {name: self.weights[name] * (1 + config.growth) for name in config.highest}
            self.weights |= {name: min(weight, config.highest[name]) for name, weight in grown.items()}
            self.count = 0

    def state(self) -> dict[str, Any]:
        """Return all state that exact resume needs."""
        return {"weights": dict(self.weights), "rate": self.rate, "count": self.count}

    def load_state(self, state: dict[str, Any]) -> None:
        """Restore what `state` returned."""
        self.weights, self.rate, self.count = dict(state["weights"]), state["rate"], state["count"]


def _check_termination(config: TerminationCurriculumConfig) -> None:
    where = "curriculum.termination."
    for name in ("min_ratio", "factor", "smoothing"):
        if not 0 < getattr(config, name) <= 1:
            raise InputError(f"{where}{name}={getattr(config, name)}: must be above 0 and at most 1")
    if not 0 <= config.low <= config.high:
        raise InputError(f"{where}low={config.low} and high={config.high}: must satisfy 0 <= low <= high")
    if config.patience < 1:
        raise InputError(f"{where}patience={config.patience}: must be at least 1")


def _check_reward(config: RewardCurriculumConfig, weights: Mapping[str, float]) -> None:
    where = "curriculum.reward."
    for name in (*config.highest, *config.lowest):
        if not weights.get(name):
            known = [n for n, weight in weights.items() if weight]
            bound, change = ("highest", "grow") if name in config.highest else ("lowest", "shrink")
            raise InputError(
                f"{where}{bound} names {name!r}, which has no weight to {change} from{nearest(name, known)}; "
                "give it one in reward.weights"
            )
    for name, highest in config.highest.items():
        if highest < weights[name]:
            raise InputError(f"{where}highest.{name}={highest} is below its weight {weights[name]:g}: raise it")
    for name, lowest in config.lowest.items():
        if name in config.highest or not 0 < lowest <= weights[name]:
            raise InputError(
                f"{where}lowest.{name}={lowest}: write a weight above 0 and at most {weights[name]:g}, of a term that "
                "does not grow"
            )
    if not 0 <= config.decay < 1:
        raise InputError(f"{where}decay={config.decay}: must be at least 0 and below 1")
    if not 0 < config.smoothing <= 1:
        raise InputError(f"{where}smoothing={config.smoothing}: must be above 0 and at most 1")
    if config.growth < 0 or config.patience < 1:
        raise InputError(f"{where}growth must not be negative, and patience must be at least 1")
