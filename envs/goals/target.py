"""Reaching: move a tracked site to a random target, for bodies that are fixed to the world."""

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from functools import cached_property
from typing import Any

import mujoco
import numpy as np
import torch
from torch import Tensor

from muscle_torch.config import Config
from muscle_torch.embodiments import Embodiment
from muscle_torch.errors import InputError

from ..model_indices import ModelIndices
from ..state import State
from ..terms import ObservationTerm, RewardTerm, Tracking
from .goal import Goal, Headline, Start, Trials
from .options import TargetOptions

POSES = 2048  # random poses; the initial poses and the targets (site positions) are drawn from them
OCTANTS = tuple(f"{x}x{y}y{z}z" for x in "-+" for y in "-+" for z in "-+")


@dataclass(frozen=True)
class ReachablePoses:
    """Random poses of a body and the position of a site in each."""

    qpos: Tensor  # (N, nq)
    position: Tensor  # (N, 3) [m]

    @property
    def nbytes(self) -> int:
        """Size of both tensors in bytes."""
        return self.qpos.nbytes + self.position.nbytes

    def to(self, device: torch.device | str) -> "ReachablePoses":
        """Return the same poses on another device."""
        return replace(self, **{f.name: getattr(self, f.name).to(device) for f in fields(self)})

    @classmethod
    def of(cls, embodiment: Embodiment, site: int, count: int = POSES) -> "ReachablePoses":
        """Draw poses uniformly within the joint limits, with couplings satisfied and a fixed seed.

        Args:
            embodiment: A body without a free joint.
            site: Model id of the site.
            count: Number of poses.
        """
        model = embodiment.model
        rng = np.random.default_rng(0)
        joints = embodiment.scalar_joint_ids
        low, high = model.jnt_range[joints].T
        poses = np.tile(model.qpos0, (count, 1))
        poses[:, embodiment.joint_qpos_ids] = rng.uniform(low, high, (count, len(joints)))
        poses = embodiment.project(poses)
        data, positions = mujoco.MjData(model), np.empty((count, 3))
        for i, pose in enumerate(poses):
            data.qpos[:] = pose
            mujoco.mj_kinematics(model, data)
            positions[i] = data.site_xpos[site]
        return cls(torch.from_numpy(poses[:, : embodiment.num_qpos]).float(), torch.from_numpy(positions).float())


@dataclass(eq=False, kw_only=True)
class TargetState(State):
    """State of a body with a target for one of its sites."""

    site: int  # index among the tracked sites
    target: Tensor  # (W, 3) [m]
    radius: float  # [m]

    @cached_property
    def offset(self) -> Tensor:
        """Vector from the site to the target, world axes [m], (W, 3)."""
        return self.target - self.site_pos[:, self.site]

    @cached_property
    def distance(self) -> Tensor:
        """Distance from the site to the target [m], (W,)."""
        return torch.linalg.vector_norm(self.offset, dim=1)


def target_offset(state: TargetState) -> Tensor:
    """Return the vector from the site to the target, world axes [m], (W, 3)."""
    return state.offset


def target_position(state: TargetState) -> Tensor:
    """Return the position of the target in the world [m], (W, 3)."""
    return state.target


def target_errors(state: TargetState) -> Tensor:
    """Return three times the squared offsets to the target [m^2], (W, 3); their mean is the squared distance."""
    return 3 * state.offset.square()


def target_distance(state: TargetState) -> Tensor:
    """Return the negative distance to the target [m], (W,)."""
    return -state.distance


def target_reached(state: TargetState) -> Tensor:
    """Return 1 within the radius around the target, else 0, (W,)."""
    return (state.distance < state.radius).float()


OBSERVATIONS: dict[str, ObservationTerm] = {"target_offset": target_offset, "target_position": target_position}
REWARDS: dict[str, RewardTerm] = {
    "target": Tracking(target_errors, 100.0),
    "target_distance": target_distance,
    "target_reached": target_reached,
}


