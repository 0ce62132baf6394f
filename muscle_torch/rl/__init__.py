"""Learning: PPO on any environment with the fast path, its optimisers and logging."""

from .stop import StopSignals
from .trainer import Trainer

__all__ = ["StopSignals", "Trainer"]
