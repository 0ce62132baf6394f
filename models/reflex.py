"""A policy with a spinal cord: stretch reflexes around the motion's muscle lengths, and a network that adds the rest.

Each muscle is excited in proportion to how much longer it is, and how much faster it lengthens, than the motion's next
frames require: servo control of muscle length (Merton 1953), the equilibrium point hypothesis (Feldman 1986). A body
that can fall has postural reflexes besides: the root's error excites the muscles that turn ankles, hips and trunk
(Horak and Nashner 1986; feedback of position and speed of the body: Welch and Ting 2008). All gains start at zero: an
untrained policy has no reflex.
"""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from muscle_torch.errors import InputError

from .actor_critic import MLPPolicy
from .options import ReflexOptions

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


class ReflexMean(nn.Module):
    """mean = network(observation) + length_gain * length_error + velocity_gain * velocity_error + tone + posture.

    Args:
        layout: Columns [start, stop] of the errors in the observation.
        groups: Group of each muscle.
        joint_sets: Number J of joint sets with postural reflexes; 0: none.
        network: Observation (..., D) -> what is added to the reflexes (..., nu).
    """

    groups: Tensor
    signals: Tensor
    units: Tensor
    pulls: Tensor

    def __init__(self, layout: Mapping[str, list[int]], groups: list[int], joint_sets: int, network: nn.Module):
        super().__init__()
        self.columns = {term: slice(*columns) for term, columns in layout.items()}
        self.register_buffer("groups", torch.tensor(groups), persistent=False)  # (nu,)
        self.gains = nn.Parameter(torch.zeros(3, max(groups) + 1))  # length, velocity, tone of each group
        self.posture = nn.Parameter(torch.zeros(2, joint_sets, 4), joint_sets > 0)  # plane, joints, signal
        # Buffers: made at every step, they would make a GPU wait.
        self.register_buffer("signals", torch.tensor(SIGNALS), persistent=False)
        self.register_buffer("units", torch.tensor(UNITS), persistent=False)
        self.register_buffer("pulls", torch.zeros(2, joint_sets, len(groups)))  # of a muscle on these joints
        self.network = network

    def forward(self, observation: Tensor) -> Tensor:
        return self.network(observation) + self.reflex(observation, self.gains, self.posture)

    def reflex(self, observation: Tensor, gains: Tensor, posture: Tensor) -> Tensor:
        """Return the reflexes' action (..., nu) for gains (..., 3, G) and posture (..., 2, J, 4)."""
        length, velocity, tone = gains[..., self.groups].unbind(-2)
        stretch = length * observation[..., self.columns[LENGTH]] + velocity * observation[..., self.columns[VELOCITY]]
        if ROOT not in self.columns:
            return stretch + tone
        signals = observation[..., self.columns[ROOT]][..., self.signals] / self.units  # (..., 2, 4)
        turning = (posture * signals.unsqueeze(-2)).sum(-1)  # (..., 2, J)
        return stretch + tone + torch.einsum("...pj,pjm->...m", turning, self.pulls)


