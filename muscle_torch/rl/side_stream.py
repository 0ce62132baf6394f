"""A second CUDA stream, so that two independent chains of kernels fill the device together."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch


class SideStream:
    """Work beside the current stream's; where there is no CUDA everything runs in its order, and nothing changes.

    `fork` marks what the side stream waits for, `use` queues work on it, `join` makes the current stream wait for it.
    What is allocated in `use` may be read after `join`, and until the next `fork`.
    """

    def __init__(self, device: torch.device):
        self._stream = torch.cuda.Stream(device) if device.type == "cuda" else None

    def fork(self) -> None:
        """Let the side stream begin once all that the current stream has queued so far is complete."""
        if self._stream is not None:
            self._stream.wait_stream(torch.cuda.current_stream(self._stream.device))

    @contextmanager
    def use(self) -> Iterator[None]:
        """Queue what follows on the side stream."""
        with torch.cuda.stream(self._stream):  # without a stream, a context that does nothing
            yield

    def join(self) -> None:
        """Let the current stream go on once the side stream has completed its work."""
        if self._stream is not None:
            torch.cuda.current_stream(self._stream.device).wait_stream(self._stream)
