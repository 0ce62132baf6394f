"""TorchRL specs of an environment."""

from typing import NamedTuple

import torch
from torch import Tensor
from torchrl.data import Binary, Bounded, Composite, Unbounded


class Specs(NamedTuple):
    """Specs with batch size (W,)."""

    observation: Composite
    action: Bounded
    reward: Unbounded
    done: Composite

    @classmethod
    def of(cls, num_envs: int, observation_size: int, low: Tensor, high: Tensor, device: torch.device) -> "Specs":
        """Return the specs of W environments.

        Args:
            num_envs: Number of environments W.
            observation_size: Size D of the observation.
            low: Lowest actions, (actions,).
            high: Highest actions, (actions,).
            device: Device of all tensors.
        """
        shape = torch.Size((num_envs,))

        def of(size: int) -> torch.Size:
            return torch.Size((*shape, size))

        flag = {"n": 1, "shape": of(1), "dtype": torch.bool, "device": device}
        observation = Unbounded(of(observation_size), device=device)
        actions = of(len(low))
        return cls(
            observation=Composite(observation=observation, shape=shape, device=device),
            action=Bounded(low.expand(actions), high.expand(actions), actions, device=device),
            reward=Unbounded(of(1), device=device),
            done=Composite(
                done=Binary(**flag), terminated=Binary(**flag), truncated=Binary(**flag), shape=shape, device=device
            ),
        )
