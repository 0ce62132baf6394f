"""Agreement of two curves: correlation, error, lag, co-contraction, and the agreement between people."""

from collections.abc import Sequence
from itertools import combinations
from typing import NamedTuple

import numpy as np

from muscle_torch.errors import InputError


def pearson(first: np.ndarray, second: np.ndarray) -> float:
    """Return Pearson's r of two curves (T,); NaN if one is constant. Pairs with NaN are excluded."""
    first, second = _pairs(first, second)
    a, b = first - first.mean(), second - second.mean()
    norm = np.sqrt((a @ a) * (b @ b))
    if norm <= 1e-12 * max(1.0, float(np.abs(first).max() * np.abs(second).max())) * len(a):
        return float("nan")
    return float(np.clip(a @ b / norm, -1.0, 1.0))


def mean_of_known(values: Sequence[float]) -> float:
    """Return the mean of the numbers that are not NaN; NaN if there is none."""
    known = [value for value in values if np.isfinite(value)]
    return float(np.mean(known)) if known else float("nan")


def rmse(first: np.ndarray, second: np.ndarray) -> float:
    """Return the root mean squared difference of two curves (T,), in their unit."""
    first, second = _pairs(first, second)
    return float(np.sqrt(np.mean((first - second) ** 2)))


def mpjae(first: np.ndarray, second: np.ndarray) -> float:
    """Return the mean per-joint angle error: mean absolute difference over frames and joints (T, J)."""
    return float(np.mean(np.abs(np.asarray(first) - np.asarray(second))))


class Lag(NamedTuple):
    """Time shift between two curves."""

    seconds: float  # by which the second curve follows the first
    r: float  # Pearson's r after the shift is removed


def best_lag(first: np.ndarray, second: np.ndarray, rate: float, limit: float = 0.1) -> Lag:
    """Return the shift at which two recordings correlate best; positive: the second follows the first.

    Pearson's r is computed over the overlapping samples of each shift.

    Args:
        first: (T,).
        second: (T,).
        rate: Sampling rate of both [Hz].
        limit: Largest shift considered, to either side [s].
    """
    reach = min(round(limit * rate), len(first) - 3)
    best = Lag(0.0, -2.0)
    for shift in sorted(range(-reach, reach + 1), key=abs):
        a = first[max(-shift, 0) : len(first) - max(shift, 0)]
        b = second[max(shift, 0) : len(second) - max(-shift, 0)]
        r = pearson(a, b)
        if r > best.r + 1e-12:
            best = Lag(shift / rate, r)
    return best if best.r > -2.0 else Lag(0.0, float("nan"))


def cyclic_lag(first: np.ndarray, second: np.ndarray) -> Lag:
    """Return the shift [% of the cycle] by which `second` follows `first` at the best correlation, both (P,)."""
    rs = np.array([pearson(first, np.roll(second, -shift)) for shift in range(len(first))])
    if np.isnan(rs).all():
        return Lag(0.0, float("nan"))
    shift = int(np.nanargmax(rs))
    signed = shift if shift <= len(first) // 2 else shift - len(first)
    return Lag(100.0 * signed / len(first), float(rs[shift]))


def circular_distance(first: float, second: float, period: float = 100.0) -> float:
    """Return the distance of two points on a circle of length `period`, at most half of it."""
    distance = abs(first - second) % period
    return min(distance, period - distance)


def co_contraction(agonist: np.ndarray, antagonist: np.ndarray) -> float:
    """Return the co-contraction index in [0, 1]: twice the common area over the sum of both (Falconer and Winter 1985).

    Both (T,) are normalized non-negative activity. 1: equal at every instant; 0: never active at the same time.
    """
    total = float(np.sum(agonist) + np.sum(antagonist))
    return float(2.0 * np.sum(np.minimum(agonist, antagonist)) / total) if total > 0 else float("nan")


class NoiseCeiling(NamedTuple):
    """Agreement between people (or trials): about the best agreement that a model can reach."""

    pairs: np.ndarray  # (N (N - 1) / 2,) Pearson's r of every pair
    leave_one_out: np.ndarray  # (N,) Pearson's r of each curve with the mean of the remaining ones


def noise_ceiling(curves: np.ndarray) -> NoiseCeiling:
    """Compute the noise ceiling of curves (N, P), one mean curve per person.

    Raises:
        InputError: There are fewer than two complete curves.
    """
    curves = np.asarray(curves, dtype=float)
    curves = curves[np.isfinite(curves).all(axis=1)]
    if len(curves) < 2:
        raise InputError(f"a noise ceiling needs at least 2 complete curves, not {len(curves)}")
    pairs = [pearson(curves[i], curves[j]) for i, j in combinations(range(len(curves)), 2)]
    leave_one_out = [pearson(curves[i], np.delete(curves, i, axis=0).mean(axis=0)) for i in range(len(curves))]
    return NoiseCeiling(np.array(pairs), np.array(leave_one_out))


def _pairs(first: np.ndarray, second: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    first, second = np.asarray(first, dtype=float), np.asarray(second, dtype=float)
    if first.shape != second.shape or first.ndim != 1:
        raise InputError(f"cannot compare curves of shapes {first.shape} and {second.shape}")
    kept = np.isfinite(first) & np.isfinite(second)
    if kept.sum() < 2:
        raise InputError("cannot compare curves with fewer than 2 common samples")
    return first[kept], second[kept]
