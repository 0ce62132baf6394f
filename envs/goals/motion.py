"""Imitation: each environment follows a clip of a motion library, frame by frame, to its end."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from muscle_torch.config import Config
from muscle_torch.embodiments import Embodiment
from muscle_torch.errors import InputError, nearest
from muscle_torch.motion import MotionClip, MotionLibrary, Sampler, load_motion

from ..model_indices import ModelIndices, as_index
from . import motion_errors, motion_observations, motion_rewards, motion_terminations
from .goal import Goal, Headline, Start, Trials
from .motion_state import MotionState, Reference, RootRange, TerminationSites
from .options import MotionOptions


class MotionGoal(Goal):
    """Follow a clip. The reference advances by one frame per control step, up to the last frame of the clip.

    A start is (clip (W,), frame (W,)). The body starts with the pose and velocity of that frame, shifted horizontally
    so that its root is above the origin.

    Attributes:
        options: Options of the goal.
        library: The motions.
        clip: Clip that each environment follows, (W,).
    """

    state_type = MotionState
    observations = motion_observations.OBSERVATIONS
    rewards = motion_rewards.REWARDS
    terminations = motion_terminations.TERMINATIONS
    need_root = motion_observations.NEED_ROOT | motion_rewards.NEED_ROOT | motion_terminations.NEED_ROOT
    headline = Headline("err/site_abs", "site error", "mm", 1e3)
    buffers = ("clip", "_row", "_first_row", "_last_row", "_origin")

    def __init__(
        self,
        options: MotionOptions,
        embodiment: Embodiment,
        body: ModelIndices,
        library: MotionLibrary,
        num_envs: int,
        generator: torch.Generator,
    ):
        """Prepare W environments.

        Args:
            options: Options of the goal.
            embodiment: The body.
            body: Its indices.
            library: From `load_assets`.
            num_envs: Number of environments W.
            generator: Generator of starts.

        Raises:
            InputError: An option is out of range, or an excluded site is not tracked.
        """
        super().__init__(body, num_envs, generator, library.device)
        if options.lookahead < 1 or options.stride < 1:
            raise InputError(
                f"goal.lookahead={options.lookahead} goal.stride={options.stride}: both must be at least 1 "
                "(the first observed frame is the current one)"
            )
        self.options, self.library = options, library
        self._sampler = Sampler(library, generator, start=options.start)
        self._trained = _trained(library.num_clips, options.held_out).to(self.device)
        self._sampler.set_weights(self._trained)
        self._sites = _termination_sites(embodiment, options.excluded_sites, self.device)
        self._root_range = RootRange.of(library.qpos) if body.has_root else None
        self._offsets = torch.arange(options.lookahead, device=self.device) * options.stride
        self.clip = torch.zeros(num_envs, dtype=torch.long, device=self.device)
        self._first_row = library.start[self.clip].clone()  # first row of the clip in the library's tables
        self._last_row = self._first_row + library.length[self.clip] - 1
        self._row = self._first_row.clone()  # row of the current frame
        self._origin = torch.zeros(num_envs, 2, device=self.device)

    @classmethod
    def load_assets(
        cls,
        config: Config,
        embodiment: Embodiment,
        device: torch.device,
        edit: Callable[[MotionClip], MotionClip] | None = None,
    ) -> MotionLibrary:
        """Load the motions.

        Args:
            config: Configuration; without `motion`, all built-in motions of the body are used.
            embodiment: The body.
            device: Device of the tables.
            edit: Applied to every clip before it is resampled; None: clips are used as they are.

        Raises:
            InputError: A motion does not exist or belongs to another body.
        """
        options: MotionOptions = config.goal.options
        clips = load_motion(config.motion or "all", embodiment)
        clips = clips if edit is None else [edit(clip) for clip in clips]
        return MotionLibrary(clips, embodiment, device, interpolation=options.interpolation, threads=config.threads)

    @property
    def assets(self) -> MotionLibrary:
        """The motions."""
        return self.library

    @property
    def group(self) -> Tensor:
        """Clip that each environment follows, (W,)."""
        return self.clip

    @property
    def groups(self) -> Sequence[str]:
        return self.library.names

    @property
    def trials(self) -> Trials:
        clips = torch.arange(self.library.num_clips, device=self.device)
        return Trials(self.library.names, self.library.length, (clips, torch.zeros_like(clips)), "clip")

    @property
    def held_out(self) -> Sequence[int]:
        return (self._trained == 0).nonzero().flatten().tolist()

    @property
    def frame(self) -> Tensor:
        """Current frame of each environment's clip, (W,)."""
        return self._row - self._first_row

    @property
    def origin(self) -> Tensor:
        """Position of the world's origin in the frame of each environment's clip, (W, 2) [m]; 0 without a root."""
        return self._origin

    def draw(self, count: int) -> Start:
        return self._sampler.sample(count)

    def beginning(self, start: Start) -> Start:
        clip, frame = start
        return clip, torch.zeros_like(frame)

    def place(self, environments: Tensor, start: Start) -> tuple[Tensor, Tensor]:
        clip, frame = start
        first = self.library.start[clip]
        last = first + self.library.length[clip] - 1
        row = torch.minimum(first + frame, last)
        self.clip = torch.where(environments, clip, self.clip)
        self._first_row = torch.where(environments, first, self._first_row)
        self._last_row = torch.where(environments, last, self._last_row)
        self._row = torch.where(environments, row, self._row)
        qpos, qvel = self.library.qpos.index_select(0, row), self.library.qvel.index_select(0, row)
        if self.body.has_root:
            self._origin = torch.where(environments.unsqueeze(1), qpos[:, :2], self._origin)
            qpos[:, :2].zero_()
        return qpos, qvel

    def step(self) -> None:
        self._row = torch.minimum(self._row + 1, self._last_row)

    def finished(self) -> Tensor:
        return self._row >= self._last_row

    def fields(self, environments: Tensor | None) -> dict[str, Any]:
        def chosen(values: Tensor) -> Tensor:
            return values if environments is None else values.index_select(0, environments)

        row, first, last = chosen(self._row), chosen(self._first_row), chosen(self._last_row)
        ahead = torch.minimum(row.unsqueeze(1) + self._offsets, last.unsqueeze(1))
        return {
            "reference": self.reference(row, environments),
            "ahead": self.reference(ahead, environments),
            "phase": (row - first) / (last - first + 1),
            "termination_sites": self._sites,
            "root_range": self._root_range,
            "compact_reference": self.options.compact_reference,
        }

    def reference(self, rows: Tensor, environments: Tensor | None) -> Reference:
        """Return frames of the motions as the environments play them.

        Args:
            rows: Rows of the library's tables, (W,) or (W, n).
            environments: Ids (W,); None: all.
        """
        if not self.body.has_root:
            return Reference(self.library, rows)
        origin = self._origin if environments is None else self._origin.index_select(0, environments)
        return Reference(self.library, rows, origin)

    def errors(self, state: MotionState) -> dict[str, Tensor]:
        skipped = frozenset() if self.body.has_root else motion_errors.NEED_ROOT
        return {f"err/{name}": term(state) for name, term in motion_errors.ERRORS.items() if name not in skipped}

    def feedforward(self, lead: int = 0) -> Tensor:
        return Reference(self.library, torch.minimum(self._row + lead, self._last_row)).feedforward

    def ghost(self) -> Tensor:
        return self.reference(self._row, None).qpos

    def set_group_weights(self, weights: Tensor) -> None:
        self._sampler.set_weights(weights.to(self._trained) * self._trained)

    def leave_out(self, clips: Sequence[int]) -> None:
        """Never draw these clips again in training."""
        self._trained[list(clips)] = 0
        self.set_group_weights(self._sampler.weights)

    def missing(self, term: str) -> str | None:
        if term in motion_terminations.NEED_ANKLES and self._sites.ankles is None:
            return "tracked ankles"
        return super().missing(term)

    def state(self) -> dict[str, Any]:
        return super().state() | {"weights": self._sampler.weights.clone(), "motions": self.library.summary.clone()}

    def load_state(self, state: Mapping[str, Any]) -> None:
        """Restore what `state` returned.

        Raises:
            InputError: The motions differ; their location does not matter.
        """
        stored, here = state.get("motions"), self.library.summary
        if stored is not None and (stored.shape != here.shape or not torch.allclose(stored.cpu(), here, atol=1e-4)):
            raise InputError(
                "motion= contains other motions than at the start of this run: use the same clips, from any folder, or "
                "start a new run with checkpoint="
            )
        super().load_state(state)
        self._trained = (state["weights"] > 0).to(self._trained)  # clips that are drawn never have weight 0
        self._sampler.set_weights(state["weights"])


def _trained(clips: int, fraction: float) -> Tensor:
    """Return 1 for each training clip and 0 for each held-out one, (C,)."""
    if not 0 <= fraction < 1:
        raise InputError(f"goal.held_out={fraction}: choose a fraction of the clips, at least 0 and below 1")
    count = int(clips * fraction + 1e-9)
    trained = torch.ones(clips)
    trained[[(2 * index + 1) * clips // (2 * count) for index in range(count)]] = 0
    return trained


def _termination_sites(embodiment: Embodiment, excluded: Sequence[str], device: torch.device) -> TerminationSites:
    names = embodiment.site_names
    for name in excluded:
        if name not in names:
            raise InputError(f"goal.excluded_sites: {embodiment.name} does not track {name!r}{nearest(name, names)}")
    kept = np.flatnonzero([name not in excluded for name in names])
    if not kept.any():
        raise InputError("goal.excluded_sites leaves termination no site but the anchor: exclude fewer")
    ankles = np.flatnonzero([name.endswith("ankle_mimic") for name in names])
    return TerminationSites(
        all=as_index(kept, device),
        after_anchor=as_index(kept[kept > 0] - 1, device),
        ankles=as_index(ankles, device) if len(ankles) else None,
    )
