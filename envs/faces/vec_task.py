"""The Isaac habit on top of the same environment: buffers, and worlds that reset themselves."""

from typing import Any

import torch
from torch import Tensor

from ..muscle_env import MuscleEnv


class VecTask:
    """`obs = env.reset()`; `obs, reward, done, extras = env.step(action)`. One row a world.

    `obs_buf rew_buf reset_buf progress_buf` hold the newest values. A world that is done begins a new episode at once:
    the observation returned is the new episode's first; the old one's last is in `extras["final_observation"]`, and
    `extras["time_outs"]` tells where the episode was cut off rather than lost.
    """

    def __init__(self, env: MuscleEnv):
        self.env = env
        self.device = env.device
        self.num_envs = env.num_envs
        self.num_obs = env.observation_size
        self.num_actions = env.action_size
        self.obs_buf = torch.zeros(self.num_envs, self.num_obs, device=self.device)
        self.rew_buf = torch.zeros(self.num_envs, device=self.device)
        self.reset_buf = torch.ones(self.num_envs, dtype=torch.bool, device=self.device)
        self.progress_buf = torch.zeros(self.num_envs, dtype=torch.long, device=self.device)
        self.extras: dict[str, Any] = {}

    def reset(self) -> Tensor:
        """Begins a new episode in every world; the observation (W, D)."""
        self.obs_buf = self.env.begin()
        self.progress_buf = self.env.episode_step
        self.reset_buf = torch.zeros_like(self.reset_buf)
        return self.obs_buf

    def step(self, action: Tensor) -> tuple[Tensor, Tensor, Tensor, dict[str, Any]]:
        """Observation (W, D), reward (W,), done (W,) bool, extras."""
        step = self.env.advance(action)
        self.reset_buf = step.terminated | step.truncated
        self.rew_buf = step.reward
        self.extras = {
            "time_outs": step.truncated & ~step.terminated,
            "final_observation": step.observation,
            "terms": step.terms,
        }
        self.obs_buf = self.env.restart(self.reset_buf)
        self.progress_buf = self.env.episode_step
        return self.obs_buf, self.rew_buf, self.reset_buf, self.extras

    def zero_actions(self) -> Tensor:
        """The action that excites no muscle, in every world, (W, nu)."""
        return self.env.zero_action.repeat(self.num_envs, 1)

    def close(self) -> None:
        self.env.close()
