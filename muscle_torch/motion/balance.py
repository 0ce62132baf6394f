"""The smallest smooth shift of a body over its feet that takes its zero-moment point into their support.

A quadratic programme over a whole clip: a body whose mass centre is at height h, shifted horizontally by s(t), moves
the moment about the floor by the weight's part (g + a_z) s - h s'' per unit of mass (the cart-table model, Kajita et
al. 2003). Cost: squared shift, its acceleration and its jerk; constraints: the sides of each frame's polygon, with an
exact penalty, so that a frame that no reasonable shift can save does not drag the others along. Solved by Newton's
method over the active sides.
"""

from dataclasses import dataclass

import numpy as np
from scipy import sparse
from scipy.sparse.linalg import spsolve

from .ground_reaction import GroundReaction
from .support import half_planes

SHIFT, ACCELERATION, JERK = 0.015, 2.0, 60.0  # [m], [m/s^2], [m/s^3] of shift that cost 1
LEFT = 1e-3  # [m] outside the polygon that costs as much; FORCE times that, the cost grows no longer with the square
FORCE = 2.0
ITERATIONS = 100
SETTLED = 1e-7  # [m]


@dataclass(frozen=True, eq=False)
class Sides:
    """Linear inequalities on a clip's zero-moment point: `normals . z[frames] <= offsets`."""

    frames: np.ndarray  # (R,)
    normals: np.ndarray  # (R, 2)
    offsets: np.ndarray  # (R,) [m]

    @classmethod
    def of(cls, reaction: GroundReaction, margin: float) -> "Sides":
        """Return the polygons' sides, moved inward by `margin` [m], of frames in which a foot carries the body."""
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
        """Return those of a stretch of the clip."""
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
    """Return the horizontal shift (T, 2) [m] that puts the zero-moment point within the sides.

    Args:
        reaction: Of the motion as it is.
        sides: What its zero-moment point must keep within.
        rate: Frames a second [Hz].
        moved: Share of the body's mass that is shifted.
        before: Shift (T, 2) that the motion already holds; the cost is that of the sum.
        basis: (2 T, N): all x, then all y, of the shifts that are allowed; None: any.

    Returns:
        The additional shift.
    """
    count = len(reaction.force)
    before = np.zeros((count, 2)) if before is None else before
    second = _second_difference(count, rate)
    load = reaction.force[:, 2] / reaction.weight
    height = reaction.mass_centre[:, 2] * reaction.mass / reaction.weight  # h / g [s^2]
    reply = moved * (sparse.diags(load) - sparse.diags(height) @ second)
    jerk = (sparse.eye(count - 1, count, k=1) - sparse.eye(count - 1, count)) @ second * rate
    each = sparse.eye(count) / SHIFT**2 + second.T @ second / ACCELERATION**2 + jerk.T @ jerk / JERK**2
    cost = sparse.csc_matrix(sparse.block_diag((each, each)))
    picked = reply.tocsr()[sides.frames]
    rows = sparse.hstack([sparse.diags(sides.normals[:, axis]) @ picked for axis in (0, 1)], format="csr") / LEFT
    now = np.nan_to_num(reaction.zero_moment_point)[sides.frames]
    room = (load[sides.frames] * (sides.offsets - np.sum(sides.normals * now, axis=1))) / LEFT
    slope = cost @ before.T.ravel()
    if basis is None:
        return _minimise(cost, slope, rows, room).reshape(2, count).T
    found = _minimise(basis.T @ cost @ basis, basis.T @ slope, rows @ basis, room)
    return (basis @ found).reshape(2, count).T


def _second_difference(count: int, rate: float) -> sparse.csr_matrix:
    """(T, T): acceleration as `low_pass.derivatives` has it; that of each end is its neighbour's."""
    middle = np.clip(np.arange(count), 1, count - 2)
    values = np.tile([1.0, -2.0, 1.0], count) * rate**2
    columns = np.stack((middle - 1, middle, middle + 1), axis=1).ravel()
    return sparse.csr_matrix((values, (np.repeat(np.arange(count), 3), columns)), shape=(count, count))


def _minimise(cost: sparse.csc_matrix, slope: np.ndarray, rows: sparse.csr_matrix, room: np.ndarray) -> np.ndarray:
    """Return the x of least x'cost x / 2 + slope'x + sum of the penalties of rows x - room.

    The penalty is 0 below 0, p^2 / 2 up to `FORCE`, and a line beyond: what costs too much is left outside.
    """
    x = np.zeros(len(slope))
    past = rows @ x - room
    for _ in range(ITERATIONS):
        curved = rows[np.flatnonzero((past > 0) & (past < FORCE))]
        gradient = cost @ x + slope + rows.T @ np.clip(past, 0.0, FORCE)
        step = -spsolve((cost + curved.T @ curved).tocsc(), gradient)
        if np.abs(step).max() < SETTLED:
            break
        change = rows @ step
        length = _line_search(step @ (cost @ x + slope), step @ (cost @ step), past, change)
        x, past = x + length * step, past + length * change
    return x


def _line_search(slope: float, curvature: float, past: np.ndarray, change: np.ndarray) -> float:
    """Return the length t > 0 of least slope t + curvature t^2 / 2 + sum of the penalties of past + t change, exactly.

    The derivative is piecewise linear and increasing: its root lies between two of the lengths at which a penalty
    changes from one piece to the next.
    """

    def derivative(length: float) -> float:
        return slope + curvature * length + float(change @ np.clip(past + length * change, 0.0, FORCE))

    moving = change != 0
    knots = np.concatenate([(level - past[moving]) / change[moving] for level in (0.0, FORCE)])
    lengths = np.concatenate(([0.0], np.sort(knots[knots > 0])))
    low, high = 0, len(lengths) - 1
    while low < high:  # the last knot at which the derivative is still negative
        middle = (low + high + 1) // 2
        low, high = (middle, high) if derivative(lengths[middle]) < 0 else (low, middle - 1)
    start = float(lengths[low])
    after = past + (start + 1e-12) * change
    curved = (after > 0) & (after < FORCE)
    return start - derivative(start) / (curvature + float(change[curved] @ change[curved]))
