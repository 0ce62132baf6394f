"""Points that a static trial alone shows (inner knee and ankle markers, computed joint centres), carried into a motion.

Each is placed by three of the markers that both trials have, chosen near the point and so that their triangle keeps
its shape throughout the motion: they then sit on one segment.
"""

from itertools import combinations

import numpy as np

NEAREST = 9  # markers that are tried, by their distance from the point
FARTHEST = 0.6  # [m] of them
BENT = 0.02  # [m] by which a triangle's sides may change: skin moves, segments of different bodies more
FAR = 0.05  # [m] of distance from the point that cost as much as a metre of changed sides
THIN = 0.0008  # [m^2] smallest area: a thinner triangle does not determine a rotation


def carried(
    point: np.ndarray, static: dict[str, np.ndarray], moving: dict[str, np.ndarray]
) -> tuple[np.ndarray, tuple[str, ...]] | None:
    """(the point (T, 3) in the motion, the markers that carry it); None if no three markers do.

    point (3,), static: marker -> (3,) in the static trial; moving: marker -> (T, 3), NaN if hidden.
    """
    near = {
        name: float(np.linalg.norm(at - point))
        for name, at in static.items()
        if name in moving and np.isfinite(at).all() and np.linalg.norm(at - point) < FARTHEST
    }
    best: tuple[float, tuple[str, ...]] | None = None
    for three in combinations(sorted(near, key=lambda name: near[name])[:NEAREST], 3):
        a, b, c = (static[name] for name in three)
        if np.linalg.norm(np.cross(b - a, c - a)) / 2 < THIN:
            continue
        change = [_change(static, moving, *pair) for pair in combinations(three, 2)]
        cost = max(change) + FAR * float(np.mean([near[name] for name in three]))
        if max(change) < BENT and (best is None or cost < best[0]):
            best = (cost, three)
    if best is None:
        return None
    turn, shift = _placed(np.stack([static[n] for n in best[1]]), np.stack([moving[n] for n in best[1]], axis=1))
    return np.einsum("tij,j->ti", turn, point) + shift, best[1]


def _change(static: dict[str, np.ndarray], moving: dict[str, np.ndarray], one: str, other: str) -> float:
    """How far the distance of two markers in the motion is from that in the static trial, 9 times of 10 [m]."""
    apart = np.linalg.norm(moving[one] - moving[other], axis=1)
    apart = apart[np.isfinite(apart)]
    if not len(apart):
        return np.inf
    return float(np.quantile(np.abs(apart - np.linalg.norm(static[one] - static[other])), 0.9))


def _placed(rest: np.ndarray, now: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Rotations (T, 3, 3) and shifts (T, 3) that take points rest (K, 3) onto now (T, K, 3) best (Kabsch 1976)."""
    middle, middles = rest.mean(axis=0), now.mean(axis=1)
    visible = np.isfinite(middles).all(axis=1)
    turn = np.full((len(now), 3, 3), np.nan)
    u, _, v = np.linalg.svd(np.einsum("tki,kj->tij", now[visible] - middles[visible, None], rest - middle))
    flip = np.tile(np.eye(3), (len(u), 1, 1))
    flip[:, 2, 2] = np.linalg.det(u @ v)
    turn[visible] = u @ flip @ v
    return turn, middles - np.einsum("tij,j->ti", turn, middle)
