"""From a name to a policy, and from a checkpoint back to one."""

import dataclasses
import importlib
import importlib.util
import inspect
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch
from tensordict import TensorDict
from torch import Tensor, nn
from torch.distributions import Distribution

from muscle_torch.errors import InputError, nearest
from muscle_torch.storage.checkpoint import load_checkpoint, restore_policy

from .actor_critic import NORMAL, NetworkPolicy
from .adapter import PolicyAdapter, adapt
from .options import POLICIES, NormalOptions, to_plain

Policy = NetworkPolicy | PolicyAdapter  # both are complete: `muscle_torch.rl.contracts.ActorCritic`


class Chosen(NamedTuple):
    """A row of a table by name, with its options (a dataclass or a dict)."""

    name: str
    options: Any


def make_policy(name: str, env: Any, network: Any) -> Policy:
    """Make the policy `name` for an environment.

    Args:
        name: A row of POLICIES, "package.module:Class" or "file.py:Class".
        env: Anything with `observation_size` and `action_size`.
        network: `cfg.network` or a dict of its keys.

    Raises:
        InputError: There is no such policy, or it lacks what training needs.
    """
    choice, exploration = chosen(name, network)
    return make(choice, env, exploration)


def chosen(name: str, network: Any) -> tuple[Chosen, Chosen]:
    """Split the keys of `cfg.network` into the policy's and the exploration's.

    TRANSITION: once `cfg.policy` and `cfg.exploration` are choices with `name` and `options`, this function, `Chosen`
    and `make_policy` go, and `make` becomes `make_policy(cfg.policy, env, cfg.exploration)`.
    """
    values = dataclasses.asdict(network) if dataclasses.is_dataclass(network) else dict(network)  # type: ignore[arg-type]
    noise = {field.name for field in dataclasses.fields(NormalOptions)}
    known = {field.name for field in dataclasses.fields(POLICIES[name].options)} if name in POLICIES else values.keys()
    options = {k: v for k, v in values.items() if k in known and k not in noise}
    return Chosen(name, options), Chosen(NORMAL["name"], {k: v for k, v in values.items() if k in noise})


def make(choice: Any, env: Any, exploration: Any) -> Policy:
    """Make a policy for an environment.

    A class is called as `Class(observation_size, action_size, exploration=..., **options)`; one with a class method
    `from_env(env, exploration=..., **options)` is made by that.

    Args:
        choice: `name` (a row of POLICIES, "package.module:Class" or "file.py:Class") and `options`.
        env: Anything with `observation_size` and `action_size`; `from_env` may read more of it.
        exploration: `name` (a row of EXPLORATIONS) and `options`.

    Raises:
        InputError: There is no such policy, or it lacks what training needs.
    """
    spec = policy_spec(choice, exploration, env.observation_size, env.action_size)
    from_env = getattr(policy_class(choice.name), "from_env", None)
    if from_env is None:
        return build_policy(spec)
    arguments = {k: v for k, v in spec.items() if k not in ("name", "observation_size", "action_size")}
    return _complete(_call(from_env, choice.name, env, **arguments), spec)


def policy_spec(choice: Any, exploration: Any, observation_size: int, action_size: int) -> dict[str, Any]:
    """Return plain data from which `build_policy` makes a policy; `choice` and `exploration`: see `make`."""
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
    if name in POLICIES:
        return POLICIES[name].load()
    if ":" not in name:
        raise InputError(
            f"unknown policy {name!r}{nearest(name, list(POLICIES))} (your own: module:Class or file.py:Class)"
        )
    where, _, class_name = name.rpartition(":")
    module = _module(where)
    kind = getattr(module, class_name, None)
    if not (inspect.isclass(kind) and issubclass(kind, nn.Module)):
        classes = [n for n, v in vars(module).items() if inspect.isclass(v) and issubclass(v, nn.Module)]
        raise InputError(f"policy={name}: {where} has no nn.Module class {class_name!r}{nearest(class_name, classes)}")
    return kind


def load_policy(checkpoint: str | Path, device: str | torch.device = "cpu") -> "Inference":
    """Return a trained policy for use, from a checkpoint file or a run folder."""
    stored = load_checkpoint(checkpoint)
    policy = build_policy(stored["policy_spec"])
    restore_policy(policy, stored)
    return Inference(policy.to(device), stored)


class Inference(nn.Module):
    """A policy that only acts. `.config` and `.task` are those of its training run."""

    def __init__(self, policy: Policy, stored: Mapping[str, Any]):
        super().__init__()
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
    def act(self, observation: Tensor) -> Tensor:
        """Return the mode of the distribution, the action (..., nu), for observations (..., D)."""
        return self.policy.distribution(observation).mode


def _call(kind: Any, name: str, *sizes: Any, **arguments: Any) -> nn.Module:
    """Call a class with options that it may not take."""
    try:
        inspect.signature(kind).bind(*sizes, **arguments)
    except TypeError as error:
        raise InputError(f"policy={name}: cannot make the class: {error} (docs/custom_policy.md)") from None
    return kind(*sizes, **arguments)


def _complete(module: nn.Module, spec: dict[str, Any]) -> Policy:
    """Return the module as a complete, checked policy that knows its spec."""
    policy = module if isinstance(module, NetworkPolicy) else adapt(module, spec["name"])
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


def _module(where: str) -> Any:
    try:
        if not where.endswith(".py"):
            sys.path.insert(0, str(Path.cwd()))
            try:
                return importlib.import_module(where)
            finally:
                sys.path.pop(0)
        if not Path(where).is_file():
            raise InputError(f"policy file {where} not found")
        spec = importlib.util.spec_from_file_location(Path(where).stem, where)
        assert spec is not None and spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        return module
    except ModuleNotFoundError as error:
        raise InputError(f"policy={where}: {error} (a file is given as path/to/file.py:Class)") from None
