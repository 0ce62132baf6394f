"""How often each group of episodes (motions: each clip) fails, and how often it is drawn because of that."""

from typing import Any

import torch
from torch import Tensor

from muscle_torch.config import SamplingConfig
from muscle_torch.errors import InputError

EPSILON = 1e-6
FEWEST = 1e-4  # running episodes; a group that is not drawn for long keeps its rate but loses its inertia


class FailureRates:
    """Running counts of episodes and failures of each group, and weights that grow with the failure rate.

    Each update the counts move by `smoothing` towards the newest rollout's. Weight: a uniform share, and the rest in
    proportion to rate ^ sharpness. As MuscleMimic's adaptive sampling, whose weights have no effect there.
    """

    def __init__(self, config: SamplingConfig, num_groups: int):
        _check(config)
        self.config = config
        self.episodes = torch.full((num_groups,), float(config.prior_episodes), dtype=torch.float64)
        self.failures = torch.full((num_groups,), float(config.prior_failures), dtype=torch.float64)

    def observe(self, episodes: Tensor, failures: Tensor) -> None:
        """Counts of one rollout's ended episodes and of those that failed, each (G,)."""
        share = self.config.smoothing
        self.episodes.mul_(1 - share).add_(episodes.cpu(), alpha=share)
        self.failures.mul_(1 - share).add_(failures.cpu(), alpha=share)
        lift = (FEWEST / self.episodes.clamp(min=1e-12)).clamp(min=1.0)
        self.episodes *= lift
        self.failures *= lift

    @property
    def rate(self) -> Tensor:
        """Failures an episode, (G,); a group never drawn has that of the prior."""
        return self.failures / (self.episodes + EPSILON)

    @property
    def weights(self) -> Tensor:
        """Probability of each group, (G,)."""
        hardness = (self.rate + EPSILON) ** self.config.sharpness
        uniform = torch.full_like(hardness, 1 / len(hardness))
        hard = hardness / hardness.sum() if hardness.sum() > 0 else uniform  # a large power may leave only zeros
        return torch.lerp(hard, uniform, self.config.uniform_share)

    def state(self) -> dict[str, Any]:
        return {"episodes": self.episodes.clone(), "failures": self.failures.clone()}

    def load_state(self, state: dict[str, Any]) -> None:
        if state["episodes"].shape != self.episodes.shape:
            raise InputError(
                f"stored failure rates are of {len(state['episodes'])} groups, not of {len(self.episodes)}; "
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
