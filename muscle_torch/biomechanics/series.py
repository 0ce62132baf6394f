"""TimeSeries: named columns with units over time; regular clocks and zero-phase filters."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from scipy import signal

from muscle_torch.errors import InputError, nearest
from muscle_torch.motion.support import runs

# Maximal jitter of a regular clock, as a fraction of a step.
CLOCK_TOLERANCE = 0.02


@dataclass(frozen=True, eq=False)
class TimeSeries:
    """C columns over T times.

    Attributes:
        time: (T,) [s], strictly increasing.
        values: (T, C).
        names: C names.
        units: C units; "" if unknown.
        source: File name, for messages.
        notes: What a reader assumed about the file.
    """

    time: np.ndarray
    values: np.ndarray
    names: tuple[str, ...]
    units: tuple[str, ...] = ()
    source: str = ""
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        """Check shapes and times. Raises InputError."""
        where = self.source or "time series"
        frames, columns = len(self.time), len(self.names)
        if self.values.shape != (frames, columns):
            raise InputError(f"{where}: values are {self.values.shape}, time and names require ({frames}, {columns})")
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
            raise InputError(
                f"{where}: time does not increase in row {row} ({self.time[row]:g} s); sort or cut the file"
            )

    @property
    def rate(self) -> float:
        """Sampling rate from the median step [Hz]."""
        return float(1.0 / np.median(np.diff(self.time)))

    @property
    def is_regular(self) -> bool:
        """Whether all steps equal the median step, within `CLOCK_TOLERANCE`."""
        steps = np.diff(self.time)
        return bool(np.abs(steps - np.median(steps)).max() <= CLOCK_TOLERANCE * np.median(steps))

    def __contains__(self, name: object) -> bool:
        """Return whether there is a column of this name."""
        return name in self.names

    def __getitem__(self, name: str) -> np.ndarray:
        """Return a column, (T,). Raises InputError, with the nearest names, if it does not exist."""
        return self.values[:, self.index(name)]

    def index(self, name: str) -> int:
        """Return the index of a column. Raises InputError, with the nearest names, if it does not exist."""
        if name not in self.names:
            raise InputError(f"{self.source or 'time series'} has no column {name!r}{nearest(name, self.names)}")
        return self.names.index(name)

    def select(self, names: Sequence[str]) -> "TimeSeries":
        """Return the series with only these columns, in this order. Raises InputError if one does not exist."""
        ids = [self.index(name) for name in names]
        return replace(self, values=self.values[:, ids], names=tuple(names), units=tuple(self.units[i] for i in ids))

    def between(self, start: float, end: float) -> "TimeSeries":
        """Return the rows with start <= time <= end [s]. Raises InputError if there are fewer than 2."""
        kept = (self.time >= start - 1e-9) & (self.time <= end + 1e-9)
        if kept.sum() < 2:
            raise InputError(
                f"{self.source or 'time series'} covers {self.time[0]:g} to {self.time[-1]:g} s: "
                f"no rows between {start:g} and {end:g} s"
            )
        return replace(self, time=self.time[kept], values=self.values[kept])

    def at(self, time: np.ndarray) -> "TimeSeries":
        """Interpolate linearly at `time` (N,) [s]; NaN outside the recording."""
        columns = [np.interp(time, self.time, column, left=np.nan, right=np.nan) for column in self.values.T]
        values = np.stack(columns, axis=1) if columns else np.zeros((len(time), 0))
        return replace(self, time=np.asarray(time, dtype=float), values=values)

    def with_values(self, values: np.ndarray, units: Sequence[str] | None = None) -> "TimeSeries":
        """Return the series with other values (T, C), and other units if set."""
        return replace(self, values=values, units=tuple(units) if units is not None else self.units)

    def renamed(self, names: Sequence[str]) -> "TimeSeries":
        """Return the series with other column names."""
        return replace(self, names=tuple(names))


def check_rate(rate: float, least: float, source: str, most: float = 100_000.0) -> None:
    """Check that a sampling rate is plausible, to detect times in another unit than stated.

    Args:
        rate: [Hz].
        least: Smallest plausible rate [Hz].
        source: File name, for the error message.
        most: Largest plausible rate [Hz].

    Raises:
        InputError: The rate is outside these limits.
    """
    if rate < least:
        raise InputError(f"{source}: samples are {1 / rate:g} s apart; if the time is in milliseconds, name it "
                         "`time (ms)`, or set the rate [Hz]")  # fmt: skip
    if rate > most:
        raise InputError(f"{source}: {rate:g} samples per second; if the time is in seconds, name it `time (s)`, or "
                         "set the rate [Hz]")  # fmt: skip


def complete(series: TimeSeries) -> tuple[TimeSeries, tuple[str, ...]]:
    """Return the longest interval without NaN, without empty columns, and notes on what was removed."""
    finite = np.asarray(np.isfinite(series.values))
    if finite.all():
        return series, ()
    empty, notes = np.asarray(~finite.any(axis=0)), []
    if empty.any():
        names = [name for name, is_empty in zip(series.names, empty, strict=True) if is_empty]
        notes.append(f"{series.source}: no numbers in {', '.join(names)}")
        series, finite = series.select([name for name in series.names if name not in names]), finite[:, ~empty]
    stretches = runs(np.asarray(finite.all(axis=1)))
    if not stretches or not series.names:
        raise InputError(f"{series.source or 'time series'}: no row without NaN; fill the gaps first")
    first, last = max(stretches, key=lambda stretch: stretch[1] - stretch[0])
    if last - first < len(finite):
        gap = int(np.argmin(finite.all(axis=1)))
        column = series.names[int(np.argmin(finite[gap]))]
        notes.append(f"{series.source}: NaN in {column} at {series.time[gap]:.2f} s and elsewhere: only "
                    f"{series.time[first]:.2f} to {series.time[last - 1]:.2f} s are used")  # fmt: skip
    return replace(series, time=series.time[first:last], values=series.values[first:last]), tuple(notes)


def regular(series: TimeSeries, rate: float = 0.0) -> TimeSeries:
    """Return the series on a regular clock by linear interpolation; `rate` [Hz], 0: its median rate."""
    rate = rate or series.rate
    count = int(np.floor((series.time[-1] - series.time[0]) * rate + 1e-6)) + 1
    return series.at(np.minimum(series.time[0] + np.arange(count) / rate, series.time[-1]))


def common_clock(first: TimeSeries, second: TimeSeries) -> tuple[TimeSeries, TimeSeries]:
    """Resample two series to a regular clock over their common time, at the lower of their rates.

    Raises:
        InputError: They have no time in common.
    """
    start, end = max(first.time[0], second.time[0]), min(first.time[-1], second.time[-1])
    rate = min(first.rate, second.rate)
    if end - start < 2 / rate:
        raise InputError(
            f"{first.source or 'first'} ({first.time[0]:g} to {first.time[-1]:g} s) and {second.source or 'second'} "
            f"({second.time[0]:g} to {second.time[-1]:g} s) do not overlap: set the offset between their clocks"
        )
    time = start + np.arange(int(np.floor((end - start) * rate + 1e-6)) + 1) / rate
    time = np.minimum(time, end)
    return first.at(time), second.at(time)


def butterworth(
    values: np.ndarray, rate: float, cutoff: float | tuple[float, float], kind: str, order: int
) -> np.ndarray:
    """Filter forwards and backwards along the first axis (zero phase).

    Both passes together have their half-power point at the cutoff (Winter 2009, section 3.4.4.2).

    Args:
        values: (T, ...).
        rate: Sampling rate [Hz].
        cutoff: [Hz], one number or (low, high).
        kind: low, high or band.
        order: Order over both passes, even.

    Returns:
        (T, ...).

    Raises:
        InputError: The cutoff is above half the rate, the order is odd, or the recording is shorter than the filter.
    """
    edges = np.atleast_1d(np.asarray(cutoff, dtype=float))
    if (edges <= 0).any() or (edges >= rate / 2).any():
        raise InputError(f"cutoff {cutoff} Hz lies outside 0 to {rate / 2:g} Hz, half the rate of the recording")
    if order < 2 or order % 2:
        raise InputError(f"filter order {order}: must be even and at least 2, because zero-phase filters pass twice")
    order_per_pass = order // 2
    correction = (np.sqrt(2.0) - 1.0) ** (1.0 / (2 * order_per_pass))
    sos_parts = []
    if kind in ("high", "band"):
        sos_parts.append(signal.butter(order_per_pass, edges[0] * correction, "high", fs=rate, output="sos"))
    if kind in ("low", "band"):
        top = min(edges[-1] / correction, 0.499 * rate)
        sos_parts.append(signal.butter(order_per_pass, top, "low", fs=rate, output="sos"))
    if not sos_parts:
        raise InputError(f"unknown kind of filter {kind!r}: choose low, high or band")
    out = np.asarray(values, dtype=float)
    pad = min(3 * int(rate / edges.min()), len(out) - 1)
    if len(out) < 3 * (2 * order_per_pass + 1):
        raise InputError(f"{len(out)} samples are too few to filter; use at least {3 * (2 * order_per_pass + 1)}")
    for sos in sos_parts:
        out = signal.sosfiltfilt(sos, out, axis=0, padlen=pad)
    return out


def low_pass(series: TimeSeries, cutoff: float, order: int = 4) -> TimeSeries:
    """Return the series on a regular clock, low-passed.

    Args:
        series: The series.
        cutoff: [Hz].
        order: Butterworth order over both passes.
    """
    even = series if series.is_regular else regular(series)
    return even.with_values(butterworth(even.values, even.rate, cutoff, "low", order))
