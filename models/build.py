"""From a name to a policy, and from a checkpoint back to one."""

import dataclasses
import importlib
import importlib.util
import inspect
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from tensordict import TensorDict
from torch import Tensor, nn

from muscle_torch.errors import InputError, nearest
from muscle_torch.storage.checkpoint import load_checkpoint, restore_policy

from .actor_critic import GatedResidualPolicy, MLPPolicy
from .moe import MoEPolicy
from .reflex import ReflexPolicy

POLICIES: dict[str, type[nn.Module]] = {
    "gated_residual": GatedResidualPolicy,
    "mlp": MLPPolicy,
    "moe": MoEPolicy,
    "reflex": ReflexPolicy,
}


def make_policy(name: str, env: Any, network: Any) -> nn.Module:
    """The policy `name` (a row of POLICIES, "package.module:Class" or "file.py:Class") for an environment.

    network: `cfg.network` or a dict; the class gets it as keyword arguments after the observation and action sizes.
    A class with `from_env(env, network)` is built through it.
    """
    options = dataclasses.asdict(network) if dataclasses.is_dataclass(network) else dict(network)  # type: ignore[arg-type]
    kind = policy_class(name)
    from_env = getattr(kind, "from_env", None)
    policy = from_env(env, options) if from_env else kind(env.observation_size, env.action_size, **options)
    _check(policy, name, env.observation_size, env.action_size)
    policy.spec = {"name": name, **_stored(policy, env, options)}  # type: ignore[assignment]
    return policy


def build_policy(spec: Mapping[str, Any]) -> nn.Module:
    """The policy that a checkpoint's `policy_spec` describes, with fresh weights."""
    arguments = {k: v for k, v in spec.items() if k != "name"}
    policy = policy_class(spec["name"])(**arguments)
    _check(policy, spec["name"], spec["observation_size"], spec["action_size"])
    policy.spec = dict(spec)  # type: ignore[assignment]
    return policy


def policy_class(name: str) -> type[nn.Module]:
    """Raises InputError where the name, the module or the class is not there."""
    if name in POLICIES:
        return POLICIES[name]
    if ":" not in name:
        raise InputError(
            f"unknown policy {name!r}{nearest(name, list(POLICIES))} (your own: module:Class or file.py:Class)"
        )
    where, _, class_name = name.rpartition(":")
    module = _module(where)
    found = getattr(module, class_name, None)
    if not (inspect.isclass(found) and issubclass(found, nn.Module)):
        classes = [n for n, v in vars(module).items() if inspect.isclass(v) and issubclass(v, nn.Module)]
        raise InputError(f"policy={name}: {where} has no nn.Module class {class_name!r}{nearest(class_name, classes)}")
    return found


def load_policy(checkpoint: str | Path, device: str | torch.device = "cpu") -> "Inference":
    """A trained policy for use: from a checkpoint file or a run folder."""
    stored = load_checkpoint(checkpoint)
    policy = build_policy(stored["policy_spec"])
    restore_policy(policy, stored)
    return Inference(policy.to(device), stored)


class Inference(nn.Module):
    """A policy that only acts. `.config` and `.task` are those of its training run."""

    def __init__(self, policy: nn.Module, stored: Mapping[str, Any]):
        super().__init__()
        self.policy = policy.eval().requires_grad_(False)
        self.config: dict[str, Any] = stored["config"]
        self.task: str = stored["task"]

    @property
    def actor(self) -> nn.Module:
        return self.policy.actor  # type: ignore[return-value]

    @torch.no_grad()
    def act(self, observation: Tensor) -> Tensor:
        """Observation (..., D) -> the mean action (..., nu)."""
        read = TensorDict({"observation": observation}, batch_size=observation.shape[:-1])
        return self.actor(read)["loc"]


def _stored(policy: nn.Module, env: Any, options: dict[str, Any]) -> dict[str, Any]:
    """What `build_policy` needs to make it again."""
    arguments = getattr(policy, "arguments", None)
    return arguments or {"observation_size": env.observation_size, "action_size": env.action_size, **options}


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
        found = importlib.util.spec_from_file_location(Path(where).stem, where)
        assert found is not None and found.loader is not None
        module = importlib.util.module_from_spec(found)
        found.loader.exec_module(module)
        return module
    except ModuleNotFoundError as error:
        raise InputError(f"policy={where}: {error} (a file is given as path/to/file.py:Class)") from None


def _check(policy: nn.Module, name: str, observation_size: int, action_size: int) -> None:
    """Raises InputError where a policy does not do what the trainer needs."""
    for part in ("actor", "critic"):
        if not isinstance(getattr(policy, part, None), nn.Module):
            raise InputError(f"policy={name}: the class has no `{part}` module (docs/custom_policy.md)")
    with torch.no_grad():
        read = TensorDict({"observation": torch.zeros(2, observation_size)}, batch_size=[2])
        wrote = policy.critic(policy.actor(read))  # type: ignore[operator]
    shapes = {"loc": (2, action_size), "scale": (2, action_size), "state_value": (2, 1)}
    for key, shape in shapes.items():
        if key not in wrote or tuple(wrote[key].shape) != shape:
            got = tuple(wrote[key].shape) if key in wrote else "nothing"
            raise InputError(f"policy={name}: must write {key!r} of shape {shape} for 2 observations, wrote {got}")
