"""Locomotion of a body: heading, treadmill speed, and whether it walks, runs or does neither.

Positions are (T, 3) [m] with the last axis up, directions (T, 2) unit vectors in the ground plane.
"""

from collections.abc import Mapping

import numpy as np

from .gait_events import Contacts, smoothed
from .series import butterworth

TURNING = 0.5  # [Hz]; the pelvis rotates with every step, while changes of direction are slower
LOW = 0.015  # [m]; a toe this near its lowest height stands, or swings through
BELT = 0.5  # fraction of the speed; standing feet move with a treadmill's full speed, or hardly at all
SLOWEST = 0.2  # [m/s] of a belt
STAYS = 0.2  # of the leg length; a foot that travels less makes no stride
STRIDES = 0.5  # of the leg length; a body that travels less makes no strides
TOGETHER = 0.15  # of a stride; feet that land closer in time are jumping
SIDEWAYS = 0.5  # forward fraction of the path; below, the body moves sideways

Feet = Mapping[str, tuple[np.ndarray, np.ndarray]]


def headings(rightward: np.ndarray, rate: float) -> np.ndarray:
    """Return the heading of the pelvis (T, 2), without the rotation of each step.

    Computed from the rightward axis, because it stays level when the body bends forward, unlike the forward axis.

    Args:
        rightward: Axis that points to the right of the pelvis, (T, 3).
        rate: Frame rate [Hz].
    """
    facing = _unit(np.stack([-rightward[:, 1], rightward[:, 0]], axis=1))
    if len(facing) < 1.5 * rate or rate <= 2.2 * TURNING:
        return np.tile(_unit(facing.mean(axis=0)[None]), (len(facing), 1))
    return _unit(butterworth(facing, rate, TURNING, "low", 4))


def belt_speed(feet: Feet, pelvis: np.ndarray, heading: np.ndarray, rate: float) -> float:
    """Return the speed [m/s] of the ground along the heading: negative on a treadmill, 0 overground.

    The median speed of the toes while they are low; slight sliding of the feet does not count as a treadmill.

    Args:
        feet: Side -> heel and toe positions, (T, 3) each.
        pelvis: (T, 3).
        heading: (T, 2).
        rate: Frame rate [Hz].
    """
    speeds = []
    for _, toe in feet.values():
        finite = np.isfinite(toe).all(axis=1)
        low = finite & (toe[:, 2] < np.nanpercentile(toe[:, 2], 5) + LOW)
        speeds.append(along(toe, heading, rate)[low])
    belt = float(np.nanmedian(np.concatenate(speeds)))
    speed = float(np.nanmean(along(pelvis, heading, rate))) - belt
    return belt if abs(belt) > max(SLOWEST, BELT * abs(speed)) else 0.0


def along(points: np.ndarray, heading: np.ndarray, rate: float) -> np.ndarray:
    """Return the speed of a point along the heading, (T,) [m/s].

    Args:
        points: (T, 3).
        heading: (T, 2).
        rate: Frame rate [Hz].
    """
    return np.sum(np.gradient(smoothed(points[:, :2], rate, 20.0), axis=0) * rate * heading, axis=1)


def over_ground(points: np.ndarray, heading: np.ndarray, belt: float, rate: float) -> np.ndarray:
    """Return the position relative to the moving belt, (T, 2): where a treadmill walker would be overground.

    Args:
        points: (T, 3).
        heading: (T, 2).
        belt: Ground speed along the heading [m/s].
        rate: Frame rate [Hz].
    """
    travel = np.cumsum(heading, axis=0) - heading[0]
    return points[:, :2] - belt / rate * travel


def travel_direction(pelvis: np.ndarray, heading: np.ndarray, belt: float, rate: float) -> tuple[np.ndarray, bool]:
    """Return the direction of travel (T, 2), the heading or its opposite, and whether it is backwards.

    Args:
        pelvis: (T, 3).
        heading: (T, 2).
        belt: Ground speed along the heading [m/s].
        rate: Frame rate [Hz].
    """
    backwards = float(np.nanmean(along(pelvis, heading, rate))) - belt < 0
    return (-heading if backwards else heading), backwards


def strides_only(contacts: Contacts, heel: np.ndarray, leg: float, start: float, rate: float) -> Contacts:
    """Exclude contacts in which the foot has not moved forward since the previous one.

    Args:
        contacts: Contacts of one foot.
        heel: Position of the heel on the ground, (T, 2) [m].
        leg: Leg length [m].
        start: Time of the first frame [s].
        rate: Frame rate [Hz].
    """
    strides: list[int] = []
    left_out = list(contacts.left_out)
    for index, time in enumerate(contacts.starts):
        position = place_at(heel, time, start, rate)
        if strides:
            distance = float(np.linalg.norm(position - place_at(heel, contacts.starts[strides[-1]], start, rate)))
            if distance < STAYS * leg:
                left_out.append(f"strike at {time:.2f} s: the foot moved only {distance:.2f} m")
                continue
        strides.append(index)
    return Contacts(contacts.starts[strides], contacts.ends[strides], tuple(left_out))


def no_walk(
    feet: Mapping[str, np.ndarray], contacts: Mapping[str, Contacts], strikes: int, pelvis: np.ndarray,
    heading: np.ndarray, leg: float,
) -> str:  # fmt: skip
    """Return why a motion is neither walking nor running; "" if it is one of them.

    Args:
        feet: Side -> position of the heel on the ground, (T, 2) [m].
        contacts: Side -> contacts after `strides_only`.
        strikes: Number of strikes before `strides_only`.
        pelvis: Its position on the ground, (T, 2) [m].
        heading: (T, 2).
        leg: Leg length [m].
    """
    furthest = max(_extent(place) for place in feet.values())
    if furthest < STAYS * leg:
        return f"the feet stay in place (within {furthest:.2f} m)"
    starts = [contacts[side].starts for side in contacts]
    if all(len(one) < 2 for one in starts):
        if strikes > len(starts):
            return "no foot moves forward between strikes"
        if _extent(pelvis) < STRIDES * leg:  # a kick, a lunge, a single step
            return f"the body stays in place (within {_extent(pelvis):.2f} m)"
    steps = np.diff(pelvis, axis=0)
    ahead = np.abs(np.sum(steps * heading[1:], axis=1)).sum() / max(np.linalg.norm(steps, axis=1).sum(), 1e-9)
    if ahead < SIDEWAYS:
        return "the body moves sideways"
    if all(len(one) > 1 for one in starts):
        stride = float(np.median(np.concatenate([np.diff(one) for one in starts])))
        delay = np.abs(starts[0][:, None] - starts[1][None]).min(axis=1)
        if float(np.median(delay)) < TOGETHER * stride:
            return "both feet land together"
    return ""


def _extent(place: np.ndarray) -> float:
    """Return the diagonal of the axis-aligned bounding box of positions (T, 2) [m]."""
    return float(np.linalg.norm(np.nanmax(place, axis=0) - np.nanmin(place, axis=0)))


def place_at(points: np.ndarray, time: float, start: float, rate: float) -> np.ndarray:
    """Return the position (2,) or (3,) at a time, interpolated between frames and constant beyond them.

    Args:
        points: (T, 2) or (T, 3).
        time: [s].
        start: Time of the first frame [s].
        rate: Frame rate [Hz].
    """
    frame = np.clip((time - start) * rate, 0, len(points) - 1)
    return np.array([np.interp(frame, np.arange(len(points)), column) for column in points.T])


def _unit(vectors: np.ndarray) -> np.ndarray:
    return vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-9)
