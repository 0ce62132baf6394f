"""Normalization of observations by running statistics, which are frozen between two commits."""

from collections.abc import Callable

import torch
from torch import Tensor, nn

Sample = tuple[Tensor, Tensor, Tensor]  # mean, sum of squared deviations from it, count
Moments = Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]


class ObservationNormalizer(nn.Module):
    """(x - mean) / sqrt(variance + epsilon), clipped. Welford's statistics, merged batch by batch (Chan et al. 1979).

    `observe` accumulates statistics while collecting, and `commit` makes them current. In between the normalization is
    constant, so that it is the same in rollout and loss, and the first probability ratio is exactly 1. epsilon=1e-4 and
    clip=10 bound features that hardly vary; epsilon=1e-8 and clip=0 are the published settings.
    """

    mean: Tensor
    var: Tensor
    count: Tensor
    pending_mean: Tensor
    pending_square: Tensor
    pending_count: Tensor

    def __init__(self, size: int, epsilon: float = 1e-4, clip: float = 10.0):
        """Begin with mean 0 and variance 1.

        Args:
            size: Size of an observation, D.
            epsilon: Added to the variance.
            clip: Bound of the normalized values; 0: no clipping.
        """
        super().__init__()
        self.epsilon, self.clip = epsilon, clip
        self.register_buffer("mean", torch.zeros(size))
        self.register_buffer("var", torch.ones(size))
        self.register_buffer("count", torch.zeros(()))
        self.register_buffer("pending_mean", torch.zeros(size))
        self.register_buffer("pending_square", torch.zeros(size))  # sum of squared deviations from pending_mean
        self.register_buffer("pending_count", torch.zeros(()))

    def forward(self, observation: Tensor) -> Tensor:
        """Normalize observations (..., D)."""
        normal = (observation - self.mean) * (self.var + self.epsilon).rsqrt()
        return normal.clamp(-self.clip, self.clip) if self.clip else normal

    @torch.no_grad()
    def observe(self, observation: Tensor) -> None:
        """Accumulate a batch (N, D)."""
        square = (observation - observation.mean(0)).square().sum(0)
        count = torch.full_like(self.pending_count, len(observation))
        merged = _merge(self._pending(), (observation.mean(0), square, count))
        for buffer, value in zip(self._pending(), merged, strict=True):
            buffer.copy_(value)

    @torch.no_grad()
    def merge(self, moments: Moments, size: int) -> None:
        """Merge the pending statistics of all processes, which observed equally many samples.

        Args:
            moments: Maps mean and variance of this process to those of all processes' samples.
            size: Number of processes.
        """
        mean, variance = moments(self.pending_mean, self.pending_square / self.pending_count)
        self.pending_count.mul_(size)
        self.pending_mean.copy_(mean)
        self.pending_square.copy_(variance * self.pending_count)

    @torch.no_grad()
    def commit(self) -> None:
        """Add the samples observed since the last call to the current statistics."""
        mean, square, count = _merge((self.mean, self.var * self.count, self.count), self._pending())
        self.mean.copy_(mean)
        self.var.copy_(torch.where(count > 0, square / count.clamp(min=1), self.var))
        self.count.copy_(count)
        for buffer in self._pending():
            buffer.zero_()

    def _pending(self) -> Sample:
        return self.pending_mean, self.pending_square, self.pending_count


def _merge(a: Sample, b: Sample) -> Sample:
    """Return the statistics of two samples together."""
    count = a[2] + b[2]
    share = b[2] / count.clamp(min=1)
    difference = b[0] - a[0]
    return a[0] + difference * share, a[1] + b[1] + difference.square() * a[2] * share, count
