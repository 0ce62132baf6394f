"""Termination terms of the body, `State -> (W,)`. An episode ends when one exceeds its threshold. Goals add terms."""

from collections.abc import Collection, Mapping

import torch
from torch import Tensor

from muscle_torch.errors import InputError, nearest

from .goals.goal import Goal
from .state import State
from .terms import Term


def root_height(state: State) -> Tensor:
    """Return the distance of the root from a height of 1.05 m [m], (W,). Published range 0.6 to 1.5 m: 0.45."""
    return (state.qpos[:, 2] - 1.05).abs()


TERMINATIONS: dict[str, Term] = {"root_height": root_height}
NEED_ROOT = frozenset({"root_height"})


class Termination:
    """Checks the configured thresholds.

    Attributes:
        terms: Term -> its function.
        thresholds: Current thresholds, (terms,).
    """

    def __init__(self, thresholds: Mapping[str, float], goal: Goal, device: torch.device):
        """Resolve the terms.

        Args:
            thresholds: Term -> value above which an episode ends.
            goal: Provides terms beside those of the body.
            device: Device of the thresholds.

        Raises:
            InputError: A term does not exist, or the body lacks what it reads.
        """
        table = TERMINATIONS | dict(goal.terminations)
        for name in thresholds:
            if name not in table:
                raise InputError(f"unknown termination term {name!r}{nearest(name, list(table))}")
            lacking = "a free root joint" if name in NEED_ROOT and not goal.body.has_root else goal.missing(name)
            if lacking:
                raise InputError(f"termination {name!r} needs {lacking}; {goal.body.name} has none: leave it out")
        self.terms = {name: table[name] for name in thresholds}
        # A tensor that the curriculum changes in place, so that a captured CUDA graph stays valid.
        self.thresholds = torch.tensor([float(t) for t in thresholds.values()], device=device)
        self._configured = self.thresholds.clone()

    def tighten(self, ratio: float, names: Collection[str]) -> None:
        """Set the thresholds of `names` to `ratio` times the configured ones."""
        chosen = torch.tensor([name in names for name in self.terms], device=self.thresholds.device)
        self.thresholds.copy_(torch.where(chosen, self._configured * ratio, self._configured))

    def __call__(self, state: State) -> Tensor:
        """Return which environments exceed a threshold, bool (W,); none if there are no thresholds."""
        if not self.terms:
            return torch.zeros(len(state.action), dtype=torch.bool, device=state.action.device)
        values = torch.stack([term(state) for term in self.terms.values()], dim=1)
        return (values > self.thresholds).any(dim=1)
