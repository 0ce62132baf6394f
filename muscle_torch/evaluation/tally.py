"""Running sums of a batch of trials, and the row of the evaluation file that each becomes."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from .trials import CLIP, Trials

# Every row of a motion has these, without a value if the body has no root.
MOTION_ERRORS = ("joint_pos", "joint_vel", "root_xyz", "root_yaw", "rpos", "site_abs")


@dataclass
class Tally:
    """Running sums of one batch, one row an environment, on its device; read once, at the end."""

    alive: Tensor  # thresholds not exceeded yet, bool (W,)
    early: Tensor  # exceeded within the trial, bool (W,)
    broken: Tensor  # held NaN within the trial, bool (W,)
    success: Tensor  # the goal was met at the last step that counts, bool (W,)
    length: Tensor  # control steps until then, (W,)
    episode_return: Tensor  # reward until then, (W,)
    counted: Tensor  # control steps of the whole trial before any NaN, (W,)
    sums: dict[str, Tensor]  # of errors, reward and its terms over those, float64 (W,)

    @classmethod
    def of(cls, num_envs: int, device: torch.device) -> "Tally":
        """Return a tally of nothing yet."""

        def zeros(dtype: torch.dtype) -> Tensor:
            return torch.zeros(num_envs, dtype=dtype, device=device)

        return cls(
            alive=~zeros(torch.bool),
            early=zeros(torch.bool),
            broken=zeros(torch.bool),
            success=zeros(torch.bool),
            length=zeros(torch.long),
            episode_return=zeros(torch.float64),
            counted=zeros(torch.long),
            sums={},
        )

    def add(self, transition: Any, inside: Tensor, success: Tensor) -> None:
        """Count one transition of the environments whose trial is not over, `inside` (W,)."""
        self.broken |= transition.broken & inside
        running = self.alive & inside
        self.length += running
        self.episode_return += torch.where(running, transition.reward, 0.0)
        over = running & (transition.terminated | transition.broken)
        self.success = torch.where(running, success & ~over, self.success)
        self.early |= over
        self.alive &= ~over
        known = inside & ~self.broken  # what follows NaN means nothing
        self.counted += known
        for name, value in (transition.terms | {"reward/total": transition.reward}).items():
            if name not in self.sums:
                self.sums[name] = torch.zeros_like(self.episode_return)
            self.sums[name] += torch.where(known, value, 0.0)

    def row(self, trials: Trials, world: int, trial: int) -> dict[str, Any]:
        """Return one trial, under the same names as the summary of all."""
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
            # Of the frames that can be reached: the first one is given.
            row["frame_coverage"] = int(self.length[world]) / (frames - 1)
        row |= {
            "mean_episode_length": float(self.length[world]),
            "mean_episode_return": float(self.episode_return[world]),
        }
        counted = int(self.counted[world])
        expected = MOTION_ERRORS if trials.unit == CLIP else ()
        sums = dict.fromkeys(f"err/{name}" for name in expected) | self.sums
        for name, total in sums.items():
            row[file_key(name)] = float(total[world]) / counted if counted and total is not None else None
        return row


def file_key(term: str) -> str:
    """Return the name in the evaluation file of a term of the environment."""
    return {"penalty": "penalty_total"}.get(term, term.replace("/", "_"))
