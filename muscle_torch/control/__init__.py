"""Muscle control without learning: one quadratic program over activations and contact forces per control step."""

from .controller import MuscleControl
from .env_controller import MuscleController
from .feedforward import Feedforward, feedforward
from .library_feedforward import add_feedforward
from .options import MuscleControlOptions
from .tables import ClipTables, clip_tables

__all__ = [
    "ClipTables",
    "Feedforward",
    "MuscleControl",
    "MuscleControlOptions",
    "MuscleController",
    "add_feedforward",
    "clip_tables",
    "feedforward",
]
