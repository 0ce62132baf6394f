"""Comparison of two recordings of muscle activity, muscle by muscle, and the report of `tools/emg.py`."""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from .agreement import best_lag, circular_distance, co_contraction, cyclic_lag, noise_ceiling, pearson, rmse
from .cycles import Cycles
from .emg import EmgSettings
from .report import Curve, Panel, Report, grid, pretty
from .series import TimeSeries, common_clock

# Antagonist pairs; co-contraction is reported for those that were recorded.
ANTAGONISTS = (
    ("soleus", "tibialis_anterior"),
    ("gastrocnemius_medialis", "tibialis_anterior"),
    ("gastrocnemius", "tibialis_anterior"),
    ("vastus_lateralis", "biceps_femoris"),
    ("rectus_femoris", "semitendinosus"),
    ("vastus_lateralis", "medial_hamstrings"),
    ("biceps_brachii", "triceps_brachii"),
)
SILENT = 1e-6  # muscles with less activity are considered inactive
LAG_LIMIT = 0.1  # [s]; electromechanical delays are shorter

CYCLE_COLUMNS = ("muscle", "peak [%]", "other peak [%]", "apart [%]", "r", "RMSE", "lag [%]", "r at lag", "ceiling r")
TIME_COLUMNS = ("muscle", "compared with", "r", "RMSE", "lag [s]", "r at lag")
ALONE_COLUMNS = ("muscle", "peak [%]", "peak", "mean", "between cycles r")
CO_CONTRACTION_COLUMNS = ("muscles", "co-contraction index")


@dataclass(frozen=True, eq=False)
class Table:
    """A table of a report."""

    columns: tuple[str, ...]
    rows: list[tuple]


def describe_cycles(cycles: Cycles) -> Table:
    """Return each muscle's peak and mean over the cycle, and the agreement between its cycles."""
    rows = []
    for index, name in enumerate(cycles.names):
        mean = cycles.mean[:, index]
        rows.append(
            (name, float(cycles.percent[mean.argmax()]), float(mean.max()), float(mean.mean()), _ceiling(cycles, name))
        )
    return Table(ALONE_COLUMNS, rows)


def compare_cycles(measured: Cycles, other: Cycles) -> Table:
    """Compare the muscles that two recordings share, with the same number of points. Positive lag: `other` is later.

    RMSE is between the mean curves, each normalized to its peak.
    """
    rows = []
    for name in measured.names:
        if name not in other.names:
            continue
        first, second = measured.mean[:, measured.names.index(name)], other.mean[:, other.names.index(name)]
        peaks = [float(measured.percent[curve.argmax()]) for curve in (first, second)]
        # The last of 101 points equals the first, so the cyclic lag must count it once.
        loop = slice(None, -1) if len(first) % 2 else slice(None)
        lag = cyclic_lag(first[loop], second[loop])
        distance = circular_distance(*peaks)
        error = rmse(in_peaks(first), in_peaks(second))
        rows.append((name, *peaks, distance, pearson(first, second), error, *lag, _ceiling(measured, name)))
    return Table(CYCLE_COLUMNS, rows)


def compare_over_time(measured: TimeSeries, other: TimeSeries, pairs: dict[str, str]) -> Table:
    """Compare columns of two recordings on their common clock.

    Args:
        measured: First recording.
        other: Second recording.
        pairs: Column of `measured` -> column of `other`.
    """
    first, second = common_clock(measured.select(list(pairs)), other.select(list(dict.fromkeys(pairs.values()))))
    rows = []
    for name, partner in pairs.items():
        a, b = first[name], second[partner]
        lag = best_lag(a, b, first.rate, LAG_LIMIT)
        rows.append((name, partner, pearson(a, b), rmse(in_peaks(a), in_peaks(b)), lag.seconds, lag.r))
    return Table(TIME_COLUMNS, rows)


def co_contractions(activity: Cycles | TimeSeries) -> Table:
    """Return the co-contraction index of every antagonist pair that was recorded on one side."""
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
    """Return a curve divided by its largest absolute value."""
    peak = float(np.nanmax(np.abs(curve)))
    return curve / peak if peak > 0 else curve


def is_activations(series: TimeSeries, actuators: tuple[str, ...]) -> bool:
    """Return whether the columns are a model's actuators, not EMG channels."""
    matches = sum(name in actuators for name in series.names)
    return matches > len(series.names) / 2


def _ceiling(cycles: Cycles, name: str) -> float:
    """Return the mean r of each cycle with the mean of the others; NaN for fewer than two cycles."""
    values = cycles.column(name)
    return float(np.nanmean(noise_ceiling(values).leave_one_out)) if len(values) > 1 else float("nan")


CAPTIONS = {
    "peak [%]": "position of the maximum of the mean envelope in the gait cycle (0 and 100: foot strike)",
    "apart [%]": "distance between the two peaks, around the cycle",
    "r": "Pearson's correlation of the two curves; 1: same shape",
    "RMSE": "root mean squared difference, each curve normalized to its peak",
    "lag [%]": "shift of the cycle with the highest correlation; positive: the compared curve is later",
    "lag [s]": "shift with the highest correlation, within 0.1 s; positive: the compared curve is later",
    "r at lag": "correlation after removing that shift",
    "ceiling r": "mean correlation of each cycle with the mean of the others: about the best that a model can reach",
    "between cycles r": "mean correlation of each cycle with the mean of the others; 1: perfectly repeatable",
    "co-contraction index": "twice the common area over the sum of both (Falconer and Winter 1985); 0: never active "
    "together, 1: always equal",
}
MAX_SAMPLES = 1500  # in a figure over time


