"""How alike two curves are: correlation, error, lag, co-contraction, and how alike people are among themselves."""

from collections.abc import Sequence
from itertools import combinations
from typing import NamedTuple

import numpy as np

from muscle_torch.errors import InputError


def pearson(first: np.ndarray, second: np.ndarray) -> float:
    """Pearson's r of two curves (T,); NaN where one is constant. Pairs with NaN are left out."""
    first, second = _pairs(first, second)
    a, b = first - first.mean(), second - second.mean()
    scale = np.sqrt((a @ a) * (b @ b))
    if scale <= 1e-12 * max(1.0, float(np.abs(first).max() * np.abs(second).max())) * len(a):
        return float("nan")
    return float(np.clip(a @ b / scale, -1.0, 1.0))


def mean_of_known(values: Sequence[float]) -> float:
    """Return the mean of the numbers that are not NaN; NaN if there is none."""
    known = [value for value in values if np.isfinite(value)]
    return float(np.mean(known)) if known else float("nan")


def rmse(first: np.ndarray, second: np.ndarray) -> float:
    """Root of the mean squared difference of two curves (T,), in their unit."""
    first, second = _pairs(first, second)
    return float(np.sqrt(np.mean((first - second) ** 2)))


def mpjae(first: np.ndarray, second: np.ndarray) -> float:
    """Mean per-joint angle error: the mean absolute difference over frames and joints (T, J), in their unit."""
    return float(np.mean(np.abs(np.asarray(first) - np.asarray(second))))


class Lag(NamedTuple):
    """`seconds` by which the second curve comes after the first, and Pearson's r once that is undone."""

    seconds: float
    r: float


def best_lag(first: np.ndarray, second: np.ndarray, rate: float, limit: float = 0.1) -> Lag:
    """The shift within +-`limit` [s] at which two recordings (T,) of the same `rate` [Hz] correlate best.

    Positive: the second follows the first. Pearson's r is taken over the samples that overlap, for each shift.
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
    """The shift of a cycle [% of it] that brings `second` (P,) best onto `first`; both are periodic over P points."""
    rs = np.array([pearson(first, np.roll(second, -shift)) for shift in range(len(first))])
    if np.isnan(rs).all():
        return Lag(0.0, float("nan"))
    shift = int(np.nanargmax(rs))
    signed = shift if shift <= len(first) // 2 else shift - len(first)
    return Lag(100.0 * signed / len(first), float(rs[shift]))


def circular_distance(first: float, second: float, period: float = 100.0) -> float:
    """Distance of two points on the circle of the cycle, at most half the period."""
    away = abs(first - second) % period
    return min(away, period - away)


def co_contraction(agonist: np.ndarray, antagonist: np.ndarray) -> float:
    """Co-contraction index in 0 to 1: twice the common area over the sum of both (Falconer and Winter 1985).

    Both (T,) are normalised activity, not negative. 1: equal at every instant; 0: never at the same time.
    """
    total = float(np.sum(agonist) + np.sum(antagonist))
    return float(2.0 * np.sum(np.minimum(agonist, antagonist)) / total) if total > 0 else float("nan")


class NoiseCeiling(NamedTuple):
    """How alike people (or trials) are: every pair's r, and each one against the mean of the others."""

    pairs: np.ndarray  # (N (N - 1) / 2,) Pearson's r
    left_out: np.ndarray  # (N,) r of each with the mean of the others: the highest a model can expect is about this


def noise_ceiling(curves: np.ndarray) -> NoiseCeiling:
    """`curves` (N, P): one mean curve a person. Needs at least two."""
    curves = np.asarray(curves, dtype=float)
    curves = curves[np.isfinite(curves).all(axis=1)]
    if len(curves) < 2:
        raise InputError(f"a noise ceiling needs at least 2 complete curves, not {len(curves)}")
    pairs = [pearson(curves[i], curves[j]) for i, j in combinations(range(len(curves)), 2)]
    others = [pearson(curves[i], np.delete(curves, i, axis=0).mean(axis=0)) for i in range(len(curves))]
    return NoiseCeiling(np.array(pairs), np.array(others))


def _pairs(first: np.ndarray, second: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    first, second = np.asarray(first, dtype=float), np.asarray(second, dtype=float)
    if first.shape != second.shape or first.ndim != 1:
        raise InputError(f"cannot compare curves of shapes {first.shape} and {second.shape}")
    kept = np.isfinite(first) & np.isfinite(second)
    if kept.sum() < 2:
        raise InputError("fewer than 2 common samples to compare")
    return first[kept], second[kept]
