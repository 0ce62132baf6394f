"""Latents of a rollout of a policy that samples them (`muscle_torch.rl.contracts.LatentPolicy`)."""

import torch
from torch import Tensor
from torch.distributions import Distribution

from .contracts import LatentPolicy, TrainingEnv


class LatentRollout:
    """Storage from which the loss reconstructs the sampled latents, first axes (T, W).

    Attributes:
        noise: Noise of each latent, (T, W, L).
        previous: Latent of the previous step, (T, W, L).
        first: Whether an episode begins, so that `previous` has no meaning, bool (T, W).
        latent: The latest latents, (W, L).
        begins: Whether an episode begins with the next step, bool (W,).
    """

    def __init__(self, policy: LatentPolicy, steps: int, env: TrainingEnv):
        """Allocate the storage.

        Args:
            policy: Policy that samples the latents.
            steps: Control steps of a rollout, T.
            env: Its `num_envs` and `device` are read.
        """
        shape, device = (env.num_envs, policy.latent_size), env.device
        self._policy, self._count = policy, 0
        self.noise = torch.zeros(steps, *shape, device=device)
        self.previous = torch.zeros(steps, *shape, device=device)
        self.first = torch.ones(steps, env.num_envs, dtype=torch.bool, device=device)
        self.latent = torch.zeros(shape, device=device)
        self.begins = torch.ones(env.num_envs, dtype=torch.bool, device=device)

    def begin(self, reset: bool) -> None:
        """Begin a rollout at the first step; `reset`: whether all environments are reset."""
        self._count = 0
        if reset:
            self.begins.fill_(True)

    def act(self, observation: Tensor) -> Distribution:
        """Sample latents; return the distribution of actions for observations (W, D)."""
        step = self._count
        self.noise[step].normal_()
        self.previous[step], self.first[step] = self.latent, self.begins
        arguments = (self.noise[step], self.previous[step], self.first[step])
        distribution, latent = self._policy.latent_distribution(observation, *arguments)
        self.latent.copy_(latent)
        return distribution

    def store_step(self, done: Tensor) -> None:
        """Advance to the next step; new episodes begin in the environments `done`, bool (W,)."""
        self.begins.copy_(done)
        self._count += 1

    def samples(self) -> dict[str, Tensor]:
        """Return the entries of a batch that `LatentLossActor` reads, first axes (T, W)."""
        return {"latent_noise": self.noise, "latent_previous": self.previous, "latent_first": self.first}

    def state(self) -> dict[str, Tensor]:
        """Return the state for exact resume, first axis W."""
        return {"latent": self.latent.clone(), "latent_begins": self.begins.clone()}

    def load_state(self, state: dict[str, Tensor]) -> None:
        """Continue from a result of `state`."""
        self.latent.copy_(state["latent"])
        self.begins.copy_(state["latent_begins"])
