"""Simplex projection: forecast a signal from delay coordinates of other signals (Sugihara and May 1990)."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from scipy.spatial import cKDTree

from muscle_torch.errors import InputError

from .agreement import mean_of_known, pearson

LEAST = 5  # smallest number of forecasts in a trial


class Forecast(NamedTuple):
    """Quality of a forecast; correlations are means over the trials."""

    rho: float  # Pearson's r of forecast and signal
    shuffled: float  # chance level: 95th percentile of |rho| if the library's future is permuted
    persistence: float  # r of the signal with itself `horizon` steps earlier
    count: int  # number of forecasts


class Embedding(NamedTuple):
    """Delay coordinates and future values of the target, N points of all trials concatenated."""

    points: np.ndarray  # (N, columns * dimension)
    present: np.ndarray  # (N,) target at the point
    future: np.ndarray  # (N,) target `horizon` steps later
    trial: np.ndarray  # (N,) index of the trial


def forecast(
    sources: Sequence[np.ndarray],
    targets: Sequence[np.ndarray],
    dimension: int = 3,
    lag: int = 1,
    horizon: int = 5,
    shuffles: int = 20,
    seed: int = 0,
) -> Forecast:
    """Forecast a signal in each trial from nearest neighbours in the other trials.

    A point consists of the sources' values at the current and `dimension - 1` earlier steps, each column in units of
    its standard deviation. The forecast is the mean future value of its `dimension + 1` nearest neighbours, weighted by
    exp(-distance / nearest distance). With a single trial, its second half is forecast from its first.

    Args:
        sources: Source signals of each trial, (T, columns).
        targets: Target signal of each trial, (T,); steps with NaN are left out.
        dimension: Number of delayed values of each column, E.
        lag: Delay between them [steps].
        horizon: Forecast horizon [steps].
        shuffles: Number of permutations of the library's future.
        seed: Seed of the permutations.

    Returns:
        Correlation of forecast and signal, its chance level, and the signal's persistence.

    Raises:
        InputError: A number is below 1, or the trials are too short.
    """
    if min(dimension, lag, horizon) < 1:
        raise InputError(f"forecast: dimension={dimension}, lag={lag} and horizon={horizon} must be at least 1")
    embedding = embed(sources, targets, dimension, lag, horizon)
    if len(np.unique(embedding.trial)) == 1:
        embedding = _halves(embedding, (dimension - 1) * lag + horizon)
    rng = np.random.default_rng(seed)
    rhos, chance, persistence, count = [], [], [], 0
    for trial in np.unique(embedding.trial[embedding.trial >= 0]):
        in_trial = embedding.trial == trial
        if in_trial.sum() < LEAST:
            continue
        library, present, future = embedding.future[~in_trial], embedding.present[in_trial], embedding.future[in_trial]
        neighbours, weights = _neighbours(embedding.points[~in_trial], embedding.points[in_trial], dimension + 1)
        rhos.append(pearson((weights * library[neighbours]).sum(1), future))
        permuted = [(weights * rng.permutation(library)[neighbours]).sum(1) for _ in range(shuffles)]
        chance.append([pearson(column, future) for column in permuted])
        persistence.append(pearson(present, future))
        count += len(future)
    if not rhos:
        raise InputError(f"forecast: no trial has {LEAST} steps with a value {horizon} steps ahead: use longer trials")
    levels = np.abs([mean_of_known(column) for column in zip(*chance, strict=True)])
    level = float(np.nanpercentile(levels, 95)) if np.isfinite(levels).any() else float("nan")
    return Forecast(mean_of_known(rhos), level, mean_of_known(persistence), count)


def embed(
    sources: Sequence[np.ndarray], targets: Sequence[np.ndarray], dimension: int, lag: int, horizon: int
) -> Embedding:
    """Return the delay coordinates of all trials.

    Args:
        sources: Source signals of each trial, (T, columns).
        targets: Target signal of each trial, (T,).
        dimension: Number of delayed values of each column, E.
        lag: Delay between them [steps].
        horizon: Forecast horizon [steps].

    Raises:
        InputError: No trial is long enough, or no source varies.
    """
    pooled = np.concatenate(sources).astype(float)
    spread = pooled.std(axis=0)
    varying = spread > 1e-9 * max(1.0, float(np.abs(pooled).max()))
    if not varying.any():
        raise InputError("forecast: none of the source signals varies")
    past = (dimension - 1) * lag
    parts: list[tuple[np.ndarray, ...]] = []
    for trial, (source, target) in enumerate(zip(sources, targets, strict=True)):
        columns, steps = source[:, varying] / spread[varying], np.arange(past, len(source) - horizon)
        if not len(steps):
            continue
        points = np.concatenate([columns[steps - lag * i] for i in range(dimension)], axis=1)
        present, future = target[steps].astype(float), target[steps + horizon].astype(float)
        known = np.isfinite(points).all(axis=1) & np.isfinite(present) & np.isfinite(future)
        parts.append((points[known], present[known], future[known], np.full(int(known.sum()), trial)))
    if not parts:
        raise InputError(
            f"forecast: trials of at most {max(map(len, sources))} steps are too short for {dimension} values {lag} "
            f"apart and {horizon} steps ahead"
        )
    return Embedding(*(np.concatenate([part[i] for part in parts]) for i in range(4)))


def _halves(embedding: Embedding, gap: int) -> Embedding:
    """Return a single trial with its first half marked as library (trial -1), without points that span both halves."""
    middle = len(embedding.trial) // 2
    half = np.zeros(len(embedding.trial), dtype=int)
    half[:middle] = -1
    kept = np.ones(len(half), dtype=bool)
    kept[middle : middle + gap] = False
    if (kept & (half == 0)).sum() < LEAST:
        raise InputError("forecast: one trial is too short to forecast its second half from its first")
    return Embedding(embedding.points[kept], embedding.present[kept], embedding.future[kept], half[kept])


def _neighbours(library: np.ndarray, points: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Return indices and weights (N, count) of the nearest points of the library; the weights of a point sum to 1."""
    if len(library) < count:
        raise InputError(f"forecast: {len(library)} points in the other trials, {count} neighbours are needed")
    distance, index = cKDTree(library).query(points, k=count)
    nearest = np.maximum(distance[:, :1], 1e-12)
    weights = np.maximum(np.exp(-distance / nearest), 1e-6)
    return index, weights / weights.sum(axis=1, keepdims=True)
