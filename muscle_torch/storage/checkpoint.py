"""Checkpoint files: written whole or not at all, read without running code, refused in one line if unfit."""

import math
import os
import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import nn

from muscle_torch.errors import InputError

FORMAT = "muscle_torch checkpoint"
VERSION = 2
LOG_STD = "actor.module.exploration.log_std"  # of models/exploration.py, in a policy's state_dict
# What torch.load raises for a file that is cut off, empty, of another kind, or holds more than plain data.
DAMAGED = (RuntimeError, EOFError, OSError, ValueError, KeyError, pickle.UnpicklingError)


def save_checkpoint(path: Path, values: Mapping[str, Any]) -> None:
    """Writes beside `path`, flushes to the disk, then renames: a crash leaves the old file or the new one."""
    partial = path.with_name(path.name + ".partial")
    try:
        with open(partial, "wb") as file:
            torch.save({"format": FORMAT, "version": VERSION, **values}, file)
            file.flush()
            os.fsync(file.fileno())
        os.replace(partial, path)
    except (OSError, RuntimeError) as error:
        # torch reports a failed write as RuntimeError.
        partial.unlink(missing_ok=True)
        reason = getattr(error, "strerror", None) or str(error).splitlines()[0]
        raise InputError(f"cannot write {path}: {reason}; free disk space (the last good checkpoint is kept)") from None


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
                "checkpoint's own policy= and network= settings"
            )
    policy.load_state_dict(given, strict=False)


def load_weights(policy: nn.Module, stored: Mapping[str, Any], env: Any, task: str, reset_std: float = 0.0) -> None:
    """Starts `policy` from a checkpoint's weights, its noise at `reset_std` where that is not 0.

    Raises InputError where the checkpoint is another body's or layout's.
    """
    wanted = {
        "embodiment": env.embodiment.name,
        "fingers": env.embodiment.fingers,
        "model_version": env.embodiment.model_version,
        "observation_size": env.observation_size,
        "action_size": env.action_size,
    }
    for name, value in wanted.items():
        if stored[name] != value:
            raise InputError(
                f"checkpoint is of task={stored['task']} with {name} {stored[name]!r}; task={task} here has {value!r}"
            )
    restore_policy(policy, stored)
    if reset_std:
        with torch.no_grad():
            policy.state_dict()[LOG_STD].fill_(math.log(reset_std))
