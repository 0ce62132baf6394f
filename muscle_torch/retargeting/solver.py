"""One Gauss-Newton step over a whole clip, with blocks per frame, smoothness, bounds and one-sided terms.

Least squares with one-sided terms (a sole above the floor has no cost) and box limits is a quadratic program. Its
active set is predicted: terms that the step would violate are activated, those that it releases are deactivated, and
the step is solved again. The linear systems are solved by conjugate gradient with each frame's block as preconditioner,
so all work is batched and runs on a CPU or a GPU.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor

INNER = 15  # conjugate gradient steps; an inexact solution suffices, the next Gauss-Newton step corrects it
ROUNDS = 3  # of the active set
TOLERANCE = 1e-2
DENSE = 500  # frames
DAMPING, DAMPING_TYPICAL = 1e-3, 1e-4
LARGEST_STEP = 0.6  # [rad, m]


@dataclass(frozen=True)
class Normal:
    """The linearized problem of a clip.

    Minimize x'Hx/2 + g'x + sum of weight min(0, value + Jx)^2 / 2 within bounds; T frames, d degrees of freedom.
    """

    hessian: Tensor  # (T, d, d)
    gradient: Tensor  # (T, d)
    jacobian: Tensor  # (T, R, d) of the one-sided terms
    value: Tensor  # (T, R)
    weight: Tensor  # (T, R)
    bend: Tensor  # (T - 2, d) second differences of the pose
    low: Tensor  # (T, d) smallest step
    high: Tensor  # (T, d)
    typical: Tensor  # (d,) typical weight of the targets for each degree of freedom, the unit of smoothing


def solve(problem: Normal, smoothing: float) -> Tensor:
    """Compute the step (T, d).

    Args:
        problem: The linearized problem.
        smoothing: Weight of the second differences relative to the typical weight of the targets.
    """
    diagonal = torch.diagonal(problem.hessian, dim1=1, dim2=2)
    typical = problem.typical
    smooth = _Smooth(smoothing * typical)
    base = problem.gradient + smooth.pull(problem.bend, len(problem.gradient))
    damping = DAMPING * diagonal + DAMPING_TYPICAL * typical
    low, high = problem.low.clamp_min(-LARGEST_STEP), problem.high.clamp_max(LARGEST_STEP)
    step = torch.zeros_like(base)
    active = problem.value < 0
    stuck = ((low >= 0) & (base > 0)) | ((high <= 0) & (base < 0))
    for _ in range(ROUNDS):
        rows = problem.jacobian * (problem.weight * active).sqrt()[..., None]
        hessian = problem.hessian + rows.transpose(1, 2) @ rows
        pull = (problem.weight * active * problem.value)[:, None] @ problem.jacobian
        gradient = base + pull[:, 0]
        step = _solve(hessian, gradient, damping, smooth, step, ~stuck)
        residual = gradient + _product(hessian, damping, smooth, step)
        below = problem.value + torch.linalg.vecdot(problem.jacobian, step[:, None]) < 0
        past = (step < low) | (step > high)
        # A bound stays active only if the cost decreases towards the outside.
        inward = stuck & (((step <= low) & (residual < 0)) | ((step >= high) & (residual > 0)))
        settled = torch.equal(below, active) and not bool((past & ~stuck).any()) and not bool(inward.any())
        step = step.clamp(low, high)
        active, stuck = below, (stuck & ~inward) | past
        if settled:
            break
    return step


def _product(hessian: Tensor, damping: Tensor, smooth: "_Smooth", x: Tensor) -> Tensor:
    return _times(hessian, x) + damping * x + smooth.pull(second(x), len(x))


def _solve(hessian: Tensor, gradient: Tensor, damping: Tensor, smooth: "_Smooth", x: Tensor, free: Tensor) -> Tensor:
    """Run conjugate gradient from `x`; entries that are not `free` are fixed."""
    mask = free.to(x.dtype)
    block = hessian * mask[:, :, None] * mask[:, None, :]
    index = torch.arange(x.shape[1], device=x.device)
    block[:, index, index] += damping
    coupling = smooth.product(x)
    local = block.clone()
    local[:, index, index] += smooth.diagonal(x) + (1 - mask)
    inverse = torch.cholesky_inverse(torch.linalg.cholesky(local))

    def product(direction: Tensor) -> Tensor:
        return _times(block, direction) + mask * coupling(direction)

    residual = -mask * (gradient + _product(hessian, damping, smooth, x))
    z = mask * _times(inverse, residual)
    direction, energy = z, _dot(residual, z)
    first = _dot(mask * _times(inverse, gradient), gradient).abs()
    for _ in range(INNER):
        if energy <= TOLERANCE**2 * first:
            break
        moved = product(direction)
        length = energy / _dot(direction, moved)
        x = torch.addcmul(x, length, direction)
        residual = torch.addcmul(residual, -length, moved)
        z = mask * _times(inverse, residual)
        new = _dot(residual, z)
        direction = torch.addcmul(z, new / energy, direction)
        energy = new
    return x


def _times(symmetric: Tensor, x: Tensor) -> Tensor:
    """Multiply symmetric matrices (T, d, d) by vectors (T, d), from the left: several times faster on a CPU."""
    return (x[:, None] @ symmetric)[:, 0]


def _dot(a: Tensor, b: Tensor) -> Tensor:
    return torch.dot(a.flatten(), b.flatten())


@dataclass(frozen=True)
class _Smooth:
    """Weights of squared second differences for each degree of freedom (d,)."""

    weight: Tensor

    def pull(self, bend: Tensor, count: int) -> Tensor:
        """Return the gradient (T, d) for second differences `bend` of T = `count` frames."""
        if count <= 2:
            return self.weight.new_zeros(count, len(self.weight))
        return second_transposed(self.weight * bend)

    def diagonal(self, x: Tensor) -> Tensor:
        """Return the diagonal of the Hessian (T, d)."""
        out = torch.zeros_like(x)
        if len(x) > 2:
            out[2:] += 1
            out[1:-1] += 4
            out[:-2] += 1
        return out * self.weight

    def product(self, like: Tensor) -> Callable[[Tensor], Tensor]:
        """Return a function that multiplies by the Hessian, for short clips with a dense matrix, which is cheaper."""
        count = len(like)
        if count > DENSE or count <= 2:
            return lambda x: self.pull(second(x), count)
        both = _differences(count, like.dtype, like.device)
        return lambda x: both @ (self.weight * x)


@lru_cache(maxsize=8)
def _differences(count: int, dtype: torch.dtype, device: torch.device) -> Tensor:
    """Return the Hessian of the squared second differences of `count` frames."""
    operator = second(torch.eye(count, dtype=dtype, device=device))
    return operator.T @ operator


def second(x: Tensor) -> Tensor:
    """Return second differences (T - 2, d)."""
    return x[2:] - 2 * x[1:-1] + x[:-2]


def second_transposed(y: Tensor) -> Tensor:
    """Apply the transpose of `second`."""
    out = y.new_zeros(len(y) + 2, y.shape[1])
    out[2:] += y
    out[1:-1] -= 2 * y
    out[:-2] += y
    return out
