"""Protocols of environments and policies: the only members of either that this folder uses.

Any environment with these members can be trained on, whatever its task; `muscle_torch.envs.MuscleEnv` is one. A policy
is an `nn.Module`; `muscle_torch.models.make_policy` adds the members that a class omits. First axis W: environments.
"""

from collections.abc import Callable, Iterator, Mapping
from typing import Any, Protocol, runtime_checkable

from torch import Tensor, nn
from torch.distributions import Distribution

# Keys of an environment's snapshot whose values do not belong to single environments: the same on all processes.
SHARED = ("adaptation", "weights", "motions", "generator")


class Step(Protocol):
    """Result of one control step. An episode ends if `terminated | truncated`."""

    @property
    def observation(self) -> Tensor:
        """Observation after the step, before any reset, (W, D)."""
        ...

    @property
    def reward(self) -> Tensor:
        """Reward of the step, (W,)."""
        ...

    @property
    def terminated(self) -> Tensor:
        """Whether the episode failed, bool (W,); the value of the next state is zero."""
        ...

    @property
    def truncated(self) -> Tensor:
        """Whether the episode was cut off, bool (W,); returns are bootstrapped from the value of `observation`."""
        ...

    @property
    def terms(self) -> Mapping[str, Tensor]:
        """Named metrics, each (W,): reward terms, errors."""
        ...


class Headline(Protocol):
    """The metric of how well the goal is met: shown in the progress line, and used to select `best.pt`."""

    @property
    def name(self) -> str:
        """Key in the metrics."""
        ...

    @property
    def label(self) -> str:
        """Name in the progress line."""
        ...

    @property
    def unit(self) -> str:
        """Displayed unit."""
        ...

    @property
    def factor(self) -> float:
        """Conversion factor from the metric's unit to the displayed one."""
        ...

    @property
    def lower_is_better(self) -> bool:
        """Whether lower values are better."""
        ...


class TrainingEnv(Protocol):
    """W environments that are stepped together and restart individually.

    Tensors that `begin`, `advance` and `restart` return are never changed later, and these methods do not synchronize
    with a GPU.

    Attributes:
        num_envs: Number of environments of this process, W.
        observation_size: Size of an observation, D.
        action_size: Number of actions.
    """

    num_envs: int
    observation_size: int
    action_size: int

    @property
    def device(self) -> Any:
        """Device (torch.device) of all tensors."""
        ...

    @property
    def headline(self) -> Headline:
        """Metric of how well the goal is met."""
        ...

    def begin(self) -> Tensor:
        """Reset every environment; return the observation (W, D)."""
        ...

    def advance(self, action: Tensor) -> Step:
        """Apply an action for one control step.

        Args:
            action: (W, actions).

        Returns:
            Result of the step, before any reset.
        """
        ...

    def restart(self, done: Tensor) -> Tensor:
        """Begin new episodes.

        Args:
            done: In which environments, bool (W,).

        Returns:
            Observation of all environments, (W, D).
        """
        ...

    def adapt(self, total: Callable[[Tensor], Tensor]) -> dict[str, float]:
        """Update curricula from the outcomes of the episodes since the last call; called once per update.

        Args:
            total: Sums counts over the processes that train together.

        Returns:
            Metrics by name.
        """
        ...

    def snapshot(self) -> dict[str, Any]:
        """Return copies of the state for exact resume.

        Tensors with first axis W belong to single environments; tensors () are counters that are summed over processes;
        values of the keys in SHARED are the same on all processes.
        """
        ...

    def load_snapshot(self, snapshot: dict[str, Any]) -> None:
        """Continue from a snapshot, to the bit."""
        ...

    def set_seed(self, seed: int) -> Any:
        """Seed the environment's random number generator."""
        ...

    def health(self) -> dict[str, Tensor]:
        """Return counters () by name, which are summed over processes."""
        ...

    def facts(self) -> dict[str, Any]:
        """Return plain data, stored in checkpoints to check that they fit an environment."""
        ...


class TrialEnv(TrainingEnv, Protocol):
    """An environment whose episodes can begin from chosen starts, which the cross-entropy method needs."""

    def draw(self, count: int, beginning: bool = False) -> tuple[Tensor, ...]:
        """Draw starts of training episodes.

        Args:
            count: Number of starts.
            beginning: Whether to use the starts of evaluation.

        Returns:
            Tensors (count,), in the goal's format.
        """
        ...

    def assign(self, start: tuple[Tensor, ...]) -> Tensor:
        """Reset every environment to a start (tensors (W,), as `draw` returns them); return the observation (W, D)."""
        ...


