"""Data-parallel training: every process simulates a shard of the environments and applies the same update.

Start it by `torchrun --nproc_per_node=N train.py ...` or by any launcher that sets its environment variables (RANK,
WORLD_SIZE, LOCAL_RANK, MASTER_ADDR, MASTER_PORT). The backend is NCCL between GPUs and gloo between CPUs. The processes
exchange gradients (averaged, during the backward pass), Muon's updates (sharded by matrix), moments of observations,
returns and advantages, counts of episodes and failures, and metrics. Every process thus has the same policy, optimizer,
normalizer and curricula, but its own environments and random numbers. See docs/scale.md.
"""

import dataclasses
import os
import socket
import sys
import time
from collections.abc import Callable, Iterable, Mapping
from datetime import timedelta
from typing import Any, NoReturn, TypeVar

import torch
import torch.distributed as dist

# Defaults of its functions refer to the group that exists at its first import, and TorchRL imports it. If that happens
# after `init_process_group`, gloo's threads outlive `destroy_process_group`, and the process may abort at exit.
import torch.distributed.nn
from torch import Tensor, nn
from torch.distributed import PrefixStore, TCPStore  # pyright: ignore[reportPrivateImportUsage]

from muscle_torch.config import Config, config_to_dict
from muscle_torch.config.threads import usable_cores
from muscle_torch.errors import InputError

from .contracts import ActorCritic
from .gradients import GradientAverage
from .heartbeat import Heartbeat

Value = TypeVar("Value")
ASSEMBLY = timedelta(minutes=5)  # how long processes wait for each other to start
EXCHANGE = timedelta(hours=2)  # longest wait in a collective: rank 0 may be validating meanwhile
SEED_STEP = 1_000_003  # large, so that seeds chosen by users do not coincide with those of ranks
MAY_DIFFER = ("device", "threads")


class ProcessGroup:
    """The collectives that training needs; in this base class, a group of size one, all are no-ops.

    Attributes:
        rank: Rank of this process.
        size: Number of processes.
        local_size: Number of processes on this machine.
        device: Device assigned to this process; None: none is assigned.
    """

    rank, size, local_size = 0, 1, 1
    device: torch.device | None = None

    @property
    def first(self) -> bool:
        """Whether this is the process that writes, prints and evaluates."""
        return self.rank == 0

    def shard(self, cfg: Config) -> Config:
        """Return the config of this process: its shard of the environments, its seed, device and threads.

        Raises:
            InputError: The environments cannot be divided evenly.
        """
        return cfg

    def begin(self, policy: ActorCritic, seed: int) -> None:
        """Broadcast the weights of rank 0 and seed every rank differently.

        Args:
            policy: Policy whose weights and buffers are overwritten on the other ranks.
            seed: Seed of the run.
        """

    def watch_gradients(self, parameters: Iterable[nn.Parameter]) -> None:
        """Average the gradients of these parameters over the processes in all later backward passes, in place."""

    def finish_gradients(self) -> None:
        """Wait until the gradients of the last backward pass are averaged."""

    def sum(self, values: Tensor) -> Tensor:
        """Return the elementwise sum over all ranks, on all ranks."""
        return values

    def mean(self, values: Tensor) -> Tensor:
        """Return the elementwise mean over all ranks, on all ranks."""
        return values

    def moments(self, mean: Tensor, variance: Tensor) -> tuple[Tensor, Tensor]:
        """Return mean and population variance of the samples of all processes, elementwise.

        Args:
            mean: Mean of this process's samples; every process has the same number of samples.
            variance: Population variance of this process's samples.
        """
        return mean, variance

    def all_gather(self, value: Tensor) -> list[Tensor]:
        """Return the tensors of all ranks, in order, on all ranks; they have the same shape."""
        return [value]

    def all_reduce_max(self, value: int) -> int:
        """Return the largest value of all ranks, on all ranks."""
        return value

    def gather(self, value: Value) -> list[Value]:
        """Return the values of all ranks, in order, on rank 0; an empty list on the others."""
        return [value]

    def broadcast(self, make: Callable[[], Value]) -> Value:
        """Run `make` on rank 0 and broadcast the result.

        If it raises InputError, all ranks exit; only rank 0 prints it.
        """
        return make()

    def local_leader_first(self, make: Callable[[], Value]) -> Value:
        """Run `make` on every rank, local rank 0 first, so that it can fill on-disk caches for the others.

        If it raises InputError on any rank, all ranks exit.
        """
        return make()

    def shutdown(self) -> None:
        """Shut down the process group. Rank 0 may continue alone."""

    def __enter__(self) -> "ProcessGroup":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: Any) -> None:
        pass


class SingleProcess(ProcessGroup):
    """A process group of size one; all collectives are no-ops."""


