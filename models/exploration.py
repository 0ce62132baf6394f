"""From the mean action to a distribution of actions: how a policy explores."""

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
    """Mean action (..., actions) -> mean and standard deviation, each (..., actions).

    The standard deviation does not depend on the observation; it is clamped so that it can neither vanish nor explode.
    """

    def __init__(self, action_size: int, options: NormalOptions):
        super().__init__()
        self.options = options
        for std in (options.initial_std, options.final_std or options.initial_std):
            if not 0 < options.min_std <= std <= options.max_std:
                raise InputError("exploration: 0 < min_std <= initial_std, final_std <= max_std must hold")
        start = torch.full((action_size,), math.log(options.initial_std))
        self.log_std = nn.Parameter(start, requires_grad=options.learn_std and not options.final_std)
        self.mixing = make_mixing(action_size, options)

    def forward(self, loc: Tensor) -> tuple[Tensor, Tensor]:
        return loc, self.std().expand_as(loc)

    def distribution(self, loc: Tensor, scale: Tensor) -> Distribution:
        """Return the distribution of actions that `forward`'s result describes."""
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
        """Set the standard deviation between initial_std and final_std; progress: completed fraction, in [0, 1].

        An action below zero excites nothing: under noise a muscle at rest is excited all the same, and a policy
        trained so relies on it. The less noise is left at the end, the better the mean action does alone.
        """
        first, last = self.options.initial_std, self.options.final_std
        if last:
            self.log_std.fill_((1 - progress) * math.log(first) + progress * math.log(last))


class TanhNormalExploration(NormalExploration):
    """The same before a tanh, so that every action lies within (-1, 1)."""

    def unmixed(self, loc: Tensor, scale: Tensor) -> Distribution:
        return TanhNormal(loc, scale)


def make_exploration(action_size: int, chosen: Mapping[str, Any]) -> NormalExploration:
    """Return the row of EXPLORATIONS that `chosen["name"]` names; the other entries are its options."""
    return EXPLORATIONS[_name(chosen)].load()(action_size, exploration_options(chosen))


def exploration_options(chosen: Mapping[str, Any]) -> NormalOptions:
    """Return the options of the row of EXPLORATIONS that `chosen["name"]` names; the other entries are its options."""
    values = {name: value for name, value in chosen.items() if name != "name"}
    return make_options(EXPLORATIONS[_name(chosen)].options, values)


def _name(chosen: Mapping[str, Any]) -> str:
    name = chosen["name"]
    if name not in EXPLORATIONS:
        raise InputError(f"unknown exploration {name!r}{nearest(name, list(EXPLORATIONS))}")
    return name
