"""Principal components of signals."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from muscle_torch.errors import InputError


class Variance(NamedTuple):
    """Variance of signals along their principal components."""

    fractions: np.ndarray  # (C,) fractions of the total variance, descending
    total: float  # variance summed over the signals
    directions: np.ndarray  # (C, C) principal directions, one per row, in the order of `fractions`

    @property
    def participation(self) -> float:
        """Participation ratio, the effective number of directions: 1 if one has all variance, C if all are equal."""
        return float(1.0 / np.square(self.fractions).sum())

    def leading(self, count: int) -> list[float]:
        """Return the first `count` fractions; NaN beyond the number of signals."""
        padded = np.full(count, np.nan)
        padded[: len(self.fractions)] = self.fractions[:count]
        return padded.tolist()


def principal_variance(trials: Sequence[np.ndarray]) -> Variance:
    """Return the principal components of signals, pooled over trials.

    Args:
        trials: Signals of each trial, (T, C).

    Raises:
        InputError: The signals do not vary.
    """
    values = np.concatenate(trials).astype(float)
    centred = values - values.mean(axis=0)
    variances, directions = np.linalg.eigh(centred.T @ centred / len(values))
    variances, directions = np.maximum(variances[::-1], 0.0), directions[:, ::-1].T
    total = float(variances.sum())
    if total <= 1e-18 * max(1.0, float(np.square(values).max())):
        raise InputError("principal components: the signals do not vary")
    return Variance(variances / total, total, directions)
