"""A soft mixture of experts: some hidden layers are weighted sums of small networks, which are all evaluated."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from muscle_torch.errors import InputError

from .actor_critic import NetworkPolicy
from .options import MixtureOptions, MoEOptions, Networks
from .trunks import HEAD_GAIN, SQRT2, activation, dense, layer_norm


class MixtureLayer(nn.Module):
    """(N, inputs) -> (N, width): sum over experts of softmax(gate(x) / temperature) * expert(x).

    An expert is Dense, activation, Dense; its hidden width is half the width of the layer. The experts have separate
    2-D weights, so that Muon orthogonalizes each individually, but one product evaluates them together.
    """

    def __init__(self, inputs: int, width: int, experts: int, temperature: float, name: str):
        """Initialize the experts and the gate.

        Args:
            inputs: Number of inputs.
            width: Number of outputs.
            experts: Number of experts.
            temperature: Temperature of the softmax that weights the experts.
            name: Activation, a key in ACTIVATIONS.
        """
        super().__init__()
        inner = max(1, width // 2)
        self.temperature = temperature
        self.gate = nn.Linear(inputs, experts)
        nn.init.normal_(self.gate.weight, std=0.01)
        nn.init.zeros_(self.gate.bias)
        self.inner = nn.ModuleList(dense(inputs, inner, SQRT2) for _ in range(experts))
        self.outer = nn.ModuleList(dense(inner, width, HEAD_GAIN) for _ in range(experts))
        self.act = activation(name)
        # Mean weight of each expert in the last forward pass with gradients, (E,); the balance loss uses it.
        self.share: Tensor | None = None

    def forward(self, x: Tensor) -> Tensor:
        """Return the weighted sum of the experts."""
        weight = functional.softmax(self.gate(x) / self.temperature, dim=-1)
        if torch.is_grad_enabled():
            self.share = weight.reshape(-1, weight.shape[-1]).mean(0)
        hidden = self.act(functional.linear(x, _joined(self.inner, "weight"), _joined(self.inner, "bias")))
        hidden = (hidden.unflatten(-1, (len(self.inner), -1)) * weight.unsqueeze(-1)).flatten(-2)
        outer = torch.cat([expert.get_parameter("weight") for expert in self.outer], dim=1)
        bias = torch.stack([expert.get_parameter("bias") for expert in self.outer])
        return functional.linear(hidden, outer) + weight @ bias

    def __getstate__(self) -> dict[str, Any]:
        """Return the state for copies, without the share, because its autograd graph cannot be copied."""
        return self.__dict__ | {"share": None}


class MoEPolicy(NetworkPolicy):
    """Multilayer perceptrons with LayerNorm; the layers `policy.mixture.layers` are mixtures of experts."""

    options_class = MoEOptions
    options: MoEOptions

    def trunk(self, part: str, inputs: int, hidden: list[int], outputs: int) -> nn.Module:
        """Return the network of `part` from inputs over hidden layers to outputs; see `NetworkPolicy.trunk`."""
        options, mixture = self.options, self.options.mixture
        _check(mixture, len(hidden))
        layers: list[nn.Module] = []
        for index, width in enumerate(hidden):
            if index in mixture.layers and mixture.networks in (part, Networks.both):
                layers.append(MixtureLayer(inputs, width, mixture.experts, mixture.temperature, options.activation))
            else:
                layers.append(dense(inputs, width, SQRT2))
            layers += [layer_norm(width, options.layernorm_epsilon), activation(options.activation)]
            inputs = width
        return nn.Sequential(*layers, dense(inputs, outputs, HEAD_GAIN))

    def auxiliary_loss(self, mean: Callable[[Tensor], Tensor] = lambda share: share) -> Tensor:
        """Return the balance loss () of all mixture layers in the last forward passes.

        It is E * sum of squared mean weights: 1 if all experts are used equally, E if only one is used.

        Args:
            mean: Averages a tensor over the processes that train together, each of which has a part of the minibatch.
        """
        layers = [m for m in self.modules() if isinstance(m, MixtureLayer) and m.share is not None]
        local = torch.stack([layer.share for layer in layers if layer.share is not None])
        for layer in layers:
            layer.share = None
        # The value is that of all processes; the gradient is that of the local part and is averaged later.
        share = local + (mean(local.detach()) - local.detach())
        return self.options.mixture.balance * (share.shape[1] * share.square().sum())


def _check(mixture: MixtureOptions, layers: int) -> None:
    if mixture.experts < 2 or mixture.temperature <= 0:
        raise InputError("policy.mixture: at least 2 experts and a temperature above 0 are needed")
    if mixture.networks not in tuple(Networks):
        raise InputError(f"policy.mixture.networks={str(mixture.networks)!r}: choose actor, critic or both")
    if not mixture.layers or not all(0 <= index < layers for index in mixture.layers):
        raise InputError(
            f"policy.mixture.layers={mixture.layers}: list hidden layers between 0 and {layers - 1} "
            "(policy.hidden and policy.critic_hidden have one width per layer)"
        )


def _joined(experts: nn.ModuleList, name: str) -> Tensor:
    return torch.cat([expert.get_parameter(name) for expert in experts])
