"""The time axis of a table: which column is time, in which unit, and how repeated or rounded times are handled."""

import re
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from muscle_torch.errors import InputError

from .series import CLOCK_TOLERANCE, TimeSeries

SECONDS = {
    **dict.fromkeys(("", "s", "sec", "secs", "second", "seconds"), 1.0),
    **dict.fromkeys(("ms", "msec", "msecs", "millisecond", "milliseconds"), 1e-3),
    **dict.fromkeys(("us", "µs", "μs", "usec", "microseconds"), 1e-6),
    **dict.fromkeys(("min", "minute", "minutes"), 60.0),
}
COUNTS = ("frame", "frames", "sample", "samples", "samp", "index", "row", "#")
TIME_WORDS = ("time", "t", "timestamp", "timestamps", "zeit", "temps", "tiempo", "tempo", "tijd", "tid", "x")
_UNITS = "|".join(unit for unit in SECONDS if unit)
_KINDS = "elapsed|relative|recording|recorded|trial|sample|emg|analog"  # `Elapsed Time (s)`, `EMG time`
TITLE = re.compile(
    rf"(?:(?:{_KINDS})[ _\-]*)?({'|'.join(TIME_WORDS)}|time[ _\-]stamp)(?:[ _\-.]*(?:in )?({_UNITS}))?", re.IGNORECASE
)
COUNT_TITLE = re.compile(r"(frame|sample|index|row|item)s?[ _]*(#|no\.?|nr\.?|number)?", re.IGNORECASE)
MAX_WHOLE_SECONDS = 600  # [s]; an integer time column that exceeds this counts samples
MIN_TIES = 3  # of a rounded clock; fewer are rows that were written twice


@dataclass(frozen=True)
class TimeColumn:
    """The time column of a table."""

    index: int
    seconds: float  # unit in seconds; 0 if it is not a time: sample numbers, percent of a cycle
    unit: str  # as stated in the file; "" if not stated


def with_clock(
    path: Path, names: list[str], units: list[str], values: np.ndarray, rate: float = 0.0, notes: tuple[str, ...] = ()
) -> TimeSeries:
    """Return a table as a time series. Notes of the result list what was assumed.

    Without `rate`, the time column is used in its stated unit; rounded times are restored to their regular clock, and
    of rows with equal times only the last is kept (as in OpenSim).

    Args:
        path: The file, for messages.
        names: Column titles.
        units: Units of the columns.
        values: (T, C).
        rate: Sampling rate [Hz], overrides the time column; 0: use the column.
        notes: Notes to include in the result.

    Raises:
        InputError: There is no time column, or it counts samples, is in percent, or decreases.
    """
    column = time_column(names, units)
    measured = [
        i for i in range(len(names)) if (column is None or i != column.index) and not _counts(names[i], values[:, i])
    ]
    all_notes = list(notes)
    if rate:
        time = _constant_rate(path, column, values, rate, all_notes)
    else:
        if column is None:
            raise InputError(f"{path}: no time column: add a column `time` [s] or set the rate [Hz]")
        time, rows = _clock_of_column(path, column, values, all_notes)
        values = values[rows]
    return TimeSeries(
        time,
        values[:, measured],
        tuple(names[i] for i in measured),
        tuple(units[i] for i in measured),
        str(path),
        tuple(all_notes),
    )


def time_column(names: list[str], units: list[str]) -> TimeColumn | None:
    """Return the first column whose title or unit denotes time; None if there is none."""
    for index, (name, unit) in enumerate(zip(names, units, strict=True)):
        if name.lower() in SECONDS and name:  # `seconds`, `ms`
            return TimeColumn(index, SECONDS[name.lower()], name.lower())
        title = TITLE.fullmatch(name)
        if title is None:
            continue
        unit_text = (unit or title.group(2) or "").lower().rstrip(".")
        # Delsys names the time `X [s]`; a plain `x` is a position.
        if title.group(1).lower() != "x" or (unit_text and unit_text in SECONDS):
            return TimeColumn(index, SECONDS.get(unit_text, 0.0), unit_text)
    return None


def at_rate(series: TimeSeries, rate: float) -> TimeSeries:
    """Return a recording with its rows `rate` [Hz] apart instead of at the times in the file; 0: unchanged."""
    if not rate:
        return series
    time = series.time[0] + np.arange(len(series.time)) / rate
    notes = () if abs(rate / series.rate - 1) < CLOCK_TOLERANCE else (
        f"{series.source}: the file states {series.rate:.6g} Hz; using rate={rate:g}",)  # fmt: skip
    return replace(series, time=time, notes=(*series.notes, *notes))


