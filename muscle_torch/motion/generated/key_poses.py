"""Smooth paths through key poses."""

import numpy as np
from numpy.typing import ArrayLike
from scipy.interpolate import BPoly, PchipInterpolator, make_interp_spline


def through(times: ArrayLike, values: np.ndarray, frequency: float) -> np.ndarray:
    """Minimum-jerk strokes: comes to rest, or turns, at each key value, and passes smoothly where it goes on.

    times (K,) [s] from 0, values (K, ...) -> (T, ...) at `frequency` [Hz]; at rest at both ends, accelerations
    continuous, never beyond the key values.
    """
    at, values = np.asarray(times, dtype=float), np.asarray(values, dtype=float)
    slopes = PchipInterpolator(at, values, axis=0)(at, 1)
    slopes[[0, -1]] = 0.0
    spline = BPoly.from_derivatives(at, np.stack((values, slopes, np.zeros_like(values)), axis=1))
    return spline(_grid(at, frequency))


def flowing(times: ArrayLike, values: np.ndarray, frequency: float) -> np.ndarray:
    """A quintic spline through all key values without stopping; at rest at both ends. Shapes as in `through`."""
    at, values = np.asarray(times, dtype=float), np.asarray(values, dtype=float)
    rest = [(1, np.zeros(values.shape[1:])), (2, np.zeros(values.shape[1:]))]
    return make_interp_spline(at, values, k=5, bc_type=(rest, rest), axis=0)(_grid(at, frequency))


def _grid(times: np.ndarray, frequency: float) -> np.ndarray:
    return np.arange(round(times[-1] * frequency) + 1) / frequency
