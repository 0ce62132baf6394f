"""Muscle synergies by non-negative matrix factorisation. Needs the extra `biomech` (scikit-learn)."""

import warnings
from dataclasses import dataclass

import numpy as np

from muscle_torch.errors import InputError

ENOUGH = 0.90  # of the variability accounted for (Torres-Oviedo 2006)


@dataclass(frozen=True, eq=False)
class Synergies:
    """activity (T, M) ~ timing (T, K) @ weights (K, M); `vaf` of the whole, `muscle_vaf` (M,) of each muscle."""

    timing: np.ndarray
    weights: np.ndarray
    vaf: float
    muscle_vaf: np.ndarray


def extract_synergies(activity: np.ndarray, rank: int, seed: int = 0) -> Synergies:
    """`rank` synergies of `activity` (T, M), not negative. Each synergy's largest weight is 1; order by their share.

    Raises InputError for negative or constant-zero input, or a rank that the data cannot have.
    """
    activity = np.asarray(activity, dtype=float)
    if (activity < -1e-9).any():
        raise InputError("synergies need activity that is not negative: use envelopes or activations")
    if not 1 <= rank <= min(activity.shape):
        raise InputError(f"{rank} synergies of {activity.shape[1]} muscles in {activity.shape[0]} samples")
    if not activity.any():
        raise InputError("synergies need some activity: everything is zero")
    try:
        from sklearn.decomposition import NMF
        from sklearn.exceptions import ConvergenceWarning
    except ImportError:
        raise InputError("synergies need scikit-learn: pip install 'muscle_torch[biomech]'") from None
    model = NMF(n_components=rank, init="nndsvda", max_iter=1000, tol=1e-5, random_state=seed)  # pyright: ignore[reportArgumentType]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # the variability accounted for tells how good the fit is
        timing = model.fit_transform(np.maximum(activity, 0.0))
    weights = model.components_
    top = weights.max(axis=1)
    top = np.where(top > 0, top, 1.0)
    timing, weights = timing * top, weights / top[:, None]
    order = np.argsort(-(timing.sum(axis=0) * weights.sum(axis=1)))
    timing, weights = timing[:, order], weights[order]
    rest = (activity - timing @ weights) ** 2
    each = 1.0 - rest.sum(axis=0) / np.maximum((activity**2).sum(axis=0), 1e-12)
    return Synergies(timing, weights, variability_accounted_for(activity, timing @ weights), each)


def variability_accounted_for(activity: np.ndarray, rebuilt: np.ndarray) -> float:
    """VAF, uncentred: 1 - sum of squared errors over sum of squares (Torres-Oviedo 2006)."""
    return float(1.0 - np.sum((activity - rebuilt) ** 2) / np.sum(activity**2))


def vaf_by_rank(activity: np.ndarray, largest: int, seed: int = 0) -> list[Synergies]:
    """Synergies of rank 1, 2, ... `largest`."""
    return [extract_synergies(activity, rank, seed) for rank in range(1, min(largest, *activity.shape) + 1)]


def enough_synergies(found: list[Synergies], vaf: float = ENOUGH) -> int:
    """The least rank that accounts for `vaf`; 0 where none does."""
    return next((rank for rank, one in enumerate(found, 1) if one.vaf >= vaf), 0)
