"""The smallest smooth shift of a body that moves its zero-moment point into the support of its feet.

A quadratic program over a whole clip. Shifting a body with its centre of mass at height h horizontally by s(t) changes
the moment about the floor, per unit of mass, by (g + a_z) s - h s'' (the cart-table model, Kajita et al. 2003). Cost:
squared shift, acceleration and jerk. Constraints: the sides of each frame's support polygon, as exact penalties, so
that a frame that no reasonable shift can correct does not affect the others. Solved by Newton's method on the active
sides.
"""

from dataclasses import dataclass

import numpy as np
from scipy import sparse
from scipy.sparse.linalg import spsolve

from .ground_reaction import GroundReaction
from .support import half_planes

SHIFT, ACCELERATION, JERK = 0.015, 2.0, 60.0  # [m], [m/s^2], [m/s^3] of shift with a cost of 1
VIOLATION = 1e-3  # [m] outside the polygon with the same cost
MAX_PENALTY_SLOPE = 2.0  # beyond this many VIOLATIONs, the penalty grows linearly
ITERATIONS = 100
CONVERGED = 1e-7  # [m]


@dataclass(frozen=True, eq=False)
class Sides:
    """Linear inequalities on a clip's zero-moment point z: `normals . z[frames] <= offsets`."""

    frames: np.ndarray  # (R,)
    normals: np.ndarray  # (R, 2)
    offsets: np.ndarray  # (R,) [m]

    @classmethod
    def of(cls, reaction: GroundReaction, margin: float) -> "Sides":
        """Return the sides of the support polygons, moved inward by `margin` [m], for all frames with foot support."""
        rows = [
            (frame, *half_planes(reaction.corners[frame], margin))
            for frame in np.flatnonzero(reaction.loaded & reaction.supported)
        ]
        if not rows:
            return cls(np.zeros(0, dtype=int), np.zeros((0, 2)), np.zeros(0))
        frames, normals, offsets = zip(*rows, strict=True)
        counts = [len(offset) for offset in offsets]
        return cls(np.repeat(frames, counts), np.concatenate(normals), np.concatenate(offsets))

    def within(self, frames: slice) -> "Sides":
        """Return the sides of the frames in a slice of the clip."""
        kept = (self.frames >= frames.start) & (self.frames < frames.stop)
        return Sides(self.frames[kept], self.normals[kept], self.offsets[kept])


def plan_shift(
    reaction: GroundReaction,
    sides: Sides,
    rate: float,
    moved: float = 1.0,
    before: np.ndarray | None = None,
    basis: sparse.sparray | None = None,
) -> np.ndarray:
    """Compute the horizontal shift (T, 2) [m] that moves the zero-moment point inside the sides.

    Args:
        reaction: Ground reaction of the current motion.
        sides: Constraints on its zero-moment point.
        rate: Frame rate [Hz].
        moved: Fraction of the body's mass that is shifted.
        before: Shift (T, 2) already contained in the motion; the cost is that of the sum.
        basis: (2 T, N): allowed shifts, all x followed by all y; None: any.

    Returns:
        The additional shift.
    """
    count = len(reaction.force)
    before = np.zeros((count, 2)) if before is None else before
    second = _second_difference(count, rate)
    load = reaction.force[:, 2] / reaction.weight
    height = reaction.mass_centre[:, 2] * reaction.mass / reaction.weight  # h / g [s^2]
    response = moved * (sparse.diags(load) - sparse.diags(height) @ second)
    jerk = (sparse.eye(count - 1, count, k=1) - sparse.eye(count - 1, count)) @ second * rate
    cost_per_axis = sparse.eye(count) / SHIFT**2 + second.T @ second / ACCELERATION**2 + jerk.T @ jerk / JERK**2
    cost = sparse.csc_matrix(sparse.block_diag((cost_per_axis, cost_per_axis)))
    selected = response.tocsr()[sides.frames]
    rows = sparse.hstack([sparse.diags(sides.normals[:, axis]) @ selected for axis in (0, 1)], format="csr") / VIOLATION
    current = np.nan_to_num(reaction.zero_moment_point)[sides.frames]
    room = (load[sides.frames] * (sides.offsets - np.sum(sides.normals * current, axis=1))) / VIOLATION
    slope = cost @ before.T.ravel()
    if basis is None:
        return _minimise(cost, slope, rows, room).reshape(2, count).T
    weights = _minimise(basis.T @ cost @ basis, basis.T @ slope, rows @ basis, room)
    return (basis @ weights).reshape(2, count).T


def _second_difference(count: int, rate: float) -> sparse.csr_matrix:
    """Return (T, T): acceleration as in `low_pass.derivatives`; at both ends that of the neighbouring frame."""
    middle = np.clip(np.arange(count), 1, count - 2)
    values = np.tile([1.0, -2.0, 1.0], count) * rate**2
    columns = np.stack((middle - 1, middle, middle + 1), axis=1).ravel()
    return sparse.csr_matrix((values, (np.repeat(np.arange(count), 3), columns)), shape=(count, count))


def _minimise(cost: sparse.csc_matrix, slope: np.ndarray, rows: sparse.csr_matrix, room: np.ndarray) -> np.ndarray:
    """Return the minimizer of x'cost x / 2 + slope'x plus the penalties of rows x - room.

    A penalty is 0 below 0, p^2 / 2 up to `MAX_PENALTY_SLOPE`, and linear beyond, so that constraints that are too
    expensive are left violated.
    """
    x = np.zeros(len(slope))
    violation = rows @ x - room
    for _ in range(ITERATIONS):
        curved = rows[np.flatnonzero((violation > 0) & (violation < MAX_PENALTY_SLOPE))]
        gradient = cost @ x + slope + rows.T @ np.clip(violation, 0.0, MAX_PENALTY_SLOPE)
        step = -spsolve((cost + curved.T @ curved).tocsc(), gradient)
        if np.abs(step).max() < CONVERGED:
            break
        change = rows @ step
        length = _line_search(step @ (cost @ x + slope), step @ (cost @ step), violation, change)
        x, violation = x + length * step, violation + length * change
    return x


def _line_search(slope: float, curvature: float, violation: np.ndarray, change: np.ndarray) -> float:
    """Return the exact minimizer t > 0 of slope t + curvature t^2 / 2 plus the penalties of violation + t change.

    The derivative is piecewise linear and increasing, so its root lies between two neighbouring knots, the lengths at
    which a penalty changes from one piece to the next.
    """

    def derivative(length: float) -> float:
        return slope + curvature * length + float(change @ np.clip(violation + length * change, 0.0, MAX_PENALTY_SLOPE))

    moving = change != 0
    knots = np.concatenate([(level - violation[moving]) / change[moving] for level in (0.0, MAX_PENALTY_SLOPE)])
    lengths = np.concatenate(([0.0], np.sort(knots[knots > 0])))
    low, high = 0, len(lengths) - 1
    while low < high:  # the last knot at which the derivative is still negative
        middle = (low + high + 1) // 2
        low, high = (middle, high) if derivative(lengths[middle]) < 0 else (low, middle - 1)
    start = float(lengths[low])
    after = violation + (start + 1e-12) * change
    curved = (after > 0) & (after < MAX_PENALTY_SLOPE)
    return start - derivative(start) / (curvature + float(change[curved] @ change[curved]))
