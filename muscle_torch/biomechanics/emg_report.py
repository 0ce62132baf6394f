"""The page that `tools/emg.py` writes."""

import dataclasses
from typing import Any

import numpy as np

from .cycles import Cycles
from .emg import EmgSettings
from .emg_comparison import Table, in_peaks
from .figures import Curve, Panel, grid
from .report import Report
from .series import TimeSeries, common_clock

CAPTIONS = {
    "peak [%]": "per cent of the gait cycle at which the mean envelope is highest (0 and 100: the foot strikes)",
    "apart [%]": "distance of the two peaks round the circle of the cycle",
    "r": "Pearson's correlation of the two mean curves; 1 is the same shape",
    "RMSE": "root mean squared difference, each curve in units of its own peak",
    "lag [%]": "shift of the cycle at which the curves fit best; positive: the compared curve comes later",
    "lag [s]": "the same in seconds, sought within 0.1 s",
    "ceiling r": "mean correlation of each cycle with the mean of the others: a perfect model reaches about this",
    "between cycles r": "mean correlation of each cycle with the mean of the others: 1 is the same every time",
    "co-contraction index": "twice the common area over the sum of both (Falconer and Winter 1985): 0 never together, "
    "1 always alike",
}
MOST_SAMPLES = 1500  # in a picture over time


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
) -> Report:
    """Summary, pictures, tables, how it was made, what was left out; `labels` name the two recordings."""
    report = Report(f"Muscle activity: {title}", _summary(measured, cycles, other_cycles, tables[0]))
    report.heading("Curves")
    report.figure(*_picture(labels, measured, cycles, other, other_cycles))
    report.heading("Numbers")
    for table in tables:
        if table is not None and table.rows:
            report.table(table.columns, table.rows)
    used = [c for table in tables if table is not None and table.rows for c in table.columns]
    report.notes([f"{column}: {text}" for column, text in CAPTIONS.items() if column in used])
    report.heading("What was left out")
    report.notes(notes)
    report.heading("How the envelopes were made")
    report.text("In this order: high-pass and low-pass filter, rectification, smoothing, normalisation.")
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
        parts.append(f"Compared with {len(other.values)} cycles.")
    if table is not None and "r" in table.columns:
        rs = [row[table.columns.index("r")] for row in table.rows]
        parts.append(f"Median correlation over {len(rs)} muscles: {np.nanmedian(rs):.2f}.")
    return " ".join(parts)


def _picture(
    labels: tuple[str, str],
    measured: TimeSeries,
    cycles: Cycles | None,
    other: TimeSeries | None,
    other_cycles: Cycles | None,
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
            panels.append(Panel(pretty(name), curves, "of its peak"))
        return grid(
            panels, cycles.percent, "gait cycle [%]"
        ), "Mean and one standard deviation over the cycles, in peaks."
    first, second = (measured, None) if other is None else _meeting(measured, other)
    thin = max(len(first.time) // MOST_SAMPLES, 1)
    panels = []
    for name in first.names:
        curves = [Curve(labels[0], in_peaks(first[name])[::thin])]
        if second is not None and name in second.names:
            curves.append(Curve(labels[1], in_peaks(second[name])[::thin]))
        panels.append(Panel(pretty(name), curves, "of its peak"))
    return grid(panels, first.time[::thin], "time [s]"), "Envelopes over time, in peaks."


def _meeting(measured: TimeSeries, other: TimeSeries) -> tuple[TimeSeries, TimeSeries]:
    return common_clock(measured, other)


def pretty(name: str) -> str:
    """`tibialis_anterior_r` -> `tibialis anterior (right)`."""
    stem, _, side = name.rpartition("_")
    return f"{stem.replace('_', ' ')} ({ {'r': 'right', 'l': 'left'}[side] })" if side in ("r", "l") else name
