"""The interface of goals: starts, terms, errors and trials. `MuscleEnv` handles bodies and episodes."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, NamedTuple, Protocol

import torch
from torch import Tensor

from muscle_torch.config import Config
from muscle_torch.embodiments import Embodiment
from muscle_torch.embodiments.props import Prop
from muscle_torch.errors import InputError
from muscle_torch.physics import Physics

from ..model_indices import ModelIndices
from ..state import State
from ..terms import ObservationTerm, RewardTerm, Term

Start = tuple[Tensor, ...]


class Headline(NamedTuple):
    """The main metric: shown in the progress line, and the criterion for `best.pt`."""

    name: str  # key in the training metrics: "err/<name>"
    label: str  # label in the progress line
    unit: str  # displayed unit
    factor: float  # displayed value / SI value
    lower_is_better: bool = True


class Trials(NamedTuple):
    """Trials of an evaluation, in order."""

    names: list[str]
    lengths: Tensor  # number of frames, control steps + 1, (T,)
    starts: Start  # tensors (T,)
    unit: str  # "clip" or "trial", as the evaluation file calls them


class Assets(Protocol):
    """Data that environments with the same goal can share, such as a motion library."""

    @property
    def nbytes(self) -> int:
        """Size in bytes."""
        ...

    def to(self, device: torch.device | str) -> "Assets":
        """Return the same data on another device."""
        ...


class Goal(ABC):
    """The objective of W environments: what the body should do, and how that is observed, rewarded and measured.

    Buffers have first axis W. They are replaced and never changed in place, so returned tensors stay valid.

    Attributes:
        state_type: Subclass of `State` that the goal's terms read; `fields` returns its additional fields.
        observations: Observation terms by name, in addition to those of the body.
        rewards: Reward terms by name.
        terminations: Termination terms by name, in addition to those of the body.
        need_root: Names of terms that need a free root joint.
        headline: The main metric.
        buffers: Names of the attributes (W, ...) that exact resume needs.
        body: Indices of the body.
        num_envs: Number of environments W.
        device: Device of all tensors.
        generator: Generator of all random numbers of the goal.
        assets: Data that other environments with this goal can share.
        group: Group of each environment's episode, indices into `groups`, (W,).
        selections: Names under which the goal's terms read other rows of physics fields: name -> (field, rows).
    """

    state_type: ClassVar[type[State]] = State
    observations: ClassVar[Mapping[str, ObservationTerm]] = {}
    rewards: ClassVar[Mapping[str, RewardTerm]] = {}
    terminations: ClassVar[Mapping[str, Term]] = {}
    need_root: ClassVar[frozenset[str]] = frozenset()
    headline: ClassVar[Headline]
    buffers: ClassVar[tuple[str, ...]] = ()

    assets: Any
    group: Tensor
    selections: Mapping[str, tuple[str, tuple[int, ...]]] = {}

    def __init__(self, body: ModelIndices, num_envs: int, generator: torch.Generator, device: torch.device):
        self.body, self.num_envs, self.generator, self.device = body, num_envs, generator, device

    @classmethod
    @abstractmethod
    def load_assets(cls, config: Config, embodiment: Embodiment, device: torch.device) -> Assets:
        """Load the data that several environments can share.

        Args:
            config: Configuration; `config.goal.options` are the goal's options.
            embodiment: The body.
            device: Device of all tensors.

        Raises:
            InputError: The goal is not possible for the body, or data is missing.
        """

    @classmethod
    def props(cls, options: Any, embodiment: Embodiment) -> Sequence[Prop]:
        """Return the props that the goal needs beside the body, such as a ball.

        Args:
            options: The goal's options.
            embodiment: The body.

        Raises:
            InputError: The goal is not possible for the body.
        """
        return ()

    @property
    @abstractmethod
    def groups(self) -> Sequence[str]:
        """Names of the groups by which failures are counted, such as clips or octants."""

    @property
    @abstractmethod
    def trials(self) -> Trials:
        """Trials of an evaluation."""

    @property
    def held_out(self) -> Sequence[int]:
        """Indices of trials that training never draws; a run also evaluates them separately."""
        return ()

    @abstractmethod
    def draw(self, count: int) -> Start:
        """Draw starts of training episodes for `place`: tensors (count,)."""

    @abstractmethod
    def place(self, environments: Tensor, start: Start) -> tuple[Tensor, Tensor]:
        """Start an episode in the environments (W,) bool.

        Args:
            environments: Where an episode starts, bool (W,); rows of other environments are ignored.
            start: Tensors (W,) from `draw`, `in_order` or `trials.starts`.

        Returns:
            Initial pose (W, nq) and velocity (W, nv) of the body.
        """

    @abstractmethod
    def step(self) -> None:
        """Advance time, and a reference, by one control step."""

    @abstractmethod
    def finished(self) -> Tensor:
        """Return which episodes have reached their end, bool (W,)."""

    @abstractmethod
    def fields(self, environments: Tensor | None) -> dict[str, Any]:
        """Return the additional fields of `state_type`.

        Args:
            environments: Ids (N,); None: all.
        """

    @abstractmethod
    def errors(self, state: Any) -> dict[str, Tensor]:
        """Return the reported errors in SI units: "err/<name>" -> (W,). They do not depend on the reward."""

    def in_order(self, count: int) -> Start:
        """Return the starts of `count` evaluation environments: trial i, repeating the trials after the last."""
        ids = torch.arange(count, device=self.device) % len(self.trials.names)
        return tuple(values.to(self.device)[ids] for values in self.trials.starts)

    def beginning(self, start: Start) -> Start:
        """Return starts at the first frame of the same episodes, as in evaluation."""
        return start

    def update(self, state: Any) -> None:  # noqa: B027  most goals do not need it
        """Update buffers from the state after a control step."""

    def move_props(self, physics: Physics) -> None:  # noqa: B027  most goals do not need it
        """Set the velocities of props that move by themselves, before every control step.

        Args:
            physics: The simulated worlds; `physics.kick` changes velocities.
        """

    def success(self) -> Tensor:
        """Return which episodes currently meet the goal, bool (W,). Terminated episodes never count as success."""
        return torch.ones(self.num_envs, dtype=torch.bool, device=self.device)

    def outcome(self) -> dict[str, Tensor]:
        """Return further results of the episodes so far, name -> (W,); evaluations store them at the end of trials."""
        return {}

    def feedforward(self, lead: int = 0) -> Tensor:
        """Return the feedforward excitations in [0, 1], (W, muscles).

        Args:
            lead: Number of frames ahead of the current one.

        Raises:
            InputError: The goal has no feedforward.
        """
        raise InputError(
            f"a feedforward needs a motion to follow, and {type(self).__name__} has none: use actions=[muscles], "
            "without the observation feedforward"
        )

    def ghost(self) -> Tensor | None:
        """Return a reference pose to draw beside the body, (W, nq); None: nothing to draw."""
        return None

    def markers(self) -> Tensor | None:
        """Return points to draw, (W, K, 3) [m]; None: nothing to draw."""
        return None

    def set_group_weights(self, weights: Tensor) -> None:
        """Set the sampling weights of the groups, (G,)."""
        raise TypeError(f"{type(self).__name__} draws all groups alike: use sampling.adaptive=false")

    def missing(self, term: str) -> str | None:
        """Return what a term needs and the body lacks, or None."""
        return "a free root joint" if term in self.need_root and not self.body.has_root else None

    def state(self) -> dict[str, Any]:
        """Return copies of all state that exact resume needs."""
        return {name: getattr(self, name).clone() for name in self.buffers}

    def load_state(self, state: Mapping[str, Any]) -> None:
        """Restore what `state` returned."""
        for name in self.buffers:
            setattr(self, name, state[name].to(self.device, copy=True))
