"""Gait events: when a foot meets the ground and leaves it, from force, kinematics, or a table of times."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from scipy import signal

from muscle_torch.errors import InputError
from muscle_torch.motion.support import runs

from .c3d import read_c3d_vertical_forces
from .clocks import COUNTS, SECONDS, at_rate
from .plates import vertical_columns
from .recordings import read_series
from .series import TimeSeries, butterworth, check_rate
from .text_tables import TextTable, read_table

# A contact carries at least this part of the greatest force of the recording; less is the other foot's crosstalk.
LIGHT_CONTACT = 0.4
# Of the body's speed: the heel's when it strikes; of a runner's: the toe's when it leaves and at most while it stands.
STRIKING, LEAVING, STILL = 0.5, 0.2, 0.3
SOON = 0.15  # [s] at most from the heel furthest ahead to its strike


@dataclass(frozen=True, eq=False)
class Contacts:
    """Contacts of one foot: `starts` and `ends` (N,) [s]; an end that was not seen is NaN.

    `left_out` says in words what was not counted.
    """

    starts: np.ndarray
    ends: np.ndarray
    left_out: tuple[str, ...] = ()

    @property
    def strides(self) -> np.ndarray:
        """(N - 1,) durations from contact to contact [s]."""
        return np.diff(self.starts)

    @property
    def stance_share(self) -> np.ndarray:
        """(N - 1,) part of each stride that the foot is on the ground."""
        return (self.ends - self.starts)[:-1] / self.strides


def contacts_from_force(
    force: np.ndarray,
    rate: float,
    threshold: float = 50.0,
    cutoff: float = 20.0,
    min_contact: float = 0.1,
    min_flight: float = 0.1,
    start_time: float = 0.0,
    unfinished: bool = False,
) -> Contacts:
    """Contacts of one foot from its vertical force (T,) [N], upwards positive, sampled at `rate` [Hz].

    The force is low-passed (`cutoff` [Hz], 4th order, zero phase), its baseline (the mode of the unloaded samples)
    taken off, and cut at `threshold` [N]. Flights shorter than `min_flight` [s] are filled, contacts shorter than
    `min_contact` [s] or much lighter than the others are left out: on a split belt the other foot, a step across the
    middle or a shaking plate cross the threshold too. Contacts that the recording cuts off are left out; `unfinished`
    keeps one that outlasts it, with an end of NaN: where a recording holds few strikes, each counts.
    """
    force = np.asarray(force, dtype=float)
    left_out: list[str] = []
    if not np.isfinite(force).all():
        bad = ~np.isfinite(force)
        left_out.append(f"{int(bad.sum())} samples are not numbers: counted as no force")
        force = np.where(bad, 0.0, force)
    check_force(force)
    smooth = butterworth(force, rate, cutoff, "low", 4) if rate > 2.2 * cutoff else force
    smooth = smooth - _baseline(smooth, threshold)
    loaded = smooth >= threshold
    for start, end in runs(~loaded):
        if start > 0 and end < len(loaded) and end - start < min_flight * rate:
            loaded[start:end] = True
    greatest = float(np.percentile(smooth, 98))
    starts, ends = [], []
    for start, end in runs(loaded):
        at = f"contact at {start_time + start / rate:.2f} s"
        if start == 0:
            left_out.append(f"{at} began before the recording")
        elif end == len(loaded) and not unfinished:
            left_out.append(f"{at} outlasts the recording")
        elif end - start < min_contact * rate:
            left_out.append(f"{at} lasts only {(end - start) / rate:.3f} s")
        elif smooth[start:end].max() < LIGHT_CONTACT * greatest:
            left_out.append(f"{at} is light ({smooth[start:end].max():.0f} N)")
        else:
            starts.append(start / rate)
            ends.append(end / rate if end < len(loaded) else np.nan)
    return Contacts(start_time + np.array(starts), start_time + np.array(ends), tuple(left_out))


def check_force(force: np.ndarray) -> None:
    """Raises InputError where a vertical force cannot be one of a walking adult in newtons, upwards positive."""
    high, low = float(np.max(force)), float(np.min(force))
    if high < 20.0 and low > -20.0:
        raise InputError(
            f"vertical force stays within {low:.3g} to {high:.3g}: volts or body weights? give it in newtons"
        )
    if high < -0.3 * low:
        raise InputError(f"vertical force points down ({low:.0f} to {high:.0f} N): change its sign")


def _baseline(force: np.ndarray, threshold: float) -> float:
    """What the plate reads unloaded: the median of the samples near zero."""
    unloaded = force[np.abs(force) < threshold]
    return float(np.median(unloaded)) if len(unloaded) > 0.02 * len(force) else 0.0


def contacts_from_feet(
    heel: np.ndarray,
    toe: np.ndarray,
    pelvis: np.ndarray,
    rate: float,
    min_stride: float = 0.4,
    cutoff: float = 7.0,
    start_time: float = 0.0,
    direction: np.ndarray | None = None,
    belt: float = 0.0,
    running: bool | None = None,
) -> Contacts:
    """Return the contacts of one foot from positions (T, 3) [m], the last axis up.

    Walking: the heel is furthest ahead of the pelvis some 20 ms before it strikes, and strikes when it is slowed to
    half of the body's speed; the toe is furthest behind when it leaves (Zeni 2008, the coordinate method). Running: the
    foot comes down while it is slowed by the ground and leaves when the toe gets faster again (`_run_events`), for
    between the two it is in the air as well.

    Args:
        heel: positions of the heel.
        toe: positions of the toe, or the joint at its base.
        pelvis: positions of the pelvis.
        rate: [Hz].
        min_stride: [s] keeps two strikes apart.
        cutoff: [Hz] low-pass of the positions.
        start_time: [s] of the first frame.
        direction: (T, 2) where the body goes, frame by frame; None: one direction, by travel or the feet.
        belt: [m/s] at which the ground moves along it; negative on a treadmill.
        running: whether the body runs (`is_running` tells from both feet); None: as this foot tells.

    Returns:
        Contacts. If markers are missing, those of the longest stretch with all of them.
    """
    first, last = complete_stretch(np.concatenate((heel, toe, pelvis), axis=1))
    heel, toe, pelvis = heel[first:last], toe[first:last], pelvis[first:last]
    if direction is None:
        direction = np.tile(walking_direction(heel, toe, pelvis), (last - first, 1))
    else:
        direction = direction[first:last]
    strikes, leaves = _swings(heel, toe, pelvis, direction, rate, min_stride, cutoff)
    if is_running([(heel, toe)], pelvis, direction, belt, rate) if running is None else running:
        strikes, leaves, _ = _run_events(heel, toe, pelvis, direction, belt, rate, strikes, leaves)
        leaves = leaves[np.isfinite(leaves)]
    else:
        speed, body = _speeds(heel, pelvis, direction, belt, rate)
        strikes = np.array([_slowed_after(strike, speed, body, rate, strike) for strike in strikes])
    ends, left_out = np.full(len(strikes), np.nan), []
    start_time += first / rate
    for i, strike in enumerate(strikes):
        following = strikes[i + 1] if i + 1 < len(strikes) else len(heel)
        inside = leaves[(leaves > strike) & (leaves < following)]
        if len(inside):
            ends[i] = start_time + inside[0] / rate
        else:
            left_out.append(f"strike at {start_time + strike / rate:.2f} s has no toe-off in the recording")
    return Contacts(start_time + strikes / rate, ends, tuple(left_out))


def is_running(
    feet: Sequence[tuple[np.ndarray, np.ndarray]], pelvis: np.ndarray, direction: np.ndarray, belt: float, rate: float
) -> bool:
    """Return whether feet (heel and toe, (T, 3) each) stand for less than half a stride, and still while they do."""
    stances, strides, slips, strikes = [], [], [], []
    for heel, toe in feet:
        events = _swings(heel, toe, pelvis, direction, rate)
        strike, leave, slip = _run_events(heel, toe, pelvis, direction, belt, rate, *events)
        stances += (leave - strike)[np.isfinite(leave)].tolist()
        strides += np.diff(strike).tolist()
        slips += slip
        strikes += strike.tolist()
    if not strides and len(strikes) == len(feet) == 2:
        strides = [2 * abs(strikes[1] - strikes[0])]
    if not stances or not strides:
        return False
    return bool(np.median(stances) < 0.5 * np.median(strides) and np.median(slips) < STILL)


def _swings(
    heel: np.ndarray, toe: np.ndarray, pelvis: np.ndarray, direction: np.ndarray, rate: float,
    min_stride: float = 0.4, cutoff: float = 7.0,
) -> tuple[np.ndarray, np.ndarray]:  # fmt: skip
    """Frames, between samples, at which the heel is furthest ahead of the pelvis, and the toe furthest behind it."""
    ahead = [smoothed(np.sum((part - pelvis)[:, :2] * direction, axis=1), rate, cutoff) for part in (heel, toe)]
    spacing, prominence = max(int(min_stride * rate), 1), 0.25 * float(np.ptp(ahead[0]))
    return _peaks(ahead[0], spacing, prominence), _peaks(-ahead[1], spacing, prominence)


def _run_events(
    heel: np.ndarray, toe: np.ndarray, pelvis: np.ndarray, direction: np.ndarray, belt: float, rate: float,
    ahead: np.ndarray, behind: np.ndarray,
) -> tuple[np.ndarray, np.ndarray, list[float]]:  # fmt: skip
    """Strikes and leaves (NaN: not in the recording) of a runner, as frames; and how fast the toe is in between, over
    the body's speed.

    Over the ground, a foot in the air is faster than the body. After it was furthest `ahead`, its heel is slowed to
    `STRIKING` of the body's speed by the time it strikes; before it is furthest `behind`, its toe leaves at `LEAVING`.
    """
    heel_speed, body = _speeds(heel, pelvis, direction, belt, rate)
    toe_speed, _ = _speeds(toe, pelvis, direction, belt, rate)
    faster = _crossings(toe_speed - LEAVING * body)
    strikes, leaves, slips = [], [], []
    for start in ahead:
        strike, end = _slowed_after(start, heel_speed, body, rate), behind[behind > start]
        if np.isfinite(strike):
            strikes.append(strike)
            leaving = faster[(faster > strike) & (faster < (end[0] if len(end) else np.inf))]
            leaves.append(leaving[-1] if len(leaving) else np.nan)
            if len(leaving):
                slips.append(float(np.median(np.abs(toe_speed[int(strike) : int(leaving[-1]) + 1]))) / body)
    return np.array(strikes), np.array(leaves), slips


def _speeds(
    part: np.ndarray, pelvis: np.ndarray, direction: np.ndarray, belt: float, rate: float
) -> tuple[np.ndarray, float]:
    """(T,) the speed [m/s] of a part of the foot over the ground, and the body's mean one."""
    own, body = (np.sum(np.gradient(smoothed(places[:, :2], rate, 20.0), axis=0) * rate * direction, axis=1) - belt
                 for places in (part, pelvis))  # fmt: skip
    return own, max(float(body.mean()), 0.1)


