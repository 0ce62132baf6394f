"""Checkpoint files: written whole or not at all, read without running code, refused in one line if unfit."""

import math
import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import nn

from muscle_torch.errors import InputError

from .files import write_atomically

FORMAT = "muscle_torch checkpoint"
VERSION = 2
MIXING = "mixing.matrix"  # of models/mixing.py
LOG_STD = "actor.module.exploration.log_std"  # of models/exploration.py, in a policy's state_dict
# What torch.load raises for a file that is cut off, empty, of another kind, or holds more than plain data.
DAMAGED = (RuntimeError, EOFError, OSError, ValueError, KeyError, pickle.UnpicklingError)


def save_checkpoint(path: Path, values: Mapping[str, Any]) -> None:
    """Write a checkpoint; a crash leaves the old file or the new one. Raises InputError if it cannot be written."""
    with write_atomically(path, "free disk space (the last good checkpoint is kept)") as temporary:
        try:
            # A file of our own: torch's would stay open after a failed write, and its blocks taken.
            with open(temporary, "wb") as file:
                torch.save({"format": FORMAT, "version": VERSION, **values}, file)
        except RuntimeError as error:  # how torch reports a failed write
            raise OSError(str(error).splitlines()[0]) from None


def find_checkpoint(where: str | Path) -> Path:
    """The file meant by a file or a run folder (its `checkpoints/last.pt`)."""
    path = Path(where)
    candidates = [path, path / "checkpoints" / "last.pt", path / "last.pt"]
    for candidate in candidates:
        if candidate.is_file():
            return candidate
    if path.is_dir():
        raise InputError(f"{path} holds no checkpoints/last.pt: is it a run folder that has saved at least once?")
    raise InputError(f"checkpoint {path} not found")


def load_checkpoint(where: str | Path, device: str | torch.device = "cpu") -> dict[str, Any]:
    """The contents of a checkpoint file or of a run folder's last one."""
    path = find_checkpoint(where)
    try:
        stored = torch.load(path, map_location=device, weights_only=True)
    except DAMAGED as error:
        reason = str(error).splitlines()[0][:120] if str(error) else type(error).__name__
        raise InputError(f"{path} is damaged or no checkpoint of muscle_torch ({reason})") from None
    if not isinstance(stored, dict) or stored.get("format") != FORMAT:
        raise InputError(f"{path} is no checkpoint of muscle_torch")
    if stored["version"] != VERSION:
        raise InputError(f"{path} has checkpoint version {stored['version']}, this muscle_torch reads {VERSION}")
    return stored


class Stateful(Protocol):
    """What has weights, such as an `nn.Module`."""

    def state_dict(self) -> dict[str, Any]: ...
    def load_state_dict(self, state_dict: Mapping[str, Any], strict: bool = True) -> Any: ...


def restore_policy(policy: Stateful, stored: Mapping[str, Any]) -> None:
    """Puts a checkpoint's weights into `policy`; names the first that does not fit."""
    own, given = policy.state_dict(), stored["policy"]
    for name, value in own.items():
        if name not in given or given[name].shape != value.shape:
            found = tuple(given[name].shape) if name in given else "missing"
            raise InputError(
                f"checkpoint does not fit the policy: {name} is {found}, needed {tuple(value.shape)}; use the "
                "checkpoint's own policy= settings"
            )
    mixed = [name for name in given if name.endswith(MIXING) and name not in own]
    if mixed:
        raise InputError(
            "the checkpoint's policy mixes muscles and this one does not: leave exploration.synergy_mixing and "
            "exploration.action_bias as the checkpoint's run had them"
        )
    policy.load_state_dict(given, strict=False)


def load_weights(policy: nn.Module, stored: Mapping[str, Any], env: Any, task: str, reset_std: float = 0.0) -> None:
    """Start a policy from a checkpoint's weights.

    Args:
        policy: Filled in place.
        stored: The checkpoint.
        env: The environment that the policy is for; its `facts()` must be those of the checkpoint.
        task: Of this run, for the error message.
        reset_std: Standard deviation at which the noise restarts; 0: the checkpoint's.

    Raises:
        InputError: The checkpoint is another body's, or of another observation or action.
    """
    for name, value in env.facts().items():
        if stored.get(name) != value:
            raise InputError(
                f"checkpoint is of task={stored['task']} with {name} {stored.get(name)!r}; "
                f"task={task} here has {value!r}"
            )
    restore_policy(policy, stored)
    if reset_std:
        with torch.no_grad():
            policy.state_dict()[LOG_STD].fill_(math.log(reset_std))
