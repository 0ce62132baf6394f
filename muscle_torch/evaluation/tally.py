"""Running sums over a batch of trials, and the evaluation row of each trial."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from .trials import CLIP, Trials

MPJPE = "err/mpjpe"  # also averaged over the steps up to the early end alone, as KINESIS does
# Errors in every row of a motion; null if the body has no root.
MOTION_ERRORS = ("joint_pos", "joint_vel", "root_xyz", "root_yaw", "rpos", "site_abs")


@dataclass
class Tally:
    """Running sums of one batch, one entry per environment, on its device; read only once, at the end."""

    alive: Tensor  # thresholds not exceeded so far, bool (W,)
    early: Tensor  # thresholds exceeded within the trial, bool (W,)
    broken: Tensor  # NaN within the trial, bool (W,)
    success: Tensor  # the goal was met at the last step alive, bool (W,)
    length: Tensor  # control steps alive, (W,)
    episode_return: Tensor  # reward while alive, (W,)
    followed: Tensor  # sum of the error MPJPE while alive [m], (W,)
    counted: Tensor  # control steps of the whole trial before any NaN, (W,)
    sums: dict[str, Tensor]  # sums of errors, reward and its terms over `counted` steps, float64 (W,)
    outcome: dict[str, Tensor] = field(default_factory=dict)  # the goal's further results at the end of the trial, (W,)

    @classmethod
    def empty(cls, num_envs: int, device: torch.device) -> "Tally":
        """Return a tally with all sums at zero."""

        def zeros(dtype: torch.dtype) -> Tensor:
            return torch.zeros(num_envs, dtype=dtype, device=device)

        return cls(
            alive=~zeros(torch.bool),
            early=zeros(torch.bool),
            broken=zeros(torch.bool),
            success=zeros(torch.bool),
            length=zeros(torch.long),
            episode_return=zeros(torch.float64),
            followed=zeros(torch.float64),
            counted=zeros(torch.long),
            sums={},
        )

    def add(self, transition: Any, inside: Tensor, success: Tensor, outcome: Mapping[str, Tensor]) -> None:
        """Add one transition.

        Args:
            transition: Of all environments.
            inside: Environments whose trial is not over, bool (W,).
            success: Whether the goal is met, bool (W,).
            outcome: Further results of the goal, each (W,).
        """
        for name, value in outcome.items():
            self.outcome[name] = torch.where(inside, value, self.outcome.get(name, value))
        self.broken |= transition.broken & inside
        running = self.alive & inside
        self.length += running
        self.episode_return += torch.where(running, transition.reward, 0.0)
        if MPJPE in transition.terms:
            self.followed += torch.where(running & ~transition.broken, transition.terms[MPJPE], 0.0)
        over = running & (transition.terminated | transition.broken)
        self.success = torch.where(running, success & ~over, self.success)
        self.early |= over
        self.alive &= ~over
        counted = inside & ~self.broken  # values after a NaN are meaningless
        self.counted += counted
        for name, value in (transition.terms | {"reward/total": transition.reward}).items():
            if name not in self.sums:
                self.sums[name] = torch.zeros_like(self.episode_return)
            self.sums[name] += torch.where(counted, value, 0.0)

    def row(self, trials: Trials, world: int, trial: int) -> dict[str, Any]:
        """Return the evaluation row of a trial, with the same keys as the summary.

        Args:
            trials: Trials of the goal.
            world: Environment that played the trial.
            trial: Index of the trial.
        """
        frames, early = int(trials.lengths[trial]), bool(self.early[world])
        row: dict[str, Any] = {"name": trials.names[trial]}
        row |= {"num_frames": frames} if trials.unit == CLIP else {"num_steps": frames - 1}
        row |= {
            "nan_worlds": int(self.broken[world]),
            "success_rate": float(self.success[world]),
            "early_termination_rate": float(early),
            "early_termination_count": int(early),
        }
        if trials.unit == CLIP:
            # The first frame is the start state, so it does not count.
            row["frame_coverage"] = int(self.length[world]) / (frames - 1)
        row |= {
            "mean_episode_length": float(self.length[world]),
            "mean_episode_return": float(self.episode_return[world]),
        }
        if MPJPE in self.sums:
            row["mpjpe"] = float(self.followed[world]) / max(1, int(self.length[world]))
        counted = int(self.counted[world])
        expected = MOTION_ERRORS if trials.unit == CLIP else ()
        sums = dict.fromkeys(f"err/{name}" for name in expected) | self.sums
        for name, total in sums.items():
            row[file_key(name)] = float(total[world]) / counted if counted and total is not None else None
        if self.outcome:
            row["outcome"] = {name: float(values[world]) for name, values in self.outcome.items()}
        return row


def file_key(term: str) -> str:
    """Return the key of an environment's term in the evaluation file."""
    return {"penalty": "penalty_total"}.get(term, term.replace("/", "_"))
