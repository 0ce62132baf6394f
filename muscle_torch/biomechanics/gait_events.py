"""Gait events: foot strike and toe-off from force, kinematics, or a table of times."""

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

# Minimal peak force of a contact as a fraction of the recording's; lighter ones are crosstalk of the other foot.
LIGHT_CONTACT = 0.4
# Speeds relative to the body's: of the heel at strike; of a runner's toe at toe-off, and its maximum in stance.
STRIKING, LEAVING, STILL = 0.5, 0.2, 0.3
MAX_DELAY = 0.15  # [s] from the foremost position of the heel to its strike


@dataclass(frozen=True, eq=False)
class Contacts:
    """N contacts of one foot."""

    starts: np.ndarray  # (N,) [s]
    ends: np.ndarray  # (N,) [s], NaN if not recorded
    left_out: tuple[str, ...] = ()  # notes on excluded contacts

    @property
    def strides(self) -> np.ndarray:
        """Durations from contact to contact, (N - 1,) [s]."""
        return np.diff(self.starts)

    @property
    def stance_share(self) -> np.ndarray:
        """Fraction of each stride that the foot is on the ground, (N - 1,)."""
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
    """Detect contacts of one foot from its vertical force.

    The force is low-passed (4th order, zero phase), its baseline (the median of the unloaded samples) subtracted, and
    thresholded. Contacts much lighter than the others are excluded: on a split belt the other foot, a step across the
    middle or a vibrating plate also cross the threshold. Contacts truncated by the recording are excluded.

    Args:
        force: (T,) [N], upwards positive.
        rate: Sampling rate [Hz].
        threshold: [N].
        cutoff: Low-pass [Hz].
        min_contact: Shorter contacts are excluded [s].
        min_flight: Shorter flights are closed [s].
        start_time: Time of the first sample [s].
        unfinished: Keep a contact that outlasts the recording, with an end of NaN, for recordings with few strikes.

    Raises:
        InputError: The force is not plausible (`check_force`).
    """
    force = np.asarray(force, dtype=float)
    left_out: list[str] = []
    if not np.isfinite(force).all():
        missing = ~np.isfinite(force)
        left_out.append(f"{int(missing.sum())} samples are not numbers: set to zero force")
        force = np.where(missing, 0.0, force)
    check_force(force)
    smooth = butterworth(force, rate, cutoff, "low", 4) if rate > 2.2 * cutoff else force
    smooth = smooth - _baseline(smooth, threshold)
    loaded = smooth >= threshold
    for start, end in runs(~loaded):
        if start > 0 and end < len(loaded) and end - start < min_flight * rate:
            loaded[start:end] = True
    peak = float(np.percentile(smooth, 98))
    starts, ends = [], []
    for start, end in runs(loaded):
        at = f"contact at {start_time + start / rate:.2f} s"
        if start == 0:
            left_out.append(f"{at} began before the recording")
        elif end == len(loaded) and not unfinished:
            left_out.append(f"{at} outlasts the recording")
        elif end - start < min_contact * rate:
            left_out.append(f"{at} lasts only {(end - start) / rate:.3f} s")
        elif smooth[start:end].max() < LIGHT_CONTACT * peak:
            left_out.append(f"{at} is light ({smooth[start:end].max():.0f} N)")
        else:
            starts.append(start / rate)
            ends.append(end / rate if end < len(loaded) else np.nan)
    return Contacts(start_time + np.array(starts), start_time + np.array(ends), tuple(left_out))


def check_force(force: np.ndarray) -> None:
    """Check that a vertical force is plausible for a walking adult: in newtons, upwards positive. Raises InputError."""
    high, low = float(np.max(force)), float(np.min(force))
    if high < 20.0 and low > -20.0:
        raise InputError(
            f"vertical force stays within {low:.3g} to {high:.3g}: probably volts or body weights; convert to newtons"
        )
    if high < -0.3 * low:
        raise InputError(f"vertical force points down ({low:.0f} to {high:.0f} N): change its sign")


