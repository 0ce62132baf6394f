"""Muon that orthogonalises weights of equal shape together: one product of many matrices instead of many products."""

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor, nn


class BatchedMuon(torch.optim.Muon):
    """As `torch.optim.Muon` with `adjust_lr_fn="original"`, its state and settings included; Nesterov momentum only.

    A network of many layers of one width, as the published ones are, spends less time in launching kernels.

    found_inf: () 1 where a gradient is not finite, else 0, set before each step. 1 leaves weights and momentum as they
    are, to the bit, without a copy of them and without asking the device: torch's fused Adam has the same convention.
    """

    found_inf: Tensor

    def __init__(self, matrices: Iterable[nn.Parameter], **settings: Any):
        super().__init__(matrices, adjust_lr_fn="original", **settings)

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> None:
        assert closure is None, "the learner computes the gradients itself"
        finite = self.found_inf == 0
        for group in self.param_groups:
            by_shape: dict[torch.Size, list[Tensor]] = {}
            for parameter in group["params"]:
                if parameter.grad is not None:
                    by_shape.setdefault(parameter.shape, []).append(parameter)
            for alike in by_shape.values():
                self._step_alike(alike, group, finite)

    def _step_alike(self, parameters: list[Tensor], group: dict[str, Any], finite: Tensor) -> None:
        direction = torch.stack([self._direction(parameter, group["momentum"], finite) for parameter in parameters])
        update = orthogonal(direction, group["ns_coefficients"], group["ns_steps"], group["eps"])
        update = torch.where(finite, update, 0)  # not a product: 0 times NaN is NaN
        rows, columns = parameters[0].shape
        rate = float(group["lr"])
        for parameter, own in zip(parameters, update, strict=True):
            if group["weight_decay"]:
                parameter.mul_(1 - rate * group["weight_decay"] * finite.double())
            parameter.add_(own, alpha=-rate * max(1.0, rows / columns) ** 0.5)

    def _direction(self, parameter: Tensor, momentum: float, finite: Tensor) -> Tensor:
        """The gradient with Nesterov momentum, in bfloat16; NaN where it is not finite."""
        state, gradient = self.state[parameter], parameter.grad
        assert gradient is not None
        if "momentum_buffer" not in state:
            state["momentum_buffer"] = torch.zeros_like(parameter)
        buffer = state["momentum_buffer"]
        buffer.lerp_(torch.where(finite, gradient, buffer), 1 - momentum)
        return gradient.lerp(buffer, momentum).bfloat16()


def orthogonal(matrices: Tensor, coefficients: tuple[float, float, float], steps: int, epsilon: float) -> Tensor:
    """Newton-Schulz: each of bfloat16 (B, m, n) moved towards the nearest matrix of singular values near 1."""
    tall = matrices.shape[1] > matrices.shape[2]
    x = matrices.mT if tall else matrices
    x = x / torch.linalg.vector_norm(x, dim=(1, 2), keepdim=True).clamp(min=epsilon)
    first, third, fifth = coefficients
    for _ in range(steps):
        gram = torch.bmm(x, x.mT)  # on a CPU faster than @ for a batch of one
        gram = torch.baddbmm(gram, gram, gram, beta=third, alpha=fifth)
        x = torch.baddbmm(x, gram, x, beta=first)
    return x.mT if tall else x
