"""Precision and compilation of the networks: float32, TF32 or bfloat16. The weights stay float32 and in place."""

import sys
from collections.abc import Callable
from typing import Any

import torch
from tensordict.nn import TensorDictModule
from torch import nn

from muscle_torch.errors import InputError, nearest

from .contracts import ActorCritic

PRECISIONS = ("float32", "tf32", "bf16")
# Errors of torch.compile on a machine without a compiler, or for a network that it cannot trace.
NOT_COMPILED = (RuntimeError, OSError, ImportError)


def prepare(policy: ActorCritic, precision: str, compiled: bool, observation_size: int, device: torch.device) -> None:
    """Set precision and compilation of `policy.actor` and `policy.critic`, for collecting, learning and evaluation.

    Args:
        policy: Policy whose networks are changed in place.
        precision: float32, tf32 (ignored with a message on a CPU) or bf16 (matrix products by torch's autocast; the
            networks return float32).
        compiled: Whether to use torch.compile; if it fails, one warning is printed and the networks stay uncompiled.
        observation_size: D.
        device: Device of the policy.

    Raises:
        InputError: The precision is unknown, or actor or critic is not a TensorDictModule.
    """
    if precision not in PRECISIONS:
        raise InputError(f"unknown precision {precision!r}{nearest(precision, PRECISIONS)}")
    if precision == "tf32" and device.type == "cpu":
        print("precision=tf32 is ignored: it needs CUDA, and on a CPU the networks compute in float32", file=sys.stderr)
        precision = "float32"
    # The setting is process-wide, so reset what an earlier run in this process may have set.
    torch.set_float32_matmul_precision("high" if precision == "tf32" else "highest")
    if not compiled and precision != "bf16":
        return
    for part in (policy.actor, policy.critic):
        if not isinstance(part, TensorDictModule):
            raise InputError("precision=bf16 and compile=true need TensorDictModules as the policy's actor and critic")
        network: Any = part.module
        if precision == "bf16":
            network.forward = _autocast(network.forward, device.type)  # type: ignore[method-assign]
        if compiled:
            _compile(network, torch.zeros(2, observation_size, device=device))


def _autocast(forward: Callable[..., Any], device: str) -> Callable[..., Any]:
    def run(*arguments: Any) -> Any:
        with torch.autocast(device, torch.bfloat16):
            out = forward(*arguments)
        return tuple(value.float() for value in out) if isinstance(out, tuple) else out.float()

    return run


def _compile(network: nn.Module, example: torch.Tensor) -> None:
    network.compile()
    try:
        with torch.no_grad():
            network(example)
    except NOT_COMPILED as error:
        network._compiled_call_impl = None
        reason = str(error).strip().splitlines()[0][:120] if str(error).strip() else type(error).__name__
        print(f"warning: the network is not compiled ({reason}); using the uncompiled one", file=sys.stderr)
