"""Metabolic cost of muscles: masses, a proxy for use in training, and two published models of metabolic power."""

from typing import NamedTuple

import mujoco
import numpy as np
import torch
from torch import Tensor

from muscle_torch.embodiments import Embodiment

from .muscle_mechanics import normalised_lengths, optimal_length, peak_force

SPECIFIC_TENSION = 0.6e6  # [Pa]; 0.25e6, the default of OpenSim's probes, gives 45 kg of leg muscle, 0.6e6 19 kg
DENSITY = 1059.7  # [kg/m3] of mammalian muscle

# Bhargava et al. 2004 with the constants of OpenSim's probe [W/kg]: slow and fast fibres, half of each.
SLOW_FIBRES = 0.5
ACTIVATION_HEAT = (40.0, 133.0)
MAINTENANCE_HEAT = (74.0, 111.0)
MAINTENANCE_LENGTHS = (0.5, 1.0, 1.5)  # fibre lengths [L0] of the maintenance heat's factors
MAINTENANCE_FACTORS = (0.5, 1.0, 0.0)


class MuscleSizes(NamedTuple):
    """Sizes of M muscles."""

    mass: Tensor  # (M,) [kg]
    max_power: Tensor  # maximal isometric force times maximal velocity, (M,) [W]


def muscle_masses(embodiment: Embodiment) -> np.ndarray:
    """Return the masses of the muscles, (muscles,) [kg]: F0 / specific tension * L0 * density.

    Args:
        embodiment: The body, whose muscles have their normal strength.
    """
    model, ids = embodiment.model, embodiment.muscle_ids.tolist()
    volumes = [peak_force(model, i) / SPECIFIC_TENSION * optimal_length(model, i)[0] for i in ids]
    return DENSITY * np.array(volumes)


def muscle_sizes(embodiment: Embodiment) -> MuscleSizes:
    """Return mass and F0 times maximal velocity of every muscle of a body, in double precision."""
    power = peak_force_of(embodiment) * max_velocity_of(embodiment)
    return MuscleSizes(torch.from_numpy(muscle_masses(embodiment)), torch.from_numpy(power))


def peak_force_of(embodiment: Embodiment) -> np.ndarray:
    """Return the maximal isometric forces, (muscles,) [N]."""
    return np.array([peak_force(embodiment.model, i) for i in embodiment.muscle_ids.tolist()])


def max_velocity_of(embodiment: Embodiment) -> np.ndarray:
    """Return the maximal shortening velocities, (muscles,) [m/s]."""
    model = embodiment.model
    return np.array([optimal_length(model, i)[0] * model.actuator_gainprm[i, 6] for i in embodiment.muscle_ids])


def metabolic_proxy(activation: Tensor, force: Tensor, velocity: Tensor, sizes: MuscleSizes) -> Tensor:
    """Return the metabolic proxy of every muscle, (..., M) [kg]: mass * (activation^2 + positive relative power).

    Relative power is the muscle's mechanical power over F0 times its maximal velocity. The sum over muscles reads as
    the mass of fully active muscle; it is 0 if no muscle is active or moves. Passive recoil counts as power.

    Args:
        activation: (..., M).
        force: Actuator forces, negative if a muscle pulls, (..., M) [N].
        velocity: Actuator velocities, lengthening positive, (..., M) [m/s].
        sizes: Of the body without deficits: a weakened muscle keeps its mass.
    """
    power = (force * velocity / sizes.max_power).clamp(min=0.0)
    return sizes.mass * (activation.square() + power)


def proxy_of(embodiment: Embodiment, activations: np.ndarray, forces: np.ndarray, velocities: np.ndarray) -> np.ndarray:
    """Return `metabolic_proxy` of arrays, (T, muscles) [kg].

    Args:
        embodiment: The body without deficits.
        activations: (T, muscles).
        forces: Actuator forces, negative if a muscle pulls, (T, muscles) [N].
        velocities: Actuator velocities, lengthening positive, (T, muscles) [m/s].
    """
    arrays = (torch.from_numpy(np.asarray(one, dtype=float)) for one in (activations, forces, velocities))
    activation, force, velocity = arrays
    return metabolic_proxy(activation, force, velocity, muscle_sizes(embodiment)).numpy()


