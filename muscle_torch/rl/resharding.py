"""Redistribute the stored state of the environments over another number of processes."""

from collections.abc import Mapping
from typing import Any

import torch

from .contracts import SHARED
from .process_group import SEED_STEP, ProcessGroup


def select_shard(
    parts: list[dict[str, Any]], processes: ProcessGroup, seed: int, device: torch.device
) -> dict[str, Any]:
    """Return the state of this process from the stored states of all processes.

    If another number of processes stored them, the environments are redistributed and torch's random number generators
    are seeded; the caller must then seed those of the environment (`set_seed`).

    Args:
        parts: State that the trainer of each process stored.
        processes: Current process group.
        seed: Seed of the random numbers after redistribution; each process derives another one from it.
        device: Device of the environments.
    """
    rank, size = processes.rank, processes.size
    if len(parts) == size:
        return parts[rank]
    shard = _divide(parts, rank, size)
    for name, value in parts[0]["env"].items():
        if torch.is_tensor(value) and value.dim() == 0:  # counters are summed over processes
            total = torch.stack([part["env"][name] for part in parts]).sum()
            shard["env"][name] = total if rank == 0 else torch.zeros_like(total)
    seed += SEED_STEP * rank
    shard |= {"rng": torch.Generator().manual_seed(seed).get_state(), "cuda_rng": None}
    if device.type == "cuda":
        shard["cuda_rng"] = torch.Generator(device).manual_seed(seed).get_state()
    return shard


def _divide(parts: list[dict[str, Any]], rank: int, size: int) -> dict[str, Any]:
    """Return shard `rank` out of `size` of all environments; shared values are the same in all parts."""
    num_envs = len(parts[0]["episode"][0])
    share = num_envs * len(parts) // size

    def cut(values: list[Any]) -> Any:
        head = values[0]
        if isinstance(head, Mapping):
            return {name: head[name] if name in SHARED else cut([value[name] for value in values]) for name in head}
        if isinstance(head, tuple):
            return tuple(cut(list(column)) for column in zip(*values, strict=True))
        if torch.is_tensor(head) and head.dim() and len(head) == num_envs:
            return torch.cat(values)[rank * share : (rank + 1) * share]
        return head

    return cut(parts)
