"""A recording: named columns with units over time; even clocks and zero-phase filters."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from scipy import signal

from muscle_torch.errors import InputError, nearest
from muscle_torch.motion.support import runs

# A clock may wobble by this part of a step and still count as regular.
CLOCK_TOLERANCE = 0.02


@dataclass(frozen=True, eq=False)
class TimeSeries:
    """Columns over time. `time` (T,) [s] rises strictly; `values` (T, C); `names` and `units` have C entries.

    `notes`: in words, what a reader assumed about the file.
    """

    time: np.ndarray
    values: np.ndarray
    names: tuple[str, ...]
    units: tuple[str, ...] = ()
    source: str = ""
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        where = self.source or "time series"
        frames, columns = len(self.time), len(self.names)
        if self.values.shape != (frames, columns):
            raise InputError(f"{where}: values are {self.values.shape}, time and names say ({frames}, {columns})")
        if not self.units:
            object.__setattr__(self, "units", ("",) * columns)
        if len(self.units) != columns:
            raise InputError(f"{where}: {len(self.units)} units for {columns} columns")
        if frames < 2:
            raise InputError(f"{where}: {frames} rows, a recording needs at least 2")
        if not np.isfinite(self.time).all():
            raise InputError(f"{where}: time is not finite in row {int(np.argmin(np.isfinite(self.time)))}")
        steps = np.diff(self.time)
        if (steps <= 0).any():
            row = int(np.argmax(steps <= 0)) + 1
            raise InputError(f"{where}: time does not rise in row {row} ({self.time[row]:g} s); sort or cut the file")

    @property
    def rate(self) -> float:
        """Samples a second, from the median step."""
        return float(1.0 / np.median(np.diff(self.time)))

    @property
    def is_regular(self) -> bool:
        """Whether every step is the median step."""
        steps = np.diff(self.time)
        return bool(np.abs(steps - np.median(steps)).max() <= CLOCK_TOLERANCE * np.median(steps))

    def __contains__(self, name: object) -> bool:
        return name in self.names

    def __getitem__(self, name: str) -> np.ndarray:
        """(T,) the column `name`. Raises InputError with the nearest names."""
        return self.values[:, self.index(name)]

    def index(self, name: str) -> int:
        if name not in self.names:
            raise InputError(f"{self.source or 'time series'} has no column {name!r}{nearest(name, self.names)}")
        return self.names.index(name)

    def select(self, names: Sequence[str]) -> "TimeSeries":
        ids = [self.index(name) for name in names]
        return replace(self, values=self.values[:, ids], names=tuple(names), units=tuple(self.units[i] for i in ids))

    def between(self, start: float, end: float) -> "TimeSeries":
        """Rows with start <= time <= end [s]."""
        kept = (self.time >= start - 1e-9) & (self.time <= end + 1e-9)
        if kept.sum() < 2:
            raise InputError(
                f"{self.source or 'time series'} lies in {self.time[0]:g} to {self.time[-1]:g} s: "
                f"nothing between {start:g} and {end:g} s"
            )
        return replace(self, time=self.time[kept], values=self.values[kept])

    def at(self, time: np.ndarray) -> "TimeSeries":
        """Linear interpolation at `time` (N,) [s]; NaN outside the recording."""
        columns = [np.interp(time, self.time, column, left=np.nan, right=np.nan) for column in self.values.T]
        values = np.stack(columns, axis=1) if columns else np.zeros((len(time), 0))
        return replace(self, time=np.asarray(time, dtype=float), values=values)

    def with_values(self, values: np.ndarray, units: Sequence[str] | None = None) -> "TimeSeries":
        return replace(self, values=values, units=tuple(units) if units is not None else self.units)

    def renamed(self, names: Sequence[str]) -> "TimeSeries":
        return replace(self, names=tuple(names))


def check_rate(rate: float, least: float, source: str, most: float = 100_000.0) -> None:
    """Raises InputError if `rate` [Hz] lies outside `least` to `most`: the time is in another unit than it says."""
    if rate < least:
        raise InputError(f"{source}: samples are {1 / rate:g} s apart; is the time in milliseconds? then say so, e.g. "
                         "`time (ms)`, or set the rate [Hz]")  # fmt: skip
    if rate > most:
        raise InputError(f"{source}: {rate:g} samples a second; is the time in seconds? then say so, e.g. `time (s)`, "
                         "or set the rate [Hz]")  # fmt: skip


def complete(series: TimeSeries) -> tuple[TimeSeries, tuple[str, ...]]:
    """The longest stretch of rows without NaN, columns without any number left out; and in words what was cut."""
    known = np.asarray(np.isfinite(series.values))
    if known.all():
        return series, ()
    empty, told = np.asarray(~known.any(axis=0)), []
    if empty.any():
        names = [name for name, without in zip(series.names, empty, strict=True) if without]
        told.append(f"{series.source}: no numbers in {', '.join(names)}")
        series, known = series.select([name for name in series.names if name not in names]), known[:, ~empty]
    stretches = runs(np.asarray(known.all(axis=1)))
    if not stretches or not series.names:
        raise InputError(f"{series.source or 'time series'}: no row without NaN")
    first, last = max(stretches, key=lambda stretch: stretch[1] - stretch[0])
    if last - first < len(known):
        gap = int(np.argmin(known.all(axis=1)))
        column = series.names[int(np.argmin(known[gap]))]
        told.append(f"{series.source}: NaN in {column} at {series.time[gap]:.2f} s and elsewhere: only "
                    f"{series.time[first]:.2f} to {series.time[last - 1]:.2f} s are used")  # fmt: skip
    return replace(series, time=series.time[first:last], values=series.values[first:last]), tuple(told)


def regular(series: TimeSeries, rate: float = 0.0) -> TimeSeries:
    """`series` on an even clock of `rate` [Hz] (0: its own), by linear interpolation."""
    rate = rate or series.rate
    count = int(np.floor((series.time[-1] - series.time[0]) * rate + 1e-6)) + 1
    return series.at(np.minimum(series.time[0] + np.arange(count) / rate, series.time[-1]))


def common_clock(first: TimeSeries, second: TimeSeries) -> tuple[TimeSeries, TimeSeries]:
    """Both on one even clock over the time they share, at the lower of the two rates. Raises where they do not meet."""
    start, end = max(first.time[0], second.time[0]), min(first.time[-1], second.time[-1])
    rate = min(first.rate, second.rate)
    if end - start < 2 / rate:
        raise InputError(
            f"{first.source or 'first'} ({first.time[0]:g} to {first.time[-1]:g} s) and {second.source or 'second'} "
            f"({second.time[0]:g} to {second.time[-1]:g} s) share no time: set the offset between their clocks"
        )
    time = start + np.arange(int(np.floor((end - start) * rate + 1e-6)) + 1) / rate
    time = np.minimum(time, end)
    return first.at(time), second.at(time)


def butterworth(
    values: np.ndarray, rate: float, cutoff: float | tuple[float, float], kind: str, order: int
) -> np.ndarray:
    """`values` (T, ...) filtered forwards and backwards along the first axis; `order` is the order after both passes.

    `kind` is low, high or band, `cutoff` [Hz] one number or (low, high). Both passes together have their half-power
    point at `cutoff`: the design's cutoff is corrected (Winter 2009, section 3.4.4.2). Raises InputError for a cutoff
    beyond half the rate, or a recording shorter than the filter.
    """
    edges = np.atleast_1d(np.asarray(cutoff, dtype=float))
    if (edges <= 0).any() or (edges >= rate / 2).any():
        raise InputError(f"cutoff {cutoff} Hz lies outside 0 to {rate / 2:g} Hz, half the rate of the recording")
    if order < 2 or order % 2:
        raise InputError(f"filter order {order}: zero-phase filters pass twice, their order is even and at least 2")
    each = order // 2
    correction = (np.sqrt(2.0) - 1.0) ** (1.0 / (2 * each))
    sos_parts = []
    if kind in ("high", "band"):
        sos_parts.append(signal.butter(each, edges[0] * correction, "high", fs=rate, output="sos"))
    if kind in ("low", "band"):
        top = min(edges[-1] / correction, 0.499 * rate)
        sos_parts.append(signal.butter(each, top, "low", fs=rate, output="sos"))
    if not sos_parts:
        raise InputError(f"unknown kind of filter {kind!r}: low, high or band")
    out = np.asarray(values, dtype=float)
    pad = min(3 * int(rate / edges.min()), len(out) - 1)
    if len(out) < 3 * (2 * each + 1):
        raise InputError(f"{len(out)} samples are too few to filter")
    for sos in sos_parts:
        out = signal.sosfiltfilt(sos, out, axis=0, padlen=pad)
    return out


def low_pass(series: TimeSeries, cutoff: float, order: int = 4) -> TimeSeries:
    """The series on an even clock, low-passed at `cutoff` [Hz]."""
    even = series if series.is_regular else regular(series)
    return even.with_values(butterworth(even.values, even.rate, cutoff, "low", order))
