"""Muscle activation dynamics, forward and inverted.

The activation a of MuJoCo's muscles follows the excitation u in [0, 1] by da/dt = (u - a) / tau(a, u), with
tau = tau_rise (0.5 + 1.5 a) if u > a and tau = tau_fall / (0.5 + 1.5 a) if u < a (Millard et al. 2013). MuJoCo
integrates it by Euler's method over the n substeps of a control step, with constant excitation. The same integration
here makes the reachable interval, and the excitation that reaches a value in it, exact.
"""

from dataclasses import dataclass
from functools import cached_property

import mujoco
import numpy as np

from muscle_torch.errors import InputError

ITERATIONS = 60  # limit of Newton's method with bisection; it usually takes three or four
PRECISION = 1e-12  # of the activation


@dataclass(frozen=True, eq=False)
class ActivationDynamics:
    """Activation dynamics of M muscles.

    Attributes:
        rise: Time constants of activation, (M,) [s].
        fall: Time constants of deactivation, (M,) [s].
        smoothing: Widths of the smooth transition between both, (M,); 0: a step.
        timestep: Physics timestep [s].
        substeps: Physics steps per control step.
    """

    rise: np.ndarray
    fall: np.ndarray
    smoothing: np.ndarray
    timestep: float
    substeps: int

    @classmethod
    def of(cls, model: mujoco.MjModel, actuators: np.ndarray, substeps: int) -> "ActivationDynamics":
        """Read the dynamics from a model.

        Args:
            model: The model.
            actuators: Actuator ids of the M muscles.
            substeps: Physics steps per control step.

        Raises:
            InputError: An actuator does not have muscle dynamics.
        """
        unsupported = [int(i) for i in actuators if model.actuator_dyntype[i] != int(mujoco.mjtDyn.mjDYN_MUSCLE)]
        if unsupported:
            raise InputError(f"actuator {unsupported[0]} has no muscle activation dynamics: set dyntype to muscle")
        parameters = model.actuator_dynprm[actuators]
        return cls(*parameters[:, :3].T.copy(), timestep=float(model.opt.timestep), substeps=substeps)

    def step(self, activation: np.ndarray, excitation: np.ndarray) -> np.ndarray:
        """Return the activations (M,) at the end of a control step with constant excitation (M,)."""
        return self._roll(activation, excitation)[0]

    def mean(self, activation: np.ndarray, excitation: np.ndarray) -> np.ndarray:
        """Return the mean of the activations at the start of each substep, which are those that act, (M,)."""
        return self._roll(activation, excitation)[1]

    def reachable(self, activation: np.ndarray, mean: bool = False) -> tuple[np.ndarray, np.ndarray]:
        """Return the lowest and highest activation (M,) that a control step can reach: at its end, or its mean."""
        which = 1 if mean else 0
        none, full = np.zeros_like(activation), np.ones_like(activation)
        return self._roll(activation, none)[which], self._roll(activation, full)[which]

    def invert(self, activation: np.ndarray, target: np.ndarray) -> np.ndarray:
        """Compute the excitations that lead from one activation to another within a control step.

        Args:
            activation: Current activations, (M,).
            target: Activations at the end of the control step, (M,).

        Returns:
            Excitations in [0, 1], (M,); exact to rounding if the target is reachable, else the nearest possible.
        """
        low, high = np.zeros_like(activation), np.ones_like(activation)
        lowest, highest = self.reachable(activation)
        target = np.clip(target, lowest, highest)
        guess = np.clip((target - lowest) / np.maximum(highest - lowest, 1e-12), 0.0, 1.0)
        for _ in range(ITERATIONS):
            end, _, slope = self._roll(activation, guess, slopes=True)
            error = end - target
            if np.abs(error).max(initial=0.0) < PRECISION:
                break
            low, high = np.where(error < 0, guess, low), np.where(error > 0, guess, high)
            newton = guess - error / np.maximum(slope, 1e-12)
            inside = (newton >= low) & (newton <= high)
            guess = np.where(inside, newton, 0.5 * (low + high))
        return guess

    def _roll(self, activation: np.ndarray, excitation: np.ndarray, slopes: bool = False) -> tuple[np.ndarray, ...]:
        """Return final and mean activation, and with `slopes` the derivative of the final one by the excitation."""
        value, total, slope = activation, np.zeros_like(activation), np.zeros_like(activation)
        for _ in range(self.substeps):
            total = total + value
            rate, by_value, by_excitation = self._rate(value, excitation, slopes)
            if slopes:
                slope = slope + self.timestep * (by_value * slope + by_excitation)
            value = value + self.timestep * rate
        return value, total / self.substeps, slope

    def _rate(self, value: np.ndarray, excitation: np.ndarray, slopes: bool) -> tuple[np.ndarray, ...]:
        """Return da/dt [1/s] and, with `slopes`, its derivatives by activation and excitation."""
        factor = 0.5 + 1.5 * np.minimum(np.maximum(value, 0.0), 1.0)
        up, down = self.rise * factor, self.fall / factor
        away = excitation - value
        fraction, fraction_slope = self._rising_fraction(away)
        tau = down + (up - down) * fraction
        rate = away / tau
        if not slopes:
            return rate, rate, rate
        by_factor = self.rise * fraction - down / factor * (1.0 - fraction)
        by_excitation = (1.0 - rate * (up - down) * fraction_slope) / tau
        return rate, -by_excitation - rate * 1.5 * by_factor / tau, by_excitation

    def _rising_fraction(self, away: np.ndarray) -> tuple[np.ndarray, np.ndarray | float]:
        """Return the weight of the rising time constant in [0, 1], a step or MuJoCo's sigmoid, and its derivative."""
        if not self._smooth:
            return (away > 0).astype(float), 0.0
        width = np.maximum(self.smoothing, 1e-9)
        x = np.clip(away / width + 0.5, 0.0, 1.0)
        return x**3 * (3 * x * (2 * x - 5) + 10), 30 * x**2 * (x * (x - 2) + 1) / width

    @cached_property
    def _smooth(self) -> bool:
        """Whether a muscle has a smooth transition between rising and falling."""
        return bool(self.smoothing.any())
