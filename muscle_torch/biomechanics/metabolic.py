"""Metabolic power of muscles: the model of Minetti and Alexander 1997 (J. Theor. Biol. 186, 467-476)."""

import mujoco
import numpy as np

from .muscle_curves import optimal_length, peak_force


def metabolic_power(model: mujoco.MjModel, activations: np.ndarray, velocities: np.ndarray) -> np.ndarray:
    """(T, nu) power [W] of every muscle: activation * F0 * vmax * phi(v / vmax).

    activations (T, nu); velocities (T, nu) of the actuators [m/s], lengthening positive as in MuJoCo. The tendon is
    rigid, so the fibre has the actuator's velocity. Heat and work of the muscles alone: no basal rate.
    """
    force = np.array([peak_force(model, i) for i in range(model.nu)])
    fastest = np.array([optimal_length(model, i)[0] * model.actuator_gainprm[i, 6] for i in range(model.nu)])
    return activations * force * fastest * energy_rate(-velocities / fastest)


def energy_rate(shortening: np.ndarray) -> np.ndarray:
    """phi of the shortening velocity over the maximal one (clipped to -1..1): the paper's fit to measured rates."""
    x = np.clip(shortening, -1.0, 1.0)
    return (0.054 + 0.506 * x + 2.46 * x**2) / (1.0 - 1.13 * x + 12.8 * x**2 - 1.64 * x**3)
