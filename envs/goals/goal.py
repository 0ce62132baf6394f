"""What every goal provides: starts, terms, errors, trials. `MuscleEnv` knows bodies and episodes, a goal its task."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, NamedTuple, Protocol

import torch
from torch import Tensor

from muscle_torch.config import Config
from muscle_torch.embodiments import Embodiment
from muscle_torch.errors import InputError

from ..model_indices import ModelIndices
from ..state import State
from ..terms import ObservationTerm, RewardTerm, Term

Start = tuple[Tensor, ...]


class Headline(NamedTuple):
    """The metric that the progress line shows and that `best.pt` follows."""

    name: str  # key of the training metrics, "err/<name>"
    label: str  # what the progress line calls it
    unit: str  # unit that is displayed
    factor: float  # from the metric's SI unit to the displayed one
    lower_is_better: bool = True


class Trials(NamedTuple):
    """What an evaluation plays, in order."""

    names: list[str]
    lengths: Tensor  # (T,) frames: control steps + 1
    starts: Start  # each (T,)
    unit: str  # "clip" or "trial": what the evaluation file counts


class Assets(Protocol):
    """What environments of one goal can share, such as a motion library."""

    @property
    def nbytes(self) -> int: ...

    def to(self, device: torch.device | str) -> "Assets": ...


class Goal(ABC):
    """The task of the body, for W environments at once.

    Buffers have first axis W and are replaced, never changed in place: what the environment returned stays valid.

    Attributes:
        state_type: `State` subclass that the goal's terms read; `fields` fills its own fields.
        observations, rewards, terminations: The goal's terms by name; the body's are always there.
        need_root: Names of terms that need a free root joint.
        headline: The metric that says how well the goal is met.
        props: Props that the goal needs in the model (`muscle_torch.embodiments.props`).
        buffers: Names of the attributes (W, ...) that exact resume needs.
        assets: What other environments of this goal can share; its type is the goal's.
        generator: Source of all of the goal's random numbers.
        group: Group of each environment's episode, indices into `groups`, (W,).
    """

    state_type: ClassVar[type[State]] = State
    observations: ClassVar[Mapping[str, ObservationTerm]] = {}
    rewards: ClassVar[Mapping[str, RewardTerm]] = {}
    terminations: ClassVar[Mapping[str, Term]] = {}
    need_root: ClassVar[frozenset[str]] = frozenset()
    headline: ClassVar[Headline]
    props: ClassVar[tuple[str, ...]] = ()
    buffers: ClassVar[tuple[str, ...]] = ()

    assets: Any
    group: Tensor

    def __init__(self, body: ModelIndices, num_envs: int, generator: torch.Generator, device: torch.device):
        self.body, self.num_envs, self.generator, self.device = body, num_envs, generator, device

    @classmethod
    @abstractmethod
    def load_assets(cls, config: Config, embodiment: Embodiment, device: torch.device) -> Assets:
        """Load what several environments can share.

        Raises:
            InputError: The body cannot have this goal.
        """

    @property
    @abstractmethod
    def groups(self) -> Sequence[str]:
        """Names of the groups by which failures are counted: clips, octants, keepers."""

    @property
    @abstractmethod
    def trials(self) -> Trials:
        """What an evaluation plays."""

    @property
    def held_out(self) -> Sequence[int]:
        """Trials that training never draws, which a finished run evaluates apart too."""
        return ()

    @abstractmethod
    def draw(self, count: int) -> Start:
        """Draw starts of training episodes: tensors (count,), understood by `place`."""

    @abstractmethod
    def place(self, environments: Tensor, start: Start) -> tuple[Tensor, Tensor]:
        """Start an episode in the environments (W,) bool.

        Args:
            environments: Which ones, bool (W,); rows of the others are ignored.
            start: From `draw`, `in_order` or `trials.starts`, tensors (W,).

        Returns:
            Pose (W, nq) and velocity (W, nv) of the body to start from.
        """

    @abstractmethod
    def step(self) -> None:
        """Advance by one control step: the reference moves on, time passes."""

    @abstractmethod
    def finished(self) -> Tensor:
        """Return which episodes have come to their end, bool (W,)."""

    @abstractmethod
    def fields(self, environments: Tensor | None) -> dict[str, Any]:
        """Return the goal's own fields of `state_type`, of all environments or of those with these ids."""

    @abstractmethod
    def errors(self, state: Any) -> dict[str, Tensor]:
        """Return `{"err/<name>": (W,)}` in SI units: what is reported, whatever is rewarded."""

    def in_order(self, count: int) -> Start:
        """Return the starts of evaluation: trial i, and from the beginning again after the last."""
        ids = torch.arange(count, device=self.device) % len(self.trials.names)
        return tuple(values.to(self.device)[ids] for values in self.trials.starts)

    def beginning(self, start: Start) -> Start:
        """Return the starts of the same episodes at their beginning, as evaluation plays them."""
        return start

    def update(self, state: Any) -> None:  # noqa: B027  most goals need nothing of it
        """Take in the state after a control step."""

    def success(self) -> Tensor:
        """Return which episodes meet the goal at present, bool (W,). A terminated episode never does."""
        return torch.ones(self.num_envs, dtype=torch.bool, device=self.device)

    def feedforward(self, lead: int = 0) -> Tensor:
        """Return the excitations that the task asks for now, or `lead` frames later, (W, muscles) in [0, 1].

        Raises:
            InputError: The goal has no such table.
        """
        raise InputError(f"actions=[muscles_feedforward] needs a motion to follow; {type(self).__name__} has none")

    def ghost(self) -> Tensor | None:
        """Return the pose to draw beside the body (W, nq), if the goal has one."""
        return None

    def markers(self) -> Tensor | None:
        """Return points to draw (W, K, 3) [m], if the goal has any."""
        return None

    def set_group_weights(self, weights: Tensor) -> None:
        """Draw the groups (G,) in proportion to these weights from now on."""
        raise TypeError(f"{type(self).__name__} draws all groups alike: use sampling.adaptive=false")

    def missing(self, term: str) -> str | None:
        """Return what the body lacks for a term, or None."""
        return "a free root joint" if term in self.need_root and not self.body.has_root else None

    def state(self) -> dict[str, Any]:
        """Return copies of all that exact resume needs."""
        return {name: getattr(self, name).clone() for name in self.buffers}

    def load_state(self, state: Mapping[str, Any]) -> None:
        """Continue from what `state` returned."""
        for name in self.buffers:
            setattr(self, name, state[name].to(self.device, copy=True))
