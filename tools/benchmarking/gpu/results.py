"""Results file, timing, and facts of the machine."""

import gc
import json
import os
import statistics
import subprocess
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from muscle_torch.config import Config, explain_library, load_config

DRY = bool(os.environ.get("DRY"))  # a few environments on the CPU, to test the steps
OUT = Path(os.environ.get("OUT", "."))
HOME = Path(os.environ.get("GPU_HOME", "."))
DEVICE = torch.device("cpu" if DRY else "cuda")
WORLDS = 4 if DRY else 8192
GIB = 2**30
BEGIN = time.perf_counter()


def report(name: str, **figures: Any) -> None:
    """Append one line named `name` to the results, and print it."""
    rounded = {k: round(v, 4) if isinstance(v, float) else v for k, v in figures.items()}
    line = json.dumps({"name": name, **rounded, "at_s": round(time.perf_counter() - BEGIN, 1)}, default=str)
    with (OUT / "results.jsonl").open("a") as file:
        file.write(line + "\n")
    print(line, flush=True)


@contextmanager
def survive(name: str, **figures: Any) -> Iterator[None]:
    """Report a failure inside the context as a result and continue, because time on the machine is short.

    In a dry run failures are raised.
    """
    try:
        yield
    except (RuntimeError, ValueError, TypeError, AttributeError, KeyError, OSError, ImportError) as error:
        traceback.print_exc()
        report(name, **figures, failed=f"{type(error).__name__}: {str(error)[:300]}")
        if DRY:
            raise
    finally:
        gc.collect()
        if not DRY:
            torch.cuda.empty_cache()


def now() -> float:
    """Return the time [s] after the device has finished its queue."""
    if not DRY:
        torch.cuda.synchronize()
    return time.perf_counter()


def seconds(call: Callable[[], Any], times: int = 3) -> float:
    """Return the median time of a call [s], after one that is not counted."""
    call()
    samples = []
    for _ in range(times):
        begin = now()
        call()
        samples.append(now() - begin)
    return statistics.median(samples)


def used_gib() -> float:
    """Return the device memory in use by all processes [GiB]."""
    if DRY:
        return 0.0
    free, total = torch.cuda.mem_get_info()
    return (total - free) / GIB


def settings(task: str, *words: str) -> Config:
    """Return the release configuration of a task on the GPU; in a dry run a small one on the CPU."""
    if not DRY:
        return load_config(task, words=["preset=release", *words, "device=cuda"])
    small = ["num_envs=4", "device=cpu", "backend=warp", "ppo.num_steps=4", "ppo.minibatches=2"]
    small += ["policy=mlp", "policy.hidden=[64,64]", "stages=[ppo]"]
    return load_config(task, words=[*(w for w in words if not w.startswith("num_envs")), *small])


def facts(task: str) -> None:
    """Report hardware, software, and the speed of matrix products, copies and launches."""
    import warp as wp
    from warp._src import context

    if not DRY:
        query = ["nvidia-smi", "--query-gpu=name,driver_version,memory.total,clocks.max.sm", "--format=csv,noheader"]
        answer = subprocess.run(query, capture_output=True, text=True, check=False)
        properties = torch.cuda.get_device_properties(0)
        report("gpu", smi=answer.stdout.strip(), sms=properties.multi_processor_count)
    wp.config.log_level = wp.LOG_ERROR
    wp.init()
    runtime = context.runtime  # created by init
    device = wp.get_device("cpu" if DRY else "cuda:0")
    report(
        "software",
        python=sys.version.split()[0],
        torch=torch.__version__,
        warp=wp.config.version,
        toolkit=runtime.toolkit_version,
        driver=runtime.driver_version,
        output=device.get_cuda_output_format(),  # the packed kernels are cubins
        conditional_graphs=wp.is_conditional_graph_supported(),
        cores=os.cpu_count(),
    )
    _products(256 if DRY else 8192)
    x = torch.randn((1 << 20) if DRY else (1 << 30), device=DEVICE)
    y = torch.empty_like(x)
    report("copy", tb_s=2 * x.nbytes / seconds(lambda: y.copy_(x)) / 1e12)
    small = torch.zeros(8192, device=DEVICE)

    def thousand_launches() -> None:
        for _ in range(1000):
            small.add_(1)

    report("launch", us=1e3 * seconds(thousand_launches))


def _products(size: int) -> None:
    a, b = (torch.randn(size, size, device=DEVICE) for _ in range(2))
    for precision, kind in (("highest", "float32"), ("high", "tf32")):
        torch.set_float32_matmul_precision(precision)
        report("matmul", kind=kind, tflops=2 * size**3 / seconds(lambda: a @ b) / 1e12)
    torch.set_float32_matmul_precision("highest")
    c, d = a.bfloat16(), b.bfloat16()
    report("matmul", kind="bf16", tflops=2 * size**3 / seconds(lambda: c @ d) / 1e12)


if __name__ == "__main__":
    explain_library(__doc__ or "", "tools/benchmarking/gpu/measure.py")
