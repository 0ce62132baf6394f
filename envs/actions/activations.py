"""Muscle activations as actions: the environment computes the excitations that lead to them."""

import mujoco
import torch
from torch import Tensor

from muscle_torch.embodiments import Embodiment
from muscle_torch.errors import InputError
from muscle_torch.physics import Physics

from ..goals.goal import Goal
from .action_space import ActionSpace
from .options import ActivationOptions

ITERATIONS = 8  # of Newton's method; float32 is exact after four or five


class ActivationActions(ActionSpace):
    """One number per muscle: its activation at the end of the control step, clipped to [0, 1].

    The excitation is constant within the control step. An activation that cannot be reached in one control step gets
    excitation 0 or 1. Time constants are those of the model, also with `randomization.activation_time`.
    """

    low, high = 0.0, 1.0

    def __init__(self, options: ActivationOptions, embodiment: Embodiment, num_envs: int, device: torch.device):
        if not len(embodiment.muscle_ids):
            raise InputError(f"actions=[activations]: {embodiment.name} has no muscles")
        self.names = embodiment.muscle_names
        self.actuators = torch.from_numpy(embodiment.muscle_ids).to(device)
        self.zero_action = torch.zeros(len(self.names), device=device)
        self._address = torch.from_numpy(embodiment.model.actuator_actadr[embodiment.muscle_ids]).long().to(device)
        self._inverse = ActivationInverse(embodiment, device)

    def to_actuators(self, action: Tensor) -> Tensor:
        return action

    def to_controls(self, command: Tensor, physics: Physics, goal: Goal) -> Tensor:
        """Return the excitations that lead to activations within a control step.

        Args:
            command: Activations at the end of the control step, (W, muscles).
            physics: Provides the current activations.
            goal: Not read.
        """
        return self._inverse.invert(self._activation(physics), command.clamp(0.0, 1.0))

    def from_controls(self, controls: Tensor, physics: Physics, goal: Goal) -> Tensor:
        """Return the activations at the end of the control step.

        Args:
            controls: Excitations, (W, muscles).
            physics: Provides the current activations.
            goal: Not read.
        """
        return self._inverse.step(self._activation(physics), controls.clamp(0.0, 1.0))

    def _activation(self, physics: Physics) -> Tensor:
        """Return the current activations of the muscles, (W, muscles)."""
        return physics.field("act").index_select(1, self._address)


class ActivationInverse:
    """Activation dynamics of M muscles in W environments, forward and inverted, in torch without host synchronization.

    The dynamics are those of `muscle_torch.control.activation`, with a sharp transition between rising and falling. A
    constant excitation never crosses the activation within a control step, so a muscle rises or falls throughout.
    """

    def __init__(self, embodiment: Embodiment, device: torch.device):
        """Read the time constants of the muscles.

        Args:
            embodiment: The body.
            device: Device of all tensors.

        Raises:
            InputError: A muscle has other dynamics than MuJoCo's muscles, or a smooth transition.
        """
        model, ids = embodiment.model, embodiment.muscle_ids
        other = model.actuator_dyntype[ids] != int(mujoco.mjtDyn.mjDYN_MUSCLE)
        unsupported = other | (model.actuator_dynprm[ids, 2] != 0)
        if unsupported.any():
            name = embodiment.muscle_names[int(unsupported.argmax())]
            raise InputError(
                f"actions=[activations]: the activation dynamics of muscle {name!r} have no inverse here (dyntype must "
                "be muscle, and dynprm[2] zero); use actions=[muscles]"
            )
        constants = torch.from_numpy(model.actuator_dynprm[ids, :2] / model.opt.timestep).float().to(device)
        self._rise, self._fall = constants.unbind(1)
        self._substeps = embodiment.substeps

    def step(self, activation: Tensor, excitation: Tensor) -> Tensor:
        """Return the activations (W, M) after a control step with constant excitation (W, M)."""
        return self._roll(activation, excitation, excitation > activation)[0]

    def invert(self, activation: Tensor, target: Tensor) -> Tensor:
        """Return the excitations (W, M) in [0, 1] that lead from `activation` to `target`, or as near as possible.

        Args:
            activation: Current activations, (W, M).
            target: Activations at the end of the control step, (W, M).
        """
        rising = target > activation
        bound = rising.to(activation.dtype)
        extreme = self._roll(activation, bound, rising)[0]
        span = extreme - activation
        fraction = torch.where(span.abs() > 1e-9, (target - activation) / span, 0.0).clamp(0.0, 1.0)
        low, high = torch.where(rising, activation, 0.0), torch.where(rising, 1.0, activation)
        guess = activation + fraction * (bound - activation)
        for _ in range(ITERATIONS):
            end, slope = self._roll(activation, guess, rising)
            error = end - target
            low, high = torch.where(error < 0, guess, low), torch.where(error > 0, guess, high)
            newton = guess - error / slope.clamp(min=1e-9)
            inside = (newton >= low) & (newton <= high)
            guess = torch.where(inside, newton, 0.5 * (low + high))
        return torch.where(fraction >= 1.0, bound, guess).clamp(0.0, 1.0)

    def _roll(self, activation: Tensor, excitation: Tensor, rising: Tensor) -> tuple[Tensor, Tensor]:
        """Return the final activation and its derivative by the excitation."""
        value, slope = activation, torch.zeros_like(activation)
        for _ in range(self._substeps):
            factor = 0.5 + 1.5 * value.clamp(0.0, 1.0)
            up = 1.0 / (self._rise * factor)
            rate = torch.where(rising, up, factor / self._fall)
            by_value = torch.where(rising, -1.5 * up / factor, 1.5 / self._fall)
            away = excitation - value
            slope = slope + rate * (1.0 - slope) + by_value * away * slope
            value = value + rate * away
        return value, slope
