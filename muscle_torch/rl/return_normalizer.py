"""Rewards divided by the running standard deviation of the discounted return."""

import torch
from torch import Tensor

from .process_group import ProcessGroup, SingleProcess


class ReturnNormalizer:
    """G <- gamma G (1 - done) + r per world; rewards are divided by sqrt(var(G)), the mean is not subtracted.

    Changed in place: no host sync.
    """

    def __init__(self, num_envs: int, gamma: float, device: torch.device, processes: ProcessGroup | None = None):
        """processes: those that the worlds are divided among; num_envs: the worlds of this one."""
        self.gamma, self.processes = gamma, processes or SingleProcess()
        self.running = torch.zeros(num_envs, device=device)
        self.moments = torch.tensor([0.0, 1.0, 1e-4], device=device)  # mean, variance, count

    def observe(self, reward: Tensor, done: Tensor) -> None:
        """reward and done of a rollout's steps, (T, W). Several processes observe together, in one exchange."""
        returns = []
        for earned, ended in zip(reward, done, strict=True):
            self.running.mul_(self.gamma * (~ended)).add_(earned)
            returns.append(self.running.clone())
        seen = torch.stack(returns)
        new = reward.shape[1] * self.processes.size
        moments = self.processes.moments(seen.mean(1), seen.var(1, correction=0))
        for new_mean, new_var in zip(*moments, strict=True):
            mean, var, count = self.moments.unbind()
            total = count + new
            apart = new_mean - mean
            spread = var * count + new_var * new + apart.square() * count * new / total
            self.moments.copy_(torch.stack((mean + apart * new / total, spread / total, total)))

    def __call__(self, reward: Tensor) -> Tensor:
        return reward * (self.moments[1] + 1e-8).rsqrt()

    def state_dict(self) -> dict[str, Tensor]:
        return {"running": self.running.clone(), "moments": self.moments.clone()}

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        self.running.copy_(state["running"])
        self.moments.copy_(state["moments"])
