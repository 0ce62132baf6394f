"""A policy with spinal reflexes: stretch reflexes around the motion's muscle lengths, plus a network.

The excitation of each muscle is proportional to how much longer it is, and how much faster it lengthens, than the next
frames of the motion require: servo control of muscle length (Merton 1953), the equilibrium point hypothesis (Feldman
1986). A body that can fall also has postural reflexes: the error of the root excites the muscles of ankles, hips and
trunk (Horak and Nashner 1986; feedback of position and velocity of the body: Welch and Ting 2008). All gains are
initially zero, so an untrained policy has no reflexes.
"""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from muscle_torch.errors import InputError

from .actor_critic import MLPPolicy
from .options import ReflexOptions

LENGTH, VELOCITY, ROOT = "muscle_length_error", "muscle_velocity_error", "root_error"
# Columns of the root's error to which the muscles of a plane respond: position, rotation, and their velocities. The
# body's left is x, so its sagittal plane contains y.
SIGNALS = ((1, 3, 7, 9), (0, 4, 6, 10))
UNITS = (0.1, 0.2, 0.5, 1.0)  # [m], [rad], [m/s], [rad/s] that a gain of 1 maps to full excitation
# Initial mean and spread of the search for (log length gain, log velocity gain, tone); postural gains are searched
# around 0.
SEARCH_MEAN = (1.6, -1.5, 0.08)
SEARCH_SPREAD = (0.8, 1.0, 0.08)
POSTURE_SPREAD = 0.05


class ReflexMean(nn.Module):
    """mean = network(observation) + length_gain * length_error + velocity_gain * velocity_error + tone + posture.

    Args:
        layout: Columns [start, stop] of the errors in the observation.
        groups: Group of each muscle.
        joint_sets: Number J of joint sets with postural reflexes; 0: none.
        network: Map from observations (..., D) to actions (..., nu) that are added to the reflexes.
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
        # Buffers, because creating these tensors at every step would synchronize.
        self.register_buffer("signals", torch.tensor(SIGNALS), persistent=False)
        self.register_buffer("units", torch.tensor(UNITS), persistent=False)
        self.register_buffer(
            "pulls", torch.zeros(2, joint_sets, len(groups))
        )  # sign of each muscle's torque on these joints
        self.network = network

    def forward(self, observation: Tensor) -> Tensor:
        """Return mean actions (..., nu) for observations (..., D)."""
        return self.network(observation) + self.reflex(observation, self.gains, self.posture)

    def reflex(self, observation: Tensor, gains: Tensor, posture: Tensor) -> Tensor:
        """Return the reflexes' actions (..., nu).

        Args:
            observation: (..., D).
            gains: Length gain, velocity gain and tone of each muscle group, (..., 3, G).
            posture: Postural gains by plane, joint set and signal, (..., 2, J, 4).
        """
        length, velocity, tone = gains[..., self.groups].unbind(-2)
        stretch = length * observation[..., self.columns[LENGTH]] + velocity * observation[..., self.columns[VELOCITY]]
        if ROOT not in self.columns:
            return stretch + tone
        signals = observation[..., self.columns[ROOT]][..., self.signals] / self.units  # (..., 2, 4)
        turning = (posture * signals.unsqueeze(-2)).sum(-1)  # (..., 2, J)
        return stretch + tone + torch.einsum("...pj,pjm->...m", turning, self.pulls)


class ReflexPolicy(MLPPolicy):
    """Stretch and postural reflexes, plus a plain network.

    It needs the observation terms `muscle_length_error` and `muscle_velocity_error`, for a free body also `root_error`,
    and one action per muscle that excites it from 0 up (`actions.muscles.mapping=half`, no mixing).
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
        """Make the networks and reflexes.

        Args:
            observation_size: Size of an observation, D.
            action_size: Number of actions.
            layout: Columns [start, stop] of the errors in the observation.
            groups: Group of each muscle.
            joint_sets: Number J of joint sets with postural reflexes; 0: none.
            exploration: As in `NetworkPolicy`.
            **options: Fields of `ReflexOptions`.
        """
        self._layout, self._groups, self._joint_sets = layout, groups, joint_sets
        super().__init__(observation_size, action_size, exploration, **options)
        self.spec |= {"layout": dict(layout), "groups": list(groups), "joint_sets": joint_sets}

    @classmethod
    def from_env(cls, env: Any, exploration: Mapping[str, Any], **options: Any) -> "ReflexPolicy":
        """Make the policy from the observation layout, the muscle groups and the signs of their joint torques.

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
        """The reflexes and the network that is added to them."""
        return self.actor.module.mean  # type: ignore[return-value]

    def mean_network(self, trunk: nn.Module) -> nn.Module:
        return ReflexMean(self._layout, self._groups, self._joint_sets, super().mean_network(trunk))

    # Methods for the cross-entropy method (`muscle_torch.rl.contracts.Searchable`)

    def search_space(self) -> tuple[Tensor, Tensor]:
        """Return mean and standard deviation (3 G + 8 J,) of the first candidates: log gains, tone, postural gains."""
        gains, posture = self.reflexes.gains, self.reflexes.posture
        mean, spread = (torch.tensor(values, device=gains.device) for values in (SEARCH_MEAN, SEARCH_SPREAD))
        upright = torch.zeros(posture.numel(), device=gains.device)
        return (
            torch.cat((mean.repeat_interleave(gains.shape[1]), upright)),
            torch.cat((spread.repeat_interleave(gains.shape[1]), upright + POSTURE_SPREAD)),
        )

    def search_action(self, observation: Tensor, candidates: Tensor) -> Tensor:
        """Return the actions (W, nu) of the reflexes alone, with one candidate per environment, (W, 3 G + 8 J)."""
        return self.reflexes.reflex(observation, *self._gains(candidates))

    @torch.no_grad()
    def adopt(self, candidate: Tensor) -> None:
        """Set the gains to a candidate (3 G + 8 J,)."""
        gains, posture = self._gains(candidate)
        self.reflexes.gains.copy_(gains)
        self.reflexes.posture.copy_(posture)

    def _gains(self, candidates: Tensor) -> tuple[Tensor, Tensor]:
        """Return gains (..., 3, G) and posture (..., 2, J, 4) of candidates (..., 3 G + 8 J)."""
        gains, posture = self.reflexes.gains, self.reflexes.posture
        stretch, postural = candidates.split((gains.numel(), posture.numel()), dim=-1)
        length, velocity, tone = stretch.unflatten(-1, (3, -1)).unbind(-2)
        return torch.stack((length.exp(), velocity.exp(), tone), dim=-2), postural.unflatten(-1, posture.shape)


def group_of_each(embodiment: Any) -> list[int]:
    """Return the index of the first group that contains each muscle; muscles in no group share an additional one."""
    number_of: dict[str, int] = {}
    for number, names in enumerate(embodiment.groups.values()):
        for name in names:
            number_of.setdefault(name, number)
    return [number_of.get(name, len(embodiment.groups)) for name in embodiment.actuator_names]
