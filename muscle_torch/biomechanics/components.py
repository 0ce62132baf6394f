"""Principal components: in how many directions signals vary."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from muscle_torch.errors import InputError


class Variance(NamedTuple):
    """Variance of signals along their principal components."""

    fractions: np.ndarray  # (C,) of the whole variance, falling
    total: float  # variance summed over the signals
    directions: np.ndarray  # (C, C) principal directions, a row each, in the order of `fractions`

    @property
    def participation(self) -> float:
        """Effective number of directions: 1 if all variance lies in one, C if all have the same."""
        return float(1.0 / np.square(self.fractions).sum())

    def leading(self, count: int) -> list[float]:
        """Return the first `count` fractions; NaN beyond the number of signals."""
        padded = np.full(count, np.nan)
        padded[: len(self.fractions)] = self.fractions[:count]
        return padded.tolist()


def principal_variance(trials: Sequence[np.ndarray]) -> Variance:
    """Return the variance of signals (T, C) of several trials together.

    Raises:
        InputError: Nothing varies.
    """
    values = np.concatenate(trials).astype(float)
    centred = values - values.mean(axis=0)
    variances, directions = np.linalg.eigh(centred.T @ centred / len(values))
    variances, directions = np.maximum(variances[::-1], 0.0), directions[:, ::-1].T
    total = float(variances.sum())
    if total <= 1e-18 * max(1.0, float(np.square(values).max())):
        raise InputError("principal components: the signals do not vary")
    return Variance(variances / total, total, directions)
