"""Evaluate the terms of a control step: observation, reward, termination and errors, eagerly or as one CUDA graph.

The terms are hundreds of small kernels. Below about a thousand environments, the host takes longer to launch them than
the device to run them; a graph launches all of them at once. A graph reads and writes fixed addresses: inputs are
copied there before a replay, results are copied from there. The kernels, and so the results, are the same.
"""

import gc
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor

from muscle_torch.errors import InputError

from .goals.goal import Goal
from .observations import Observer
from .rewards import Reward
from .state import State
from .terminations import Termination

Read = Callable[[str], Tensor]


class Terms(NamedTuple):
    """Values of the terms after one control step."""

    observation: Tensor  # (W, D)
    reward: Tensor  # (W,)
    exceeded: Tensor  # whether a termination threshold is exceeded, bool (W,)
    values: dict[str, Tensor]  # "reward/<term>", "penalty", "err/<name>", each (W,)


class Transition(NamedTuple):
    """Result of one control step. `terminated | truncated` ends the episode; `restart` starts the next one."""

    observation: Tensor  # after the step, before any reset, (W, D)
    reward: Tensor  # (W,)
    terminated: Tensor  # a termination threshold was exceeded, bool (W,)
    truncated: Tensor  # end of the goal's episode, horizon, or diverged, bool (W,)
    terms: dict[str, Tensor]  # "reward/<term>" before its weight, "penalty", "err/<name>", each (W,)
    broken: Tensor  # diverged: a non-finite number occurred; reward and observation are 0, bool (W,)


class Environment(Protocol):
    """The part of `MuscleEnv` that the terms use; see there."""

    goal: Goal
    observer: Observer
    reward: Reward
    termination: Termination
    agent: slice
    evaluation: bool
    measure_errors: bool

    @property
    def device(self) -> Any:
        """Device of all tensors."""
        ...

    @property
    def observation(self) -> Tensor:
        """The newest observation, (W, D)."""
        ...

    def field(self, name: str) -> Tensor:
        """Return a field of the physics, (W, ...)."""
        ...

    def state(
        self,
        environments: Tensor | None = None,
        command: Tensor | None = None,
        agent: slice | None = None,
        read: Read | None = None,
    ) -> State:
        """Return the state that the terms read.

        Args:
            environments: Ids (N,); None: all.
            command: Commands of this step (W, commands); None: those of the last step.
            agent: Columns of the commands that the terms see; None: those of `agent`.
            read: Field -> values (W, ...); None: `field`.
        """
        ...


class StepTerms:
    """Evaluates the terms eagerly."""

    def __init__(self, env: Environment):
        self._env = env

    def after_step(self, command: Tensor) -> Terms:
        """Return the terms after a control step.

        Args:
            command: Commands of this step, (W, commands).
        """
        return self._after_step(command, None)

    def at_start(self) -> Tensor:
        """Return the observation (W, D), treating every environment as at the start of an episode."""
        return self._at_start(None)

    def _after_step(self, command: Tensor, read: Read | None) -> Terms:
        env = self._env
        state = env.state(command=command, read=read)
        observation = env.observer.add(env.observation, state)
        reward, values = env.reward(state)
        if env.measure_errors:
            values |= env.goal.errors(state)
        if env.evaluation:
            values |= env.reward.unweighted_terms(state)
        env.goal.update(state)
        return Terms(observation, reward, env.termination(state), values)

    def _at_start(self, read: Read | None) -> Tensor:
        return self._env.observer.begin(self._env.state(read=read))


class GraphedTerms(StepTerms):
    """Evaluates the terms as CUDA graphs: one after a step, one at the start.

    A graph is captured on first use, and again if `env.agent` or `env.measure_errors` change.
    """

    def __init__(self, env: Environment, buffers: Sequence[str]):
        """Prepare for an environment.

        Args:
            env: The environment. Its goal must replace its buffers (see `Goal`) and have no other changing state.
            buffers: Names of the environment's tensor attributes that the terms read.
        """
        super().__init__(env)
        self._buffers = [*((env, name) for name in buffers), *((env.goal, name) for name in env.goal.buffers)]
        self._graphs: dict[Any, FixedAddresses] = {}
        self._names: dict[Any, list[str]] = {}

    def after_step(self, command: Tensor) -> Terms:
        key = (self._env.measure_errors, str(self._env.agent))

        def compute(read: Read, command: Tensor) -> list[Tensor]:
            terms = self._after_step(command, read)
            self._names[key] = list(terms.values)
            return [terms.observation, terms.reward, terms.exceeded, *terms.values.values()]

        observation, reward, exceeded, *values = self._graph(key, compute)(command)
        return Terms(observation, reward, exceeded, dict(zip(self._names[key], values, strict=True)))

    def at_start(self) -> Tensor:
        key = ("start", str(self._env.agent))
        return self._graph(key, lambda read: [self._at_start(read)])()[0]

    def _graph(self, key: Any, compute: Callable[..., list[Tensor]]) -> "FixedAddresses":
        if key not in self._graphs:
            self._graphs[key] = FixedAddresses(compute, self._env.field, self._buffers, self._env.device)
        return self._graphs[key]


