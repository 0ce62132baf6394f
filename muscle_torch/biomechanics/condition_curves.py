"""Curves of conditions over the gait cycle: angles, moments, powers, device torques and activations of each leg."""

from collections.abc import Callable, Sequence

import numpy as np

from muscle_torch.errors import InputError

from .conditions import Condition, Trial
from .cycles import Cycles, cut_cycles, pool
from .gait import MOMENTS, SIDES
from .series import TimeSeries

SHOWN_MUSCLES = ("soleus", "gasmed", "tibant", "vaslat", "recfem", "semimem", "glmax1", "glmed1", "psoas")
# Quantity -> its columns: joints or muscles, without side.
NAMES: dict[str, tuple[str, ...]] = {
    "angle": MOMENTS,
    "moment": MOMENTS,
    "power": MOMENTS,
    "torque": ("hip_flexion", "ankle_angle"),
    "activation": SHOWN_MUSCLES,
}
Curves = dict[tuple[str, str], Cycles]


def all_curves(condition: Condition, mass: float) -> Curves:
    """Return (quantity, side) -> pooled cycles of a condition; without complete cycles it is empty.

    Args:
        condition: The condition.
        mass: Of the body, by which moments, powers and torques are divided [kg].
    """
    pairs = {(quantity, side): _pooled(condition, quantity, side, mass) for quantity in NAMES for side in SIDES}
    return {pair: cycles for pair, cycles in pairs.items() if cycles is not None}


def _pooled(condition: Condition, quantity: str, side: str, mass: float) -> Cycles | None:
    parts = [trial_cycles(trial, quantity, side, mass) for trial in condition.trials]
    complete = [cycles for cycles in parts if cycles is not None]
    return pool(complete) if complete else None


def trial_cycles(trial: Trial, quantity: str, side: str, mass: float) -> Cycles | None:
    """Return the cycles of a quantity of one leg; None without a complete cycle, or without the quantity.

    Args:
        trial: The trial.
        quantity: A key of `NAMES`.
        side: r or l.
        mass: Of the body [kg].
    """
    series = SERIES[quantity](trial, side, NAMES[quantity], mass)
    if series is None or trial.gait.no_walk or len(trial.gait.contacts[side].starts) < 2:
        return None
    try:
        return cut_cycles(series, trial.gait.contacts[side].starts)
    except InputError:  # the trial ended within its first stride: the table of trials counts its strides
        return None


def angle_series(trial: Trial, side: str, names: Sequence[str], mass: float) -> TimeSeries:
    """Return joint angles [deg] of one leg over time; `mass` is not used."""
    series = trial.gait.angles.select([f"{name}_{side}" for name in names])
    return series.with_values(np.degrees(series.values), ("deg",) * len(names)).renamed(tuple(names))


def moment_series(trial: Trial, side: str, names: Sequence[str], mass: float) -> TimeSeries | None:
    """Return joint moments of muscles and device together [Nm/kg] over time; None without moments.

    Args:
        trial: The trial.
        side: r or l.
        names: Joints without side.
        mass: Of the body [kg].
    """
    if trial.gait.moments is None:
        return None
    series = trial.gait.moments.select([f"{name}_{side}" for name in names])
    return series.with_values(series.values / mass, ("Nm/kg",) * len(names)).renamed(tuple(names))


def power_series(trial: Trial, side: str, names: Sequence[str], mass: float) -> TimeSeries | None:
    """Return joint powers of muscles and device together [W/kg] over time; None without moments.

    Args:
        trial: The trial.
        side: r or l.
        names: Joints without side.
        mass: Of the body [kg].
    """
    moments = moment_series(trial, side, names, mass)
    if moments is None:
        return None
    angles = trial.gait.angles.select([f"{name}_{side}" for name in names])
    speeds = angles.with_values(np.gradient(angles.values, 1.0 / angles.rate, axis=0))
    inside = np.clip(moments.time, *angles.time[[0, -1]])
    return moments.with_values(moments.values * speeds.at(inside).values, ("W/kg",) * len(names))


def torque_series(trial: Trial, side: str, names: Sequence[str], mass: float) -> TimeSeries | None:
    """Return the device's torques [Nm/kg] over time, positive towards larger angles; None without a device here.

    Args:
        trial: The trial.
        side: r or l.
        names: Joints without side.
        mass: Of the body [kg].
    """
    if not any((name, side) in trial.torque for name in names):
        return None
    silent = np.zeros(len(trial.activation))
    values = np.stack([trial.torque.get((name, side), silent) / mass for name in names], axis=1)
    # A row is the torque during the control step that follows its frame.
    return TimeSeries(trial.gait.angles.time, values, tuple(names), ("Nm/kg",) * len(names), trial.name)


def activation_series(trial: Trial, side: str, names: Sequence[str], mass: float) -> TimeSeries:
    """Return muscle activations of one leg over time; 0 for muscles that the body lacks; `mass` is not used."""
    full = [f"{name}_{side}" for name in names]
    columns = [trial.muscles.index(name) if name in trial.muscles else -1 for name in full]
    values = trial.activation[:, columns] * np.where(np.array(columns) < 0, 0.0, 1.0)
    return TimeSeries(trial.gait.angles.time, values, tuple(names), ("",) * len(names), trial.name)


SERIES: dict[str, Callable[[Trial, str, Sequence[str], float], TimeSeries | None]] = {
    "angle": angle_series,
    "moment": moment_series,
    "power": power_series,
    "torque": torque_series,
    "activation": activation_series,
}
