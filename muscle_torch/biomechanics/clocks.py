"""The clock of a table: which column is the time, in which unit, and what to do if it repeats or is rounded."""

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
MANY = 600  # [s]; a time of whole numbers that runs on beyond counts samples
FEWEST_TIES = 3  # of a rounded clock; fewer are rows that were written twice


@dataclass(frozen=True)
class TimeColumn:
    """Index of the time, its `unit` as the file states it ('' if it does not), and how many seconds that is.

    `seconds` is 0 for what is no time: counted samples, per cent of a cycle.
    """

    index: int
    seconds: float
    unit: str


def with_clock(
    path: Path, names: list[str], units: list[str], values: np.ndarray, rate: float = 0.0, notes: tuple[str, ...] = ()
) -> TimeSeries:
    """Return the columns over time. `rate` [Hz], if not 0, decides: rows are then that far apart.

    Without `rate` the time column does: in the unit that it states, rounded times put back on their even clock, rows
    of the same time dropped but for the last (as OpenSim does). What was assumed stands in the notes.
    Raises InputError without a time column, and for one that counts samples, is in per cent, or falls.
    """
    column = time_column(names, units)
    measured = [
        i for i in range(len(names)) if (column is None or i != column.index) and not _counts(names[i], values[:, i])
    ]
    remarks = list(notes)
    if rate:
        time = _constant_rate(path, column, values, rate, remarks)
    else:
        if column is None:
            raise InputError(f"{path}: no column called time: add one [s] or set the rate [Hz]")
        time, rows = _own_clock(path, column, values, remarks)
        values = values[rows]
    return TimeSeries(
        time,
        values[:, measured],
        tuple(names[i] for i in measured),
        tuple(units[i] for i in measured),
        str(path),
        tuple(remarks),
    )


def time_column(names: list[str], units: list[str]) -> TimeColumn | None:
    """Return the first column that is named for time; None without one."""
    for index, (name, unit) in enumerate(zip(names, units, strict=True)):
        if name.lower() in SECONDS and name:  # `seconds`, `ms`
            return TimeColumn(index, SECONDS[name.lower()], name.lower())
        title = TITLE.fullmatch(name)
        if title is None:
            continue
        written = (unit or title.group(2) or "").lower().rstrip(".")
        # Delsys calls the time `X [s]`; a plain `x` is a place.
        if title.group(1).lower() != "x" or (written and written in SECONDS):
            return TimeColumn(index, SECONDS.get(written, 0.0), written)
    return None


def at_rate(series: TimeSeries, rate: float) -> TimeSeries:
    """Return a recording whose file has its own clock with rows `rate` [Hz] apart instead; 0: as it is."""
    if not rate:
        return series
    time = series.time[0] + np.arange(len(series.time)) / rate
    remarks = () if abs(rate / series.rate - 1) < CLOCK_TOLERANCE else (
        f"{series.source}: the file says {series.rate:.6g} Hz; rate={rate:g} is used",)  # fmt: skip
    return replace(series, time=time, notes=(*series.notes, *remarks))


def even_clock(time: np.ndarray, seconds: float = 1.0) -> tuple[np.ndarray, bool]:
    """Return the even clock whose rounding `time` (T,) is, else `time` itself; and whether times were repeated.

    The last decimal that is used anywhere tells how coarse the rounding is. Of the clocks that fit, the one of
    the roundest rate in hertz is preferred (`seconds` in the unit of `time`). Uneven clocks are left as they are.
    """
    steps = np.diff(time)
    ties = int((steps == 0).sum())
    if len(time) < 3 or (steps < 0).any() or time[-1] <= time[0] or 0 < ties < FEWEST_TIES:
        return time, False
    coarse = next((10.0**-k for k in range(7) if np.abs(time * 10.0**k - np.round(time * 10.0**k)).max() < 1e-3), 0.0)
    if not coarse or (not ties and np.ptp(steps) <= 1e-6 * coarse):
        return time, False
    count = np.arange(len(time))
    fitted = float(np.polyfit(count, time, 1)[0])
    hertz = 1.0 / (fitted * seconds)
    rates = [multiple * round(hertz / multiple) for multiple in (1000, 100, 50, 10, 1)]
    # Rounding moves a time by half a decimal to either side; a fit of few rows is not the narrowest.
    candidates = [(1.0 / (rate * seconds), 1.001) for rate in rates if rate] + [(fitted, 1.3)]
    for step, width in candidates:
        if np.ptp(time - step * count) <= width * coarse:
            return time[0] + step * count, ties > 0
    return time, False


def _own_clock(
    path: Path, column: TimeColumn, values: np.ndarray, remarks: list[str]
) -> tuple[np.ndarray, np.ndarray]:  # fmt: skip
    """Time [s] of the rows that are kept, and which these are."""
    time = values[:, column.index]
    rows = np.arange(len(time))
    if not np.isfinite(time).all():
        raise InputError(f"{path}: time is missing in row {int(np.argmin(np.isfinite(time))) + 1}; delete the row")
    steps = np.diff(time)
    whole = len(steps) and (steps == steps[0]).all() and steps[0] >= 1 and steps[0] % 1 == 0 and time[0] % 1 == 0
    if not column.seconds and column.unit not in COUNTS:
        cycle = ": a curve over a cycle is no recording" if "%" in column.unit else ""
        raise InputError(
            f"{path}: the time column is in {column.unit!r}{cycle}; give it in s, ms, us or min, or set the rate [Hz]"
        )
    if not column.seconds or (whole and not column.unit and time[-1] > MANY):
        raise InputError(
            f"{path}: the time column counts samples ({time[0]:g}, {time[1]:g}, ...): set the rate [Hz]"
            + ("" if not column.seconds else "; if it is in milliseconds, call it `time (ms)`")
        )
    even, had_ties = even_clock(time, column.seconds)
    if had_ties:
        rate = 1 / (column.seconds * (even[1] - even[0]))
        remarks.append(f"{path}: times are rounded, {int((steps == 0).sum())} of them repeated: read as {rate:.6g} Hz")
    elif (steps == 0).any() and (steps > 0).any():
        rows = np.append(np.flatnonzero(steps != 0), len(time) - 1)
        remarks.append(f"{path}: {len(time) - len(rows)} rows of the same time as the row after them are left out")
    return column.seconds * even[rows], rows


def _constant_rate(
    path: Path, column: TimeColumn | None, values: np.ndarray, rate: float, remarks: list[str]
) -> np.ndarray:  # fmt: skip
    """(T,) rows `rate` [Hz] apart, from the file's first time on; a note if the file says otherwise."""
    count = np.arange(len(values)) / rate
    time = values[:, column.index] if column is not None else count
    counts = column is None or not column.seconds or bool((np.diff(time) == 1.0).all())
    if column is None or counts or not np.isfinite(time[0]):
        return count
    span = column.seconds * float(time[-1] - time[0])
    if span > 0 and abs(span * rate / (len(time) - 1) - 1) > CLOCK_TOLERANCE:
        remarks.append(f"{path}: its time column says {(len(time) - 1) / span:.6g} Hz; rate={rate:g} is used")
    return column.seconds * float(time[0]) + count


def _counts(name: str, column: np.ndarray) -> bool:
    """Whether a column numbers the rows: it holds nothing that was measured."""
    return bool(COUNT_TITLE.fullmatch(name) and len(column) > 1 and (np.diff(column) == 1.0).all())
