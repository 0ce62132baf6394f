"""Statistics of the episodes that a rollout saw."""

import torch
from torch import Tensor

from .contracts import Step
from .process_group import ProcessGroup


class EpisodeStatistics:
    """Returns and lengths of episodes, reward terms and errors of control steps; no host synchronization in `add`.

    Attributes:
        episode_return, episode_length: Of the unfinished episodes so far, (W,).
        finished: Sums over the episodes that ended in this rollout: number, return, length, early terminations, (4,).
        terms: Sum over the control steps of this rollout of each term's mean over the environments, ().
    """

    def __init__(self, num_envs: int, device: torch.device):
        self.episode_return, self.episode_length = (torch.zeros(num_envs, device=device) for _ in range(2))
        self.finished = torch.zeros(4, device=device)
        self.terms: dict[str, Tensor] = {}
        self._rewards: list[Tensor] = []

    def forget(self) -> None:
        """Forget the unfinished episodes: all environments were reset."""
        self.episode_return.zero_()
        self.episode_length.zero_()

    def begin(self) -> None:
        """Begin a rollout; episodes go on."""
        self.finished.zero_()
        self.terms, self._rewards = {}, []

    def add(self, step: Step, done: Tensor) -> None:
        """Count one control step; done: which episodes have ended, bool (W,)."""
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
        """Return the means over the rollout's episodes and control steps, of all processes."""
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
