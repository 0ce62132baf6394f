"""Several processes that train one policy: each steps its share of the worlds, all make the same update.

Started by `torchrun --nproc_per_node=N train.py ...`, or by anything that sets its environment variables (RANK,
WORLD_SIZE, LOCAL_RANK, MASTER_ADDR, MASTER_PORT). NCCL between GPUs, gloo between CPUs. What is exchanged: gradients
(averaged, during the backward pass), what Muon made of them (each process a share of the matrices), moments of
observations, returns and advantages, counts of episodes and failures, metrics. So every process holds the same policy,
optimiser, normaliser and curricula; what differs is its worlds and its random numbers. docs/scale.md has the commands.
"""

import dataclasses
import os
import socket
from collections.abc import Callable, Iterable, Mapping
from datetime import timedelta
from typing import Any, NoReturn, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed import PrefixStore, TCPStore  # pyright: ignore[reportPrivateImportUsage]

from muscle_torch.config import Config, config_to_dict
from muscle_torch.config.threads import usable_cores
from muscle_torch.errors import InputError

from .gradients import GradientAverage
from .heartbeat import Heartbeat

Value = TypeVar("Value")
ASSEMBLY = timedelta(minutes=5)  # how long processes wait for each other to start
EXCHANGE = timedelta(hours=2)  # longest wait for another's contribution: the first may be validating meanwhile
SEED_STEP = 1_000_003  # apart, so that seeds that users choose do not meet those of processes
MAY_DIFFER = ("device", "threads")
COMMON = ("adaptation", "sampler", "moments")  # of a stored state: what has no worlds


class ProcessGroup:
    """The collectives that training needs; this base class is a group of size one, in which all are no-ops."""

    rank, size, local_size = 0, 1, 1
    device: torch.device | None = None  # where one is assigned

    @property
    def first(self) -> bool:
        """Whether this is the process that writes, prints and evaluates."""
        return self.rank == 0

    def shard(self, cfg: Config) -> Config:
        """This process's part of a run: worlds, seed, device and threads. Raises InputError for worlds left over."""
        return cfg

    def begin(self, policy: nn.Module, seed: int) -> None:
        """Everyone gets the first's weights, and random numbers of its own."""

    def watch_gradients(self, parameters: Iterable[nn.Parameter]) -> None:
        """From now on the gradients that backward passes make are averaged over the processes, in place."""

    def finish_gradients(self) -> None:
        """After each backward pass: returns when they are."""

    def sum(self, values: Tensor) -> Tensor:
        return values

    def mean(self, values: Tensor) -> Tensor:
        return values

    def moments(self, mean: Tensor, variance: Tensor) -> tuple[Tensor, Tensor]:
        """Of all samples, from those of each process's, elementwise; as many samples on each, population variance."""
        return mean, variance

    def all_gather(self, own: Tensor) -> list[Tensor]:
        """Everyone's, in order, on all processes; all give the same shape."""
        return [own]

    def merge(self, normalizer: Any) -> None:
        """Makes what a normaliser observed (`pending_mean`, `pending_square`, `pending_count`) that of all."""

    def all_reduce_max(self, value: int) -> int:
        return value

    def gather(self, own: Value) -> list[Value]:
        """Everyone's, in order; only the first process gets them."""
        return [own]

    def broadcast(self, make: Callable[[], Value]) -> Value:
        """What the first process makes, on all. An InputError there ends all, told once."""
        return make()

    def local_leader_first(self, make: Callable[[], Value]) -> Value:
        """`make()` on all, one of each machine before the others: it fills caches. An InputError anywhere ends all."""
        return make()

    def shutdown(self) -> None:
        """The exchange is over: the processes part, and the first may go on by itself."""

    def __enter__(self) -> "ProcessGroup":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: Any) -> None:
        pass


class SingleProcess(ProcessGroup):
    """A process group of size one; all collectives are no-ops."""


