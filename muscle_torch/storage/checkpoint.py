"""Checkpoint files: written atomically, read without executing code, rejected with one line if they do not fit."""

import math
import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import nn

from muscle_torch.errors import InputError
from muscle_torch.pretrained import PREFIX, pretrained_checkpoint

from .files import write_atomically

FORMAT = "muscle_torch checkpoint"
VERSION = 2
MIXING = "mixing.matrix"  # of models/mixing.py
LOG_STD = "actor.module.exploration.log_std"  # of models/exploration.py, in a policy's state_dict
# What torch.load raises for a file that is truncated, empty, of another type, or contains more than plain data.
DAMAGED = (RuntimeError, EOFError, OSError, ValueError, KeyError, pickle.UnpicklingError)


def save_checkpoint(path: Path, values: Mapping[str, Any]) -> None:
    """Write a checkpoint atomically: after a crash the file is either the old or the new one.

    Args:
        path: The file to write.
        values: Tensors and plain containers; `format` and `version` are added.

    Raises:
        InputError: The file cannot be written.
    """
    with write_atomically(path, "free disk space (the last good checkpoint is kept)") as temporary:
        try:
            # Open the file here: after a failed write torch would leave its file open and the blocks allocated.
            with open(temporary, "wb") as file:
                torch.save({"format": FORMAT, "version": VERSION, **values}, file)
        except RuntimeError as error:  # torch reports a failed write this way
            raise OSError(str(error).splitlines()[0]) from None


def find_checkpoint(location: str | Path) -> Path:
    """Return the checkpoint file of a location.

    Args:
        location: A file, a run folder (its `checkpoints/last.pt`) or `pretrained:<name>`.

    Raises:
        InputError: There is no such file, folder or name, or the folder has no checkpoint.
    """
    if str(location).startswith(PREFIX):
        return pretrained_checkpoint(str(location).removeprefix(PREFIX))
    path = Path(location)
    candidates = [path, path / "checkpoints" / "last.pt", path / "last.pt"]
    for candidate in candidates:
        if candidate.is_file():
            return candidate
    if path.is_dir():
        raise InputError(f"{path} has no checkpoints/last.pt: is it a run folder that has saved at least once?")
    raise InputError(f"checkpoint {path} not found")


def absolute_checkpoint(location: str) -> str:
    """Return a location that is valid in every working directory."""
    return location if location.startswith(PREFIX) else str(Path(location).absolute())


def load_checkpoint(location: str | Path, device: str | torch.device = "cpu") -> dict[str, Any]:
    """Load a checkpoint file, the last checkpoint of a run folder, or a pretrained policy.

    Args:
        location: Checkpoint file, run folder or `pretrained:<name>`.
        device: Where its tensors are put.

    Raises:
        InputError: The file is missing, damaged, not a checkpoint of this package, or of another version.
    """
    path = find_checkpoint(location)
    try:
        stored = torch.load(path, map_location=device, weights_only=True)
    except DAMAGED as error:
        reason = str(error).splitlines()[0][:120] if str(error) else type(error).__name__
        raise InputError(f"{path} is damaged or not a muscle_torch checkpoint ({reason})") from None
    if not isinstance(stored, dict) or stored.get("format") != FORMAT:
        raise InputError(f"{path} is not a muscle_torch checkpoint")
    if stored["version"] != VERSION:
        raise InputError(
            f"{path} has checkpoint version {stored['version']}, this muscle_torch reads version {VERSION}"
        )
    return stored


class Stateful(Protocol):
    """An object with weights, such as an `nn.Module`."""

    def state_dict(self) -> dict[str, Any]:
        """Return the weights by name."""
        ...

    def load_state_dict(self, state_dict: Mapping[str, Any], strict: bool = True) -> Any:
        """Load weights; `strict` requires that `state_dict` has exactly the object's names."""
        ...


def restore_policy(policy: Stateful, stored: Mapping[str, Any]) -> None:
    """Load a checkpoint's weights into `policy`.

    Args:
        policy: Filled in place.
        stored: The checkpoint.

    Raises:
        InputError: The weights do not fit; the message names the first parameter of another shape.
    """
    expected, weights = policy.state_dict(), stored["policy"]
    for name, value in expected.items():
        if name not in weights or weights[name].shape != value.shape:
            shape = tuple(weights[name].shape) if name in weights else "missing"
            raise InputError(
                f"checkpoint does not fit the policy: {name} is {shape}, expected {tuple(value.shape)}; use the "
                "policy= settings of the checkpoint's run"
            )
    mixed = [name for name in weights if name.endswith(MIXING) and name not in expected]
    if mixed:
        raise InputError(
            "the checkpoint's policy mixes muscles and this one does not: set exploration.synergy_mixing and "
            "exploration.action_bias as in the checkpoint's run"
        )
    policy.load_state_dict(weights, strict=False)


def difference(stored: Mapping[str, Any], facts: Mapping[str, Any]) -> tuple[str, Any, Any] | None:
    """Return the first fact in which a checkpoint and an environment differ.

    Args:
        stored: The checkpoint. A fact that its version did not store is not compared.
        facts: `facts()` of the environment.

    Returns:
        Name, value of the checkpoint, value of the environment; of two lists of equal length, the first entries that
        differ. None: they agree.
    """
    for name, value in facts.items():
        before = stored.get(name, value)
        if before != value and isinstance(value, list) and len(before) == len(value):
            return name, *next(pair for pair in zip(before, value, strict=True) if pair[0] != pair[1])
        if before != value:
            return name, before, value
    return None


def load_weights(policy: nn.Module, stored: Mapping[str, Any], env: Any, task: str, reset_std: float = 0.0) -> None:
    """Initialize a policy from a checkpoint's weights.

    Args:
        policy: Filled in place.
        stored: The checkpoint.
        env: The environment of the policy; its `facts()` must equal those of the checkpoint.
        task: Task of this run, for the error message.
        reset_std: Standard deviation to reset the exploration noise to; 0: keep the checkpoint's.

    Raises:
        InputError: The checkpoint is of another body, observation or action space.
    """
    differs = difference(stored, env.facts())
    if differs is not None:
        name, before, value = differs
        raise InputError(
            f"checkpoint is of task={stored['task']} with {name} {before!r}, but task={task} has {value!r}; use the "
            "task and the settings of the checkpoint's run"
        )
    restore_policy(policy, stored)
    if reset_std:
        with torch.no_grad():
            policy.state_dict()[LOG_STD].fill_(math.log(reset_std))
