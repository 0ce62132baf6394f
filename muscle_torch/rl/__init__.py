"""Learning: algorithms on any `TrainingEnv`, in one or several processes; their optimizers and logging."""

from .algorithm import Algorithm
from .algorithms import ALGORITHMS
from .batching import rows_at_once
from .contracts import ActorCritic, TrainingEnv
from .process_group import make_processes
from .stop import StopSignals
from .trainer import Trainer

__all__ = [
    "ALGORITHMS",
    "ActorCritic",
    "Algorithm",
    "StopSignals",
    "Trainer",
    "TrainingEnv",
    "make_processes",
    "rows_at_once",
]
