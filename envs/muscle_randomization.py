"""Muscles that differ from world to world: strength and time constants, by muscle group or muscle.

The published system names both as adjustable, for upper and lower limbs apart (MuscleMimic, arXiv 2603.25544, 5.1; its
jumps are learned with five times the strength). One factor a world and group or muscle; those that overlap multiply. An
evaluation takes the middle of each range, so that [5, 5] is a stronger body and [0.8, 1.2] the model's own.
"""

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from torch import Tensor

from muscle_torch.config import RandomizationConfig
from muscle_torch.embodiments import Embodiment
from muscle_torch.errors import InputError, nearest
from muscle_torch.physics import Physics

EVERY = "all"
# what varies -> (MjModel field, its column); strength stands in two fields: the contractile and the passive element
FORCE, ACTIVATION, DEACTIVATION = 2, 0, 1
COLUMNS = {
    "strength": (("actuator_gainprm", FORCE), ("actuator_biasprm", FORCE)),
    "activation_time": (("actuator_dynprm", ACTIVATION),),
    "deactivation_time": (("actuator_dynprm", DEACTIVATION),),
}


class MuscleRandomization:
    """Factors of the muscles of W worlds, drawn once and written into the physics.

    factors: quantity -> (W, nu), 1 for motors, only of what the config names.
    """

    def __init__(self, config: RandomizationConfig, embodiment: Embodiment, num_worlds: int, seed: int, middle: bool):
        """middle: no draw, but the middle of each range."""
        self._embodiment = embodiment
        # Its own generator: what is drawn depends neither on the device nor on anything else that is random.
        generator = torch.Generator().manual_seed(seed)
        self.factors: dict[str, Tensor] = {}
        for quantity in COLUMNS:
            ranges = getattr(config, quantity)
            if ranges:
                self.factors[quantity] = self._draw(quantity, ranges, num_worlds, None if middle else generator)
        self._configured: Tensor | None = None  # strength before `set_strength`

    def set_strength(self, factor: Tensor, physics: Physics) -> None:
        """Multiply the configured strength of all muscles by a factor a world, (W,), and write it into the physics."""
        if self._configured is None:
            self._configured = self.factors.get(
                "strength", torch.ones(1, self._embodiment.model.nu, dtype=torch.float64)
            )
        scaled = torch.ones(len(factor), self._embodiment.model.nu, dtype=torch.float64)
        scaled[:, torch.from_numpy(self._embodiment.muscle_ids)] = factor.double().cpu().unsqueeze(1)
        self.factors["strength"] = self._configured * scaled
        self.apply(physics)

    def apply(self, physics: Physics) -> None:
        """Writes the factors into the physics: MjModel's own values times them."""
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
        return {quantity: factor.clone() for quantity, factor in self.factors.items()}

    def load_state(self, state: Mapping[str, Tensor], physics: Physics) -> None:
        """Takes over stored factors. Raises InputError where other quantities or worlds were varied."""
        found = {quantity: tuple(factor.shape) for quantity, factor in state.items()}
        if found != {quantity: tuple(factor.shape) for quantity, factor in self.factors.items()}:
            raise InputError("stored muscle variation does not fit; resume with the same randomization and num_envs")
        if all(torch.equal(state[quantity], factor) for quantity, factor in self.factors.items()):
            return
        self.factors = {quantity: factor.clone() for quantity, factor in state.items()}
        self.apply(physics)

    def _columns(self, field: str, column: int) -> Tensor:
        """Which column to scale, (1, nu, 1). A negative force stands for the scale in the next column."""
        values = getattr(self._embodiment.model, field)
        scaled = (column == FORCE) & (values[:, FORCE] < 0)
        return torch.from_numpy(np.where(scaled, column + 1, column)).view(1, -1, 1)

    def _draw(
        self, quantity: str, ranges: Mapping[str, Sequence[float]], num_worlds: int, generator: torch.Generator | None
    ) -> Tensor:
        factor = torch.ones(num_worlds, self._embodiment.model.nu, dtype=torch.float64)
        for group, limits in ranges.items():
            low, high = _limits(f"randomization.{quantity}.{group}", limits)
            share = torch.full((num_worlds, 1), 0.5, dtype=torch.float64)
            if generator is not None:
                share = torch.rand(num_worlds, 1, dtype=torch.float64, generator=generator)
            factor[:, self._members(quantity, group)] *= low + share * (high - low)
        return factor

    def _members(self, quantity: str, group: str) -> Tensor:
        """Actuator ids of a group's muscles, or of the one muscle that `group` names."""
        body = self._embodiment
        known = {**{name: (name,) for name in body.muscle_names}, **body.groups, EVERY: body.muscle_names}
        if group not in known:
            raise InputError(
                f"randomization.{quantity}: {body.name} has no muscle or muscle group {group!r}"
                f"{nearest(group, [EVERY, *body.groups, *body.muscle_names])}"
            )
        names = known[group]
        return torch.from_numpy(body.resolve("actuator", names))


def _limits(where: str, limits: Sequence[float]) -> tuple[float, float]:
    if len(limits) != 2 or not 0 < limits[0] <= limits[1]:
        raise InputError(f"{where}={list(limits)}: write the lowest and highest factor, e.g. [0.8,1.2]")
    return float(limits[0]), float(limits[1])
