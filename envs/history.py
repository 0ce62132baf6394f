"""Observations that hold the last few control steps: the newest last, zeros before an episode's beginning."""

from collections.abc import Iterable

import torch
from torch import Tensor

from muscle_torch.config import ObservationConfig

# What tells of the motion rather than of the body: `split_goal` shows only the newest of it, after all else.
GOAL = {
    *("site_relative", "reference", "phase", "site_error", "joint_error"),
    *("muscle_length_error", "muscle_velocity_error"),
}


class History:
    """What is returned holds its own past, so nothing is kept here."""

    def __init__(self, config: ObservationConfig, layout: dict[str, slice]):
        """layout: of one control step's observation."""
        goal = [layout[name] for name in config.terms if name in GOAL and config.split_goal]
        shown = [layout[name] for name in config.terms if not (name in GOAL and config.split_goal)]
        self.length = config.history
        self._shown, self._goal = _Columns(shown), _Columns(goal)
        self._past = (self.length - 1) * self._shown.width
        self.layout = layout if self.length == 1 else {name: self._newest(columns) for name, columns in layout.items()}

    def begin(self, newest: Tensor) -> Tensor:
        """The observation (W, D) of episodes that begin with `newest` (W, d)."""
        if self.length == 1:
            return newest
        return torch.cat((newest.new_zeros(len(newest), self._past), *self._split(newest)), dim=1)

    def add(self, before: Tensor, newest: Tensor) -> Tensor:
        """The observation (W, D) after `before` (W, D) and `newest` (W, d)."""
        if self.length == 1:
            return newest
        past = before[:, self._shown.width : self._shown.width + self._past]
        return torch.cat((past, *self._split(newest)), dim=1)

    def _split(self, newest: Tensor) -> Iterable[Tensor]:
        return (newest[:, columns] for columns in (*self._shown.columns, *self._goal.columns))

    def _newest(self, columns: slice) -> slice:
        """Where the newest of some columns of one control step's observation are."""
        moved = self._goal.moved(columns)
        start = self._past + (self._shown.width if moved is not None else 0)
        moved = self._shown.moved(columns) if moved is None else moved
        assert moved is not None, "every column belongs to a term"
        return slice(start + moved, start + moved + columns.stop - columns.start, columns.step)


class _Columns:
    """Columns put side by side."""

    def __init__(self, columns: list[slice]):
        self.columns = columns
        self.width = sum(part.stop - part.start for part in columns)

    def moved(self, columns: slice) -> int | None:
        """Where columns that lie in one of ours begin; None: they do not."""
        start = 0
        for part in self.columns:
            if part.start <= columns.start and columns.stop <= part.stop:
                return start + columns.start - part.start
            start += part.stop - part.start
        return None
