"""Evaluation of policies and controllers: every trial from its start to its end, tables, archives, validation."""

from .evaluate import (
    average,
    compare_policies,
    evaluate,
    policy_mean,
    policy_sample,
    write_evaluation,
    zero_excitation,
)
from .tables import backend_table, clip_table, comparison_table, difference

__all__ = [
    "average",
    "backend_table",
    "clip_table",
    "compare_policies",
    "comparison_table",
    "difference",
    "evaluate",
    "policy_mean",
    "policy_sample",
    "write_evaluation",
    "zero_excitation",
]
