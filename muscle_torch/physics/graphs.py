"""CUDA graphs of Warp's launches, recorded so that they contain nothing else."""

import gc
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
import warp as wp

from muscle_torch.errors import InputError


@contextmanager
def garbage_collector_off() -> Iterator[None]:
    """Disable Python's garbage collector inside the context; afterwards it is on or off as before.

    If an older graph in a reference cycle is collected during a capture, it frees memory on the capturing device. The
    new graph is then invalid, and its replay fails with CUDA error 901.
    """
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


def refuse_in_capture(device: wp.Device) -> None:
    """Raise InputError if the device is recording a graph, because the physics' graphs cannot become part of it."""
    if device.is_capturing or (device.is_cuda and torch.cuda.is_current_stream_capturing()):
        raise InputError(
            "the physics cannot step, reset or be read inside the capture of another CUDA graph: keep physics.step and "
            "physics.reset outside it"
        )


def capture(device: wp.Device, launches: Callable[[], None]) -> wp.Graph:
    """Record launches into a graph; on CUDA on a side stream.

    Args:
        device: Warp's device.
        launches: Launches the kernels.

    Raises:
        InputError: The device is recording another graph.
    """
    refuse_in_capture(device)
    side = wp.Stream(device) if device.is_cuda else None
    scopes = wp.ScopedDevice(device), wp.ScopedStream(side)
    with garbage_collector_off(), scopes[0], scopes[1], wp.ScopedCapture(device, stream=side) as recording:
        launches()
    assert recording.graph is not None
    return recording.graph
