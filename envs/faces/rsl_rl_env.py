"""The environment as an rsl_rl `VecEnv`: `OnPolicyRunner(RslRlEnv(make_env("bimanual")), cfg)`. Extra `faces`."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from tensordict import TensorDict
from torch import Tensor

from muscle_torch.config import config_to_dict
from muscle_torch.errors import InputError, nearest

from ..muscle_env import MuscleEnv
from .vec_task import VecTask

try:
    from rsl_rl.env import VecEnv
except ModuleNotFoundError as error:
    raise ImportError(f"{error.name} is not installed: run `pip install 'muscle_torch[faces]'`") from None


class RslRlEnv(VecEnv):
    """Observations come in groups: `policy` is the whole vector; others are made of named terms.

    `groups={"critic": ["phase", "muscle"]}` adds a group of these terms of `env.observation_layout`, in this order.
    A finished world begins its next episode at once; `extras["time_outs"]` (W,) bool tells where an episode was cut
    off rather than lost, and `extras["log"]` holds the mean of every reward term and tracking error.
    """

    def __init__(self, env: MuscleEnv, groups: Mapping[str, Sequence[str]] | None = None):
        self.task = VecTask(env)
        self.num_envs, self.num_actions = env.num_envs, env.action_size
        self.device = env.device
        self.max_episode_length = env.config.env.horizon
        self.cfg = config_to_dict(env.config)
        self._columns = {name: self._column_ids(name, terms) for name, terms in (groups or {}).items()}
        self.task.reset()

    @property
    def env(self) -> MuscleEnv:
        return self.task.env

    @property
    def episode_length_buf(self) -> Tensor:
        """Control steps since each world's episode began, (W,). Setting it spreads the worlds' time-outs."""
        return self.env.episode_step

    @episode_length_buf.setter
    def episode_length_buf(self, steps: Tensor) -> None:
        self.env.episode_step = steps.to(self.env.device, torch.long, copy=True)

    def get_observations(self) -> TensorDict:
        """Group -> (W, D)."""
        seen = self.task.obs_buf
        parts = {name: seen[:, columns] for name, columns in self._columns.items()}
        return TensorDict({"policy": seen, **parts}, batch_size=[self.num_envs], device=self.env.device)

    def reset(self) -> tuple[TensorDict, dict[str, Any]]:
        """Begins a new episode in every world."""
        self.task.reset()
        return self.get_observations(), {}

    def step(self, actions: Tensor) -> tuple[TensorDict, Tensor, Tensor, dict[str, Any]]:
        """Observations, reward (W,), done (W,) bool, extras; actions (W, nu)."""
        # The runner collects in inference mode: tensors made in it could not be changed by anyone else afterwards.
        with torch.inference_mode(False), torch.no_grad():
            _, reward, done, extras = self.task.step(actions.clone())
            means = {f"/{name}": values.mean() for name, values in extras["terms"].items()}
            return self.get_observations(), reward, done, {"time_outs": extras["time_outs"], "log": means}

    def close(self) -> None:
        self.task.close()

    def _column_ids(self, group: str, terms: Sequence[str]) -> Tensor:
        layout = self.env.observation_layout
        if group == "policy":
            raise InputError("the group 'policy' is the whole observation: give another name to a part of it")
        for term in terms:
            if term not in layout:
                raise InputError(f"group {group!r}: the observation has no term {term!r}{nearest(term, list(layout))}")
        ids = [column for term in terms for column in range(*layout[term].indices(self.env.observation_size))]
        return torch.tensor(ids, dtype=torch.long, device=self.env.device)
