"""The page that `tools/check_muscles.py` writes."""

from typing import Any

import numpy as np

from muscle_torch.embodiments import Embodiment

from .anthropometry import SEGMENT_COLUMNS, segment_table
from .experiments import EXPERIMENT_COLUMNS, MeasuredArm, experiment_rows
from .figures import COLOURS, Curve, Panel, grid
from .muscle_curves import muscle_curves, normalised_lengths
from .muscle_paths import Sweep, crosses, mirrored_joint
from .muscle_verdicts import VERDICT_COLUMNS, MuscleCheck
from .report import Report

DRAWN = 24  # muscles in the pictures
PANELS = 24


def muscle_report(
    embodiment: Embodiment, check: MuscleCheck, measured: list[MeasuredArm], muscles: tuple[str, ...] = ()
) -> Report:
    """Verdicts, pictures, segment masses, measured moment arms."""
    good = sum(row[-1] == "ok" for row in check.rows)
    report = Report(
        f"Muscles of {embodiment.name}",
        f"{good} of {len(check.rows)} muscles show no defect. {len(check.sweeps)} independent joints were moved "
        "through their ranges one at a time, the others at the reference posture, coupled joints following.",
    )
    report.heading("Defects")
    report.notes(check.defects, "No defect was found.")
    drawn = muscles or strongest(embodiment, check)
    if measured:
        report.heading("Measured moment arms")
        report.table(EXPERIMENT_COLUMNS, experiment_rows(measured))
        report.figure(
            measured_figure(measured), "Moment arm over the joint's angle: model and cadavers, authors' signs."
        )
        report.text(*dict.fromkeys(f"{one.name}: {one.source}" for one in measured))
    report.heading("Moment arms over the range")
    report.text(
        "A positive arm pulls the joint towards larger positions. Where left and right (red) are alike, one line shows."
    )
    report.figure(arm_figure(embodiment, check.sweeps, drawn), "Moment arm [mm] by MuJoCo's moment matrix.")
    report.heading("Force-length and force-velocity curves")
    report.figure(
        curve_figure(embodiment, check.sweeps, drawn), "In units of F0; grey: the lengths that the ranges allow."
    )
    segments = segment_table(embodiment)
    if segments:
        report.heading("Segment masses")
        report.text("Winter 2009 (after Dempster) and de Leva 1996 cut the trunk otherwise than the model does; "
                    "compare limbs first.")  # fmt: skip
        report.table(SEGMENT_COLUMNS, segments)
    report.heading("Every muscle")
    report.table(VERDICT_COLUMNS, check.rows)
    return report


def strongest(embodiment: Embodiment, check: MuscleCheck) -> tuple[str, ...]:
    """The strongest muscles that have no left name, in model order."""
    left = {pair[0] for pair in embodiment.left_right}
    rows = sorted((row for row in check.rows if row[0] not in left), key=lambda row: -row[1])[:DRAWN]
    chosen = {row[0] for row in rows}
    return tuple(name for name in embodiment.actuator_names if name in chosen)


def measured_figure(measured: list[MeasuredArm]) -> Any:
    """One panel a muscle and axis; several cadavers share it."""
    from matplotlib.figure import Figure

    groups: dict[tuple, list[MeasuredArm]] = {}
    for one in measured:
        groups.setdefault((one.muscles, one.axis), []).append(one)
    columns = min(3, len(groups))
    rows = -(-len(groups) // columns)
    figure = Figure(figsize=(4 * columns, 2.9 * rows), layout="constrained")
    axes = np.atleast_1d(figure.subplots(rows, columns, squeeze=False)).ravel()
    for axis, ((muscles, joint), curves) in zip(axes, groups.items(), strict=False):
        for index, one in enumerate(curves):
            axis.plot(one.degrees, 1e3 * one.arm, color=COLOURS[1], lw=1.2, ls=("-", "--", ":")[index % 3],
                      label=one.name.split(".")[0] if index == 0 else None)  # fmt: skip
        axis.plot(curves[0].degrees, 1e3 * curves[0].model, color=COLOURS[0], lw=2, label="model")
        axis.axhline(0, color="#99a3ad", lw=0.7, zorder=0)
        axis.set_title(f"{', '.join(muscles)} about {joint}", fontsize=9)
        axis.set_xlabel("hip flexion [deg]" if "hip" in joint else "[deg]", fontsize=8)
        axis.set_ylabel("moment arm [mm]", fontsize=8)
        axis.legend(fontsize=8, frameon=False)
        axis.spines[["top", "right"]].set_visible(False)
    for axis in axes[len(groups) :]:
        axis.set_visible(False)
    return figure


def arm_figure(embodiment: Embodiment, sweeps: dict[str, Sweep], muscles: tuple[str, ...]) -> Any:
    """One panel a muscle: its arm about the joint where it is longest, its left partner's over it."""
    names = embodiment.actuator_names
    partner = {right: left for left, right in embodiment.left_right}
    panels = []
    for muscle in muscles[:PANELS]:
        index = names.index(muscle)
        joint = max(sweeps, key=lambda j: float(np.abs(sweeps[j].by_moment[:, index]).max()))
        curves = [Curve("right", 1e3 * sweeps[joint].by_moment[:, index])]
        if muscle in partner:
            mirrored, sign = mirrored_joint(embodiment, joint)
            arms = sweeps[mirrored].by_moment[:, names.index(partner[muscle])]
            curves.insert(0, Curve("left", 1e3 * (arms if sign > 0 else -arms[::-1])))
            curves = [Curve("right", curves[1].mean), Curve("left", curves[0].mean)]
        panels.append(Panel(f"{muscle}: {joint}", curves, "mm"))
    return grid(panels, np.linspace(0, 100, len(next(iter(sweeps.values())).positions)), "joint range [%]", zero=True)


def curve_figure(embodiment: Embodiment, sweeps: dict[str, Sweep], muscles: tuple[str, ...]) -> Any:
    """One panel a muscle: active and passive force over length, with the lengths that it can have."""
    model = embodiment.model
    panels, spans = [], []
    for muscle in muscles[:PANELS]:
        index = embodiment.actuator_names.index(muscle)
        curves = muscle_curves(model, index)
        crossed = [one.lengths[:, index] for one in sweeps.values() if crosses(one)[index]]
        lengths = np.concatenate(crossed) if crossed else np.array([np.nan])
        spans.append(normalised_lengths(model, index, lengths))
        speed = np.interp(np.linspace(-1.2, 1.2, len(curves.lengths)), curves.velocities, curves.force_velocity)
        panels.append(Panel(muscle, [Curve("active", curves.active), Curve("passive", np.minimum(curves.passive, 2.0)),
                                     Curve("over velocity -1.2 to 1.2", speed)], "F0"))  # fmt: skip
    x = muscle_curves(model, 0).lengths
    figure = grid(panels, x, "length [L0]")
    for axis, span in zip(figure.axes, spans, strict=False):
        if np.isfinite(span).any():
            axis.axvspan(np.nanmin(span), np.nanmax(span), color="#8a97a3", alpha=0.18, lw=0)
    return figure
