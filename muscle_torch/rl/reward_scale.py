"""Rewards divided by the running standard deviation of the discounted return."""

import torch
from torch import Tensor


class RewardScale:
    """G <- gamma G (1 - done) + r per world; rewards are divided by sqrt(var(G)), the mean is not subtracted.

    Observed step by step while collecting, applied to a whole rollout at once. Changed in place: no host sync.
    """

    def __init__(self, num_envs: int, gamma: float, device: torch.device):
        self.gamma = gamma
        self.running = torch.zeros(num_envs, device=device)
        self.moments = torch.tensor([0.0, 1.0, 1e-4], device=device)  # mean, variance, count

    def observe(self, reward: Tensor, done: Tensor) -> None:
        """reward and done of one step, (W,)."""
        self.running.mul_(self.gamma * (~done)).add_(reward)
        mean, var, count = self.moments.unbind()
        new = len(reward)
        total = count + new
        apart = self.running.mean() - mean
        spread = var * count + self.running.var(correction=0) * new + apart.square() * count * new / total
        self.moments.copy_(torch.stack((mean + apart * new / total, spread / total, total)))

    def __call__(self, reward: Tensor) -> Tensor:
        return reward * (self.moments[1] + 1e-8).rsqrt()

    def state_dict(self) -> dict[str, Tensor]:
        return {"running": self.running.clone(), "moments": self.moments.clone()}

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        self.running.copy_(state["running"])
        self.moments.copy_(state["moments"])
