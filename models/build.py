"""From a name to a policy, and from a checkpoint back to one."""

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
from .options import NormalOptions

Policy = NetworkPolicy | PolicyAdapter  # both are complete: `muscle_torch.rl.contracts.ActorCritic`


def make_policy(choice: Choice | str, env: Any, exploration: Choice | None = None) -> Policy:
    """Make a policy for an environment.

    A class is called as `Class(observation_size, action_size, exploration=..., **options)`; one with a class method
    `from_env(env, exploration=..., **options)` is made by that.

    Args:
        choice: `cfg.policy`, or a name for the default options: a row of POLICIES, "package.module:Class" or
            "file.py:Class".
        env: Anything with `observation_size` and `action_size`; `from_env` may read more of it, and mixed actions need
            its `action_names` and `embodiment`.
        exploration: `cfg.exploration`; None: normal noise.

    Raises:
        InputError: There is no such policy, or it lacks what training needs.
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
    """Return plain data from which `build_policy` makes a policy; `choice` and `exploration`: see `make_policy`."""
    sizes = {"observation_size": observation_size, "action_size": action_size}
    chosen_exploration = {"name": exploration.name, **to_plain(exploration.options)}
    return {"name": choice.name, **sizes, "exploration": chosen_exploration, **to_plain(choice.options)}


def build_policy(spec: Mapping[str, Any]) -> Policy:
    """Make the policy that a spec describes (`policy.spec`, a checkpoint's `policy_spec`), with fresh weights."""
    arguments = {k: v for k, v in spec.items() if k != "name"}
    module = _call(policy_class(spec["name"]), spec["name"], **arguments)
    return _complete(module, dict(spec))


def policy_class(name: str) -> type[nn.Module]:
    """Return the class that a policy's name means.

    Raises:
        InputError: There is no such name, module or class.
    """
    kind = row("policy", name).load()
    if not (inspect.isclass(kind) and issubclass(kind, nn.Module)):
        raise InputError(f"policy={name}: this is no nn.Module class")
    return kind


def load_policy(checkpoint: str | Path, device: str | torch.device = "cpu") -> "Inference":
    """Return a trained policy for use, from a checkpoint file or a run folder."""
    stored = load_checkpoint(checkpoint)
    policy = build_policy(stored["policy_spec"])
    restore_policy(policy, stored)
    return Inference(policy.to(device), stored)


class Inference(TensorDictModuleBase):
    """A policy that only acts. `.config` and `.task` are those of its training run.

    A TensorDict module from `observation` to `action` too: `env.rollout(100, load_policy("runs/my_run"))`.
    """

    def __init__(self, policy: Policy, stored: Mapping[str, Any]):
        super().__init__()
        self.in_keys, self.out_keys = ["observation"], ["action"]
        self.policy = policy.eval().requires_grad_(False)
        self.config: dict[str, Any] = stored["config"]
        self.task: str = stored["task"]

    @property
    def actor(self) -> nn.Module:
        return self.policy.actor

    def distribution(self, observation: Tensor) -> Distribution:
        """Return the distribution of actions for observations (..., D)."""
        return self.policy.distribution(observation)

    @torch.no_grad()
    def act(self, observation: Tensor | np.ndarray) -> Tensor:
        """Return the mode of the distribution, the action (..., nu), for observations (..., D) of any float type."""
        observation = torch.as_tensor(observation)
        size = self.policy.spec["observation_size"]
        if observation.ndim == 0 or observation.shape[-1] != size:
            raise InputError(f"act: observations have shape {tuple(observation.shape)}, needed (..., {size})")
        parameter = next(self.policy.parameters(), observation)
        return self.policy.distribution(observation.to(parameter.device, torch.float32)).mode

    @torch.no_grad()
    def activity(self, observation: Tensor) -> dict[str, Tensor]:
        """Return by name what the networks compute inside, each (..., width), for observations (..., D)."""
        parameter = next(self.policy.parameters(), observation)
        return self.policy.activity(observation.to(parameter.device, torch.float32))

    def forward(self, tensordict: TensorDictBase) -> TensorDictBase:
        """Write `action` for `observation`."""
        return tensordict.set("action", self.act(tensordict["observation"]))


def _call(kind: Any, name: str, *sizes: Any, **arguments: Any) -> nn.Module:
    """Call a class with options that it may not take."""
    try:
        inspect.signature(kind).bind(*sizes, **arguments)
    except TypeError as error:
        raise InputError(f"policy={name}: cannot make the class: {error} (docs/custom_policy.md)") from None
    return kind(*sizes, **arguments)


def _complete(module: nn.Module, spec: dict[str, Any]) -> Policy:
    """Return the module as a complete, checked policy that knows its spec."""
    if isinstance(module, NetworkPolicy):
        policy: Policy = module
    else:
        policy = adapt(module, spec["name"], spec["exploration"], spec["action_size"])
    _check(policy, spec)
    policy.spec = {**spec, **policy.spec}
    return policy


def _check(policy: Policy, spec: Mapping[str, Any]) -> None:
    """Raise InputError if a policy does not do what training needs."""
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