class DistributedProcesses(ProcessGroup):
    """This process among `size`. Raises InputError where they do not come together or were given different settings."""

    def __init__(self, cfg: Config):
        self.rank, self.size, self.local_rank, self.local_size = _environment()
        self.device = _device(cfg.device, self.local_rank)
        self._connected = True
        store, watched = self._meet(os.environ["MASTER_ADDR"], _whole("MASTER_PORT", 0))
        self._heartbeat = Heartbeat(watched, self.rank, self.size, socket.gethostname())
        self._heartbeat.start()
        dist.init_process_group(
            "cpu:gloo,cuda:nccl" if self.device.type == "cuda" else "gloo",
            store=store,
            rank=self.rank,
            world_size=self.size,
            timeout=EXCHANGE,
        )
        try:
            self._check_settings(config_to_dict(cfg))
        except BaseException as error:
            self.__exit__(type(error), error, None)
            raise

    def shard(self, cfg: Config) -> Config:
        if cfg.num_envs % self.size:
            below = cfg.num_envs - cfg.num_envs % self.size
            fitting = " or ".join(str(count) for count in (below, below + self.size) if count)
            self._refuse(f"num_envs={cfg.num_envs} cannot be divided among {self.size} processes: use {fitting}")
        return dataclasses.replace(
            cfg,
            num_envs=cfg.num_envs // self.size,
            seed=cfg.seed + SEED_STEP * self.rank,
            device=str(self.device),
            threads=cfg.threads or max(1, usable_cores() // self.local_size),
        )

    def begin(self, policy: nn.Module, seed: int) -> None:
        for value in (*policy.parameters(), *policy.buffers()):
            self._exchange(lambda value=value: dist.broadcast(value.data, 0))
        if self.rank:
            torch.manual_seed(seed + SEED_STEP * self.rank)

    def watch_gradients(self, parameters: Iterable[nn.Parameter]) -> None:
        self._gradients = GradientAverage(parameters, self.size, self._exchange)

    def finish_gradients(self) -> None:
        self._gradients.finish()

    def sum(self, values: Tensor) -> Tensor:
        total = values.clone()
        self._exchange(lambda: dist.all_reduce(total))
        return total

    def mean(self, values: Tensor) -> Tensor:
        return self.sum(values) / self.size

    def moments(self, mean: Tensor, variance: Tensor) -> tuple[Tensor, Tensor]:
        means, variances = torch.stack(self.all_gather(torch.stack((mean, variance)))).unbind(1)
        return means.mean(0), variances.mean(0) + means.var(0, correction=0)

    def all_gather(self, own: Tensor) -> list[Tensor]:
        every = [torch.empty_like(own) for _ in range(self.size)]
        self._exchange(lambda: dist.all_gather(every, own))
        return every

    def merge(self, normalizer: Any) -> None:
        count = normalizer.pending_count
        mean, variance = self.moments(normalizer.pending_mean, normalizer.pending_square / count)
        count.mul_(self.size)
        normalizer.pending_mean.copy_(mean)
        normalizer.pending_square.copy_(variance * count)

    def all_reduce_max(self, value: int) -> int:
        found = torch.tensor(value)
        self._exchange(lambda: dist.all_reduce(found, dist.ReduceOp.MAX))
        return int(found)

    def gather(self, own: Value) -> list[Value]:
        found: list[Any] = [None] * self.size
        self._exchange(lambda: dist.gather_object(_on_cpu(own), found if self.first else None))
        return found if self.first else []

    def broadcast(self, make: Callable[[], Value]) -> Value:
        value, problem = _attempt(make) if self.first else (None, None)
        held = [value, problem]
        self._exchange(lambda: dist.broadcast_object_list(held, 0))
        if held[1]:
            self._refuse(held[1])
        return held[0]  # pyright: ignore[reportReturnType]

    def local_leader_first(self, make: Callable[[], Value]) -> Value:
        value, problem = None, None
        for turn in (0, 1):
            if min(self.local_rank, 1) == turn:
                value, problem = _attempt(make)
            problems = self._everyones(problem)
            for rank, text in enumerate(problems):
                if text:
                    self._refuse(text if rank == 0 else f"process {rank}: {text}")
        return value  # pyright: ignore[reportReturnType]

    def shutdown(self) -> None:
        if self._connected:
            self.all_reduce_max(0)
            self._connected = False
            self._heartbeat.stop()
            dist.destroy_process_group()

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: Any) -> None:
        """A process that fails tells the others why."""
        if error is None:
            self.shutdown()
        elif self._connected:
            known = getattr(error, "told", False)
            if not known:
                text = str(error).splitlines()[0] if str(error) else ""
                self._heartbeat.report_failure(
                    text if isinstance(error, InputError) else f"{type(error).__name__}: {text}"
                )
            self._heartbeat.stop()
            if known or str(self.device) == "cpu":  # NCCL would wait for the others
                dist.destroy_process_group()

    def _meet(self, host: str, port: int) -> tuple[Any, Any]:
        """Two connections to the store that holds the processes together, once all are there."""
        serves = self.rank == 0 and os.environ.get("TORCHELASTIC_USE_AGENT_STORE") != "True"
        prefix = f"muscle_torch/{os.environ.get('TORCHELASTIC_RESTART_COUNT', '0')}"
        try:
            store = PrefixStore(prefix, TCPStore(host, port, self.size, serves, ASSEMBLY, wait_for_workers=False))
            # The watch has one of its own: it must not wait for what the training thread waits for.
            watched = TCPStore(host, port, is_master=False, timeout=timedelta(seconds=10), wait_for_workers=False)
        except RuntimeError as error:
            raise InputError(
                f"process {self.rank} of {self.size} cannot reach {host}:{port} ({str(error).splitlines()[0][:120]}); "
                "MASTER_ADDR is the machine of process 0, MASTER_PORT a free port there"
            ) from None
        here = [f"here{rank}" for rank in range(self.size)]
        store.set(here[self.rank], "")
        try:
            store.wait(here, ASSEMBLY)
        except RuntimeError:
            missing = [str(rank) for rank in range(self.size) if not store.check([here[rank]])]
            minutes = ASSEMBLY.total_seconds() / 60
            raise InputError(
                f"of {self.size} processes number {', '.join(missing)} did not come within {minutes:.0f} minutes"
            ) from None
        return store, PrefixStore(prefix, watched)

    def _exchange(self, call: Callable[[], Any]) -> Any:
        try:
            return call()
        except RuntimeError:
            # A lost connection says nothing; the watch soon knows which process is gone and why, and ends this one.
            self._heartbeat.wait()
            raise

    def _everyones(self, own: Value) -> list[Value]:
        found: list[Any] = [None] * self.size
        self._exchange(lambda: dist.all_gather_object(found, own))
        return found

    def _check_settings(self, own: Mapping[str, Any]) -> None:
        every = self._everyones({k: v for k, v in own.items() if k not in MAY_DIFFER})
        for rank, other in enumerate(every):
            found = _difference(every[0], other)
            if found is not None:
                name, first, second = found
                self._refuse(
                    f"the processes were given different settings: {name} is {first!r} for process 0 and {second!r} "
                    f"for process {rank}; start all with the same words"
                )

    def _refuse(self, message: str) -> NoReturn:
        """What all processes know is wrong: the first says it."""
        error = InputError(message) if self.first else SystemExit(2)
        error.told = True  # type: ignore[union-attr]
        raise error


