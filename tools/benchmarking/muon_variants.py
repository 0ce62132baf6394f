"""Measure time and arithmetic of Muon's step for several variants.

The matrices are the 2-D weights of the task's policy with random gradients. Without a GPU the time is processor time,
which other load hardly affects.
"""

import dataclasses
import time
from collections import Counter
from collections.abc import Callable, Sequence

import torch
from torch.utils.flop_counter import FlopCounterMode

from muscle_torch.config import key, load_config, parse_words, run_command
from muscle_torch.envs import make_env
from muscle_torch.errors import InputError
from muscle_torch.models import make_policy
from muscle_torch.physics import resolve_device
from muscle_torch.rl.muon import orthogonal

COEFFICIENTS, STEPS, EPSILON = (3.4445, -4.7750, 2.0315), 5, 1e-7  # torch.optim.Muon's
WHOLE = 1 << 30  # larger than any matrix: products are not divided


@dataclasses.dataclass(frozen=True)
class VariantOptions:
    """Options of the comparison."""

    task: str = key("fullbody", "cfg/task/<task>.yaml")
    preset: str = key("release", "cfg/preset/<preset>.yaml to apply; cpu: the task's settings")
    device: str = key("auto", "auto, cpu, cuda or cuda:N")
    threads: int = key(1, "torch threads on a CPU")
    repeats: int = key(3, "timings of each variant; the shortest counts")
    blocks: list[str] = key(
        ["256", "512"], "smallest number of rows of the blocks of symmetric products, one variant each", "rows"
    )


def main(words: Sequence[str]) -> None:
    """Print a table of the variants."""
    options = parse_words(VariantOptions, words)
    if min(options.repeats, options.threads, *map(_rows, options.blocks)) < 1:
        raise InputError("repeats, threads and blocks must be at least 1")
    device = resolve_device(options.device)
    torch.set_num_threads(options.threads)
    shapes = policy_shapes(options.task, options.preset)
    generator = torch.Generator().manual_seed(0)
    groups = [torch.randn(n, *shape, generator=generator).to(device, torch.bfloat16) for shape, n in shapes.items()]
    print(", ".join(f"{n} of {shape[0]} x {shape[1]}" for shape, n in shapes.items()))
    variants = {"one by one": (False, WHOLE), "equal shapes together": (True, WHOLE)}
    variants |= {f"and symmetric, blocks of {rows}": (True, _rows(rows)) for rows in options.blocks}
    for name, (together, block) in variants.items():
        work = _work(groups, together, block)
        with FlopCounterMode(display=False) as counter:
            seconds = [_seconds(work, device)]
        seconds += [_seconds(work, device) for _ in range(options.repeats - 1)]
        print(f"{name:32s} {min(seconds):8.3f} s {counter.get_total_flops() / 1e12:8.3f} TFLOP", flush=True)


def policy_shapes(task: str, preset: str) -> Counter[tuple[int, int]]:
    """Return the number of 2-D weights of each shape in the policy of a task."""
    cfg = load_config(task, preset=preset)
    env = make_env(cfg, 1, "cpu", backend="mujoco", threads=1)
    policy = make_policy(cfg.policy, env, cfg.exploration)
    env.close()
    return Counter((p.shape[0], p.shape[1]) for p in policy.parameters() if p.dim() == 2)


def _rows(word: str) -> int:
    if not word.isdigit():
        raise InputError(f"blocks: {word!r} must be a whole number of rows")
    return int(word)


def _work(groups: list[torch.Tensor], together: bool, block: int) -> Callable[[], None]:
    batches = groups if together else [one for group in groups for one in group.split(1)]

    def run() -> None:
        for batch in batches:
            orthogonal(batch, COEFFICIENTS, STEPS, EPSILON, block)

    return run


def _seconds(work: Callable[[], None], device: torch.device) -> float:
    """Return the time of one step: of the device on CUDA, of the processor elsewhere."""
    if device.type == "cuda":
        begin, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
        begin.record()
        work()
        end.record()
        end.synchronize()
        return begin.elapsed_time(end) / 1e3
    start = time.process_time()
    work()
    return time.process_time() - start


if __name__ == "__main__":
    run_command(main, VariantOptions, __doc__ or "")
