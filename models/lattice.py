"""Lattice exploration: noise on the last hidden layer, which the last layer maps to correlated noise of the muscles.

Muscles that the policy learns to drive together are then explored together (Chiappa et al. 2023, arXiv 2305.20065; used
by KINESIS, arXiv 2503.14637).
"""

import math

import torch
from torch import Tensor, nn
from torch.distributions import Distribution

from muscle_torch.errors import InputError

from .distributions import LatticeNormal, lattice_std
from .exploration import NormalExploration
from .options import LatticeOptions


class LatticeExploration(NormalExploration):
    """Normal noise of covariance W diag(latent_std^2) W^T + diag(std^2), where W is the weight of the last layer.

    Both standard deviations are learned and do not depend on the observation. The covariance has a gradient with
    respect to W too.
    """

    options: LatticeOptions

    def __init__(self, action_size: int, options: LatticeOptions):
        """Set the initial standard deviations; see `NormalExploration`."""
        super().__init__(action_size, options)
        if options.latent_std <= 0:
            raise InputError(f"exploration.latent_std={options.latent_std}: must be above 0")
        self.action_size = action_size

    def attach(self, head: nn.Linear) -> None:
        if head.out_features != self.action_size:
            raise InputError(
                "exploration=lattice has one covariance for all observations: set policy.state_std=false, so that the "
                "network outputs no standard deviation"
            )
        # In a tuple, so that the layer is not registered twice.
        self._head = (head,)
        start = torch.full((head.in_features,), math.log(self.options.latent_std))
        self.latent_log_std = nn.Parameter(start, requires_grad=self.log_std.requires_grad)

    @property
    def weight(self) -> Tensor:
        """W, the weight of the actor's last layer, (actions, latent)."""
        return self._head[0].weight

    def latent_std(self) -> Tensor:
        """Return the standard deviation of the noise on the last hidden layer, (latent,)."""
        return self.latent_log_std.exp().clamp(self.options.min_std, self.options.max_std)

    def forward(self, loc: Tensor) -> tuple[Tensor, Tensor]:
        """Return mean and standard deviation of each action for mean actions (..., actions)."""
        return loc, lattice_std(self.weight, self.latent_std(), self.std()).expand_as(loc)

    def unmixed(self, loc: Tensor, scale: Tensor) -> Distribution:
        """Return the distribution before `synergy_mixing` and `action_bias`; `scale` is not used."""
        return LatticeNormal(loc, self.weight, self.latent_std(), self.std())

    @torch.no_grad()
    def anneal(self, progress: float) -> None:
        """Scale both standard deviations by the same factor, down to final_std, if it is set."""
        super().anneal(progress)
        first, last = self.options.initial_std, self.options.final_std
        if last:
            self.latent_log_std.fill_(math.log(self.options.latent_std) + progress * math.log(last / first))
