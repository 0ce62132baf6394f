"""Walking in a direction: eight headings at a speed, or standing still, as a target that moves with the body."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from muscle_torch.embodiments import Embodiment
from muscle_torch.motion import MotionLibrary

from ..model_indices import ModelIndices
from ..terms import RewardTerm, Tracking
from . import root_terms
from .goal import Headline, Start
from .options import DirectionOptions
from .root_state import RootState
from .root_target import RootTargetGoal, rotated

HEADINGS = 8
STOP = HEADINGS  # group of standing still
AHEAD = 1.0  # [s]; the target is where the commanded velocity leads in this time


@dataclass(eq=False, kw_only=True)
class DirectionState(RootState):
    """State of a body with a commanded velocity, whose target moves along."""

    @cached_property
    def offset(self) -> Tensor:
        """Commanded velocity times 1 s, world axes [m], (W, 2)."""
        return self.target * AHEAD


def velocity_errors(state: DirectionState) -> Tensor:
    """Return twice the squared errors of the root's horizontal velocity [m^2/s^2], (W, 2)."""
    return 2 * (state.qvel[:, :2] - state.target).square()


def speed_along(state: DirectionState) -> Tensor:
    """Return the speed in the commanded direction, at most that commanded; to stand: minus the speed [m/s], (W,)."""
    commanded = torch.linalg.vector_norm(state.target, dim=1)
    along = (state.qvel[:, :2] * state.target).sum(dim=1) / commanded.clamp(min=1e-6)
    speed = torch.linalg.vector_norm(state.qvel[:, :2], dim=1)
    return torch.where(commanded > 0, torch.minimum(along, commanded), -speed)


REWARDS: dict[str, RewardTerm] = {
    "velocity": Tracking(velocity_errors, 2.0),
    "speed_along": speed_along,
    **{name: root_terms.REWARDS[name] for name in ("upright", "energy", "energy_published")},
}


class DirectionGoal(RootTargetGoal):
    """Walk at a commanded horizontal velocity; `set_direction` changes it at any time.

    A start is (clip (W,), frame (W,), velocity (W, 2)), in the axes of the start: ahead and to the left [m/s]. `target`
    is the commanded velocity in the world. A trial succeeds if the mean velocity is within the tolerance of the mean
    command. Failures are counted by heading.

    Attributes:
        due: Displacement that the commands so far call for [m], (W, 2).
        steering: Command in the world that replaces those of the episodes, [m/s] (2,); NaN: none.
    """

    state_type = DirectionState
    rewards = REWARDS
    need_root = RootTargetGoal.need_root | REWARDS.keys()
    headline = Headline("err/velocity", "velocity error", "m/s", 1.0)
    buffers = (*RootTargetGoal.buffers, "due", "steering")

    options: DirectionOptions

    def __init__(
        self,
        options: DirectionOptions,
        embodiment: Embodiment,
        body: ModelIndices,
        library: MotionLibrary,
        num_envs: int,
        generator: torch.Generator,
    ):
        """Prepare W environments; see `RootTargetGoal`."""
        super().__init__(options, embodiment, body, library, num_envs, generator)
        self.due = torch.zeros(num_envs, 2, device=self.device)
        self.steering = torch.full((2,), float("nan"), device=self.device)

    def set_direction(self, heading: float | Tensor, speed: float | Tensor) -> None:
        """Set the command of all environments until it is set again, also for later episodes.

        Args:
            heading: Direction in the world, 0 along x and pi / 2 along y [rad].
            speed: Speed [m/s]; 0: stand still.
        """
        angle = torch.as_tensor(heading, dtype=torch.float32, device=self.device)
        self.steering = torch.stack((angle.cos(), angle.sin())) * speed
        self.target = self.steering.expand(self.num_envs, 2).clone()

    def release(self) -> None:
        """Let new episodes draw their commands again."""
        self.steering = torch.full_like(self.steering, float("nan"))

    def _positive(self) -> Sequence[str]:
        return (*super()._positive(), "slowest", "tolerance")

    @property
    def groups(self) -> Sequence[str]:
        names = [f"heading_{45 * i}" for i in range(HEADINGS)]
        return (*names, "stop")

    def _groups_of(self, point: Tensor) -> Tensor:
        heading = (torch.atan2(point[:, 1], point[:, 0]) / (torch.pi / 4)).round().long() % HEADINGS
        return torch.where(point.abs().amax(dim=1) > 0, heading, STOP)

    def _points(self, group: Tensor, generator: torch.Generator) -> Tensor:
        """Return commands (N, 2) [m/s] in headings (N,)."""
        chance = torch.rand(len(group), generator=generator, device=group.device)
        low, high = self.options.slowest, self.options.extent
        speed = torch.where(group == STOP, 0.0, low + (high - low) * chance)
        return rotated(torch.stack((speed, torch.zeros_like(speed)), dim=1), group * (torch.pi / 4))

    def place(self, environments: Tensor, start: Start) -> tuple[Tensor, Tensor]:
        pose = super().place(environments, start)
        steered = torch.isfinite(self.steering).all()
        self.target = torch.where(steered, self.steering.nan_to_num().expand_as(self.target), self.target)
        self.due = torch.where(environments.unsqueeze(1), 0.0, self.due)
        return pose

    def step(self) -> None:
        super().step()
        self.due = self.due + self.target * self.body.control_step

    def errors(self, state: Any) -> dict[str, Tensor]:
        return {"err/velocity": torch.linalg.vector_norm(state.qvel[:, :2] - state.target, dim=1)}

    def success(self) -> Tensor:
        time = (self.elapsed * self.body.control_step).clamp(min=self.body.control_step)
        return torch.linalg.vector_norm(self.position - self.due, dim=1) / time < self.options.tolerance

    def outcome(self) -> dict[str, Tensor]:
        time = (self.elapsed * self.body.control_step).clamp(min=self.body.control_step)
        return {"mean_speed": torch.linalg.vector_norm(self.position, dim=1) / time}

    def markers(self) -> Tensor:
        ahead = self.position + self.target * AHEAD
        return torch.cat((ahead, ahead.new_zeros(self.num_envs, 1)), dim=1).unsqueeze(1)
