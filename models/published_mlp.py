"""Load the arrays of published networks into policies, by name; flax kernels (in, out) are transposed."""

from collections.abc import Iterator, Mapping

import numpy as np
import torch
from torch import Tensor, nn

from muscle_torch.errors import InputError

from .actor_critic import Actor, NetworkPolicy
from .moe import MixtureLayer
from .trunks import PlainTrunk, ResidualBlock, ResidualTrunk

# Parameter name in torch -> published name, by type of module.
DENSE = {"weight": "kernel", "bias": "bias"}
NORM = {"weight": "scale", "bias": "bias"}


@torch.no_grad()
def load_published(policy: NetworkPolicy, arrays: Mapping[str, np.ndarray]) -> None:
    """Fill a policy of the same shape from the `params.*` and `run_stats.*` of a published checkpoint.

    Args:
        policy: Policy whose weights and statistics are overwritten.
        arrays: Arrays of the checkpoint by name.

    Raises:
        InputError: An array is missing, not used, or of another shape.
    """
    remaining = dict(arrays)
    for name, target in targets(policy, arrays):
        if name not in remaining:
            raise InputError(f"the checkpoint lacks the array {name}: its config describes another network")
        array = torch.from_numpy(np.array(remaining.pop(name), dtype=np.float32))
        array = array.T if name.endswith(".kernel") else array
        if array.shape != target.shape:
            raise InputError(
                f"the checkpoint's array {name} is {tuple(array.shape)}, its config requires {tuple(target.shape)}"
            )
        target.copy_(array)
    if remaining:
        raise InputError(
            f"the checkpoint has {len(remaining)} arrays that its config does not use: {', '.join(remaining)}"
        )


def targets(policy: NetworkPolicy, arrays: Mapping[str, np.ndarray]) -> Iterator[tuple[str, Tensor]]:
    """Yield the published name of every array and the tensor that it fills.

    Args:
        policy: Policy to fill.
        arrays: Arrays of the checkpoint, of which the names are read.
    """
    actor, critic = policy.actor.module, policy.critic.module
    assert isinstance(actor, Actor) and isinstance(actor.mean, nn.Sequential) and isinstance(critic, nn.Sequential)
    statistics = sorted({name.rpartition(".")[0] for name in arrays if name.startswith("run_stats.")})
    if len(statistics) != 1:
        raise InputError(f"the checkpoint has {len(statistics)} sets of observation statistics: exactly one is needed")
    for name in ("mean", "var", "count"):
        yield f"{statistics[0]}.{name}", getattr(policy.normalizer, name)
    yield "params.log_std", actor.exploration.log_std
    for part, trunk in (("actor", actor.mean[1]), ("critic", critic[1])):
        for prefix, module in _layers(trunk, part):
            names = NORM if isinstance(module, nn.LayerNorm) else DENSE
            for name, published in names.items():
                yield f"params.{prefix}.{published}", module.get_parameter(name)
        yield from _gates(trunk, part)


def _layers(trunk: nn.Module, part: str) -> Iterator[tuple[str, nn.Module]]:
    """Yield the published name of each Linear and LayerNorm of a trunk."""
    if isinstance(trunk, PlainTrunk):
        dense = [m for m in trunk if isinstance(m, nn.Linear)]
        norms = [m for m in trunk if isinstance(m, nn.LayerNorm)]
        yield from ((f"{part}.Dense_{i}", layer) for i, layer in enumerate(dense))
        yield from ((f"{part}.LayerNorm_{i}", layer) for i, layer in enumerate(norms))
    elif isinstance(trunk, ResidualTrunk):
        blocks = [m for m in trunk if isinstance(m, ResidualBlock)]
        for index, block in enumerate(blocks):
            yield from _block(block, f"{part}.block{index}")
        *tail, head = [m for m in list(trunk)[len(blocks) :] if isinstance(m, nn.Linear | nn.LayerNorm)]
        yield from zip((f"{part}.tail_dense", f"{part}.tail_ln"), tail, strict=False)
        yield f"{part}.output", head
    else:
        yield from _mixture(trunk, part)


def _block(block: ResidualBlock, prefix: str) -> Iterator[tuple[str, nn.Module]]:
    pairs = ((block.first, block.first_norm), (block.second, block.second_norm))
    for index, (dense, norm) in enumerate(pairs):
        yield f"{prefix}_layer{index}_dense", dense
        if isinstance(norm, nn.LayerNorm):
            yield f"{prefix}_layer{index}_ln", norm
    if isinstance(block.skip, nn.Linear):
        yield f"{prefix}_proj", block.skip


def _mixture(trunk: nn.Module, part: str) -> Iterator[tuple[str, nn.Module]]:
    """Yield the layers of a mixture-of-experts trunk: groups of dense or mixture, norm, activation; then the head."""
    *hidden, head = trunk.children()
    for index, (layer, norm) in enumerate(zip(hidden[0::3], hidden[1::3], strict=True)):
        if isinstance(layer, MixtureLayer):
            prefix = f"{part}_moe_layer_{index}"
            yield f"{prefix}.gate", layer.gate
            yield from ((f"{prefix}.expert_{e}_hidden", expert) for e, expert in enumerate(layer.inner))
            yield from ((f"{prefix}.expert_{e}_output", expert) for e, expert in enumerate(layer.outer))
        else:
            yield f"{part}_dense_{index}", layer
        if isinstance(norm, nn.LayerNorm):
            yield f"{part}_ln_{index}", norm
    yield f"{part}_output", head


def _gates(trunk: nn.Module, part: str) -> Iterator[tuple[str, Tensor]]:
    """Yield the learned gates of the residual blocks, each (1,)."""
    blocks = [m for m in trunk.children() if isinstance(m, ResidualBlock)]
    for index, block in enumerate(blocks):
        if block.gate is not None:
            yield f"params.{part}.res_gate_{index}", block.gate
