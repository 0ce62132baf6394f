"""Tables of conditions: quantities, symmetry, compensation and cost, with paired bootstrap intervals."""

from collections.abc import Callable
from functools import partial

import numpy as np

from .bootstrap import Change, paired_change
from .condition_curves import NAMES, SERIES, trial_cycles
from .conditions import Study, Trial
from .gait import MOMENTS, SIDES
from .gait_numbers import gait_numbers, walking_speed
from .gait_report import named
from .report import pretty

Table = tuple[str, tuple[str, ...], list[tuple]]
Quantity = tuple[str, str]  # name, unit
TRIAL_COLUMNS = ("condition", "motion", "seed", "played [s]", "of [s]", "strides right", "strides left")
ANKLE = "ankle_angle"
COMPARED_MUSCLES = ("soleus", "gasmed")
SILENT = 0.005  # mean activation below which a muscle is not listed
LISTED_MUSCLES = 20
SIDED_NUMBERS = (("stride time", "s"), ("step length of the model", "m"), ("stance share", "% of stride"))


def trial_rows(study: Study) -> list[tuple]:
    """Return one row (`TRIAL_COLUMNS`) per trial."""
    return [
        (one.label, t.name, t.seed, t.seconds, t.possible, *(max(len(t.gait.contacts[s].starts) - 1, 0) for s in "rl"))
        for one in study.conditions
        for t in one.trials
    ]


def sided_quantities(trial: Trial, mass: float, cyclic: bool = True) -> dict[Quantity, tuple[float, float]]:
    """Return quantity -> right and left of one trial; what is not defined is NaN or absent.

    Args:
        trial: The trial.
        mass: Of the body [kg].
        cyclic: Take ranges and peaks from the mean gait cycle; else from the frames that all conditions have.
    """
    rows: dict[Quantity, tuple[float, float]] = {}
    if cyclic:
        numbers = gait_numbers(trial.gait)
        rows |= {pair: numbers[pair] for pair in SIDED_NUMBERS if pair in numbers}
    curve = partial(_curve, trial, mass, cyclic)
    for name in MOMENTS:
        rows[f"range of {named(name)}", "deg"] = _both(lambda s, n=name: np.ptp(curve("angle", s, n)))
    rows["peak plantarflexion moment", "Nm/kg"] = _both(lambda s: -curve("moment", s, ANKLE).min())
    rows["peak ankle power", "W/kg"] = _both(lambda s: curve("power", s, ANKLE).max())
    for muscle in COMPARED_MUSCLES:
        if f"{muscle}_r" in trial.muscles:
            rows[f"mean activation of {muscle}", ""] = _both(lambda s, m=muscle: _mean_activation(trial, f"{m}_{s}"))
    for name in NAMES["torque"]:
        if any((name, side) in trial.torque for side in SIDES):
            title = f"peak device torque, {named(name)}", "Nm/kg"
            rows[title] = _both(lambda s, n=name: _peak_torque(trial, n, s, mass))
    return rows


def _both(value: Callable[[str], float]) -> tuple[float, float]:
    """Return the value of the right and of the left side."""
    return float(value("r")), float(value("l"))


def _curve(trial: Trial, mass: float, cyclic: bool, quantity: str, side: str, name: str) -> np.ndarray:
    """Return the mean curve over the cycle, or the course over the common frames; NaN without data."""
    cycles = trial_cycles(trial, quantity, side, mass) if cyclic else None
    if cycles is not None:
        return cycles.mean[:, cycles.names.index(name)]
    series = SERIES[quantity](trial, side, NAMES[quantity], mass)
    return np.array([np.nan]) if series is None else series[name][: trial.frames]


def _mean_activation(trial: Trial, muscle: str) -> float:
    return float(trial.activation[: trial.frames, trial.muscles.index(muscle)].mean())


def _peak_torque(trial: Trial, joint: str, side: str, mass: float) -> float:
    torque = trial.torque.get((joint, side), np.zeros(1))[: trial.frames]
    return float(np.abs(torque).max()) / mass


def whole_quantities(trial: Trial, mass: float) -> dict[Quantity, float]:
    """Return quantity -> value of one trial, averaged over the frames that all conditions have.

    Args:
        trial: The trial.
        mass: Of the body [kg].
    """
    part = slice(0, trial.frames)
    power, proxy = float(trial.power[part].sum(axis=1).mean()), float(trial.proxy[part].sum(axis=1).mean())
    rows = {
        ("mean squared activation", ""): float((trial.activation[part] ** 2).mean()),
        ("metabolic proxy", "kg"): proxy,
        ("metabolic power of the muscles", "W/kg"): power / mass,
    }
    if not trial.gait.no_walk:
        speed = walking_speed(trial.gait)
        rows["speed of the model", "m/s"] = speed
        rows["proxy per distance", "kg s/m"] = proxy / speed
        rows["cost of transport", "J/(kg m)"] = power / mass / speed
        strides = [np.diff(one.starts) for one in trial.gait.contacts.values() if len(one.starts) > 1]
        if strides:
            rows["metabolic energy per stride", "J/kg"] = power / mass * float(np.mean(np.concatenate(strides)))
    return rows


