"""Collecting: T steps of W worlds into preallocated tensors, without asking the device anything on the way."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from tensordict import TensorDict
from torch import Tensor, nn
from torchrl.objectives.value.functional import generalized_advantage_estimate

from .batching import rows_at_once


class Rollout:
    """Storage of one rollout, first axes (T, W), and what collecting measured."""

    def __init__(self, steps: int, env: Any):
        worlds, device = env.num_envs, env.device
        self.steps, self.env = steps, env

        def zeros(*shape: int, dtype: torch.dtype = torch.float32) -> Tensor:
            return torch.zeros(*shape, dtype=dtype, device=device)

        self.observation = zeros(steps + 1, worlds, env.observation_size)
        # The last observation of an episode, before the reset: what a truncated return is bootstrapped from.
        self.final_observation = zeros(steps, worlds, env.observation_size)
        self.action = zeros(steps, worlds, env.action_size)
        self.log_prob = zeros(steps, worlds)
        self.reward = zeros(steps, worlds)
        self.terminated = zeros(steps, worlds, dtype=torch.bool)
        self.done = zeros(steps, worlds, dtype=torch.bool)
        self.episode_return, self.episode_length = zeros(worlds), zeros(worlds)
        # Sums over finished episodes of this rollout: number, return, length, early terminations.
        self.finished = zeros(4)
        self.terms: dict[str, Tensor] = {}
        self.seconds = {"physics": 0.0, "inference": 0.0}

    @torch.no_grad()
    def collect(self, policy: nn.Module, observation: Tensor) -> Tensor:
        """Fills the storage from `observation` (W, D) on; the observation after it."""
        with physics_first(self.env.device):
            return self._collect(policy, observation)

    def _collect(self, policy: nn.Module, observation: Tensor) -> Tensor:
        self.finished.zero_()
        self.terms = {}
        self.seconds = dict.fromkeys(self.seconds, 0.0)
        for t in range(self.steps):
            begin = time.perf_counter()
            self.observation[t] = observation
            loc, scale = distribution(policy, observation)
            action = loc + scale * torch.randn_like(loc)
            self.action[t] = action
            self.log_prob[t] = log_prob(action, loc, scale)
            acted = time.perf_counter()
            step = self.env.advance(action)
            done = step.terminated | step.truncated
            self._store(t, step, done)
            observation = self.env.restart(done)
            self.seconds["inference"] += acted - begin
            self.seconds["physics"] += time.perf_counter() - acted
        self.observation[self.steps] = observation
        return observation

    def _store(self, t: int, step: Any, done: Tensor) -> None:
        self.final_observation[t] = step.observation
        self.reward[t] = step.reward
        self.terminated[t] = step.terminated
        self.done[t] = done
        for name, value in step.terms.items():
            self.terms[name] = self.terms[name] + value.mean() if name in self.terms else value.mean()
        self.episode_return += step.reward
        self.episode_length += 1
        ended = done.float()
        sums = (ended.sum(), ended @ self.episode_return, ended @ self.episode_length, step.terminated.float().sum())
        self.finished += torch.stack(sums)
        self.episode_return *= 1 - ended
        self.episode_length *= 1 - ended

    @torch.no_grad()
    def advantages(
        self, policy: nn.Module, reward: Tensor, gamma: float, lmbda: float
    ) -> tuple[Tensor, Tensor, Tensor]:
        """(advantage, value target, value), each (T, W), by TorchRL's generalized advantage estimate.

        The next value is that of the true next observation: after a truncation the one before the reset, after a
        termination nothing.
        """
        steps = max(1, rows_at_once(self.observation.shape[2]) // self.observation.shape[1])
        values = torch.cat([critic(policy, part) for part in self.observation.split(steps)])
        following = values[1:].clone()
        ended = self.done.nonzero(as_tuple=True)  # once a rollout, after it
        if len(ended[0]):
            following[ended] = critic(policy, self.final_observation[ended])

        def time_first(x: Tensor) -> Tensor:  # TorchRL wants time second to last: (W, T, 1)
            return x.transpose(0, 1).unsqueeze(-1)

        advantage, target = generalized_advantage_estimate(
            gamma,
            lmbda,
            time_first(values[:-1]),
            time_first(following),
            time_first(reward),
            time_first(self.done),
            time_first(self.terminated),
        )
        return advantage.squeeze(-1).transpose(0, 1), target.squeeze(-1).transpose(0, 1), values[:-1]


@contextmanager
def physics_first(device: torch.device) -> Iterator[None]:
    """On a CPU, one torch thread: a step's small tensors gain nothing from more, and their waiting threads would take
    the cores from the physics."""
    threads = torch.get_num_threads()
    if device.type == "cpu":
        torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def distribution(policy: nn.Module, observation: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation of the action, each (..., nu), for an observation (..., D)."""
    read = TensorDict({"observation": observation}, batch_size=observation.shape[:-1])
    out = policy.actor(read)  # type: ignore[operator]
    return out["loc"], out["scale"]


def critic(policy: nn.Module, observation: Tensor) -> Tensor:
    """Values (...) of observations (..., D)."""
    read = TensorDict({"observation": observation}, batch_size=observation.shape[:-1])
    return policy.critic(read)["state_value"].squeeze(-1)  # type: ignore[operator]


def log_prob(action: Tensor, loc: Tensor, scale: Tensor) -> Tensor:
    """Of a diagonal normal distribution, summed over the last axis."""
    return torch.distributions.Normal(loc, scale, validate_args=False).log_prob(action).sum(-1)
