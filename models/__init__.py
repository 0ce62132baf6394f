"""Policies: `make_policy(cfg.policy, env, cfg.exploration)`, `load_policy("runs/my_run")`."""

from typing import TYPE_CHECKING

from muscle_torch.config.lazy import lazy_exports

if TYPE_CHECKING:
    from .actor_critic import GatedResidualPolicy, MLPPolicy, NetworkPolicy
    from .adapter import PolicyAdapter
    from .build import build_policy, load_policy, make_policy
    from .distributions import DiagonalNormal, LatticeNormal, TanhNormal
    from .experts import ExpertsPolicy
    from .intention import IntentionPolicy
    from .moe import MoEPolicy
    from .normalizer import ObservationNormalizer
    from .reflex import ReflexPolicy

__all__ = [
    "DiagonalNormal",
    "ExpertsPolicy",
    "GatedResidualPolicy",
    "IntentionPolicy",
    "LatticeNormal",
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

__getattr__, __dir__ = lazy_exports(
    __name__,
    {
        "DiagonalNormal": "distributions",
        "ExpertsPolicy": "experts",
        "GatedResidualPolicy": "actor_critic",
        "IntentionPolicy": "intention",
        "LatticeNormal": "distributions",
        "MLPPolicy": "actor_critic",
        "MoEPolicy": "moe",
        "NetworkPolicy": "actor_critic",
        "ObservationNormalizer": "normalizer",
        "PolicyAdapter": "adapter",
        "ReflexPolicy": "reflex",
        "TanhNormal": "distributions",
        "build_policy": "build",
        "load_policy": "build",
        "make_policy": "build",
    },
)
