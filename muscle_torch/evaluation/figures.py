"""Figures of evaluated trials."""

import mujoco
import numpy as np
from matplotlib.figure import Figure

from muscle_torch.embodiments import Embodiment
from muscle_torch.embodiments.independent import IndependentJoints

from .playback import Trajectory

PANELS = 12  # maximum number of joints in a figure
TRACKED, REFERENCE = "#c0392b", "#34495e"


def joint_figure(embodiment: Embodiment, trajectory: Trajectory) -> Figure:
    """Plot the joint angles over time, tracked and reference (if there is one), of the hinges that move most."""
    model, reference = embodiment.model, trajectory.reference
    shown = _joints_that_move_most(embodiment, trajectory.qpos if reference is None else reference)
    columns = min(3, len(shown))
    rows = -(-len(shown) // columns)
    figure = Figure(figsize=(4.2 * columns, 0.6 + 2.1 * rows), layout="constrained")
    axes = figure.subplots(rows, columns, squeeze=False, sharex=True).flatten()
    time = np.arange(len(trajectory.qpos)) / trajectory.frequency
    lost = time[trajectory.steps_followed] if trajectory.lost else None
    for axis, joint in zip(axes, shown, strict=False):
        address = model.jnt_qposadr[joint]
        tracked, title = np.degrees(trajectory.qpos[:, address]), embodiment.joint_names[joint]
        if reference is not None:
            target = np.degrees(reference[:, address])
            axis.plot(time, target, color=REFERENCE, linestyle="--", linewidth=1.2, label="reference")
            title += f"   (rms {np.sqrt(np.mean((tracked - target) ** 2)):.1f} deg)"
        axis.plot(time, tracked, color=TRACKED, linewidth=1.2, label="tracked")
        axis.set_title(title, fontsize=8, loc="left")
        axis.tick_params(labelsize=7)
        if lost is not None:
            axis.axvline(lost, color="0.6", linewidth=0.8, linestyle=":")
    for axis in axes[len(shown) :]:
        axis.set_visible(False)
    axes[0].legend(fontsize=7, frameon=False)
    end = "followed to its end" if lost is None else f"lost after {lost:.2f} s"
    figure.suptitle(f"{trajectory.name}, {end}", fontsize=9)
    figure.supxlabel("time [s]", fontsize=8)
    figure.supylabel("joint angle [deg]", fontsize=8)
    return figure


def _joints_that_move_most(embodiment: Embodiment, qpos: np.ndarray) -> list[int]:
    """Return the ids of the joints with the largest range, at most `PANELS`, in model order."""
    model = embodiment.model
    hinges = [j for j in embodiment.scalar_joint_ids if model.jnt_type[j] == mujoco.mjtJoint.mjJNT_HINGE]
    # A joint that is coupled to another would only repeat its curve.
    independent = IndependentJoints(embodiment).joints
    free = [j for j in hinges if embodiment.joint_names[j] in independent]
    ranges = {j: np.ptp(qpos[:, model.jnt_qposadr[j]]) for j in free}
    return sorted(sorted(free, key=lambda j: -ranges[j])[:PANELS])
