"""A policy that begins at the motion's feedforward: its network adds to the excitations that the motion asks for."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from muscle_torch.errors import InputError

from .actor_critic import Actor, MLPPolicy
from .exploration import NormalExploration
from .options import FeedforwardOptions

TERM = "feedforward"


class FeedforwardActor(Actor):
    """Mean action = feedforward + what the network's output is mixed to.

    Args:
        columns: Those of the feedforward in the observation.
    """

    def __init__(self, exploration: NormalExploration, mean: nn.Module, columns: slice):
        super().__init__(exploration, mean)
        self.columns = columns

    def location(self, observation: Tensor) -> Tensor:
        start, mixing = observation[..., self.columns], self.exploration.mixing
        # Before the mixing, which it is to pass unchanged.
        return self.mean(observation) + (start if mixing is None else start @ mixing.inverse.T)


class FeedforwardPolicy(MLPPolicy):
    """Plain layers with LayerNorm whose output corrects the observation term `feedforward`.

    Its actions are excitations, as every policy's: an untrained one plays the feedforward (and `action_bias`). Needs
    that term, and actions that excite a muscle each from 0 up (`actions.muscles.mapping=half`).
    """

    options_class = FeedforwardOptions
    options: FeedforwardOptions

    def __init__(
        self,
        observation_size: int,
        action_size: int,
        columns: list[int],
        exploration: Mapping[str, Any] | None = None,
        **options: Any,
    ):
        """Make the networks; columns: [start, stop] of the feedforward in the observation."""
        self._columns = list(columns)
        super().__init__(observation_size, action_size, exploration, **options)
        self.spec["columns"] = self._columns

    @classmethod
    def from_env(cls, env: Any, exploration: Mapping[str, Any], **options: Any) -> "FeedforwardPolicy":
        """Make the policy for the feedforward's columns in the observation.

        Raises:
            InputError: The environment lacks the observation term, or its actions are not muscle excitations.
        """
        if TERM not in env.observation_layout:
            raise InputError(f"policy=feedforward needs the observation term {TERM!r}: add it to observation.terms")
        muscles = {choice.name: choice.options for choice in env.config.actions}.get("muscles")
        if len(env.config.actions) > 1 or muscles is None or not excitations_are_actions(env):
            raise InputError("policy=feedforward excites muscles: use actions=[muscles] actions.muscles.mapping=half")
        columns = env.observation_layout[TERM]
        return cls(env.observation_size, env.action_size, [columns.start, columns.stop], exploration, **options)

    def make_actor(self, exploration: NormalExploration, mean: nn.Module) -> Actor:
        return FeedforwardActor(exploration, mean, slice(*self._columns))


def excitations_are_actions(env: Any) -> bool:
    """Return whether an action from 0 to 1 is the excitation itself, for every muscle."""
    controls = torch.tensor([[0.0], [1.0]], device=env.device).expand(2, env.embodiment.model.nu)
    return torch.equal(env.actions.from_controls(controls), controls)
