"""Time spent in the parts of a control step: physics, observation, reward, reset, inference."""

import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch

from muscle_torch.config import explain_library

OTHER = "other"
PARTS = ("physics", "observation", "reward", "reset", "inference", OTHER)


class Clock:
    """Time of parts of a program; time inside a nested part is not counted in the outer one.

    On CUDA the times are taken by events in the queue, without host synchronization.
    """

    def __init__(self, device: torch.device):
        self._device = device
        self._marks: list[tuple[Any, str]] = []
        self._inside = [OTHER]

    @contextmanager
    def part(self, name: str) -> Iterator[None]:
        """Count the time inside the context as that of the part `name`."""
        self._inside.append(name)
        self._mark()
        try:
            yield
        finally:
            self._inside.pop()
            self._mark()

    def timed(self, name: str, call: Callable[..., Any]) -> Callable[..., Any]:
        """Return `call` with its time counted as that of the part `name`."""

        def run(*arguments: Any, **keywords: Any) -> Any:
            with self.part(name):
                return call(*arguments, **keywords)

        return run

    def seconds(self) -> dict[str, float]:
        """Return the time of each part [s]."""
        if self._device.type == "cuda":
            torch.cuda.synchronize(self._device)
        spent: dict[str, float] = defaultdict(float)
        for (begin, name), (end, _) in zip(self._marks, self._marks[1:], strict=False):
            spent[name] += begin.elapsed_time(end) / 1e3 if self._device.type == "cuda" else end - begin
        return {name: spent[name] for name in PARTS}

    def _mark(self) -> None:
        if self._device.type == "cuda":
            now: Any = torch.cuda.Event(enable_timing=True)
            now.record(torch.cuda.current_stream(self._device))
        else:
            now = time.perf_counter()
        self._marks.append((now, self._inside[-1]))


def profile(env: Any, act: Callable[[torch.Tensor], torch.Tensor], steps: int) -> dict[str, float]:
    """Return the microseconds of each part, per control step of one environment.

    Args:
        env: Environment, which is reset.
        act: Maps observations (W, D) to actions (W, actions).
        steps: Number of control steps, with resets.

    Returns:
        physics (the control step alone), observation (reference look-up, fields and the vector), reward (with
        terminations and tracking errors), reset (with its physics), inference, other.
    """
    clock = Clock(env.device)
    observation = env.begin()
    with _watched(env, clock), clock.part(OTHER):
        for _ in range(steps):
            with clock.part("inference"):
                action = act(observation)
            step = env.advance(action)
            with clock.part("reset"):
                observation = env.restart(step.terminated | step.truncated)
    return {name: 1e6 * seconds / (steps * env.num_envs) for name, seconds in clock.seconds().items()}


@contextmanager
def _watched(env: Any, clock: Clock) -> Iterator[None]:
    """Time the environment's parts; observations of a reset are part of the reset."""
    with (
        instead(env.physics, step=clock.timed("physics", env.physics.step)),
        instead(env.goal, errors=clock.timed("reward", env.goal.errors)),
        instead(env.observer, add=clock.timed("observation", env.observer.add)),
        instead(env, reward=_Timed(clock, env.reward), termination=_Timed(clock, env.termination)),
    ):
        yield


@contextmanager
def instead(of: Any, **replacements: Any) -> Iterator[None]:
    """Replace attributes of an object inside the context."""
    original = {name: getattr(of, name) for name in replacements}
    bound_to_class = [name for name in replacements if name not in vars(of)]
    for name, value in replacements.items():
        setattr(of, name, value)
    try:
        yield
    finally:
        for name, value in original.items():
            if name in bound_to_class:
                delattr(of, name)
            else:
                setattr(of, name, value)


class _Timed:
    """A term's object whose calls are timed; all else is the object's."""

    def __init__(self, clock: Clock, of: Any):
        self._clock, self._of = clock, of

    def __call__(self, state: Any) -> Any:
        with self._clock.part("reward"):
            return self._of(state)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._of, name)


if __name__ == "__main__":
    explain_library(__doc__ or "", "tools/benchmark.py")