def _slowed_after(frame: float, speed: np.ndarray, body: float, rate: float, otherwise: float = np.nan) -> float:
    """The frame, between samples, soon after `frame` at which `speed` falls to `STRIKING` of the body's."""
    slowed = _crossings(STRIKING * body - speed)
    later = slowed[slowed > frame]
    return float(later[0]) if len(later) and later[0] - frame < SOON * rate else otherwise


def _crossings(values: np.ndarray) -> np.ndarray:
    """Frames (N,), between samples, at which `values` (T,) rise through zero."""
    before = np.flatnonzero((values[:-1] < 0) & (values[1:] >= 0))
    return before + values[before] / (values[before] - values[before + 1])


def refined(events: Contacts, measured: Contacts, within: float = 0.1) -> Contacts:
    """Return `events` at the times of the `measured` ones closer than `within` [s], because plates are more precise.

    Events that no plate measured are shifted by the mean correction of the others.
    """

    def corrected(times: np.ndarray, exact: np.ndarray) -> np.ndarray:
        exact = exact[np.isfinite(exact)]
        if not len(exact) or not len(times):
            return times
        closest = exact[np.abs(times[:, None] - exact[None]).argmin(axis=1)]
        seen = np.abs(closest - times) <= within
        off = float(np.mean((closest - times)[seen])) if seen.any() else 0.0
        return np.where(seen, closest, times + off)

    return replace(events, starts=corrected(events.starts, measured.starts), ends=corrected(events.ends, measured.ends))


