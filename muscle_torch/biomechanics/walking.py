"""Where a body goes and how: its heading frame by frame, the belt under it, and whether it walks, runs or does neither.

Positions are (T, 3) [m] with the last axis up, directions (T, 2) unit vectors in the ground plane.
"""

from collections.abc import Mapping

import numpy as np

from .gait_events import Contacts, smoothed
from .series import butterworth

TURNING = 0.5  # [Hz]; the pelvis turns with every step, a walker turns more slowly
LOW = 0.015  # [m]; a toe this near its lowest place stands, or swings through
BELT = 0.5  # of the speed; feet that stand move with a treadmill's whole speed, or hardly
SLOWEST = 0.2  # [m/s] of a belt
STAYS = 0.2  # of the leg length; a foot that does not get further makes no stride
STRIDES = 0.5  # of the leg length; a body that does not get further makes no strides
TOGETHER = 0.15  # of a stride; feet that land nearer to each other jump
SIDEWAYS = 0.5  # of the way that leads ahead; below, the body goes sideways

Feet = Mapping[str, tuple[np.ndarray, np.ndarray]]


def headings(rightward: np.ndarray, rate: float) -> np.ndarray:
    """Return (T, 2) where the pelvis faces, from the axis (T, 3) that points to its right; without its steps' twist.

    The axis to the right stays level if the body bends forward, the one ahead does not.
    """
    facing = _unit(np.stack([-rightward[:, 1], rightward[:, 0]], axis=1))
    if len(facing) < 1.5 * rate or rate <= 2.2 * TURNING:
        return np.tile(_unit(facing.mean(axis=0)[None]), (len(facing), 1))
    return _unit(butterworth(facing, rate, TURNING, "low", 4))


def belt_speed(feet: Feet, pelvis: np.ndarray, heading: np.ndarray, rate: float) -> float:
    """Return the speed [m/s] at which the ground moves along `heading`: negative on a treadmill, 0 over ground.

    It is the median speed of the toes while they are low. Feet that slide a little do not make a treadmill.
    """
    speeds = []
    for _, toe in feet.values():
        known = np.isfinite(toe).all(axis=1)
        low = known & (toe[:, 2] < np.nanpercentile(toe[:, 2], 5) + LOW)
        speeds.append(along(toe, heading, rate)[low])
    belt = float(np.nanmedian(np.concatenate(speeds)))
    speed = float(np.nanmean(along(pelvis, heading, rate))) - belt
    return belt if abs(belt) > max(SLOWEST, BELT * abs(speed)) else 0.0


def along(points: np.ndarray, heading: np.ndarray, rate: float) -> np.ndarray:
    """Return (T,) the speed [m/s] of a point along the heading."""
    return np.sum(np.gradient(smoothed(points[:, :2], rate, 20.0), axis=0) * rate * heading, axis=1)


def over_ground(points: np.ndarray, heading: np.ndarray, belt: float, rate: float) -> np.ndarray:
    """Return (T, 2) the place on the ground that moves with the belt: where a treadmill walker would have got."""
    travel = np.cumsum(heading, axis=0) - heading[0]
    return points[:, :2] - belt / rate * travel


def travel_direction(pelvis: np.ndarray, heading: np.ndarray, belt: float, rate: float) -> tuple[np.ndarray, bool]:
    """Return (T, 2) where the body goes, and whether that is backwards: the heading, or its opposite."""
    backwards = float(np.nanmean(along(pelvis, heading, rate))) - belt < 0
    return (-heading if backwards else heading), backwards


def strides_only(contacts: Contacts, heel: np.ndarray, leg: float, start: float, rate: float) -> Contacts:
    """Return the contacts without those whose foot did not get on since the one before.

    `heel` (T, 2) is its place on the ground, `leg` [m] the leg's length, `start` [s] the first frame.
    """
    strides: list[int] = []
    left_out = list(contacts.left_out)
    for index, time in enumerate(contacts.starts):
        place = place_at(heel, time, start, rate)
        if strides:
            away = float(np.linalg.norm(place - place_at(heel, contacts.starts[strides[-1]], start, rate)))
            if away < STAYS * leg:
                left_out.append(f"strike at {time:.2f} s: the foot got on by only {away:.2f} m")
                continue
        strides.append(index)
    return Contacts(contacts.starts[strides], contacts.ends[strides], tuple(left_out))


def no_walk(
    feet: Mapping[str, np.ndarray], contacts: Mapping[str, Contacts], strikes: int, pelvis: np.ndarray,
    heading: np.ndarray, leg: float,
) -> str:  # fmt: skip
    """Return why a motion is neither walking nor running; '' if it is one.

    Args:
        feet: side -> (T, 2) place of the heel on the ground [m].
        contacts: side -> contacts after `strides_only`.
        strikes: number of strikes before that.
        pelvis: (T, 2) its place on the ground [m].
        heading: (T, 2) where it faces.
        leg: length of the leg [m].
    """
    furthest = max(_extent(place) for place in feet.values())
    if furthest < STAYS * leg:
        return f"the feet stay where they are (within {furthest:.2f} m)"
    starts = [contacts[side].starts for side in contacts]
    if all(len(one) < 2 for one in starts):
        if strikes > len(starts):
            return "no foot gets ahead from one strike to the next"
        if _extent(pelvis) < STRIDES * leg:  # a kick, a lunge, a single step
            return f"the body stays where it is (within {_extent(pelvis):.2f} m)"
    steps = np.diff(pelvis, axis=0)
    ahead = np.abs(np.sum(steps * heading[1:], axis=1)).sum() / max(np.linalg.norm(steps, axis=1).sum(), 1e-9)
    if ahead < SIDEWAYS:
        return "the body goes sideways"
    if all(len(one) > 1 for one in starts):
        stride = float(np.median(np.concatenate([np.diff(one) for one in starts])))
        apart = np.abs(starts[0][:, None] - starts[1][None]).min(axis=1)
        if float(np.median(apart)) < TOGETHER * stride:
            return "both feet land together"
    return ""


def _extent(place: np.ndarray) -> float:
    """Diagonal [m] of the smallest box, along the axes, around places (T, 2)."""
    return float(np.linalg.norm(np.nanmax(place, axis=0) - np.nanmin(place, axis=0)))


def place_at(points: np.ndarray, time: float, start: float, rate: float) -> np.ndarray:
    """Return the place (2,) or (3,) at `time` [s], between frames; the first or last frame's beyond them."""
    frame = np.clip((time - start) * rate, 0, len(points) - 1)
    return np.array([np.interp(frame, np.arange(len(points)), column) for column in points.T])


def _unit(vectors: np.ndarray) -> np.ndarray:
    return vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-9)
