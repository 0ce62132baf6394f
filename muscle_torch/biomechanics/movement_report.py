"""The report of `tools/analyze.py` for bodies without feet."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from .movement import Movement, end_points
from .movement_tables import (
    ANGLE_COLUMNS,
    EPISODE_COLUMNS,
    GLOSSARY,
    GROUP_COLUMNS,
    MOMENT_COLUMNS,
    PATH_COLUMNS,
    angle_rows,
    episode_rows,
    group_columns,
    group_rows,
    has_reference,
    moment_rows,
    path_rows,
    summary,
)
from .movements import Movements
from .report import COLORS, GREY, Curve, Panel, Report, grid
from .series import TimeSeries

MAX_FIGURES = 4  # movements with figures
QUANTITIES = {"Joint angles": "angles", "Joint velocities": "velocities", "Net joint moments": "moments"}
SIDES = {"r": "right", "l": "left"}
PLANES = (("x", "y", "from above"), ("x", "z", "from the front or back"), ("y", "z", "from the side"))


def movement_tables(movements: Movements) -> list[tuple[str, tuple[str, ...], list[tuple]]]:
    """Return (title, columns, rows) of the tables; columns that are empty in all rows are left out."""
    tables = [
        ("Motions", EPISODE_COLUMNS, episode_rows(movements)),
        ("Joint angles and speeds", ANGLE_COLUMNS, angle_rows(movements)),
        ("Joint moments", MOMENT_COLUMNS, moment_rows(movements)),
        ("Paths", PATH_COLUMNS, path_rows(movements)),
        ("Activation by group", GROUP_COLUMNS, group_rows(movements)),
    ]
    return [(title, *_without_empty(columns, rows)) for title, columns, rows in tables if rows]


def _without_empty(columns: tuple[str, ...], rows: list[tuple]) -> tuple[tuple[str, ...], list[tuple]]:
    """Return the table without columns that contain nothing but NaN or ""."""
    kept = [i for i in range(len(columns)) if any(row[i] == row[i] and row[i] != "" for row in rows)]
    return tuple(columns[i] for i in kept), [tuple(row[i] for i in kept) for row in rows]


def movement_report(
    movements: Movements,
    extra_tables: Sequence[tuple[str, tuple[str, ...], list[tuple]]],
    notes: Sequence[str],
    assumptions: Sequence[str],
) -> Report:
    """Return the report: tables, then figures of the first movements, exclusions and assumptions.

    Args:
        movements: The movements.
        extra_tables: Further tables: (title, columns, rows).
        notes: What was left out.
        assumptions: What was assumed.
    """
    ones = movements.movements
    report = Report(
        f"Movement: {ones[0].name}" + (f" and {len(ones) - 1} more" if len(ones) > 1 else ""),
        f"{sum(one.seconds for one in ones):.2f} s of {movements.embodiment.name} at {ones[0].rate:.0f} Hz. "
        + summary(movements),
    )
    for title, columns, rows in (*movement_tables(movements), *extra_tables):
        report.heading(title)
        report.table(columns, rows)
    report.glossary(GLOSSARY)
    for one, other in movements.pairs[:MAX_FIGURES]:
        _add_figures(report, movements, one, other)
    if len(ones) > MAX_FIGURES:
        report.text(f"Figures show the first {MAX_FIGURES} movements; the folder curves contains all.")
    report.heading("Exclusions")
    report.notes(notes)
    report.heading("Assumptions")
    report.glossary(assumptions)
    return report


def _add_figures(report: Report, movements: Movements, one: Movement, other: Movement | None) -> None:
    """Add the figures of one movement."""
    label = f"{one.name}, seed {one.seed}" if has_reference(movements) else one.name
    time, dashed = one.angles.time, " Dashed: the reference." if other is not None else ""
    report.heading(f"Over time: {label}")
    for title, name in (
        ("Joint angles", "angles"),
        ("Joint velocities", "velocities"),
        ("Net joint moments", "moments"),
    ):
        reference = getattr(other, name) if other is not None else None
        panels = joint_panels(getattr(one, name), reference)
        report.figure(grid(panels, time, "time [s]", columns=4, zero=True), f"{title}.{dashed}")
    if one.muscle_moments is not None:
        panels = joint_panels(one.muscle_moments.at(time), None)
        report.figure(grid(panels, time, "time [s]", columns=4, zero=True), "Moments of the muscles.")
    panels = group_panels(movements, one)
    if panels:
        report.figure(grid(panels, time, "time [s]", columns=4), "Mean activation by group and side.")
    report.figure(path_figure(movements, one, other), f"Paths [m]; a dot marks the start.{dashed}")
    report.figure(grid(speed_panels(movements, one, other), time, "time [s]", columns=2), f"Speed.{dashed}")


def color_of(name: str) -> str:
    """Return the color of a side: that of right, of left, or a third one."""
    return COLORS[0] if name.startswith("right") else COLORS[1] if name.startswith("left") else COLORS[2]


def joint_panels(series: TimeSeries, reference: TimeSeries | None) -> list[Panel]:
    """Return one panel per joint, right and left together, with the reference.

    Args:
        series: (T, joints).
        reference: The same of the reference, or None.
    """
    stems: dict[str, dict[str, str]] = {}
    for name in series.names:
        stem, _, side = name.rpartition("_")
        if side not in SIDES:
            stem, side = name, ""
        stems.setdefault(stem, {})[side] = name
    panels = []
    for stem, joints in stems.items():
        curves = []
        for side, name in joints.items():
            label = SIDES.get(side, "movement")
            color = color_of(label)
            curves.append(Curve(label, series[name], color=color))
            if reference is not None:
                curves.append(Curve(f"{label}, reference", reference[name], color=color, style="--"))
        unit = series.units[series.index(next(iter(joints.values())))]
        panels.append(Panel(stem.replace("_", " "), curves, unit))
    return panels


def group_panels(movements: Movements, one: Movement) -> list[Panel]:
    """Return one panel per muscle group, by side; none without activations."""
    if one.activations is None:
        return []
    values = one.activations.values[: len(one.sites)]
    panels: dict[str, list[Curve]] = {}
    for (group, side), columns in group_columns(movements.embodiment).items():
        curve = Curve(side or "all", values[:, columns].mean(axis=1), color=color_of(side))
        panels.setdefault(group, []).append(curve)
    return [Panel(group, curves, "activation", 0.0) for group, curves in panels.items()]


def speed_panels(movements: Movements, one: Movement, other: Movement | None) -> list[Panel]:
    """Return one panel of the speed of each limb's end, with the reference."""
    panels = []
    for point, site in end_points(movements.embodiment).items():
        curves = [Curve("movement", np.linalg.norm(one.site_velocities[:, site], axis=1))]
        if other is not None:
            speed = np.linalg.norm(other.site_velocities[:, site], axis=1)
            curves.append(Curve("reference", speed, color=GREY, style="--"))
        panels.append(Panel(point, curves, "m/s"))
    return panels


def path_figure(movements: Movements, one: Movement, other: Movement | None) -> Any:
    """Plot the paths of the ends of the limbs in three planes, at equal scale, with those of the reference."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(11.6, 4.0), layout="constrained")
    for axes, (across, along, title) in zip(figure.subplots(1, 3), PLANES, strict=True):
        i, j = "xyz".index(across), "xyz".index(along)
        for point, site in end_points(movements.embodiment).items():
            color, path = color_of(point), one.sites[:, site]
            axes.plot(path[:, i], path[:, j], color=color, lw=1.7, label=point)
            axes.plot(path[0, i], path[0, j], "o", color=color, ms=5)
            if other is not None:
                axes.plot(other.sites[:, site, i], other.sites[:, site, j], color=color, lw=1.0, ls="--")
        axes.set_aspect("equal", adjustable="datalim")
        axes.set_title(title, fontsize=9.5)
        axes.set_xlabel(f"{across} [m]", fontsize=8)
        axes.set_ylabel(f"{along} [m]", fontsize=8)
        axes.tick_params(labelsize=7.5)
        axes.spines[["top", "right"]].set_visible(False)
    figure.legend(*figure.axes[0].get_legend_handles_labels(), loc="outside upper center", ncols=4, fontsize=9)
    return figure
