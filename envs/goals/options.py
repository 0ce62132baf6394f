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


class StartVelocity(StrEnum):
    """Joint velocities at the start of an episode."""

    motion = auto()
    zero = auto()  # as in KINESIS


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
class KinesisOptions(MotionOptions):
    """Options of `goal=kinesis`."""

    bodies: list[str] = key([], "observed bodies, the root first; empty: the root and those of tracked_sites")
    tracked_sites: list[str] = key(
        [f"{side}_{joint}_mimic" for joint in ("knee", "ankle", "toes") for side in ("left", "right")],
        "sites that the body follows beside its root",
    )
    random_heading: bool = key(False, "turn the motion about the vertical by a random angle in every training episode")
    joint_velocity: StartVelocity = key(
        StartVelocity.motion, "joint velocities at the start of an episode: those of the motion, or zero (published)"
    )
    legacy_stride: bool = key(
        False, "take every int(rate / 30)-th frame and play it at 30 Hz, as published: 100 Hz data is 10 % too slow"
    )


@dataclasses.dataclass(frozen=True)
class TargetOptions:
    """Options of `goal=target`."""

    site: str = key("", "tracked site to move to the target; empty: the last one")
    radius: float = key(0.03, "distance from the target that counts as reached", "m")
    duration: int = key(100, "length of a trial", "control steps")
    trials: int = key(64, "number of evaluation trials, equal in all evaluations")


GOALS: dict[str, Row] = {
    "motion": Row("muscle_torch.envs.goals.motion:MotionGoal", MotionOptions),
    "kinesis": Row("muscle_torch.envs.goals.kinesis:KinesisGoal", KinesisOptions),
    "target": Row("muscle_torch.envs.goals.target:TargetGoal", TargetOptions),
}
