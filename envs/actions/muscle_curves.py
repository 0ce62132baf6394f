"""MuJoCo's muscle curves in torch: force = gain(length, velocity) * activation + bias(length), both at most 0."""

import mujoco
import numpy as np
import torch
from torch import Tensor

TINY = 1e-15


class MuscleCurves:
    """`mju_muscleGain` and `mju_muscleBias` of all muscles at once, for W environments.

    Attributes:
        peak: Peak force F0 of each muscle, (muscles,) [N].
    """

    def __init__(self, model: mujoco.MjModel, actuators: np.ndarray, device: torch.device):
        """Read the parameters of the muscles.

        Args:
            model: The model; changes of single environments (muscle randomization) are not read.
            actuators: Actuator ids of the muscles, (muscles,).
            device: Device of all tensors.
        """
        low, high, force, scale, shortest, longest, fastest, passive, eccentric = model.actuator_gainprm[
            actuators, :9
        ].T
        limits = model.actuator_lengthrange[actuators]
        peak = np.where(force < 0, scale / np.maximum(model.actuator_acc0[actuators], TINY), force)
        optimum = np.maximum((limits[:, 1] - limits[:, 0]) / np.maximum(high - low, TINY), TINY)
        left, right = 0.5 * (shortest + 1), 0.5 * (1 + longest)
        columns = {
            "peak": peak,
            "_optimum": optimum,
            "_start": limits[:, 0],
            "_low": low,
            "_fastest": np.maximum(optimum * fastest, TINY),
            "_shortest": shortest,
            "_longest": longest,
            "_left": left,
            "_right": right,
            "_passive": passive * peak,
            "_eccentric": eccentric,
            "_y": np.maximum(eccentric - 1.0, TINY),
        }
        for name, values in columns.items():
            setattr(self, name, torch.from_numpy(np.asarray(values)).float().to(device))

    def gain(self, length: Tensor, velocity: Tensor) -> Tensor:
        """Return the active force at full activation, at most 0.

        Args:
            length: Muscle lengths [m], (W, muscles).
            velocity: Their rates of change [m/s], (W, muscles).

        Returns:
            Force [N], (W, muscles).
        """
        return -self.peak * self._force_length(self._normal(length)) * self._force_velocity(velocity / self._fastest)

    def bias(self, length: Tensor) -> Tensor:
        """Return the passive force, at most 0, for lengths (W, muscles) [m]: (W, muscles) [N]."""
        x = self._normal(length)
        width = (self._right - 1).clamp(min=TINY)
        rising = 0.5 * ((x - 1) / width).square()
        straight = 0.5 + (x - self._right) / width
        force = torch.where(x <= self._right, rising, straight)
        return -self._passive * torch.where(x <= 1, 0.0, force)

    def _normal(self, length: Tensor) -> Tensor:
        return self._low + (length - self._start) / self._optimum

    def _force_velocity(self, v: Tensor) -> Tensor:
        shortening = (v + 1).square()
        lengthening = self._eccentric - (self._y - v).square() / self._y
        force = torch.where(v <= 0, shortening, torch.where(v <= self._y, lengthening, self._eccentric))
        return torch.where(v <= -1, 0.0, force)

    def _force_length(self, x: Tensor) -> Tensor:
        """Return the force-length curve: four parabolas between shortest and longest length, 1 at the optimum."""

        def parabola(distance: Tensor, width: Tensor) -> Tensor:
            return 0.5 * (distance / width.clamp(min=TINY)).square()

        bump = torch.where(x <= self._right, 1 - parabola(x - 1, self._right - 1), 0.0)
        bump = torch.where(x <= 1, 1 - parabola(1 - x, 1 - self._left), bump)
        bump = torch.where(x <= self._left, parabola(x - self._shortest, self._left - self._shortest), bump)
        bump = torch.where(x > self._right, parabola(self._longest - x, self._longest - self._right), bump)
        return torch.where((x < self._shortest) | (x > self._longest), 0.0, bump)
