"""Policies: `make_policy(cfg.policy, env, cfg.exploration)`, `load_policy("runs/my_run")`."""

from typing import TYPE_CHECKING

from muscle_torch.config.lazy import lazy_exports

if TYPE_CHECKING:
    from .build import build_policy, load_policy, make_policy
    from .normalizer import ObservationNormalizer

__all__ = ["ObservationNormalizer", "build_policy", "load_policy", "make_policy"]

__getattr__, __dir__ = lazy_exports(
    __name__,
    {
        "ObservationNormalizer": "normalizer",
        "build_policy": "build",
        "load_policy": "build",
        "make_policy": "build",
    },
)
