"""Terms: pure functions of the state, one value or vector for every environment."""

from collections.abc import Callable
from typing import Any, NamedTuple

from torch import Tensor

# State -> Tensor. The state is that of the goal whose terms they are.
Term = Callable[[Any], Tensor]
ObservationTerm = Callable[[Any], Tensor | tuple[Tensor, ...]]


class Tracking(NamedTuple):
    """A reward term `exp(-sharpness * mean error)`, or elementwise `mean of exp(-sharpness * error)`."""

    errors: Term  # State -> (W, n)
    sharpness: float  # unless the config says otherwise

    def distance(self, state: Any) -> Tensor:
        """Mean error, (W,)."""
        return self.errors(state).mean(dim=1)


RewardTerm = Tracking | Term
