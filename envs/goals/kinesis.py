"""Imitation as in KINESIS (arXiv 2503.14637): the origins of some bodies follow those of the motion."""

import dataclasses
from typing import Any

import numpy as np
import torch
from torch import Tensor

from muscle_torch.config import Config
from muscle_torch.embodiments import Embodiment
from muscle_torch.errors import InputError, nearest
from muscle_torch.motion import MotionClip, MotionLibrary

from ..model_indices import Index, ModelIndices, as_index
from . import kinesis_terms, motion_observations, motion_rewards, motion_terminations
from .goal import Headline, Start
from .kinesis_state import KinesisState
from .motion import MotionGoal
from .motion_state import Reference
from .options import KinesisOptions, RootTargetOptions, StartVelocity
from .turned_reference import TurnedReference, turn

LEGACY_RATE = 30  # [Hz]


class KinesisGoal(MotionGoal):
    """Follow a clip with the terms of KINESIS beside those of `MotionGoal`.

    With `random_heading`, a training start is (clip (W,), frame (W,), turn (W,) [rad]); evaluation never turns motions.
    """

    state_type = KinesisState
    observations = dict(motion_observations.OBSERVATIONS) | kinesis_terms.OBSERVATIONS
    rewards = dict(motion_rewards.REWARDS) | kinesis_terms.REWARDS
    terminations = dict(motion_terminations.TERMINATIONS) | kinesis_terms.TERMINATIONS
    headline = Headline("err/mpjpe", "MPJPE", "mm", 1e3)
    buffers = (*MotionGoal.buffers, "_turn")

    options: KinesisOptions

    def __init__(
        self,
        options: KinesisOptions,
        embodiment: Embodiment,
        body: ModelIndices,
        library: MotionLibrary,
        num_envs: int,
        generator: torch.Generator,
    ):
        """Prepare W environments; see `MotionGoal`.

        Args:
            options: Options of the goal.
            embodiment: The body.
            body: Its indices.
            library: From `load_assets`.
            num_envs: Number of environments W.
            generator: Generator of starts.

        Raises:
            InputError: The body has no free root, or a body or site does not exist.
        """
        if not embodiment.has_root:
            raise InputError(
                f"goal=kinesis needs a body with a free root, which {embodiment.name} lacks: use goal=motion"
            )
        super().__init__(options, embodiment, body, library, num_envs, generator)
        self._turn = torch.zeros(num_envs, device=self.device)  # [rad] of the motion about the vertical
        self._tracked, self.selections = observed_bodies(options, embodiment, self.device)

    @classmethod
    def load_assets(cls, config: Config, embodiment: Embodiment, device: torch.device) -> MotionLibrary:
        """Load the motions, with `legacy_stride` thinned first.

        Args:
            config: Configuration; without `motion`, all built-in motions of the body are used.
            embodiment: The body.
            device: Device of the tables.

        Raises:
            InputError: A motion does not exist or belongs to another body.
        """
        options: KinesisOptions = config.goal.options
        edit = legacy_stride if options.legacy_stride else None
        return super().load_assets(config, embodiment, device, edit)

    def draw(self, count: int) -> Start:
        start = super().draw(count)
        if not self.options.random_heading:
            return start
        return *start, 2 * torch.pi * torch.rand(count, generator=self.generator, device=self.device)

    def beginning(self, start: Start) -> Start:
        clip, frame, *angle = start
        return *super().beginning((clip, frame)), *angle

    def place(self, environments: Tensor, start: Start) -> tuple[Tensor, Tensor]:
        clip, frame, *drawn = start
        qpos, qvel = super().place(environments, (clip, frame))
        angle = drawn[0] if drawn else torch.zeros_like(self._turn)
        self._turn = torch.where(environments, angle, self._turn)
        if self.options.random_heading:
            turned = self.reference(self._row, None)
            qpos[:, 3:7] = turned.qpos[:, 3:7]
            qvel[:, :3] = turn(qvel[:, :3], self._turn)
        if self.options.joint_velocity == StartVelocity.zero:
            qvel[:, 6:] = 0.0
        return qpos, qvel

    def fields(self, environments: Tensor | None) -> dict[str, Any]:
        return super().fields(environments) | {"tracked": self._tracked}

    def reference(self, rows: Tensor, environments: Tensor | None) -> Reference:
        if not self.options.random_heading:
            return super().reference(rows, environments)
        origin, angle = self._origin, self._turn
        if environments is not None:
            origin, angle = origin.index_select(0, environments), angle.index_select(0, environments)
        return TurnedReference(self.library, rows, origin, angle)

    def errors(self, state: KinesisState) -> dict[str, Tensor]:
        return super().errors(state) | {f"err/{name}": term(state) for name, term in kinesis_terms.ERRORS.items()}


def legacy_stride(clip: MotionClip) -> MotionClip:
    """Return every int(rate / 30)-th frame of a clip as a clip of 30 Hz, as KINESIS reads recordings.

    Recordings of 100 Hz (KIT) thus get 33.3 frames per second and are played 10 % too slowly. A clip below 30 Hz keeps
    its frames and is played too fast.
    """
    step = max(1, int(clip.frequency / LEGACY_RATE))
    landmarks = None if clip.landmarks is None else clip.landmarks[::step]
    return dataclasses.replace(clip, qpos=clip.qpos[::step], qvel=None, landmarks=landmarks, frequency=LEGACY_RATE)


def observed_bodies(
    options: KinesisOptions | RootTargetOptions, embodiment: Embodiment, device: torch.device
) -> tuple[Index, dict[str, tuple[str, tuple[int, ...]]]]:
    """Return the columns of the tracked points among the tracked sites, and the goal's `selections`.

    Args:
        options: Observed bodies and tracked sites.
        embodiment: A body with a free root.
        device: Device of the columns.

    Raises:
        InputError: A body or site does not exist.
    """
    bodies = _body_ids(options.bodies, options.tracked_sites, embodiment)
    root = (int(embodiment.model.body_rootid[bodies[0]]),)
    fields = {"body_xpos": "xpos", "body_xquat": "xquat", "body_cvel": "cvel"}
    selections = {name: (field, bodies) for name, field in fields.items()} | {"body_com": ("subtree_com", root)}
    return as_index(_columns(options.tracked_sites, embodiment), device), selections


def _columns(names: list[str], embodiment: Embodiment) -> np.ndarray:
    """Return the columns of sites among the tracked ones."""
    known = embodiment.site_names
    for name in names:
        if name not in known:
            raise InputError(f"goal.tracked_sites: {embodiment.name} does not track {name!r}{nearest(name, known)}")
    return np.array([known.index(name) for name in names])


def _body_ids(bodies: list[str], sites: list[str], embodiment: Embodiment) -> tuple[int, ...]:
    """Return the model ids of the observed bodies, the root first."""
    model = embodiment.model
    root = int(model.jnt_bodyid[0])
    if not bodies:
        of_sites = model.site_bodyid[embodiment.resolve("site", sites)]
        return (root, *(int(body) for body in of_sites if body != root))
    ids = tuple(embodiment.resolve("body", bodies).tolist())
    if ids[0] != root:
        raise InputError(f"goal.bodies: the first one must be the root, {model.body(root).name!r}")
    return ids
