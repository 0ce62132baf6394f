"""Divide rewards by the running standard deviation of the discounted return."""

import torch
from torch import Tensor

from .process_group import ProcessGroup, SingleProcess


class ReturnNormalizer:
    """G <- gamma G (1 - done) + r in each environment; rewards are divided by sqrt(var(G)), the mean is not subtracted.

    Tensors are changed in place, without host synchronization. Mean and variance are updated as the published system
    does, to the bit; the observation normalizer (`muscle_torch.models`) rounds differently.

    Attributes:
        running: G of this process's environments, (W,).
        moments: Mean, variance and count of all G so far, (3,); the same on all processes.
    """

    def __init__(self, num_envs: int, gamma: float, device: torch.device, processes: ProcessGroup | None = None):
        """Begin with a count of 1e-4 samples of variance 1.

        Args:
            num_envs: Environments of this process.
            gamma: Discount factor.
            device: Device of the environments.
            processes: Group of the processes that train together; None: this one.
        """
        self.gamma, self.processes = gamma, processes or SingleProcess()
        self.running = torch.zeros(num_envs, device=device)
        self.moments = torch.tensor([0.0, 1.0, 1e-4], device=device)

    def observe(self, reward: Tensor, done: Tensor) -> None:
        """Add the steps of a rollout; all processes call it together.

        Args:
            reward: (T, W).
            done: Whether the episode ended with the step, bool (T, W).
        """
        returns = []
        for earned, ended in zip(reward, done, strict=True):
            self.running.mul_(self.gamma * (~ended)).add_(earned)
            returns.append(self.running.clone())
        stacked = torch.stack(returns)
        new = reward.shape[1] * self.processes.size
        moments = self.processes.moments(stacked.mean(1), stacked.var(1, correction=0))
        for new_mean, new_var in zip(*moments, strict=True):
            mean, var, count = self.moments.unbind()
            total = count + new
            difference = new_mean - mean
            square = var * count + new_var * new + difference.square() * count * new / total
            self.moments.copy_(torch.stack((mean + difference * new / total, square / total, total)))

    def __call__(self, reward: Tensor) -> Tensor:
        return reward * (self.moments[1] + 1e-8).rsqrt()
