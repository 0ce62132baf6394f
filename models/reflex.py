"""A policy with a spinal cord: stretch reflexes around the motion's muscle lengths, and a network that adds the rest.

Each muscle is excited in proportion to how much longer it is, and how much faster it lengthens, than the motion soon
wants it: servo control of muscle length (Merton 1953), the equilibrium point hypothesis (Feldman 1986). A body that can
fall has postural reflexes besides: the root's error excites the muscles that turn ankles, hips and trunk (Horak and
Nashner 1986; feedback of position and speed of the body: Welch and Ting 2008). All gains start at zero: an untrained
policy has no reflex.
"""

from typing import Any

import torch
from torch import Tensor, nn

from muscle_torch.errors import InputError

from .actor_critic import GaussianActor, MLPPolicy

LENGTH, VELOCITY, ROOT = "muscle_length_error", "muscle_velocity_error", "root_error"
# Columns of the root's error that the muscles of a plane answer to: position, rotation, their speeds. The body's left
# is x, so its sagittal plane is that of y.
SIGNALS = ((1, 3, 7, 9), (0, 4, 6, 10))
UNITS = (0.1, 0.2, 0.5, 1.0)  # [m], [rad], [m/s], [rad/s] that a gain of 1 turns into full excitation
# Where the search for gains begins: (log length gain, log velocity gain, tone), and how widely it looks; postural gains
# are searched around 0.
SEARCH_MEAN = (1.6, -1.5, 0.08)
SEARCH_SPREAD = (0.8, 1.0, 0.08)
POSTURE_SPREAD = 0.05


class ReflexActor(GaussianActor):
    """mean = network(observation) + length_gain * length_error + velocity_gain * velocity_error + tone + posture."""

    groups: Tensor
    signals: Tensor
    units: Tensor
    pulls: Tensor

    def __init__(self, layout: dict[str, list[int]], groups: list[int], joint_sets: int, *given: Any):
        super().__init__(*given)
        self.columns = {term: slice(*columns) for term, columns in layout.items()}
        self.register_buffer("groups", torch.tensor(groups), persistent=False)  # group of each muscle, (nu,)
        self.gains = nn.Parameter(torch.zeros(3, max(groups) + 1))  # length, velocity, tone of each group
        self.posture = nn.Parameter(torch.zeros(2, joint_sets, 4), joint_sets > 0)  # plane, joints, signal
        # Buffers: made at every step, they would make a GPU wait.
        self.register_buffer("signals", torch.tensor(SIGNALS), persistent=False)
        self.register_buffer("units", torch.tensor(UNITS), persistent=False)
        self.register_buffer("pulls", torch.zeros(2, joint_sets, len(groups)))  # of a muscle on these joints

    def forward(self, observation: Tensor) -> tuple[Tensor, Tensor]:
        loc, std = super().forward(observation)
        return loc + self.reflex(observation, self.gains, self.posture), std

    def reflex(self, observation: Tensor, gains: Tensor, posture: Tensor) -> Tensor:
        """(..., nu) of gains (..., 3, G) and posture (..., 2, J, 4)."""
        length, velocity, tone = gains[..., self.groups].unbind(-2)
        stretch = length * observation[..., self.columns[LENGTH]] + velocity * observation[..., self.columns[VELOCITY]]
        if ROOT not in self.columns:
            return stretch + tone
        signals = observation[..., self.columns[ROOT]][..., self.signals] / self.units  # (..., 2, 4)
        wanted = (posture * signals.unsqueeze(-2)).sum(-1)  # (..., 2, J)
        return stretch + tone + torch.einsum("...pj,pjm->...m", wanted, self.pulls)


