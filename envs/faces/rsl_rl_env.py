"""rsl_rl interface: `OnPolicyRunner(RslRlEnv(make_env("bimanual")), cfg)`. Requires the extra `faces`."""

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
    """An environment as an rsl_rl `VecEnv`.

    Observations come in groups: `policy` is the whole vector, others consist of some of its terms. When an episode
    ends, the next one starts within the same `step`.

    Attributes:
        task: The environment with automatic resets.
        num_envs: Number of environments W.
        num_actions: Number of actions.
        device: Device of all tensors.
        max_episode_length: Horizon [control steps].
        cfg: Configuration as a dict.
    """

    def __init__(self, env: MuscleEnv, groups: Mapping[str, Sequence[str]] | None = None):
        """Wrap an environment and start its first episodes.

        Args:
            env: From `make_env`.
            groups: Further groups, name -> terms of `env.observation_layout`: `{"critic": ["phase", "muscle"]}`.

        Raises:
            InputError: A group is called `policy`, or a term does not exist.
        """
        self.task = VecTask(env)
        self.num_envs, self.num_actions = env.num_envs, env.action_size
        self.device = env.device
        self.max_episode_length = env.config.env.horizon
        self.cfg = config_to_dict(env.config)
        self._columns = {name: self._column_ids(name, terms) for name, terms in (groups or {}).items()}
        self.task.reset()

    @property
    def env(self) -> MuscleEnv:
        """The wrapped environment."""
        return self.task.env

    @property
    def episode_length_buf(self) -> Tensor:
        """Control steps since each episode started, (W,). rsl_rl sets it to desynchronize time-outs."""
        return self.env.episode_step

    @episode_length_buf.setter
    def episode_length_buf(self, steps: Tensor) -> None:
        self.env.episode_step = steps.to(self.env.device, torch.long, copy=True)

    def get_observations(self) -> TensorDict:
        """Return the newest observations, group -> (W, d)."""
        observation = self.task.obs_buf
        parts = {name: observation[:, columns] for name, columns in self._columns.items()}
        return TensorDict({"policy": observation, **parts}, batch_size=[self.num_envs], device=self.env.device)

    def reset(self) -> tuple[TensorDict, dict[str, Any]]:
        """Start an episode in every environment; return the observations and {}."""
        self.task.reset()
        return self.get_observations(), {}

    def step(self, actions: Tensor) -> tuple[TensorDict, Tensor, Tensor, dict[str, Any]]:
        """Apply actions (W, actions) for one control step.

        Returns:
            Observations; rewards (W,); done, bool (W,); and extras: `time_outs`, bool (W,), episodes that were
            truncated and not terminated; `log`, the mean of every reward term and tracking error.
        """
        # The runner collects in inference mode, whose tensors could not be modified outside of it.
        with torch.inference_mode(False), torch.no_grad():
            _, reward, done, extras = self.task.step(actions.clone())
            means = {f"/{name}": values.mean() for name, values in extras["terms"].items()}
            return self.get_observations(), reward, done, {"time_outs": extras["time_outs"], "log": means}

    def close(self) -> None:
        """Release the physics."""
        self.task.close()

    def _column_ids(self, group: str, terms: Sequence[str]) -> Tensor:
        layout = self.env.observation_layout
        if group == "policy":
            raise InputError("the group 'policy' is the whole observation: use another name for a part of it")
        for term in terms:
            if term not in layout:
                raise InputError(f"group {group!r}: the observation has no term {term!r}{nearest(term, list(layout))}")
        ids = [column for term in terms for column in range(*layout[term].indices(self.env.observation_size))]
        return torch.tensor(ids, dtype=torch.long, device=self.env.device)
