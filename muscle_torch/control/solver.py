"""Solver of a control step's quadratic program: regularized least squares within bounds.

    minimize  1/2 sum_j cost_j (x_j - centre_j)^2 + 1/2 |matrix x - target|^2,   lower <= x <= upper

with many more unknowns (activations, contact forces) than rows. The dual has one unknown per row: at the optimum
x = clip(centre + matrix' y / cost, lower, upper) with y = target - matrix x. The dual gradient is piecewise linear, so
Newton's method with an exact line search terminates after a finite number of steps (Qi and Sun 1993; Li, Sun and Toh
2018 for the lasso).
"""

from typing import NamedTuple

import numpy as np
from scipy.linalg.lapack import dpotrf, dpotrs

LINE_SEARCH_STEPS = 25


class Solution(NamedTuple):
    """Solution of the program."""

    x: np.ndarray  # (n,) within the bounds
    dual: np.ndarray  # (m,)
    iterations: int  # of Newton's method
    converged: bool  # whether the tolerance was reached


def solve_boxed(
    matrix: np.ndarray,
    target: np.ndarray,
    cost: np.ndarray,
    centre: np.ndarray,
    lower: np.ndarray,
    upper: np.ndarray,
    dual: np.ndarray | None = None,
    iterations: int = 60,
    tolerance: float = 1e-2,
) -> Solution:
    """Solve the program by a semismooth Newton method on its dual.

    Args:
        matrix: Rows of the least-squares problem, (m, n).
        target: Their targets, (m,).
        cost: Positive costs, (n,).
        centre: Values of zero cost, (n,).
        lower: Lower bounds, (n,); may be -inf.
        upper: Upper bounds, (n,); may be inf.
        dual: Initial dual, (m,); None: zero.
        iterations: Maximal number of Newton steps.
        tolerance: Largest absolute entry of the dual gradient at convergence, in the units of `target`.

    Returns:
        The solution; without convergence the last iterate, which satisfies the bounds.
    """
    inverse, size = 1.0 / cost, len(target)
    y = np.zeros(size) if dual is None else dual.copy()
    z = centre + (matrix.T @ y) * inverse
    hessian = _Hessian(matrix, inverse)
    for iteration in range(iterations):
        x = np.minimum(np.maximum(z, lower), upper)
        gradient = y + matrix @ x - target
        if np.abs(gradient).max(initial=0.0) < tolerance:
            return Solution(x, y, iteration, True)
        factor, _ = dpotrf(hessian.of((z > lower) & (z < upper)), lower=1)
        direction, _ = dpotrs(factor, -gradient, lower=1)
        slope = matrix.T @ direction
        step = _line_search(z, slope, slope * inverse, lower, upper, direction @ (y - target), direction @ direction)
        y = y + step * direction
        z = z + step * slope * inverse
    return Solution(np.minimum(np.maximum(z, lower), upper), y, iterations, False)


class _Hessian:
    """I + sum of column column' / cost over the free unknowns, updated incrementally by those that changed."""

    def __init__(self, matrix: np.ndarray, inverse: np.ndarray) -> None:
        self._columns = np.ascontiguousarray((matrix * np.sqrt(inverse)).T)  # (n, m)
        self._free = np.zeros(len(inverse), dtype=bool)
        self._value = np.eye(len(matrix))

    def of(self, free: np.ndarray) -> np.ndarray:
        """Return the Hessian (m, m) for free unknowns, bool (n,)."""
        changed = np.flatnonzero(free != self._free)
        columns = self._columns[changed]
        signs = np.where(free[changed], 1.0, -1.0)
        self._value += (columns * signs[:, None]).T @ columns
        self._free = free
        return self._value


def _line_search(
    z: np.ndarray,
    slope: np.ndarray,
    change: np.ndarray,
    lower: np.ndarray,
    upper: np.ndarray,
    constant: float,
    linear: float,
) -> float:
    """Return a step length that reduces the dual's derivative along the direction to a tenth.

    Newton's method on this piecewise linear, increasing function, safeguarded by bisection.
    """
    first, step, low, high = 0.0, 1.0, 0.0, np.inf
    first = abs(constant + slope @ np.minimum(np.maximum(z, lower), upper))
    for _ in range(LINE_SEARCH_STEPS):
        moved = z + step * change
        value = constant + step * linear + slope @ np.minimum(np.maximum(moved, lower), upper)
        if abs(value) < 0.1 * first:
            break
        if value > 0:
            high = step
        else:
            low = step
        rate = linear + slope @ (change * ((moved > lower) & (moved < upper)))
        step = step - value / rate
        if not low < step < high:
            step = 0.5 * (low + high) if np.isfinite(high) else 2 * low
    return float(step)
