"""Learning: PPO on any environment with the fast path, on one or several processes; its optimisers and logging."""

from .batching import rows_at_once
from .process_group import make_processes
from .stop import StopSignals
from .trainer import Trainer

__all__ = ["StopSignals", "Trainer", "make_processes", "rows_at_once"]