def emg_report(
    title: str,
    labels: tuple[str, str],
    settings: EmgSettings,
    measured: TimeSeries,
    cycles: Cycles | None,
    other: TimeSeries | None,
    other_cycles: Cycles | None,
    tables: list[Table | None],
    notes: list[str],
    pairs: Mapping[str, str],
) -> Report:
    """Return the report: summary, figures, tables, notes and processing settings.

    Args:
        title: Title of the report.
        labels: Names of the two recordings in figures.
        settings: Parameters of the processing steps.
        measured: Envelopes of the recording.
        cycles: Its cycles; None: no events.
        other: The compared recording; None: no comparison.
        other_cycles: Its cycles; None: no events.
        tables: Comparison first; None: no table.
        notes: What was left out or assumed.
        pairs: Column of `measured` -> column of `other`.
    """
    report = Report(f"Muscle activity: {title}", _summary(measured, cycles, other_cycles, tables[0]))
    report.heading("Curves")
    report.figure(*_curves(labels, measured, cycles, other, other_cycles, pairs))
    report.heading("Numbers")
    for table in tables:
        if table is not None and table.rows:
            report.table(table.columns, [_readable(row) for row in table.rows])
    used = [c for table in tables if table is not None and table.rows for c in table.columns]
    report.glossary([f"{column}: {text}" for column, text in CAPTIONS.items() if column in used])
    report.heading("Exclusions and assumptions")
    report.notes(notes)
    report.heading("Processing of the envelopes")
    report.text("In this order: high-pass and low-pass filter, rectification, smoothing, normalization.")
    rows = [
        (f.name, getattr(settings, f.name), f.metadata.get("unit", ""), f.metadata["help"])
        for f in dataclasses.fields(EmgSettings)
    ]
    report.table(("key", "value", "unit", "meaning and source of the default"), rows)
    return report


def _summary(measured: TimeSeries, cycles: Cycles | None, other: Cycles | None, table: Table | None) -> str:
    parts = [f"{len(measured.names)} muscles, {measured.time[-1] - measured.time[0]:.1f} s at {measured.rate:.0f} Hz."]
    if cycles is not None:
        durations = cycles.ends - cycles.starts
        parts.append(f"{len(cycles.values)} gait cycles of {durations.mean():.2f} s on average.")
    if other is not None:
        parts.append(f"Compared with {len(other.values)} cycle{'s' * (len(other.values) > 1)}.")
    if table is not None and "r" in table.columns:
        rs = [row[table.columns.index("r")] for row in table.rows]
        parts.append(f"Median correlation over {len(rs)} muscles: {np.nanmedian(rs):.2f}.")
    return " ".join(parts)


def _curves(
    labels: tuple[str, str],
    measured: TimeSeries,
    cycles: Cycles | None,
    other: TimeSeries | None,
    other_cycles: Cycles | None,
    pairs: Mapping[str, str],
) -> tuple[Any, str]:
    if cycles is not None:
        panels = []
        for index, name in enumerate(cycles.names):
            top = float(cycles.mean[:, index].max()) or 1.0
            curves = [Curve(labels[0], cycles.mean[:, index] / top, cycles.sd[:, index] / top)]
            if other_cycles is not None and name in other_cycles.names:
                column = other_cycles.names.index(name)
                top = float(other_cycles.mean[:, column].max()) or 1.0
                curves.append(Curve(labels[1], other_cycles.mean[:, column] / top, other_cycles.sd[:, column] / top))
            panels.append(Panel(pretty(name), curves, "of peak", floor=0.0))
        return grid(
            panels, cycles.percent, "gait cycle [%]"
        ), "Mean and one standard deviation over the cycles, normalized to the peak."
    first, second = (measured, None) if other is None else common_clock(measured, other)
    thin = max(len(first.time) // MAX_SAMPLES, 1)
    partner = dict(pairs) if pairs else {name: name for name in first.names}
    panels = []
    for name in sorted(first.names, key=lambda name: name not in partner):  # compared muscles first
        curves = [Curve(labels[0], in_peaks(first[name])[::thin])]
        compared = partner.get(name, "")
        if second is not None and compared in second.names:
            curves.append(Curve(labels[1], in_peaks(second[compared])[::thin]))
        title = pretty(name) if compared in ("", name) else f"{pretty(name)}, {compared}"
        panels.append(Panel(title, curves, "of peak"))
    return grid(panels, first.time[::thin], "time [s]"), "Envelopes over time, normalized to the peak."


def _readable(row: tuple) -> tuple:
    """Names of muscles in words; figures as they are."""
    return tuple(" and ".join(map(pretty, cell.split(" and "))) if isinstance(cell, str) else cell for cell in row)
