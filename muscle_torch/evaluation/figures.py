"""Figures of evaluated trials."""

from collections.abc import Mapping
from typing import Any

import mujoco
import numpy as np
from matplotlib.figure import Figure

from muscle_torch.embodiments import Embodiment
from muscle_torch.embodiments.independent import IndependentJoints
from muscle_torch.errors import InputError

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


def target_map(metrics: Mapping[str, Any]) -> Figure:
    """Plot the targets of an evaluation in the axes of the start: reached or not, and how far away the body ended.

    Args:
        metrics: Evaluation whose trials have the outcomes `target_x`, `target_y` and `final_distance` [m].

    Raises:
        InputError: The goal has no targets on the floor.
    """
    rows = metrics.get("per_trial", [])
    if not rows or "target_x" not in rows[0].get("outcome", {}):
        raise InputError("map= shows the targets of goal=root_target; this task has none: leave it out")
    x, y, left = (np.array([row["outcome"][key] for row in rows]) for key in ("target_x", "target_y", "final_distance"))
    reached = np.array([row["success_rate"] for row in rows]) > 0
    figure = Figure(figsize=(5.4, 4.6), layout="constrained")
    axis = figure.subplots()
    # Ahead points up, and left to the left, as seen from above behind the body.
    points = axis.scatter(
        -y[~reached], x[~reached], c=left[~reached], cmap="viridis_r", vmin=0, vmax=max(2.0, left.max())
    )
    axis.scatter(-y[reached], x[reached], marker="*", s=90, color=TRACKED, label="reached")
    axis.plot(0, 0, marker="^", color=REFERENCE, markersize=10, linestyle="", label="start, facing up")
    figure.colorbar(points, label="distance at the end [m]")
    low, high = metrics["success_interval"]
    rate = f"{int(reached.sum())} of {len(rows)} targets reached ({100 * low:.0f} to {100 * high:.0f} %)"
    axis.set(xlabel="to the right [m]", ylabel="ahead [m]", title=rate, aspect="equal")
    axis.legend(fontsize=7, loc="upper right")
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