def minetti_power(embodiment: Embodiment, activations: np.ndarray, velocities: np.ndarray) -> np.ndarray:
    """Return the metabolic power of every muscle (T, muscles) [W] (Minetti and Alexander 1997).

    activation * F0 * vmax * phi(v / vmax): heat and work of the muscles, without basal rate. The tendon is rigid, so
    the fibre has the actuator's velocity.

    Args:
        embodiment: The body.
        activations: (T, muscles).
        velocities: Velocities of the actuators, lengthening positive as in MuJoCo, (T, muscles) [m/s].
    """
    force, fastest = peak_force_of(embodiment), max_velocity_of(embodiment)
    return activations * force * fastest * energy_rate(-velocities / fastest)


def energy_rate(shortening: np.ndarray) -> np.ndarray:
    """Return phi of the shortening velocity over its maximum (clipped to [-1, 1]): the fit of Minetti and Alexander."""
    x = np.clip(shortening, -1.0, 1.0)
    return (0.054 + 0.506 * x + 2.46 * x**2) / (1.0 - 1.13 * x + 12.8 * x**2 - 1.64 * x**3)


def bhargava_power(
    embodiment: Embodiment,
    activations: np.ndarray,
    lengths: np.ndarray,
    velocities: np.ndarray,
    masses: np.ndarray | None = None,
) -> np.ndarray:
    """Return the metabolic power of every muscle (T, muscles) [W] (Bhargava et al. 2004).

    Heat of activation, of maintenance and of shortening, plus mechanical work of the active force, without basal rate;
    never negative. As in OpenSim's probe, the decay of the activation heat is left out. Excitation equals activation,
    the tendon is rigid, and half of the fibres are slow.

    Args:
        embodiment: The body, with the strength of its muscles in `model`.
        activations: (T, muscles).
        lengths: Actuator lengths, (T, muscles) [m].
        velocities: Actuator velocities, lengthening positive, (T, muscles) [m/s].
        masses: Of the muscles, (muscles,) [kg]; None: by the strength of `embodiment`.
    """
    model, muscles = embodiment.model, embodiment.muscle_ids
    masses = muscle_masses(embodiment) if masses is None else masses
    slow, fast = np.sin(0.5 * np.pi * activations), 1.0 - np.cos(0.5 * np.pi * activations)
    fibres = np.stack([normalised_lengths(model, i, lengths[:, k]) for k, i in enumerate(muscles)], axis=1)
    factor = np.interp(fibres, MAINTENANCE_LENGTHS, MAINTENANCE_FACTORS)
    heat = _mixed(slow, fast, ACTIVATION_HEAT) + factor * _mixed(slow, fast, MAINTENANCE_HEAT)
    isometric = activations * active_force(embodiment, lengths, np.zeros_like(velocities))
    active = activations * active_force(embodiment, lengths, velocities)
    total = active + passive_force(embodiment, lengths)
    coefficient = np.where(velocities <= 0.0, 0.16 * isometric + 0.18 * total, 0.157 * total)
    return np.maximum(masses * heat - (coefficient + active) * velocities, 0.0)


def _mixed(slow: np.ndarray, fast: np.ndarray, constants: tuple[float, float]) -> np.ndarray:
    return SLOW_FIBRES * constants[0] * slow + (1.0 - SLOW_FIBRES) * constants[1] * fast


def active_force(embodiment: Embodiment, lengths: np.ndarray, velocities: np.ndarray) -> np.ndarray:
    """Return the forces of fully active muscles, positive if they pull, (T, muscles) [N].

    Args:
        embodiment: The body.
        lengths: Actuator lengths, (T, muscles) [m].
        velocities: Actuator velocities, (T, muscles) [m/s].
    """
    model, force = embodiment.model, np.zeros_like(lengths)
    for column, i in enumerate(embodiment.muscle_ids):
        fixed = model.actuator_lengthrange[i], model.actuator_acc0[i], model.actuator_gainprm[i, :9]
        rows = zip(lengths[:, column], velocities[:, column], strict=True)
        force[:, column] = [-mujoco.mju_muscleGain(length, velocity, *fixed) for length, velocity in rows]
    return force


def passive_force(embodiment: Embodiment, lengths: np.ndarray) -> np.ndarray:
    """Return the passive forces of the muscles, positive if they pull, (T, muscles) [N].

    Args:
        embodiment: The body.
        lengths: Actuator lengths, (T, muscles) [m].
    """
    model, force = embodiment.model, np.zeros_like(lengths)
    for column, i in enumerate(embodiment.muscle_ids):
        fixed = model.actuator_lengthrange[i], model.actuator_acc0[i], model.actuator_biasprm[i, :9]
        force[:, column] = [-mujoco.mju_muscleBias(length, *fixed) for length in lengths[:, column]]
    return force
