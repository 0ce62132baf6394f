"""Policies: `make_policy("mlp", env, cfg.network)`, `load_policy("runs/my_run")`."""

from .actor_critic import GatedResidualPolicy, MLPPolicy
from .build import POLICIES, build_policy, load_policy, make_policy
from .moe import MoEPolicy
from .normalizer import ObservationNormalizer
from .reflex import ReflexPolicy

__all__ = [
    "POLICIES",
    "GatedResidualPolicy",
    "MLPPolicy",
    "MoEPolicy",
    "ObservationNormalizer",
    "ReflexPolicy",
    "build_policy",
    "load_policy",
    "make_policy",
]
