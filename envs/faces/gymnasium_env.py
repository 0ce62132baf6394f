"""The environment as a Gymnasium `VectorEnv`: numpy in, numpy out. Needs the extra `faces`.

`env = GymnasiumEnv(make_env("bimanual", num_envs=64))`; every vector wrapper of Gymnasium works on top.
"""

from typing import Any

import numpy as np
import torch
from torch import Tensor

from muscle_torch.errors import InputError, nearest

from ..muscle_env import MuscleEnv

try:
    from gymnasium.spaces import Box
    from gymnasium.vector import AutoresetMode, VectorEnv
    from gymnasium.vector.utils import batch_space
except ModuleNotFoundError as error:
    raise ImportError(f"{error.name} is not installed: run `pip install 'muscle_torch[faces]'`") from None

Arrays = dict[str, Any]
MODES = {
    "same_step": AutoresetMode.SAME_STEP,
    "next_step": AutoresetMode.NEXT_STEP,
    "disabled": AutoresetMode.DISABLED,
}


class GymnasiumEnv(VectorEnv):
    """W worlds; `autoreset` is "same_step" (default), "next_step" or "disabled", and is declared in `metadata`.

    same_step: a finished world's next episode begins within the step, which returns its first observation; the old
    episode's last is a row of `info["final_obs"]`, an object array with None for the worlds that go on, and
    `info["_final_obs"]` (W,) bool says which rows are there. next_step: the step after an end ignores that world's
    action and returns its new first observation with reward 0; Gymnasium's observation wrappers want this one.
    disabled: `reset(options={"reset_mask": done})` begins the new episodes.
    Every reward term and tracking error [SI units] is in `info` by name, (W,), of the step just taken.
    """

    def __init__(self, env: MuscleEnv, autoreset: str = "same_step"):
        if autoreset not in MODES:
            raise InputError(f"unknown autoreset {autoreset!r}{nearest(autoreset, list(MODES))}")
        self.autoreset = MODES[autoreset]
        self.env = env
        self.num_envs = env.num_envs
        self.metadata = {
            "autoreset_mode": self.autoreset,
            "render_modes": [],
            "render_fps": env.embodiment.control_frequency,
        }
        self.single_observation_space = Box(-np.inf, np.inf, (env.observation_size,), np.float32)
        self.single_action_space = Box(_array(env.actions.low), _array(env.actions.high), dtype=np.float32)
        self.observation_space = batch_space(self.single_observation_space, self.num_envs)
        self.action_space = batch_space(self.single_action_space, self.num_envs)
        self._begun = False
        self._over = torch.zeros(self.num_envs, dtype=torch.bool, device=env.device)  # next_step: ended, to begin anew

    def reset(self, *, seed: int | None = None, options: Arrays | None = None) -> tuple[np.ndarray, Arrays]:
        """Begins an episode in every world, or in those of `options["reset_mask"]` (W,) bool; (W, D) float32, {}.

        seed: of the motions and frames that are drawn from here on.
        """
        seed = None if seed is None else int(seed)
        super().reset(seed=seed)
        if seed is not None:
            self.env.set_seed(seed, static_seed=True)
        mask = (options or {}).get("reset_mask")
        if mask is None:
            self._begun = True
            self._over = torch.zeros_like(self._over)
            return _array(self.env.begin()), {}
        if not self._begun or np.shape(mask) != (self.num_envs,) or np.asarray(mask).dtype != np.bool_:
            raise InputError(f"reset_mask must be {self.num_envs} booleans, after a first reset() of all worlds")
        chosen = torch.as_tensor(mask, device=self.env.device)
        self._over = self._over & ~chosen
        return _array(self.env.restart(chosen)), {}

    def step(self, actions: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, Arrays]:
        """Observation (W, D), reward (W,) float64, terminated (W,), truncated (W,), info; actions (W, nu) in [-1, 1].

        Raises InputError for actions of another shape, or before the first `reset`.
        """
        if not self._begun:
            raise InputError("call reset() before the first step()")
        if np.shape(actions) != self.action_space.shape:
            raise InputError(f"actions have shape {np.shape(actions)}, needed {self.action_space.shape}")
        step = self.env.advance(torch.tensor(np.asarray(actions), dtype=torch.float32))
        done, info = step.terminated | step.truncated, self._info(step.terms)
        observation, reward, terminated, truncated = step.observation, step.reward, step.terminated, step.truncated
        if self.autoreset is AutoresetMode.SAME_STEP:
            info |= self._final(observation, done)
            observation = self.env.restart(done)
        elif self.autoreset is AutoresetMode.NEXT_STEP:
            going = ~self._over
            terminated, truncated = terminated & going, truncated & going
            observation, reward = self.env.restart(self._over), torch.where(going, reward, 0.0)
            self._over = terminated | truncated
        flags = _array(terminated), _array(truncated)
        return _array(observation), _array(reward).astype(np.float64), *flags, info

    def _final(self, observation: Tensor, done: Tensor) -> Arrays:
        """The last observations of the episodes that ended; empty where none did."""
        ended = _array(done)
        if not ended.any():
            return {}
        final = np.full(self.num_envs, None, dtype=object)
        for world, row in zip(ended.nonzero()[0], _array(observation[done]), strict=True):
            final[world] = row
        return {"final_obs": final, "_final_obs": ended}

    def _info(self, terms: dict[str, Tensor]) -> Arrays:
        info: Arrays = {name: _array(values) for name, values in terms.items()}
        everyone = np.ones(self.num_envs, dtype=np.bool_)
        return info | {f"_{name}": everyone for name in terms}

    def close_extras(self, **kwargs: Any) -> None:
        self.env.close()


def _array(values: Tensor) -> np.ndarray:
    """A copy on the host: what was returned is the caller's."""
    return values.detach().to("cpu", copy=True).numpy()
