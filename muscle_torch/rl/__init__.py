"""Learning: algorithms on any environment with the fast path, on one or several processes; optimizers, logging."""

from typing import TYPE_CHECKING

from muscle_torch.config.lazy import lazy_exports

if TYPE_CHECKING:
    from .batching import rows_at_once
    from .process_group import make_processes
    from .stop import StopSignals
    from .trainer import Trainer

__all__ = ["StopSignals", "Trainer", "make_processes", "rows_at_once"]

__getattr__, __dir__ = lazy_exports(
    __name__,
    {
        "StopSignals": "stop",
        "Trainer": "trainer",
        "make_processes": "process_group",
        "rows_at_once": "batching",
    },
)