def _baseline(force: np.ndarray, threshold: float) -> float:
    """Return the reading of the unloaded plate: the median of the samples near zero."""
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
    """Detect contacts of one foot from positions, the last axis up.

    Walking: the heel is furthest ahead of the pelvis about 20 ms before it strikes, and strikes when it has slowed to
    half of the body's speed; the toe is furthest behind when it leaves (Zeni 2008, coordinate method). Running, with
    flight phases before strike and after toe-off: the foot strikes while the ground slows it, and leaves when the toe
    accelerates (`_run_events`).

    Args:
        heel: Positions of the heel, (T, 3) [m].
        toe: Positions of the toe, or of its joint, (T, 3) [m].
        pelvis: Positions of the pelvis, (T, 3) [m].
        rate: Frame rate [Hz].
        min_stride: Minimal time between two strikes [s].
        cutoff: Low-pass of the positions [Hz].
        start_time: Time of the first frame [s].
        direction: Direction of travel, (T, 2); None: a constant one from the travel or the feet.
        belt: Ground speed along it [m/s], negative on a treadmill.
        running: Whether the body runs (see `is_running`); None: decided from this foot.

    Returns:
        Contacts, if markers are missing those of the longest interval with all of them.
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
        next_strike = strikes[i + 1] if i + 1 < len(strikes) else len(heel)
        inside = leaves[(leaves > strike) & (leaves < next_strike)]
        if len(inside):
            ends[i] = start_time + inside[0] / rate
        else:
            left_out.append(f"strike at {start_time + strike / rate:.2f} s has no toe-off in the recording")
    return Contacts(start_time + strikes / rate, ends, tuple(left_out))


def is_running(
    feet: Sequence[tuple[np.ndarray, np.ndarray]], pelvis: np.ndarray, direction: np.ndarray, belt: float, rate: float
) -> bool:
    """Return whether the feet are on the ground for less than half a stride, and at rest while they are.

    Args:
        feet: Heel and toe positions of each foot, (T, 3) each [m].
        pelvis: Positions of the pelvis, (T, 3) [m].
        direction: Direction of travel, (T, 2).
        belt: Ground speed along it [m/s].
        rate: Frame rate [Hz].
    """
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
    """Return the fractional frames at which the heel is furthest ahead of the pelvis, and the toe furthest behind."""
    ahead = [smoothed(np.sum((part - pelvis)[:, :2] * direction, axis=1), rate, cutoff) for part in (heel, toe)]
    spacing, prominence = max(int(min_stride * rate), 1), 0.25 * float(np.ptp(ahead[0]))
    return _peaks(ahead[0], spacing, prominence), _peaks(-ahead[1], spacing, prominence)


def _run_events(
    heel: np.ndarray, toe: np.ndarray, pelvis: np.ndarray, direction: np.ndarray, belt: float, rate: float,
    ahead: np.ndarray, rearmost: np.ndarray,
) -> tuple[np.ndarray, np.ndarray, list[float]]:  # fmt: skip
    """Return a runner's strikes and toe-offs (NaN: not recorded) as fractional frames, and the toe's relative speed.

    Relative to the ground, a swinging foot is faster than the body. After the foremost position of the heel (`ahead`),
    it strikes when its speed falls to `STRIKING` of the body's; before the rearmost position of the toe (`rearmost`),
    it leaves when its speed rises to `LEAVING`.
    """
    heel_speed, body = _speeds(heel, pelvis, direction, belt, rate)
    toe_speed, _ = _speeds(toe, pelvis, direction, belt, rate)
    faster = _crossings(toe_speed - LEAVING * body)
    strikes, leaves, slips = [], [], []
    for start in ahead:
        strike, end = _slowed_after(start, heel_speed, body, rate), rearmost[rearmost > start]
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
    """Return the speed of a part of the foot over the ground (T,) and the mean speed of the body [m/s]."""
    speed, body = (np.sum(np.gradient(smoothed(places[:, :2], rate, 20.0), axis=0) * rate * direction, axis=1) - belt
                 for places in (part, pelvis))  # fmt: skip
    return speed, max(float(body.mean()), 0.1)


def _slowed_after(frame: float, speed: np.ndarray, body: float, rate: float, otherwise: float = np.nan) -> float:
    """Return the fractional frame, soon after `frame`, at which `speed` falls to `STRIKING` of the body's."""
    slowed = _crossings(STRIKING * body - speed)
    later = slowed[slowed > frame]
    return float(later[0]) if len(later) and later[0] - frame < MAX_DELAY * rate else otherwise


def _crossings(values: np.ndarray) -> np.ndarray:
    """Return the fractional frames (N,) at which `values` (T,) rise through zero."""
    before = np.flatnonzero((values[:-1] < 0) & (values[1:] >= 0))
    return before + values[before] / (values[before] - values[before + 1])


def refined(events: Contacts, measured: Contacts, within: float = 0.1) -> Contacts:
    """Return `events` at the times of the `measured` ones within `within` [s], because plates are more precise.

    Other events are shifted by the mean correction.

    Args:
        events: Contacts from kinematics.
        measured: Contacts from force.
        within: Maximal correction [s].
    """

    def corrected(times: np.ndarray, exact: np.ndarray) -> np.ndarray:
        exact = exact[np.isfinite(exact)]
        if not len(exact) or not len(times):
            return times
        closest = exact[np.abs(times[:, None] - exact[None]).argmin(axis=1)]
        matched = np.abs(closest - times) <= within
        offset = float(np.mean((closest - times)[matched])) if matched.any() else 0.0
        return np.where(matched, closest, times + offset)

    return replace(events, starts=corrected(events.starts, measured.starts), ends=corrected(events.ends, measured.ends))


def complete_stretch(values: np.ndarray) -> tuple[int, int]:
    """Return the longest interval [first, last) of rows of `values` (T, C) without NaN.

    Raises:
        InputError: There is no such row.
    """
    stretches = runs(np.asarray(np.isfinite(values).all(axis=1)))
    if not stretches:
        raise InputError("no frame has heel, toe and pelvis markers; fill their gaps first")
    return max(stretches, key=lambda stretch: stretch[1] - stretch[0])


