"""How the networks compute: float32, TF32 or bfloat16; compiled or not. Their weights stay float32 and in place."""

import sys
from collections.abc import Callable
from typing import Any

import torch
from tensordict.nn import TensorDictModule
from torch import nn

from muscle_torch.errors import InputError, nearest

from .contracts import ActorCritic

PRECISIONS = ("float32", "tf32", "bf16")
# What torch.compile fails with on a machine without a compiler, or for a network that it cannot trace.
NOT_COMPILED = (RuntimeError, OSError, ImportError)


def prepare(policy: ActorCritic, precision: str, compiled: bool, observation_size: int, device: torch.device) -> None:
    """Set how `policy.actor` and `policy.critic` compute wherever they are called: collecting, learning, evaluating.

    Args:
        policy: Its networks are changed in place.
        precision: float32; tf32, which a CPU lacks: ignored there with a line; or bf16: matrix products by torch's
            autocast, what the networks return is float32.
        compiled: Whether to use torch.compile; if that fails, one warning line, and the uncompiled networks go on.
        observation_size: D.
        device: Of the policy.

    Raises:
        InputError: The precision is unknown, or the networks cannot be changed.
    """
    if precision not in PRECISIONS:
        raise InputError(f"unknown precision {precision!r}{nearest(precision, PRECISIONS)}")
    if precision == "tf32" and device.type == "cpu":
        print("precision=tf32 is ignored: it needs CUDA, and on a CPU the networks compute in float32", file=sys.stderr)
        precision = "float32"
    # Process-wide: TF32 if this run requests it, and not because an earlier one did.
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
        print(f"warning: the network is not compiled ({reason}); the uncompiled one goes on", file=sys.stderr)
