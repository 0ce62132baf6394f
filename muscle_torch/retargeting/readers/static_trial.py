"""Transfer points that only a static trial contains (medial markers, computed joint centres) to a motion.

Each point is placed relative to three markers that both trials contain, chosen near the point and such that their
triangle keeps its shape throughout the motion, so that they are on one segment.
"""

from itertools import combinations

import numpy as np

NEAREST = 9  # number of markers to try, nearest to the point
FARTHEST = 0.6  # [m] maximal distance of these markers
MAX_CHANGE = 0.02  # [m] of a triangle's sides: skin moves less, markers on different segments more
DISTANCE_WEIGHT = 0.05  # weight of the distance from the point against the change of the sides
MIN_AREA = 0.0008  # [m^2]: a thinner triangle does not determine a rotation


def carried(
    point: np.ndarray, static: dict[str, np.ndarray], moving: dict[str, np.ndarray]
) -> tuple[np.ndarray, tuple[str, ...]] | None:
    """Transfer a point to the motion.

    Args:
        point: Position in the static trial, (3,).
        static: Marker -> position in the static trial, (3,).
        moving: Marker -> positions in the motion, (T, 3), NaN if hidden.

    Returns:
        The point in the motion (T, 3), and the three markers that it follows; None if no three markers are suitable.
    """
    near = {
        name: float(np.linalg.norm(at - point))
        for name, at in static.items()
        if name in moving and np.isfinite(at).all() and np.linalg.norm(at - point) < FARTHEST
    }
    best: tuple[float, tuple[str, ...]] | None = None
    for three in combinations(sorted(near, key=lambda name: near[name])[:NEAREST], 3):
        a, b, c = (static[name] for name in three)
        if np.linalg.norm(np.cross(b - a, c - a)) / 2 < MIN_AREA:
            continue
        change = [_change(static, moving, *pair) for pair in combinations(three, 2)]
        cost = max(change) + DISTANCE_WEIGHT * float(np.mean([near[name] for name in three]))
        if max(change) < MAX_CHANGE and (best is None or cost < best[0]):
            best = (cost, three)
    if best is None:
        return None
    turn, shift = _placed(np.stack([static[n] for n in best[1]]), np.stack([moving[n] for n in best[1]], axis=1))
    return np.einsum("tij,j->ti", turn, point) + shift, best[1]


def _change(static: dict[str, np.ndarray], moving: dict[str, np.ndarray], one: str, other: str) -> float:
    """Return the 90th percentile of the change of two markers' distance from the static trial [m]."""
    distance = np.linalg.norm(moving[one] - moving[other], axis=1)
    distance = distance[np.isfinite(distance)]
    if not len(distance):
        return np.inf
    return float(np.quantile(np.abs(distance - np.linalg.norm(static[one] - static[other])), 0.9))


def _placed(rest: np.ndarray, now: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the rotations (T, 3, 3) and shifts (T, 3) that best map rest (K, 3) to now (T, K, 3) (Kabsch 1976)."""
    middle, middles = rest.mean(axis=0), now.mean(axis=1)
    visible = np.isfinite(middles).all(axis=1)
    turn = np.full((len(now), 3, 3), np.nan)
    u, _, v = np.linalg.svd(np.einsum("tki,kj->tij", now[visible] - middles[visible, None], rest - middle))
    flip = np.tile(np.eye(3), (len(u), 1, 1))
    flip[:, 2, 2] = np.linalg.det(u @ v)
    turn[visible] = u @ flip @ v
    return turn, middles - np.einsum("tij,j->ti", turn, middle)
