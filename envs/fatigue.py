"""Muscle fatigue: three compartments per muscle, which limit the excitations that reach the physics.

The 3CC-r model (Xia and Frey Law 2008; Looft, Herkert and Frey-Law 2018): a muscle's motor units are active, fatigued
or resting, and the three shares sum to 1. With the requested excitation u, active share a, fatigued share f, resting
share r = 1 - a - f:

    da/dt = c - F a        c = L (u - a), at most L r        L: tracking_rate
    df/dt = F a - R' f     R' = R while a < u, else rest_factor R (blood flows back into muscles that relax)

The excitation that reaches the physics is at most 1 - f. MuJoCo's activation dynamics follow it, so the model's active
share is not used in their place.
"""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from muscle_torch.config import FatigueConfig
from muscle_torch.embodiments import Embodiment
from muscle_torch.errors import InputError

from .actions.action_space import ActionSpace, ActionSpaces, control_limits

COMPARTMENTS = ("active", "fatigued")


class FatiguedActions(ActionSpaces):
    """Action spaces whose excitations are limited by fatigue.

    Attributes:
        active: Active share of each muscle, (W, muscles).
        fatigued: Fatigued share of each muscle, (W, muscles).
    """

    fatigued: Tensor

    def __init__(
        self,
        spaces: Mapping[str, ActionSpace],
        config: FatigueConfig,
        embodiment: Embodiment,
        num_envs: int,
        generator: torch.Generator,
        middle: bool = False,
        idle_torque: Tensor | None = None,
    ):
        """Join spaces by name; all muscles are rested until `begin`.

        Args:
            spaces: Name -> action space.
            config: Rates and the initial share.
            embodiment: The body.
            num_envs: Number of environments W.
            generator: Draws the initial shares; its device is that of all tensors.
            middle: Start with half of `initial_share` instead of drawing.
            idle_torque: As in `ActionSpaces`.

        Raises:
            InputError: A rate or share is out of range.
        """
        super().__init__(spaces, control_limits(embodiment).to(generator.device), idle_torque)
        self._config, self._generator, self._middle = config, generator, middle
        self._timestep = 1.0 / (embodiment.control_frequency * embodiment.substeps)
        _check(config, 1.0 / embodiment.control_frequency)
        self._muscles = torch.from_numpy(embodiment.muscle_ids).to(generator.device)
        shape = (num_envs, len(embodiment.muscle_ids))
        # Changed in place, because CUDA graphs read them.
        self.active = torch.zeros(shape, device=generator.device)
        self.fatigued = torch.zeros(shape, device=generator.device)

    @property
    def resting(self) -> Tensor:
        """Resting share of each muscle, (W, muscles)."""
        return 1.0 - self.active - self.fatigued

    def apply(self, controls: Tensor, substeps: int) -> Tensor:
        """Return the clamped controls (W, nu), muscles limited by fatigue, and advance the compartments.

        Args:
            controls: Unclamped controls, (W, nu).
            substeps: Number of physics steps for which they are applied.
        """
        clamped = self.clamp(controls)
        requested = clamped[:, self._muscles]
        reaching = torch.minimum(requested, 1.0 - self.fatigued)
        self._advance(requested, substeps * self._timestep)
        return clamped.index_copy(1, self._muscles, reaching)

    def begin(self, environments: Tensor) -> None:
        """Rest all muscles of the environments (W,) bool but for their initial fatigue."""
        super().begin(environments)
        share = self._config.initial_share
        initial = torch.full_like(self.fatigued, share / 2)
        if share and not self._middle:
            drawn = torch.rand(initial.shape, generator=self._generator, device=initial.device)
            initial = share * drawn
        rows = environments.unsqueeze(1)
        self.fatigued.copy_(torch.where(rows, initial, self.fatigued))
        self.active.copy_(torch.where(rows, 0.0, self.active))

    def state(self) -> dict[str, Any]:
        """Return copies of all state that exact resume needs."""
        return {**super().state(), "fatigue": {name: getattr(self, name).clone() for name in COMPARTMENTS}}

    def load_state(self, state: Mapping[str, Any]) -> None:
        """Restore what `state` returned."""
        super().load_state(state)
        for name in COMPARTMENTS:
            getattr(self, name).copy_(state["fatigue"][name])

    def _advance(self, requested: Tensor, seconds: float) -> None:
        """Advance the compartments by a time [s] with requested excitations (W, muscles); one Euler step."""
        config, active, fatigued = self._config, self.active, self.fatigued
        rises = active < requested
        recovery = torch.where(rises, config.recovery_rate, config.rest_factor * config.recovery_rate)
        recruited = config.tracking_rate * torch.minimum(requested - active, self.resting)
        tiring = config.fatigue_rate * active
        fatigued += seconds * (tiring - recovery * fatigued)
        active += seconds * (recruited - tiring)
        torch.minimum(active.clamp_(min=0.0), 1.0 - fatigued, out=active)


def _check(config: FatigueConfig, control_step: float) -> None:
    """Raise InputError if a rate or share is out of range for a control step [s]."""
    if not 0 <= config.initial_share <= 1:
        raise InputError(f"fatigue.initial_share={config.initial_share}: choose a share from 0 to 1")
    recovery = max(1.0, config.rest_factor) * config.recovery_rate
    rates = {"fatigue_rate": config.fatigue_rate, "recovery_rate": recovery, "tracking_rate": config.tracking_rate}
    for name, rate in rates.items():
        if rate < 0 or rate * control_step > 1:
            raise InputError(
                f"fatigue.{name}: {rate:g} / s is not between 0 and {1 / control_step:g} / s, one per control step "
                "(recovery_rate counts times rest_factor)"
            )
    if config.rest_factor < 0:
        raise InputError(f"fatigue.rest_factor={config.rest_factor}: cannot be negative")
