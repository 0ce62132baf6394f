"""Terms: pure functions of the state with one value or vector per environment."""

from collections.abc import Callable
from typing import Any, NamedTuple

from torch import Tensor

# State -> Tensor. The state is an instance of the goal's `state_type`.
Term = Callable[[Any], Tensor]
ObservationTerm = Callable[[Any], Tensor | tuple[Tensor, ...]]


class Tracking(NamedTuple):
    """A reward term exp(-sharpness * mean error); with `reward.elementwise`, the mean of exp(-sharpness * error)."""

    errors: Term  # State -> (W, n)
    sharpness: float  # default; `reward.sharpness` overrides it

    def distance(self, state: Any) -> Tensor:
        """Return the mean error, (W,)."""
        return self.errors(state).mean(dim=1)


RewardTerm = Tracking | Term
