"""Estimate peak training memory before allocating it, from number of worlds, body, network, rollout and motion.

Memory that does not depend on the settings (libraries, kernels, a CUDA context) is left out, because it is already
allocated when the free memory is read.
"""

import dataclasses
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import mujoco
import torch
from torch import nn

from muscle_torch.config import Config
from muscle_torch.config.threads import usable_cores
from muscle_torch.errors import InputError

GIB = 2**30
FLOAT = 4
# Copies of a minibatch's observation and of each hidden layer's output that a backward pass keeps.
BATCH_COPIES, LAYER_COPIES = 4, 6
# Temporary copies of observations and of the widest layer while statistics and values of a rollout are computed.
PASSING = 3
NETWORK_COPIES = 9  # weights, gradients, two moments, the untrained policy, and all but the gradients while saving
WORLD_PAGES = 192 * 1024  # bytes of one world on MuJoCo C besides its fields; measured on the toy arm
FILL = 0.8  # fraction of the free memory that num_envs=max uses
WORLDS_A_THREAD = 256  # more worlds do not make a CPU faster
MOST_WORLDS = 65536
FEW = (16, 32)  # numbers of worlds whose memory is counted


@dataclasses.dataclass(frozen=True)
class Memory:
    """Peak memory of a training run.

    Attributes:
        world: Bytes per world.
        fixed: Bytes that do not depend on the number of worlds.
        passing: Temporary bytes for each row of a rollout that is being processed.
        steps: Rows of the rollout per world.
        chunk: Largest number of rows that are processed at once.
        motion: Bytes of the motion library, part of `fixed`.
    """

    world: int
    fixed: int
    passing: int
    steps: int
    chunk: int
    motion: int

    def total(self, worlds: int) -> int:
        """Return the bytes for a number of worlds."""
        return self.fixed + worlds * self.world + min(worlds * self.steps, self.chunk) * self.passing

    def most(self, free: int) -> int:
        """Return the number of worlds that fit into `free` bytes."""
        low, high = 0, MOST_WORLDS
        while low < high:
            middle = (low + high + 1) // 2
            low, high = (middle, high) if self.total(middle) <= free else (low, middle - 1)
        return low

    def line(self, worlds: int, free: int | None) -> str:
        """Return one line that summarizes the estimate.

        Args:
            worlds: Number of worlds.
            free: Free memory [bytes]; None if unknown.
        """
        known = "" if free is None else f", {free / GIB:.1f} GiB free"
        return (
            f"memory: about {self.total(worlds) / 2**20:,.0f} MiB for {worlds} worlds ({self.world / 2**20:.2f} MiB "
            f"each, motion {self.motion / 2**20:.1f} MiB){known}"
        )


def estimate(env: Any, policy: nn.Module, cfg: Config, on_gpu: bool, chunk: int) -> Memory:
    """Estimate the memory of training, for any number of environments.

    Args:
        env: One environment of the run, on any device.
        policy: Its policy, with `actor` and `critic`.
        cfg: Configuration of the run.
        on_gpu: Whether the run simulates with MuJoCo Warp on a GPU.
        chunk: Rows of observations that the learner processes at once.
    """
    size, actions, steps = env.observation_size, env.action_size, cfg.ppo.num_steps
    parameters = sum(p.numel() for p in policy.parameters())
    widths = _layer_widths(policy)
    model = env.embodiment.model
    buffers = cfg.physics.contacts, cfg.physics.constraint_rows
    physics = warp_bytes(model, *buffers) if on_gpu else mujoco_bytes(model)
    stored = steps * (2 * size + 2 * actions + 16) + 3 * size
    batch = (BATCH_COPIES * size + LAYER_COPIES * sum(widths)) * steps / max(1, cfg.ppo.minibatches)
    return Memory(
        world=physics + int(FLOAT * (stored + batch)),
        fixed=NETWORK_COPIES * FLOAT * parameters + env.goal.assets.nbytes,
        passing=FLOAT * PASSING * (size + max(widths, default=0)),
        steps=steps + 1,
        chunk=chunk,
        motion=env.goal.assets.nbytes,
    )


def _layer_widths(policy: nn.Module) -> list[int]:
    """Return the number of outputs of every linear layer."""
    return [layer.out_features for layer in policy.modules() if isinstance(layer, nn.Linear)]


