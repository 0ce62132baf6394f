"""Penalty kicks: walk to a ball, kick it past a keeper into a goal, and stay on the feet."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from muscle_torch.embodiments import Embodiment
from muscle_torch.embodiments.pitch import BALL, BAR_HEIGHT, GOAL_LINE, HALF_WIDTH, penalty_scene
from muscle_torch.embodiments.props import Prop
from muscle_torch.errors import InputError, nearest
from muscle_torch.motion import MotionLibrary
from muscle_torch.physics import Physics
from muscle_torch.rotations import quat_mul, yaw

from ..model_indices import ModelIndices
from ..terms import ObservationTerm, RewardTerm
from . import root_terms
from .goal import Headline, Start, Trials
from .keepers import KEEPERS, Situation, keeper_velocity
from .options import KickOptions, Stage
from .root_state import RootState
from .root_target import TRIAL_SEED, RootTargetGoal

NOISE = 0.01  # [rad] of each joint at the start of a kick, either way
STEP = 1.0  # [m] behind the ball at which a kick starts
SIDES = (0.3, -0.1)  # [m] to the left of the line from ball to goal
RUN_UP, ASIDE = 4.0, 4.0  # [m] behind the ball and to either side from which stage reach starts
FACING = torch.pi / 6  # [rad] from facing the ball, either way
FREQUENCIES = {"block": 0.1, "random": 0.45, "stationary": 0.45}  # of keepers, as in MyoSuite's soccer task
SMALLEST_MOVE = 0.01  # [m] in a control step; a slower ball earns nothing


@dataclass(eq=False, kw_only=True)
class KickState(RootState):
    """State of a body with a ball; the root's target is the ball's first place.

    Attributes:
        previous_ball: Position of the ball before this control step [m], (W, 3).
    """

    previous_ball: Tensor

    @cached_property
    def ball(self) -> Tensor:
        """Position of the ball's centre [m], (W, 3)."""
        return self.read("props_xpos")[:, 0]

    @cached_property
    def keeper(self) -> Tensor:
        """Position of the keeper along the goal line [m], (W,)."""
        return self.read("props_xpos")[:, 1, 1]


def ball(state: KickState) -> Tensor:
    """Return the ball relative to the root in the world's axes [m], and its velocity [m/s], (W, 6)."""
    velocity = (state.ball - state.previous_ball) / state.body.control_step
    return torch.cat((state.ball - state.qpos[:, :3], velocity), dim=1)


def keeper(state: KickState) -> Tensor:
    """Return the position of the keeper along the goal line [m], (W, 1)."""
    return state.keeper.unsqueeze(1)


def ball_velocity(state: KickState) -> Tensor:
    """Return the ball's velocity towards the goal line if it moves more along than across, else 0 [m/s], (W,)."""
    ahead, aside, _ = (state.ball - state.previous_ball).unbind(1)
    counts = (ahead >= SMALLEST_MOVE) & (ahead >= aside.abs())
    return torch.where(counts, ahead, 0.0) / state.body.control_step


def faces_goal(state: KickState) -> Tensor:
    """Return exp(-2 |angle to the goal's direction|) within the radius around the ball, else 0, (W,)."""
    heading = yaw(state.qpos[:, 3:7]) + state.forward
    angle = torch.atan2(heading.sin(), heading.cos()).abs()
    return torch.exp(-2.0 * angle) * (state.distance < state.radius)


OBSERVATIONS: dict[str, ObservationTerm] = {"ball": ball, "keeper": keeper}
REWARDS: dict[str, RewardTerm] = {"ball_velocity": ball_velocity, "faces_goal": faces_goal}


def is_goal(position: Tensor) -> Tensor:
    """Return which balls are behind the goal line, between the posts and under the bar, bool (W,).

    Args:
        position: Centres of the balls [m], (W, 3).
    """
    x, y, z = position.unbind(1)
    return (x > GOAL_LINE) & (y.abs() < HALF_WIDTH) & (z >= 0.0) & (z < BAR_HEIGHT)


