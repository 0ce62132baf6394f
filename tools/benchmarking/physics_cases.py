"""Measure the physics alone under other solver limits and buffer sizes, and how well the host keeps a GPU busy."""

import dataclasses
import statistics
import time
from typing import Any

import torch

from muscle_torch.config import Config, PhysicsConfig, explain_library
from muscle_torch.embodiments import configured_embodiment, with_physics
from muscle_torch.errors import InputError
from muscle_torch.physics import make_physics

EXCITATION = 0.3  # highest random control
FEW = 16  # `reset_few_ms` resets one world in 16
# name -> settings that replace those of the config, in order of importance
CASES: dict[str, dict[str, Any]] = {
    "as configured": {},
    "published solver": {"iterations": 4, "ls_iterations": 8, "eulerdamp": False},
    "explicit damping": {"eulerdamp": False},
    "MuJoCo's limits": {"iterations": 100, "ls_iterations": 50},
    "half the rows": {"constraint_rows": 0.5},  # fraction of the measured size
    "large buffers": {"contacts": 96, "constraint_rows": 768},  # those of the published system for the full body
}


def physics_cases(env: Any, cfg: Config, steps: int, repeats: int) -> dict[str, dict[str, Any]]:
    """Measure each case, from the environment's start states under random excitations.

    Args:
        env: An environment of the config, which provides the start states.
        cfg: The config.
        steps: Control steps per world of a timing.
        repeats: Number of timings.

    Returns:
        Case -> `control_steps_per_s` (all worlds together, median), `reset_ms` and `reset_few_ms` (all worlds, one in
        16), on Warp the solver's iterations, rows, contact candidates and buffer sizes, and `overflow`; or `failed`.
    """
    env.begin()
    start = tuple(env.physics.field(name).clone() for name in ("qpos", "qvel"))
    rows = getattr(getattr(env.physics, "buffers", None), "rows", None)
    figures: dict[str, dict[str, Any]] = {}
    for name, changes in CASES.items():
        changes = dict(changes)
        if changes.get("constraint_rows") == 0.5:
            if rows is None:
                continue
            changes["constraint_rows"] = max(1, rows // 2)
        if rows is None and "contacts" in changes:  # MuJoCo C has no such buffers
            continue
        try:
            figures[name] = measure_case(cfg, dataclasses.replace(cfg.physics, **changes), start, steps, repeats)
        except (InputError, RuntimeError) as error:  # usually for lack of memory; continue with the other cases
            figures[name] = {"failed": str(error).splitlines()[0]}
    return figures


def measure_case(
    cfg: Config, options: PhysicsConfig, start: tuple[torch.Tensor, torch.Tensor], steps: int, repeats: int
) -> dict[str, Any]:
    """Measure the physics of one case.

    Args:
        cfg: Config of body, backend and threads.
        options: Physics options of the case.
        start: qpos (W, nq) and qvel (W, nv) of the start states, one per world.
        steps: Control steps per world of a timing.
        repeats: Number of timings.

    Returns:
        The results of the case; see `physics_cases`.
    """
    body = with_physics(configured_embodiment(dataclasses.replace(cfg, physics=PhysicsConfig())), options)
    worlds, device = len(start[0]), start[0].device
    buffers = {"contacts": options.contacts, "constraint_rows": options.constraint_rows}
    physics = make_physics(body.model, worlds, str(device), cfg.backend, cfg.threads, **buffers)
    everyone = torch.ones(worlds, dtype=torch.bool, device=device)
    few = torch.arange(worlds, device=device) % FEW == 0
    generator = torch.Generator(device).manual_seed(0)
    controls = EXCITATION * torch.rand(steps, worlds, body.model.nu, generator=generator, device=device)

    def play() -> None:
        for ctrl in controls:
            physics.step(ctrl, body.substeps)

    samples, resets, small_resets = [], [], []
    for _ in range(1 + repeats):  # the first includes compilation
        resets.append(seconds(lambda: physics.reset(everyone, *start), device))
        samples.append(worlds * steps / seconds(play, device))
        small_resets.append(seconds(lambda: physics.reset(few, *start), device))
    figures = {
        "control_steps_per_s": statistics.median(samples[1:]),
        "reset_ms": 1e3 * statistics.median(resets[1:]),
        "reset_few_ms": 1e3 * statistics.median(small_resets[1:]),
        **solver_figures(physics),
        "overflow": physics.overflow(),
    }
    physics.close()
    return figures


def solver_figures(physics: Any) -> dict[str, float]:
    """Return iterations, rows and candidates of the last substep on Warp and its buffer sizes; empty for MuJoCo C."""
    if not hasattr(physics, "buffers"):
        return {}
    import warp as wp

    data = physics._d
    iterations, rows = (wp.to_torch(getattr(data, name)).float() for name in ("solver_niter", "nefc"))
    return {
        "iterations_mean": float(iterations.mean()),
        "iterations_max": float(iterations.max()),
        "rows_mean": float(rows.mean()),
        "rows_max": float(rows.max()),
        "rows_buffer": physics.buffers.rows,
        "candidates_mean": float(wp.to_torch(data.ncollision)[0]) / physics.num_worlds,
        "candidates_buffer": physics.buffers.contacts,
    }


def launch_gaps(env: Any, start: dict[str, Any], actions: torch.Tensor) -> dict[str, float | None]:
    """Measure whether the host launches kernels fast enough.

    Args:
        env: The environment, resets included.
        start: Snapshot to begin from.
        actions: Recorded actions, (steps, W, actions).

    Returns:
        Microseconds of a control step of all worlds: `host` (time of the host's code), `whole`, and `busy` (time that
        the GPU computes; None on a CPU). If `host` is about `whole`, the host limits the speed.
    """
    device = env.device

    def play() -> float:
        begin = time.perf_counter()
        for action in actions:
            step = env.advance(action)
            env.restart(step.terminated | step.truncated)
        return time.perf_counter() - begin

    env.load_snapshot(start)
    play()
    env.load_snapshot(start)
    host: list[float] = []
    whole = seconds(lambda: host.append(play()), device)
    busy = None
    if device.type == "cuda":
        from torch.profiler import ProfilerActivity, profile

        env.load_snapshot(start)
        with profile(activities=[ProfilerActivity.CUDA]) as profiler:
            seconds(play, device)
        busy = sum(event.self_device_time_total for event in profiler.key_averages()) / len(actions)
    return {"host": 1e6 * host[0] / len(actions), "whole": 1e6 * whole / len(actions), "busy": busy}


def seconds(call: Any, device: torch.device) -> float:
    """Return the duration of a call [s], the device's queue included."""
    synchronize(device)
    begin = time.perf_counter()
    call()
    synchronize(device)
    return time.perf_counter() - begin


def synchronize(device: torch.device) -> None:
    """Wait for the device; on a CPU do nothing."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


if __name__ == "__main__":
    explain_library(__doc__ or "", "tools/benchmark.py")
