"""Stack the observations of the last few control steps, newest last, zero-padded at episode start."""

from collections.abc import Iterable, Sequence

import torch
from torch import Tensor


class History:
    """Stacks observations. Stateless: the past is part of the previous observation."""

    def __init__(self, length: int, layout: dict[str, slice], terms: Sequence[str], newest_only: Sequence[str]):
        """Arrange the columns.

        Args:
            length: Number of control steps, including the current one.
            layout: Columns of one control step's observation.
            terms: Names of its terms, in order.
            newest_only: Terms without history; their newest values come last.
        """
        self.length = length
        self._repeated = _Columns([layout[name] for name in terms if name not in newest_only])
        self._single = _Columns([layout[name] for name in terms if name in newest_only])
        self._past = (length - 1) * self._repeated.width
        self.layout = layout if length == 1 else {name: self._newest(columns) for name, columns in layout.items()}

    def begin(self, newest: Tensor) -> Tensor:
        """Return the observation (W, D) of episodes that start with `newest` (W, d)."""
        if self.length == 1:
            return newest
        return torch.cat((newest.new_zeros(len(newest), self._past), *self._split(newest)), dim=1)

    def add(self, previous: Tensor, newest: Tensor) -> Tensor:
        """Return the observation (W, D) after the previous one (W, D) and `newest` (W, d)."""
        if self.length == 1:
            return newest
        past = previous[:, self._repeated.width : self._repeated.width + self._past]
        return torch.cat((past, *self._split(newest)), dim=1)

    def _split(self, newest: Tensor) -> Iterable[Tensor]:
        return (newest[:, columns] for columns in (*self._repeated.columns, *self._single.columns))

    def _newest(self, columns: slice) -> slice:
        """Return the columns that hold the newest values of the given single-step columns."""
        moved = self._single.moved(columns)
        start = self._past + (self._repeated.width if moved is not None else 0)
        moved = self._repeated.moved(columns) if moved is None else moved
        assert moved is not None, "every column belongs to a term"
        return slice(start + moved, start + moved + columns.stop - columns.start, columns.step)


class _Columns:
    """Columns placed side by side."""

    def __init__(self, columns: list[slice]):
        self.columns = columns
        self.width = sum(part.stop - part.start for part in columns)

    def moved(self, columns: slice) -> int | None:
        """Return the new start of columns that lie within one of these; None if they lie in none."""
        start = 0
        for part in self.columns:
            if part.start <= columns.start and columns.stop <= part.stop:
                return start + columns.start - part.start
            start += part.stop - part.start
        return None
