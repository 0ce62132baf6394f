"""Batched tensor environments: `make_env("bimanual", num_envs=256)`; `VecTask(env)` is an Isaac-style interface."""

from typing import TYPE_CHECKING

from muscle_torch.config.lazy import lazy_exports

if TYPE_CHECKING:
    from .faces.vec_task import VecTask
    from .factory import make_env, make_partner_env, resolved_device
    from .muscle_env import MuscleEnv
    from .step_terms import Transition

__all__ = ["MuscleEnv", "Transition", "VecTask", "make_env", "make_partner_env", "resolved_device"]

__getattr__, __dir__ = lazy_exports(
    __name__,
    {
        "MuscleEnv": "muscle_env",
        "Transition": "step_terms",
        "VecTask": "faces.vec_task",
        "make_env": "factory",
        "make_partner_env": "factory",
        "resolved_device": "factory",
    },
)
