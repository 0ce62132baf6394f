"""A user's policy as the trainer needs it."""

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
    """A user's actor that writes `action` as well, the mode of the policy's distribution."""

    def __init__(self, actor: TensorDictModule, distribution: Callable[[Tensor], Distribution]):
        super().__init__(actor.module, in_keys=actor.in_keys, out_keys=actor.out_keys)
        self._distribution = distribution

    def forward(self, tensordict: TensorDictBase) -> TensorDictBase:
        written = super().forward(tensordict)  # pyright: ignore[reportCallIssue]  its decorators hide the argument
        return written.set("action", self._distribution(tensordict["observation"]).mode)


class PolicyAdapter(nn.Module):
    """Any `nn.Module` with `actor` and `critic`, completed: what it leaves out does nothing.

    A class without `distribution` must have an actor that writes `loc` and `scale`: a diagonal normal distribution.
    Either is mixed by `exploration.synergy_mixing` and `action_bias`, if the config has them.

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
            name: What the config calls it.
            exploration: As in `NetworkPolicy`; None: nothing is mixed.
            action_size: Number of actions.

        Raises:
            InputError: A part is missing, or the actor reads more than `observation`.
        """
        super().__init__()
        for part in ("actor", "critic"):
            if not isinstance(getattr(policy, part, None), nn.Module):
                raise InputError(f"policy={name}: the class has no `{part}` module (docs/custom_policy.md)")
            reads = list(getattr(getattr(policy, part), "in_keys", ["observation"]))
            if reads != ["observation"]:
                raise InputError(f"policy={name}: its {part} reads {reads}; only `observation` is there")
        if not isinstance(policy.critic, TensorDictModuleBase):
            raise InputError(
                f"policy={name}: its critic must be a TensorDict module that writes `state_value` "
                "(tensordict.nn.TensorDictModule; docs/custom_policy.md)"
            )
        self.policy, self.spec = policy, {}
        self.mixing = make_mixing(action_size, exploration_options(exploration)) if exploration else None
        self._has_distribution = hasattr(policy, "distribution")
        if not self._has_distribution and not self._writes_moments():
            raise InputError(
                f"policy={name}: give the class a method `distribution(observation)`, or an actor that writes `loc` "
                "and `scale` (docs/custom_policy.md)"
            )

    @property
    def actor(self) -> nn.Module:
        """The user's; a TensorDict module that writes no `action` is completed by the distribution's mode."""
        actor = self.policy.actor
        if isinstance(actor, TensorDictModule) and "action" not in actor.out_keys:
            return ActingActor(actor, self.distribution)
        return actor  # type: ignore[return-value]

    @property
    def critic(self) -> nn.Module:
        return self.policy.critic  # type: ignore[return-value]

    @property
    def normalizer(self) -> Any:
        return getattr(self.policy, "normalizer", None)

    def distribution(self, observation: Tensor) -> Distribution:
        """Return the distribution of actions for observations (..., D)."""
        plain = self._unmixed(observation)
        return plain if self.mixing is None else self.mixing(plain)

    def anneal(self, progress: float) -> None:
        """Let the policy adapt to the completed fraction of training, in [0, 1], if it does so."""
        if hasattr(self.policy, "anneal"):
            self.policy.anneal(progress)  # type: ignore[operator]

    def auxiliary_loss(self, mean: Callable[[Tensor], Tensor]) -> Tensor | None:
        """Return the policy's own loss (), or None; see `NetworkPolicy.auxiliary_loss`."""
        if hasattr(self.policy, "auxiliary_loss"):
            return self.policy.auxiliary_loss(mean)  # type: ignore[operator]
        return None

    def activity(self, observation: Tensor) -> dict[str, Tensor]:
        """Return what the policy computes inside, if it tells; see `NetworkPolicy.activity`."""
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
    """The same for a policy whose parameters the cross-entropy method can search."""

    def search_space(self) -> tuple[Tensor, Tensor]:
        """Return mean and standard deviation (P,) of the first candidates."""
        return self.policy.search_space()  # type: ignore[operator]

    def search_action(self, observation: Tensor, candidates: Tensor) -> Tensor:
        """Return the action (W, actions) of each environment's own candidate (W, P)."""
        return self.policy.search_action(observation, candidates)  # type: ignore[operator]

    def adopt(self, candidate: Tensor) -> None:
        """Take over a candidate (P,)."""
        self.policy.adopt(candidate)  # type: ignore[operator]


def adapt(
    policy: nn.Module, name: str, exploration: Mapping[str, Any] | None = None, action_size: int = 0
) -> PolicyAdapter:
    """Return a user's policy, completed; see `PolicyAdapter`."""
    searchable = hasattr(policy, "search_space")
    return (SearchablePolicyAdapter if searchable else PolicyAdapter)(policy, name, exploration, action_size)
