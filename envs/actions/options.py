"""The table of action spaces and their options. Does not import torch, so that `--help` responds immediately."""

import dataclasses
from enum import StrEnum, auto

from muscle_torch.config import Row, key


class Mapping(StrEnum):
    """Mappings from an action a to an excitation."""

    full = auto()  # (a + 1) / 2: the whole action range excites
    half = auto()  # max(a, 0): published checkpoints
    clip = auto()  # a clipped to [0, 1]
    sigmoid = auto()  # 1 / (1 + exp(-a))


@dataclasses.dataclass(frozen=True)
class MuscleOptions:
    """Options of `actions=[muscles]`."""

    mapping: Mapping = key(Mapping.full, "action to excitation: full ((a+1)/2), half (max(a, 0), published)")


@dataclasses.dataclass(frozen=True)
class ActivationOptions:
    """Options of `actions=[activations]`."""


@dataclasses.dataclass(frozen=True)
class MotorOptions:
    """Options of `actions=[motors]`."""

    limit: float = key(1.0, "largest command, as a fraction of each motor's control range")


@dataclasses.dataclass(frozen=True)
class ExoskeletonOptions:
    """Options of `actions=[exoskeleton]`: none; the device has its own, `exoskeleton.lag` and so on."""


@dataclasses.dataclass(frozen=True)
class FeedforwardOptions:
    """Options of `actions=[muscles_feedforward]`."""

    scale: float = key(1.0, "excitation that an action of 1 adds to the feedforward")
    lead: int = key(0, "how far the feedforward is ahead of the motion", "frames")


@dataclasses.dataclass(frozen=True)
class LengthOptions:
    """Options of `actions=[length_pd]`."""

    kp: float = key(5.0, "force per length error, in peak forces (published code: 5, paper: 1)", "1/m")
    kd: float = key(0.5, "force per velocity, in peak forces (published code: 0.5, paper: 1)", "s/m")


ACTION_SPACES: dict[str, Row] = {
    "muscles": Row("muscle_torch.envs.actions.muscles:MuscleActions", MuscleOptions),
    "activations": Row("muscle_torch.envs.actions.activations:ActivationActions", ActivationOptions),
    "muscles_feedforward": Row("muscle_torch.envs.actions.feedforward:FeedforwardActions", FeedforwardOptions),
    "length_pd": Row("muscle_torch.envs.actions.length_pd:LengthActions", LengthOptions),
    "motors": Row("muscle_torch.envs.actions.torque:MotorActions", MotorOptions),
    "exoskeleton": Row("muscle_torch.envs.actions.exoskeleton:ExoskeletonActions", ExoskeletonOptions),
}