class FixedAddresses:
    """A function of tensors whose kernels are captured in a CUDA graph on the first call and replayed afterwards."""

    def __init__(
        self,
        compute: Callable[..., list[Tensor]],
        read: Read,
        buffers: Sequence[tuple[Any, str]],
        device: torch.device,
    ):
        """Set up the function; nothing is captured yet.

        Args:
            compute: Called as `compute(read, *arguments)`; must not synchronize.
            read: Physics field -> its current values.
            buffers: Attributes (object, name) that `compute` reads or replaces.
            device: A CUDA device.
        """
        self._compute, self._read, self._buffers, self._device = compute, read, list(buffers), device
        self._fields: dict[str, Tensor] = {}  # where the graph reads each field
        self._fixed: list[Tensor] = []  # where it reads arguments and buffers
        self._packed: list[Tensor] = []  # where it writes its results, stacked by shape and type
        self._places: list[tuple[int, int]] = []  # (pack, index in it) of each result
        self._replaced: list[tuple[Any, str]] = []  # buffers that it replaces; their values are the last results
        self._replay: Callable[[], None] | None = None

    def __call__(self, *arguments: Tensor) -> list[Tensor]:
        """Return the results of `compute`, in new tensors that later calls do not change."""
        if self._replay is None:
            self._fixed = [tensor.clone() for tensor in self._sources(arguments)]
            self._replay = capture_graph(lambda: self._run(len(arguments)), self._device)
        targets, sources = [*self._fixed, *self._fields.values()], self._sources(arguments)
        sources += [self._read(name) for name in self._fields]
        _copy_all([(t, s) for t, s in zip(targets, sources, strict=True) if t is not s])
        self._replay()
        parts = [pack.clone().unbind(0) for pack in self._packed]
        results = [parts[pack][place] for pack, place in self._places]
        count = len(results) - len(self._replaced)
        for (owner, name), value in zip(self._replaced, results[count:], strict=True):
            setattr(owner, name, value)
        return results[:count]

    def _sources(self, arguments: Sequence[Tensor]) -> list[Tensor]:
        return [*arguments, *(getattr(owner, name) for owner, name in self._buffers)]

    def _run(self, num_arguments: int) -> None:
        """Compute from the fixed addresses, and pack the results."""
        arguments, fixed = self._fixed[:num_arguments], self._fixed[num_arguments:]
        before = [getattr(owner, name) for owner, name in self._buffers]
        try:
            for (owner, name), tensor in zip(self._buffers, fixed, strict=True):
                setattr(owner, name, tensor)
            results = self._compute(self._fixed_field, *arguments)
            after = [getattr(owner, name) for owner, name in self._buffers]
        finally:
            for (owner, name), tensor in zip(self._buffers, before, strict=True):
                setattr(owner, name, tensor)
        changed = [index for index, tensor in enumerate(after) if tensor is not fixed[index]]
        self._replaced = [self._buffers[index] for index in changed]
        self._pack([*results, *(after[index] for index in changed)])

    def _fixed_field(self, name: str) -> Tensor:
        """Return the tensor from which the graph reads a field: the simulator's if its address is fixed, else a copy.

        A field that is one of the buffers is read at that buffer's fixed address, which replaces it during capture.
        """
        if name not in self._fields:
            value = self._read(name)
            self._fields[name] = value if self._read(name) is value else value.clone()
        return self._fields[name]

    def _pack(self, results: list[Tensor]) -> None:
        packs: dict[Any, list[Tensor]] = {}
        self._places = []
        for result in results:
            kinds = list(packs)
            kind = (result.shape, result.dtype)
            members = packs.setdefault(kind, [])
            self._places.append((kinds.index(kind) if kind in kinds else len(kinds), len(members)))
            members.append(result)
        self._packed = [torch.stack(members) for members in packs.values()]


def capture_graph(run: Callable[[], None], device: torch.device) -> Callable[[], None]:
    """Capture the kernels of a function into a CUDA graph; return a function that replays it.

    Raises:
        InputError: The current stream is already being captured.
    """
    if torch.cuda.is_current_stream_capturing():
        raise InputError("env.graph=true: a step cannot be captured inside another capture: use env.graph=false there")
    current, side = torch.cuda.current_stream(device), torch.cuda.Stream(device)
    side.wait_stream(current)
    with torch.cuda.stream(side):
        for _ in range(2):  # warm-up outside the capture: libraries allocate workspaces, lazy tables are computed
            run()
    current.wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with collection_paused(), torch.cuda.graph(graph):
        run()
    return graph.replay


@contextmanager
def collection_paused() -> Iterator[None]:
    """Disable Python's garbage collection: freeing another graph during a capture would invalidate the new one."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


@contextmanager
def single_thread_exact() -> Iterator[None]:
    """Evaluate terms on one torch thread and in full precision.

    They are many small operations: idle threads would take cores from the physics. They also subtract nearly equal
    values, so TF32 is not precise enough.
    """
    threads, precision = torch.get_num_threads(), torch.get_float32_matmul_precision()
    torch.set_num_threads(1)
    torch.set_float32_matmul_precision("highest")
    try:
        yield
    finally:
        torch.set_num_threads(threads)
        torch.set_float32_matmul_precision(precision)


def _copy_all(pairs: Sequence[tuple[Tensor, Tensor]]) -> None:
    """Copy (target, source) pairs, one call per dtype."""
    for dtype in dict.fromkeys(target.dtype for target, _ in pairs):
        chosen = [pair for pair in pairs if pair[0].dtype == dtype]
        torch._foreach_copy_([t for t, _ in chosen], [s for _, s in chosen])  # pyright: ignore[reportPrivateImportUsage]
