"""Goals and what each of them takes. No torch here: options answer at once."""

import dataclasses
from enum import StrEnum, auto

from muscle_torch.config import Row, key


class Start(StrEnum):
    random = auto()
    beginning = auto()


class Interpolation(StrEnum):
    derivative = auto()  # velocities are the derivative of the resampled positions
    reference = auto()  # as the published system


@dataclasses.dataclass(frozen=True)
class MotionOptions:
    start: Start = key(Start.random, "frame of the clip in which an episode begins: random or beginning")
    lookahead: int = key(5, "reference frames shown, the current one included")
    stride: int = key(4, "distance between them", "control steps")
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
    site: str = key("", "tracked site to bring to the target; empty: the last one")
    radius: float = key(0.03, "distance from the target that counts as reached", "m")
    duration: int = key(100, "length of a trial", "control steps")
    trials: int = key(64, "number of evaluation trials, the same in every evaluation")


GOALS: dict[str, Row] = {
    "motion": Row("muscle_torch.envs.goals.motion:MotionGoal", MotionOptions),
    "target": Row("muscle_torch.envs.goals.target:TargetGoal", TargetOptions),
}