def make_processes(cfg: Config) -> ProcessGroup:
    """The processes that this one was started among; on its own, `SingleProcess`."""
    return DistributedProcesses(cfg) if _whole("WORLD_SIZE", 1) > 1 else SingleProcess()


def select_shard(
    parts: list[dict[str, Any]], processes: ProcessGroup, seed: int, device: torch.device
) -> dict[str, Any]:
    """This process's state out of those that were saved, one a process then.

    By another number of processes than now: the worlds are divided anew, and random numbers begin anew from `seed`.
    """
    rank, size = processes.rank, processes.size
    if len(parts) == size:
        return parts[rank]
    own = _divided(parts, rank, size)
    broken = [part["env"]["nan_resets"] for part in parts]
    own["env"]["nan_resets"] = sum(broken[1:], broken[0]) if rank == 0 else torch.zeros_like(broken[0])
    seed += SEED_STEP * rank
    own["env"]["sampler"]["generator"] = torch.Generator(device).manual_seed(seed).get_state()
    own |= {"rng": torch.Generator().manual_seed(seed).get_state(), "cuda_rng": None}
    if device.type == "cuda":
        own["cuda_rng"] = torch.Generator(device).manual_seed(seed).get_state()
    return own


def _divided(parts: list[dict[str, Any]], rank: int, size: int) -> dict[str, Any]:
    """Worlds `rank` out of `size` of all worlds; what is not of worlds (curricula, clip weights) all have alike."""
    worlds = len(parts[0]["episode"][0])
    share = worlds * len(parts) // size

    def cut(values: list[Any]) -> Any:
        head = values[0]
        if isinstance(head, Mapping):
            return {name: head[name] if name in COMMON else cut([value[name] for value in values]) for name in head}
        if isinstance(head, tuple):
            return tuple(cut(list(column)) for column in zip(*values, strict=True))
        if torch.is_tensor(head) and head.dim() and len(head) == worlds:
            return torch.cat(values)[rank * share : (rank + 1) * share]
        return head

    return cut(parts)


