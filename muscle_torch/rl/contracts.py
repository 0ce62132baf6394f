"""What learning needs of an environment and of a policy. Nothing else of either is used in this folder.

Any environment with these members trains, whatever its task; `muscle_torch.envs.MuscleEnv` is one. A policy is an
`nn.Module`; `muscle_torch.models.make_policy` completes one that leaves parts out. First axis W: the environments.
"""

from collections.abc import Callable, Iterator, Mapping
from typing import Any, Protocol, runtime_checkable

from torch import Tensor, nn
from torch.distributions import Distribution

# Keys of an environment's snapshot whose values are not of single environments: all processes have them alike.
SHARED = ("adaptation", "weights", "motions", "generator")


class Step(Protocol):
    """Result of one control step. `terminated | truncated` ends an episode."""

    @property
    def observation(self) -> Tensor:
        """After the step, before any reset, (W, D)."""
        ...

    @property
    def reward(self) -> Tensor:
        """(W,)."""
        ...

    @property
    def terminated(self) -> Tensor:
        """The episode failed: nothing follows, bool (W,)."""
        ...

    @property
    def truncated(self) -> Tensor:
        """The episode was cut off: the value of `observation` stands for what follows, bool (W,)."""
        ...

    @property
    def terms(self) -> Mapping[str, Tensor]:
        """Named metrics, each (W,): reward terms, errors."""
        ...


class Headline(Protocol):
    """The metric that says how well the goal is met: the progress line shows it, and `best.pt` follows it."""

    @property
    def name(self) -> str:
        """Key of the metrics."""
        ...

    @property
    def label(self) -> str:
        """What the progress line calls it."""
        ...

    @property
    def unit(self) -> str:
        """Unit that is displayed."""
        ...

    @property
    def factor(self) -> float:
        """From the metric's unit to the displayed one."""
        ...

    @property
    def lower_is_better(self) -> bool: ...


class TrainingEnv(Protocol):
    """W environments that are stepped together and restart one by one.

    What `begin`, `advance` and `restart` return is never changed later, and they do not wait for a GPU.
    """

    num_envs: int
    observation_size: int
    action_size: int

    @property
    def device(self) -> Any:
        """Device (torch.device) of all tensors."""
        ...

    @property
    def headline(self) -> Headline: ...

    def begin(self) -> Tensor:
        """Reset every environment; return the observation (W, D)."""
        ...

    def advance(self, action: Tensor) -> Step:
        """Apply an action (W, actions) for one control step."""
        ...

    def restart(self, done: Tensor) -> Tensor:
        """Begin a new episode in the environments of `done` (W,) bool; return the observation of all (W, D)."""
        ...

    def adapt(self, total: Callable[[Tensor], Tensor]) -> dict[str, float]:
        """Let curricula follow how the episodes since the last call ended; return metrics. Called once an update.

        Args:
            total: Adds counts up over the processes that train together.
        """
        ...

    def snapshot(self) -> dict[str, Any]:
        """Return copies of all that exact resume needs.

        Tensors of first axis W are of single environments, tensors () counters that add up over processes; what stands
        under the keys SHARED is alike on all processes.
        """
        ...

    def load_snapshot(self, snapshot: dict[str, Any]) -> None:
        """Continue from a snapshot to the bit."""
        ...

    def set_seed(self, seed: int) -> Any:
        """Draw new random numbers from now on."""
        ...

    def health(self) -> dict[str, Tensor]:
        """Return counters (), which add up over processes."""
        ...

    def facts(self) -> dict[str, Any]:
        """Return plain data by which a checkpoint shows that it fits another environment."""
        ...


class TrialEnv(TrainingEnv, Protocol):
    """An environment whose episodes can begin where others begin: what the cross-entropy method needs."""

    def draw(self, count: int, beginning: bool = False) -> tuple[Tensor, ...]:
        """Draw starts of training episodes, tensors (count,) in the goal's form; beginning: as evaluation starts."""
        ...

    def assign(self, start: tuple[Tensor, ...]) -> Tensor:
        """Reset every environment to a start, tensors (W,); return the observation (W, D)."""
        ...


class Normalizer(Protocol):
    """Running statistics of observations: learned while collecting, frozen in loss and evaluation."""

    def observe(self, observation: Tensor) -> None:
        """Add a batch (N, D) to the pending statistics."""
        ...

    def merge(self, moments: Callable[[Tensor, Tensor], tuple[Tensor, Tensor]], size: int) -> None:
        """Make the pending statistics those of `size` processes; `moments` takes means and variances to theirs."""
        ...

    def commit(self) -> None:
        """Make the pending statistics current."""
        ...


class ActorCritic(Protocol):
    """A policy: an `nn.Module` that gives actions a distribution and states a value.

    `normalizer`, `anneal` and `auxiliary_loss` do nothing by default.
    """

    spec: dict[str, Any]  # plain data from which the policy is built again

    @property
    def actor(self) -> nn.Module:
        """The parameters of the distribution."""
        ...

    @property
    def critic(self) -> nn.Module:
        """TensorDict module from `observation` (..., D) to `state_value` (..., 1)."""
        ...

    @property
    def normalizer(self) -> Normalizer | None:
        """Running statistics of the observations, if the policy has any."""
        return None

    def distribution(self, observation: Tensor) -> Distribution:
        """Return the distribution of actions for observations (..., D): batch shape (...), event shape (actions,).

        `sample`, `log_prob`, `entropy` and `mode` are used, and `stddev` if it is implemented.
        """
        ...

    def anneal(self, progress: float) -> None:
        """Adapt to the completed fraction of the schedules, in [0, 1]; called before each update's rollout."""

    def auxiliary_loss(self, mean: Callable[[Tensor], Tensor]) -> Tensor | None:
        """Return a loss () to add after actor and critic have processed a minibatch.

        Args:
            mean: Averages a tensor over the processes that train together.
        """
        return None

    # Of nn.Module

    def parameters(self) -> Iterator[nn.Parameter]: ...
    def buffers(self) -> Iterator[Tensor]: ...
    def modules(self) -> Iterator[nn.Module]: ...
    def state_dict(self) -> dict[str, Any]: ...
    def load_state_dict(self, state_dict: Mapping[str, Any], strict: bool = True) -> Any: ...
    def requires_grad_(self, requires_grad: bool = True) -> Any: ...


@runtime_checkable
class LatentPolicy(Protocol):
    """A policy that draws a latent at every control step and may relate it to that of the step before.

    The noise of the latent is stored in the rollout, so that the loss sees the latent that acted.
    """

    latent_size: int  # L

    def latent_distribution(
        self, observation: Tensor, noise: Tensor, previous: Tensor, first: Tensor
    ) -> tuple[Distribution, Tensor]:
        """Return the distribution of actions given the latent, and the latent (..., L), which carries no gradient.

        Args:
            observation: (..., D).
            noise: Standard normal (..., L), from which the latent is drawn.
            previous: Latent of the step before, (..., L).
            first: Where an episode begins and `previous` says nothing, bool (...).
        """
        ...


@runtime_checkable
class Searchable(Protocol):
    """A policy with a few parameters that the cross-entropy method can search."""

    def search_space(self) -> tuple[Tensor, Tensor]:
        """Return mean and standard deviation (P,) of the first candidates."""
        ...

    def search_action(self, observation: Tensor, candidates: Tensor) -> Tensor:
        """Return the action (W, actions) of each environment's own candidate (W, P) for observations (W, D)."""
        ...

    def adopt(self, candidate: Tensor) -> None:
        """Take over a candidate (P,)."""
        ...
