"""Policies: `make_policy("mlp", env, cfg.network)`, `load_policy("runs/my_run")`."""

from .actor_critic import GatedResidualPolicy, MLPPolicy, NetworkPolicy
from .adapter import PolicyAdapter
from .build import build_policy, load_policy, make_policy
from .distributions import DiagonalNormal, TanhNormal
from .moe import MoEPolicy
from .normalizer import ObservationNormalizer
from .options import EXPLORATIONS, POLICIES
from .reflex import ReflexPolicy

__all__ = [
    "EXPLORATIONS",
    "POLICIES",
    "DiagonalNormal",
    "GatedResidualPolicy",
    "MLPPolicy",
    "MoEPolicy",
    "NetworkPolicy",
    "ObservationNormalizer",
    "PolicyAdapter",
    "ReflexPolicy",
    "TanhNormal",
    "build_policy",
    "load_policy",
    "make_policy",
]
