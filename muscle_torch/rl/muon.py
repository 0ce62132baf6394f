"""Muon of many matrices: those of one shape in one product, and each on one of the processes that train together."""

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from .process_group import ProcessGroup, SingleProcess


class BatchedMuon(torch.optim.Muon):
    """`torch.optim.Muon` with `adjust_lr_fn="original"`, its state and settings included; Nesterov momentum only.

    A network of many layers of one width, as the published ones are, spends less time in launching kernels. Each of
    `processes` orthogonalises its share of the matrices, and they exchange the results. All have the same gradients and
    keep all momentum: what is saved does not depend on their number.

    Attributes:
        found_inf: 1 if a gradient is not finite, else 0, (); set before each step. 1 leaves weights and momentum as
            they are, to the bit, without copying them and without a host synchronization: torch's fused Adam has the
            same convention.
    """

    found_inf: Tensor

    def __init__(self, matrices: Iterable[nn.Parameter], processes: ProcessGroup | None = None, **settings: Any):
        super().__init__(matrices, adjust_lr_fn="original", **settings)
        self._processes = processes or SingleProcess()

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> None:
        assert closure is None, "the learner computes the gradients itself"
        finite = self.found_inf == 0
        for group in self.param_groups:
            reached = [parameter for parameter in group["params"] if parameter.grad is not None]
            for parameter in reached:
                self._observe(parameter, group["momentum"], finite)
            rate = float(group["lr"])
            keep = 1 - rate * group["weight_decay"] * finite.double()
            for parameter, update in zip(reached, self._updates(reached, group, finite), strict=True):
                rows, columns = parameter.shape
                if group["weight_decay"]:
                    parameter.mul_(keep)
                parameter.add_(update, alpha=-rate * max(1.0, rows / columns) ** 0.5)

    def _observe(self, parameter: Tensor, momentum: float, finite: Tensor) -> None:
        state, gradient = self.state[parameter], parameter.grad
        assert gradient is not None
        if "momentum_buffer" not in state:
            state["momentum_buffer"] = torch.zeros_like(parameter)
        buffer = state["momentum_buffer"]
        buffer.lerp_(torch.where(finite, gradient, buffer), 1 - momentum)

    def _updates(self, parameters: list[Tensor], group: dict[str, Any], finite: Tensor) -> list[Tensor]:
        """Return the orthogonalised direction of each, in bfloat16; 0 if its gradient is not finite."""
        shapes = [parameter.shape for parameter in parameters]
        shares = assign_by_cost(shapes, self._processes.size)
        # As long for all processes, which exchange equal lengths; what a smaller share leaves over is not read.
        length = max(sum(shapes[index].numel() for index in share) for share in shares)
        local = torch.empty(length, dtype=torch.bfloat16, device=finite.device)
        updates = _parts(local, shapes, shares[self._processes.rank])
        for shape in dict.fromkeys(shapes[index] for index in updates):
            alike = [index for index in updates if shapes[index] == shape]
            direction = torch.stack([self._direction(parameters[index], group["momentum"]) for index in alike])
            update = orthogonal(direction, group["ns_coefficients"], group["ns_steps"], group["eps"])
            for index, one in zip(alike, torch.where(finite, update, 0), strict=True):  # 0 times NaN would be NaN
                updates[index].copy_(one)
        gathered: dict[int, Tensor] = {}
        for share, flat in zip(shares, self._processes.all_gather(local), strict=True):
            gathered |= _parts(flat, shapes, share)
        return [gathered[index] for index in range(len(parameters))]

    def _direction(self, parameter: Tensor, momentum: float) -> Tensor:
        """Return the gradient with Nesterov momentum, in bfloat16."""
        assert parameter.grad is not None
        return parameter.grad.lerp(self.state[parameter]["momentum_buffer"], momentum).bfloat16()


def assign_by_cost(shapes: Sequence[torch.Size], processes: int) -> list[list[int]]:
    """Return the matrices of each process: the costliest first, each to the process with the least cost so far."""
    costs = [min(shape) ** 2 * (2 * max(shape) + min(shape)) for shape in shapes]  # the products of `orthogonal`
    shares: list[list[int]] = [[] for _ in range(processes)]
    load = [0] * processes
    for index in sorted(range(len(shapes)), key=lambda index: -costs[index]):
        least = load.index(min(load))
        shares[least].append(index)
        load[least] += costs[index]
    return shares


def _parts(flat: Tensor, shapes: Sequence[torch.Size], share: list[int]) -> dict[int, Tensor]:
    """Return the part of `flat` that holds each matrix of `share`, in that order, by the matrix's index."""
    parts, begin = {}, 0
    for index in share:
        end = begin + shapes[index].numel()
        parts[index] = flat[begin:end].view(shapes[index])
        begin = end
    return parts


def orthogonal(matrices: Tensor, coefficients: tuple[float, float, float], steps: int, epsilon: float) -> Tensor:
    """Return each of bfloat16 (B, m, n), moved by Newton-Schulz towards the nearest matrix of singular values 1."""
    tall = matrices.shape[1] > matrices.shape[2]
    x = matrices.mT if tall else matrices
    x = x / torch.linalg.vector_norm(x, dim=(1, 2), keepdim=True).clamp(min=epsilon)
    first, third, fifth = coefficients
    for _ in range(steps):
        gram = torch.bmm(x, x.mT)  # on a CPU faster than @ for a batch of one
        gram = torch.baddbmm(gram, gram, gram, beta=third, alpha=fifth)
        x = torch.baddbmm(x, gram, x, beta=first)
    return x.mT if tall else x
