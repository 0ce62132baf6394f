"""Muscle synergies: a linear map from samples of a policy's distribution to actions."""

from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.distributions import Distribution

from muscle_torch.errors import InputError

from .distributions import LatticeNormal
from .options import NormalOptions


class ActionMixing(nn.Module):
    """action = M x + b, where x is a sample of the policy's distribution.

    With `synergy_mixing` = s > 0, each component of x drives muscles with similar moment arms together, and their
    antagonists with the opposite sign: M M^T = (1 - s) I + s C, where C holds the cosines between the muscles' moment
    arms. Independent noise of standard deviation 1 on x becomes noise of standard deviation 1 on every muscle,
    correlated by C. The columns of M are ordered by their norm. M is invertible, so every muscle can still be driven
    alone. b is `action_bias` for muscles. Actions of other actuators are unchanged.
    """

    matrix: Tensor
    inverse: Tensor
    bias: Tensor
    log_det: Tensor

    def __init__(self, action_size: int, options: NormalOptions):
        super().__init__()
        if not 0 <= options.synergy_mixing < 1:
            raise InputError(
                f"exploration.synergy_mixing={options.synergy_mixing}: choose a fraction from 0 to below 1"
            )
        self.options = options
        # The identity until `fit` is called. Checkpoints store these buffers.
        self.register_buffer("matrix", torch.eye(action_size))
        self.register_buffer("inverse", torch.eye(action_size))
        self.register_buffer("bias", torch.zeros(action_size))
        self.register_buffer("log_det", torch.zeros(()))  # log |det M|; computing it at every step would synchronize

    def fit(self, env: Any) -> None:
        """Compute the map from the muscles' moment arms.

        Args:
            env: Environment, whose `action_names` and `embodiment` are read.

        Raises:
            InputError: No action excites a muscle.
        """
        body = env.embodiment
        columns = [i for i, name in enumerate(env.action_names) if name in body.muscle_names]
        if not columns:
            raise InputError("exploration.synergy_mixing and action_bias need actions that excite muscles")
        muscles = body.muscle_columns([env.action_names[i] for i in columns])
        cosines = body.muscle_similarity[np.ix_(muscles, muscles)]
        matrix = torch.from_numpy(mixing_matrix(cosines, self.options.synergy_mixing))
        rows = torch.tensor(columns)
        self.matrix[rows.unsqueeze(1), rows] = matrix.float()
        self.inverse[rows.unsqueeze(1), rows] = torch.linalg.inv(matrix).float()
        self.bias[rows] = self.options.action_bias
        self.log_det.fill_(float(torch.linalg.slogdet(matrix)[1]))

    def forward(self, distribution: Distribution) -> "MixedActions":
        """Return the distribution of M x + b, where x has the distribution `distribution`."""
        return MixedActions(distribution, self)

    def mix(self, x: Tensor) -> Tensor:
        """Return M x + b, (..., actions)."""
        return x @ self.matrix.T + self.bias

    def unmix(self, action: Tensor) -> Tensor:
        """Return the x (..., actions) of an action."""
        return (action - self.bias) @ self.inverse.T


class MixedActions(Distribution):
    """Distribution of M x + b, where x has the distribution `base`."""

    def __init__(self, base: Distribution, mixing: ActionMixing):
        """Map the distribution `base` of x (..., actions) by `mixing`."""
        self.base, self._mixing = base, mixing
        super().__init__(base.batch_shape, base.event_shape, validate_args=False)

    @property
    def arg_constraints(self) -> dict[str, Any]:
        """Empty, because arguments are not validated."""
        return {}

    @property
    def mode(self) -> Tensor:
        """Mode of the actions, M x + b at the mode of x, (..., actions)."""
        return self._mixing.mix(self.base.mode)

    @property
    def mean(self) -> Tensor:
        """Mean of the actions, M x + b at the mean of x, (..., actions)."""
        return self._mixing.mix(self.base.mean)

    @property
    def stddev(self) -> Tensor:
        """Standard deviation of each action (..., actions), for normal x: independent, or of a `LatticeNormal`."""
        if isinstance(self.base, LatticeNormal):
            mixed = self._mixing.matrix @ self.base.scale_tril
            return mixed.square().sum(-1).sqrt().expand_as(self.base.loc)
        return (self.base.stddev.square() @ self._mixing.matrix.T.square()).sqrt()

    def rsample(self, sample_shape: torch.Size = torch.Size()) -> Tensor:  # noqa: B008  torch's default
        """Return samples (*sample_shape, ..., actions) with gradients."""
        return self._mixing.mix(self.base.rsample(sample_shape))

    def sample(self, sample_shape: torch.Size = torch.Size()) -> Tensor:  # noqa: B008
        """Return samples (*sample_shape, ..., actions) without gradients."""
        with torch.no_grad():
            return self._mixing.mix(self.base.sample(sample_shape))

    def log_prob(self, value: Tensor) -> Tensor:
        """Return log densities (...) of actions (..., actions)."""
        return self.base.log_prob(self._mixing.unmix(value)) - self._mixing.log_det

    def entropy(self) -> Tensor:
        """Return the entropy (...)."""
        return self.base.entropy() + self._mixing.log_det


def make_mixing(action_size: int, options: NormalOptions) -> ActionMixing | None:
    """Return the mixing of a policy's actions; None if the options have no mixing and no bias.

    Raises:
        InputError: `synergy_mixing` is out of range.
    """
    mixed = options.synergy_mixing or options.action_bias
    return ActionMixing(action_size, options) if mixed else None


def mixing_matrix(cosines: np.ndarray, share: float) -> np.ndarray:
    """Return M (n, n) with M M^T = (1 - share) I + share C, its columns by descending norm.

    Args:
        cosines: C, cosines between moment arms, (n, n).
        share: `synergy_mixing`, in [0, 1).
    """
    if not share:
        return np.eye(len(cosines))
    weights, directions = np.linalg.eigh((1 - share) * np.eye(len(cosines)) + share * cosines)
    # The sign of an eigenvector is arbitrary: choose a positive sum, so that it is the same on every machine.
    signs = np.where(directions.sum(axis=0) < 0, -1.0, 1.0)
    return (directions * signs * np.sqrt(weights))[:, ::-1].copy()
