"""Optimizers and what each of them takes. No torch here: options answer at once."""

import dataclasses
from enum import StrEnum, auto

from muscle_torch.config import key
from muscle_torch.config.kinds import Row


class Schedule(StrEnum):
    linear = auto()
    cosine = auto()  # with warm-up
    constant = auto()
    adaptive = auto()  # by the KL divergence of the last update


@dataclasses.dataclass(frozen=True)
class AdamWOptions:
    learning_rate: float = key(1e-3, "learning rate")
    schedule: Schedule = key(Schedule.linear, "linear, cosine (with warm-up), constant or adaptive (by KL)")
    min_ratio: float = key(0.0, "the schedule ends at this fraction of learning_rate")
    warmup: float = key(0.1, "cosine: fraction of the updates spent warming up")
    desired_kl: float = key(0.01, "adaptive: KL divergence an update aims at")
    weight_decay: float = key(0.0, "decoupled weight decay of the 2-D weights")
    epsilon: float = key(1e-5, "Adam's epsilon (published: 1e-5, with muon 1e-8)")


@dataclasses.dataclass(frozen=True)
class MuonOptions(AdamWOptions):
    momentum: float = key(0.95, "Muon's momentum")


OPTIMIZERS: dict[str, Row] = {
    "adamw": Row("muscle_torch.rl.optimizer:AdamW", AdamWOptions),
    "muon": Row("muscle_torch.rl.optimizer:Muon", MuonOptions),
}
