"""Controllers: what chooses the actions in evaluation, validation, rendering, the viewer and rollout archives.

A controller may read everything of the environment, its physics and its goal included; a policy reads the observation.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from torch.distributions import Distribution

from muscle_torch.config import import_object
from muscle_torch.errors import InputError, nearest


class Policy(Protocol):
    """What `PolicyController` needs of a policy: an `nn.Module` that gives actions a distribution."""

    def distribution(self, observation: Tensor) -> Distribution:
        """Return the distribution of actions (W, actions) for observations (W, D)."""
        ...

    def parameters(self) -> Iterator[nn.Parameter]: ...
    def modules(self) -> Iterator[nn.Module]: ...


class Controller(Protocol):
    """Chooses an action for every environment at every control step."""

    def begin(self, env: Any, worlds: Tensor) -> None:
        """Prepare for the episodes that have just begun in the environments `worlds`, bool (W,)."""
        ...

    def act(self, env: Any) -> Tensor:
        """Return the next action (W, actions); `env.observation` is the newest observation (W, D)."""
        ...


class ZeroController:
    """The action that does nothing: muscles are not excited, motors do not push."""

    def begin(self, env: Any, worlds: Tensor) -> None:
        pass

    def act(self, env: Any) -> Tensor:
        return env.zero_action.expand(env.num_envs, -1)


class PolicyController:
    """A policy, its normalizer frozen, without gradients: the mode of its distribution, or samples from it."""

    def __init__(self, policy: Policy, *, stochastic: bool = False, seed: int = 0):
        """Wrap a policy.

        Args:
            policy: An actor-critic, or what `load_policy` returns. It stays where it is: observations are moved to
                its device. On the CPU the random numbers are the same whatever the environment's device.
            stochastic: Sample, as while training, instead of taking the mode.
            seed: Of the controller's own random numbers; those of the process are left as they are.
        """
        self.policy, self._modules = policy, list(policy.modules())
        parameter = next(policy.parameters(), None)
        self._device = torch.device("cpu") if parameter is None else parameter.device
        self._generator = torch.Generator(self._device).manual_seed(seed) if stochastic else None

    def reseed(self, seed: int) -> None:
        """Sample from now on as if made with this seed."""
        self._generator = torch.Generator(self._device).manual_seed(seed)

    def begin(self, env: Any, worlds: Tensor) -> None:
        pass

    @torch.no_grad()
    def act(self, env: Any) -> Tensor:
        with _evaluation_mode(self._modules):
            distribution = self.policy.distribution(env.observation.to(self._device))
            if self._generator is None:
                return distribution.mode
            with _random_numbers_of(self._generator):
                return distribution.sample()


# name -> import path of a class that is made without arguments; nothing is imported until it is chosen
CONTROLLERS: dict[str, str] = {
    "zero": "muscle_torch.evaluation.controller:ZeroController",
}


def make_controller(name: str) -> Controller:
    """Return the controller of a row of `CONTROLLERS`. Raises InputError for an unknown name."""
    if name not in CONTROLLERS:
        raise InputError(
            f"unknown controller policy={name}{nearest(name, list(CONTROLLERS))}; a trained policy is named by "
            "checkpoint=<run folder or checkpoint file>"
        )
    return import_object(CONTROLLERS[name])()


@contextmanager
def _evaluation_mode(modules: Sequence[nn.Module]) -> Iterator[None]:
    """Switch modules to evaluation mode, and back those that were training."""
    training = [module for module in modules if module.training]
    for module in training:  # `eval()` would walk through all of them at every control step
        module.training = False
    try:
        yield
    finally:
        for module in training:
            module.training = True


@contextmanager
def _random_numbers_of(generator: torch.Generator) -> Iterator[None]:
    """Let distributions, which take no generator, draw from this one."""
    device = generator.device
    on_gpu = device.type == "cuda"
    with torch.random.fork_rng(devices=[device] if on_gpu else []):
        if on_gpu:
            torch.cuda.set_rng_state(generator.get_state(), device)
            yield
            generator.set_state(torch.cuda.get_rng_state(device))
        else:
            torch.set_rng_state(generator.get_state())
            yield
            generator.set_state(torch.get_rng_state())
