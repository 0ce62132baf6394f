"""Failure rates of episode groups (motions: clips), and the sampling weights derived from them."""

from typing import Any

import torch
from torch import Tensor

from muscle_torch.config import SamplingConfig
from muscle_torch.errors import InputError

EPSILON = 1e-6
MIN_EPISODES = 1e-4  # lower bound of a running count: a group not drawn for long keeps its rate but adapts quickly


class FailureRates:
    """Running counts of episodes and failures per group, and sampling weights that increase with the failure rate.

    Each update moves the counts by `smoothing` towards those of the newest rollout. A weight is a uniform share plus a
    share proportional to rate ^ sharpness, as in MuscleMimic's adaptive sampling (where the weights have no effect).
    """

    def __init__(self, config: SamplingConfig, num_groups: int):
        """Start from the prior counts. Raises InputError for options out of range."""
        _check(config)
        self.config = config
        self.episodes = torch.full((num_groups,), float(config.prior_episodes), dtype=torch.float64)
        self.failures = torch.full((num_groups,), float(config.prior_failures), dtype=torch.float64)

    def observe(self, episodes: Tensor, failures: Tensor) -> None:
        """Update the counts.

        Args:
            episodes: Episodes of each group that ended in the newest rollout, (G,).
            failures: Those that failed, (G,).
        """
        share = self.config.smoothing
        self.episodes.mul_(1 - share).add_(episodes.cpu(), alpha=share)
        self.failures.mul_(1 - share).add_(failures.cpu(), alpha=share)
        lift = (MIN_EPISODES / self.episodes.clamp(min=1e-12)).clamp(min=1.0)
        self.episodes *= lift
        self.failures *= lift

    @property
    def rate(self) -> Tensor:
        """Failures per episode, (G,); the prior's for groups never drawn."""
        return self.failures / (self.episodes + EPSILON)

    @property
    def weights(self) -> Tensor:
        """Sampling probability of each group, (G,)."""
        hardness = (self.rate + EPSILON) ** self.config.sharpness
        uniform = torch.full_like(hardness, 1 / len(hardness))
        hard = hardness / hardness.sum() if hardness.sum() > 0 else uniform  # a large exponent may underflow to zero
        return torch.lerp(hard, uniform, self.config.uniform_share)

    def state(self) -> dict[str, Any]:
        """Return the counts, for exact resume."""
        return {"episodes": self.episodes.clone(), "failures": self.failures.clone()}

    def load_state(self, state: dict[str, Any]) -> None:
        """Restore the output of `state`. Raises InputError if the number of groups differs."""
        if state["episodes"].shape != self.episodes.shape:
            raise InputError(
                f"stored failure rates are of {len(state['episodes'])} groups, this run has {len(self.episodes)}; "
                "resume with the same motion="
            )
        self.episodes.copy_(state["episodes"])
        self.failures.copy_(state["failures"])


def _check(config: SamplingConfig) -> None:
    if not 0 < config.smoothing <= 1:
        raise InputError(f"sampling.smoothing={config.smoothing}: must be above 0 and at most 1")
    if not 0 <= config.uniform_share <= 1:
        raise InputError(f"sampling.uniform_share={config.uniform_share}: must be between 0 and 1")
    if config.sharpness < 0:
        raise InputError(f"sampling.sharpness={config.sharpness}: cannot be negative")
    if not 0 <= config.prior_failures <= config.prior_episodes or config.prior_episodes <= 0:
        raise InputError("sampling.prior_failures must be between 0 and sampling.prior_episodes, which is above 0")
