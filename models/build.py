"""Make a policy from its name, or from a checkpoint."""

import inspect
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tensordict import TensorDict, TensorDictBase
from tensordict.nn import TensorDictModuleBase
from torch import Tensor, nn
from torch.distributions import Distribution

from muscle_torch.config import Choice
from muscle_torch.config.kinds import row, to_plain
from muscle_torch.errors import InputError
from muscle_torch.storage.checkpoint import load_checkpoint, restore_policy

from .actor_critic import NORMAL, NetworkPolicy
from .adapter import PolicyAdapter, adapt
from .experts import ExpertsPolicy
from .options import NormalOptions

Policy = NetworkPolicy | ExpertsPolicy | PolicyAdapter  # all implement `muscle_torch.rl.contracts.ActorCritic`


def make_policy(choice: Choice | str, env: Any, exploration: Choice | None = None) -> Policy:
    """Make a policy for an environment, with fresh weights on the CPU.

    A class is called as `Class(observation_size, action_size, exploration=..., **options)`, or as
    `Class.from_env(env, exploration=..., **options)` if it has this class method.

    Args:
        choice: `cfg.policy`, or a name for the default options: a key in POLICIES, "package.module:Class" or
            "file.py:Class".
        env: Any object with `observation_size` and `action_size`; `from_env` may read more of it, and mixed actions
            need its `action_names` and `embodiment`.
        exploration: `cfg.exploration`; None: normal noise.

    Returns:
        A policy that implements `muscle_torch.rl.contracts.ActorCritic`: it maps observations (..., D) to a
        distribution of actions (..., actions) and to values (..., 1).

    Raises:
        InputError: The policy is unknown, an option is out of range, or the class lacks a member that training needs.
    """
    choice = choice if isinstance(choice, Choice) else Choice(choice, row("policy", choice).options())
    exploration = exploration or Choice(NORMAL["name"], NormalOptions())
    spec = policy_spec(choice, exploration, env.observation_size, env.action_size)
    from_env = getattr(policy_class(choice.name), "from_env", None)
    if from_env is None:
        policy = build_policy(spec)
    else:
        arguments = {k: v for k, v in spec.items() if k not in ("name", "observation_size", "action_size")}
        policy = _complete(_call(from_env, choice.name, env, **arguments), spec)
    if policy.mixing is not None:
        policy.mixing.fit(env)
    return policy


def policy_spec(choice: Choice, exploration: Choice, observation_size: int, action_size: int) -> dict[str, Any]:
    """Return plain data from which `build_policy` makes a policy.

    Args:
        choice: Policy and its options.
        exploration: Action distribution and its options.
        observation_size: Size of an observation, D.
        action_size: Number of actions.
    """
    sizes = {"observation_size": observation_size, "action_size": action_size}
    exploration_spec = {"name": exploration.name, **to_plain(exploration.options)}
    return {"name": choice.name, **sizes, "exploration": exploration_spec, **to_plain(choice.options)}


def build_policy(spec: Mapping[str, Any]) -> Policy:
    """Make the policy of a spec (`policy.spec`, or `policy_spec` of a checkpoint), with fresh weights.

    Raises:
        InputError: The policy is unknown, or lacks a member that training needs.
    """
    arguments = {k: v for k, v in spec.items() if k != "name"}
    module = _call(policy_class(spec["name"]), spec["name"], **arguments)
    return _complete(module, dict(spec))


def policy_class(name: str) -> type[nn.Module]:
    """Return the class of a policy's name.

    Raises:
        InputError: The name, module or class does not exist, or is not an nn.Module.
    """
    kind = row("policy", name).load()
    if not (inspect.isclass(kind) and issubclass(kind, nn.Module)):
        raise InputError(f"policy={name}: the class is not an nn.Module")
    return kind


def load_policy(checkpoint: str | Path, device: str | torch.device = "cpu") -> "Inference":
    """Load a trained policy for inference.

    Args:
        checkpoint: Checkpoint file, run folder or `pretrained:<name>`, such as `pretrained:bimanual`.
        device: Device of the policy.

    Returns:
        The policy with its normalizer, frozen: `load_policy(path).act(observation)`.

    Raises:
        InputError: There is no such checkpoint, it is damaged, or its policy cannot be built.
    """
    stored = load_checkpoint(checkpoint)
    policy = build_policy(stored["policy_spec"])
    restore_policy(policy, stored)
    return Inference(policy.to(device), stored)


