"""Estimate the belt velocity of a treadmill from the feet."""

from collections.abc import Sequence

import numpy as np

LOW = 0.02  # [m] above its lowest height: a point of the foot may stand
LOWEST = 0.02  # quantile of the height that counts as lowest
DENSEST = 1 / 3  # fraction of low samples that agree best: the rest are from rolling and low swings


def belt_velocity(feet: Sequence[np.ndarray], rate: float) -> np.ndarray:
    """Return the common horizontal velocity of standing feet (2,) [m/s]; about 0 over ground.

    Only samples near the floor count, which excludes flight and swing. Among them, those with the most similar
    velocities are of a flat foot, which moves with the belt.

    Args:
        feet: Positions of one point of each foot, the toe joint or the ankle, (T, 3) [m], z up.
        rate: Frame rate [Hz].
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
