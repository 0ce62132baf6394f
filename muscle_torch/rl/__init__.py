"""Reinforcement learning on any `TrainingEnv`, in one or several processes: algorithms, optimizers, logging."""

from typing import TYPE_CHECKING

from muscle_torch.config.lazy import lazy_exports

if TYPE_CHECKING:
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

__getattr__, __dir__ = lazy_exports(
    __name__,
    {
        "ALGORITHMS": "algorithms",
        "ActorCritic": "contracts",
        "Algorithm": "algorithm",
        "StopSignals": "stop",
        "Trainer": "trainer",
        "TrainingEnv": "contracts",
        "make_processes": "process_group",
        "rows_at_once": "batching",
    },
)
