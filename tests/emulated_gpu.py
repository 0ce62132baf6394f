"""A second device for torch, emulated on the CPU: real numbers, and a GPU's rules.

Tensors of the CPU and of the device do not mix; inside `no_waiting()` every question to the device and every copy to or
from it raises, where a GPU would make the host wait. So whatever runs here has all of its tensors in the right place.
A graph of the device holds operations and their tensors (`record_graph`). Not emulated: kernels, streams.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import torch
import warp as wp
from torch.utils import _pytree as pytree
from torch.utils._python_dispatch import TorchDispatchMode, _disable_current_modes

from muscle_torch import physics
from muscle_torch.envs import factory, step_terms

backends = pytest.importorskip("torch.utils.backend_registration")
if not hasattr(backends, "_setup_privateuseone_for_python_backend"):
    pytest.skip("this torch has no backends written in Python", allow_module_level=True)
backends._setup_privateuseone_for_python_backend("emulated")

GPU = torch.device("emulated", 0)
aten = torch.ops.aten
# Numbers and truth values for Python, results whose size depends on numbers, and what asks inside.
QUESTIONS = {
    *(aten._local_scalar_dense, aten.is_nonzero, aten.equal, aten.nonzero, aten.masked_select, aten.bincount),
    *(aten._unique, aten._unique2, aten.unique_dim, aten.unique_consecutive, aten.repeat_interleave),
    *(aten.normal, aten.multinomial),
}
PICKS = {aten.index, aten.index_put, aten.index_put_}  # questions where a mask picks
MOVES = {aten._to_copy, aten.copy_, aten._copy_from}
_quiet = False


class Waiting(RuntimeError):
    """The host would wait for the device."""


class Mixed(RuntimeError):
    """An operation on tensors of two devices."""


@contextmanager
def no_waiting() -> Iterator[None]:
    global _quiet
    before, _quiet = _quiet, True
    try:
        yield
    finally:
        _quiet = before


class GPUTensor(torch.Tensor):
    """On the device, to all who look; its numbers are in `near`, a tensor of the CPU."""

    near: torch.Tensor

    @staticmethod
    def __new__(cls, near: torch.Tensor) -> "GPUTensor":
        layout = {"strides": near.stride(), "storage_offset": near.storage_offset()}
        made = torch.Tensor._make_wrapper_subclass(cls, near.shape, **layout, dtype=near.dtype, device=GPU)
        made.near = near
        return made

    @classmethod
    def __torch_dispatch__(cls, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        _check(func, args, kwargs)
        out = func(*pytree.tree_map(_near, args), **pytree.tree_map(_near, kwargs))
        given = [x for x in pytree.tree_leaves((args, kwargs)) if isinstance(x, torch.Tensor)]
        same = {id(_near(x)): x for x in given}  # what was changed in place
        target = kwargs.get("device")
        if target is not None and target.type == "cpu":
            return out
        return pytree.tree_map(
            lambda x: same[id(x)] if id(x) in same else GPUTensor(x) if isinstance(x, torch.Tensor) else x, out
        )

    # What torch does for a class of tensors in Python, and for a GPU's in C++.

    def tolist(self):
        return self.cpu().tolist()

    def __format__(self, spec):
        return self.item().__format__(spec)

    def __repr__(self):
        return f"{self.near!r} on {GPU}"

    def __reduce_ex__(self, protocol):  # as every checkpoint is read: `map_location="cpu"`
        return self.near.__reduce_ex__(protocol)

    def __deepcopy__(self, memo):
        copy = GPUTensor(self.near.clone())
        memo[id(self)] = torch.nn.Parameter(copy, self.requires_grad) if isinstance(self, torch.nn.Parameter) else copy
        return memo[id(self)]


class GPUGenerator(torch.Generator):
    """Random numbers of the device, to all who look; a generator of the CPU."""

    device = GPU  # type: ignore[assignment]


def _near(value: Any) -> Any:
    if isinstance(value, GPUTensor):
        return value.near
    return torch.device("cpu") if isinstance(value, torch.device) else value


def _check(func: Any, args: Any, kwargs: Any) -> None:
    called = func.overloadpacket
    strangers = [
        x for x in pytree.tree_leaves((args, kwargs)) if isinstance(x, torch.Tensor) and not isinstance(x, GPUTensor)
    ]
    if called in MOVES:
        target = kwargs.get("device")
        if _quiet and (strangers or (target is not None and target.type == "cpu")):
            raise Waiting(f"{func} between devices")
    elif any(x.dim() for x in strangers):  # a CPU tensor of no axes is a number
        raise Mixed(f"{func} of tensors on {GPU} and of {[tuple(x.shape) for x in strangers]} on the CPU")
    asks = called in QUESTIONS or (called in PICKS and any(_is_mask(i) for i in args[1]))
    if _quiet and asks:
        raise Waiting(str(func))


def _is_mask(index: Any) -> bool:
    return index is not None and index.dtype in (torch.bool, torch.uint8)


def _empty(size, *, dtype=None, **_):
    return GPUTensor(torch.empty(size, dtype=dtype))


def _empty_strided(size, stride, *, dtype=None, **_):
    return GPUTensor(torch.empty_strided(size, stride, dtype=dtype))


def _copy_from(source, target, non_blocking=False):
    if _quiet and isinstance(source, GPUTensor) != isinstance(target, GPUTensor):
        raise Waiting("a copy between devices")
    _near(target).copy_(_near(source))
    return target


class _Recorded(TorchDispatchMode):
    """Keeps every operation with the tensors that it reads and writes, as a CUDA graph keeps addresses."""

    def __init__(self):
        super().__init__()
        self.operations: list[tuple[Any, Any, Any, Any]] = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        self.operations.append((func, args, kwargs or {}, out))
        return out

    def computed(self) -> Iterator[tuple[Any, Any, Any, list[torch.Tensor]]]:
        """Operations with the tensors that they write anew; none for those in place, and no views."""
        for func, args, kwargs, out in self.operations:
            alias = [one.alias_info for one in func._schema.returns]
            if not any(alias):
                yield func, args, kwargs, pytree.tree_leaves(out)
            elif any(one is not None and one.is_write for one in alias):
                yield func, args, kwargs, []

    def replay(self) -> None:
        """Makes every operation again, from what its tensors hold now, into the tensors that it wrote."""
        with _disable_current_modes():  # to the host it is one launch
            self._replay()

    def _replay(self) -> None:
        for func, args, kwargs, out in self.computed():
            again = func(*args, **kwargs)
            for target, source in zip(out, pytree.tree_leaves(again) if out else [], strict=True):
                target.copy_(source)


class Launches(_Recorded):
    """Counts what the host would launch: every operation but views, and none of a graph's."""

    @property
    def count(self) -> int:
        return sum(1 for _ in self.computed())


