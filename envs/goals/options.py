"""The table of goals and their options. Does not import torch, so that `--help` responds immediately."""

import dataclasses
from enum import StrEnum, auto

from muscle_torch.config import Row, key


class Start(StrEnum):
    """Frames in which episodes start."""

    random = auto()
    beginning = auto()


class Interpolation(StrEnum):
    """Velocities of resampled clips."""

    derivative = auto()  # derivative of the resampled positions
    reference = auto()  # as in the published system


@dataclasses.dataclass(frozen=True)
class MotionOptions:
    """Options of `goal=motion`."""

    start: Start = key(Start.random, "frame in which an episode starts: random or beginning")
    lookahead: int = key(5, "observed reference frames, including the current one")
    stride: int = key(4, "distance between observed frames", "control steps")
    compact_reference: bool = key(True, "leave relative site rotations and velocities out of the look-ahead")
    interpolation: Interpolation = key(
        Interpolation.derivative, "velocities of resampled clips: derivative of the positions, or reference (published)"
    )
    held_out: float = key(
        0.0, "fraction of the clips, evenly spaced and rounded down, that training never draws; see eval/held_out/"
    )
    excluded_sites: list[str] = key([], "tracked sites that termination ignores")


@dataclasses.dataclass(frozen=True)
class TargetOptions:
    """Options of `goal=target`."""

    site: str = key("", "tracked site to move to the target; empty: the last one")
    radius: float = key(0.03, "distance from the target that counts as reached", "m")
    duration: int = key(100, "length of a trial", "control steps")
    trials: int = key(64, "number of evaluation trials, equal in all evaluations")


GOALS: dict[str, Row] = {
    "motion": Row("muscle_torch.envs.goals.motion:MotionGoal", MotionOptions),
    "target": Row("muscle_torch.envs.goals.target:TargetGoal", TargetOptions),
}
