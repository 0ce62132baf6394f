"""Checks of a body's muscles: one verdict per muscle, and the report of `tools/check_muscles.py`."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from tqdm import tqdm

from muscle_torch.embodiments import Embodiment
from muscle_torch.embodiments.independent import IndependentJoints

from .anthropometry import SEGMENT_COLUMNS, segment_table
from .experiments import EXPERIMENT_COLUMNS, MeasuredArm, experiment_rows
from .muscle_mechanics import (
    Sweep,
    active_share,
    arm_jumps,
    asymmetry,
    crosses,
    disagreement,
    length_jumps,
    mirrored_joint,
    muscle_curves,
    normalised_lengths,
    optimal_length,
    parameter_asymmetry,
    peak_force,
    range_differences,
    sweep,
)
from .passive import JOINT_COLUMNS, MUSCLE_COLUMNS, PassiveForces, joint_rows, muscle_rows
from .report import COLORS, Curve, Panel, Report, grid

AGREE = 1e-4  # [m] tolerance between the two definitions of a moment arm
SYMMETRIC = 1e-6  # [m] tolerance between left and right
JUMP = 0.010  # [m] of a moment arm between neighbouring positions
MARGIN = 1e-3  # [rad] to the ends of a range, so that finite differences stay inside
ACTIVE = 0.5  # minimal fraction of its lengths at which a muscle produces force
VERDICT_COLUMNS = ("muscle", "F0 [N]", "L0 [mm]", "joints", "largest arm [mm]", "about", "definitions apart [mm]",
                   "left-right apart [mm]", "pulls over [%]", "verdict")  # fmt: skip


@dataclass(frozen=True, eq=False)
class MuscleCheck:
    """Result of the checks."""

    rows: list[tuple]  # one per muscle (`VERDICT_COLUMNS`); the verdict is `ok` or the defects
    joints: list[str]  # defects of joints
    sweeps: dict[str, Sweep]

    @property
    def defects(self) -> list[str]:
        """All defects, one line each."""
        return [f"{row[0]}: {row[-1]}" for row in self.rows if row[-1] != "ok"] + self.joints


def check_muscles(embodiment: Embodiment, points: int = 61) -> MuscleCheck:
    """Sweep every independent joint over `points` positions and check every muscle."""
    # Show the bar only on a terminal, and only after a second of work.
    joints = tqdm(IndependentJoints(embodiment).joints, unit="joint", delay=1, disable=None)
    sweeps = {joint: sweep(embodiment, joint, points, MARGIN) for joint in joints}
    unequal, parameters = asymmetry(embodiment, sweeps), parameter_asymmetry(embodiment)
    findings = [_Findings.of(embodiment, sweeps, i, unequal, parameters) for i in range(len(embodiment.muscle_ids))]
    rows = [finding.row(embodiment, sweeps) for finding in findings]
    return MuscleCheck(rows, range_differences(embodiment), sweeps)


@dataclass(frozen=True, eq=False)
class _Findings:
    """Findings about one muscle; arrays have one entry per joint."""

    index: int  # among the muscles
    name: str
    crossed: np.ndarray
    arm_difference: np.ndarray
    length_jump: np.ndarray
    arm_jump: np.ndarray
    unequal: tuple[float, str]
    parameters: str
    active: float

    @classmethod
    def of(
        cls,
        embodiment: Embodiment,
        sweeps: dict[str, Sweep],
        index: int,
        unequal: dict[str, tuple[float, str]],
        parameters: dict[str, str],
    ) -> "_Findings":
        name, actuator = embodiment.muscle_names[index], int(embodiment.muscle_ids[index])
        crossed, arm_difference, length_jump, arm_jump = (
            np.array([check(one)[index] for one in sweeps.values()])
            for check in (crosses, disagreement, length_jumps, arm_jumps)
        )
        lengths = [one.lengths[:, index] for one in sweeps.values() if crosses(one)[index]]
        share = active_share(embodiment.model, actuator, np.concatenate(lengths)) if lengths else float("nan")
        other = unequal.get(name, (float("nan"), ""))
        return cls(index, name, crossed, arm_difference, length_jump, arm_jump, other, parameters.get(name, ""), share)

    def row(self, embodiment: Embodiment, sweeps: dict[str, Sweep]) -> tuple:
        model, joints, actuator = embodiment.model, list(sweeps), int(embodiment.muscle_ids[self.index])
        largest = np.array([np.abs(one.by_moment[:, self.index]).max() for one in sweeps.values()])
        return (
            self.name,
            peak_force(model, actuator),
            1e3 * optimal_length(model, actuator)[0],
            int(self.crossed.sum()),
            float(1e3 * largest.max()),
            joints[int(largest.argmax())],
            float(1e3 * self.arm_difference.max()),
            1e3 * self.unequal[0],
            100 * self.active,
            "; ".join(self.defects(joints)) or "ok",
        )

    def defects(self, joints: list[str]) -> list[str]:
        defects = []
        if not self.crossed.any():
            return ["crosses no joint that can move"]
        if self.arm_difference.max() > AGREE:
            worst = int(self.arm_difference.argmax())
            defects.append(f"moment arms differ by {1e3 * self.arm_difference[worst]:.2g} mm about {joints[worst]}")
        if self.length_jump.max() > 0:
            worst = int(self.length_jump.argmax())
            defects.append(f"length jumps {1e3 * self.length_jump[worst]:.1f} mm along {joints[worst]}")
        if self.arm_jump.max() > JUMP:
            worst = int(self.arm_jump.argmax())
            defects.append(f"moment arm jumps {1e3 * self.arm_jump[worst]:.0f} mm along {joints[worst]}")
        if self.unequal[0] > SYMMETRIC:
            defects.append(f"differs from the right one by {1e3 * self.unequal[0]:.2g} mm about {self.unequal[1]}")
        if self.parameters:
            defects.append(self.parameters)
        if self.active < ACTIVE:
            defects.append(f"cannot pull over {100 * (1 - self.active):.0f} % of its lengths")
        return defects


DRAWN = 24  # muscles in the figures
PANELS = 24


def muscle_report(
    embodiment: Embodiment,
    check: MuscleCheck,
    measured: list[MeasuredArm],
    muscles: tuple[str, ...] = (),
    passive: tuple[str, PassiveForces] | None = None,
) -> Report:
    """Return the report: verdicts, figures, segment masses, measured moment arms, passive forces.

    Args:
        embodiment: The body.
        check: Result of `check_muscles`.
        measured: Measured moment arms.
        muscles: Muscles in the figures; empty: the strongest.
        passive: Description of the postures, and the passive forces in them.
    """
    passed = sum(row[-1] == "ok" for row in check.rows)
    report = Report(
        f"Muscles of {embodiment.name}",
        f"{passed} of {len(check.rows)} muscles show no defect. {len(check.sweeps)} independent joints were moved "
        "through their ranges one at a time, with the others at the reference posture and coupled joints following.",
    )
    report.heading("Defects")
    report.notes(check.defects, "No defects.")
    drawn = muscles or strongest(embodiment, check)
    if measured:
        report.heading("Measured moment arms")
        report.table(EXPERIMENT_COLUMNS, experiment_rows(measured))
        report.figure(
            measured_figure(measured), "Moment arm over the joint angle: model and cadavers, with the authors' signs."
        )
        report.text(*dict.fromkeys(f"{one.name}: {one.source}" for one in measured))
    report.heading("Moment arms over the range")
    report.text("A muscle with a positive moment arm pulls the joint towards larger positions. Left is dashed.")
    report.figure(arm_figure(embodiment, check.sweeps, drawn), "Moment arm [mm] from MuJoCo's moment matrix.")
    report.heading("Force-length and force-velocity curves")
    report.figure(
        curve_figure(embodiment, check.sweeps, drawn), "In units of F0; grey: lengths within the joint ranges."
    )
    report.figure(velocity_figure(embodiment), "Fully active, at optimal length.")
    segments = segment_table(embodiment)
    if segments:
        report.heading("Segment masses")
        report.text("Winter 2009 (after Dempster) and de Leva 1996 divide the trunk differently from the model; "
                    "compare the limbs first.")  # fmt: skip
        report.table(SEGMENT_COLUMNS, segments)
    if passive is not None:
        _add_passive(report, embodiment, *passive)
    report.heading("All muscles")
    report.table(VERDICT_COLUMNS, check.rows)
    return report


def _add_passive(report: Report, embodiment: Embodiment, postures: str, passive: PassiveForces) -> None:
    report.heading(f"Passive torque and force over {postures}")
    report.text(
        "Forces of muscles without excitation, at rest; torques are positive towards larger joint positions. Mean, "
        "lowest and highest are of all muscles together, followed by the muscle that contributes most to the mean, and "
        "by the mean torque of springs and ligaments."
    )
    for columns, rows in (
        (JOINT_COLUMNS, joint_rows(embodiment, passive)),
        (MUSCLE_COLUMNS, muscle_rows(embodiment, passive)),
    ):
        if rows:
            report.table(columns, rows)


def strongest(embodiment: Embodiment, check: MuscleCheck) -> tuple[str, ...]:
    """Return the strongest right and unpaired muscles, in model order."""
    left = {pair[0] for pair in embodiment.left_right}
    rows = sorted((row for row in check.rows if row[0] not in left), key=lambda row: -row[1])[:DRAWN]
    chosen = {row[0] for row in rows}
    return tuple(name for name in embodiment.muscle_names if name in chosen)


def measured_figure(measured: list[MeasuredArm]) -> Any:
    """Plot one panel per muscle and axis; several cadavers share a panel."""
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
            axis.plot(one.degrees, 1e3 * one.arm, color=COLORS[1], lw=1.2, ls=("-", "--", ":")[index % 3],
                      label=one.name.split(".")[0] if index == 0 else None)  # fmt: skip
        axis.plot(curves[0].degrees, 1e3 * curves[0].model, color=COLORS[0], lw=2, label="model")
        axis.axhline(0, color="#99a3ad", lw=0.7, zorder=0)
        axis.set_title(f"{', '.join(muscles)}\nabout {joint}", fontsize=9)
        axis.set_xlabel("hip flexion [deg]" if "hip" in joint else "[deg]", fontsize=8)
        axis.set_ylabel("moment arm [mm]", fontsize=8)
        axis.legend(fontsize=8, frameon=False)
        axis.spines[["top", "right"]].set_visible(False)
    for axis in axes[len(groups) :]:
        axis.set_visible(False)
    return figure


def arm_figure(embodiment: Embodiment, sweeps: dict[str, Sweep], muscles: tuple[str, ...]) -> Any:
    """Plot one panel per muscle: its moment arm about the joint where it is largest, and its left partner's."""
    names = embodiment.muscle_names
    partner = {right: left for left, right in embodiment.left_right}
    panels = []
    for muscle in muscles[:PANELS]:
        index = names.index(muscle)
        joint = max(sweeps, key=lambda j: float(np.abs(sweeps[j].by_moment[:, index]).max()))
        curves = [Curve("right", 1e3 * sweeps[joint].by_moment[:, index])]
        if muscle in partner:
            mirrored, sign = mirrored_joint(embodiment, joint)
            arms = sweeps[mirrored].by_moment[:, names.index(partner[muscle])]
            curves.append(Curve("left", 1e3 * (arms if sign > 0 else -arms[::-1]), style="--"))
        panels.append(Panel(f"{muscle}: {joint}", curves, "mm"))
    return grid(panels, np.linspace(0, 100, len(next(iter(sweeps.values())).positions)), "joint range [%]", zero=True)


