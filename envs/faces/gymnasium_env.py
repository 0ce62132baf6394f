"""Gymnasium interface: a `VectorEnv` with NumPy arrays. Requires the extra `faces`.

`env = GymnasiumEnv(make_env("bimanual", num_envs=64))`; all vector wrappers of Gymnasium work with it.
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
    """An environment as a Gymnasium `VectorEnv` of W environments.

    `info` contains every reward term and tracking error [SI units] of the last step by name, (W,).

    Attributes:
        env: The wrapped environment.
        num_envs: Number of environments W.
        autoreset: The autoreset mode; also in `metadata`.
        metadata: Autoreset mode and control frequency.
        single_observation_space: Unbounded, (D,) float32.
        single_action_space: Range of each action, (actions,) float32.
        observation_space: The same for all environments, (W, D).
        action_space: The same for all environments, (W, actions).
    """

    def __init__(self, env: MuscleEnv, autoreset: str = "same_step"):
        """Wrap an environment.

        Args:
            env: From `make_env`.
            autoreset: "same_step": the next episode starts within the step that ends the old one and returns its first
                observation; the last one of the old episode is in `info["final_obs"]`, an object array with None for
                other environments, and `info["_final_obs"]` (W,) bool marks the rows. "next_step": the step after the
                end ignores the action and returns the first observation with reward 0; Gymnasium's observation wrappers
                require this mode. "disabled": `reset(options={"reset_mask": done})` starts new episodes.

        Raises:
            InputError: The mode does not exist.
        """
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
        self._over = torch.zeros(
            self.num_envs, dtype=torch.bool, device=env.device
        )  # next_step: ended, reset in the next step

    def reset(self, *, seed: int | None = None, options: Arrays | None = None) -> tuple[np.ndarray, Arrays]:
        """Start an episode in every environment, or in some of them.

        Args:
            seed: Of the motions and frames drawn from now on; None: continue.
            options: `reset_mask`, bool (W,): environments in which to start an episode.

        Returns:
            Observations of all environments, (W, D) float32; and {}.

        Raises:
            InputError: The mask has the wrong shape or type, or the environment was never reset.
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
            raise InputError(f"reset_mask must be {self.num_envs} booleans, after a first reset() of all environments")
        selected = torch.as_tensor(mask, device=self.env.device)
        self._over = self._over & ~selected
        return _array(self.env.restart(selected)), {}

    def step(self, actions: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, Arrays]:
        """Apply actions for one control step.

        Args:
            actions: (W, actions) within `action_space`.

        Returns:
            Observations (W, D), rewards (W,) float64, terminated (W,), truncated (W,) and info.

        Raises:
            InputError: The shape is wrong, or `reset` was not called.
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
        """Return `final_obs` and `_final_obs` of the episodes that ended; {} if none did."""
        ended = _array(done)
        if not ended.any():
            return {}
        final = np.full(self.num_envs, None, dtype=object)
        for world, row in zip(ended.nonzero()[0], _array(observation[done]), strict=True):
            final[world] = row
        return {"final_obs": final, "_final_obs": ended}

    def _info(self, terms: dict[str, Tensor]) -> Arrays:
        info: Arrays = {name: _array(values) for name, values in terms.items()}
        all_envs = np.ones(self.num_envs, dtype=np.bool_)
        return info | {f"_{name}": all_envs for name in terms}

    def close_extras(self, **kwargs: Any) -> None:
        """Release the physics."""
        self.env.close()


def _array(values: Tensor) -> np.ndarray:
    """Return a copy on the host, which the caller may change."""
    return values.detach().to("cpu", copy=True).numpy()
