"""Averaging gradients over processes while the backward pass still computes others."""

from collections.abc import Callable, Iterable
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn

BUCKET = 25 << 20  # bytes that are exchanged together


class GradientAverage:
    """Gradients leave in buckets, in the order in which the backward pass makes them: alike on all processes, which run
    the same graph. Parameters that a pass does not reach take no part.

    exchange: runs a call to the other processes, and says what to do where they are gone.
    """

    def __init__(self, parameters: Iterable[nn.Parameter], size: int, exchange: Callable[[Callable[[], Any]], Any]):
        self._size, self._exchange = size, exchange
        self._bucket: list[Tensor] = []
        self._bytes = 0
        self._sent: list[tuple[Any, Tensor, list[Tensor]]] = []
        for parameter in parameters:
            parameter.register_post_accumulate_grad_hook(self._made)

    def finish(self) -> None:
        """After the backward pass: every gradient becomes the average."""
        self._send()
        for work, flat, gradients in self._sent:
            self._exchange(work.wait)
            parts = flat.div_(self._size).split([gradient.numel() for gradient in gradients])
            for own, averaged in zip(gradients, parts, strict=True):
                own.copy_(averaged.view_as(own))
        self._sent = []

    def _made(self, parameter: Tensor) -> None:
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
