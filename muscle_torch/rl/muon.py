"""Muon for many matrices: equal shapes are batched, and the matrices are sharded over the processes."""

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from .process_group import ProcessGroup, SingleProcess
from .side_stream import SideStream

SMALLEST_BLOCK = 512  # rows: smaller products take longer to launch than to compute


class BatchedMuon(torch.optim.Muon):
    """`torch.optim.Muon` with `adjust_lr_fn="original"` and Nesterov momentum, the same state and settings.

    Batching equal shapes saves kernel launches in networks with many layers of one width, such as the published ones.
    Each process orthogonalizes a shard of the matrices, and the results are exchanged. All processes have the same
    gradients and keep all momentum, so checkpoints do not depend on the number of processes.

    Attributes:
        found_inf: 1 if a gradient is not finite, else 0, (); set before each step. If it is 1, weights and momentum
            stay the same to the bit, without copies and without host synchronization. torch's fused Adam has the same
            convention.
    """

    found_inf: Tensor

    def __init__(self, matrices: Iterable[nn.Parameter], processes: ProcessGroup | None = None, **settings: Any):
        """Make the optimizer.

        Args:
            matrices: 2-D weights.
            processes: Group of the processes that step together; None: this one.
            **settings: Options of `torch.optim.Muon`.
        """
        matrices = list(matrices)
        super().__init__(matrices, adjust_lr_fn="original", **settings)
        self._processes = processes or SingleProcess()
        self._side = SideStream(matrices[0].device)

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> None:
        """Take one step, or none if `found_inf` is 1."""
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
        """Return the orthogonalized direction of each parameter in bfloat16; 0 if its gradient is not finite."""
        shapes = [parameter.shape for parameter in parameters]
        shares = assign_by_cost(shapes, self._processes.size)
        # The same length on all processes, as all_gather requires; a smaller shard leaves the rest unused.
        length = max(sum(shapes[index].numel() for index in share) for share in shares)
        local = torch.empty(length, dtype=torch.bfloat16, device=finite.device)
        updates = _parts(local, shapes, shares[self._processes.rank])
        batches = [
            [index for index in updates if shapes[index] == shape]
            for shape in dict.fromkeys(shapes[index] for index in updates)
        ]

        def orthogonalize(indices: list[int]) -> None:
            direction = torch.stack([self._direction(parameters[index], group["momentum"]) for index in indices])
            update = orthogonal(direction, group["ns_coefficients"], group["ns_steps"], group["eps"])
            for index, one in zip(indices, torch.where(finite, update, 0), strict=True):  # 0 times NaN would be NaN
                updates[index].copy_(one)

        self._on_two_streams(orthogonalize, batches, [sum(_cost(shapes[index]) for index in part) for part in batches])
        gathered: dict[int, Tensor] = {}
        for share, flat in zip(shares, self._processes.all_gather(local), strict=True):
            gathered |= _parts(flat, shapes, share)
        return [gathered[index] for index in range(len(parameters))]

    def _on_two_streams(self, work: Callable[[list[int]], None], parts: list[list[int]], costs: list[int]) -> None:
        """Run `work` for each part; on CUDA on two streams, so that small products fill idle multiprocessors."""
        main, side = deal_out(costs, 2)
        self._side.fork()
        with self._side.use():
            for number in side:
                work(parts[number])
        for number in main:
            work(parts[number])
        self._side.join()

    def _direction(self, parameter: Tensor, momentum: float) -> Tensor:
        """Return the gradient with Nesterov momentum, in bfloat16."""
        assert parameter.grad is not None
        return parameter.grad.lerp(self.state[parameter]["momentum_buffer"], momentum).bfloat16()


def assign_by_cost(shapes: Sequence[torch.Size], processes: int) -> list[list[int]]:
    """Return the indices of the matrices of each process, balanced by the cost of `orthogonal`."""
    return deal_out([_cost(shape) for shape in shapes], processes)


def deal_out(costs: Sequence[int], shares: int) -> list[list[int]]:
    """Return the indices of each share; the costliest item first, each to the share with the least cost so far."""
    dealt: list[list[int]] = [[] for _ in range(shares)]
    load = [0] * shares
    for index in sorted(range(len(costs)), key=lambda index: -costs[index]):
        least = load.index(min(load))
        dealt[least].append(index)
        load[least] += costs[index]
    return dealt


def _cost(shape: torch.Size) -> int:
    """Return a number proportional to the multiplications of a Newton-Schulz step, without using symmetry."""
    return min(shape) ** 2 * (2 * max(shape) + min(shape))