class Teacher(Protocol):
    """Chooses actions that a policy learns to imitate; `muscle_torch.evaluation.Controller` has the same members.

    It has no state that exact resume would need.
    """

    def begin(self, env: TrainingEnv, worlds: Tensor) -> None:
        """Prepare for new episodes.

        Args:
            env: The environment, after its reset.
            worlds: Environments whose episode has just begun, bool (W,).
        """
        ...

    def act(self, env: TrainingEnv) -> Tensor:
        """Return the actions (W, actions) for the current state of the environment."""
        ...


class Normalizer(Protocol):
    """Running statistics of observations: updated while collecting, frozen in loss and evaluation."""

    def observe(self, observation: Tensor) -> None:
        """Add a batch (N, D) to the pending statistics."""
        ...

    def merge(self, moments: Callable[[Tensor, Tensor], tuple[Tensor, Tensor]], size: int) -> None:
        """Merge the pending statistics of all processes.

        Args:
            moments: Maps mean and variance of this process to those of all processes' samples.
            size: Number of processes.
        """
        ...

    def commit(self) -> None:
        """Add the pending statistics to the current ones."""
        ...


class ActorCritic(Protocol):
    """A policy: an `nn.Module` with a distribution of actions and a value function.

    `normalizer`, `anneal` and `auxiliary_loss` do nothing by default.

    Attributes:
        spec: Plain data from which `muscle_torch.models.build_policy` builds the policy again.
    """

    spec: dict[str, Any]

    @property
    def actor(self) -> nn.Module:
        """Module that computes the parameters of the distribution."""
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
        """Return the distribution of actions.

        Args:
            observation: (..., D).

        Returns:
            Distribution of batch shape (...) and event shape (actions,). Its `sample`, `log_prob`, `entropy` and `mode`
            are used, and `stddev` if it is implemented.
        """
        ...

    def anneal(self, progress: float) -> None:
        """Adapt to training progress; called before each update's rollout.

        Args:
            progress: Completed fraction of the schedules, in [0, 1].
        """

    def auxiliary_loss(self, mean: Callable[[Tensor], Tensor]) -> Tensor | None:
        """Return an additional loss () after actor and critic have processed a minibatch; None: there is none.

        Args:
            mean: Averages a tensor over the processes that train together.
        """
        return None

    def parameters(self) -> Iterator[nn.Parameter]:
        """As `nn.Module.parameters`."""
        ...

    def buffers(self) -> Iterator[Tensor]:
        """As `nn.Module.buffers`."""
        ...

    def modules(self) -> Iterator[nn.Module]:
        """As `nn.Module.modules`."""
        ...

    def state_dict(self) -> dict[str, Any]:
        """As `nn.Module.state_dict`."""
        ...

    def load_state_dict(self, state_dict: Mapping[str, Any], strict: bool = True) -> Any:
        """As `nn.Module.load_state_dict`."""
        ...

    def requires_grad_(self, requires_grad: bool = True) -> Any:
        """As `nn.Module.requires_grad_`."""
        ...


@runtime_checkable
class LatentPolicy(Protocol):
    """A policy that samples a latent at every control step, which may depend on that of the previous step.

    The noise of the latent is stored in the rollout, so that the loss is computed for the sampled latent.

    Attributes:
        latent_size: Size of the latent, L.
    """

    latent_size: int

    def latent_distribution(
        self, observation: Tensor, noise: Tensor, previous: Tensor, first: Tensor
    ) -> tuple[Distribution, Tensor]:
        """Return the distribution of actions for a sampled latent, and the latent.

        Args:
            observation: (..., D).
            noise: Standard normal (..., L) from which the latent is computed.
            previous: Latent of the previous step, (..., L).
            first: Whether an episode begins, so that `previous` has no meaning, bool (...).

        Returns:
            The distribution, and the latent (..., L) without gradient.
        """
        ...


@runtime_checkable
class Searchable(Protocol):
    """A policy with a few parameters that the cross-entropy method can search."""

    def search_space(self) -> tuple[Tensor, Tensor]:
        """Return mean and standard deviation (P,) of the first candidates."""
        ...

    def search_action(self, observation: Tensor, candidates: Tensor) -> Tensor:
        """Return the actions of one candidate per environment.

        Args:
            observation: (W, D).
            candidates: Parameters (W, P).

        Returns:
            Actions (W, actions).
        """
        ...

    def adopt(self, candidate: Tensor) -> None:
        """Set the policy's parameters to a candidate (P,)."""
        ...
