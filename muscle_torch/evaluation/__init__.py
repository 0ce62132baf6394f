"""Evaluation of policies and controllers: complete trials, tables, rollout archives, validation."""

from .callback import EvaluationCallback
from .controller import CONTROLLERS, Controller, PolicyController, ZeroController, make_controller
from .evaluate import compare_controllers, evaluate, write_evaluation
from .playback import Trajectory, play
from .robustness import robustness, robustness_rows, robustness_table
from .summary import average, with_accumulated_mpjpe
from .tables import backend_table, comparison_table, difference, group_table, trial_table

__all__ = [
    "CONTROLLERS",
    "Controller",
    "EvaluationCallback",
    "PolicyController",
    "Trajectory",
    "ZeroController",
    "average",
    "backend_table",
    "compare_controllers",
    "comparison_table",
    "difference",
    "evaluate",
    "group_table",
    "make_controller",
    "play",
    "robustness",
    "robustness_rows",
    "robustness_table",
    "trial_table",
    "with_accumulated_mpjpe",
    "write_evaluation",
]
