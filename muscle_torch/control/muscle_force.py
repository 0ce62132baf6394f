"""MuJoCo's muscle force, vectorized: F = gain(length, velocity) a + passive(length), gain <= 0 (muscles pull).

The curves are those of `mju_muscleGain`, for all muscles at once and with the derivative by velocity.
"""

import mujoco
import numpy as np

TINY = 1e-15


class MuscleForce:
    """Active force of M muscles."""

    def __init__(self, model: mujoco.MjModel, actuators: np.ndarray) -> None:
        """Read the parameters of the muscles with the actuator ids (M,)."""
        low, high, force, scale, shortest, longest, fastest, _, eccentric = model.actuator_gainprm[actuators, :9].T
        limits = model.actuator_lengthrange[actuators]
        acc0 = np.maximum(model.actuator_acc0[actuators], TINY)
        self._peak = np.where(force < 0, scale / acc0, force)
        self._fibre = np.maximum((limits[:, 1] - limits[:, 0]) / np.maximum(high - low, TINY), TINY)
        self._start, self._low = limits[:, 0], low
        self._fastest = np.maximum(self._fibre * fastest, TINY)
        self._shortest, self._longest = shortest, longest
        self._eccentric, self._y = eccentric, eccentric - 1.0

    def gain(self, length: np.ndarray, velocity: np.ndarray) -> np.ndarray:
        """Return the active force at full activation, (M,) [N], for lengths (M,) [m] and velocities (M,) [m/s]."""
        return -self._peak * self._force_length(length) * self._force_velocity(velocity / self._fastest)

    def velocity_slope(self, length: np.ndarray, velocity: np.ndarray) -> np.ndarray:
        """Return the derivative of `gain` by velocity, at most 0, (M,) [N s/m]."""
        v, y = velocity / self._fastest, np.maximum(self._y, TINY)
        slope = np.where(v <= 0, 2 * (v + 1), 2 * (y - v) / y)
        slope = np.where((v <= -1) | (v >= self._y), 0.0, slope)
        return -self._peak * self._force_length(length) * slope / self._fastest

    def _force_velocity(self, v: np.ndarray) -> np.ndarray:
        shortening = (v + 1) ** 2
        lengthening = self._eccentric - (self._y - v) ** 2 / np.maximum(self._y, TINY)
        force = np.where(v <= 0, shortening, np.where(v <= self._y, lengthening, self._eccentric))
        return np.where(v <= -1, 0.0, force)

    def _force_length(self, length: np.ndarray) -> np.ndarray:
        """Return the force-length curve: four parabolas between shortest and longest length, 1 at the optimum."""
        x = self._low + (length - self._start) / self._fibre
        left, right = 0.5 * (self._shortest + 1), 0.5 * (1 + self._longest)
        pieces = (
            0.5 * ((x - self._shortest) / np.maximum(left - self._shortest, TINY)) ** 2,
            1 - 0.5 * ((1 - x) / np.maximum(1 - left, TINY)) ** 2,
            1 - 0.5 * ((x - 1) / np.maximum(right - 1, TINY)) ** 2,
            0.5 * ((self._longest - x) / np.maximum(self._longest - right, TINY)) ** 2,
        )
        bump = np.where(x <= left, pieces[0], np.where(x <= 1, pieces[1], np.where(x <= right, pieces[2], pieces[3])))
        return np.where((x < self._shortest) | (x > self._longest), 0.0, bump)