def complete_stretch(values: np.ndarray) -> tuple[int, int]:
    """[first, last) of the longest run of rows of `values` (T, C) without NaN."""
    stretches = runs(np.asarray(np.isfinite(values).all(axis=1)))
    if not stretches:
        raise InputError("no frame holds heel, toe and pelvis together: a marker is missing throughout")
    return max(stretches, key=lambda stretch: stretch[1] - stretch[0])


def walking_direction(heel: np.ndarray, toe: np.ndarray, pelvis: np.ndarray) -> np.ndarray:
    """Unit vector (2,) in the ground plane, from the mean of heel to toe: where the foot points on average."""
    pointing = np.mean((toe - heel)[:, :2], axis=0)
    travel = (pelvis[-1] - pelvis[0])[:2]
    forward = travel if np.linalg.norm(travel) > 0.5 else pointing
    if np.linalg.norm(forward) < 1e-6:
        raise InputError("no walking direction: heel and toe coincide and the pelvis does not travel")
    return forward / np.linalg.norm(forward)


def _peaks(values: np.ndarray, spacing: int, prominence: float) -> np.ndarray:
    """Places (N,) of the maxima, between samples: on the parabola through each and its neighbours."""
    peaks, _ = signal.find_peaks(values, distance=spacing, prominence=prominence)
    before, at, after = values[peaks - 1], values[peaks], values[peaks + 1]
    bend = before - 2 * at + after
    return peaks + np.where(bend < 0, 0.5 * (before - after) / np.where(bend < 0, bend, 1.0), 0.0)