def record_graph(run: Callable[[], None], device: torch.device) -> Callable[[], None]:
    """As `step_terms.capture_graph`: after a warm-up, what a graph of the device would do; NaN until it is replayed."""
    run()
    with no_waiting(), _Recorded() as recorded:
        run()
    for *_, out in recorded.computed():
        for tensor in out:
            if tensor.is_floating_point():
                tensor.fill_(float("nan"))
    return recorded.replay


_library = torch.library.Library("aten", "IMPL")
for _name, _kernel in (("empty.memory_format", _empty), ("empty_strided", _empty_strided), ("_copy_from", _copy_from)):
    _library.impl(_name, _kernel, "PrivateUse1")


@contextmanager
def emulated_gpu() -> Iterator[str]:
    """While entered, `device=` this name is a GPU to all of muscle_torch; MuJoCo Warp's kernels run on the CPU."""
    resolve, to_torch, generator = physics.resolve_device, wp.to_torch, torch.Generator

    def made(device):
        return GPUGenerator("cpu") if device.type == GPU.type else generator(device)

    def resolved(device):
        return GPU if torch.device(device).type == GPU.type else resolve(device)

    with pytest.MonkeyPatch.context() as patch:
        for module in (physics, factory):
            patch.setattr(module, "resolve_device", resolved)
        patch.setattr(wp, "device_from_torch", lambda device: wp.get_device("cpu"))
        patch.setattr(wp, "to_torch", lambda array: GPUTensor(to_torch(array)))
        patch.setattr(step_terms, "capture_graph", record_graph)
        patch.setattr(torch, "Generator", lambda device="cpu": made(torch.device(device)))
        yield str(GPU)
