"""Force plates alone: strides, stance and vertical force of a recording without motion."""

from dataclasses import dataclass

import numpy as np

from muscle_torch.errors import InputError

from .cycles import Cycles, cut_cycles, ordinary_durations
from .gait import GRAVITY, SIDES
from .gait_events import Contacts, force_contacts, vertical_column
from .report import Curve, Panel, Report, grid
from .series import TimeSeries, runs

DRAWN_SECONDS = 10.0


@dataclass(frozen=True, eq=False)
class ForceWalk:
    """Contacts of each foot and its vertical force over the stride, in body weights where the mass is known."""

    forces: TimeSeries
    columns: dict[str, str]
    contacts: dict[str, Contacts]
    cycles: dict[str, Cycles]
    mass: float
    threshold: float
    left_out: tuple[str, ...]


def force_walk(forces: TimeSeries, mass: float = 0.0, threshold: float = 50.0, points: int = 101) -> ForceWalk:
    """Both feet of a force recording; columns by their usual names (`VERTICAL`), `mass` [kg], `threshold` [N].

    A foot whose force is missing or unusable is left out and told. Raises InputError where none is usable.
    """
    columns, contacts, cycles, left_out = {}, {}, {}, []
    unit, factor = ("BW", mass * GRAVITY) if mass else ("N", 1.0)
    for side, foot in SIDES.items():
        try:
            column = vertical_column(forces, side)
            contacts[side] = force_contacts(forces, side, column, threshold)
        except InputError as error:
            left_out.append(f"{foot} foot: {error}")
            continue
        columns[side] = column
        left_out += [f"{foot} foot ({column}): {note}" for note in contacts[side].left_out]
        if len(contacts[side].starts) > 1:
            one = forces.select([column])
            one = one.with_values(one.values / factor, (unit,))
            cycles[side] = cut_cycles(one, contacts[side].starts, points=points)
            left_out += [f"{foot} foot ({column}): {note}" for note in cycles[side].left_out]
    if not columns:
        raise InputError(left_out[0])
    return ForceWalk(forces, columns, contacts, cycles, mass, threshold, tuple(left_out))


def force_rows(walk: ForceWalk) -> list[tuple]:
    """Rows (quantity, right, left, unit)."""

    def row(name: str, unit: str, value) -> tuple:
        return (name, *(value(side) if side in walk.columns else float("nan") for side in SIDES), unit)

    def strides(side: str) -> np.ndarray:
        return walk.contacts[side].strides

    def over(values: np.ndarray, how) -> float:
        known = values[np.isfinite(values)]
        return float(how(known)) if len(known) else float("nan")

    def odd(side: str) -> int:
        return int((~ordinary_durations(strides(side))).sum())

    weight = walk.mass * GRAVITY if walk.mass else 1.0
    return [
        row("force column", "", lambda s: walk.columns[s]),
        row("contacts", "", lambda s: len(walk.contacts[s].starts)),
        row("strides", "", lambda s: len(strides(s))),
        row("strides beyond 3 median deviations", "", odd),
        row("stride time, median", "s", lambda s: over(strides(s), np.median)),
        row("stride time, standard deviation", "s", lambda s: over(strides(s), np.std)),
        row("stance share, median", "% of stride", lambda s: 100 * over(walk.contacts[s].stance_share, np.median)),
        row("highest vertical force", "BW" if walk.mass else "N",
            lambda s: float(np.nanmax(walk.forces[walk.columns[s]])) / weight),
        row(f"for comparison: plain crossings of {walk.threshold:g} N", "",
            lambda s: len(runs(walk.forces[walk.columns[s]] > walk.threshold))),
    ]  # fmt: skip


def force_report(walk: ForceWalk, title: str) -> Report:
    """Numbers, force over time with the contacts found, force over the stride, what was left out."""
    forces = walk.forces
    length = forces.time[-1] - forces.time[0]
    report = Report(f"Ground forces: {title}", f"{length:.1f} s at {forces.rate:.0f} Hz, vertical force of each foot.")
    report.heading("The walk in numbers")
    report.table(("quantity", "right", "left", "unit"), force_rows(walk))
    report.heading("Vertical force and the contacts found")
    report.figure(_time_figure(walk), f"The first {min(length, DRAWN_SECONDS):.0f} s; shaded: on the ground.")
    if walk.cycles:
        report.heading("Over the stride")
        panels = [
            Panel(f"{SIDES[side]} foot", [Curve(SIDES[side], one.mean[:, 0], one.sd[:, 0])], one.units[0])
            for side, one in walk.cycles.items()
        ]
        percent = next(iter(walk.cycles.values())).percent
        report.figure(grid(panels, percent, "stride [%]", columns=2), "Mean and one standard deviation.")
    report.heading("What was left out")
    report.notes(walk.left_out)
    return report


def _time_figure(walk: ForceWalk):
    early = walk.forces.time <= walk.forces.time[0] + DRAWN_SECONDS
    time = walk.forces.time[early]
    panels = [
        Panel(f"{SIDES[side]} foot ({column})", [Curve("vertical force", walk.forces[column][early])], "N")
        for side, column in walk.columns.items()
    ]
    figure = grid(panels, time, "time [s]", columns=1, width=11.0)
    for axis, side in zip(figure.axes, walk.columns, strict=False):
        for start, end in zip(walk.contacts[side].starts, walk.contacts[side].ends, strict=True):
            if start < time[-1]:
                axis.axvspan(start, np.nanmin([end, time[-1]]), color="#1f5fa8", alpha=0.12, lw=0)
    return figure