def walking_direction(heel: np.ndarray, toe: np.ndarray, pelvis: np.ndarray) -> np.ndarray:
    """Return the direction of travel on the ground, (2,); the foot's direction if the pelvis does not travel.

    Args:
        heel: (T, 3) [m].
        toe: (T, 3) [m].
        pelvis: (T, 3) [m].
    """
    pointing = np.mean((toe - heel)[:, :2], axis=0)
    travel = (pelvis[-1] - pelvis[0])[:2]
    forward = travel if np.linalg.norm(travel) > 0.5 else pointing
    if np.linalg.norm(forward) < 1e-6:
        raise InputError(
            "walking direction unknown: heel and toe coincide and the pelvis does not travel; check the markers"
        )
    return forward / np.linalg.norm(forward)


def _peaks(values: np.ndarray, spacing: int, prominence: float) -> np.ndarray:
    """Return the fractional positions (N,) of maxima, on the parabola through each and its neighbours."""
    peaks, _ = signal.find_peaks(values, distance=spacing, prominence=prominence)
    before, at, after = values[peaks - 1], values[peaks], values[peaks + 1]
    bend = before - 2 * at + after
    return peaks + np.where(bend < 0, 0.5 * (before - after) / np.where(bend < 0, bend, 1.0), 0.0)


def smoothed(values: np.ndarray, rate: float, cutoff: float) -> np.ndarray:
    """Return positions (T, ...) low-passed at `cutoff` [Hz], or unchanged if the rate is too low for it."""
    enough = rate > 2.2 * cutoff and len(values) > 15
    return butterworth(values, rate, cutoff, "low", 4) if enough else values


START_NAMES = ("touchdown", "heelstrike", "heel_strike", "strike", "start", "foot_strike", "contact")
END_NAMES = ("liftoff", "toeoff", "toe_off", "end", "foot_off")


def read_events(path: str | Path) -> Contacts:
    """Read event times [s] from a table with a column such as `touchdown_s`, and optionally one such as `liftoff_s`.

    Times may be in ms, us or min if the column's name, brackets or a row of units state it.

    Raises:
        InputError: There is no such column, times are in frames or percent, or they do not increase.
    """
    path = Path(path)
    table = read_table(path)
    start = _column(table.names, START_NAMES)
    if start is None:
        raise InputError(f"{path}: no column of cycle starts, such as touchdown_s; found {', '.join(table.names)}")
    starts = _in_seconds(path, table, start)
    finite = np.isfinite(starts)
    starts = starts[finite]
    if len(starts) < 2 or (np.diff(starts) <= 0).any():
        raise InputError(f"{path}: at least 2 increasing cycle starts are needed, found {len(starts)}")
    end = _column(table.names, END_NAMES)
    ends = _in_seconds(path, table, end)[finite] if end is not None else np.full(len(starts), np.nan)
    return Contacts(starts, ends, table.notes)


def _in_seconds(path: Path, table: TextTable, column: int) -> np.ndarray:
    """Return a column of times in seconds, (N,)."""
    name, unit = table.names[column].lower(), table.units[column].lower()
    unit = unit or name.replace(" ", "_").rpartition("_")[2]
    if unit in COUNTS or "%" in unit:
        raise InputError(f"{path}: {name} is in {unit}: convert it to seconds, e.g. touchdown_s")
    return SECONDS.get(unit, 1.0) * table.values[:, column]


def read_forces(path: str | Path, rate: float = 0.0) -> TimeSeries:
    """Read a force recording of any format; of a C3D file, the vertical force of each plate.

    Args:
        path: The file.
        rate: Sampling rate [Hz], overrides the file's clock; 0: the file's.
    """
    is_c3d = Path(path).suffix.lower() == ".c3d"
    return at_rate(read_c3d_vertical_forces(path), rate) if is_c3d else read_series(path, rate)


def vertical_column(forces: TimeSeries, side: str, column: str = "") -> str:
    """Return the column with the vertical force under one foot.

    Args:
        forces: Recording with plate columns.
        side: r or l.
        column: Column to use; empty: from the usual names. A single plate is used for either foot.

    Raises:
        InputError: There are several plates and their names do not identify the feet.
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
    raise InputError(f"{forces.source}: the plate under the {foot} foot is unknown; set force_column to one of "
                     f"{', '.join(columns.values())}")  # fmt: skip


def force_contacts(forces: TimeSeries, side: str, column: str = "", threshold: float = 50.0) -> Contacts:
    """Detect the contacts of one foot in a force recording.

    Args:
        forces: Recording with plate columns.
        side: r or l.
        column: Column of the vertical force; empty: from the usual names.
        threshold: [N].
    """
    name = vertical_column(forces, side, column)
    check_rate(forces.rate, 20.0, forces.source)
    return contacts_from_force(forces[name], forces.rate, threshold, start_time=float(forces.time[0]))


def _column(names: Sequence[str], starts: tuple[str, ...]) -> int | None:
    """Return the index of the first name that begins with one of `starts`, ignoring case, spaces and hyphens."""
    plain = [re.sub(r"[\s\-]+", "_", name.lower()) for name in names]
    return next((i for i, name in enumerate(plain) if name.startswith(starts)), None)
