"""The table of goals and their options. Does not import torch, so that `--help` responds immediately."""

import dataclasses
from enum import StrEnum, auto

from muscle_torch.config import Row, key

KNEES_TO_TOES = [f"{side}_{joint}_mimic" for joint in ("knee", "ankle", "toes") for side in ("left", "right")]


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
    tracked_sites: list[str] = key(KNEES_TO_TOES, "sites that the body follows beside its root")
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


@dataclasses.dataclass(frozen=True)
class RootTargetOptions:
    """Options of `goal=root_target`."""

    start: Start = key(Start.random, "frame of the motions in which an episode starts: random or beginning")
    extent: float = key(2.0, "points are uniform in a square that extends this far ahead, behind, left and right", "m")
    radius: float = key(0.1, "distance from the target that counts as reached", "m")
    duration: int = key(150, "length of a trial", "control steps")
    trials: int = key(64, "number of evaluation trials, equal in all evaluations")
    lookahead: int = key(5, "frames of the observation term reference; for checkpoint= as in the imitation run")
    compact_reference: bool = key(True, "as in the imitation run: leave relative site rotations and velocities out")
    bodies: list[str] = key([], "as in a run of goal=kinesis: observed bodies, the root first")
    tracked_sites: list[str] = key(KNEES_TO_TOES, "as in a run of goal=kinesis: tracked sites beside the root")


@dataclasses.dataclass(frozen=True)
class DirectionOptions(RootTargetOptions):
    """Options of `goal=direction`."""

    extent: float = key(1.265, "fastest speed to draw; the root's target is one second ahead at this speed", "m/s")
    slowest: float = key(0.8, "slowest speed to draw", "m/s")
    tolerance: float = key(0.3, "largest difference of the mean velocity from the command in a successful trial", "m/s")
    trials: int = key(72, "number of evaluation trials, equal in all evaluations")


class Stage(StrEnum):
    """What a kick task rewards."""

    reach = auto()  # walk to the ball and face the goal
    kick = auto()


@dataclasses.dataclass(frozen=True)
class KickOptions(RootTargetOptions):
    """Options of `goal=kick`."""

    stage: Stage = key(
        Stage.kick, "reach: start anywhere behind the ball and walk to it; kick: start one step behind it"
    )
    start: Start = key(Start.beginning, "frame of the motions in which an episode starts: random or beginning")
    radius: float = key(0.2, "distance from the ball that counts as reached", "m")
    duration: int = key(400, "length of a trial", "control steps")
    trials: int = key(100, "number of evaluation trials, equal in all evaluations and shared equally by the keepers")
    keepers: dict[str, float] = key(
        {}, "keepers and their relative frequency; empty: {block: 0.1, random: 0.45, stationary: 0.45}"
    )
    keeper_gain: float = key(5.0, "speed of keeper block per distance from the ball's line", "1/s")
    keeper_speed: list[float] = key([1.0, 5.0], "range of the keepers' fastest speed, drawn for each episode", "m/s")
    standing: float = key(0.7, "height of the root above which the body still stands", "m")


GOALS: dict[str, Row] = {
    "motion": Row("muscle_torch.envs.goals.motion:MotionGoal", MotionOptions),
    "kinesis": Row("muscle_torch.envs.goals.kinesis:KinesisGoal", KinesisOptions),
    "target": Row("muscle_torch.envs.goals.target:TargetGoal", TargetOptions),
    "root_target": Row("muscle_torch.envs.goals.root_target:RootTargetGoal", RootTargetOptions),
    "direction": Row("muscle_torch.envs.goals.direction:DirectionGoal", DirectionOptions),
    "kick": Row("muscle_torch.envs.goals.kick:KickGoal", KickOptions),
}