def curve_figure(embodiment: Embodiment, sweeps: dict[str, Sweep], muscles: tuple[str, ...]) -> Any:
    """Plot one panel per muscle: active and passive force over length, with the range of possible lengths."""
    model = embodiment.model
    panels, spans = [], []
    for muscle in muscles[:PANELS]:
        index, actuator = embodiment.muscle_names.index(muscle), int(embodiment.resolve("actuator", [muscle])[0])
        curves = muscle_curves(model, actuator)
        crossed = [one.lengths[:, index] for one in sweeps.values() if crosses(one)[index]]
        lengths = np.concatenate(crossed) if crossed else np.array([np.nan])
        spans.append(normalised_lengths(model, actuator, lengths))
        passive = np.minimum(curves.passive, 2.0)
        panels.append(Panel(muscle, [Curve("active", curves.active), Curve("passive", passive)], "F0"))
    x = muscle_curves(model, int(embodiment.muscle_ids[0])).lengths
    figure = grid(panels, x, "length [L0]")
    for axis, span in zip(figure.axes, spans, strict=False):
        if np.isfinite(span).any():
            axis.axvspan(np.nanmin(span), np.nanmax(span), color="#8a97a3", alpha=0.18, lw=0)
    return figure


def velocity_figure(embodiment: Embodiment) -> Any:
    """Plot force over velocity, one line for all muscles with the same parameters."""
    model = embodiment.model
    groups: dict[tuple[float, float], list[int]] = {}
    for index in embodiment.muscle_ids.tolist():
        fastest, eccentric = (round(float(model.actuator_gainprm[index, i]), 3) for i in (6, 8))
        groups.setdefault((fastest, eccentric), []).append(index)
    curves = [
        Curve(f"fastest {fastest:g} L0/s, {len(members)} muscles", muscle_curves(model, members[0]).force_velocity)
        for (fastest, _), members in groups.items()
    ]
    panel = Panel("force-velocity at optimal length", curves, "F0")
    return grid(
        [panel],
        muscle_curves(model, int(embodiment.muscle_ids[0])).velocities,
        "velocity, of the fastest (shortening < 0)",
        width=5.5,
    )
