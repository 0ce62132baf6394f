"""Adapter from a user's policy to the interface that the trainer needs."""

from collections.abc import Callable, Mapping
from typing import Any

from tensordict import TensorDict, TensorDictBase
from tensordict.nn import TensorDictModule, TensorDictModuleBase
from torch import Tensor, nn
from torch.distributions import Distribution

from muscle_torch.errors import InputError

from .distributions import DiagonalNormal
from .exploration import exploration_options
from .mixing import make_mixing

MOMENTS = ("loc", "scale")


class ActingActor(TensorDictModule):
    """A user's actor that also writes `action`, the mode of the policy's distribution."""

    def __init__(self, actor: TensorDictModule, distribution: Callable[[Tensor], Distribution]):
        super().__init__(actor.module, in_keys=actor.in_keys, out_keys=actor.out_keys)
        self._distribution = distribution

    def forward(self, tensordict: TensorDictBase) -> TensorDictBase:
        """Write the outputs of the user's actor and `action`."""
        written = super().forward(tensordict)  # pyright: ignore[reportCallIssue]  its decorators hide the argument
        return written.set("action", self._distribution(tensordict["observation"]).mode)


class PolicyAdapter(nn.Module):
    """Complete policy around any `nn.Module` with `actor` and `critic`; members that it omits do nothing.

    If the class has no `distribution`, its actor must write `loc` and `scale` of a diagonal normal distribution. In
    both cases `exploration.synergy_mixing` and `action_bias` are applied if they are set.

    Attributes:
        policy: The user's module.
        spec: Plain data from which `build_policy` makes it again.
    """

    def __init__(
        self, policy: nn.Module, name: str, exploration: Mapping[str, Any] | None = None, action_size: int = 0
    ):
        """Wrap a policy.

        Args:
            policy: The user's module.
            name: Its name in the config, for error messages.
            exploration: As in `NetworkPolicy`; None: actions are not mixed.
            action_size: Number of actions.

        Raises:
            InputError: Actor, critic or distribution is missing, or actor or critic reads more than `observation`.
        """
        super().__init__()
        for part in ("actor", "critic"):
            if not isinstance(getattr(policy, part, None), nn.Module):
                raise InputError(f"policy={name}: the class has no `{part}` module (docs/custom_policy.md)")
            reads = list(getattr(getattr(policy, part), "in_keys", ["observation"]))
            if reads != ["observation"]:
                raise InputError(f"policy={name}: its {part} reads {reads}; only `observation` is available")
        if not isinstance(policy.critic, TensorDictModuleBase):
            raise InputError(
                f"policy={name}: its critic must be a TensorDict module that writes `state_value` "
                "(tensordict.nn.TensorDictModule; docs/custom_policy.md)"
            )
        if exploration and exploration["name"] == "lattice":
            raise InputError(
                f"policy={name}: exploration=lattice needs a policy of this package; return a "
                "muscle_torch.models.LatticeNormal from `distribution` instead"
            )
        self.policy, self.spec = policy, {}
        self.mixing = make_mixing(action_size, exploration_options(exploration)) if exploration else None
        self._has_distribution = hasattr(policy, "distribution")
        if not self._has_distribution and not self._writes_moments():
            raise InputError(
                f"policy={name}: the class needs a method `distribution(observation)`, or an actor that writes `loc` "
                "and `scale` (docs/custom_policy.md)"
            )

    @property
    def actor(self) -> nn.Module:
        """The user's actor; if it is a TensorDict module without `action`, the distribution's mode is added."""
        actor = self.policy.actor
        if isinstance(actor, TensorDictModule) and "action" not in actor.out_keys:
            return ActingActor(actor, self.distribution)
        return actor  # type: ignore[return-value]

    @property
    def critic(self) -> nn.Module:
        """The user's critic."""
        return self.policy.critic  # type: ignore[return-value]

    @property
    def normalizer(self) -> Any:
        """The user's observation normalizer; None if the policy has none."""
        return getattr(self.policy, "normalizer", None)

    def distribution(self, observation: Tensor) -> Distribution:
        """Return the distribution of actions for observations (..., D)."""
        plain = self._unmixed(observation)
        return plain if self.mixing is None else self.mixing(plain)

    def anneal(self, progress: float) -> None:
        """Adapt the policy to the completed fraction of training, in [0, 1], if it implements `anneal`."""
        if hasattr(self.policy, "anneal"):
            self.policy.anneal(progress)  # type: ignore[operator]

    def auxiliary_loss(self, mean: Callable[[Tensor], Tensor]) -> Tensor | None:
        """Return the policy's additional loss (), or None; see `NetworkPolicy.auxiliary_loss`."""
        if hasattr(self.policy, "auxiliary_loss"):
            return self.policy.auxiliary_loss(mean)  # type: ignore[operator]
        return None

    def activity(self, observation: Tensor) -> dict[str, Tensor]:
        """Return activations of hidden layers if the policy implements it; see `NetworkPolicy.activity`."""
        return self.policy.activity(observation) if hasattr(self.policy, "activity") else {}  # type: ignore[operator]

    def _unmixed(self, observation: Tensor) -> Distribution:
        if self._has_distribution:
            return self.policy.distribution(observation)  # type: ignore[operator]
        read = TensorDict({"observation": observation}, batch_size=observation.shape[:-1])
        written = self.policy.actor(read)  # type: ignore[operator]
        return DiagonalNormal(*(written[key] for key in MOMENTS))

    def _writes_moments(self) -> bool:
        actor = self.policy.actor
        return isinstance(actor, TensorDictModuleBase) and set(MOMENTS) <= set(actor.out_keys)


class SearchablePolicyAdapter(PolicyAdapter):
    """Adapter of a policy whose parameters the cross-entropy method can search."""

    def search_space(self) -> tuple[Tensor, Tensor]:
        """Return mean and standard deviation (P,) of the first candidates."""
        return self.policy.search_space()  # type: ignore[operator]

    def search_action(self, observation: Tensor, candidates: Tensor) -> Tensor:
        """Return the actions (W, actions) of one candidate per environment, (W, P)."""
        return self.policy.search_action(observation, candidates)  # type: ignore[operator]

    def adopt(self, candidate: Tensor) -> None:
        """Set the policy's parameters to a candidate (P,)."""
        self.policy.adopt(candidate)  # type: ignore[operator]


def adapt(
    policy: nn.Module, name: str, exploration: Mapping[str, Any] | None = None, action_size: int = 0
) -> PolicyAdapter:
    """Return a complete policy around a user's module.

    Args:
        policy: The user's module.
        name: Its name in the config, for error messages.
        exploration: As in `NetworkPolicy`; None: actions are not mixed.
        action_size: Number of actions.

    Raises:
        InputError: The module lacks a member that training needs; see `PolicyAdapter`.
    """
    searchable = hasattr(policy, "search_space")
    return (SearchablePolicyAdapter if searchable else PolicyAdapter)(policy, name, exploration, action_size)