def even_clock(time: np.ndarray, seconds: float = 1.0) -> tuple[np.ndarray, bool]:
    """Return the regular clock of which `time` (T,) is a rounded version, else `time`; and whether times were repeated.

    The last decimal place in use gives the rounding. Among the clocks that fit, the one with the roundest rate in hertz
    is preferred (`seconds`: unit of `time` in seconds). Irregular clocks are returned unchanged.
    """
    steps = np.diff(time)
    ties = int((steps == 0).sum())
    if len(time) < 3 or (steps < 0).any() or time[-1] <= time[0] or 0 < ties < MIN_TIES:
        return time, False
    resolution = next(
        (10.0**-k for k in range(7) if np.abs(time * 10.0**k - np.round(time * 10.0**k)).max() < 1e-3), 0.0
    )
    if not resolution or (not ties and np.ptp(steps) <= 1e-6 * resolution):
        return time, False
    count = np.arange(len(time))
    fitted = float(np.polyfit(count, time, 1)[0])
    hertz = 1.0 / (fitted * seconds)
    rates = [multiple * round(hertz / multiple) for multiple in (1000, 100, 50, 10, 1)]
    # Rounding moves a time by half a decimal to either side; a fit to few rows is less tight.
    candidates = [(1.0 / (rate * seconds), 1.001) for rate in rates if rate] + [(fitted, 1.3)]
    for step, width in candidates:
        if np.ptp(time - step * count) <= width * resolution:
            return time[0] + step * count, ties > 0
    return time, False


def _clock_of_column(
    path: Path, column: TimeColumn, values: np.ndarray, notes: list[str]
) -> tuple[np.ndarray, np.ndarray]:  # fmt: skip
    """Return the time [s] of the rows that are kept, and their indices."""
    time = values[:, column.index]
    rows = np.arange(len(time))
    if not np.isfinite(time).all():
        raise InputError(f"{path}: time is missing in row {int(np.argmin(np.isfinite(time))) + 1}; delete the row")
    steps = np.diff(time)
    whole = len(steps) and (steps == steps[0]).all() and steps[0] >= 1 and steps[0] % 1 == 0 and time[0] % 1 == 0
    if not column.seconds and column.unit not in COUNTS:
        cycle = ": a curve over a cycle is not a recording" if "%" in column.unit else ""
        raise InputError(
            f"{path}: the time column is in {column.unit!r}{cycle}; use s, ms, us or min, or set the rate [Hz]"
        )
    if not column.seconds or (whole and not column.unit and time[-1] > MAX_WHOLE_SECONDS):
        raise InputError(
            f"{path}: the time column counts samples ({time[0]:g}, {time[1]:g}, ...): set the rate [Hz]"
            + ("" if not column.seconds else "; if it is in milliseconds, name it `time (ms)`")
        )
    even, had_ties = even_clock(time, column.seconds)
    if had_ties:
        rate = 1 / (column.seconds * (even[1] - even[0]))
        notes.append(f"{path}: times are rounded, {int((steps == 0).sum())} of them repeated: read as {rate:.6g} Hz")
    elif (steps == 0).any() and (steps > 0).any():
        rows = np.append(np.flatnonzero(steps != 0), len(time) - 1)
        notes.append(f"{path}: {len(time) - len(rows)} rows with the same time as the next row are left out")
    return column.seconds * even[rows], rows


def _constant_rate(
    path: Path, column: TimeColumn | None, values: np.ndarray, rate: float, notes: list[str]
) -> np.ndarray:  # fmt: skip
    """Return times (T,) `rate` [Hz] apart, from the file's first time on; add a note if the file states otherwise."""
    count = np.arange(len(values)) / rate
    time = values[:, column.index] if column is not None else count
    counts = column is None or not column.seconds or bool((np.diff(time) == 1.0).all())
    if column is None or counts or not np.isfinite(time[0]):
        return count
    span = column.seconds * float(time[-1] - time[0])
    if span > 0 and abs(span * rate / (len(time) - 1) - 1) > CLOCK_TOLERANCE:
        notes.append(f"{path}: the time column states {(len(time) - 1) / span:.6g} Hz; using rate={rate:g}")
    return column.seconds * float(time[0]) + count


def _counts(name: str, column: np.ndarray) -> bool:
    """Return whether a column numbers the rows and therefore contains no measurement."""
    return bool(COUNT_TITLE.fullmatch(name) and len(column) > 1 and (np.diff(column) == 1.0).all())