def is_published_goal(position: Tensor) -> Tensor:
    """Return which balls the published flag counts: behind the line and between the posts, at any height, bool (W,).

    Args:
        position: Centres of the balls [m], (W, 3).
    """
    return (position[:, 0] > GOAL_LINE) & (position[:, 1].abs() < HALF_WIDTH)


class KickGoal(RootTargetGoal):
    """Kick a ball into a goal and still stand when the trial ends; with `goal.stage=reach`, walk to the ball.

    The ball lies at the origin and the goal line is at x = 10 m. A start is (clip (W,), frame (W,), position (W, 2) of
    the root [m], heading (W,) relative to the direction of the goal [rad], keeper (W,), its position [m] and largest
    speed [m/s] (W, 2), joint noise (W, joints) [rad]). Failures are counted by keeper.

    Attributes:
        keepers: Frequency of each keeper that is drawn.
        kind: Keeper of each environment, a row of `KEEPERS`, (W,).
        fastest: Largest speed of the keepers [m/s], (W,).
        drift: Random walk of the keepers, (W,).
        ball: Position of the ball after the last control step [m], (W, 3).
        scored: Whether the ball crossed the goal line between posts and bar, bool (W,).
        crossed: Whether it crossed the plane of the goal line anywhere, bool (W,).
        root_height: Height of the root after the last control step [m], (W,).
    """

    state_type = KickState
    observations = dict(RootTargetGoal.observations) | OBSERVATIONS
    rewards = root_terms.REWARDS | REWARDS
    need_root = RootTargetGoal.need_root | OBSERVATIONS.keys() | REWARDS.keys()
    headline = Headline("err/ball", "distance of the ball from the goal line", "m", 1.0)
    buffers = (
        *RootTargetGoal.buffers,
        *("kind", "fastest", "drift", "ball", "scored", "crossed", "root_height"),
    )

    options: KickOptions

    def __init__(
        self,
        options: KickOptions,
        embodiment: Embodiment,
        body: ModelIndices,
        library: MotionLibrary,
        num_envs: int,
        generator: torch.Generator,
    ):
        """Prepare W environments; see `RootTargetGoal`.

        Raises:
            InputError: An option is out of range, or a keeper does not exist.
        """
        model = embodiment.model
        joint = model.joint("keeper")
        self._keeper_qpos, self._keeper_dof = int(joint.qposadr[0]), int(joint.dofadr[0])
        self._rest = torch.from_numpy(model.qpos0).float().to(library.device)
        self._noisy = torch.from_numpy(embodiment.joint_qpos_ids).to(library.device)
        self._qvel_size = model.nv
        self.keepers = _checked_keepers(options)
        super().__init__(options, embodiment, body, library, num_envs, generator)
        props = (int(model.body("ball").id), int(model.body("keeper").id))
        self.selections = {**self.selections, "props_xpos": ("xpos", props)}
        frequency = [self.keepers.get(name, 0.0) for name in KEEPERS]
        self.set_group_weights(torch.tensor(frequency))
        zeros = torch.zeros(num_envs, device=self.device)
        self.kind = torch.zeros(num_envs, dtype=torch.long, device=self.device)
        self.fastest, self.drift, self.root_height = zeros, zeros.clone(), zeros.clone()
        self.ball = self._ball_start().expand(num_envs, 3).clone()
        self.scored = torch.zeros(num_envs, dtype=torch.bool, device=self.device)
        self.crossed = self.scored.clone()

    @classmethod
    def props(cls, options: KickOptions, embodiment: Embodiment) -> Sequence[Prop]:
        if not embodiment.touch_sensors:
            raise InputError(
                f"goal=kick needs a body with touch sensors at its feet, which {embodiment.name} lacks: use "
                "embodiment=legs_back or fullbody"
            )
        return penalty_scene()

    def _positive(self) -> Sequence[str]:
        return (*super()._positive(), "keeper_gain", "standing")

    @property
    def groups(self) -> Sequence[str]:
        return tuple(KEEPERS)

    @property
    def group(self) -> Tensor:
        """Keeper of each environment, (W,)."""
        return self.kind

    @property
    def trials(self) -> Trials:
        count, generator = self.options.trials, torch.Generator().manual_seed(TRIAL_SEED)
        shown = [row for row, name in enumerate(KEEPERS) if self.keepers.get(name, 0.0) > 0]
        kind = torch.tensor([shown[i % len(shown)] for i in range(count)])
        chance = torch.rand(count, 2, generator=generator)
        clip = (chance[:, 0] * self.library.num_clips).long()
        frame = (chance[:, 1] * (self.library.length.cpu()[clip] - 1)).long()
        if self.options.start == "beginning":
            frame = torch.zeros_like(frame)
        start = (clip, frame, *self._places(count, generator), kind, *self._chances(count, generator))
        lengths = torch.full((count,), self.options.duration + 1, device=self.device)
        names = [f"{self.groups[int(row)]}_{i}" for i, row in enumerate(kind)]
        return Trials(names, lengths, tuple(values.to(self.device) for values in start), "trial")

    def draw(self, count: int) -> Start:
        clip, frame = self._sampler.sample(count)
        chance = torch.rand(count, generator=self.generator, device=self.device)
        kind = torch.searchsorted(self._cumulative, chance, right=True).clamp_(max=len(self.groups) - 1)
        return clip, frame, *self._places(count, self.generator), kind, *self._chances(count, self.generator)

    def beginning(self, start: Start) -> Start:
        return start[0], torch.zeros_like(start[1]), *start[2:]

    def _places(self, count: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Return positions of the root (N, 2) [m] and headings (N,) relative to the direction of the goal [rad]."""
        chance = torch.rand(count, 3, generator=generator, device=generator.device)
        if self.options.stage == Stage.kick:
            left = torch.where(chance[:, 1] < 0.5, *SIDES)
            return torch.stack((-STEP - 0.5 * chance[:, 0], left), dim=1), torch.zeros_like(left)
        position = torch.stack((-RUN_UP * chance[:, 0], ASIDE * (2 * chance[:, 1] - 1)), dim=1)
        to_ball = torch.atan2(-position[:, 1], -position[:, 0])
        return position, to_ball + FACING * (2 * chance[:, 2] - 1)

    def _chances(self, count: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Return position [m] and largest speed [m/s] of keepers (N, 2), and joint noise (N, joints) [rad]."""
        low, high = self.options.keeper_speed
        chance = torch.rand(count, 2, generator=generator, device=generator.device)
        keeper = torch.stack((HALF_WIDTH * (2 * chance[:, 0] - 1), low + (high - low) * chance[:, 1]), dim=1)
        noise = torch.rand(count, len(self._noisy), generator=generator, device=generator.device)
        scale = NOISE if self.options.stage == Stage.kick else 0.0
        return keeper, scale * (2 * noise - 1)

    def place(self, environments: Tensor, start: Start) -> tuple[Tensor, Tensor]:
        clip, frame, position, heading, kind, keeper, noise = start
        row = self.library.start[clip] + torch.minimum(frame, self.library.length[clip] - 1)
        qpos = self._rest.expand(len(row), -1).clone()
        qpos[:, : self.library.qpos.shape[1]] = self.library.qpos.index_select(0, row)
        qpos[:, self._noisy] += noise
        qpos[:, :2] = position
        turn = heading - self.forward - yaw(qpos[:, 3:7])
        zeros = torch.zeros_like(turn)
        qpos[:, 3:7] = quat_mul(torch.stack(((turn / 2).cos(), zeros, zeros, (turn / 2).sin()), 1), qpos[:, 3:7])
        qpos[:, self._keeper_qpos] = keeper[:, 0]
        self._begin(environments, -position, torch.zeros_like(position))
        self._begin_kick(environments, kind, keeper[:, 1], qpos[:, 2])
        return qpos, qpos.new_zeros(len(qpos), self._qvel_size)

    def _begin_kick(self, environments: Tensor, kind: Tensor, fastest: Tensor, height: Tensor) -> None:
        self.kind = torch.where(environments, kind, self.kind)
        self.fastest = torch.where(environments, fastest, self.fastest)
        self.root_height = torch.where(environments, height, self.root_height)
        self.drift = torch.where(environments, 0.0, self.drift)
        self.ball = torch.where(environments.unsqueeze(1), self._ball_start(), self.ball)
        self.scored, self.crossed = self.scored & ~environments, self.crossed & ~environments

    def _ball_start(self) -> Tensor:
        return torch.tensor(BALL.position, device=self.device)

    def move_props(self, physics: Physics) -> None:
        position, velocity = physics.field("qpos")[:, self._keeper_qpos], physics.field("qvel")
        situation = Situation(position, self.ball[:, 1], self.drift, self.options.keeper_gain)
        change = torch.zeros_like(velocity)
        desired = keeper_velocity(self.kind, situation, self.fastest, self.body.control_step)
        change[:, self._keeper_dof] = desired - velocity[:, self._keeper_dof]
        physics.kick(change)

    def step(self) -> None:
        super().step()
        noise = torch.randn(self.num_envs, generator=self.generator, device=self.device)
        self.drift = self.drift + noise * self.body.control_step**0.5

    def fields(self, environments: Tensor | None) -> dict[str, Any]:
        previous = self.ball if environments is None else self.ball.index_select(0, environments)
        return super().fields(environments) | {"previous_ball": previous}

    def update(self, state: KickState) -> None:
        super().update(state)
        before, now = self.ball, state.ball.clone()
        crossing = (before[:, 0] <= GOAL_LINE) & (now[:, 0] > GOAL_LINE) & ~self.crossed
        # Interpolate to the goal line: at the end of the control step a fast ball is far beyond it.
        share = (GOAL_LINE - before[:, 0]) / (now[:, 0] - before[:, 0]).clamp(min=1e-6)
        at_line = before + share.clamp(0.0, 1.0).unsqueeze(1) * (now - before)
        crossing_point = torch.cat((now[:, :1], at_line[:, 1:]), dim=1)
        self.scored = self.scored | (crossing & is_goal(crossing_point))
        self.crossed = self.crossed | crossing
        self.ball, self.root_height = now, state.qpos[:, 2].clone()

    def errors(self, state: KickState) -> dict[str, Tensor]:
        return {"err/target": state.distance, "err/ball": (GOAL_LINE - state.ball[:, 0]).clamp(min=0.0)}

    def success(self) -> Tensor:
        standing = self.root_height > self.options.standing
        done = self.scored if self.options.stage == Stage.kick else self.distance < self.options.radius
        return done & standing

    def outcome(self) -> dict[str, Tensor]:
        standing = (self.root_height > self.options.standing).float()
        flags = {"scored": self.scored.float(), "published_flag": is_published_goal(self.ball).float()}
        return {**flags, "standing": standing, "final_distance": self.distance}


def _checked_keepers(options: KickOptions) -> dict[str, float]:
    """Return the frequency of each keeper."""
    keepers = dict(options.keepers) or FREQUENCIES
    for name, frequency in keepers.items():
        if name not in KEEPERS:
            raise InputError(f"goal.keepers: unknown keeper {name!r}{nearest(name, tuple(KEEPERS))}")
        if frequency < 0:
            raise InputError(f"goal.keepers.{name}={frequency}: must not be negative")
    if not sum(keepers.values()) > 0:
        raise InputError(f"goal.keepers={keepers}: at least one frequency must be above 0")
    speed = options.keeper_speed
    if len(speed) != 2 or not 0 <= speed[0] <= speed[1]:
        raise InputError(f"goal.keeper_speed={speed}: choose a smallest and a largest speed, such as [1,5]")
    return keepers
