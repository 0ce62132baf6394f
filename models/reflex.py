"""A policy with a spinal cord: stretch reflexes around the motion's muscle lengths, and a network that adds the rest.

Each muscle is excited in proportion to how much longer it is, and how much faster it lengthens, than the motion soon
wants it: servo control of muscle length (Merton 1953), the equilibrium point hypothesis (Feldman 1986). All gains start
at zero: an untrained policy has no reflex.
"""

from typing import Any

import torch
from torch import Tensor, nn

from muscle_torch.errors import InputError

from .actor_critic import GaussianActor, MLPPolicy

LENGTH, VELOCITY = "muscle_length_error", "muscle_velocity_error"
# Where the search for gains begins: (log length gain, log velocity gain, tone), and how widely it looks.
SEARCH_MEAN = (1.6, -1.5, 0.08)
SEARCH_SPREAD = (0.8, 1.0, 0.08)


class ReflexActor(GaussianActor):
    """mean = network(observation) + length_gain * length_error + velocity_gain * velocity_error + tone."""

    groups: Tensor

    def __init__(self, length: slice, velocity: slice, groups: list[int], *given: Any):
        super().__init__(*given)
        self.length, self.velocity = length, velocity
        self.register_buffer("groups", torch.tensor(groups), persistent=False)  # group of each muscle, (nu,)
        self.gains = nn.Parameter(torch.zeros(3, max(groups) + 1))  # length, velocity, tone of each group

    def forward(self, observation: Tensor) -> tuple[Tensor, Tensor]:
        loc, std = super().forward(observation)
        return loc + self.reflex(observation, self.gains), std

    def reflex(self, observation: Tensor, gains: Tensor) -> Tensor:
        """(..., nu) of gains (..., 3, G)."""
        length, velocity, tone = gains[..., self.groups].unbind(-2)
        return length * observation[..., self.length] + velocity * observation[..., self.velocity] + tone


class ReflexPolicy(MLPPolicy):
    """Needs the observation terms `muscle_length_error` and `muscle_velocity_error`, and actions that excite a muscle
    each from 0 up (`env.action_mapping=half env.synergies=0`)."""

    def __init__(
        self, observation_size: int, action_size: int, layout: dict[str, list[int]], groups: list[int], **network: Any
    ):
        self._layout, self._groups = layout, groups
        super().__init__(observation_size, action_size, **network)
        self.arguments |= {"layout": layout, "groups": groups}

    @classmethod
    def from_env(cls, env: Any, network: dict[str, Any]) -> "ReflexPolicy":
        """Reads where the errors are in the observation, and which muscle belongs to which group."""
        for term in (LENGTH, VELOCITY):
            if term not in env.observation_layout:
                raise InputError(f"policy=reflex needs the observation term {term!r}: add it to observation.terms")
        if env.config.env.synergies or env.config.env.action_mapping != "half":
            raise InputError("policy=reflex excites muscle by muscle: use env.synergies=0 env.action_mapping=half")
        layout = {t: [env.observation_layout[t].start, env.observation_layout[t].stop] for t in (LENGTH, VELOCITY)}
        return cls(env.observation_size, env.action_size, layout, group_of_each(env.embodiment), **network)

    def gaussian(self, trunk: nn.Module, action_size: int, network: dict[str, Any]) -> GaussianActor:
        length, velocity = slice(*self._layout[LENGTH]), slice(*self._layout[VELOCITY])
        return ReflexActor(length, velocity, self._groups, self.normalizer, trunk, action_size, network)

    # What `rl.search` asks for

    def search_space(self) -> tuple[Tensor, Tensor]:
        """Mean and spread (3 G,) to search around: log gains and tone."""
        gains = self._actor().gains
        mean, spread = (torch.tensor(values, device=gains.device) for values in (SEARCH_MEAN, SEARCH_SPREAD))
        return mean.repeat_interleave(gains.shape[1]), spread.repeat_interleave(gains.shape[1])

    def search_action(self, observation: Tensor, candidates: Tensor) -> Tensor:
        """Action (W, nu) of the reflex alone, with gains of its own for each world, candidates (W, 3 G)."""
        return self._actor().reflex(observation, _gains(candidates))

    @torch.no_grad()
    def adopt(self, candidate: Tensor) -> None:
        """Takes over the gains of a candidate (3 G,)."""
        self._actor().gains.copy_(_gains(candidate))

    def _actor(self) -> ReflexActor:
        actor = self.actor.module
        assert isinstance(actor, ReflexActor)
        return actor


def _gains(candidates: Tensor) -> Tensor:
    """(..., 3 G) log gains and tone -> (..., 3, G) gains."""
    length, velocity, tone = candidates.unflatten(-1, (3, -1)).unbind(-2)
    return torch.stack((length.exp(), velocity.exp(), tone), dim=-2)


def group_of_each(embodiment: Any) -> list[int]:
    """For each muscle, the number of the first group that names it; muscles in none share one more group."""
    found: dict[str, int] = {}
    for number, names in enumerate(embodiment.groups.values()):
        for name in names:
            found.setdefault(name, number)
    return [found.get(name, len(embodiment.groups)) for name in embodiment.actuator_names]
