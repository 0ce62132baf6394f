"""Muscle randomization: strength and time constants that differ between environments, by muscle or muscle group.

In the published system both are adjustable, separately for upper and lower limbs (MuscleMimic, arXiv 2603.25544, 5.1;
jumps are learned with five times the strength). Each environment has one factor per group or muscle; the factors of
overlapping groups multiply. Evaluation uses the middle of each range: [5, 5] makes a stronger body, and [0.8, 1.2] the
body of the model. Deficits are further factors of the strength.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from muscle_torch.config import Config, RandomizationConfig
from muscle_torch.embodiments import Embodiment
from muscle_torch.embodiments.deficits import Deficit, deficits
from muscle_torch.errors import InputError, nearest
from muscle_torch.physics import Physics

EVERY = "all"
# quantity -> (MjModel field, column); strength scales two fields: the contractile and the passive element
FORCE, ACTIVATION, DEACTIVATION = 2, 0, 1
COLUMNS = {
    "strength": (("actuator_gainprm", FORCE), ("actuator_biasprm", FORCE)),
    "activation_time": (("actuator_dynprm", ACTIVATION),),
    "deactivation_time": (("actuator_dynprm", DEACTIVATION),),
}


class MuscleRandomization:
    """Factors of the muscles of W environments, drawn once and written into the physics.

    Attributes:
        factors: Quantity -> (W, nu), 1 for motors; configured quantities only.
        strength: Strength of each muscle over that of the model, (W, muscles), on the device; changed in place.
    """

    def __init__(
        self,
        config: RandomizationConfig,
        embodiment: Embodiment,
        num_envs: int,
        seed: int,
        middle: bool,
        deficit: Any = None,
        device: torch.device | str = "cpu",
    ):
        """Draw the factors.

        Args:
            config: Quantity -> muscle or group -> (lowest, highest) factor.
            embodiment: The body.
            num_envs: Number of environments W.
            seed: Of the draw.
            middle: Use the middle of each range instead of drawing.
            deficit: The key `deficit`; see `muscle_torch.embodiments.deficits`.
            device: Device of `strength`.

        Raises:
            InputError: A range is invalid, or the body has no such muscle or group.
        """
        self._embodiment = embodiment
        # A separate CPU generator: the draw depends neither on the device nor on other random numbers.
        generator = torch.Generator().manual_seed(seed)
        self.factors: dict[str, Tensor] = {}
        for quantity in COLUMNS:
            ranges = getattr(config, quantity)
            if ranges:
                self.factors[quantity] = self._draw(quantity, ranges, num_envs, None if middle else generator)
        # Last, so that a deficit does not change what the randomization draws.
        for one in deficits(deficit, embodiment):
            self._weaken(one, num_envs, None if middle else generator)
        self.strength = torch.ones(num_envs, len(embodiment.muscle_ids), device=device)
        self._update_strength()
        self._configured: Tensor | None = None  # configured strength, before `set_strength`

    @classmethod
    def of(
        cls, config: Config, embodiment: Embodiment, num_envs: int, device: torch.device, middle: bool
    ) -> "MuscleRandomization":
        """Draw the factors of a config.

        Args:
            config: Its randomization, deficit and seed are used.
            embodiment: The body.
            num_envs: Number of environments W.
            device: Device of `strength`.
            middle: Use the middle of each range instead of drawing.
        """
        return cls(config.randomization, embodiment, num_envs, config.seed, middle, config.deficit, device)

    def set_strength(self, factor: Tensor, physics: Physics) -> None:
        """Multiply the configured strength of all muscles by a factor per environment, (W,), and update the physics."""
        if self._configured is None:
            self._configured = self.factors.get(
                "strength", torch.ones(1, self._embodiment.model.nu, dtype=torch.float64)
            )
        scaled = torch.ones(len(factor), self._embodiment.model.nu, dtype=torch.float64)
        scaled[:, torch.from_numpy(self._embodiment.muscle_ids)] = factor.double().cpu().unsqueeze(1)
        self.factors["strength"] = self._configured * scaled
        self.apply(physics)
        self._update_strength()

    def apply(self, physics: Physics) -> None:
        """Write the values of the model times the factors into the physics."""
        model = self._embodiment.model
        fields: dict[str, Tensor] = {}
        for quantity, factor in self.factors.items():
            for field, column in COLUMNS[quantity]:
                if field not in fields:
                    fields[field] = torch.from_numpy(getattr(model, field)).repeat(len(factor), 1, 1)
                columns = self._columns(field, column)
                values = fields[field].gather(2, columns.expand(len(factor), -1, 1))
                fields[field].scatter_(2, columns.expand(len(factor), -1, 1), values * factor.unsqueeze(2))
        for field, values in fields.items():
            physics.set_model_field(field, values.float())

    def state(self) -> dict[str, Tensor]:
        """Return copies of the factors."""
        return {quantity: factor.clone() for quantity, factor in self.factors.items()}

    def load_state(self, state: Mapping[str, Tensor], physics: Physics) -> None:
        """Restore stored factors and write them into the physics.

        Raises:
            InputError: Quantities or the number of environments differ.
        """
        stored = {quantity: tuple(factor.shape) for quantity, factor in state.items()}
        if stored != {quantity: tuple(factor.shape) for quantity, factor in self.factors.items()}:
            raise InputError(
                "stored muscle randomization does not match; resume with the same randomization and num_envs"
            )
        if all(torch.equal(state[quantity], factor) for quantity, factor in self.factors.items()):
            return
        self.factors = {quantity: factor.clone() for quantity, factor in state.items()}
        self.apply(physics)
        self._update_strength()

    def _update_strength(self) -> None:
        if "strength" in self.factors:
            self.strength.copy_(self.factors["strength"][:, torch.from_numpy(self._embodiment.muscle_ids)])

    def _columns(self, field: str, column: int) -> Tensor:
        """Return the column to scale, (1, nu, 1): the next one if the force is negative, as MuJoCo then reads that."""
        values = getattr(self._embodiment.model, field)
        scaled = (column == FORCE) & (values[:, FORCE] < 0)
        return torch.from_numpy(np.where(scaled, column + 1, column)).view(1, -1, 1)

    def _draw(
        self, quantity: str, ranges: Mapping[str, Sequence[float]], num_envs: int, generator: torch.Generator | None
    ) -> Tensor:
        factor = torch.ones(num_envs, self._embodiment.model.nu, dtype=torch.float64)
        for group, limits in ranges.items():
            low, high = _limits(f"randomization.{quantity}.{group}", limits)
            factor[:, self._members(quantity, group)] *= _uniform(low, high, num_envs, generator)
        return factor

    def _weaken(self, deficit: Deficit, num_envs: int, generator: torch.Generator | None) -> None:
        healthy = torch.ones(num_envs, self._embodiment.model.nu, dtype=torch.float64)
        factor = self.factors.setdefault("strength", healthy)
        muscles = torch.from_numpy(self._embodiment.resolve("actuator", deficit.muscles))
        factor[:, muscles] *= _uniform(deficit.lowest, deficit.highest, num_envs, generator)

    def _members(self, quantity: str, group: str) -> Tensor:
        """Return the actuator ids of a group, or of a single muscle."""
        body = self._embodiment
        known = {**{name: (name,) for name in body.muscle_names}, **body.groups, EVERY: body.muscle_names}
        if group not in known:
            raise InputError(
                f"randomization.{quantity}: {body.name} has no muscle or muscle group {group!r}"
                f"{nearest(group, [EVERY, *body.groups, *body.muscle_names])}"
            )
        names = known[group]
        return torch.from_numpy(body.resolve("actuator", names))


def _uniform(low: float, high: float, count: int, generator: torch.Generator | None) -> Tensor:
    """Draw uniformly from [low, high], (count, 1); without a generator return the middle."""
    fraction = torch.full((count, 1), 0.5, dtype=torch.float64)
    if generator is not None:
        fraction = torch.rand(count, 1, dtype=torch.float64, generator=generator)
    return low + fraction * (high - low)


def _limits(where: str, limits: Sequence[float]) -> tuple[float, float]:
    if len(limits) != 2 or not 0 < limits[0] <= limits[1]:
        raise InputError(f"{where}={list(limits)}: write the lowest and highest factor, e.g. [0.8,1.2]")
    return float(limits[0]), float(limits[1])
