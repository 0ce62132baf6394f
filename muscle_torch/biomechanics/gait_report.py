"""The report of `tools/analyze.py` and its tables."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np

from muscle_torch.errors import InputError

from .agreement import cyclic_lag, noise_ceiling, pearson, rmse
from .cycles import Cycles, pool
from .gait import LEG_JOINTS, MOMENTS, SIDES, Gait, angle_cycles, force_cycles, moment_cycles
from .gait_numbers import NUMBER_COLUMNS, walk_numbers
from .muscle_activity import MuscleActivity
from .reference_curves import ReferenceCurves
from .report import GREY, Curve, Panel, Report, grid, pretty
from .series import TimeSeries, common_clock

EPISODE_COLUMNS = ("motion", "seed", "followed [s]", "of [s]", "strides right", "strides left", "angle error [deg]")
MOMENT_COLUMNS = ("joint", "r", "RMSE [Nm]", "range [Nm]")
COLUMNS = ("curve", "unit", "cycles", "r", "RMSE", "of range [%]", "mean apart", "lag [%]", "r at lag", "ceiling r")
ALONE_COLUMNS = ("curve", "unit", "cycles", "lowest", "at [%]", "highest", "at [%]", "range", "sd", "between cycles r")
# Names of curves: by their positive direction.
NAMES = {"hip_rotation": "hip internal rotation", "knee_angle": "knee flexion", "ankle_angle": "ankle dorsiflexion"}
QUANTITIES = {"angle": angle_cycles, "moment": moment_cycles, "force": force_cycles}


@dataclass(frozen=True)
class Walks:
    """The walks to analyse."""

    gaits: list[Gait]
    followed: list[Gait] = field(default_factory=list)  # motions that a policy followed
    activity: MuscleActivity | None = None
    episodes: list[tuple] = field(default_factory=list)  # one row (`EPISODE_COLUMNS`) per rollout
    left_out: list[str] = field(default_factory=list)  # notes


def all_cycles(gait: Gait, points: int) -> tuple[dict[tuple[str, str], Cycles], list[str]]:
    """Return (quantity, side) -> cycles of everything in the recording, and notes on what is missing."""
    result: dict[tuple[str, str], Cycles] = {}
    notes: list[str] = []
    for side, leg in SIDES.items() if not gait.no_walk else ():
        strikes = len(gait.contacts[side].starts)
        if strikes < 2:
            notes.append(f"{leg} leg: no complete cycle ({strikes} foot strikes, at least 2 needed)")
            continue
        for quantity, cut in QUANTITIES.items():
            try:
                cycles = cut(gait, side, points)
            except InputError as error:
                notes.append(f"{quantity} of the {leg} leg: {error}")
                continue
            if cycles is not None:
                result[quantity, side] = cycles
                notes += [f"{quantity} of the {leg} leg: {note}" for note in cycles.left_out]
    order = {quantity: place for place, quantity in enumerate(QUANTITIES)}
    return dict(sorted(result.items(), key=lambda item: order[item[0][0]])), notes


def pooled_cycles(gaits: Sequence[Gait], points: int) -> tuple[dict[tuple[str, str], Cycles], list[str]]:
    """Return `all_cycles` of several walks (seeds, motions) pooled; notes name the walk that they belong to."""
    parts: dict[tuple[str, str], list[Cycles]] = {}
    notes: list[str] = []
    for index, gait in enumerate(gaits):
        cycles_of_walk, left_out = all_cycles(gait, points)
        label = f"walk {index + 1} ({gait.name}): " if len(gaits) > 1 else ""
        notes += [label + note for note in left_out]
        for key, cycles in cycles_of_walk.items():
            parts.setdefault(key, []).append(cycles)
    return {key: pool(cycles) for key, cycles in parts.items()}, notes


def named(curve: str) -> str:
    """Return the display name of a curve."""
    return NAMES.get(curve, curve.replace("_", " "))


def curves_of(cycles: dict[tuple[str, str], Cycles], source: str) -> ReferenceCurves:
    """Return the cycles of a walk as reference curves, right and left together."""
    curves: dict[tuple[str, str], list[np.ndarray]] = {}
    for (quantity, _), one in cycles.items():
        for name in one.names:
            curves.setdefault((quantity, name), []).append(one.column(name))
    return ReferenceCurves({key: np.concatenate(rows) for key, rows in curves.items()}, source)


def comparison_rows(cycles: dict[tuple[str, str], Cycles], reference: ReferenceCurves) -> list[tuple]:
    """Return one row (`COLUMNS`) per curve that the reference also has."""
    rows = []
    for (quantity, side), one in cycles.items():
        for index, name in enumerate(one.names):
            mean = one.mean[:, index]
            trials = reference.get(quantity, name, len(mean))
            if trials is None:
                continue
            other = trials.mean(axis=0)
            loop = slice(None, -1) if len(mean) % 2 else slice(None)
            lag = cyclic_lag(other[loop], mean[loop])
            ceiling = float(np.mean(noise_ceiling(trials).leave_one_out)) if len(trials) > 1 else float("nan")
            offset = float((mean - other).mean())
            error = rmse(mean, other)
            rows.append((f"{named(name)} ({SIDES[side]})", one.units[index], len(one.values), pearson(mean, other),
                         error, 100 * error / float(np.ptp(other)), offset, *lag, ceiling))  # fmt: skip
    return rows


def missing_curves(cycles: dict[tuple[str, str], Cycles], reference: ReferenceCurves) -> list[str]:
    """Return a note on the curves that the reference lacks."""
    names = [f"{quantity} {named(name)}" for (quantity, _), one in cycles.items() for name in one.names
             if (quantity, name) not in reference.curves]  # fmt: skip
    return [f"{reference.source} has no {', '.join(dict.fromkeys(names))}: not compared"] if names else []


def curve_rows(cycles: dict[tuple[str, str], Cycles]) -> list[tuple]:
    """Return one row (`ALONE_COLUMNS`) per curve: extremes, their position, and the spread between cycles."""
    rows = []
    for (_, side), one in cycles.items():
        for index, name in enumerate(one.names):
            mean, values = one.mean[:, index], one.values[:, :, index]
            low, high = int(mean.argmin()), int(mean.argmax())
            several = len(values) > 1
            rows.append(
                (f"{named(name)} ({SIDES[side]})", one.units[index], len(values),
                 float(mean[low]), float(one.percent[low]), float(mean[high]), float(one.percent[high]),
                 float(np.ptp(mean)), float(one.sd[:, index].mean()) if several else float("nan"),
                 float(np.nanmean(noise_ceiling(values).leave_one_out)) if several else float("nan"))
            )  # fmt: skip
    return rows


def moment_rows(gait: Gait, theirs: TimeSeries) -> list[tuple]:
    """Compare joint moments with another program's for the same motion, over their common time.

    Args:
        gait: A gait with moments.
        theirs: The other program's moments, in the model's signs.

    Raises:
        InputError: There are no moments to compare.
    """
    if gait.moments is None:
        raise InputError("no joint moments to compare: set forces= or use an archive with kinetics")
    shared = [name for name in LEG_JOINTS if name in theirs and name in gait.moments]
    if not shared:
        raise InputError(
            f"{theirs.source}: no moment of the body's joints; columns are named like hip_flexion_r_moment"
        )
    first, second = common_clock(gait.moments.select(shared), theirs.select(shared))
    return [
        (name, pearson(first[name], second[name]), rmse(first[name], second[name]), float(np.ptp(second[name])))
        for name in shared
    ]


def _person(gait: Gait) -> str:
    return f"body of {gait.mass:.1f} kg, legs of {gait.leg_length:.2f} m (hip to ankle)"


def gait_report(
    walks: Walks,
    cycles: dict[tuple[str, str], Cycles],
    reference: ReferenceCurves | None,
    extra_tables: list[tuple[str, tuple[str, ...], list[tuple]]],
    notes: list[str],
    assumptions: list[str],
    other_moments: TimeSeries | None = None,
) -> Report:
    """Return the report: gait parameters, curves with the reference, tables, exclusions and assumptions.

    Args:
        walks: The walks; the first is shown over time if it has no complete cycle.
        cycles: Of `pooled_cycles`.
        reference: Curves to compare with; None: none.
        extra_tables: Further tables: (title, columns, rows).
        notes: What was left out.
        assumptions: What was assumed.
        other_moments: Joint moments of another program.
    """
    gaits, gait = walks.gaits, walks.gaits[0]
    seconds = sum(one.angles.time[-1] - one.angles.time[0] for one in gaits)
    report = Report(
        f"Gait: {gait.name}" + (f" and {len(gaits) - 1} more" if len(gaits) > 1 else ""),
        f"{seconds:.2f} s at {gait.rate:.0f} Hz, {_person(gait)}. {_summary(cycles, reference)}",
    )
    if walks.episodes:
        report.heading("Tracked motions")
        report.table(EPISODE_COLUMNS, walks.episodes)
    _add_parameters(report, gaits)
    for quantity, title in (("angle", "Joint angles"), ("moment", "Joint moments"), ("force", "Ground reaction force")):
        figure = curve_figure(quantity, cycles, reference, toe_offs(gaits))
        if figure is not None:
            report.heading(title)
            report.figure(
                figure,
                f"{title} over the gait cycle, from strike to strike. Bands: one standard deviation; dotted lines: "
                "toe-off.",
            )
    if not any(quantity == "angle" for quantity, _ in cycles):
        report.heading("Over time")
        report.text("There is no complete gait cycle, so the first walk is shown over time.")
        if walks.followed:
            report.figure(followed_figure(gait, walks.followed[0]), "Joint angles and their reference.")
        report.figure(time_figure(gait), "Joint angles [deg] and, if known, moments [Nm/kg].")
    _add_curve_tables(report, cycles, reference)
    if other_moments is not None:
        report.heading(f"Joint moments against {Path(other_moments.source).name}")
        report.table(MOMENT_COLUMNS, [(pretty(row[0]), *row[1:]) for row in moment_rows(gait, other_moments)])
        report.figure(moment_figure(gait, other_moments), "Net joint moments by both programs.")
    for title, columns, table in extra_tables:
        report.heading(title)
        report.table(columns, table)
    report.heading("Exclusions")
    report.notes(notes)
    report.heading("Assumptions")
    report.glossary(assumptions)
    return report


def _add_parameters(report: Report, gaits: Sequence[Gait]) -> None:
    """Add the table of gait parameters, and why motions are not walks."""
    report.heading("Gait parameters")
    if len(gaits) > 1:
        report.text(f"Means over {len(gaits)} walks; the curves below pool the cycles of all walks.")
    for one in gaits:
        if one.no_walk:
            report.text(f"{one.name or 'The motion'} is not a walk: {one.no_walk}. Its angles are shown over time.")
    numbers = walk_numbers(gaits)
    if numbers:
        report.table(NUMBER_COLUMNS, numbers)
        report.text(
            "Speed and step length are in the subject's metres if the subject's size is known, followed by the "
            "model's. Step length: from the other foot's strike to this one's, along the path, including flight."
        )


def _add_curve_tables(report: Report, cycles: dict[tuple[str, str], Cycles], reference: ReferenceCurves | None) -> None:
    """Add the table of curves, then their comparison with the reference."""
    alone = curve_rows(cycles)
    if alone:
        report.heading("Curves")
        report.table(ALONE_COLUMNS, alone)
        report.text(
            "lowest, highest: of the mean curve, with their position in the cycle; sd: standard deviation between "
            "cycles, averaged over the cycle; between cycles r: of each cycle with the mean of the others."
        )
    rows = comparison_rows(cycles, reference) if reference is not None else []
    if rows:
        report.heading("Comparison with the reference")
        report.table(COLUMNS, rows)
        report.text(
            "r: Pearson's correlation with the reference's mean; of range: RMSE over the reference's range; mean "
            "apart: mean difference from the reference; lag: positive if later than the reference; ceiling r: "
            "agreement between the trials of the reference."
        )


def _summary(cycles: dict[tuple[str, str], Cycles], reference: ReferenceCurves | None) -> str:
    """Return the correlations of hip, knee and ankle in one sentence; empty without a reference."""
    if reference is None:
        return ""
    rows = {row[0]: row for row in comparison_rows(cycles, reference) if row[1] == "deg"}
    parts = []
    for name in MOMENTS:
        rs = [rows[f"{named(name)} ({side})"][3] for side in SIDES.values() if f"{named(name)} ({side})" in rows]
        if rs and np.isfinite(rs).all():
            parts.append(f"{named(name)} {np.mean(rs):.2f}")
    return f"Correlation with {reference.source}: {', '.join(parts)}." if parts else ""


def toe_offs(gaits: Sequence[Gait]) -> dict[str, float]:
    """Return side -> mean time of toe-off [% of the cycle]; sides without one are absent."""
    shares = {side: np.concatenate([gait.contacts[side].stance_share for gait in gaits]) for side in SIDES}
    return {side: 100 * float(np.nanmean(share)) for side, share in shares.items() if np.isfinite(share).any()}


def curve_figure(
    quantity: str,
    cycles: dict[tuple[str, str], Cycles],
    reference: ReferenceCurves | None,
    marks: Mapping[str, float] = MappingProxyType({}),
) -> Any:
    """Plot one panel per curve, right and left with the reference; None if there are no curves.

    Args:
        quantity: A key of `QUANTITIES`.
        cycles: Of `pooled_cycles`.
        reference: Curves to compare with; None: none.
        marks: Side -> position of a dotted line [% of the cycle].
    """
    sides = [side for side in "rl" if (quantity, side) in cycles]
    if not sides:
        return None
    first = cycles[quantity, sides[0]]
    panels = []
    for index, name in enumerate(first.names):
        curves = [Curve(SIDES[s], cycles[quantity, s].mean[:, index], cycles[quantity, s].sd[:, index]) for s in sides]
        trials = reference.get(quantity, name, first.values.shape[1]) if reference is not None else None
        if reference is not None and trials is not None:
            curves.append(Curve(reference.source, trials.mean(axis=0), trials.std(axis=0), GREY, "--"))
        lines = [marks.get(side, float("nan")) for side in sides]
        floor = 0.0 if name == "vertical" else -np.inf
        panels.append(Panel(named(name), curves, first.units[index], floor, lines))
    return grid(panels, first.percent, "gait cycle [%]", columns=3, zero=True)


def time_figure(gait: Gait) -> Any:
    """Plot sagittal angles and moments of both legs over time."""
    panels = []
    for name in MOMENTS:
        curves = [Curve(SIDES[side], np.degrees(gait.angles[f"{name}_{side}"])) for side in SIDES]
        panels.append(Panel(named(name), curves, "deg"))
    if gait.moments is not None:
        moments = gait.moments.at(gait.angles.time)
        for name in MOMENTS:
            curves = [Curve(SIDES[side], moments[f"{name}_{side}"] / gait.mass) for side in SIDES]
            panels.append(Panel(f"{named(name)} moment", curves, "Nm/kg"))
    return grid(panels, gait.angles.time, "time [s]", columns=3, zero=True)


def moment_figure(gait: Gait, theirs: TimeSeries) -> Any:
    """Plot the sagittal moments of each leg over time, together with another program's."""
    assert gait.moments is not None
    shared = [f"{name}_{side}" for side in SIDES for name in MOMENTS if f"{name}_{side}" in theirs]
    ours, other = common_clock(gait.moments.select(shared), theirs.select(shared))
    panels = [
        Panel(f"{named(name[:-2])} ({SIDES[name[-1]]})",
              [Curve("this model", ours[name]), Curve(Path(theirs.source).name, other[name], None, GREY, "--")], "Nm")
        for name in shared
    ]  # fmt: skip
    return grid(panels, ours.time, "time [s]", columns=3, zero=True)


def followed_figure(gait: Gait, followed: Gait) -> Any:
    """Plot the sagittal angles of each leg over time, together with the reference motion's."""
    motion = followed.angles.at(gait.angles.time)
    panels = [
        Panel(
            f"{named(name)} ({SIDES[side]})",
            [Curve("policy", np.degrees(gait.angles[f"{name}_{side}"])),
             Curve("motion followed", np.degrees(motion[f"{name}_{side}"]), None, GREY, "--")],
            "deg",
        )
        for side in SIDES
        for name in MOMENTS
    ]  # fmt: skip
    return grid(panels, gait.angles.time, "time [s]", columns=3, zero=True)
