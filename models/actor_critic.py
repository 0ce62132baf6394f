"""Gaussian actor-critics on a shared, frozen-when-learning normaliser."""

import dataclasses
import math
from typing import Any

import torch
from tensordict.nn import TensorDictModule
from torch import Tensor, nn

from muscle_torch.config import NetworkConfig
from muscle_torch.errors import InputError

from .normalizer import ObservationNormalizer
from .trunks import PlainTrunk, ResidualTrunk


class GaussianActor(nn.Module):
    """Observation (..., D) -> mean and standard deviation of the action, each (..., nu).

    The standard deviation does not depend on the state; it is clamped so that it can neither vanish nor explode.
    """

    def __init__(self, normalizer: ObservationNormalizer, trunk: nn.Module, action_size: int, network: dict[str, Any]):
        super().__init__()
        self.normalizer, self.trunk = normalizer, trunk
        self.limits = (network["min_std"], network["max_std"])
        for std in (network["initial_std"], network["final_std"] or network["initial_std"]):
            if not 0 < self.limits[0] <= std <= self.limits[1]:
                raise InputError("network: 0 < min_std <= initial_std, final_std <= max_std must hold")
        start = torch.full((action_size,), math.log(network["initial_std"]))
        self.log_std = nn.Parameter(start, requires_grad=network["learn_std"] and not network["final_std"])

    def forward(self, observation: Tensor) -> tuple[Tensor, Tensor]:
        loc = self.trunk(self.normalizer(observation))
        return loc, self.std().expand_as(loc)

    def std(self) -> Tensor:
        """(nu,)."""
        return self.log_std.exp().clamp(*self.limits)


class ActorCritic(nn.Module):
    """Actor and critic with networks of the same kind. `trunk` is set by the subclass.

    network: the keys of `config.NetworkConfig`; those left out take its defaults.
    """

    def __init__(self, observation_size: int, action_size: int, **network: Any):
        super().__init__()
        # A checkpoint of a version with fewer keys stays readable: a new key's default is what was done before it.
        network = dataclasses.asdict(NetworkConfig()) | network
        self.arguments = {"observation_size": observation_size, "action_size": action_size, **network}
        hidden = network["hidden"]
        if not hidden:
            raise InputError("network.hidden is empty: give at least one width, e.g. network.hidden=[256,256]")
        self.normalizer = ObservationNormalizer(
            observation_size, network["normalizer_epsilon"], network["normalizer_clip"]
        )
        trunk = self.trunk("actor", observation_size, hidden, action_size, network)
        gaussian = self.gaussian(trunk, action_size, network)
        value = self.trunk("critic", observation_size, network["critic_hidden"] or hidden, 1, network)
        self.actor = TensorDictModule(gaussian, in_keys=["observation"], out_keys=["loc", "scale"])
        critic = nn.Sequential(self.normalizer, value)
        self.critic = TensorDictModule(critic, in_keys=["observation"], out_keys=["state_value"])

    def gaussian(self, trunk: nn.Module, action_size: int, network: dict[str, Any]) -> GaussianActor:
        """What turns the actor's network into a distribution."""
        return GaussianActor(self.normalizer, trunk, action_size, network)

    @torch.no_grad()
    def anneal(self, progress: float) -> None:
        """Sets the standard deviation between initial_std and final_std; progress: share of the training done, 0 to 1.

        An action below zero excites nothing: under noise a muscle at rest is excited all the same, and a policy
        trained so relies on it. The less noise is left at the end, the better does the mean action do alone.
        """
        first, last = self.arguments["initial_std"], self.arguments["final_std"]
        if last:
            self.actor.module.log_std.fill_((1 - progress) * math.log(first) + progress * math.log(last))

    def trunk(self, part: str, inputs: int, hidden: list[int], outputs: int, network: dict[str, Any]) -> Any:
        """The network of `part`, "actor" or "critic"."""
        raise NotImplementedError("a subclass says which network")


class MLPPolicy(ActorCritic):
    """Plain layers with LayerNorm."""

    def trunk(self, part: str, inputs: int, hidden: list[int], outputs: int, network: dict[str, Any]) -> Any:
        return PlainTrunk(inputs, hidden, outputs, network["activation"], network["layernorm_epsilon"])


class GatedResidualPolicy(ActorCritic):
    """Residual blocks with a learned (or, network.residual=fixed, constant) weight: paper Eq. 11."""

    def trunk(self, part: str, inputs: int, hidden: list[int], outputs: int, network: dict[str, Any]) -> Any:
        if network["residual"] not in ("gated", "fixed"):
            raise InputError(f"network.residual={network['residual']!r}: choose gated or fixed")
        gated, epsilon = network["residual"] == "gated", network["layernorm_epsilon"]
        return ResidualTrunk(inputs, hidden, outputs, network["activation"], gated, epsilon)
