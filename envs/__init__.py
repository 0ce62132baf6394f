"""Tensor environments. `make_env("bimanual", num_envs=256)`; `VecTask(env)` for the Isaac habit."""

from .factory import make_env, resolved_device
from .imitation import ImitationEnv, Transition
from .observations import OBSERVATIONS
from .rewards import PENALTIES, REWARDS
from .terminations import TERMINATIONS
from .vec_task import VecTask

__all__ = [
    "OBSERVATIONS",
    "PENALTIES",
    "REWARDS",
    "TERMINATIONS",
    "ImitationEnv",
    "Transition",
    "VecTask",
    "make_env",
    "resolved_device",
]
