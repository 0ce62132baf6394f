"""Learning: PPO on any environment with the fast path, on one or several processes; its optimisers and logging."""

from .distributed import make_processes
from .stop import StopSignals
from .trainer import Trainer

__all__ = ["StopSignals", "Trainer", "make_processes"]
