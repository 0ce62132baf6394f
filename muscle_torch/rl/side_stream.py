"""A second CUDA stream, on which independent kernels run concurrently with those of the current stream."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch


class SideStream:
    """A side stream beside the current one; without CUDA everything runs in program order.

    `fork` makes the side stream wait for the current one, `use` queues work on it, and `join` makes the current stream
    wait for it. Tensors allocated in `use` may be read between `join` and the next `fork`.
    """

    def __init__(self, device: torch.device):
        self._stream = torch.cuda.Stream(device) if device.type == "cuda" else None

    def fork(self) -> None:
        """Make the side stream wait for all work that the current stream has queued so far."""
        if self._stream is not None:
            self._stream.wait_stream(torch.cuda.current_stream(self._stream.device))

    @contextmanager
    def use(self) -> Iterator[None]:
        """Queue the work inside the context on the side stream."""
        with torch.cuda.stream(self._stream):  # without a stream, a context that does nothing
            yield

    def join(self) -> None:
        """Make the current stream wait for the side stream."""
        if self._stream is not None:
            torch.cuda.current_stream(self._stream.device).wait_stream(self._stream)
