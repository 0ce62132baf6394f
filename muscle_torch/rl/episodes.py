"""Statistics of the episodes of a rollout."""

import torch
from torch import Tensor

from .contracts import Step
from .process_group import ProcessGroup


class EpisodeStatistics:
    """Returns and lengths of episodes, reward terms and errors of control steps; no host synchronization in `add`.

    Attributes:
        episode_return, episode_length: Return and length of the unfinished episodes so far, (W,).
        finished: Sums over the episodes that ended in this rollout, (4,): number, return, length, early terminations.
        terms: Sum over this rollout's control steps of each term's mean over the environments, ().
    """

    def __init__(self, num_envs: int, device: torch.device):
        self.episode_return, self.episode_length = (torch.zeros(num_envs, device=device) for _ in range(2))
        self.finished = torch.zeros(4, device=device)
        self.terms: dict[str, Tensor] = {}
        self._rewards: list[Tensor] = []

    def forget(self) -> None:
        """Discard the unfinished episodes, after all environments were reset."""
        self.episode_return.zero_()
        self.episode_length.zero_()

    def begin(self) -> None:
        """Begin a rollout; unfinished episodes continue."""
        self.finished.zero_()
        self.terms, self._rewards = {}, []

    def add(self, step: Step, done: Tensor) -> None:
        """Add one control step.

        Args:
            step: Result of the control step.
            done: Which episodes have ended, bool (W,).
        """
        self._rewards.append(step.reward)
        for name, value in step.terms.items():
            self.terms[name] = self.terms[name] + value.mean() if name in self.terms else value.mean()
        self.episode_return += step.reward
        self.episode_length += 1
        ended = done.float()
        sums = (ended.sum(), ended @ self.episode_return, ended @ self.episode_length, step.terminated.float().sum())
        self.finished += torch.stack(sums)
        self.episode_return *= 1 - ended
        self.episode_length *= 1 - ended

    def metrics(self, processes: ProcessGroup) -> dict[str, float]:
        """Return means over the episodes and control steps of the rollout, of all processes."""
        episodes, total_return, total_length, early = processes.sum(self.finished).tolist()
        means = torch.stack((torch.stack(self._rewards).mean(), *self.terms.values()))
        reward, *terms = processes.mean(means).tolist()
        return {
            "episode/return": total_return / episodes if episodes else float("nan"),
            "episode/length": total_length / episodes if episodes else float("nan"),
            "episode/early_termination_rate": early / episodes if episodes else 0.0,
            "episode/reward": reward,
            **{name: value / len(self._rewards) for name, value in zip(self.terms, terms, strict=True)},
        }
