"""Spatiotemporal gait parameters: strides, speed, step length, stance, forces."""

from collections.abc import Sequence

import numpy as np

from .cycles import ordinary_durations
from .gait import GRAVITY, SIDES, Gait
from .walking import over_ground, place_at

FLAT = 0.15  # [s] after a walker's strike the whole sole is on the ground, and the heel at its footprint
NUMBER_COLUMNS = ("quantity", "right", "left", "unit")
Row = tuple[float, float]


def walk_numbers(gaits: Sequence[Gait]) -> list[tuple]:
    """Return rows (quantity, right, left, unit) averaged over walks; NaN if a recording is too short.

    Speeds and lengths are in the subject's metres if the subject's size is known, followed by the model's. Motions that
    are not walks are excluded; without any walk there are no rows.
    """
    tables = [gait_numbers(gait) for gait in gaits if not gait.no_walk]
    rows = []
    for name, unit in dict.fromkeys(key for table in tables for key in table):
        both = np.array([table[name, unit] for table in tables if (name, unit) in table], dtype=float)
        if name == "strides":
            rows.append((name, *(int(n) for n in both.sum(axis=0)), unit))
            continue
        finite = [column[np.isfinite(column)] for column in both.T]
        rows.append((name, *(float(column.mean()) if len(column) else float("nan") for column in finite), unit))
    return rows


def gait_numbers(gait: Gait) -> dict[tuple[str, str], Row]:
    """Return (quantity, unit) -> right and left of one walk."""
    durations = {side: np.diff(gait.contacts[side].starts) for side in SIDES}
    steps, speed = step_lengths(gait), walking_speed(gait)
    length = [_mean(steps[side]) for side in SIDES]
    numbers: dict[tuple[str, str], list[float]] = {("strides", ""): [len(_ordinary(durations[side])) for side in SIDES]}
    if np.isfinite(gait.scale):
        numbers["speed", "m/s"] = [speed / gait.scale] * 2
    numbers["speed of the model", "m/s"] = [speed] * 2
    numbers["speed over sqrt(g leg length)", ""] = [speed / float(np.sqrt(GRAVITY * gait.leg_length))] * 2
    numbers["stride time", "s"] = [_mean(_ordinary(durations[side])) for side in SIDES]
    if np.isfinite(gait.scale):
        numbers["step length", "m"] = [one / gait.scale for one in length]
    numbers["step length of the model", "m"] = length
    stance = [100 * _mean(gait.contacts[side].stance_share) for side in SIDES]
    numbers["stance share", "% of stride"] = stance
    if gait.is_run:
        numbers["flight share", "% of stride"] = [100 - 2 * _mean(np.array(stance))] * 2
    for index, name in ((1, "peak vertical force"), (0, "peak propulsion")):
        if gait.forces and any(gait.forces[side][:, index].any() for side in SIDES):
            weight = gait.mass * GRAVITY
            numbers[name, "BW"] = [float(gait.forces[side][:, index].max()) / weight for side in SIDES]
    return {key: (right, left) for key, (right, left) in numbers.items()}


def step_lengths(gait: Gait) -> dict[str, np.ndarray]:
    """Return side -> step lengths (N,) [m of the model]: from the other foot's print to this one's, along the path.

    Right and left together are the stride length. If the other foot struck before the recording began, its heel is
    inferred from its toe, which is still on the ground when a walker strikes.
    """
    start, rate = float(gait.angles.time[0]), gait.rate
    on_ground = {side: tuple(over_ground(part, gait.direction, gait.belt, rate) for part in parts)
                 for side, parts in gait.feet.items()}  # fmt: skip
    flat = 0.0 if gait.is_run else FLAT
    steps = {}
    for side, other in (("r", "l"), ("l", "r")):
        lengths = []
        for time in gait.contacts[side].starts:
            earlier = gait.contacts[other].starts[gait.contacts[other].starts < time]
            previous = gait.contacts[side].starts[gait.contacts[side].starts < time]
            if len(earlier) and (not len(previous) or earlier[-1] > previous[-1]):
                other_heel = place_at(on_ground[other][0], earlier[-1] + flat, start, rate)
            elif not len(previous) and not len(earlier) and not gait.is_run:
                other_heel = _standing_heel(gait, other, on_ground[other][1], time)
            else:
                continue
            direction = place_at(gait.direction, time, start, rate)
            step = place_at(on_ground[side][0], time + flat, start, rate) - other_heel
            lengths.append(float(step @ direction))
        steps[side] = np.array(lengths)
    return steps


def _standing_heel(gait: Gait, side: str, toe: np.ndarray, time: float) -> np.ndarray:
    """Return the heel position (2,), one foot length behind the toe, of a foot whose toe is still on the ground."""
    start, rate = float(gait.angles.time[0]), gait.rate
    foot = (gait.feet[side][1] - gait.feet[side][0])[:, :2]
    length = float(np.nanpercentile(np.linalg.norm(foot, axis=1), 95))
    pointing = place_at(foot, time, start, rate)
    return place_at(toe, time, start, rate) - length * pointing / max(float(np.linalg.norm(pointing)), 1e-9)


def walking_speed(gait: Gait) -> float:
    """Return the speed [m/s of the model] of the pelvis over the ground, along its path from strike to strike.

    The mean over strides of ordinary duration, or over the whole recording if there are none.
    """
    start, rate = float(gait.angles.time[0]), gait.rate
    place = over_ground(gait.pelvis, gait.direction, gait.belt, rate)
    end = float(gait.angles.time[-1])
    strikes = np.sort(np.concatenate([one.starts for one in gait.contacts.values()] or [np.zeros(0)]))
    strikes = strikes[(strikes > start) & (strikes < end)]
    speeds = []
    for contacts in gait.contacts.values():
        ordinary = ordinary_durations(np.diff(contacts.starts))
        for first, last in zip(contacts.starts[:-1][ordinary], contacts.starts[1:][ordinary], strict=True):
            if first >= start - 1e-6 and last <= end + 1e-6:
                between = strikes[(strikes > first) & (strikes < last)]
                speeds.append(_path_length(place, np.array([first, *between, last]), start, rate) / (last - first))
    if speeds:
        return float(np.mean(speeds))
    return _path_length(place, np.array([start, *strikes, end]), start, rate) / (end - start)


def _path_length(place: np.ndarray, times: np.ndarray, start: float, rate: float) -> float:
    """Return the length [m] of the path through the positions at `times`, straight in between to exclude sway."""
    points = np.array([place_at(place, time, start, rate) for time in times])
    return float(np.linalg.norm(np.diff(points, axis=0), axis=1).sum())


def _ordinary(durations: np.ndarray) -> np.ndarray:
    return durations[ordinary_durations(durations)]


def _mean(values: np.ndarray) -> float:
    return float(np.nanmean(values)) if np.isfinite(values).any() else float("nan")
