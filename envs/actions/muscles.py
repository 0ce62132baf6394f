"""From a policy's action to muscle excitation."""

from collections.abc import Callable

import torch
from torch import Tensor

from muscle_torch.errors import InputError, nearest

Bound = float | Tensor


def _half(action: Tensor, low: Bound, high: Bound) -> Tensor:
    """[-1, 1] onto the control range. Where that is [-1, 1], negative controls stay: MuJoCo reads them as 0."""
    return action.clamp(-1.0, 1.0) * ((high - low) / 2) + (high + low) / 2


def _full(action: Tensor, low: Bound, high: Bound) -> Tensor:
    """[-1, 1] onto [0, 1]: the whole action range excites, and an action of 0 is half excitation."""
    return (action.clamp(-1.0, 1.0) + 1.0) / 2


MAPPINGS: dict[str, Callable[[Tensor, Bound, Bound], Tensor]] = {"half": _half, "full": _full}


def excitation(action: Tensor, mapping: str, low: Bound = -1.0, high: Bound = 1.0) -> Tensor:
    """Controls (W, nu) of an action (W, nu); `mapping` is `half` (the published checkpoints') or `full`.

    `low` and `high` are the actuators' control range, numbers or (nu,).
    """
    return _mapping(mapping)(action, low, high)


def zero_action(mapping: str, nu: int) -> Tensor:
    """The action that excites no muscle, (nu,)."""
    _mapping(mapping)
    return torch.full((nu,), -1.0)


def _mapping(name: str) -> Callable[[Tensor, Bound, Bound], Tensor]:
    if name not in MAPPINGS:
        raise InputError(f"unknown action mapping {name!r}{nearest(name, tuple(MAPPINGS))}")
    return MAPPINGS[name]
