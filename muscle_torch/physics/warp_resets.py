"""Compute all fields of worlds that were reset in a small separate batch, without host synchronization.

A graph fills the batch with worlds that were reset, computes them, copies the results back, and repeats this until none
is left. The cost of resets is thus proportional to their number, and zero if no episode ends.
"""

# Kernels are written in Warp's language, which shares only its grammar with Python.
# pyright: reportIndexIssue=false, reportAssignmentType=false, reportGeneralTypeIssues=false
# pyright: reportOperatorIssue=false, reportCallIssue=false, reportArgumentType=false

import copy
from contextlib import AbstractContextManager, nullcontext

import mujoco
import mujoco_warp as mjw
import torch
import warp as wp

from .warp_broken import freeze_broken
from .warp_budget import Buffers
from .warp_step import accelerate, constrain, update_kinematics

PART, FEWEST = 16, 4  # the batch holds a sixteenth of the worlds, at least 4
# Arrays of mjw.Data, (W, ...), that the position and velocity stages write, and those of the acceleration stage that
# are read between two control steps. A test compares them with what `update_kinematics` writes.
FIELDS = (
    *(
        "xpos",
        "xquat",
        "xmat",
        "xipos",
        "ximat",
        "xanchor",
        "xaxis",
        "geom_xpos",
        "geom_xmat",
        "site_xpos",
        "site_xmat",
    ),
    *("cam_xpos", "cam_xmat", "light_xpos", "light_xdir", "subtree_com", "subtree_linvel", "subtree_angmom"),
    *("cdof", "cdof_dot", "cinert", "cvel", "cacc", "cfrc_int"),
    *("ten_length", "ten_velocity", "ten_J", "ten_wrapadr", "ten_wrapnum", "wrap_obj", "wrap_xpos"),
    *("actuator_length", "actuator_velocity", "actuator_moment", "moment_rownnz", "moment_rowadr", "moment_colind"),
    *("qfrc_bias", "qfrc_passive", "qfrc_spring", "qfrc_damper", "qfrc_gravcomp", "qfrc_fluid", "qfrc_adhesion"),
    *("sensordata", "actuator_force", "qfrc_actuator", "qacc"),
)


@wp.kernel(enable_backward=False)
def _enqueue(chosen: wp.array[int], count: wp.array[int], queue: wp.array[int]):
    world = wp.tid()
    if chosen[world] != 0:
        queue[wp.atomic_add(count, 0, 1)] = world


@wp.kernel(enable_backward=False)
def _take(count: wp.array[int], queue: wp.array[int], worlds: wp.array[int]):
    slot = wp.tid()
    place = count[0] - 1 - slot
    worlds[slot] = -1
    if place >= 0:
        worlds[slot] = queue[place]


@wp.kernel(enable_backward=False)
def _gather(worlds: wp.array[int], source: wp.array2d[int], target: wp.array2d[int]):
    slot, i = wp.tid()
    target[slot, i] = source[
        wp.max(worlds[slot], 0), i
    ]  # an empty slot computes world 0 again; the result is discarded


@wp.kernel(enable_backward=False)
def _scatter(worlds: wp.array[int], source: wp.array2d[int], target: wp.array2d[int]):
    slot, i = wp.tid()
    if worlds[slot] >= 0:
        target[worlds[slot], i] = source[slot, i]


@wp.kernel(enable_backward=False)
def _mark(worlds: wp.array[int], source: wp.array[int], target: wp.array[int]):
    slot = wp.tid()
    if worlds[slot] >= 0 and source[slot] != 0:
        target[worlds[slot]] = 1


@wp.kernel(enable_backward=False)
def _leave(batch: int, count: wp.array[int]):
    count[0] = wp.max(count[0] - batch, 0)


class Arena:
    """Warp allocator for temporary arrays in the conditional part of a CUDA graph, where allocations are not allowed.

    The launches of that part request the same sizes each time. Blocks that are allocated the first time, outside any
    graph, are kept and returned again in the same order after `rewind`.
    """

    def __init__(self, device: torch.device):
        self._device = device
        self._blocks: list[torch.Tensor] = []
        self._next = 0

    def rewind(self) -> None:
        """Return the blocks from the first one on again."""
        self._next = 0

    def allocate(self, size_in_bytes: int) -> int:
        """Return the address of the next block."""
        if self._next == len(self._blocks):
            self._blocks.append(torch.empty(size_in_bytes, dtype=torch.uint8, device=self._device))
        block = self._blocks[self._next]
        if block.numel() < size_in_bytes:
            raise RuntimeError("the launches of a reset request more memory than the first time")
        self._next += 1
        return block.data_ptr()

    def deallocate(self, ptr: int, size_in_bytes: int) -> None:
        """Keep the block for the next use."""


