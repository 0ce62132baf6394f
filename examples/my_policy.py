"""A policy of your own: `python train.py task=toy_arm policy=examples/my_policy.py:MyPolicy`."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from tensordict.nn import TensorDictModule
from torch import Tensor, nn


class Actor(nn.Module):
    """Two hidden layers and a learned standard deviation that does not depend on the observation."""

    def __init__(self, observation_size: int, action_size: int, width: int, initial_std: float):
        super().__init__()
        self.body = nn.Sequential(
            nn.LayerNorm(observation_size),
            nn.Linear(observation_size, width),
            nn.Tanh(),
            nn.Linear(width, width),
            nn.Tanh(),
            nn.Linear(width, action_size),
        )
        self.log_std = nn.Parameter(torch.full((action_size,), initial_std).log())

    def forward(self, observation: Tensor) -> tuple[Tensor, Tensor]:
        """Observation (..., D) -> mean and standard deviation of the action, each (..., nu)."""
        loc = self.body(observation)
        return loc, self.log_std.exp().expand_as(loc)


class MyPolicy(nn.Module):
    """What a policy needs: `.actor` writes `loc` and `scale`, `.critic` writes `state_value`. The rest is yours."""

    def __init__(
        self,
        observation_size: int,
        action_size: int,
        exploration: Mapping[str, Any],
        hidden: Sequence[int] = (64,),
        **options: Any,
    ):
        super().__init__()
        width = hidden[0]
        actor = Actor(observation_size, action_size, width, exploration["initial_std"])
        critic = nn.Sequential(
            nn.LayerNorm(observation_size),
            nn.Linear(observation_size, width),
            nn.Tanh(),
            nn.Linear(width, 1),
        )
        self.actor = TensorDictModule(actor, in_keys=["observation"], out_keys=["loc", "scale"])
        self.critic = TensorDictModule(critic, in_keys=["observation"], out_keys=["state_value"])
