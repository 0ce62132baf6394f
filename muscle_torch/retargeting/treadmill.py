"""The velocity of a treadmill's belt, from the feet that stand on it."""

from collections.abc import Sequence

import numpy as np

LOW = 0.02  # [m] above its lowest place: a point of the foot may stand
LOWEST = 0.02  # quantile of its height that counts as the lowest place
DENSEST = 1 / 3  # share of the low samples that agree best: a foot rolls as it lands and lifts, and swings low


def belt_velocity(feet: Sequence[np.ndarray], rate: float) -> np.ndarray:
    """Return the horizontal velocity (2,) [m/s] that standing feet share; about 0 over ground.

    Only samples near the floor count, so flight and swing do not. Among them the velocities that lie closest together
    are those of a flat foot, which moves as the belt does.

    Args:
        feet: Positions (T, 3) [m], z up, of one point of each foot: the toe joint, or the ankle.
        rate: Frames a second [Hz].
    """
    velocity = []
    for points in feet:
        low = points[:, 2] < np.quantile(points[:, 2], LOWEST) + LOW
        velocity.append((np.gradient(points[:, :2], axis=0) * rate)[low])
    samples = np.concatenate(velocity)
    middle = np.median(samples, axis=0)
    along = samples @ (middle / max(float(np.linalg.norm(middle)), 1e-9))
    order = np.argsort(along)
    count = max(1, round(DENSEST * len(order)))
    widths = along[order[count - 1 :]] - along[order[: len(order) - count + 1]]
    first = int(np.argmin(widths))
    return samples[order[first : first + count]].mean(axis=0)
