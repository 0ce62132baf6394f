"""Analysis of force plates without motion: strides, stance and vertical force."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from muscle_torch.errors import InputError
from muscle_torch.motion.support import runs

from .analyze_options import AnalyzeOptions
from .cycles import Cycles, cut_cycles, ordinary_durations
from .gait import GRAVITY, SIDES
from .gait_events import Contacts, force_contacts, read_forces
from .plates import LOADED, force_plates, idle_plates, vertical_columns
from .report import Curve, Panel, Report, grid, text_table
from .series import TimeSeries, check_rate

DRAWN_SECONDS = 10.0


@dataclass(frozen=True, eq=False)
class ForceWalk:
    """Contacts and vertical force over the stride of each foot, or of each plate if the foot is unknown.

    `columns`, `contacts` and `cycles` have the keys r and l, or the plates' names.
    """

    forces: TimeSeries
    columns: dict[str, str]  # column of the vertical force
    contacts: dict[str, Contacts]
    cycles: dict[str, Cycles]  # vertical force in body weights if the mass is known, else [N]
    mass: float  # of the subject [kg]; 0: unknown
    threshold: float  # [N]
    left_out: tuple[str, ...]  # notes on exclusions and assumptions

    @property
    def labels(self) -> dict[str, str]:
        """Key -> label in tables and figures: right, left, or the plate's name."""
        return {key: SIDES.get(key, key) for key in self.columns}


def force_walk(forces: TimeSeries, mass: float = 0.0, threshold: float = 50.0, points: int = 101) -> ForceWalk:
    """Compute the contacts of a force recording.

    Args:
        forces: Recording with plate columns (`plates.force_plates`).
        mass: The subject's mass [kg]; 0: unknown, forces stay in newtons.
        threshold: Vertical force [N] above which a foot is on a plate.
        points: Number of points of a normalized stride.

    Returns:
        Right and left if the names identify the feet or there are two plates, otherwise each plate by itself. Plates
        that are unusable or unused are excluded, with a note in `left_out`.

    Raises:
        InputError: No plate is usable.
    """
    columns, contacts, cycles = {}, {}, {}
    left_out = [*forces.notes, *_assumed(forces)]
    issues = []
    unit, factor = ("BW", mass * GRAVITY) if mass else ("N", 1.0)
    check_rate(forces.rate, 20.0, forces.source)
    for key, column in vertical_columns(forces).items():
        label = f"{SIDES[key]} foot ({column})" if key in SIDES else key
        try:
            contacts[key] = force_contacts(forces, key, column, threshold)
        except InputError as error:
            issues.append(f"{label}: {error}")
            continue
        columns[key] = column
        left_out += [f"{label}: {note}" for note in contacts[key].left_out]
        if len(contacts[key].starts) > 1:
            one = forces.select([column])
            one = one.with_values(one.values / factor, (unit,))
            cycles[key] = cut_cycles(one, contacts[key].starts, points=points)
            left_out += [f"{label}: {note}" for note in cycles[key].left_out]
    if not columns:
        raise InputError(issues[0])
    return ForceWalk(forces, columns, contacts, cycles, mass, threshold, (*issues, *left_out))


def _assumed(forces: TimeSeries) -> list[str]:
    """Return notes on which foot was assumed on which plate, and on unused plates."""
    plates = {plate.name: plate.side for plate in force_plates(forces)}
    notes = [f"{name}: unused (below {LOADED:.0f} N throughout)" for name in idle_plates(forces)]
    columns = vertical_columns(forces)
    if columns.keys() == {"r", "l"} and not any(plates.values()):
        notes.append(f"the names do not identify the feet: {columns['r']} is assumed to be right, {columns['l']} left")
    elif not columns.keys() <= {"r", "l"}:
        notes.append(
            "the names do not identify the feet, so plates are analysed separately: a stride lasts from contact to "
            "contact on the same plate"
        )
    return notes


