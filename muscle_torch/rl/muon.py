"""Muon that orthogonalises weights of equal shape together: one product of many matrices instead of many products."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor


class BatchedMuon(torch.optim.Muon):
    """As `torch.optim.Muon`, state and settings included, with `adjust_lr_fn="original"`.

    A network of many layers of one width, as the published ones are, spends less time in launching kernels.
    """

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> None:
        assert closure is None, "the learner computes the gradients itself"
        for group in self.param_groups:
            by_shape: dict[torch.Size, list[Tensor]] = {}
            for parameter in group["params"]:
                if parameter.grad is not None:
                    by_shape.setdefault(parameter.shape, []).append(parameter)
            for alike in by_shape.values():
                self._step_alike(alike, group)

    def _step_alike(self, parameters: list[Tensor], group: dict[str, Any]) -> None:
        for parameter in parameters:
            if "momentum_buffer" not in self.state[parameter]:
                self.state[parameter]["momentum_buffer"] = torch.zeros_like(parameter)
        gradient = torch.stack([parameter.grad for parameter in parameters if parameter.grad is not None])
        buffers = [self.state[parameter]["momentum_buffer"] for parameter in parameters]
        for buffer, own in zip(buffers, gradient, strict=True):
            buffer.lerp_(own, 1 - group["momentum"])
        direction = (
            gradient.lerp(torch.stack(buffers), group["momentum"]) if group["nesterov"] else torch.stack(buffers)
        )
        update = orthogonal(direction, group["ns_coefficients"], group["ns_steps"], group["eps"])
        rows, columns = parameters[0].shape
        rate = float(group["lr"])
        for parameter, own in zip(parameters, update, strict=True):
            parameter.mul_(1 - rate * group["weight_decay"])
            parameter.add_(own, alpha=-rate * max(1.0, rows / columns) ** 0.5)


def orthogonal(matrices: Tensor, coefficients: tuple[float, float, float], steps: int, epsilon: float) -> Tensor:
    """Newton-Schulz in bfloat16: each of (B, m, n) moved towards the nearest matrix of singular values near 1."""
    tall = matrices.shape[1] > matrices.shape[2]
    x = (matrices.mT if tall else matrices).bfloat16()
    x = x / torch.linalg.vector_norm(x, dim=(1, 2), keepdim=True).clamp(min=epsilon)
    first, third, fifth = coefficients
    for _ in range(steps):
        gram = x @ x.mT
        gram = torch.baddbmm(gram, gram, gram, beta=third, alpha=fifth)
        x = torch.baddbmm(x, gram, x, beta=first)
    return x.mT if tall else x