def _parts(flat: Tensor, shapes: Sequence[torch.Size], share: list[int]) -> dict[int, Tensor]:
    """Return views of `flat` for the matrices of `share`, in that order, by index of the matrix."""
    parts, begin = {}, 0
    for index in share:
        end = begin + shapes[index].numel()
        parts[index] = flat[begin:end].view(shapes[index])
        begin = end
    return parts


def orthogonal(
    matrices: Tensor,
    coefficients: tuple[float, float, float],
    steps: int,
    epsilon: float,
    block: int = SMALLEST_BLOCK,
) -> Tensor:
    """Orthogonalize matrices approximately, by Newton-Schulz iterations.

    Two of the three products of an iteration are symmetric; about half of each is computed (`symmetric_product`).

    Args:
        matrices: bfloat16 (B, m, n).
        coefficients: Coefficients of x, x^3 and x^5.
        steps: Number of iterations.
        epsilon: Lower bound of the norm to divide by.
        block: Smallest number of rows of the blocks into which symmetric products are divided.

    Returns:
        Matrices with singular values near 1, (B, m, n).
    """
    tall = matrices.shape[1] > matrices.shape[2]
    x = matrices.mT if tall else matrices
    x = (x / torch.linalg.vector_norm(x, dim=(1, 2), keepdim=True).clamp(min=epsilon)).contiguous()
    first, third, fifth = coefficients
    halvings = possible_halvings(x.shape[1], block)
    for _ in range(steps):
        gram = symmetric_product(x, halvings)
        gram = symmetric_product(gram, halvings, plus=gram, beta=third, alpha=fifth)
        x = torch.baddbmm(x, gram, x, beta=first)
    return x.mT if tall else x


def possible_halvings(rows: int, block: int) -> int:
    """Return how often `rows` can be halved without remainder and without falling below `block`."""
    count = 0
    while rows % 2 == 0 and rows // 2 >= block:
        rows, count = rows // 2, count + 1
    return count


def symmetric_product(
    x: Tensor, halvings: int, plus: Tensor | None = None, beta: float = 0.0, alpha: float = 1.0
) -> Tensor:
    """Return beta * plus + alpha * x x^T, (B, m, m).

    The result is divided into quarters; the one above the diagonal is the transpose of the one below, and the two on
    the diagonal are divided recursively, so h halvings leave 1/2 + 1/2^(h+1) of the arithmetic. Blocks of equal size
    are computed in one batch.

    Args:
        x: (B, m, n).
        halvings: Depth of the recursion.
        plus: Symmetric matrices (B, m, m); None: zero.
        beta: Factor of `plus`.
        alpha: Factor of the product.
    """
    batch, rows, columns = x.shape
    if not halvings:
        return _product(x, x, plus, beta, alpha)
    out = x.new_empty(batch, rows, rows)
    for level in range(halvings):
        half = rows >> (level + 1)
        pairs = x.view(-1, 2, half, columns)
        target = _diagonal_blocks(out, 2 * half)
        added = None if plus is None else _diagonal_blocks(plus, 2 * half)[..., half:, :half].reshape(-1, half, half)
        below = _product(pairs[:, 1], pairs[:, 0], added, beta, alpha).view(batch, -1, half, half)
        target[..., half:, :half] = below
        target[..., :half, half:] = below.mT
    size = rows >> halvings
    parts = x.view(-1, size, columns)
    added = None if plus is None else _diagonal_blocks(plus, size).reshape(-1, size, size)
    _diagonal_blocks(out, size).copy_(_product(parts, parts, added, beta, alpha).view(batch, -1, size, size))
    return out


def _product(a: Tensor, b: Tensor, plus: Tensor | None, beta: float, alpha: float) -> Tensor:
    """Return beta * plus + alpha * a b^T, rounded once; on a CPU faster than @ for a batch of one."""
    return torch.bmm(a, b.mT) if plus is None else torch.baddbmm(plus, a, b.mT, beta=beta, alpha=alpha)


def _diagonal_blocks(matrices: Tensor, size: int) -> Tensor:
    """Return a view of the blocks (B, m / size, size, size) on the diagonals of matrices (B, m, m)."""
    batch, rows, _ = matrices.shape
    blocks = matrices.view(batch, rows // size, size, rows // size, size)
    return blocks.diagonal(dim1=1, dim2=3).permute(0, 3, 1, 2)
