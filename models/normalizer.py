"""Running normalisation of observations, frozen except when told to take in what was observed."""

import torch
from torch import Tensor, nn


class ObservationNormalizer(nn.Module):
    """(x - mean) / sqrt(variance + epsilon), clipped. Welford's statistics, merged batch by batch (Chan et al. 1979).

    `observe` accumulates while collecting, `commit` makes the accumulated statistics current. In between nothing
    changes, so the rollout and the loss see the same normalisation and the first probability ratio is exactly 1.
    epsilon 1e-4 and clip 10 keep features that hardly move from exploding; epsilon=1e-8, clip=0 is the published form.
    """

    mean: Tensor
    var: Tensor
    count: Tensor
    pending_mean: Tensor
    pending_square: Tensor
    pending_count: Tensor

    def __init__(self, size: int, epsilon: float = 1e-4, clip: float = 10.0):
        super().__init__()
        self.epsilon, self.clip = epsilon, clip
        self.register_buffer("mean", torch.zeros(size))
        self.register_buffer("var", torch.ones(size))
        self.register_buffer("count", torch.zeros(()))
        self.register_buffer("pending_mean", torch.zeros(size))
        self.register_buffer("pending_square", torch.zeros(size))  # sum of squared deviations from pending_mean
        self.register_buffer("pending_count", torch.zeros(()))

    def forward(self, observation: Tensor) -> Tensor:
        """(..., D) -> (..., D)."""
        normal = (observation - self.mean) * (self.var + self.epsilon).rsqrt()
        return normal.clamp(-self.clip, self.clip) if self.clip else normal

    @torch.no_grad()
    def observe(self, observation: Tensor) -> None:
        """Accumulates a batch (N, D)."""
        square = (observation - observation.mean(0)).square().sum(0)
        merged = _merge(
            (self.pending_mean, self.pending_square, self.pending_count),
            (observation.mean(0), square, torch.full_like(self.pending_count, len(observation))),
        )
        for own, new in zip((self.pending_mean, self.pending_square, self.pending_count), merged, strict=True):
            own.copy_(new)

    @torch.no_grad()
    def commit(self) -> None:
        """Makes what was observed since the last call part of the current statistics."""
        pending = (self.pending_mean, self.pending_square, self.pending_count)
        mean, square, count = _merge((self.mean, self.var * self.count, self.count), pending)
        self.mean.copy_(mean)
        self.var.copy_(torch.where(count > 0, square / count.clamp(min=1), self.var))
        self.count.copy_(count)
        for own in pending:
            own.zero_()


def _merge(a: tuple[Tensor, Tensor, Tensor], b: tuple[Tensor, Tensor, Tensor]) -> tuple[Tensor, Tensor, Tensor]:
    """(mean, sum of squared deviations, count) of two samples together."""
    count = a[2] + b[2]
    share = b[2] / count.clamp(min=1)
    apart = b[0] - a[0]
    return a[0] + apart * share, a[1] + b[1] + apart.square() * a[2] * share, count
