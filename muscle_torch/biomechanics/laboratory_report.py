"""Report of the comparison of a rollout with laboratory measurements."""

from typing import Any

import numpy as np

from .laboratory_curves import (
    COLUMNS,
    CUTOFFS,
    LONGEST_LAG,
    SHUFFLES,
    ComparedCurve,
    Comparison,
    agreement_rows,
    chance_level,
    correlations,
)
from .report import COLORS, GREY, Curve, Panel, Report, grid, pretty

CAPTION = (
    "Measured, simulated, and static optimisation of the recorded motion, over the trial's clock. Forces are in "
    "weights of the respective body and moments divided by its mass; muscle activity is normalized to its peak, which "
    "is stated in the title."
)
TITLES = {"force": "Ground force", "moment": "Joint moments", "muscle": "Muscle activity"}
CHANCE_COLUMNS = ("activity from", "mean r", "shuffled: mean", "95th percentile", "at least as good [%]")


def laboratory_report(comparison: Comparison) -> Report:
    """Return the report of a comparison."""
    one = comparison
    report = Report(
        f"{one.name}: simulation against measurement",
        f"{one.time[0]:.2f} to {one.time[-1]:.2f} s of the trial; subject {one.mass:.1f} kg, model "
        f"{one.model_mass:.1f} kg. {summary(one)}",
    )
    report.figure(figure(one), CAPTION)
    for kind, title in TITLES.items():
        if one.of(kind):
            report.heading(title)
            report.table(COLUMNS[kind], _readable(agreement_rows(one, kind)))
            if kind == "muscle" and len(one.of(kind)) > 1:
                report.table(CHANCE_COLUMNS, chance_rows(one))
    report.heading("Exclusions and assumptions")
    report.notes([*one.notes, *_assumptions(one)])
    report.heading("Columns")
    report.glossary(GLOSSARY)
    return report


def summary(comparison: Comparison) -> str:
    """Return one sentence with the median r of each kind of curve, and that of static optimisation."""
    parts = []
    for kind, title in TITLES.items():
        rows = agreement_rows(comparison, kind)
        if rows:
            parts.append(f"{title.lower()} {_median(rows, COLUMNS[kind].index('r'))}")
        if rows and "optimised r" in COLUMNS[kind]:
            parts[-1] += f" (static optimisation {_median(rows, COLUMNS[kind].index('optimised r'))})"
    return f"Median r: {', '.join(parts)}."


def _median(rows: list[tuple], column: int) -> str:
    values = np.array([row[column] for row in rows], dtype=float)
    return f"{np.nanmedian(values):.2f}" if np.isfinite(values).any() else "-"


def chance_rows(comparison: Comparison) -> list[tuple]:
    """Return rows (`CHANCE_COLUMNS`) for simulation and static optimisation, without lag and at the best lags."""
    curves, rows = comparison.of("muscle"), []
    for name, optimised in (("simulation", False), ("static optimisation", True)):
        if optimised and any(curve.optimised is None for curve in curves):
            continue
        for suffix, at_lag in (("", False), (", best lags", True)):
            chance = chance_level(correlations(curves, comparison.rate, optimised, at_lag))
            rows.append((name + suffix, chance.r, chance.mean, chance.high, 100 * chance.beaten))
    return rows


def figure(comparison: Comparison) -> Any:
    """Plot one panel per curve: forces, then moments, then muscles."""
    panels = [_panel(curve) for curve in comparison.curves]
    return grid(panels, comparison.time, "time of the trial [s]", zero=True)


def _panel(one: ComparedCurve) -> Panel:
    curves = [Curve("measured", one.measured, color=GREY), Curve("simulated", one.simulated, color=COLORS[0])]
    if one.optimised is not None:
        curves.append(Curve("static optimisation", one.optimised, color=COLORS[1], style="--"))
    title = pretty(one.name)
    if one.kind == "muscle":
        title += f"\npeak activation {one.scale[1]:.2f}"
        title += f", optimised {one.scale[2]:.2f}" if one.optimised is not None else ""
    return Panel(title, curves, one.unit)


def _readable(rows: list[tuple]) -> list[tuple]:
    return [(pretty(row[0]), *row[1:]) for row in rows]


def _assumptions(one: Comparison) -> list[str]:
    return [
        f"clock: the clip's first frame is at {one.clock.start:.3f} s of the trial, the best match of its hip, knee "
        f"and ankle angles with the recorded ones ({one.clock.rms:.1f} deg root mean square)",
        "simulated ground forces and moments are recomputed from the states of the rollout; moments are net, including "
        "ligaments and joint limits, as in inverse dynamics",
        f"all curves, including measured ones, are low-passed: forces {CUTOFFS['force']:g} Hz, moments "
        f"{CUTOFFS['moment']:g} Hz, activity {CUTOFFS['muscle']:g} Hz",
        "the level of EMG is unknown without maximal contractions: its envelope, the simulated and the optimised "
        "activation are each divided by their peak within the time compared",
    ]


GLOSSARY = (
    "r: Pearson's correlation over the trial's clock. RMSE: root mean square of the difference, in the row's unit.",
    f"lag: the shift within {1e3 * LONGEST_LAG:.0f} ms with the highest correlation; positive: the model is later "
    "than the measurement. In muscle, force follows EMG by 30 to 100 ms.",
    "optimised: static optimisation of the recorded motion with the measured ground forces, frame by frame, legs only. "
    "It uses the measured forces; the simulation does not.",
    "shuffled r and RMSE: mean over the simulated curves of all other muscles.",
    f"chance level: mean r if the model's muscles are assigned to the channels at random ({SHUFFLES} times); at least "
    "as good: the fraction of these assignments that reach the mean r of the true one.",
    "RMSE [N]: of the forces without division by weight.",
)
