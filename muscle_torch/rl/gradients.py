"""Average gradients over processes while the backward pass still computes the remaining ones.

`DistributedDataParallel` is not used because it synchronizes the forward pass of one wrapped module, whereas the loss
calls actor and critic separately, and an update that trains only the critic does not reach all parameters.
"""

from collections.abc import Callable, Iterable
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn

BUCKET = 25 << 20  # bytes of one all-reduce


class GradientAverage:
    """All-reduces gradients in buckets, in the order in which the backward pass computes them.

    The order is the same on all processes because they run the same graph. Parameters that a pass does not reach are
    left out.
    """

    def __init__(self, parameters: Iterable[nn.Parameter], size: int, exchange: Callable[[Callable[[], Any]], Any]):
        """Register hooks for all later backward passes.

        Args:
            parameters: Parameters whose gradients are averaged.
            size: Number of processes.
            exchange: Runs a collective, and handles lost connections.
        """
        self._size, self._exchange = size, exchange
        self._bucket: list[Tensor] = []
        self._bytes = 0
        self._sent: list[tuple[Any, Tensor, list[Tensor]]] = []
        self._hooks = [parameter.register_post_accumulate_grad_hook(self._add) for parameter in parameters]

    def remove(self) -> None:
        """Remove the hooks."""
        for hook in self._hooks:
            hook.remove()

    def finish(self) -> None:
        """Replace every gradient by its average, after the backward pass."""
        self._send()
        for work, flat, gradients in self._sent:
            self._exchange(work.wait)
            parts = flat.div_(self._size).split([gradient.numel() for gradient in gradients])
            for gradient, average in zip(gradients, parts, strict=True):
                gradient.copy_(average.view_as(gradient))
        self._sent = []

    def _add(self, parameter: Tensor) -> None:
        assert parameter.grad is not None
        self._bucket.append(parameter.grad)
        self._bytes += parameter.grad.nbytes
        if self._bytes >= BUCKET:
            self._send()

    def _send(self) -> None:
        if not self._bucket:
            return
        flat = torch.cat([gradient.reshape(-1) for gradient in self._bucket])
        work = self._exchange(lambda: dist.all_reduce(flat, async_op=True))
        self._sent.append((work, flat, self._bucket))
        self._bucket, self._bytes = [], 0