class TargetGoal(Goal):
    """Move a site to a reachable point and stay there until the trial ends.

    A start is (pose (W,), target (W,)), row indices into `ReachablePoses`; the body starts at rest. A trial succeeds if
    the site is within the radius at its end. Failures are counted by the octant of the target around the mean target.

    Attributes:
        options: Options of the goal.
        assets: The poses.
        target_row: Row of each target, (W,).
        elapsed: Control steps since the trial started, (W,).
        inside: Whether the site is within the radius, bool (W,).
    """

    state_type = TargetState
    observations = OBSERVATIONS
    rewards = REWARDS
    headline = Headline("err/target", "distance", "mm", 1e3)
    buffers = ("target_row", "elapsed", "inside")

    def __init__(
        self,
        options: TargetOptions,
        embodiment: Embodiment,
        body: ModelIndices,
        poses: ReachablePoses,
        num_envs: int,
        generator: torch.Generator,
    ):
        """Prepare W environments.

        Args:
            options: Options of the goal.
            embodiment: A body that is fixed to the world.
            body: Its indices.
            poses: From `load_assets`.
            num_envs: Number of environments W.
            generator: Generator of starts and targets.

        Raises:
            InputError: An option is out of range, or the site is not tracked.
        """
        super().__init__(body, num_envs, generator, poses.qpos.device)
        for name in ("radius", "duration", "trials"):
            if getattr(options, name) <= 0:
                raise InputError(f"goal.{name}={getattr(options, name)}: must be above 0")
        self.options, self.assets = options, poses
        self._site, self._num_qvel = _site_index(options, embodiment), embodiment.num_qvel
        self._octant = _octants(poses.position)
        self._cumulative = torch.empty(0)
        self.set_group_weights(torch.bincount(self._octant, minlength=len(OCTANTS)))
        self.target_row = torch.zeros(num_envs, dtype=torch.long, device=self.device)
        self.elapsed = torch.zeros_like(self.target_row)
        self.inside = torch.zeros(num_envs, dtype=torch.bool, device=self.device)

    @classmethod
    def load_assets(cls, config: Config, embodiment: Embodiment, device: torch.device) -> ReachablePoses:
        """Draw the poses.

        Args:
            config: Configuration; without a motion.
            embodiment: The body.
            device: Device of the tensors.

        Raises:
            InputError: The body has a free root, or the config has a motion.
        """
        if embodiment.root_joint is not None:
            raise InputError(
                f"goal=target is for bodies that are fixed to the world; {embodiment.name} is free: use goal=motion"
            )
        if config.motion:
            raise InputError(f"motion={config.motion}: goal=target follows no motion; leave it out")
        site = int(embodiment.site_ids[_site_index(config.goal.options, embodiment)])
        return ReachablePoses.of(embodiment, site).to(device)

    @property
    def group(self) -> Tensor:
        """Octant of each environment's target, (W,)."""
        return self._octant[self.target_row]

    @property
    def groups(self) -> Sequence[str]:
        return OCTANTS

    @property
    def trials(self) -> Trials:
        count = min(self.options.trials, len(self.assets.qpos) // 2)
        starts = torch.arange(count, device=self.device)
        targets = len(self.assets.qpos) - 1 - starts
        lengths = torch.full((count,), self.options.duration + 1, device=self.device)
        return Trials([f"target_{i}" for i in range(count)], lengths, (starts, targets), "trial")

    def draw(self, count: int) -> Start:
        chance = torch.rand((2, count), generator=self.generator, device=self.device)
        pose = (chance[0] * len(self.assets.qpos)).long()
        target = torch.searchsorted(self._cumulative, chance[1], right=True).clamp_(max=len(self.assets.qpos) - 1)
        return pose, target

    def place(self, environments: Tensor, start: Start) -> tuple[Tensor, Tensor]:
        pose, target = start
        self.target_row = torch.where(environments, target, self.target_row)
        self.elapsed = torch.where(environments, 0, self.elapsed)
        self.inside = self.inside & ~environments
        qpos = self.assets.qpos.index_select(0, pose)
        return qpos, qpos.new_zeros(len(qpos), self._num_qvel)

    def step(self) -> None:
        self.elapsed = self.elapsed + 1

    def finished(self) -> Tensor:
        return self.elapsed >= self.options.duration

    def fields(self, environments: Tensor | None) -> dict[str, Any]:
        rows = self.target_row if environments is None else self.target_row[environments]
        return {"site": self._site, "target": self.assets.position[rows], "radius": self.options.radius}

    def update(self, state: TargetState) -> None:
        self.inside = state.distance < self.options.radius

    def errors(self, state: TargetState) -> dict[str, Tensor]:
        return {"err/target": state.distance}

    def success(self) -> Tensor:
        return self.inside

    def markers(self) -> Tensor:
        return self.assets.position[self.target_row].unsqueeze(1)

    def set_group_weights(self, weights: Tensor) -> None:
        weights = weights.to(self.device, torch.float64)
        members = torch.bincount(self._octant, minlength=len(OCTANTS)).clamp(min=1)
        total = (weights / members)[self._octant].cumsum(0)
        self._cumulative = (total / total[-1]).float()
        self._weights = weights

    def state(self) -> dict[str, Any]:
        return super().state() | {"weights": self._weights.clone()}

    def load_state(self, state: Any) -> None:
        super().load_state(state)
        self.set_group_weights(state["weights"])


def _site_index(options: TargetOptions, embodiment: Embodiment) -> int:
    """Return the index of the configured site among the tracked sites."""
    if not options.site:
        return len(embodiment.site_names) - 1
    if options.site not in embodiment.site_names:
        known = ", ".join(embodiment.site_names)
        raise InputError(f"goal.site: {embodiment.name} does not track {options.site!r}; choose from {known}")
    return embodiment.site_names.index(options.site)


def _octants(position: Tensor) -> Tensor:
    """Return the octant of each position (N, 3) around their mean, (N,)."""
    above = (position > position.mean(dim=0)).long()
    return above @ torch.tensor([4, 2, 1], device=position.device)
