"""The trials of an environment's goal, as evaluation plays them."""

from typing import Any, Protocol

from torch import Tensor

from muscle_torch.motion import MotionLibrary

CLIP = "clip"  # unit of a motion goal's trials


class Trials(Protocol):
    """`muscle_torch.envs.goals.goal.Trials`: what an evaluation plays."""

    @property
    def names(self) -> list[str]: ...
    @property
    def lengths(self) -> Tensor: ...  # frames: control steps + 1, (T,)
    @property
    def starts(self) -> tuple[Tensor, ...]: ...  # each (T,)
    @property
    def unit(self) -> str: ...  # "clip" or "trial"


class Headline(Protocol):
    """`muscle_torch.envs.goals.goal.Headline`: the error that says how well a goal is met."""

    @property
    def name(self) -> str: ...  # "err/<name>"
    @property
    def label(self) -> str: ...
    @property
    def unit(self) -> str: ...
    @property
    def factor(self) -> float: ...  # from the SI unit to `unit`


def begin_trials(env: Any, ids: Tensor) -> None:
    """Put environment i at the start of trial ids[i], (W,)."""
    env.assign(tuple(column[ids] for column in env.goal.trials.starts))


def motions_of(env: Any) -> MotionLibrary | None:
    """Return the motions that are followed, clip i being trial i; None if the goal is another one."""
    return env.goal.assets if env.goal.trials.unit == CLIP else None
