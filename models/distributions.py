"""Distributions of actions, which a policy's `distribution(observation)` returns.

For observations (..., D) they have batch shape (...) and event shape (actions,), and implement `sample`, `log_prob`,
`entropy` and `mode`, all without host synchronization.
"""

import math

import torch
from torch import Tensor
from torch.distributions import Distribution, Independent, Normal, constraints
from torch.nn import functional

SATURATION = 1e-6  # log_prob clamps actions of the tanh-normal distribution to 1 minus this


class DiagonalNormal(Independent):
    """Independent normal distributions of the actions.

    Args:
        loc: Mean (..., actions).
        scale: Standard deviation (..., actions).
    """

    base_dist: Normal

    def __init__(self, loc: Tensor, scale: Tensor):
        # Validating arguments would force a host synchronization.
        super().__init__(Normal(loc, scale, validate_args=False), 1, validate_args=False)

    @property
    def loc(self) -> Tensor:
        """Mean (..., actions)."""
        return self.base_dist.loc

    @property
    def scale(self) -> Tensor:
        """Standard deviation (..., actions)."""
        return self.base_dist.scale

    @property
    def stddev(self) -> Tensor:
        """Standard deviation (..., actions)."""
        return self.base_dist.scale

    def rsample(self, sample_shape: torch.Size = torch.Size()) -> Tensor:  # noqa: B008  torch's default
        """Return samples (*sample_shape, ..., actions) with gradients."""
        loc = self.loc.expand(self._extended_shape(sample_shape))
        return loc + self.scale * torch.randn_like(loc)  # torch.normal would synchronize to check the scale

    def sample(self, sample_shape: torch.Size = torch.Size()) -> Tensor:  # noqa: B008
        """Return samples (*sample_shape, ..., actions) without gradients."""
        with torch.no_grad():
            return self.rsample(sample_shape)

    def expand(self, batch_shape: torch.Size, _instance: Distribution | None = None) -> "DiagonalNormal":
        """Return the distribution with its parameters expanded to a batch shape."""
        shape = torch.Size(batch_shape) + self.event_shape
        return DiagonalNormal(self.loc.expand(shape), self.scale.expand(shape))


class TanhNormal(Distribution):
    """The tanh of independent normal variables: actions within (-1, 1).

    Its entropy has no closed form; `entropy` is an unbiased estimate from one sample. `mode` is tanh(loc), the median.

    Args:
        loc: Mean before the tanh (..., actions).
        scale: Standard deviation before the tanh (..., actions).
    """

    has_rsample = True

    def __init__(self, loc: Tensor, scale: Tensor):
        self._normal = DiagonalNormal(loc, scale)
        super().__init__(self._normal.batch_shape, self._normal.event_shape, validate_args=False)

    @property
    def arg_constraints(self) -> dict[str, constraints.Constraint]:
        """Empty, because arguments are not validated."""
        return {}

    @property
    def support(self) -> constraints.Constraint:
        """Actions within (-1, 1)."""
        return constraints.independent(constraints.interval(-1.0, 1.0), 1)

    @property
    def mode(self) -> Tensor:
        """tanh(loc), (..., actions)."""
        return self._normal.loc.tanh()

    def rsample(self, sample_shape: torch.Size = torch.Size()) -> Tensor:  # noqa: B008
        """Return samples (*sample_shape, ..., actions) with gradients."""
        return self._normal.rsample(sample_shape).tanh()

    def sample(self, sample_shape: torch.Size = torch.Size()) -> Tensor:  # noqa: B008
        """Return samples (*sample_shape, ..., actions) without gradients."""
        with torch.no_grad():
            return self.rsample(sample_shape)

    def log_prob(self, value: Tensor) -> Tensor:
        """Return log densities (...) of actions (..., actions)."""
        before = value.clamp(SATURATION - 1, 1 - SATURATION).atanh()
        return self._normal.log_prob(before) - _log_slope(before).sum(-1)

    def entropy(self) -> Tensor:
        """Return an unbiased estimate of the entropy (...)."""
        return self._normal.entropy() + _log_slope(self._normal.rsample()).sum(-1)


def _log_slope(x: Tensor) -> Tensor:
    """Return log(1 - tanh(x)^2), the log of the derivative of tanh, without cancellation."""
    return 2 * (math.log(2) - x - functional.softplus(-2 * x))
