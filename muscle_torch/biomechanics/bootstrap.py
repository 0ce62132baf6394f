"""Bootstrap intervals of paired differences."""

from typing import NamedTuple

import numpy as np

RESAMPLES = 10_000


class Change(NamedTuple):
    """Mean paired difference with its 95 % interval; NaN bounds with fewer than two pairs."""

    mean: float
    low: float
    high: float

    @property
    def is_clear(self) -> bool:
        """Whether the interval excludes 0."""
        return self.low > 0.0 or self.high < 0.0

    def __str__(self) -> str:
        """Return `+0.12 [0.05, 0.2]`, without the interval if there is none."""
        if self.mean != self.mean:
            return "-"
        interval = f" [{self.low:.2g}, {self.high:.2g}]" if self.low == self.low else ""
        return f"{self.mean:+.2g}{interval}"


def paired_change(before: np.ndarray, after: np.ndarray, seed: int = 0) -> Change:
    """Return the mean of after - before with its percentile bootstrap interval over the pairs.

    Pairs with NaN are left out.

    Args:
        before: (N,).
        after: (N,), row i of the same motion and seed as row i of `before`.
        seed: Seed of the resampling.
    """
    differences = np.asarray(after, dtype=float) - np.asarray(before, dtype=float)
    differences = differences[np.isfinite(differences)]
    if len(differences) == 0:
        return Change(float("nan"), float("nan"), float("nan"))
    mean = float(differences.mean())
    if len(differences) < 2:
        return Change(mean, float("nan"), float("nan"))
    rows = np.random.default_rng(seed).integers(len(differences), size=(RESAMPLES, len(differences)))
    low, high = np.quantile(differences[rows].mean(axis=1), (0.025, 0.975))
    return Change(mean, float(low), float(high))