def smoothed(values: np.ndarray, rate: float, cutoff: float) -> np.ndarray:
    """Return positions (T, ...) low-passed at `cutoff` [Hz]; as they are if the rate is too low to hold more."""
    enough = rate > 2.2 * cutoff and len(values) > 15
    return butterworth(values, rate, cutoff, "low", 4) if enough else values


START_NAMES = ("touchdown", "heelstrike", "heel_strike", "strike", "start", "foot_strike", "contact")
END_NAMES = ("liftoff", "toeoff", "toe_off", "end", "foot_off")


def read_events(path: str | Path) -> Contacts:
    """Return times [s] from a table with a column such as `touchdown_s`, and one such as `liftoff_s` if it is known.

    The column may be in ms, us or min if its name, brackets or a row of units say so. Raises InputError for times in
    frames or per cent, and for starts that do not rise.
    """
    path = Path(path)
    table = read_table(path)
    start = _column(table.names, START_NAMES)
    if start is None:
        raise InputError(f"{path}: no column of cycle starts, such as touchdown_s; it has {', '.join(table.names)}")
    starts = _in_seconds(path, table, start)
    known = np.isfinite(starts)
    starts = starts[known]
    if len(starts) < 2 or (np.diff(starts) <= 0).any():
        raise InputError(f"{path}: at least 2 cycle starts, rising, are needed; found {len(starts)}")
    end = _column(table.names, END_NAMES)
    ends = _in_seconds(path, table, end)[known] if end is not None else np.full(len(starts), np.nan)
    return Contacts(starts, ends, table.notes)


def _in_seconds(path: Path, table: TextTable, column: int) -> np.ndarray:
    """(N,) [s] of a column of times."""
    name, unit = table.names[column].lower(), table.units[column].lower()
    unit = unit or name.replace(" ", "_").rpartition("_")[2]
    if unit in COUNTS or "%" in unit:
        raise InputError(f"{path}: {name} is in {unit}: give it in seconds, e.g. as touchdown_s")
    return SECONDS.get(unit, 1.0) * table.values[:, column]


def read_forces(path: str | Path, rate: float = 0.0) -> TimeSeries:
    """Return a force recording of any format; of a C3D file the plates' vertical forces. `rate` [Hz], if not 0, decides
    about the clock."""
    is_c3d = Path(path).suffix.lower() == ".c3d"
    return at_rate(read_c3d_vertical_forces(path), rate) if is_c3d else read_series(path, rate)


def vertical_column(forces: TimeSeries, side: str, column: str = "") -> str:
    """Return the column of the vertical force under one foot: `column`, or the one that the usual names tell.

    A single plate is under whichever foot is asked for. Raises InputError if several plates tell no foot.
    """
    if column:
        forces.index(column)
        return column
    columns = vertical_columns(forces)
    if side in columns:
        return columns[side]
    if len(columns) == 1 and not {"r", "l"} & columns.keys():
        return next(iter(columns.values()))
    foot = {"r": "right", "l": "left"}[side]
    raise InputError(f"{forces.source}: which plate is under the {foot} foot? set force_column to one of "
                     f"{', '.join(columns.values())}")  # fmt: skip


def force_contacts(forces: TimeSeries, side: str, column: str = "", threshold: float = 50.0) -> Contacts:
    """Return the contacts of one foot from a force recording."""
    name = vertical_column(forces, side, column)
    check_rate(forces.rate, 20.0, forces.source)
    return contacts_from_force(forces[name], forces.rate, threshold, start_time=float(forces.time[0]))


def _column(names: Sequence[str], starts: tuple[str, ...]) -> int | None:
    """Index of the first name that begins with one of `starts`, blanks and hyphens read as underscores."""
    plain = [re.sub(r"[\s\-]+", "_", name.lower()) for name in names]
    return next((i for i, name in enumerate(plain) if name.startswith(starts)), None)
