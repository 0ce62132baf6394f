"""Registry of the optimizers and their options. It does not import torch, so that --help is fast."""

import dataclasses
from enum import StrEnum, auto

from muscle_torch.config import key
from muscle_torch.config.kinds import Row


class Schedule(StrEnum):
    """Learning-rate schedules."""

    linear = auto()
    cosine = auto()  # with warm-up
    constant = auto()
    adaptive = auto()  # by the KL divergence of the last update


@dataclasses.dataclass(frozen=True)
class AdamWOptions:
    """Options of `optimizer=adamw`."""

    learning_rate: float = key(1e-3, "learning rate")
    critic_learning_rate: float = key(
        0.0, "learning rate of the critic, with the same schedule (adamw only); 0: learning_rate"
    )
    schedule: Schedule = key(Schedule.linear, "linear, cosine (with warm-up), constant or adaptive (by KL)")
    min_ratio: float = key(0.0, "fraction of learning_rate at the end of the schedule")
    warmup: float = key(0.1, "cosine: fraction of the updates spent warming up")
    desired_kl: float = key(0.01, "adaptive: target KL divergence of an update")
    weight_decay: float = key(0.0, "decoupled weight decay of the 2-D weights")
    epsilon: float = key(1e-5, "Adam's epsilon (published: 1e-5, with muon 1e-8)")


@dataclasses.dataclass(frozen=True)
class MuonOptions(AdamWOptions):
    """Options of `optimizer=muon`."""

    momentum: float = key(0.95, "Muon's momentum")


OPTIMIZERS: dict[str, Row] = {
    "adamw": Row("muscle_torch.rl.optimizer:AdamW", AdamWOptions),
    "muon": Row("muscle_torch.rl.optimizer:Muon", MuonOptions),
}
