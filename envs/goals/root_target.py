"""Walking to a point: a free body brings its root to a random target on the floor and stays there."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from muscle_torch.config import Config
from muscle_torch.embodiments import Embodiment
from muscle_torch.errors import InputError
from muscle_torch.motion import MotionLibrary, Sampler, load_motion
from muscle_torch.rotations import yaw

from ..model_indices import ModelIndices
from . import kinesis_terms, motion_observations, root_terms
from .goal import Goal, Headline, Start, Trials
from .kinesis import observed_bodies
from .options import RootTargetOptions
from .root_state import RootState

FEET = tuple(f"{side}_{joint}_mimic" for side in ("left", "right") for joint in ("ankle", "toes"))
TRIAL_SEED = 0  # trials do not depend on the seed of a run


class RootTargetGoal(Goal):
    """Bring the root to a point, drawn uniformly from a square around the start, and be there when the trial ends.

    A start is (clip (W,), frame (W,), point (W, 2)): the body starts with pose and velocity of that frame, above the
    origin; points are ahead of it and to its left [m]. Failures are counted by the quadrant of the point.

    Attributes:
        options: Options of the goal.
        library: Motions with the starts.
        forward: Direction in which the body faces when the yaw of its root is 0 [rad].
        height: Mean height of the root in the motions [m].
        point: Point of each episode in the axes of its start [m], (W, 2).
        target: Target in the world [m], (W, 2).
        elapsed: Control steps since the trial started, (W,).
        distance: Distance from the target after the last control step [m], (W,).
    """

    state_type = RootState
    observations = motion_observations.OBSERVATIONS | kinesis_terms.OBSERVATIONS | root_terms.OBSERVATIONS
    rewards = root_terms.REWARDS
    need_root = frozenset({*motion_observations.NEED_ROOT, *root_terms.REWARDS, *root_terms.OBSERVATIONS})
    headline = Headline("err/target", "distance", "mm", 1e3)
    buffers = ("point", "target", "elapsed", "distance", "position")

    def __init__(
        self,
        options: RootTargetOptions,
        embodiment: Embodiment,
        body: ModelIndices,
        library: MotionLibrary,
        num_envs: int,
        generator: torch.Generator,
    ):
        """Prepare W environments.

        Args:
            options: Options of the goal.
            embodiment: A free body with tracked ankles and toes.
            body: Its indices.
            library: From `load_assets`.
            num_envs: Number of environments W.
            generator: Generator of starts and points.

        Raises:
            InputError: An option is out of range.
        """
        super().__init__(body, num_envs, generator, library.device)
        for name in self._positive():
            if getattr(options, name) <= 0:
                raise InputError(f"goal.{name}={getattr(options, name)}: must be above 0")
        self.options, self.library = options, library
        self.forward, self.height = forward_direction(embodiment), float(library.qpos[:, 2].mean())
        self._tracked, self.selections = observed_bodies(options, embodiment, self.device)
        self._sampler = Sampler(library, generator, start=options.start)
        self.set_group_weights(torch.ones(len(self.groups)))
        zeros = torch.zeros(num_envs, 2, device=self.device)
        self.point, self.target, self.position = zeros, zeros.clone(), zeros.clone()
        self.elapsed = torch.zeros(num_envs, dtype=torch.long, device=self.device)
        self.distance = torch.zeros(num_envs, device=self.device)

    @classmethod
    def load_assets(cls, config: Config, embodiment: Embodiment, device: torch.device) -> MotionLibrary:
        """Load the motions from whose frames episodes start.

        Args:
            config: Configuration; without `motion`, all built-in motions of the body are used.
            embodiment: The body.
            device: Device of the tables.

        Raises:
            InputError: The body is fixed to the world or its feet are not known, or a motion does not exist.
        """
        forward_direction(embodiment)
        clips = load_motion(config.motion or "all", embodiment)
        return MotionLibrary(clips, embodiment, device, threads=config.threads)

    def _positive(self) -> Sequence[str]:
        return "radius", "duration", "trials", "extent", "lookahead"

    @property
    def assets(self) -> MotionLibrary:
        """The motions."""
        return self.library

    @property
    def groups(self) -> Sequence[str]:
        return "ahead", "left", "behind", "right"

    @property
    def group(self) -> Tensor:
        """Quadrant of each environment's point, (W,)."""
        return self._groups_of(self.point)

    def _groups_of(self, point: Tensor) -> Tensor:
        turn = torch.atan2(point[:, 1], point[:, 0]) / (torch.pi / 2)
        return turn.round().long() % 4

    @property
    def trials(self) -> Trials:
        count = self.options.trials
        generator = torch.Generator().manual_seed(TRIAL_SEED)
        chance = torch.rand(count, 2, generator=generator)
        clip = (chance[:, 0] * self.library.num_clips).long().to(self.device)
        frame = (chance[:, 1].to(self.device) * (self.library.length[clip] - 1)).long()
        if self.options.start == "beginning":
            frame = torch.zeros_like(frame)
        points = self._points(torch.arange(count) % len(self.groups), generator).to(self.device)
        lengths = torch.full((count,), self.options.duration + 1, device=self.device)
        names = [f"{self.groups[i % len(self.groups)]}_{i}" for i in range(count)]
        return Trials(names, lengths, (clip, frame, points), "trial")

    def draw(self, count: int) -> Start:
        clip, frame = self._sampler.sample(count)
        chance = torch.rand(count, generator=self.generator, device=self.device)
        group = torch.searchsorted(self._cumulative, chance, right=True).clamp_(max=len(self.groups) - 1)
        return clip, frame, self._points(group, self.generator)

    def beginning(self, start: Start) -> Start:
        clip, frame, point = start
        return clip, torch.zeros_like(frame), point

    def _points(self, group: Tensor, generator: torch.Generator) -> Tensor:
        """Return points (N, 2) [m] that are uniform in quadrants (N,) of the square."""
        chance = torch.rand(len(group), 2, generator=generator, device=group.device)
        # Uniform in the triangle |y| < x < extent: the distance ahead has a density that grows with it.
        ahead = self.options.extent * chance[:, 0].sqrt()
        return rotated(torch.stack((ahead, ahead * (2 * chance[:, 1] - 1)), dim=1), group * (torch.pi / 2))

    def place(self, environments: Tensor, start: Start) -> tuple[Tensor, Tensor]:
        clip, frame, point = start
        row = self.library.start[clip] + torch.minimum(frame, self.library.length[clip] - 1)
        qpos, qvel = self.library.qpos.index_select(0, row), self.library.qvel.index_select(0, row)
        qpos[:, :2].zero_()
        self._begin(environments, point, rotated(point, yaw(qpos[:, 3:7]) + self.forward))
        return qpos, qvel

    def _begin(self, environments: Tensor, point: Tensor, target: Tensor) -> None:
        """Set the buffers of new episodes."""
        chosen = environments.unsqueeze(1)
        self.point = torch.where(chosen, point, self.point)
        self.target = torch.where(chosen, target, self.target)
        self.position = torch.where(chosen, 0.0, self.position)
        self.elapsed = torch.where(environments, 0, self.elapsed)
        self.distance = torch.where(environments, torch.linalg.vector_norm(point, dim=1), self.distance)

    def step(self) -> None:
        self.elapsed = self.elapsed + 1

    def finished(self) -> Tensor:
        return self.elapsed >= self.options.duration

    def fields(self, environments: Tensor | None) -> dict[str, Any]:
        def chosen(values: Tensor) -> Tensor:
            return values if environments is None else values.index_select(0, environments)

        return {
            "target": chosen(self.target),
            "previous_distance": chosen(self.distance),
            "height": self.height,
            "radius": self.options.radius,
            "forward": self.forward,
            "lookahead": self.options.lookahead,
            "tracked": self._tracked,
            "root_range": None,
            "compact_reference": self.options.compact_reference,
        }

    def update(self, state: Any) -> None:
        self.distance, self.position = state.distance.clone(), state.qpos[:, :2].clone()

    def errors(self, state: Any) -> dict[str, Tensor]:
        return {"err/target": state.distance}

    def success(self) -> Tensor:
        return self.distance < self.options.radius

    def outcome(self) -> dict[str, Tensor]:
        return {"final_distance": self.distance, "target_x": self.point[:, 0], "target_y": self.point[:, 1]}

    def markers(self) -> Tensor:
        return torch.cat((self.target, self.target.new_zeros(self.num_envs, 1)), dim=1).unsqueeze(1)

    def missing(self, term: str) -> str | None:
        return "a motion to follow" if term == "feedforward" else super().missing(term)

    def set_group_weights(self, weights: Tensor) -> None:
        total = weights.to(self.device, torch.float64).cumsum(0)
        self._cumulative = (total / total[-1]).float()
        self._weights = weights.clone()

    def state(self) -> dict[str, Any]:
        return super().state() | {"weights": self._weights.clone()}

    def load_state(self, state: Mapping[str, Any]) -> None:
        super().load_state(state)
        self.set_group_weights(state["weights"])


