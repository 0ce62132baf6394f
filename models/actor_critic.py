"""Actor-critics: two networks with one observation normalizer, which is frozen while learning."""

from collections.abc import Callable, Mapping
from typing import Any, ClassVar

from tensordict.nn import TensorDictModule
from torch import Tensor, nn
from torch.distributions import Distribution

from muscle_torch.config.kinds import to_plain
from muscle_torch.errors import InputError

from .exploration import NormalExploration, make_exploration
from .mixing import ActionMixing
from .normalizer import ObservationNormalizer
from .options import GatedResidualOptions, MLPOptions, Residual, make_options
from .trunks import PlainTrunk, ResidualTrunk

NORMAL = {"name": "normal"}


class Actor(nn.Module):
    """Map observations (..., D) to parameters and mode of the distribution of actions, each (..., actions)."""

    def __init__(self, exploration: NormalExploration, mean: nn.Module):
        super().__init__()
        self.exploration, self.mean = exploration, mean

    def forward(self, observation: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return location, scale and mode of the distribution of actions."""
        loc, scale = self.exploration(self.mean(observation))
        return loc, scale, self.exploration.mode(loc)


class NetworkPolicy(nn.Module):
    """Actor and critic with networks of the same kind; subclasses implement `trunk`.

    A policy needs `actor`, `critic` and `distribution`; the trainer also uses `normalizer`, `anneal`, `auxiliary_loss`
    and `spec` (see `muscle_torch.rl.contracts.ActorCritic`).

    Attributes:
        actor: TensorDictModule from `observation` (..., D) to `loc` and `scale`, the distribution's parameters, and
            `action`, its mode, which `env.rollout(steps, policy.actor)` applies.
        critic: TensorDictModule from `observation` (..., D) to `state_value` (..., 1).
        normalizer: Running statistics of the observations, shared by both networks unless `normalize_critic` is false.
        spec: Plain data from which `build_policy` makes a policy of the same shape.
    """

    options_class: ClassVar[type[MLPOptions]] = MLPOptions

    def __init__(
        self, observation_size: int, action_size: int, exploration: Mapping[str, Any] | None = None, **options: Any
    ):
        """Make the networks.

        Args:
            observation_size: Size of an observation, D.
            action_size: Number of actions.
            exploration: "name", a key in EXPLORATIONS, and its options; None: normal noise with default options.
            **options: Fields of `options_class`; absent ones take their defaults, so that checkpoints stay readable
                when fields are added.

        Raises:
            InputError: An option is out of range.
        """
        super().__init__()
        self.options = make_options(self.options_class, options)
        if not self.options.hidden:
            raise InputError("policy.hidden is empty: set at least one width, such as policy.hidden=[256,256]")
        exploration_spec = to_plain(exploration or NORMAL)
        self.spec: dict[str, Any] = {"observation_size": observation_size, "action_size": action_size}
        self.spec |= {"exploration": exploration_spec, **to_plain(self.options)}
        self.normalizer = ObservationNormalizer(
            observation_size, self.options.normalizer_epsilon, self.options.normalizer_clip
        )
        actor = self.actor_network(observation_size, action_size, make_exploration(action_size, exploration_spec))
        value = self.trunk("critic", observation_size, self.options.critic_hidden or self.options.hidden, 1)
        self.actor = TensorDictModule(actor, in_keys=["observation"], out_keys=[*self.actor_keys()])
        critic = nn.Sequential(self.normalizer, value) if self.options.normalize_critic else value
        self.critic = TensorDictModule(critic, in_keys=["observation"], out_keys=["state_value"])

    @property
    def exploration(self) -> NormalExploration:
        """Map from the mean action to the distribution of actions."""
        return self.actor.module.exploration  # type: ignore[return-value]

    @property
    def mixing(self) -> ActionMixing | None:
        """Linear map to muscle synergies; None: actions are not mixed."""
        return self.exploration.mixing

    def distribution(self, observation: Tensor) -> Distribution:
        """Return the distribution of actions for observations (..., D)."""
        loc, scale, _ = self.actor.module(observation)
        return self.exploration.distribution(loc, scale)

    def anneal(self, progress: float) -> None:
        """Adapt the exploration to the completed fraction of training, in [0, 1]."""
        self.exploration.anneal(progress)

    def auxiliary_loss(self, mean: Callable[[Tensor], Tensor]) -> Tensor | None:
        """Return an additional loss () after actor and critic have processed a minibatch; None: there is none.

        Args:
            mean: Averages a tensor over the processes that train together.
        """
        return None

    def activity(self, observation: Tensor) -> dict[str, Tensor]:
        """Return activations of hidden layers by name, each (..., width), for observations (..., D); by default none.

        Rollout archives store them.
        """
        return {}

    def actor_network(self, observation_size: int, action_size: int, exploration: NormalExploration) -> nn.Module:
        """Return the network from observations to the outputs `actor_keys`.

        Args:
            observation_size: Size of an observation, D.
            action_size: Number of actions.
            exploration: Map from the mean action to the distribution of actions.
        """
        trunk = self.trunk("actor", observation_size, self.options.hidden, action_size)
        exploration.attach(head_of(trunk))
        return Actor(exploration, self.mean_network(trunk))

    def actor_keys(self) -> list[str]:
        """Return the names of the actor's outputs."""
        return ["loc", "scale", "action"]

    def mean_network(self, trunk: nn.Module) -> nn.Module:
        """Return the network from observations to mean actions, with the actor's trunk."""
        return nn.Sequential(self.normalizer, trunk)

    def trunk(self, part: str, inputs: int, hidden: list[int], outputs: int) -> nn.Module:
        """Return the network from normalized observations to outputs.

        Args:
            part: actor or critic.
            inputs: Number of inputs.
            hidden: Widths of the hidden layers.
            outputs: Number of outputs.
        """
        raise NotImplementedError("a subclass chooses the network")


def head_of(trunk: nn.Module) -> nn.Linear:
    """Return the last layer of a trunk, from the last hidden layer to the outputs."""
    head = list(trunk.children())[-1]
    assert isinstance(head, nn.Linear), "a trunk ends with a linear layer"
    return head


class MLPPolicy(NetworkPolicy):
    """Multilayer perceptrons with LayerNorm."""

    def trunk(self, part: str, inputs: int, hidden: list[int], outputs: int) -> nn.Module:
        """Return the network of `part` from inputs over hidden layers to outputs; see `NetworkPolicy.trunk`."""
        return PlainTrunk(inputs, hidden, outputs, self.options.activation, self.options.layernorm_epsilon)


class GatedResidualPolicy(NetworkPolicy):
    """Residual blocks with a learned weight, or a constant one if policy.residual=fixed (paper Eq. 11)."""

    options_class = GatedResidualOptions
    options: GatedResidualOptions

    def trunk(self, part: str, inputs: int, hidden: list[int], outputs: int) -> nn.Module:
        """Return the network of `part` from inputs over hidden layers to outputs; see `NetworkPolicy.trunk`."""
        options = self.options
        if options.residual not in tuple(Residual):
            raise InputError(f"policy.residual={str(options.residual)!r}: choose gated or fixed")
        gated = options.residual == Residual.gated
        size = (inputs, hidden, outputs)
        return ResidualTrunk(*size, options.activation, gated, options.layernorm_epsilon, options.skip_gain)
