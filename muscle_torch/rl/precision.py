"""How the networks compute: float32, TF32 or bfloat16; compiled or plain. Their weights stay float32 and in place."""

import sys
from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from muscle_torch.errors import InputError, nearest

PRECISIONS = ("float32", "tf32", "bf16")
# What torch.compile fails with on a machine without a compiler, or for a network that it cannot read.
NOT_COMPILED = (RuntimeError, OSError, ImportError)


def prepare(policy: nn.Module, precision: str, compiled: bool, observation_size: int, device: torch.device) -> None:
    """Makes `policy.actor` and `policy.critic` compute so wherever they are called: collecting, learning, evaluating.

    bf16: matrix products by torch's autocast; normalisation, mean action, deviation and value come out as float32.
    compiled: by torch.compile; where that does not work, one warning line, and the plain networks go on.
    """
    if precision not in PRECISIONS:
        raise InputError(f"unknown precision {precision!r}{nearest(precision, PRECISIONS)}")
    # Process-wide: TF32 where it was asked for, and not where another run before this one did.
    torch.set_float32_matmul_precision("high" if precision == "tf32" else "highest")
    networks = [getattr(getattr(policy, part), "module", None) for part in ("actor", "critic")]
    for network in networks:
        if not isinstance(network, nn.Module):
            if compiled or precision == "bf16":
                raise InputError(
                    "precision=bf16 and compile=true need TensorDictModules as the policy's actor and critic"
                )
            continue
        if precision == "bf16":
            network.forward = _autocast(network.forward, device.type)  # type: ignore[method-assign]
        if compiled:
            _compile(network, torch.zeros(2, observation_size, device=device))


def _autocast(forward: Callable[..., Any], device: str) -> Callable[..., Any]:
    def run(*given: Any) -> Any:
        with torch.autocast(device, torch.bfloat16):
            out = forward(*given)
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
        print(f"warning: the network is not compiled ({reason}); the plain one goes on", file=sys.stderr)
