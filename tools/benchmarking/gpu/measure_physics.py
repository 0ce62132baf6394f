"""Measure the physics alone: use of the compiled kernels, and the cost of solver settings and buffer sizes."""

import dataclasses
import os
from pathlib import Path

import torch

from muscle_torch.config import PhysicsConfig, explain_library
from muscle_torch.embodiments import Embodiment, configured_embodiment
from muscle_torch.motion import load_motion
from muscle_torch.motion.joints import fit_to
from muscle_torch.motion.resample import at_control_rate
from muscle_torch.tools.benchmarking.gpu.results import (
    DEVICE,
    DRY,
    HOME,
    WORLDS,
    now,
    report,
    settings,
    survive,
    used_gib,
)
from muscle_torch.tools.benchmarking.physics_cases import CASES, measure_case

CONTROL_STEPS, ROUNDS = (2, 1) if DRY else (8, 2)


WORLD_COUNTS = (8192, 1024, 16384)  # all cases with the first number, only the configured one with the others


def kernels(task: str) -> None:
    """Report the duration of the first step and the number of kernels that were compiled for it."""
    from muscle_torch.physics.warp_physics import WarpPhysics

    body, *_ = _body_and_frames(task)
    before, begin = _compiled_modules(), now()
    physics = WarpPhysics(body.model, WORLDS, DEVICE)
    made = now() - begin
    physics.step(torch.zeros(WORLDS, body.model.nu, device=DEVICE), body.substeps)
    report(
        "kernels",
        task=task,
        packed=before,
        compiled_here=_compiled_modules() - before,
        make_s=made,
        first_step_s=now() - begin - made,
        used_gib=used_gib(),
        per_world_mib=1024 * used_gib() / WORLDS,
    )
    report("sizes", contacts=physics._d.naconmax, rows=physics._d.njmax)


def physics(task: str) -> None:
    """Report control steps per second from frames of a motion under random excitation, case by case."""
    cfg = settings(task)
    default_physics = dataclasses.replace(cfg, physics=PhysicsConfig())
    _, qpos, qvel = _body_and_frames(task)
    runs = [(WORLD_COUNTS[0], name) for name in CASES if name != "half the rows"]
    runs += [(count, "as configured") for count in WORLD_COUNTS[1:]]
    for count, name in runs[: 2 if DRY else None]:
        count = WORLDS if DRY else count
        generator = torch.Generator(DEVICE).manual_seed(0)
        frames = torch.randint(len(qpos), (count,), device=DEVICE, generator=generator)
        with survive("physics", task=task, case=name, worlds=count):
            options = PhysicsConfig(**CASES[name])
            figures = measure_case(default_physics, options, (qpos[frames], qvel[frames]), CONTROL_STEPS, ROUNDS)
            report("physics", task=task, case=name, worlds=count, **figures, used_gib=used_gib())


def _compiled_modules() -> int:
    return len(list(Path(os.environ.get("WARP_CACHE_PATH", HOME)).rglob("*.cubin")))


def _body_and_frames(task: str) -> tuple[Embodiment, torch.Tensor, torch.Tensor]:
    """Return the body, and all poses (F, nq) and velocities (F, nv) of the packed clips or generated motions."""
    body = configured_embodiment(settings(task))
    clips = HOME / "clips"
    motion = str(clips) if task == "fullbody" and clips.is_dir() and not DRY else "all"
    frames = [at_control_rate(fit_to(clip, body), body, "derivative") for clip in load_motion(motion, body)]
    qpos, qvel = (torch.cat([torch.as_tensor(f[i], dtype=torch.float32) for f in frames]) for i in (0, 1))
    return body, qpos.to(DEVICE), qvel.to(DEVICE)


if __name__ == "__main__":
    explain_library(__doc__ or "", "tools/benchmarking/gpu/measure.py")
