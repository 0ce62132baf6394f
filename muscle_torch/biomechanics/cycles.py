"""Cycles: a recording cut at events, brought to 0 to 100 % and averaged."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from muscle_torch.errors import InputError

from .series import TimeSeries


@dataclass(frozen=True, eq=False)
class Cycles:
    """`values` (N cycles, points, C) over `percent` (points,); `starts`, `ends` (N,) [s]; `left_out` in words."""

    values: np.ndarray
    names: tuple[str, ...]
    units: tuple[str, ...]
    starts: np.ndarray
    ends: np.ndarray
    left_out: tuple[str, ...] = ()

    @property
    def percent(self) -> np.ndarray:
        points = self.values.shape[1]
        return np.linspace(0.0, 100.0, points) if points % 2 else np.arange(points) * (100.0 / points)

    @property
    def mean(self) -> np.ndarray:
        """(points, C) mean over the cycles."""
        return self.values.mean(axis=0)

    @property
    def sd(self) -> np.ndarray:
        """(points, C) standard deviation over the cycles (n - 1); 0 for one cycle."""
        return self.values.std(axis=0, ddof=1) if len(self.values) > 1 else np.zeros(self.values.shape[1:])

    def column(self, name: str) -> np.ndarray:
        """(N, points) of one column."""
        if name not in self.names:
            raise InputError(f"no column {name!r} among the cycles: {', '.join(self.names)}")
        return self.values[:, :, self.names.index(name)]


def pool(parts: Sequence[Cycles]) -> Cycles:
    """The cycles of several recordings with the same columns and points as one."""
    first = parts[0]
    if any(one.names != first.names or one.values.shape[1:] != first.values.shape[1:] for one in parts):
        raise InputError("cycles with other columns or points cannot be pooled")
    return Cycles(
        np.concatenate([one.values for one in parts]),
        first.names,
        first.units,
        np.concatenate([one.starts for one in parts]),
        np.concatenate([one.ends for one in parts]),
        tuple(note for one in parts for note in one.left_out),
    )


def ordinary_durations(durations: np.ndarray, deviations: float = 3.0, floor: float = 0.03) -> np.ndarray:
    """(N,) which durations lie within `deviations` median absolute deviations of their median.

    The deviation (scaled by 1.4826, as a standard deviation) is at least `floor` of the median, so that a
    very even walk does not lose its cycles.
    """
    if len(durations) == 0:
        return np.zeros(0, dtype=bool)
    middle = np.median(durations)
    spread = max(1.4826 * float(np.median(np.abs(durations - middle))), floor * middle)
    return np.abs(durations - middle) <= deviations * spread


def cut_cycles(
    series: TimeSeries,
    starts: np.ndarray,
    ends: np.ndarray | None = None,
    points: int = 101,
    deviations: float = 3.0,
    endpoint: bool | None = None,
) -> Cycles:
    """Cuts `series` from each of `starts` to `ends` (default: to the next start) and resamples to `points`.

    101 points hold both ends (0 and 100 %); an even count such as 100 leaves the last one, which is the next cycle's
    first, out; `endpoint` overrides. Cycles of odd duration (`ordinary_durations`), outside the recording, or with
    NaN are left out and told. Raises InputError where none is left.
    """
    starts = np.asarray(starts, dtype=float)
    ends = starts[1:] if ends is None else np.asarray(ends, dtype=float)
    starts = starts[: len(ends)]
    with_end = bool(points % 2) if endpoint is None else endpoint
    good = ordinary_durations(ends - starts, deviations) if deviations else np.ones(len(starts), dtype=bool)
    kept, left_out = [], []
    for i, (start, end) in enumerate(zip(starts, ends, strict=True)):
        label = f"cycle {i + 1} ({start:.2f} to {end:.2f} s)"
        if start < series.time[0] - 1e-6 or end > series.time[-1] + 1e-6:
            left_out.append(f"{label} lies outside the recording")
        elif not good[i]:
            left_out.append(f"{label} has an unusual duration")
        else:
            values = series.at(
                np.clip(np.linspace(start, end, points, endpoint=with_end), *series.time[[0, -1]])
            ).values
            if np.isfinite(values).all():
                kept.append((start, end, values))
            else:
                left_out.append(f"{label} holds values that are not numbers")
    if not kept:
        reason = "; ".join(left_out[:3]) or f"{len(starts)} cycle starts and no end"
        raise InputError(f"{series.source or 'recording'}: no complete cycle ({reason})")
    return Cycles(
        np.stack([values for _, _, values in kept]),
        series.names,
        series.units,
        np.array([start for start, _, _ in kept]),
        np.array([end for _, end, _ in kept]),
        tuple(left_out),
    )