def force_table(walk: ForceWalk) -> tuple[tuple[str, ...], list[tuple]]:
    """Return the titles (quantity, right, left or the plates, unit) and the rows."""

    def row(name: str, unit: str, value) -> tuple:
        return (name, *(value(key) for key in walk.columns), unit)

    def strides(key: str) -> np.ndarray:
        return walk.contacts[key].strides

    def over(values: np.ndarray, statistic) -> float:
        finite = values[np.isfinite(values)]
        return float(statistic(finite)) if len(finite) else float("nan")

    def unusual(key: str) -> int:
        return int((~ordinary_durations(strides(key))).sum())

    weight = walk.mass * GRAVITY if walk.mass else 1.0
    rows = [
        row("force column", "", lambda k: walk.columns[k]),
        row("contacts", "", lambda k: len(walk.contacts[k].starts)),
        row("contact time, median", "s", lambda k: over(walk.contacts[k].ends - walk.contacts[k].starts, np.median)),
        row("strides", "", lambda k: len(strides(k))),
        row("strides beyond 3 median deviations", "", unusual),
        row("stride time, median", "s", lambda k: over(strides(k), np.median)),
        row("stride time, standard deviation", "s", lambda k: over(strides(k), np.std)),
        row("stance share, median", "% of stride", lambda k: 100 * over(walk.contacts[k].stance_share, np.median)),
        row("highest vertical force", "BW" if walk.mass else "N",
            lambda k: float(np.nanmax(walk.forces[walk.columns[k]])) / weight),
        row(f"for comparison: plain crossings of {walk.threshold:g} N", "",
            lambda k: len(runs(walk.forces[walk.columns[k]] > walk.threshold))),
    ]  # fmt: skip
    return ("quantity", *walk.labels.values(), "unit"), rows


def force_report(walk: ForceWalk, title: str) -> Report:
    """Return the report: numbers, force over time with contacts, force over the stride, notes."""
    forces = walk.forces
    length = forces.time[-1] - forces.time[0]
    foot = "foot" if walk.columns.keys() <= SIDES.keys() else "plate"
    report = Report(
        f"Ground forces: {title}", f"{length:.1f} s at {forces.rate:.0f} Hz, vertical force of each {foot}."
    )
    report.heading("Gait parameters")
    report.table(*force_table(walk))
    report.heading("Vertical force and the contacts")
    report.figure(_time_figure(walk), f"The first {min(length, DRAWN_SECONDS):.0f} s; shaded: on the ground.")
    if walk.cycles:
        report.heading("Over the stride")
        curves = [Curve(walk.labels[key], one.mean[:, 0], one.sd[:, 0]) for key, one in walk.cycles.items()]
        first = next(iter(walk.cycles.values()))
        leaves = [100 * float(np.nanmean(walk.contacts[key].stance_share)) for key in walk.cycles]
        panel = Panel("vertical force", curves, first.units[0], floor=0.0, marks=leaves)
        figure = grid([panel], first.percent, "stride [%]", width=7.0)
        report.figure(figure, "Mean and one standard deviation; dotted: the feet leave the ground.")
    report.heading("Exclusions and assumptions")
    report.notes(walk.left_out)
    return report


def _time_figure(walk: ForceWalk):
    early = walk.forces.time <= walk.forces.time[0] + DRAWN_SECONDS
    time = walk.forces.time[early]
    panels = [
        Panel(f"{_title(key)} ({column})" if key in SIDES else column,
              [Curve("vertical force", walk.forces[column][early])], "vertical force [N]")
        for key, column in walk.columns.items()
    ]  # fmt: skip
    figure = grid(panels, time, "time [s]", columns=1, width=11.0)
    for axis, key in zip(figure.axes, walk.columns, strict=False):
        for start, end in zip(walk.contacts[key].starts, walk.contacts[key].ends, strict=True):
            if start < time[-1]:
                axis.axvspan(start, np.nanmin([end, time[-1]]), color="#1f5fa8", alpha=0.12, lw=0)
    return figure


def _title(key: str) -> str:
    return f"{SIDES[key]} foot" if key in SIDES else key


def analyse_forces(options: AnalyzeOptions) -> None:
    """Analyse a force recording without motion: strides, stance, vertical force."""
    walk = force_walk(
        read_forces(options.forces, options.rate), options.mass, options.force_threshold or 50.0, options.points
    )
    print(text_table(*force_table(walk)), end="\n\n")
    for note in walk.left_out:
        print(f"excluded or assumed: {note}")
    report = force_report(walk, Path(options.forces).name)
    print(f"written to {report.write(Path(options.output) / 'report.html')}")