def _environment() -> tuple[int, int, int, int]:
    for name in ("RANK", "MASTER_ADDR", "MASTER_PORT"):
        if name not in os.environ:
            raise InputError(
                f"WORLD_SIZE={os.environ['WORLD_SIZE']} but {name} is not set: start with "
                "`torchrun --nproc_per_node=N train.py ...`, or unset WORLD_SIZE for one process"
            )
    rank = _whole("RANK", 0)
    local = _whole("LOCAL_RANK", rank)
    return rank, _whole("WORLD_SIZE", 1), local, _whole("LOCAL_WORLD_SIZE", 1)


def _whole(name: str, default: int) -> int:
    text = os.environ.get(name, str(default))
    if not text.isdecimal():
        raise InputError(f"the environment variable {name}={text!r} is not a number")
    return int(text)


def _device(wanted: str, local_rank: int) -> torch.device:
    """The GPU of this process; the CPU where there is none or the CPU was asked for."""
    if wanted == "cpu" or (wanted == "auto" and not torch.cuda.is_available()):
        return torch.device("cpu")
    if wanted not in ("auto", "cuda"):
        raise InputError(f"device={wanted}: with several processes write device=cuda, each takes a GPU of its own")
    count = torch.cuda.device_count()
    # A launcher may show each process only its own GPU.
    index = 0 if count == 1 and "CUDA_VISIBLE_DEVICES" in os.environ else local_rank
    if index >= count:
        raise InputError(f"process {local_rank} of this machine finds {count} GPUs: start one process a GPU")
    torch.cuda.set_device(index)
    return torch.device("cuda", index)


def _attempt(make: Callable[[], Value]) -> tuple[Value | None, str | None]:
    try:
        return make(), None
    except InputError as error:
        return None, str(error)


def _difference(a: Any, b: Any, name: str = "") -> tuple[str, Any, Any] | None:
    """The first key whose values differ, with both."""
    if a == b:
        return None
    if isinstance(a, Mapping) and isinstance(b, Mapping):
        for key in {**a, **b}:
            found = _difference(a.get(key), b.get(key), f"{name}.{key}" if name else str(key))
            if found is not None:
                return found
    return name, a, b


def _on_cpu(value: Any) -> Any:
    """With every tensor on the CPU: what another process can read."""
    if torch.is_tensor(value):
        return value.cpu()
    if isinstance(value, Mapping):
        return {name: _on_cpu(inner) for name, inner in value.items()}
    if isinstance(value, tuple | list):
        return type(value)(_on_cpu(inner) for inner in value)
    return value
