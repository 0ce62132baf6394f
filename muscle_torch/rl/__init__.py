"""Learning: PPO on any environment with the fast path, its optimisers and logging."""

from .trainer import Trainer

__all__ = ["Trainer"]
