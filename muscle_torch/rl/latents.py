"""Latents of a policy that draws them (`muscle_torch.rl.contracts.LatentPolicy`), beside a rollout."""

import torch
from torch import Tensor
from torch.distributions import Distribution

from .contracts import LatentPolicy, TrainingEnv


class LatentRollout:
    """What the loss needs to see the latents that acted, first axes (T, W).

    Attributes:
        noise: From which each latent was drawn, (T, W, L).
        previous: Latent of the step before, (T, W, L).
        first: Whether an episode begins, so that `previous` says nothing, bool (T, W).
        latent: The newest latents, (W, L).
        begins: Whether an episode begins with the next step, bool (W,).
    """

    def __init__(self, policy: LatentPolicy, steps: int, env: TrainingEnv):
        """Allocate the storage of `steps` = T control steps; `num_envs` and `device` of the environment are read."""
        shape, device = (env.num_envs, policy.latent_size), env.device
        self._policy, self._count = policy, 0
        self.noise = torch.zeros(steps, *shape, device=device)
        self.previous = torch.zeros(steps, *shape, device=device)
        self.first = torch.ones(steps, env.num_envs, dtype=torch.bool, device=device)
        self.latent = torch.zeros(shape, device=device)
        self.begins = torch.ones(env.num_envs, dtype=torch.bool, device=device)

    def begin(self, reset: bool) -> None:
        """Overwrite from the first step on; reset: all episodes begin anew."""
        self._count = 0
        if reset:
            self.begins.fill_(True)

    def act(self, observation: Tensor) -> Distribution:
        """Draw latents; return the distribution of actions for observations (W, D)."""
        step = self._count
        self.noise[step].normal_()
        self.previous[step], self.first[step] = self.latent, self.begins
        arguments = (self.noise[step], self.previous[step], self.first[step])
        distribution, latent = self._policy.latent_distribution(observation, *arguments)
        self.latent.copy_(latent)
        return distribution

    def store_step(self, done: Tensor) -> None:
        """Go on to the next step; episodes begin anew in the environments `done`, bool (W,)."""
        self.begins.copy_(done)
        self._count += 1

    def samples(self) -> dict[str, Tensor]:
        """Return what `LatentLossActor` reads, first axes (T, W)."""
        return {"latent_noise": self.noise, "latent_previous": self.previous, "latent_first": self.first}

    def state(self) -> dict[str, Tensor]:
        """Return what exact resume needs, first axis W."""
        return {"latent": self.latent.clone(), "latent_begins": self.begins.clone()}

    def load_state(self, state: dict[str, Tensor]) -> None:
        """Continue from what `state` returned."""
        self.latent.copy_(state["latent"])
        self.begins.copy_(state["latent_begins"])
