"""Learning: PPO on any environment with the fast path, its optimisers, logging and calibration."""

from .trainer import Trainer

__all__ = ["Trainer"]
