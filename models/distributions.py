"""Distributions of actions, which a policy's `distribution(observation)` returns.

For observations (..., D) they have batch shape (...) and event shape (actions,), and implement `sample`, `log_prob`,
`entropy` and `mode`, all without host synchronization.
"""

import math
from functools import cached_property

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


class LatticeNormal(Distribution):
    """Normal distribution whose covariance W diag(latent_std^2) W^T + diag(std^2) is that of all observations.

    It is that of noise on the last hidden layer, which the last layer's weight W maps to correlated actions, and of
    noise on the actions (Lattice; Chiappa et al. 2023). The covariance has no batch axes: one factorization serves the
    whole batch. It is made in double precision, in which a covariance of large weights and little noise stays positive
    definite, and only if a density, an entropy or a sample needs it.

    Args:
        loc: Mean (..., actions).
        weight: W, (actions, latent).
        latent_std: Standard deviation of the noise on the last hidden layer, (latent,).
        std: Standard deviation of the noise on the actions, (actions,).
    """

    has_rsample = True

    def __init__(self, loc: Tensor, weight: Tensor, latent_std: Tensor, std: Tensor):
        self.loc, self._weight, self._latent_std, self._std = loc, weight, latent_std, std
        super().__init__(loc.shape[:-1], loc.shape[-1:], validate_args=False)

    @property
    def arg_constraints(self) -> dict[str, constraints.Constraint]:
        """Empty, because arguments are not validated."""
        return {}

    @property
    def support(self) -> constraints.Constraint:
        """All actions."""
        return constraints.real_vector

    @property
    def mode(self) -> Tensor:
        """Mean (..., actions)."""
        return self.loc

    @property
    def mean(self) -> Tensor:
        """Mean (..., actions)."""
        return self.loc

    @property
    def stddev(self) -> Tensor:
        """Standard deviation of each action (..., actions)."""
        return lattice_std(self._weight, self._latent_std, self._std).expand_as(self.loc)

    @property
    def covariance_matrix(self) -> Tensor:
        """Covariance of the actions, (actions, actions)."""
        return self._covariance.to(self.loc.dtype)

    @cached_property
    def scale_tril(self) -> Tensor:
        """Lower triangular factor L of the covariance L L^T, (actions, actions)."""
        # `torch.linalg.cholesky` would synchronize to check the result.
        return torch.linalg.cholesky_ex(self._covariance, check_errors=False).L.to(self.loc.dtype)

    def rsample(self, sample_shape: torch.Size = torch.Size()) -> Tensor:  # noqa: B008  torch's default
        """Return samples (*sample_shape, ..., actions) with gradients."""
        loc = self.loc.expand(self._extended_shape(sample_shape))
        return loc + torch.randn_like(loc) @ self.scale_tril.T

    def sample(self, sample_shape: torch.Size = torch.Size()) -> Tensor:  # noqa: B008
        """Return samples (*sample_shape, ..., actions) without gradients."""
        with torch.no_grad():
            return self.rsample(sample_shape)

    def log_prob(self, value: Tensor) -> Tensor:
        """Return log densities (...) of actions (..., actions)."""
        deviation = value - self.loc
        rows = deviation.reshape(-1, deviation.shape[-1])
        noise = torch.linalg.solve_triangular(self.scale_tril.T, rows, upper=True, left=False)
        squares = noise.square().sum(-1).view(deviation.shape[:-1])
        return -0.5 * (squares + deviation.shape[-1] * math.log(2 * math.pi)) - self._log_volume

    def entropy(self) -> Tensor:
        """Return the entropy (...)."""
        entropy = 0.5 * self.event_shape[0] * (1 + math.log(2 * math.pi)) + self._log_volume
        return entropy.expand(self.batch_shape)

    @property
    def _covariance(self) -> Tensor:
        scaled = (self._weight * self._latent_std).double()
        return scaled @ scaled.T + torch.diag(self._std.double().square())

    @property
    def _log_volume(self) -> Tensor:
        """Log determinant of L, ()."""
        return self.scale_tril.diagonal().log().sum()


def lattice_std(weight: Tensor, latent_std: Tensor, std: Tensor) -> Tensor:
    """Return the standard deviation (actions,) of each action; arguments as of `LatticeNormal`."""
    return (weight.square() @ latent_std.square() + std.square()).sqrt()


def _log_slope(x: Tensor) -> Tensor:
    """Return log(1 - tanh(x)^2), the log of the derivative of tanh, without cancellation."""
    return 2 * (math.log(2) - x - functional.softplus(-2 * x))
