"""Compile the Warp kernels of a control step for an H100 or H200 into a kernel cache, without a GPU.

`WARP_CACHE_PATH=folder python kernels.py toy_arm fullbody bimanual bimanual+fingers` (task, or task+fingers). A GPU
machine with the same folder in the same variable uses the compiled kernels. No kernel is launched: the launches are
traced, and their modules are compiled for compute capability 9.0.
"""

import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
import warp as wp

from muscle_torch.config import load_config
from muscle_torch.embodiments import configured_embodiment
from muscle_torch.physics import FIELDS, warp_physics

ARCHITECTURE, MULTIPROCESSORS = 90, 132
Modules = dict[tuple[Any, int], set[str]]  # (module, threads of a block) -> its kernels


class Hopper:
    """The CPU device with the attributes of an H100, by which MuJoCo Warp selects kernels."""

    is_cuda, is_cpu, arch, sm_count = True, False, ARCHITECTURE, MULTIPROCESSORS

    def __init__(self, device: Any):
        self._device = device

    def __getattr__(self, name: str) -> Any:
        return getattr(self._device, name)


def trace(words: Sequence[str]) -> Modules:
    """Return the modules of all kernels that step, reset and field access launch, in order.

    Args:
        words: Tasks, with `+fingers` appended for movable fingers.
    """
    modules: Modules = {}
    with _tracing(modules):
        for word in words:
            task, _, fingers = word.partition("+")
            cfg = load_config(task, ["embodiment.fingers=true"] if fingers else [])
            before = len(modules)
            _exercise(configured_embodiment(cfg).model)
            print(f"{word}: {len(modules) - before} modules more", flush=True)
    return modules


def _exercise(model: Any) -> None:
    """Step, reset and read two worlds twice."""
    physics = warp_physics.WarpPhysics(model, 2)
    everyone = torch.ones(2, dtype=torch.bool)
    for _ in range(2):
        physics.step(torch.zeros(2, model.nu), 2)
        physics.reset(everyone, torch.zeros(2, model.nq), torch.zeros(2, model.nv))
        for field in FIELDS:
            physics.field(field)


@contextmanager
def _tracing(modules: Modules) -> Iterator[None]:
    """Record launches instead of making them, and let Warp's conditional graphs run every branch once."""

    def record(kernel: Any, *_: Any, **options: Any) -> None:
        modules.setdefault((kernel.module, options.get("block_dim", 256)), set()).add(kernel.key)

    def run_once(condition: Any, while_body: Any = None, on_true: Any = None, on_false: Any = None, **options: Any):
        for body in (while_body, on_true, on_false):
            if body is not None:
                body(**options)

    def launch_plainly(self: Any, key: object, launches: Callable[[], None]) -> None:
        self._launch(launches)

    get_device = wp.get_device
    replaced = {
        (wp, "launch"): record,
        (wp, "launch_tiled"): record,
        (wp, "capture_while"): run_once,
        (wp, "capture_if"): run_once,
        (wp, "get_device"): lambda *names: get_device(*names) if names else Hopper(get_device()),
        (warp_physics.WarpPhysics, "_run"): launch_plainly,
    }
    original = {attribute: getattr(*attribute) for attribute in replaced}
    for (owner, name), value in replaced.items():
        setattr(owner, name, value)
    try:
        yield
    finally:
        for (owner, name), value in original.items():
            setattr(owner, name, value)


def compile_ahead(modules: Modules) -> int:
    """Compile the modules that are not in the kernel cache yet; return their number."""
    count = 0
    for index, (module, block) in enumerate(modules):
        begin = time.time()
        options = module.resolve_options(wp.config, block_dim=block)
        module.get_module_hash(block)
        options = module.resolved_options.get(block, options)
        if module._compile(None, output_arch=ARCHITECTURE, use_ptx=False, options=options):
            count += 1
            print(f"{index + 1}/{len(modules)} {module.name} block {block}: {time.time() - begin:.1f} s", flush=True)
    return count


if __name__ == "__main__":
    if len(sys.argv) < 2 or sys.argv[1] in ("-h", "--help"):
        print(__doc__)
        sys.exit(0 if sys.argv[1:] else 2)
    wp.config.log_level = max(wp.config.log_level, wp.LOG_ERROR)
    wp.init()
    traced = trace(sys.argv[1:])
    compiled = compile_ahead(traced)
    print(f"{len(traced)} modules, {sum(map(len, traced.values()))} kernels; compiled now: {compiled}")
