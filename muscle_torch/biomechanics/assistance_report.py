"""Report of `tools/assistance.py`: what weakness and a device change, predicted by static optimisation."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from muscle_torch.embodiments import Embodiment

from .predicted_assistance import Prediction, Task, sides_of
from .report import GREY, Curve, Panel, Report, grid, pretty

CALF = ("soleus", "gasmed", "gaslat")
SHOWN = (*CALF, "tibant", "tibpost", "vaslat", "recfem", "semimem")
LISTED, LEAST = 5, 0.005
SUMMARY_COLUMNS = (
    "motion", "speed [m/s]", "condition", "soleus", "gastrocnemius", "peak soleus", "proxy [kg]", "change [%]",
    "power [W/kg]", "change [%]", "cost of transport [J/(kg m)]", "unmet moment [Nm]",
)  # fmt: skip
RISE_COLUMNS = ("motion", "condition", "muscle", "mean activation", "able", "change")
Predictions = Mapping[str, Prediction]  # condition -> prediction; the first is able
METHODS = (
    "static optimisation: each frame on its own, least sum of squared activations, without activation dynamics; motion "
    "and net moments are those of the recording in every condition: no other gait and no adaptation is predicted",
    "activations: means over the cycle or recording of the right leg; gastrocnemius: mean of both heads",
    "proxy: sum over muscles of mass * (activation^2 + positive power over F0 vmax); a weakened muscle keeps its mass",
    "power: metabolic power of the muscles over body mass (Bhargava et al. 2004), without basal rate",
    "change: from able",
    "unmet moment: largest root mean square over joints of what muscles and device do not produce",
)


def summary_rows(embodiment: Embodiment, task: Task, predictions: Predictions, side: str = "r") -> list[tuple]:
    """Return one row (`SUMMARY_COLUMNS`) per condition.

    Args:
        embodiment: The body.
        task: Motion and moments.
        predictions: Condition -> prediction; the first is able.
        side: Side of the activations.
    """
    able, rows = next(iter(predictions.values())), []
    soleus, *heads = embodiment.muscle_columns([f"{name}_{side}" for name in CALF])
    for condition, one in predictions.items():
        proxy, power = one.proxy.sum(axis=1).mean(), one.power.sum(axis=1).mean() / task.mass
        base = able.proxy.sum(axis=1).mean(), able.power.sum(axis=1).mean() / task.mass
        unmet = float(np.sqrt(np.mean(one.residual**2, axis=0)).max())
        rows.append(
            (task.name, task.speed, condition, float(one.activations[:, soleus].mean()),
             float(one.activations[:, heads].mean()), float(one.activations[:, soleus].max()), float(proxy),
             100 * float(proxy / base[0] - 1), float(power), 100 * float(power / base[1] - 1),
             float(power / task.speed), unmet)
        )  # fmt: skip
    return rows


def rise_rows(embodiment: Embodiment, task: Task, predictions: Predictions) -> list[tuple]:
    """Return the muscles whose mean activation rises most in each condition, as rows (`RISE_COLUMNS`).

    Args:
        embodiment: The body.
        task: Motion and moments.
        predictions: Condition -> prediction; the first is able.
    """
    (_, able), *changed = predictions.items()
    before, rows = able.activations.mean(axis=0), []
    for condition, one in changed:
        after = one.activations.mean(axis=0)
        for column in np.argsort(before - after, kind="stable")[:LISTED]:
            if after[column] - before[column] > LEAST:
                name = pretty(embodiment.muscle_names[column])
                change = float(after[column] - before[column])
                rows.append((task.name, condition, name, float(after[column]), float(before[column]), change))
    return rows


def activation_figure(embodiment: Embodiment, task: Task, predictions: Predictions, side: str = "r") -> Any:
    """Plot the activations of one leg, one curve per condition, over the cycle or over time.

    Args:
        embodiment: The body.
        task: Motion and moments.
        predictions: Condition -> prediction.
        side: r or l.
    """
    panels = []
    for muscle in SHOWN:
        column = embodiment.muscle_columns([f"{muscle}_{side}"])[0]
        curves = [Curve(condition, one.activations[:, column]) for condition, one in predictions.items()]
        panels.append(Panel(muscle, curves))
    return grid(panels, *_axis(task), columns=4, zero=True)


def torque_figure(task: Task, predictions: Predictions) -> Any:
    """Plot required moments and the device's torque per body mass; None without a device."""
    torque = next((one.torque for one in predictions.values() if one.torque), {})
    panels = [
        Panel(pretty(name), [Curve("required", task.moments[name] / task.mass, None, GREY, "--"),
                             Curve("device", torque[name] / task.mass)], "Nm/kg")
        for name in task.moments.names if name in torque
    ]  # fmt: skip
    return grid(panels, *_axis(task), columns=2, zero=True) if panels else None


def _axis(task: Task) -> tuple[np.ndarray, str]:
    if task.periodic:
        return 100.0 * next(iter(task.phase.values())), "gait cycle [%]"
    return np.arange(len(task.qpos)) / task.rate, "time [s]"


def assistance_report(
    embodiment: Embodiment,
    results: Sequence[tuple[Task, Predictions]],
    tables: Sequence[tuple[str, tuple[str, ...], list[tuple]]],
    notes: Sequence[str],
) -> Report:
    """Return the report.

    Args:
        embodiment: The body.
        results: Tasks with their predictions.
        tables: (title, columns, rows).
        notes: Assumptions and corrected signs.
    """
    conditions = list(results[0][1])
    report = Report(
        "Weakness and assistance, predicted without learning",
        f"{embodiment.name}; conditions: {', '.join(conditions)}; {len(results)} motion(s).",
    )
    for title, columns, rows in tables:
        report.heading(title)
        report.table(columns, rows)
    for task, predictions in results:
        report.heading(f"{task.name}, {task.speed:.2f} m/s")
        figure = torque_figure(task, predictions)
        if figure is not None:
            report.figure(
                figure, "Net joint moments, which muscles and device produce together, and the device's torque."
            )
        for side in sides_of(task):
            report.figure(activation_figure(embodiment, task, predictions, side), f"Activations, side {side}.")
    report.heading("Notes")
    report.notes(list(notes))
    report.heading("Methods")
    report.glossary(METHODS)
    return report
