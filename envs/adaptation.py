"""What the environment makes of success and failure: its curricula and the clips it draws."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from muscle_torch.config import Config
from muscle_torch.errors import InputError, nearest
from muscle_torch.motion import ClipFailures, Sampler

from .curriculum import RewardCurriculum, TerminationCurriculum
from .rewards import Reward
from .terminations import Termination


class Adaptation:
    """Counts how episodes end, clip by clip, and adapts thresholds, reward weights and sampling once an update.

    Failure rates of clips are kept whether or not anything is adapted: they are worth seeing.
    """

    def __init__(self, config: Config, termination: Termination, reward: Reward, sampler: Sampler):
        self._termination, self._reward, self._sampler = termination, reward, sampler
        self._sampling = config.sampling
        self._curriculum = config.curriculum.termination
        clips, device = sampler.library.num_clips, sampler.library.device
        self.failures = ClipFailures(config.sampling, clips)
        self.termination = TerminationCurriculum(self._curriculum)
        self.reward = RewardCurriculum(config.curriculum.reward, config.reward.weights)
        self._terms = _terms(config)
        self._ended = torch.zeros(clips, dtype=torch.long, device=device)
        self._failed = torch.zeros(clips, dtype=torch.long, device=device)

    def count(self, clip: Tensor, ended: Tensor, failed: Tensor) -> None:
        """Worlds (W,) bool whose episode in clip (W,) ended, and of these those that failed."""
        self._ended.index_add_(0, clip, ended.long())
        self._failed.index_add_(0, clip, failed.long())

    def forget(self) -> None:
        """Drops what was counted since the last update."""
        self._ended.zero_()
        self._failed.zero_()

    def update(self, total: Callable[[Tensor], Tensor]) -> dict[str, float]:
        """Adapts to the episodes ended since the last update; metrics of what is adapted. Synchronises once.

        total: from this environment's counts to those of all that learn together.
        """
        ended, failed = total(torch.stack((self._ended, self._failed))).cpu()
        self.forget()
        self.failures.observe(ended, failed)
        if ended.sum() > 0:  # a rollout without an end says nothing
            rate = int(failed.sum()) / int(ended.sum())
            self.termination.observe(rate)
            self.reward.observe(rate)
        self._apply()
        return self._metrics()

    def state(self) -> dict[str, Any]:
        """All that continues exactly."""
        return {
            "failures": self.failures.state(),
            "termination": self.termination.state(),
            "reward": self.reward.state(),
            "ended": self._ended.clone(),
            "failed": self._failed.clone(),
        }

    def load_state(self, state: dict[str, Any]) -> None:
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
            self._sampler.set_weights(self.failures.weights)

    def _metrics(self) -> dict[str, float]:
        found: dict[str, float] = {}
        if self._curriculum.enabled:
            found |= {"curriculum/failure_rate": self.termination.rate}
            found |= {"curriculum/threshold_ratio": self.termination.ratio}
        found |= {f"curriculum/weight_{name}": weight for name, weight in self.reward.weights.items()}
        if self._sampling.adaptive:
            weights, rate = self.failures.weights, self.failures.rate
            found |= {"sampling/weight_min": float(weights.min()), "sampling/weight_max": float(weights.max())}
            found |= {"sampling/failure_rate_max": float(rate.max())}
        return found


def _terms(config: Config) -> tuple[str, ...]:
    """Termination terms that the curriculum tightens."""
    chosen = config.curriculum.termination
    if chosen.enabled and not config.termination:
        raise InputError("curriculum.termination.enabled=true but termination names no threshold to tighten")
    for name in chosen.terms:
        if name not in config.termination:
            raise InputError(
                f"curriculum.termination.terms: {name!r} is no threshold of termination"
                f"{nearest(name, list(config.termination))}"
            )
    return tuple(chosen.terms) or tuple(config.termination)
