"""Controllers: they choose the actions in evaluation, validation, rendering, the viewer and rollout archives.

A controller may read all of the environment, including its physics and goal; a policy reads only the observation.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from torch.distributions import Distribution

from muscle_torch.config import import_object
from muscle_torch.errors import InputError, nearest


class Policy(Protocol):
    """The interface of a policy that `PolicyController` uses: an `nn.Module` with an action distribution."""

    def distribution(self, observation: Tensor) -> Distribution:
        """Return the action distribution (W, actions) for observations (W, D)."""
        ...

    def parameters(self) -> Iterator[nn.Parameter]:
        """Iterate over the parameters."""
        ...

    def modules(self) -> Iterator[nn.Module]:
        """Iterate over all modules, itself included."""
        ...


class Controller(Protocol):
    """Chooses an action for every environment at every control step."""

    def begin(self, env: Any, worlds: Tensor) -> None:
        """Prepare for new episodes.

        Args:
            env: The environment, after its reset.
            worlds: Environments whose episode has just begun, bool (W,).
        """
        ...

    def act(self, env: Any) -> Tensor:
        """Return the next action (W, actions); `env.observation` is the newest observation (W, D)."""
        ...


class ZeroController:
    """Outputs the action that does nothing: muscles get no excitation, motors no torque."""

    def begin(self, env: Any, worlds: Tensor) -> None:
        """Do nothing."""

    def act(self, env: Any) -> Tensor:
        """Return the zero action for every environment, (W, actions)."""
        return env.zero_action.expand(env.num_envs, -1)


class RandomController:
    """Outputs actions that are uniform in the range of the action spaces, and independent in time."""

    def __init__(self) -> None:
        self._generator = torch.Generator().manual_seed(0)  # on the CPU, so that it is the same for every device

    def begin(self, env: Any, worlds: Tensor) -> None:
        """Do nothing."""

    def act(self, env: Any) -> Tensor:
        """Return random actions for every environment, (W, actions)."""
        space = env.action_spec.space
        chance = torch.rand((env.num_envs, env.action_size), generator=self._generator).to(env.device)
        return space.low + (space.high - space.low) * chance


class PolicyController:
    """Acts with a policy, without gradients and with its normalizer frozen: the distribution's mode, or samples."""

    def __init__(self, policy: Policy, *, stochastic: bool = False, seed: int = 0):
        """Wrap a policy.

        Args:
            policy: An actor-critic, or the result of `load_policy`. It stays on its device, and observations are moved
                there. On the CPU the random numbers do not depend on the environment's device.
            stochastic: Sample, as while training, instead of taking the mode.
            seed: Seed of the controller's random numbers; the global generators are not touched.
        """
        self.policy, self._modules = policy, list(policy.modules())
        parameter = next(policy.parameters(), None)
        self._device = torch.device("cpu") if parameter is None else parameter.device
        self._generator = torch.Generator(self._device).manual_seed(seed) if stochastic else None

    def reseed(self, seed: int) -> None:
        """Restart the random numbers from `seed`."""
        self._generator = torch.Generator(self._device).manual_seed(seed)

    def begin(self, env: Any, worlds: Tensor) -> None:
        """Do nothing: a policy has no state between steps."""

    @torch.no_grad()
    def act(self, env: Any) -> Tensor:
        """Return the mode of the policy's distribution, or a sample, (W, actions)."""
        with _evaluation_mode(self._modules):
            distribution = self.policy.distribution(env.observation.to(self._device))
            if self._generator is None:
                return distribution.mode
            with _random_numbers_of(self._generator):
                return distribution.sample()


# Name -> import path of a class, constructed with its options if it has any. Imported only when chosen.
CONTROLLERS: dict[str, str] = {
    "zero": "muscle_torch.evaluation.controller:ZeroController",
    "random": "muscle_torch.evaluation.controller:RandomController",
    "muscle_control": "muscle_torch.control:MuscleController",
}
PLAIN = ("zero", "random")  # controllers without options


def make_controller(name: str, options: Mapping[str, Any] | None = None) -> Controller:
    """Return the controller of a row of `CONTROLLERS`.

    Args:
        name: Name of the row.
        options: Options of a configurable controller, such as `{"infeasible": "reject"}`.

    Raises:
        InputError: There is no such controller, or it has no such option.
    """
    if name not in CONTROLLERS:
        raise InputError(
            f"unknown controller policy={name}{nearest(name, list(CONTROLLERS))}; choose a trained policy with "
            "checkpoint=<run folder or checkpoint file>"
        )
    if not options:
        return import_object(CONTROLLERS[name])()
    if name in PLAIN:
        raise InputError(f"policy={name} takes no options; remove control.{next(iter(options))}")
    return import_object(CONTROLLERS[name])(options)


@contextmanager
def _evaluation_mode(modules: Sequence[nn.Module]) -> Iterator[None]:
    """Switch modules to evaluation mode, and afterwards restore those that were in training mode."""
    training = [module for module in modules if module.training]
    for module in training:  # `eval()` would visit all modules at every control step
        module.training = False
    try:
        yield
    finally:
        for module in training:
            module.training = True


@contextmanager
def _random_numbers_of(generator: torch.Generator) -> Iterator[None]:
    """Make distributions, which accept no generator, draw from this one."""
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
