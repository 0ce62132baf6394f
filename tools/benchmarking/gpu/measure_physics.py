"""Physics alone: are the packed kernels used, and what do solver settings and buffer sizes cost."""

import os
from pathlib import Path
from typing import Any, NamedTuple

import mujoco
import torch

from muscle_torch.config import explain_library
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
    seconds,
    settings,
    survive,
    used_gib,
)

CONTROL_STEPS, ROUNDS = (2, 1) if DRY else (8, 2)
EXCITATION = 0.3  # highest random control


class Case(NamedTuple):
    """Settings of one measurement."""

    worlds: int = 8192
    iterations: int = 100
    line_search: int = 50
    contacts: int = 96
    rows: int = 768
    eulerdamp: bool = True
    tolerance: float = 0.0  # 0: the model's


CASES = [  # the most valuable first
    Case(),
    Case(iterations=4, line_search=8),  # the published system's solver
    Case(iterations=4, line_search=8, eulerdamp=False),  # and its integrator
    Case(contacts=48, rows=384),
    Case(iterations=4, line_search=8, contacts=32, rows=256, eulerdamp=False),
    Case(worlds=4096),
    Case(worlds=16384),
    Case(worlds=1024),
    Case(iterations=10, line_search=10),
    Case(tolerance=1e-6),
]


def kernels(task: str) -> None:
    """Report how long the first physics takes and how many kernels were compiled for it."""
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
    body, qpos, qvel = _body_and_frames(task)
    for case in CASES[: 2 if DRY else None]:
        case = case._replace(worlds=WORLDS) if DRY else case
        with survive("physics", task=task, **case._asdict()):
            _measure(task, case, body, qpos, qvel)


def _measure(task: str, case: Case, body: Embodiment, qpos: torch.Tensor, qvel: torch.Tensor) -> None:
    physics = _make(case, body)
    generator = torch.Generator(DEVICE).manual_seed(0)
    everyone = torch.ones(case.worlds, dtype=torch.bool, device=DEVICE)

    def reset() -> None:
        frames = torch.randint(len(qpos), (case.worlds,), device=DEVICE, generator=generator)
        physics.reset(everyone, qpos[frames], qvel[frames])

    def play() -> None:
        ctrl = EXCITATION * torch.rand(case.worlds, body.model.nu, device=DEVICE, generator=generator)
        for _ in range(CONTROL_STEPS):
            physics.step(ctrl, body.substeps)

    reset()
    play()
    samples = []
    for _ in range(ROUNDS):
        reset()
        begin = now()
        play()
        samples.append((now() - begin) / CONTROL_STEPS)
    step = min(samples)
    report(
        "physics",
        task=task,
        **case._asdict(),
        control_steps_per_s=case.worlds / step,
        us_per_physics_step=1e6 * step / case.worlds / body.substeps,
        all=[round(case.worlds / sample) for sample in samples],
        reset_ms=1e3 * seconds(reset),
        **_solver_figures(physics, case.worlds),
        overflow=physics.overflow(),
        bad=int(physics.bad_worlds().sum()),
        used_gib=used_gib(),
    )
    physics.close()


def _make(case: Case, body: Embodiment) -> Any:
    from muscle_torch.physics.warp_physics import WarpPhysics

    model, option = body.model, body.model.opt
    tolerance, flags = option.tolerance, option.disableflags
    if not case.eulerdamp:
        option.disableflags = flags | int(mujoco.mjtDisableBit.mjDSBL_EULERDAMP)
    option.tolerance = case.tolerance or tolerance
    try:
        return WarpPhysics(model, case.worlds, DEVICE, case.iterations, case.line_search, case.contacts, case.rows)
    finally:
        option.tolerance, option.disableflags = tolerance, flags


def _solver_figures(physics: Any, worlds: int) -> dict[str, float]:
    import warp as wp

    data = physics._d
    iterations, rows = (wp.to_torch(getattr(data, name)).float() for name in ("solver_niter", "nefc"))
    return {
        "iterations_mean": float(iterations.mean()),
        "iterations_max": float(iterations.max()),
        "rows_mean": float(rows.mean()),
        "rows_max": float(rows.max()),
        "contacts_mean": float(wp.to_torch(data.nacon)[0]) / worlds,
    }


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
