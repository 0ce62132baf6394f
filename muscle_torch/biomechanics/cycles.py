"""Cycles: a recording segmented at events, resampled to 0 to 100 % and averaged."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from muscle_torch.errors import InputError

from .series import TimeSeries


@dataclass(frozen=True, eq=False)
class Cycles:
    """N cycles of C columns, resampled to P points."""

    values: np.ndarray  # (N, P, C)
    names: tuple[str, ...]
    units: tuple[str, ...]
    starts: np.ndarray  # (N,) [s]
    ends: np.ndarray  # (N,) [s]
    left_out: tuple[str, ...] = ()  # notes on excluded cycles

    @property
    def percent(self) -> np.ndarray:
        """Positions in the cycle, (P,) [%]."""
        points = self.values.shape[1]
        return np.linspace(0.0, 100.0, points) if points % 2 else np.arange(points) * (100.0 / points)

    @property
    def mean(self) -> np.ndarray:
        """Mean over the cycles, (P, C)."""
        return self.values.mean(axis=0)

    @property
    def sd(self) -> np.ndarray:
        """Standard deviation over the cycles (n - 1), (P, C); 0 for a single cycle."""
        return self.values.std(axis=0, ddof=1) if len(self.values) > 1 else np.zeros(self.values.shape[1:])

    def column(self, name: str) -> np.ndarray:
        """Return one column, (N, P). Raises InputError if there is none of that name."""
        if name not in self.names:
            raise InputError(f"no column {name!r}; the cycles have {', '.join(self.names)}")
        return self.values[:, :, self.names.index(name)]


def pool(parts: Sequence[Cycles]) -> Cycles:
    """Concatenate the cycles of several recordings. Raises InputError if their columns or points differ."""
    first = parts[0]
    if any(one.names != first.names or one.values.shape[1:] != first.values.shape[1:] for one in parts):
        raise InputError("cannot pool cycles with different columns or numbers of points")
    return Cycles(
        np.concatenate([one.values for one in parts]),
        first.names,
        first.units,
        np.concatenate([one.starts for one in parts]),
        np.concatenate([one.ends for one in parts]),
        tuple(note for one in parts for note in one.left_out),
    )


def ordinary_durations(durations: np.ndarray, deviations: float = 3.0, floor: float = 0.03) -> np.ndarray:
    """Return which durations are close to their median, (N,) bool.

    Args:
        durations: (N,).
        deviations: Tolerance in scaled median absolute deviations (1.4826 times, comparable to standard deviations).
        floor: Lower bound of this deviation as a fraction of the median, so that very regular gait loses no cycles.
    """
    if len(durations) == 0:
        return np.zeros(0, dtype=bool)
    median = np.median(durations)
    spread = max(1.4826 * float(np.median(np.abs(durations - median))), floor * median)
    return np.abs(durations - median) <= deviations * spread


def cut_cycles(
    series: TimeSeries,
    starts: np.ndarray,
    ends: np.ndarray | None = None,
    points: int = 101,
    deviations: float = 3.0,
    endpoint: bool | None = None,
) -> Cycles:
    """Segment a recording into cycles and resample them.

    Cycles of unusual duration (`ordinary_durations`), outside the recording, or with NaN are excluded and listed in
    `left_out`.

    Args:
        series: The recording.
        starts: Starts of the cycles [s].
        ends: Ends of the cycles [s]; None: the next start.
        points: Number of points. An odd number such as 101 includes both ends (0 and 100 %); an even one such as 100
            excludes the last, which is the first of the next cycle.
        deviations: Tolerance of durations; 0: accept all.
        endpoint: Whether to include the end, overriding the rule above.

    Raises:
        InputError: No cycle remains.
    """
    starts = np.asarray(starts, dtype=float)
    ends = starts[1:] if ends is None else np.asarray(ends, dtype=float)
    starts = starts[: len(ends)]
    with_end = bool(points % 2) if endpoint is None else endpoint
    ordinary = ordinary_durations(ends - starts, deviations) if deviations else np.ones(len(starts), dtype=bool)
    kept, left_out = [], []
    for i, (start, end) in enumerate(zip(starts, ends, strict=True)):
        label = f"cycle {i + 1} ({start:.2f} to {end:.2f} s)"
        if start < series.time[0] - 1e-6 or end > series.time[-1] + 1e-6:
            left_out.append(f"{label} lies outside the recording")
        elif not ordinary[i]:
            left_out.append(f"{label} has an unusual duration")
        else:
            values = series.at(
                np.clip(np.linspace(start, end, points, endpoint=with_end), *series.time[[0, -1]])
            ).values
            if np.isfinite(values).all():
                kept.append((start, end, values))
            else:
                left_out.append(f"{label} contains values that are not numbers")
    if not kept:
        reason = "; ".join(left_out[:3]) or f"{len(starts)} cycle starts and no end; at least 2 starts are needed"
        raise InputError(f"{series.source or 'recording'}: no complete cycle ({reason})")
    return Cycles(
        np.stack([values for _, _, values in kept]),
        series.names,
        series.units,
        np.array([start for start, _, _ in kept]),
        np.array([end for _, end, _ in kept]),
        tuple(left_out),
    )
