"""Termination terms of the body, `State -> (W,)`; beyond a threshold the episode ends. A goal adds its own."""

from collections.abc import Collection, Mapping

import torch
from torch import Tensor

from muscle_torch.errors import InputError, nearest

from .goals.goal import Goal
from .state import State
from .terms import Term


def root_height(state: State) -> Tensor:
    """How far the root is from a height of 1.05 m, (W,): 0.45 stands for the published range of 0.6 to 1.5 m."""
    return (state.qpos[:, 2] - 1.05).abs()


TERMINATIONS: dict[str, Term] = {"root_height": root_height}
NEED_ROOT = frozenset({"root_height"})


class Termination:
    """Whether any of the config's thresholds is exceeded; without thresholds, never."""

    def __init__(self, thresholds: Mapping[str, float], goal: Goal, device: torch.device):
        """Resolve the terms.

        Raises:
            InputError: A term does not exist, or the body does not have what it reads.
        """
        table = TERMINATIONS | dict(goal.terminations)
        for name in thresholds:
            if name not in table:
                raise InputError(f"unknown termination term {name!r}{nearest(name, list(table))}")
            lacking = "a free root joint" if name in NEED_ROOT and not goal.body.has_root else goal.missing(name)
            if lacking:
                raise InputError(f"termination {name!r} needs {lacking}; {goal.body.name} has none: leave it out")
        self.terms = {name: table[name] for name in thresholds}
        # A tensor, changed in place by a curriculum without rebuilding anything.
        self.thresholds = torch.tensor([float(t) for t in thresholds.values()], device=device)
        self._configured = self.thresholds.clone()

    def tighten(self, ratio: float, names: Collection[str]) -> None:
        """Set the thresholds of `names` to `ratio` times the configured ones."""
        chosen = torch.tensor([name in names for name in self.terms], device=self.thresholds.device)
        self.thresholds.copy_(torch.where(chosen, self._configured * ratio, self._configured))

    def __call__(self, state: State) -> Tensor:
        """Return which environments are beyond a threshold, bool (W,)."""
        if not self.terms:
            return torch.zeros(len(state.action), dtype=torch.bool, device=state.action.device)
        values = torch.stack([term(state) for term in self.terms.values()], dim=1)
        return (values > self.thresholds).any(dim=1)