class Resets:
    """The small batch of one `WarpPhysics`."""

    def __init__(
        self, model: mujoco.MjModel, m: mjw.Model, d: mjw.Data, passive: bool, buffers: Buffers, broken: wp.array
    ):
        """Make the batch on Warp's current device.

        Args:
            model: MuJoCo model.
            m: The model on the device.
            d: The worlds whose resets are computed.
            passive: `has_passive` of the model.
            buffers: Sizes of the batch's contact and constraint buffers.
            broken: Marks of broken worlds, (W,) int.
        """
        self.size = min(d.nworld, max(FEWEST, d.nworld // PART))
        self.chosen, self._queue = wp.zeros(d.nworld, dtype=int), wp.zeros(d.nworld, dtype=int)
        self._count, self._worlds = wp.zeros(1, dtype=int), wp.zeros(self.size, dtype=int)
        self._m, self._d, self._passive = m, d, passive
        self._broken, self._small_broken = broken, wp.zeros(self.size, dtype=int)
        self._small_d = buffers.make_data(model, self.size)
        self._small_m = copy.copy(m)
        self._small_m.opt = m.opt
        self._of_worlds: dict[str, wp.array] = {}  # model arrays that differ between worlds: the batch's rows
        self._fields = [
            (_words(getattr(self._small_d, name)), _words(getattr(d, name)))
            for name in FIELDS
            if getattr(d, name).size and getattr(d, name).shape[0] == d.nworld
        ]
        self._state = [(_words(getattr(d, name)), _words(getattr(self._small_d, name))) for name in ("qpos", "qvel")]
        device = d.qpos.device
        self._arena = Arena(torch.device(wp.device_to_torch(device))) if device.is_cuda else None

    def add_model_field(self, name: str) -> None:
        """Register a model array (W, ...) that now has a row for every world."""
        array = getattr(self._m, name)
        rows = wp.empty((self.size, *array.shape[1:]), dtype=array.dtype)
        rows._is_batched = True  # pyright: ignore  (Warp's own mark)
        self._of_worlds[name] = rows
        setattr(self._small_m, name, rows)

    def launch(self) -> None:
        """Compute all fields of the `chosen` worlds (W,) int from their qpos and qvel."""
        self._count.zero_()
        wp.launch(_enqueue, self.chosen.shape, [self.chosen], [self._count, self._queue])
        wp.capture_while(self._count, self._one_batch)

    def _one_batch(self) -> None:
        with self._scratch():
            worlds = self._worlds
            wp.launch(_take, self.size, [self._count, self._queue], [worlds])
            for source, target in self._state + self._model_rows():
                wp.launch(_gather, target.shape, [worlds, source], [target])
            self._compute(self._small_m, self._small_d)
            for source, target in self._fields:
                wp.launch(_scatter, source.shape, [worlds, source], [target])
            wp.launch(_mark, self.size, [worlds, self._small_broken], [self._broken])
            wp.launch(_leave, 1, [self.size], [self._count])

    def _compute(self, m: mjw.Model, d: mjw.Data) -> None:
        """Run a forward pass at rest: activations, controls and warm starts of the batch are always 0."""
        self._small_broken.zero_()
        freeze_broken(m, d, self._small_broken)
        d.sensordata.zero_()
        update_kinematics(m, d, self._passive)
        constrain(m, d)
        accelerate(m, d, self._small_broken)

    def _model_rows(self) -> list[tuple[wp.array, wp.array]]:
        return [(_words(getattr(self._m, name)), _words(rows)) for name, rows in self._of_worlds.items()]

    def _scratch(self) -> AbstractContextManager:
        if self._arena is None:  # a CPU has a single allocator, and its graphs may allocate
            return nullcontext()
        self._arena.rewind()
        return wp.ScopedAllocator(self._d.qpos.device, self._arena)


def _words(array: wp.array) -> wp.array:
    """Return an array (W, ...) of 4-byte numbers as integers (W, n), in the same memory."""
    assert array.is_contiguous and array.capacity % 4 == 0
    words = wp.types.type_size_in_bytes(array.dtype) * array.size // array.shape[0] // 4
    view = wp.array(ptr=array.ptr, dtype=wp.int32, shape=(array.shape[0], words), device=array.device, copy=False)
    view._memory_of = array  # pyright: ignore  (keeps the memory alive)
    return view