def rotated(vectors: Tensor, angle: Tensor) -> Tensor:
    """Rotate horizontal vectors (N, 2) about the vertical axis by angles (N,) [rad]."""
    cos, sin = angle.cos(), angle.sin()
    x, y = vectors.unbind(1)
    return torch.stack((cos * x - sin * y, sin * x + cos * y), dim=1)


def forward_direction(embodiment: Embodiment) -> float:
    """Return the direction in which a body faces when the yaw of its root is 0, a multiple of 90 degrees [rad].

    Args:
        embodiment: A free body; its feet point ahead in the default pose.

    Raises:
        InputError: The body is fixed to the world, or its ankles and toes are not tracked.
    """
    if embodiment.root_joint is None or not set(FEET) <= set(embodiment.site_names):
        raise InputError(
            f"{embodiment.name} cannot walk to a target: this goal needs a free root, and tracked ankles and toes"
        )
    import mujoco

    data = mujoco.MjData(embodiment.model)
    mujoco.mj_kinematics(embodiment.model, data)
    ankles_and_toes = data.site_xpos[embodiment.resolve("site", FEET)].reshape(2, 2, 3)
    x, y, _ = (ankles_and_toes[:, 1] - ankles_and_toes[:, 0]).sum(axis=0)
    turn = float(yaw(torch.from_numpy(data.qpos[3:7].copy())))
    return float(np.round((np.arctan2(y, x) - turn) / (np.pi / 2)) * (np.pi / 2))
