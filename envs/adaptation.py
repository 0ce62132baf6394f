"""Curricula and adaptive sampling driven by episode outcomes."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from muscle_torch.config import Config
from muscle_torch.errors import InputError, nearest
from muscle_torch.motion import FailureRates

from .curriculum import RewardCurriculum, TerminationCurriculum
from .goals.goal import Goal
from .rewards import Reward
from .terminations import Termination


class Adaptation:
    """Counts how episodes end, by the goal's groups, and adapts thresholds, reward weights and sampling.

    Failure rates are always updated, because validation reads them.

    Attributes:
        failures: Failure rate and sampling weight of each group.
        termination: Curriculum of the termination thresholds.
        reward: Curriculum of the reward weights.
    """

    def __init__(self, config: Config, termination: Termination, reward: Reward, goal: Goal):
        self._termination, self._reward, self._goal = termination, reward, goal
        self._sampling = config.sampling
        self._curriculum = config.curriculum.termination
        groups, device = len(goal.groups), goal.device
        self.failures = FailureRates(config.sampling, groups)
        self.termination = TerminationCurriculum(self._curriculum)
        self.reward = RewardCurriculum(config.curriculum.reward, config.reward.weights)
        self._terms = _terms(config)
        self._ended = torch.zeros(groups, dtype=torch.long, device=device)
        self._failed = torch.zeros(groups, dtype=torch.long, device=device)

    def count(self, group: Tensor, ended: Tensor, failed: Tensor) -> None:
        """Count ended and failed episodes.

        Args:
            group: Group of each environment's episode, (W,).
            ended: Whether the episode ended, bool (W,).
            failed: Whether it failed, bool (W,).
        """
        self._ended.index_add_(0, group, ended.long())
        self._failed.index_add_(0, group, failed.long())

    def forget(self) -> None:
        """Discard the counts since the last update."""
        self._ended.zero_()
        self._failed.zero_()

    def update(self, total: Callable[[Tensor], Tensor]) -> dict[str, float]:
        """Adapt to the episodes that ended since the last update. Synchronizes with the device once.

        Args:
            total: Sums counts over all processes (all-reduce).

        Returns:
            Metrics of all that is adapted.
        """
        ended, failed = total(torch.stack((self._ended, self._failed))).cpu()
        self.forget()
        self.failures.observe(ended, failed)
        if ended.sum() > 0:  # without ended episodes there is no rate
            rate = int(failed.sum()) / int(ended.sum())
            self.termination.observe(rate)
            self.reward.observe(rate)
        self.reward.shrink()
        self._apply()
        return self._metrics()

    def state(self) -> dict[str, Any]:
        """Return copies of all state that exact resume needs."""
        return {
            "failures": self.failures.state(),
            "termination": self.termination.state(),
            "reward": self.reward.state(),
            "ended": self._ended.clone(),
            "failed": self._failed.clone(),
        }

    def load_state(self, state: dict[str, Any]) -> None:
        """Restore what `state` returned."""
        self.failures.load_state(state["failures"])
        self.termination.load_state(state["termination"])
        self.reward.load_state(state["reward"])
        self._ended.copy_(state["ended"])
        self._failed.copy_(state["failed"])
        self._apply()

    def _apply(self) -> None:
        if self._curriculum.enabled:
            self._termination.tighten(self.termination.ratio, self._terms)
        for name, weight in self.reward.weights.items():
            self._reward.set_weight(name, weight)
        if self._sampling.adaptive:
            self._goal.set_group_weights(self.failures.weights)

    def _metrics(self) -> dict[str, float]:
        metrics: dict[str, float] = {}
        if self._curriculum.enabled:
            metrics |= {"curriculum/failure_rate": self.termination.rate}
            metrics |= {"curriculum/threshold_ratio": self.termination.ratio}
        metrics |= {f"curriculum/weight_{name}": weight for name, weight in self.reward.weights.items()}
        if self._sampling.adaptive:
            weights, rate = self.failures.weights, self.failures.rate
            metrics |= {"sampling/weight_min": float(weights.min()), "sampling/weight_max": float(weights.max())}
            metrics |= {"sampling/failure_rate_max": float(rate.max())}
        return metrics


def _terms(config: Config) -> tuple[str, ...]:
    """Return the termination terms that the curriculum tightens."""
    curriculum = config.curriculum.termination
    if curriculum.enabled and not config.termination:
        raise InputError("curriculum.termination.enabled=true but termination names no threshold to tighten")
    for name in curriculum.terms:
        if name not in config.termination:
            raise InputError(
                f"curriculum.termination.terms: {name!r} is no threshold of termination"
                f"{nearest(name, list(config.termination))}"
            )
    return tuple(curriculum.terms) or tuple(config.termination)
