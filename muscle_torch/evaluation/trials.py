"""The trials of an environment's goal, as played by an evaluation."""

from typing import Any, Protocol

from torch import Tensor

from muscle_torch.motion import MotionLibrary

CLIP = "clip"  # unit of a motion goal's trials


class Trials(Protocol):
    """The interface of `muscle_torch.envs.goals.goal.Trials`."""

    @property
    def names(self) -> list[str]:
        """Names of the T trials."""
        ...

    @property
    def lengths(self) -> Tensor:
        """Frames of each trial, control steps + 1, (T,)."""
        ...

    @property
    def starts(self) -> tuple[Tensor, ...]:
        """Arguments of `env.assign` for each trial, (T,) each."""
        ...

    @property
    def unit(self) -> str:
        """What a trial is called: "clip" or "trial"."""
        ...


class Headline(Protocol):
    """The interface of `muscle_torch.envs.goals.goal.Headline`: the goal's main error."""

    @property
    def name(self) -> str:
        """Name of the term, "err/<name>"."""
        ...

    @property
    def label(self) -> str:
        """Description for tables."""
        ...

    @property
    def unit(self) -> str:
        """Displayed unit."""
        ...

    @property
    def factor(self) -> float:
        """Factor from the SI unit to `unit`."""
        ...


def begin_trials(env: Any, ids: Tensor) -> None:
    """Reset environment i to the start of trial ids[i], (W,)."""
    env.assign(tuple(column[ids] for column in env.goal.trials.starts))


def motions_of(env: Any) -> MotionLibrary | None:
    """Return the library of a motion goal, whose clip i is trial i; None for other goals."""
    return env.goal.assets if env.goal.trials.unit == CLIP else None
