"""Isaac-style interface: buffers, and environments that reset automatically."""

from typing import Any

import torch
from torch import Tensor

from ..muscle_env import MuscleEnv


class VecTask:
    """Isaac-style interface of an environment: `obs, reward, done, extras = env.step(action)`, one row per environment.

    When an episode ends, the next one starts within the same `step`. The returned observation is then the first of the
    new episode; the last of the old one is in `extras["final_observation"]`.

    Attributes:
        env: The environment.
        device: Device of all tensors.
        num_envs: Number of environments W.
        num_obs: Size D of the observation.
        num_actions: Number of actions.
        obs_buf: Newest observations, (W, D).
        rew_buf: Rewards of the last step, (W,).
        reset_buf: Whether an episode ended in the last step, bool (W,).
        progress_buf: Control steps since each episode started, (W,).
        extras: As returned by the last `step`.
    """

    def __init__(self, env: MuscleEnv):
        """Wrap an environment from `make_env`; call `reset` before the first `step`."""
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
        """Start an episode in every environment; return observations (W, D)."""
        self.obs_buf = self.env.begin()
        self.progress_buf = self.env.episode_step
        self.reset_buf = torch.zeros_like(self.reset_buf)
        return self.obs_buf

    def step(self, action: Tensor) -> tuple[Tensor, Tensor, Tensor, dict[str, Any]]:
        """Apply an action for one control step.

        Args:
            action: (W, actions).

        Returns:
            Observations (W, D); rewards (W,); done, bool (W,); and extras: `time_outs`, bool (W,), episodes that were
            truncated and not terminated; `final_observation` (W, D), observations before resets; `terms`, reward terms
            and errors by name, each (W,).

        Raises:
            InputError: The shape of the action is wrong.
        """
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
        """Return actions without effect (no excitation, no torque), (W, actions)."""
        return self.env.zero_action.repeat(self.num_envs, 1)

    def close(self) -> None:
        """Release the physics."""
        self.env.close()
