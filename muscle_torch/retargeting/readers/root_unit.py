"""Detect a root translation in another unit than the body, because the feet then never stand."""

import numpy as np

from muscle_torch.errors import InputError

from ..raw import FASTEST, SIDES

TRAVELS = 0.5  # [m/s]; the motion of a slower root does not determine its unit
STRAIGHT = 0.5  # displacement over path length; less straight motion does not determine the unit either
MIXED_UP = (1e-3, 1e-2, 0.1)  # units that are mistaken for metres [m]
NEAR = 1.4  # maximal factor between a unit and the estimate from the feet


def check_root_unit(points: dict[str, np.ndarray], rate: float, where: str) -> None:
    """Check the unit of the root's translation.

    Args:
        points: Landmark -> (T, 3) [m].
        rate: Frame rate [Hz].
        where: The file, for messages.

    Raises:
        InputError: The feet stand only if the root's travel is scaled by a unit of `MIXED_UP`.
    """
    factor = standing_factor(points, rate)
    if factor is None:
        return
    unit = min(MIXED_UP, key=lambda scale: abs(np.log(factor / scale)))
    if 1 / NEAR < factor / unit < NEAR:
        speed = float(np.median(np.linalg.norm(_velocity(points["pelvis"], rate), axis=1)))
        glides = " (if it really glides, set unit=1)" if speed < FASTEST else ""
        raise InputError(
            f"{where}: the body travels at {speed:.3g} m/s but its feet never stand, so the root's translation is not "
            f"in metres; set unit={unit:g}, with which they stand{glides}"
        )


def standing_factor(points: dict[str, np.ndarray], rate: float) -> float | None:
    """Return the factor of the root's travel for which the feet stand; None if the motion does not determine it.

    A standing foot moves backwards relative to the pelvis as fast as the pelvis travels. The foot that moves backwards
    fastest is the standing one, if any: the median of its speed over that of the pelvis is about 1 in walking and
    running.

    Args:
        points: Landmark -> (T, 3) [m].
        rate: Frame rate [Hz].
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
