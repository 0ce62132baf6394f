"""Exploration: the map from a policy's mean action to its distribution of actions."""

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributions import Distribution

from muscle_torch.errors import InputError, nearest

from .distributions import DiagonalNormal, TanhNormal
from .mixing import make_mixing
from .options import EXPLORATIONS, NormalOptions, make_options


class NormalExploration(nn.Module):
    """Normal noise: map mean actions (..., actions) to mean and standard deviation, each (..., actions).

    The standard deviation does not depend on the observation. It is clamped to [min_std, max_std].
    """

    def __init__(self, action_size: int, options: NormalOptions):
        """Set the initial standard deviation.

        Args:
            action_size: Number of actions.
            options: `cfg.exploration`.

        Raises:
            InputError: The bounds of the standard deviation are inconsistent.
        """
        super().__init__()
        self.options = options
        for std in (options.initial_std, options.final_std or options.initial_std):
            if not 0 < options.min_std <= std <= options.max_std:
                raise InputError("exploration: 0 < min_std <= initial_std, final_std <= max_std must hold")
        start = torch.full((action_size,), math.log(options.initial_std))
        self.log_std = nn.Parameter(start, requires_grad=options.learn_std and not options.final_std)
        self.mixing = make_mixing(action_size, options)

    def attach(self, head: nn.Linear) -> None:
        """Use the actor's last layer, from the last hidden layer to mean actions, if the noise depends on it.

        Args:
            head: The layer; its first outputs are the mean actions.
        """

    def forward(self, loc: Tensor) -> tuple[Tensor, Tensor]:
        """Return mean and standard deviation for mean actions (..., actions)."""
        return loc, self.std().expand_as(loc)

    def distribution(self, loc: Tensor, scale: Tensor) -> Distribution:
        """Return the distribution of actions for a result of `forward`."""
        plain = self.unmixed(loc, scale)
        return plain if self.mixing is None else self.mixing(plain)

    def mode(self, loc: Tensor) -> Tensor:
        """Return the mode of the distribution of actions (..., actions)."""
        return self.distribution(loc, torch.ones_like(loc)).mode

    def unmixed(self, loc: Tensor, scale: Tensor) -> Distribution:
        """Return the distribution before `synergy_mixing` and `action_bias`."""
        return DiagonalNormal(loc, scale)

    def std(self) -> Tensor:
        """Return the standard deviation (actions,)."""
        return self.log_std.exp().clamp(self.options.min_std, self.options.max_std)

    @torch.no_grad()
    def anneal(self, progress: float) -> None:
        """Interpolate the standard deviation geometrically from initial_std to final_std, if final_std is set.

        A negative action excites no muscle, so noise around zero excites resting muscles on average, and the policy
        learns to rely on that. With little noise at the end of training, the mean action alone performs well.

        Args:
            progress: Completed fraction of training, in [0, 1].
        """
        first, last = self.options.initial_std, self.options.final_std
        if last:
            self.log_std.fill_((1 - progress) * math.log(first) + progress * math.log(last))


class TanhNormalExploration(NormalExploration):
    """Normal noise before a tanh, so that every action is within (-1, 1)."""

    def unmixed(self, loc: Tensor, scale: Tensor) -> Distribution:
        """Return the tanh-normal distribution before `synergy_mixing` and `action_bias`."""
        return TanhNormal(loc, scale)


def make_exploration(action_size: int, spec: Mapping[str, Any]) -> NormalExploration:
    """Make the exploration of a spec: "name", a key in EXPLORATIONS, and its options."""
    return EXPLORATIONS[_name(spec)].load()(action_size, exploration_options(spec))


def exploration_options(spec: Mapping[str, Any]) -> NormalOptions:
    """Return the options of a spec: "name", a key in EXPLORATIONS, and its options."""
    values = {name: value for name, value in spec.items() if name != "name"}
    return make_options(EXPLORATIONS[_name(spec)].options, values)


def _name(spec: Mapping[str, Any]) -> str:
    name = spec["name"]
    if name not in EXPLORATIONS:
        raise InputError(f"unknown exploration {name!r}{nearest(name, list(EXPLORATIONS))}")
    return name