class DistributedProcesses(ProcessGroup):
    """A process group of `size` ranks over torch.distributed.

    Raises:
        InputError: The processes cannot connect, or were started with different settings.
    """

    def __init__(self, cfg: Config):
        """Connect the processes and start the heartbeat.

        Args:
            cfg: Configuration of the whole run, the same on all processes.
        """
        self.rank, self.size, self.local_rank, self.local_size = _environment()
        self.device = _device(cfg.device, self.local_rank)
        self._connected = True
        self._gradients: GradientAverage | None = None
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
        assert isinstance(cfg.num_envs, int), "resolve num_envs=max first"
        if cfg.num_envs % self.size:
            below = cfg.num_envs - cfg.num_envs % self.size
            divisible = " or ".join(str(count) for count in (below, below + self.size) if count)
            self._refuse(f"num_envs={cfg.num_envs} cannot be divided among {self.size} processes: use {divisible}")
        return dataclasses.replace(
            cfg,
            num_envs=cfg.num_envs // self.size,
            seed=cfg.seed + SEED_STEP * self.rank,
            device=str(self.device),
            threads=cfg.threads or max(1, usable_cores() // self.local_size),
        )

    def begin(self, policy: ActorCritic, seed: int) -> None:
        for value in (*policy.parameters(), *policy.buffers()):
            self._exchange(lambda value=value: dist.broadcast(value.data, 0))
        if self.rank:
            torch.manual_seed(seed + SEED_STEP * self.rank)

    def watch_gradients(self, parameters: Iterable[nn.Parameter]) -> None:
        if self._gradients is not None:
            self._gradients.remove()
        self._gradients = GradientAverage(parameters, self.size, self._exchange)

    def finish_gradients(self) -> None:
        assert self._gradients is not None, "call watch_gradients first"
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

    def all_gather(self, value: Tensor) -> list[Tensor]:
        values = [torch.empty_like(value) for _ in range(self.size)]
        self._exchange(lambda: dist.all_gather(values, value))
        return values

    def all_reduce_max(self, value: int) -> int:
        largest = torch.tensor(value)
        self._exchange(lambda: dist.all_reduce(largest, dist.ReduceOp.MAX))
        return int(largest)

    def gather(self, value: Value) -> list[Value]:
        values: list[Any] = [None] * self.size
        self._exchange(lambda: dist.gather_object(_on_cpu(value), values if self.first else None))
        return values if self.first else []

    def broadcast(self, make: Callable[[], Value]) -> Value:
        result: list[Any] = list(_attempt(make)) if self.first else [None, None]
        self._exchange(lambda: dist.broadcast_object_list(result, 0))
        value, problem = result
        if problem:
            self._refuse(problem)
        return value

    def local_leader_first(self, make: Callable[[], Value]) -> Value:
        value, problem = None, None
        for turn in (0, 1):
            if min(self.local_rank, 1) == turn:
                value, problem = _attempt(make)
            problems = self._all_gather_objects(problem)
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
        """Report a failure to the other ranks."""
        if error is None:
            self.shutdown()
        elif self._connected:
            reported = getattr(error, "reported", False)
            if not reported:
                text = str(error).splitlines()[0] if str(error) else ""
                self._heartbeat.report_failure(
                    text if isinstance(error, InputError) else f"{type(error).__name__}: {text}"
                )
            self._heartbeat.stop()
            if reported or str(self.device) == "cpu":  # NCCL would wait for the other ranks
                dist.destroy_process_group()

    def _meet(self, host: str, port: int) -> tuple[Any, Any]:
        """Return two connections to the shared store, after all processes have connected."""
        serves = self.rank == 0 and os.environ.get("TORCHELASTIC_USE_AGENT_STORE") != "True"
        prefix = f"muscle_torch/{os.environ.get('TORCHELASTIC_RESTART_COUNT', '0')}"
        try:
            store = PrefixStore(prefix, self._connect(host, port, serves))
            # The heartbeat has a separate connection, so that the training thread cannot block it.
            watched = TCPStore(host, port, is_master=False, timeout=timedelta(seconds=10), wait_for_workers=False)
        except RuntimeError as error:
            raise InputError(
                f"process {self.rank} of {self.size} cannot reach {host}:{port} ({str(error).splitlines()[0][:120]}); "
                "MASTER_ADDR is the machine of process 0, MASTER_PORT a free port there"
            ) from None
        here = [f"here{rank}" for rank in range(self.size)]
        store.set(here[self.rank], "")
        started = time.monotonic()
        patience = Patience(f"process {self.rank} of {self.size} waits at {host}:{port} for process")
        while missing := [str(rank) for rank in range(self.size) if not store.check([here[rank]])]:
            if time.monotonic() - started > ASSEMBLY.total_seconds():
                minutes = ASSEMBLY.total_seconds() / 60
                raise InputError(
                    f"of {self.size} processes, {', '.join(missing)} did not connect within {minutes:.0f} minutes; "
                    "check that all were started"
                )
            patience.wait(", ".join(missing))
        return store, PrefixStore(prefix, watched)

    def _connect(self, host: str, port: int, serves: bool) -> Any:
        """Return the store; a process that does not host it retries until the host is reachable.

        Each attempt lasts a few seconds, because signals are not handled during an attempt.
        """
        started = time.monotonic()
        patience = Patience(f"process {self.rank} of {self.size} waits at {host}:{port} for process")
        while True:
            try:
                store = TCPStore(host, port, self.size, serves, timedelta(seconds=5), wait_for_workers=False)
            except RuntimeError:
                if serves or time.monotonic() - started > ASSEMBLY.total_seconds():
                    raise
                patience.wait("0")
                continue
            store.set_timeout(ASSEMBLY)
            return store

    def _exchange(self, call: Callable[[], Any]) -> Any:
        try:
            return call()
        except RuntimeError:
            # The error does not name the process that failed; the heartbeat will, and then ends this process.
            self._heartbeat.wait()
            raise

    def _all_gather_objects(self, value: Value) -> list[Value]:
        values: list[Any] = [None] * self.size
        self._exchange(lambda: dist.all_gather_object(values, value))
        return values

    def _check_settings(self, settings: Mapping[str, Any]) -> None:
        of_rank = self._all_gather_objects({k: v for k, v in settings.items() if k not in MAY_DIFFER})
        for rank, other in enumerate(of_rank):
            difference = _difference(of_rank[0], other)
            if difference is not None:
                name, first, second = difference
                self._refuse(
                    f"the processes were started with different settings: {name} is {first!r} for process 0 and "
                    f"{second!r} for process {rank}; start all with the same arguments"
                )

    def _refuse(self, message: str) -> NoReturn:
        """Exit on all ranks, which all call this; only rank 0 prints the message."""
        error = InputError(message) if self.first else SystemExit(2)
        error.reported = True  # type: ignore[union-attr]
        raise error


class Patience:
    """Waits in short steps, so that signals are handled, and after some seconds prints once what it waits for."""

    SILENT = 5.0  # seconds: processes that a launcher starts together connect within them

    def __init__(self, text: str):
        self._text, self._begin, self._announced = text, time.monotonic(), False

    def wait(self, what: str) -> None:
        """Wait a tenth of a second for `what`."""
        if not self._announced and time.monotonic() - self._begin > self.SILENT:
            self._announced = True
            print(
                f"{self._text} {what} (the environment has RANK and WORLD_SIZE: unset them to train with one process)",
                file=sys.stderr,
                flush=True,
            )
        time.sleep(0.1)


def make_processes(cfg: Config) -> ProcessGroup:
    """Return the process group of this run; `SingleProcess` unless WORLD_SIZE is above 1."""
    return DistributedProcesses(cfg) if _whole("WORLD_SIZE", 1) > 1 else SingleProcess()


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
        raise InputError(f"the environment variable {name}={text!r} must be a whole number")
    return int(text)


def _device(name: str, local_rank: int) -> torch.device:
    """Return the GPU of this process, or the CPU if there is none or `name` is cpu."""
    if name == "cpu" or (name == "auto" and not torch.cuda.is_available()):
        return torch.device("cpu")
    if name not in ("auto", "cuda"):
        raise InputError(f"device={name}: with several processes set device=cuda: each process uses one GPU")
    count = torch.cuda.device_count()
    # A launcher may make only one GPU visible to each process.
    index = 0 if count == 1 and "CUDA_VISIBLE_DEVICES" in os.environ else local_rank
    if index >= count:
        raise InputError(f"process {local_rank} of this machine has {count} GPUs: start one process per GPU")
    torch.cuda.set_device(index)
    return torch.device("cuda", index)


def _attempt(make: Callable[[], Value]) -> tuple[Value | None, str | None]:
    try:
        return make(), None
    except InputError as error:
        return None, str(error)


def _difference(a: Any, b: Any, name: str = "") -> tuple[str, Any, Any] | None:
    """Return the first key whose values differ and both values; None if all are equal."""
    if a == b:
        return None
    if isinstance(a, Mapping) and isinstance(b, Mapping):
        for key in {**a, **b}:
            difference = _difference(a.get(key), b.get(key), f"{name}.{key}" if name else str(key))
            if difference is not None:
                return difference
    return name, a, b


def _on_cpu(value: Any) -> Any:
    """Return `value` with every tensor on the CPU, so that another process can read it."""
    if torch.is_tensor(value):
        return value.cpu()
    if isinstance(value, Mapping):
        return {name: _on_cpu(inner) for name, inner in value.items()}
    if isinstance(value, tuple | list):
        return type(value)(_on_cpu(inner) for inner in value)
    return value
