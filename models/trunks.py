"""Networks from normalized observations to outputs: plain and gated residual (paper Eq. 11)."""

import torch
from torch import Tensor, nn

from muscle_torch.errors import InputError, nearest

ACTIVATIONS = {"silu": nn.SiLU, "relu": nn.ReLU, "elu": nn.ELU, "tanh": nn.Tanh}
SQRT2 = 2**0.5
HEAD_GAIN = 0.01  # outputs start near zero


def activation(name: str) -> nn.Module:
    """Return the activation function of a name. Raises InputError if it is unknown."""
    if name not in ACTIVATIONS:
        raise InputError(f"unknown activation {name!r}{nearest(name, list(ACTIVATIONS))}")
    return ACTIVATIONS[name]()


def dense(inputs: int, outputs: int, gain: float) -> nn.Linear:
    """Return a linear layer from `inputs` to `outputs` with orthogonal weights times `gain` and zero bias."""
    layer = nn.Linear(inputs, outputs)
    nn.init.orthogonal_(layer.weight, gain)
    nn.init.zeros_(layer.bias)
    return layer


def layer_norm(width: int, epsilon: float) -> nn.Module:
    """Return a LayerNorm with scale and offset, or the identity if epsilon is 0."""
    return nn.LayerNorm(width, epsilon) if epsilon else nn.Identity()


class PlainTrunk(nn.Sequential):
    """Dense, LayerNorm, activation for each width; then the head."""

    def __init__(self, inputs: int, hidden: list[int], outputs: int, name: str, epsilon: float = 1e-5):
        """Initialize the layers.

        Args:
            inputs: Number of inputs.
            hidden: Widths of the hidden layers.
            outputs: Number of outputs.
            name: Activation, a key in ACTIVATIONS.
            epsilon: Added to the variance in every LayerNorm; 0: no LayerNorm.
        """
        layers: list[nn.Module] = []
        for width in hidden:
            layers += [dense(inputs, width, SQRT2), layer_norm(width, epsilon), activation(name)]
            inputs = width
        super().__init__(*layers, dense(inputs, outputs, HEAD_GAIN))

    def layers(self, x: Tensor) -> list[Tensor]:
        """Return the activations of the hidden layers, each (..., width)."""
        activations = []
        for index, module in enumerate(list(self)[:-1], 1):
            x = module(x)
            if index % 3 == 0:  # dense, LayerNorm, activation
                activations.append(x)
        return activations


class ResidualBlock(nn.Module):
    """act(skip(x) + w * LN(Dense(act(LN(Dense(x)))))), where w is a learned gate sigmoid(g) or 0.1.

    The gate is initially sigmoid(-2) = 0.12, so the block is initially close to act(skip(x)). skip is the identity, or
    a linear layer if the width changes. Its output is not normalized, so its gain determines how nonlinear the block
    is: with the published gain of 1 a skip from few inputs to many units (10 to 64) gives each unit a standard
    deviation of 0.4, where SiLU is nearly linear.

    Args:
        inputs: Number of inputs.
        widths: Widths of the two dense layers; the second is the number of outputs.
        name: Activation, a key in ACTIVATIONS.
        gated: Whether w is learned; False: 0.1.
        epsilon: Added to the variance in every LayerNorm; 0: no LayerNorm.
        skip_gain: Gain of the orthogonal skip weights; 0: preserves the variance of the inputs.
    """

    def __init__(
        self,
        inputs: int,
        widths: tuple[int, int],
        name: str,
        gated: bool,
        epsilon: float = 1e-5,
        skip_gain: float = 0.0,
    ):
        super().__init__()
        skip_gain = skip_gain or max(1.0, widths[1] / inputs) ** 0.5
        self.first, self.first_norm = dense(inputs, widths[0], SQRT2), layer_norm(widths[0], epsilon)
        self.second, self.second_norm = dense(widths[0], widths[1], 0.01), layer_norm(widths[1], epsilon)
        self.skip = nn.Identity() if inputs == widths[1] else dense(inputs, widths[1], skip_gain)
        self.gate = nn.Parameter(torch.full((1,), -2.0)) if gated else None
        self.act = activation(name)

    def forward(self, x: Tensor) -> Tensor:
        """Return the block's output (..., widths[1]) for x (..., inputs)."""
        h = self.second_norm(self.second(self.act(self.first_norm(self.first(x)))))
        weight = 0.1 if self.gate is None else torch.sigmoid(self.gate)
        return self.act(self.skip(x) + weight * h)


class ResidualTrunk(nn.Sequential):
    """One block per pair of widths; an odd last width is a plain layer; then the head."""

    def __init__(
        self,
        inputs: int,
        hidden: list[int],
        outputs: int,
        name: str,
        gated: bool,
        epsilon: float = 1e-5,
        skip_gain: float = 0.0,
    ):
        layers: list[nn.Module] = []
        for first, second in zip(hidden[0::2], hidden[1::2], strict=False):
            layers.append(ResidualBlock(inputs, (first, second), name, gated, epsilon, skip_gain))
            inputs = second
        if len(hidden) % 2:
            layers += [dense(inputs, hidden[-1], SQRT2), layer_norm(hidden[-1], epsilon), activation(name)]
            inputs = hidden[-1]
        super().__init__(*layers, dense(inputs, outputs, HEAD_GAIN))
