"""Two recordings of muscle activity, muscle by muscle: over the gait cycle where there are cycles, else over time."""

from dataclasses import dataclass

import numpy as np

from .agreement import best_lag, circular_distance, co_contraction, cyclic_lag, noise_ceiling, pearson, rmse
from .cycles import Cycles
from .emg_map import MuscleMap
from .series import TimeSeries, common_clock

# Opposite muscles round a joint; co-contraction is told for those that were recorded.
ANTAGONISTS = (
    ("soleus", "tibialis_anterior"),
    ("gastrocnemius_medialis", "tibialis_anterior"),
    ("gastrocnemius", "tibialis_anterior"),
    ("vastus_lateralis", "biceps_femoris"),
    ("rectus_femoris", "semitendinosus"),
    ("vastus_lateralis", "medial_hamstrings"),
    ("biceps_brachii", "triceps_brachii"),
)
SILENT = 1e-6  # activity of muscles that take no part
LAG_LIMIT = 0.1  # [s]; an electromechanical delay is shorter

CYCLE_COLUMNS = ("muscle", "peak [%]", "other peak [%]", "apart [%]", "r", "RMSE", "lag [%]", "r at lag", "ceiling r")
TIME_COLUMNS = ("muscle", "compared with", "r", "RMSE", "lag [s]", "r at lag")
ALONE_COLUMNS = ("muscle", "peak [%]", "peak", "mean", "between cycles r")
CO_CONTRACTION_COLUMNS = ("muscles", "co-contraction index")


@dataclass(frozen=True, eq=False)
class Table:
    columns: tuple[str, ...]
    rows: list[tuple]


def describe_cycles(cycles: Cycles) -> Table:
    """Each muscle's peak and mean over the cycle, and how alike its cycles are."""
    rows = []
    for index, name in enumerate(cycles.names):
        mean = cycles.mean[:, index]
        rows.append(
            (name, float(cycles.percent[mean.argmax()]), float(mean.max()), float(mean.mean()), _ceiling(cycles, name))
        )
    return Table(ALONE_COLUMNS, rows)


def compare_cycles(measured: Cycles, other: Cycles) -> Table:
    """Muscles that both have, over the same number of points. Positive lag: `other` comes later.

    RMSE is over the mean curves, each in units of its own peak.
    """
    rows = []
    for name in measured.names:
        if name not in other.names:
            continue
        first, second = measured.mean[:, measured.names.index(name)], other.mean[:, other.names.index(name)]
        peaks = [float(measured.percent[curve.argmax()]) for curve in (first, second)]
        # The last of 101 points is the first again: a lag round the circle counts it once.
        round_trip = slice(None, -1) if len(first) % 2 else slice(None)
        lag = cyclic_lag(first[round_trip], second[round_trip])
        apart = circular_distance(*peaks)
        error = rmse(in_peaks(first), in_peaks(second))
        rows.append((name, *peaks, apart, pearson(first, second), error, *lag, _ceiling(measured, name)))
    return Table(CYCLE_COLUMNS, rows)


def compare_over_time(measured: TimeSeries, other: TimeSeries, pairs: dict[str, str]) -> Table:
    """Columns of two recordings on the clock they share; `pairs`: column of `measured` -> column of `other`."""
    first, second = common_clock(measured.select(list(pairs)), other.select(list(dict.fromkeys(pairs.values()))))
    rows = []
    for name, partner in pairs.items():
        a, b = first[name], second[partner]
        lag = best_lag(a, b, first.rate, LAG_LIMIT)
        rows.append((name, partner, pearson(a, b), rmse(in_peaks(a), in_peaks(b)), lag.seconds, lag.r))
    return Table(TIME_COLUMNS, rows)


def co_contractions(activity: Cycles | TimeSeries) -> Table:
    """The index of every pair of antagonists that was recorded on one side."""
    values = activity.mean if isinstance(activity, Cycles) else activity.values
    rows = []
    for side in "rl":
        for agonist, antagonist in ANTAGONISTS:
            names = [f"{muscle}_{side}" for muscle in (agonist, antagonist)]
            if all(name in activity.names for name in names):
                curves = [values[:, activity.names.index(name)] for name in names]
                if max(float(curve.max()) for curve in curves) < SILENT:
                    continue
                rows.append((" and ".join(names), co_contraction(*curves)))
    return Table(CO_CONTRACTION_COLUMNS, rows)


def in_peaks(curve: np.ndarray) -> np.ndarray:
    """A curve in units of its own greatest absolute value."""
    top = float(np.nanmax(np.abs(curve)))
    return curve / top if top > 0 else curve


def is_activations(series: TimeSeries, actuators: tuple[str, ...], table: MuscleMap) -> bool:
    """Whether the columns are a model's actuators rather than EMG channels."""
    known = sum(name in actuators for name in series.names)
    return known > len(series.names) / 2


def _ceiling(cycles: Cycles, name: str) -> float:
    """Mean r of each cycle with the mean of the others; NaN for fewer than two."""
    values = cycles.column(name)
    return float(np.nanmean(noise_ceiling(values).left_out)) if len(values) > 1 else float("nan")