def symmetry_index(right: float, left: float) -> float:
    """Return the symmetry index 100 (R - L) / (0.5 (R + L)) [%]; NaN if both are 0."""
    total = 0.5 * (right + left)
    return float("nan") if abs(total) < 1e-9 else 100.0 * (right - left) / total


def quantity_table(study: Study) -> Table:
    """Return the table of quantities: mean of each condition and changes with intervals."""
    values = _values(study)
    rows = []
    for name, unit in _names(values):
        columns = [np.array([row.get((name, unit), np.nan) for row in condition]) for condition in values]
        rows.append((name, unit, *(_mean(column) for column in columns), *_changes(study, columns)))
    return "Quantities", ("quantity", "unit", *_labels(study)), rows


def sided_values(study: Study) -> list[list[dict[Quantity, tuple[float, float]]]]:
    """Return for each condition and trial quantity -> right and left.

    A pair uses gait cycles if every condition has a complete cycle of each foot.
    """
    pairs = zip(*(condition.trials for condition in study.conditions), strict=True)
    cyclic = [all(trial.has_cycles for trial in pair) for pair in pairs]
    return [
        [sided_quantities(trial, study.mass, one) for trial, one in zip(condition.trials, cyclic, strict=True)]
        for condition in study.conditions
    ]


def _values(study: Study) -> list[list[dict[Quantity, float]]]:
    """Return for each condition and trial quantity -> value, sides apart."""
    result = []
    for condition, sided in zip(study.conditions, sided_values(study), strict=True):
        rows = []
        for trial, quantities in zip(condition.trials, sided, strict=True):
            row = whole_quantities(trial, study.mass)
            for (name, unit), both in quantities.items():
                row |= {(f"{name} ({leg})", unit): value for leg, value in zip(SIDES.values(), both, strict=True)}
            rows.append(row)
        result.append(rows)
    return result


def symmetry_table(study: Study) -> Table:
    """Return the table of symmetry indices: mean of each condition and changes with intervals [%]."""
    values = sided_values(study)
    rows = []
    for quantity in _names(values):
        columns = [
            np.array([symmetry_index(*row[quantity]) if quantity in row else np.nan for row in condition])
            for condition in values
        ]
        rows.append((quantity[0], *(_mean(column) for column in columns), *_changes(study, columns)))
    return "Symmetry index [%]: (right - left) over their mean", ("quantity", *_labels(study)), rows


def compensation_table(study: Study) -> Table:
    """Return the table of mean activations, by the largest rise from the first condition to the second."""
    means = [np.stack([t.activation[: t.frames].mean(axis=0) for t in one.trials]) for one in study.conditions]
    weak = [np.mean([t.strength for t in one.trials], axis=0) for one in study.conditions]
    active = np.max([one.mean(axis=0) for one in means], axis=0) > SILENT
    rise = np.where(active, (means[1] - means[0]).mean(axis=0), -np.inf)
    rows = []
    for column in np.argsort(-rise, kind="stable")[:LISTED_MUSCLES]:
        if not active[column]:
            continue
        columns = [one[:, column] for one in means]
        strengths = "/".join(f"{100 * one[column]:.0f}" for one in weak)
        name = pretty(study.conditions[0].trials[0].muscles[column])
        rows.append((name, strengths, *(_mean(one) for one in columns), *_changes(study, columns)))
    title = "Compensation: mean activation of the muscles that rise most"
    return title, ("muscle", "strength [%]", *_labels(study)), rows


def group_table(study: Study) -> Table:
    """Return the metabolic power of each muscle group [W/kg]: mean of each condition and changes."""
    body, rows = study.embodiment, []
    for group, names in body.groups.items():
        if not names:
            continue
        muscles = body.muscle_columns(names)
        columns = [
            np.array([t.power[: t.frames, muscles].sum(axis=1).mean() / study.mass for t in one.trials])
            for one in study.conditions
        ]
        rows.append((group.replace("_", " "), *(_mean(one) for one in columns), *_changes(study, columns)))
    return (
        "Metabolic power by muscle group [W/kg] (Bhargava et al. 2004); groups overlap",
        ("group", *_labels(study)),
        rows,
    )


TABLES: dict[str, Callable[[Study], Table]] = {
    "quantities": quantity_table,
    "symmetry": symmetry_table,
    "compensation": compensation_table,
    "groups": group_table,
}


def study_tables(study: Study) -> dict[str, Table]:
    """Return name -> table, of all tables with changes."""
    return {name: table(study) for name, table in TABLES.items()}


def _names(values: list[list[dict]]) -> list:
    return list(dict.fromkeys(name for condition in values for row in condition for name in row))


def _labels(study: Study) -> tuple[str, ...]:
    labels = [condition.label for condition in study.conditions]
    return (*labels, *(f"{labels[after]} - {labels[before]}" for before, after in study.comparisons))


def _changes(study: Study, columns: list[np.ndarray]) -> list[Change]:
    return [paired_change(columns[before], columns[after]) for before, after in study.comparisons]


def _mean(values: np.ndarray) -> float:
    finite = values[np.isfinite(values)]
    return float(finite.mean()) if len(finite) else float("nan")
