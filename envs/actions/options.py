"""Action spaces and what each of them takes. No torch here: options answer at once."""

import dataclasses
from enum import StrEnum, auto

from muscle_torch.config import Row, key


class Mapping(StrEnum):
    full = auto()  # (a + 1) / 2: the whole action range excites
    half = auto()  # max(a, 0): the published checkpoints'
    clip = auto()  # a clipped to [0, 1]
    sigmoid = auto()  # 1 / (1 + exp(-a))


@dataclasses.dataclass(frozen=True)
class MuscleOptions:
    mapping: Mapping = key(Mapping.full, "action to excitation: full ((a+1)/2), half (max(a, 0), published)")


@dataclasses.dataclass(frozen=True)
class MotorOptions:
    limit: float = key(1.0, "largest command, as a fraction of each motor's control range")


@dataclasses.dataclass(frozen=True)
class FeedforwardOptions:
    scale: float = key(1.0, "excitation that an action of 1 adds to the feedforward")
    lead: int = key(0, "frames by which the feedforward is ahead of the motion", "frames")


ACTION_SPACES: dict[str, Row] = {
    "muscles": Row("muscle_torch.envs.actions.muscles:MuscleActions", MuscleOptions),
    "muscles_feedforward": Row("muscle_torch.envs.actions.feedforward:FeedforwardActions", FeedforwardOptions),
    "motors": Row("muscle_torch.envs.actions.torque:MotorActions", MotorOptions),
}
