"""Tensor environments. `make_env("bimanual", num_envs=256)`; `VecTask(env)` for the Isaac habit."""

from .faces.vec_task import VecTask
from .factory import make_env, resolved_device
from .muscle_env import MuscleEnv, Transition
from .observations import OBSERVATIONS
from .rewards import PENALTIES, REWARDS
from .terminations import TERMINATIONS

__all__ = [
    "OBSERVATIONS",
    "PENALTIES",
    "REWARDS",
    "TERMINATIONS",
    "MuscleEnv",
    "Transition",
    "VecTask",
    "make_env",
    "resolved_device",
]
