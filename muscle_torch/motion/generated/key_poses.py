"""Smooth paths through key poses."""

import numpy as np
from numpy.typing import ArrayLike
from scipy.interpolate import BPoly, PchipInterpolator, make_interp_spline


def through(times: ArrayLike, values: np.ndarray, frequency: float) -> np.ndarray:
    """Interpolate with minimum-jerk strokes that stop or turn at each extreme key value, and pass smoothly otherwise.

    At rest at both ends, with continuous accelerations, never beyond the key values.

    Args:
        times: (K,) [s] from 0.
        values: (K, ...).
        frequency: Rate of the result [Hz].

    Returns:
        (T, ...).
    """
    at, values = np.asarray(times, dtype=float), np.asarray(values, dtype=float)
    slopes = PchipInterpolator(at, values, axis=0)(at, 1)
    slopes[[0, -1]] = 0.0
    spline = BPoly.from_derivatives(at, np.stack((values, slopes, np.zeros_like(values)), axis=1))
    return spline(_grid(at, frequency))


def flowing(times: ArrayLike, values: np.ndarray, frequency: float) -> np.ndarray:
    """Interpolate with a quintic spline through all key values without stopping; at rest at both ends.

    Args:
        times: (K,) [s] from 0.
        values: (K, ...).
        frequency: Rate of the result [Hz].

    Returns:
        (T, ...).
    """
    at, values = np.asarray(times, dtype=float), np.asarray(values, dtype=float)
    rest = [(1, np.zeros(values.shape[1:])), (2, np.zeros(values.shape[1:]))]
    return make_interp_spline(at, values, k=5, bc_type=(rest, rest), axis=0)(_grid(at, frequency))


def _grid(times: np.ndarray, frequency: float) -> np.ndarray:
    return np.arange(round(times[-1] * frequency) + 1) / frequency