class Inference(TensorDictModuleBase):
    """A frozen policy for inference.

    It is also a TensorDict module from `observation` to `action`: `env.rollout(100, load_policy("runs/my_run"))`.

    Attributes:
        policy: The policy in evaluation mode, without gradients.
        config: Configuration of its training run, as plain data.
        task: Task of its training run.
    """

    def __init__(self, policy: Policy, stored: Mapping[str, Any]):
        """Freeze a policy; `config` and `task` are read from the contents `stored` of its checkpoint."""
        super().__init__()
        self.in_keys, self.out_keys = ["observation"], ["action"]
        self.policy = policy.eval().requires_grad_(False)
        self.config: dict[str, Any] = stored["config"]
        self.task: str = stored["task"]

    @property
    def actor(self) -> nn.Module:
        """Module that computes the parameters of the distribution."""
        return self.policy.actor

    def distribution(self, observation: Tensor) -> Distribution:
        """Return the distribution of actions for observations (..., D)."""
        return self.policy.distribution(observation)

    @torch.no_grad()
    def act(self, observation: Tensor | np.ndarray) -> Tensor:
        """Return the mode of the distribution of actions.

        Args:
            observation: (..., D), of any float type, on any device.

        Returns:
            Actions (..., actions), on the device of the policy.

        Raises:
            InputError: The last axis does not have the policy's observation size.
        """
        observation = torch.as_tensor(observation)
        size = self.policy.spec["observation_size"]
        if observation.ndim == 0 or observation.shape[-1] != size:
            raise InputError(f"act: observations have shape {tuple(observation.shape)}, needed (..., {size})")
        parameter = next(self.policy.parameters(), observation)
        return self.policy.distribution(observation.to(parameter.device, torch.float32)).mode

    @torch.no_grad()
    def activity(self, observation: Tensor) -> dict[str, Tensor]:
        """Return activations of hidden layers by name, each (..., width), for observations (..., D)."""
        parameter = next(self.policy.parameters(), observation)
        return self.policy.activity(observation.to(parameter.device, torch.float32))

    def forward(self, tensordict: TensorDictBase) -> TensorDictBase:
        """Write `action` for `observation`."""
        return tensordict.set("action", self.act(tensordict["observation"]))


def _call(kind: Any, name: str, *sizes: Any, **arguments: Any) -> nn.Module:
    """Call a class; raise InputError if it does not accept the arguments."""
    try:
        inspect.signature(kind).bind(*sizes, **arguments)
    except TypeError as error:
        raise InputError(f"policy={name}: cannot make the class: {error} (docs/custom_policy.md)") from None
    return kind(*sizes, **arguments)


def _complete(module: nn.Module, spec: dict[str, Any]) -> Policy:
    """Return the module as a complete, checked policy with its spec."""
    if isinstance(module, NetworkPolicy | ExpertsPolicy):
        policy: Policy = module
    else:
        policy = adapt(module, spec["name"], spec["exploration"], spec["action_size"])
    _check(policy, spec)
    policy.spec = {**spec, **policy.spec}
    return policy


def _check(policy: Policy, spec: Mapping[str, Any]) -> None:
    """Raise InputError if distribution or critic of a policy does not have the required methods and shapes."""
    name, observation = spec["name"], torch.zeros(2, spec["observation_size"])
    with torch.no_grad(), torch.random.fork_rng(devices=[]):
        distribution = policy.distribution(observation)
        if not isinstance(distribution, Distribution):
            kind = type(distribution).__name__
            raise InputError(f"policy={name}: `distribution` must return a torch Distribution, it returned {kind}")
        shapes = {}
        try:
            for part in ("sample", "log_prob", "entropy", "mode"):
                shapes[part] = tuple(_of(distribution, part).shape)
        except NotImplementedError:
            missing = f"{type(distribution).__name__} has no {part}"
            raise InputError(f"policy={name}: {missing}, which training needs (docs/custom_policy.md)") from None
        written = policy.critic(TensorDict({"observation": observation}, batch_size=[2]))
    action = (2, spec["action_size"])
    for part, shape in {"sample": action, "log_prob": (2,), "entropy": (2,), "mode": action}.items():
        if shapes[part] != shape:
            raise InputError(
                f"policy={name}: {part} of its distribution must have shape {shape} for 2 observations, not "
                f"{shapes[part]} (torch.distributions.Independent makes one event of several)"
            )
    value = tuple(written["state_value"].shape) if "state_value" in written else "nothing"
    if value != (2, 1):
        raise InputError(f"policy={name}: must write 'state_value' of shape (2, 1) for 2 observations, wrote {value}")


def _of(distribution: Any, part: str) -> Tensor:
    if part == "log_prob":
        return distribution.log_prob(distribution.sample())
    value = getattr(distribution, part)
    return value if part == "mode" else value()