class ReflexPolicy(MLPPolicy):
    """Stretch and postural reflexes, and a plain network that adds to them.

    Needs the observation terms `muscle_length_error` and `muscle_velocity_error`, for a free body `root_error` as
    well, and actions that excite a muscle each from 0 up (`actions.muscles.mapping=half`, nothing mixed).
    """

    options_class = ReflexOptions
    options: ReflexOptions

    def __init__(
        self,
        observation_size: int,
        action_size: int,
        layout: Mapping[str, list[int]],
        groups: list[int],
        joint_sets: int = 0,
        exploration: Mapping[str, Any] | None = None,
        **options: Any,
    ):
        """Make the networks and reflexes; layout, groups, joint_sets: see `ReflexMean`."""
        self._layout, self._groups, self._joint_sets = layout, groups, joint_sets
        super().__init__(observation_size, action_size, exploration, **options)
        self.spec |= {"layout": dict(layout), "groups": list(groups), "joint_sets": joint_sets}

    @classmethod
    def from_env(cls, env: Any, exploration: Mapping[str, Any], **options: Any) -> "ReflexPolicy":
        """Make the policy from the errors' columns in the observation, the muscles' groups and their pulls on joints.

        Raises:
            InputError: The environment lacks an observation term, or its actions are not muscle excitations.
        """
        pulls = env.embodiment.posture_pulls
        terms = (LENGTH, VELOCITY) if pulls is None else (LENGTH, VELOCITY, ROOT)
        for term in terms:
            if term not in env.observation_layout:
                raise InputError(f"policy=reflex needs the observation term {term!r}: add it to observation.terms")
        muscles = {choice.name: choice.options for choice in env.config.actions}.get("muscles")
        mixed = exploration.get("synergy_mixing", 0) or exploration.get("action_bias", 0)
        if len(env.config.actions) > 1 or muscles is None or mixed or muscles.mapping != "half":
            raise InputError(
                "policy=reflex excites muscle by muscle: use actions=[muscles] actions.muscles.mapping=half "
                "exploration.synergy_mixing=0 exploration.action_bias=0"
            )
        layout = {t: [env.observation_layout[t].start, env.observation_layout[t].stop] for t in terms}
        sets = 0 if pulls is None else pulls.shape[1]
        groups = group_of_each(env.embodiment)
        policy = cls(env.observation_size, env.action_size, layout, groups, sets, exploration, **options)
        if pulls is not None:
            policy.reflexes.pulls.copy_(torch.from_numpy(pulls))
        return policy

    @property
    def reflexes(self) -> ReflexMean:
        return self.actor.module.mean  # type: ignore[return-value]

    def mean_network(self, trunk: nn.Module) -> nn.Module:
        return ReflexMean(self._layout, self._groups, self._joint_sets, super().mean_network(trunk))

    # What the cross-entropy method needs (`muscle_torch.rl.contracts.Searchable`)

    def search_space(self) -> tuple[Tensor, Tensor]:
        """Return mean and spread (3 G + 8 J,) to search around: log gains and tone, postural gains."""
        gains, posture = self.reflexes.gains, self.reflexes.posture
        mean, spread = (torch.tensor(values, device=gains.device) for values in (SEARCH_MEAN, SEARCH_SPREAD))
        upright = torch.zeros(posture.numel(), device=gains.device)
        return (
            torch.cat((mean.repeat_interleave(gains.shape[1]), upright)),
            torch.cat((spread.repeat_interleave(gains.shape[1]), upright + POSTURE_SPREAD)),
        )

    def search_action(self, observation: Tensor, candidates: Tensor) -> Tensor:
        """Return the action (W, nu) of the reflexes alone, each environment with its own candidate (W, 3 G + 8 J)."""
        return self.reflexes.reflex(observation, *self._gains(candidates))

    @torch.no_grad()
    def adopt(self, candidate: Tensor) -> None:
        """Take over the gains of a candidate (3 G + 8 J,)."""
        gains, posture = self._gains(candidate)
        self.reflexes.gains.copy_(gains)
        self.reflexes.posture.copy_(posture)

    def _gains(self, candidates: Tensor) -> tuple[Tensor, Tensor]:
        """(..., 3 G + 8 J) log gains and tone, postural gains -> gains (..., 3, G), posture (..., 2, J, 4)."""
        gains, posture = self.reflexes.gains, self.reflexes.posture
        stretch, postural = candidates.split((gains.numel(), posture.numel()), dim=-1)
        length, velocity, tone = stretch.unflatten(-1, (3, -1)).unbind(-2)
        return torch.stack((length.exp(), velocity.exp(), tone), dim=-2), postural.unflatten(-1, posture.shape)


def group_of_each(embodiment: Any) -> list[int]:
    """Return the number of the first group that names each muscle; muscles in none share one more group."""
    number_of: dict[str, int] = {}
    for number, names in enumerate(embodiment.groups.values()):
        for name in names:
            number_of.setdefault(name, number)
    return [number_of.get(name, len(embodiment.groups)) for name in embodiment.actuator_names]