def resolve_num_envs(cfg: Config, memory: Memory, device: torch.device, sharing: int = 1, processes: int = 1) -> int:
    """Return the number of environments to train with, of all processes together.

    num_envs=max takes 80 % of the free memory, with at most 256 worlds per thread on a CPU and 65,536 on a GPU, rounded
    down to a multiple of 64.

    Args:
        cfg: Configuration of the run.
        memory: Its estimated memory.
        device: Device of this process.
        sharing: Number of processes that share this memory.
        processes: Number of all processes.

    Raises:
        InputError: The requested number does not fit, or num_envs=max cannot be resolved.
    """
    free = free_memory(device)
    free = None if free is None else free // (sharing if device.type == "cpu" else 1)
    if isinstance(cfg.num_envs, int):
        worlds = cfg.num_envs // processes
        if cfg.check_memory and free is not None and memory.total(worlds) > free:
            fits = processes * _rounded(memory.most(int(FILL * free)))
            advice = f"num_envs={fits} would fit" if fits else "even one world would not fit"
            raise InputError(
                f"num_envs={cfg.num_envs} needs about {processes * memory.total(worlds) / GIB:.1f} GiB, "
                f"{free / GIB:.1f} GiB are free{f' for each of {processes} processes' if processes > 1 else ''}: "
                f"{advice} (check_memory=false tries all the same)"
            )
        return cfg.num_envs
    if free is None:
        raise InputError("num_envs=max: this system does not report its free memory; set a number")
    most = min(memory.most(int(FILL * free)), MOST_WORLDS)
    if device.type == "cpu":
        threads = cfg.threads or max(1, usable_cores() // sharing)
        most = min(most, WORLDS_A_THREAD * threads)
    if most < 1:
        raise InputError(f"num_envs=max: not one world fits into {free / GIB:.1f} GiB")
    return processes * _rounded(most)


@contextmanager
def oom_as_input_error(cfg: Config, worlds: int) -> Iterator[None]:
    """Turn out-of-memory errors into an InputError that suggests a smaller num_envs.

    Args:
        cfg: Configuration of the run.
        worlds: Number of environments that the run requested.
    """
    try:
        yield
    except (torch.OutOfMemoryError, MemoryError, RuntimeError) as error:
        if not _is_of_memory(error):
            raise
        reason = (str(error).strip() or type(error).__name__).splitlines()[0][:100]
        raise InputError(
            f"out of memory with num_envs={worlds} ({reason}): num_envs={_rounded(worlds * 3 // 4)} may fit, and more "
            f"ppo.minibatches than {cfg.ppo.minibatches} take less"
        ) from None


def free_memory(device: torch.device) -> int | None:
    """Return the free memory of the device [bytes]; None if the system does not report it."""
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0]
    try:
        available = re.search(r"MemAvailable:\s+(\d+) kB", Path("/proc/meminfo").read_text())
    except OSError:
        return None
    free = int(available[1]) * 1024 if available else None
    limit = _container_limit()
    return limit if free is None else free if limit is None else min(free, limit)


def mujoco_bytes(model: mujoco.MjModel) -> int:
    """Return the memory of one world on MuJoCo C [bytes]."""
    data = mujoco.MjData(model)
    mujoco.mj_step(model, data)
    # The arena is large, but the system allocates only the pages that were used; a fifth more for copies of fields.
    return int(1.2 * (data.nbuffer + data.maxuse_arena)) + WORLD_PAGES


def warp_bytes(model: mujoco.MjModel, contacts: int | None = None, rows: int | None = None) -> int:
    """Return the memory of one more world on MuJoCo Warp [bytes]: its arrays, and temporary ones of a physics step.

    Args:
        model: MuJoCo model.
        contacts: `physics.contacts`; None: measured.
        rows: `physics.constraint_rows`; None: measured.
    """
    import warp as wp

    from .warp_budget import array_bytes, calibrate, scratch_bytes
    from .warp_resets import PART
    from .warp_step import put_model

    wp.config.log_level = max(wp.config.log_level, wp.LOG_ERROR)
    sizes = []
    with wp.ScopedDevice("cuda" if torch.cuda.is_available() else "cpu"):
        m = put_model(model)
        buffers = calibrate(model, m).with_sizes(contacts, rows)
        for worlds in FEW:
            data = buffers.make_data(model, worlds)
            sizes.append(array_bytes(data) + scratch_bytes(m, data))
    # worlds that are reset are computed in a separate batch
    return int((1 + 1 / PART) * (sizes[1] - sizes[0]) / (FEW[1] - FEW[0]))


def _rounded(worlds: int) -> int:
    return worlds // 64 * 64 or worlds


def _is_of_memory(error: BaseException) -> bool:
    """Return whether an error is an out-of-memory error; Warp, and torch on a CPU, raise RuntimeErrors."""
    text = str(error).lower()
    known = ("out of memory", "can't allocate memory", "failed to allocate", "not enough memory")
    return isinstance(error, torch.OutOfMemoryError | MemoryError) or any(part in text for part in known)


def _container_limit() -> int | None:
    """Return the memory that a container (cgroup v2) may still allocate [bytes]; None if it sets no limit."""
    try:
        limit, used = (Path(f"/sys/fs/cgroup/memory.{name}").read_text().strip() for name in ("max", "current"))
    except OSError:
        return None
    return int(limit) - int(used) if limit.isdecimal() else None
