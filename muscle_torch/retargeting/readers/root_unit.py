"""A root that travels in another unit than the body: feet that never stand give it away."""

import numpy as np

from muscle_torch.errors import InputError

from ..raw import FASTEST, SIDES

TRAVELS = 0.5  # [m/s]; a slower root does not show its unit
STRAIGHT = 0.5  # of its path; a root that goes to and fro does not either
MIXED_UP = (1e-3, 1e-2, 0.1)  # units that are mistaken for metres [m]
NEAR = 1.4  # factor between a unit and what the feet show


def check_root_unit(points: dict[str, np.ndarray], rate: float, where: str) -> None:
    """Raise InputError if the feet stand only when the travel of the root is scaled by a unit of `MIXED_UP`.

    points: landmark -> (T, 3) [m]; rate [Hz].
    """
    factor = standing_factor(points, rate)
    if factor is None:
        return
    unit = min(MIXED_UP, key=lambda scale: abs(np.log(factor / scale)))
    if 1 / NEAR < factor / unit < NEAR:
        speed = float(np.median(np.linalg.norm(_velocity(points["pelvis"], rate), axis=1)))
        glides = " (if it really glides, set unit=1)" if speed < FASTEST else ""
        raise InputError(
            f"{where}: the body travels at {speed:.3g} m/s on feet that never stand: the root's translation is not in "
            f"metres; set unit={unit:g}, at which they stand{glides}"
        )


def standing_factor(points: dict[str, np.ndarray], rate: float) -> float | None:
    """Compute by what the root's travel has to be scaled for the feet to stand; None if the motion does not show it.

    A standing foot moves backwards against the pelvis as fast as the pelvis travels. The foot that moves backwards
    fastest is the one that stands, if any does: the median of its speed, over the median speed of the pelvis, is
    about 1 in walking and running.
    """
    feet = [points[f"{side}_ankle"] - points["pelvis"] for side in SIDES if f"{side}_ankle" in points]
    travel = _velocity(points["pelvis"], rate)
    speed = np.linalg.norm(travel, axis=1)
    moving = speed > TRAVELS
    straight = np.linalg.norm(points["pelvis"][-1] - points["pelvis"][0]) > STRAIGHT * speed.sum() / rate
    if len(feet) < 2 or moving.mean() < 0.5 or not straight:
        return None
    direction = travel[moving] / speed[moving, None]
    back = [-np.sum(_velocity(foot, rate)[moving] * direction, axis=1) for foot in feet]
    factor = float(np.median(np.max(back, axis=0)) / np.median(speed[moving]))
    return factor if factor > 0 else None


def _velocity(values: np.ndarray, rate: float) -> np.ndarray:
    return np.gradient(values, axis=0) * rate