class ReflexPolicy(MLPPolicy):
    """Needs the observation terms `muscle_length_error` and `muscle_velocity_error`, for a free body `root_error` as
    well, and actions that excite a muscle each from 0 up (`env.action_mapping=half env.synergies=0`)."""

    def __init__(
        self,
        observation_size: int,
        action_size: int,
        layout: dict[str, list[int]],
        groups: list[int],
        joint_sets: int = 0,
        **network: Any,
    ):
        self._layout, self._groups, self._joint_sets = layout, groups, joint_sets
        super().__init__(observation_size, action_size, **network)
        self.arguments |= {"layout": layout, "groups": groups, "joint_sets": joint_sets}

    @classmethod
    def from_env(cls, env: Any, network: dict[str, Any]) -> "ReflexPolicy":
        """Reads where the errors are in the observation, which muscle belongs to which group, and what moves which
        joint."""
        pulls = env.embodiment.posture_pulls
        terms = (LENGTH, VELOCITY) if pulls is None else (LENGTH, VELOCITY, ROOT)
        for term in terms:
            if term not in env.observation_layout:
                raise InputError(f"policy=reflex needs the observation term {term!r}: add it to observation.terms")
        if env.config.env.synergies or env.config.env.action_mapping != "half":
            raise InputError("policy=reflex excites muscle by muscle: use env.synergies=0 env.action_mapping=half")
        layout = {t: [env.observation_layout[t].start, env.observation_layout[t].stop] for t in terms}
        sets = 0 if pulls is None else pulls.shape[1]
        policy = cls(env.observation_size, env.action_size, layout, group_of_each(env.embodiment), sets, **network)
        if pulls is not None:
            policy._actor().pulls.copy_(torch.from_numpy(pulls))
        return policy

    def gaussian(self, trunk: nn.Module, action_size: int, network: dict[str, Any]) -> GaussianActor:
        given = (self.normalizer, trunk, action_size, network)
        return ReflexActor(self._layout, self._groups, self._joint_sets, *given)

    # What `rl.search` asks for

    def search_space(self) -> tuple[Tensor, Tensor]:
        """Mean and spread (3 G + 8 J,) to search around: log gains and tone, postural gains."""
        gains, posture = self._actor().gains, self._actor().posture
        mean, spread = (torch.tensor(values, device=gains.device) for values in (SEARCH_MEAN, SEARCH_SPREAD))
        upright = torch.zeros(posture.numel(), device=gains.device)
        return (
            torch.cat((mean.repeat_interleave(gains.shape[1]), upright)),
            torch.cat((spread.repeat_interleave(gains.shape[1]), upright + POSTURE_SPREAD)),
        )

    def search_action(self, observation: Tensor, candidates: Tensor) -> Tensor:
        """Action (W, nu) of the reflexes alone, with gains of its own for each world, candidates (W, 3 G + 8 J)."""
        return self._actor().reflex(observation, *self._gains(candidates))

    @torch.no_grad()
    def adopt(self, candidate: Tensor) -> None:
        """Takes over the gains of a candidate (3 G + 8 J,)."""
        gains, posture = self._gains(candidate)
        self._actor().gains.copy_(gains)
        self._actor().posture.copy_(posture)

    def _gains(self, candidates: Tensor) -> tuple[Tensor, Tensor]:
        """(..., 3 G + 8 J) log gains and tone, postural gains -> gains (..., 3, G), posture (..., 2, J, 4)."""
        actor = self._actor()
        stretch, posture = candidates.split((actor.gains.numel(), actor.posture.numel()), dim=-1)
        length, velocity, tone = stretch.unflatten(-1, (3, -1)).unbind(-2)
        return torch.stack((length.exp(), velocity.exp(), tone), dim=-2), posture.unflatten(-1, actor.posture.shape)

    def _actor(self) -> ReflexActor:
        actor = self.actor.module
        assert isinstance(actor, ReflexActor)
        return actor


def group_of_each(embodiment: Any) -> list[int]:
    """For each muscle, the number of the first group that names it; muscles in none share one more group."""
    found: dict[str, int] = {}
    for number, names in enumerate(embodiment.groups.values()):
        for name in names:
            found.setdefault(name, number)
    return [found.get(name, len(embodiment.groups)) for name in embodiment.muscle_names]
