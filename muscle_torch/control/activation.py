"""Muscle activation dynamics, forward and inverted.

MuJoCo's muscles follow their excitation u in [0, 1] by da/dt = (u - a) / tau(a, u): quickly when it is above the
activation (tau = tau_rise (0.5 + 1.5 a)), slowly when below (tau = tau_fall / (0.5 + 1.5 a)), after Millard et al.
2013. Within a control step of n substeps of h seconds under constant excitation the activation is integrated by
Euler's method, so both ends of what is reachable, and the excitation that reaches a value between them, are exact.
"""

from dataclasses import dataclass
from functools import cached_property

import mujoco
import numpy as np

from muscle_torch.errors import InputError

ITERATIONS = 60  # of Newton's method with bisection; three or four are usual
PRECISION = 1e-12  # of activation


@dataclass(frozen=True, eq=False)
class ActivationDynamics:
    """Activation dynamics of M muscles."""

    rise: np.ndarray  # (M,) time constants [s]
    fall: np.ndarray
    smoothing: np.ndarray  # (M,) width of the passage from rising to falling
    timestep: float  # [s]
    substeps: int  # a control step

    @classmethod
    def of(cls, model: mujoco.MjModel, actuators: np.ndarray, substeps: int) -> "ActivationDynamics":
        """The dynamics of the muscles with these ids. Raises InputError for another type of dynamics."""
        other = [int(i) for i in actuators if model.actuator_dyntype[i] != int(mujoco.mjtDyn.mjDYN_MUSCLE)]
        if other:
            raise InputError(f"actuator {other[0]} has no muscle activation dynamics (dyntype muscle)")
        parameters = model.actuator_dynprm[actuators]
        return cls(*parameters[:, :3].T.copy(), timestep=float(model.opt.timestep), substeps=substeps)

    def step(self, activation: np.ndarray, excitation: np.ndarray) -> np.ndarray:
        """Activations (M,) at the end of a control step under constant excitation (M,)."""
        return self._roll(activation, excitation)[0]

    def mean(self, activation: np.ndarray, excitation: np.ndarray) -> np.ndarray:
        """(M,) mean of the activations that act during the control step: those at the start of each substep."""
        return self._roll(activation, excitation)[1]

    def reachable(self, activation: np.ndarray, mean: bool = False) -> tuple[np.ndarray, np.ndarray]:
        """(lowest, highest) activation (M,) that a control step can reach, at its end or in the mean."""
        which = 1 if mean else 0
        none, full = np.zeros_like(activation), np.ones_like(activation)
        return self._roll(activation, none)[which], self._roll(activation, full)[which]

    def invert(self, activation: np.ndarray, target: np.ndarray) -> np.ndarray:
        """Excitations (M,) in [0, 1] that take `activation` (M,) to `target` (M,) at the end of the control step.

        Exact to rounding within what is reachable; a target beyond it gets the excitation that comes nearest.
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
        """End and mean over the substeps; with `slopes` also the derivative of the end by the excitation."""
        value, total, slope = activation, np.zeros_like(activation), np.zeros_like(activation)
        for _ in range(self.substeps):
            total = total + value
            rate, by_value, by_excitation = self._rate(value, excitation, slopes)
            if slopes:
                slope = slope + self.timestep * (by_value * slope + by_excitation)
            value = value + self.timestep * rate
        return value, total / self.substeps, slope

    def _rate(self, value: np.ndarray, excitation: np.ndarray, slopes: bool) -> tuple[np.ndarray, ...]:
        """da/dt [1/s] and, with `slopes`, its derivatives by activation and excitation."""
        factor = 0.5 + 1.5 * np.minimum(np.maximum(value, 0.0), 1.0)
        up, down = self.rise * factor, self.fall / factor
        away = excitation - value
        share, share_slope = self._rising_share(away)
        tau = down + (up - down) * share
        rate = away / tau
        if not slopes:
            return rate, rate, rate
        by_factor = self.rise * share - down / factor * (1.0 - share)
        by_excitation = (1.0 - rate * (up - down) * share_slope) / tau
        return rate, -by_excitation - rate * 1.5 * by_factor / tau, by_excitation

    def _rising_share(self, away: np.ndarray) -> tuple[np.ndarray, np.ndarray | float]:
        """How much of the rising time constant holds, in [0, 1], and its derivative: a step, or MuJoCo's sigmoid."""
        if not self._smooth:
            return (away > 0).astype(float), 0.0
        width = np.maximum(self.smoothing, 1e-9)
        x = np.clip(away / width + 0.5, 0.0, 1.0)
        return x**3 * (3 * x * (2 * x - 5) + 10), 30 * x**2 * (x * (x - 2) + 1) / width

    @cached_property
    def _smooth(self) -> bool:
        """Whether any muscle passes smoothly from rising to falling."""
        return bool(self.smoothing.any())
