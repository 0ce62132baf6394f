"""Time spent in the stages of the physics: muscle paths, inertia, collision, constraint solver and others.

The step of either backend is repeated from recorded states, by calling the engine's functions one after another and
reading the clock between them. Tests check that the resulting state equals that of the complete step.
"""

import time
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import mujoco
import numpy as np
import torch

from muscle_torch.config import explain_library
from muscle_torch.physics.mujoco_physics import MujocoPhysics
from muscle_torch.tools.benchmarking.step_profile import Clock, instead

STAGES = (
    "kinematics",  # poses of bodies, sites, cameras and lights, centres of mass
    "muscle_paths",  # tendons: length and Jacobian, wrapping included
    "inertia",  # mass matrix, its factors, acceleration without constraints
    "collision",
    "constraint_rows",  # Jacobian and reference of contacts, limits and couplings
    "velocity",  # velocities, spring-damper and bias forces
    "muscle_forces",  # actuators: moment arms (from the paths' Jacobian), activation, force
    "solver",  # constraint forces
    "integration",  # the next state, checks for bad numbers
    "sensors",
)
SAMPLED = 200  # control steps of MuJoCo C that are timed, evenly spaced in the recording
TRIES = 3  # timings of each step; the fastest counts, because other load can only slow it down

Stage = tuple[str, tuple[Callable[[Any, Any], Any], ...]]  # name, functions of model and data
_INTEGRATE: dict[int, Callable[[mujoco.MjModel, mujoco.MjData], Any]] = {
    mujoco.mjtIntegrator.mjINT_EULER: mujoco.mj_Euler,
    mujoco.mjtIntegrator.mjINT_RK4: lambda m, d: mujoco.mj_RungeKutta(m, d, 4),  # evaluates all stages three more times
    mujoco.mjtIntegrator.mjINT_IMPLICIT: mujoco.mj_implicit,
    mujoco.mjtIntegrator.mjINT_IMPLICITFAST: mujoco.mj_implicit,
}


def physics_stages(env: Any, recording: Any, start: dict[str, Any]) -> dict[str, Any]:
    """Measure the stages of the physics.

    Args:
        env: Environment whose physics is measured.
        recording: Recorded trajectory (`tools/benchmark.py`).
        start: Snapshot from which the recording began.

    Returns:
        Microseconds per control step of one world: `stages` by name, and `whole`, the same step in one call. On MuJoCo
        C with one thread. On Warp `whole` is the graph of the control step, `launched_singly` the same without a graph,
        and `kernels` its number of kernels (both None on MuJoCo C).
    """
    if not isinstance(env.physics, MujocoPhysics):
        return time_warp(env, start, recording.actions)
    chosen = np.unique(np.linspace(0, recording.state.shape[0] * env.num_envs - 1, SAMPLED).astype(int))
    recorded = (recording.state, recording.warmstart, recording.control)
    return time_mujoco(
        env.embodiment.model, *(a.reshape(-1, a.shape[-1])[chosen] for a in recorded), substeps=env.embodiment.substeps
    )


# MuJoCo C


def mujoco_stages(model: mujoco.MjModel) -> list[Stage]:
    """Return the stages of mj_step in its order, without energies, which no model here computes."""

    def forget_body_accelerations(m: mujoco.MjModel, d: mujoco.MjData) -> None:
        d.flg_rnepost = 0  # as mj_forward: accelerations computed for a sensor belong to an earlier step

    return [
        ("integration", (mujoco.mj_checkPos, mujoco.mj_checkVel)),
        ("kinematics", (mujoco.mj_kinematics, mujoco.mj_comPos, mujoco.mj_camlight, mujoco.mj_flex)),
        ("muscle_paths", (mujoco.mj_tendon,)),
        ("inertia", (mujoco.mj_makeM, mujoco.mj_factorM)),
        ("collision", (mujoco.mj_collision,)),
        ("constraint_rows", (mujoco.mj_makeConstraint, mujoco.mj_island, mujoco.mj_projectConstraint)),
        ("muscle_forces", (mujoco.mj_transmission,)),
        ("sensors", (mujoco.mj_sensorPos,)),
        ("velocity", (mujoco.mj_fwdVelocity,)),
        ("sensors", (mujoco.mj_sensorVel,)),
        ("muscle_forces", (mujoco.mj_fwdActuation,)),
        ("inertia", (mujoco.mj_fwdAcceleration,)),
        ("solver", (mujoco.mj_fwdConstraint,)),
        ("sensors", (forget_body_accelerations, mujoco.mj_sensorAcc)),
        ("integration", (mujoco.mj_checkAcc,)),
        ("integration", (_INTEGRATE[model.opt.integrator],)),
    ]


def time_mujoco(
    model: mujoco.MjModel, states: np.ndarray, warmstarts: np.ndarray, controls: np.ndarray, substeps: int
) -> dict[str, Any]:
    """Measure the stages of MuJoCo C on one thread.

    Args:
        model: MuJoCo model.
        states: mjSTATE_FULLPHYSICS of N control steps, (N, size).
        warmstarts: qacc_warmstart, (N, nv).
        controls: Controls, (N, nu).
        substeps: MuJoCo steps per control step.

    Returns:
        See `physics_stages`.
    """
    data, stages = mujoco.MjData(model), mujoco_stages(model)
    whole: Stage = ("", (mujoco.mj_step,))

    def times(i: int, sequence: list[Stage]) -> np.ndarray:
        """Return seconds (substeps, stages)."""
        mujoco.mj_setState(model, data, states[i], mujoco.mjtState.mjSTATE_FULLPHYSICS.value)
        data.qacc_warmstart[:], data.ctrl[:] = warmstarts[i], controls[i]
        marks = [[time.perf_counter(), *(_done(calls, model, data) for _, calls in sequence)] for _ in range(substeps)]
        return np.diff(marks, axis=1)

    staged, together = np.zeros(len(stages)), 0.0
    for i in range(len(states)):
        tries = [
            (times(i, stages), times(i, [whole])) for _ in range(TRIES)
        ]  # alternating, so that other load affects both equally
        staged += np.min([a for a, _ in tries], axis=0).sum(0)
        together += np.min([b for _, b in tries], axis=0).sum()
    calling = _seconds_to_call()
    spent: dict[str, float] = dict.fromkeys(STAGES, 0.0)
    for (name, calls), seconds in zip(stages, staged, strict=True):
        spent[name] += 1e6 * max(float(seconds) / len(states) - calling * substeps * len(calls), 0.0)
    microseconds = 1e6 * (together / len(states) - calling * substeps)
    return {"stages": spent, "whole": microseconds, "launched_singly": None, "kernels": None}


def _done(calls: tuple[Callable[[Any, Any], Any], ...], model: Any, data: Any) -> float:
    for call in calls:
        call(model, data)
    return time.perf_counter()


def _seconds_to_call() -> float:
    """Return the seconds of a MuJoCo function without work: the overhead of every call from Python."""
    model = mujoco.MjModel.from_xml_string("<mujoco/>")
    data = mujoco.MjData(model)
    return float(np.min(np.diff([_done((mujoco.mj_flex,), model, data) for _ in range(1000)])))


# Warp


def warp_stages(physics: Any) -> tuple[list[Stage], list[Stage], list[Stage]]:
    """Return the stages of `update_kinematics`, `constrain` and `accelerate` with integration, in their order."""
    import mujoco_warp as mjw

    from muscle_torch.physics.warp_broken import freeze_broken, freeze_diverging
    from muscle_torch.physics.warp_step import INTEGRATORS, compute_velocities

    m, broken = physics._m, physics._broken
    kinematics: list[Stage] = [
        ("kinematics", (mjw.kinematics, mjw.com_pos, mjw.camlight, mjw.flex)),
        ("muscle_paths", (mjw.tendon,)),
        ("muscle_forces", (mjw.transmission,)),
        ("sensors", (mjw.sensor_pos,)),
        ("velocity", (lambda m, d: compute_velocities(m, d, physics._passive),)),
        ("sensors", (mjw.sensor_vel,)),
    ]
    constrain: list[Stage] = [
        ("inertia", (mjw.crb,)),
        ("collision", (mjw.collision,) if m.opt.run_collision_detection else ()),
        ("constraint_rows", (mjw.make_constraint,)),
    ]
    of_bodies = (mjw.rne_postconstraint,) if m.opt.run_rne_postconstraint or m.sensor_rne_postconstraint else ()
    accelerate: list[Stage] = [
        ("sensors", (lambda m, d: d.sensordata.zero_(),)),  # a touch sensor adds up its contacts
        ("muscle_forces", (mjw.fwd_actuation,)),
        ("inertia", (lambda m, d: mjw.fwd_acceleration(m, d, factorize=True),)),
        ("solver", (lambda m, d: freeze_diverging(d, broken), mjw.solve)),
        ("sensors", (*of_bodies, lambda m, d: mjw.sensor_acc(m, d, skip_rne_postconstraint=True))),
        ("integration", (INTEGRATORS[m.opt.integrator], lambda m, d: freeze_broken(m, d, broken))),
    ]
    return kinematics, constrain, accelerate


class StagedWarp:
    """The control step of WarpPhysics in timed stages.

    On CUDA the times are taken by events inside the control step's graph, so that the stages run as in the complete
    step. Graphs on a CPU cannot be timed inside, so there the stages are launched one by one.

    Attributes:
        spent: Seconds of each stage.
    """

    def __init__(self, physics: Any):
        self.spent: dict[str, float] = dict.fromkeys(STAGES, 0.0)
        self._physics = physics
        self._cuda = physics.device.type == "cuda"
        self._marks: list[tuple[str, Any]] = []  # stage that ended, time

    def control_step(self, substeps: int) -> None:
        """Run one control step, with a mark after every stage."""
        from muscle_torch.physics.warp_broken import freeze_broken

        kinematics, constrain, accelerate = warp_stages(self._physics)
        self._mark("")
        freeze_broken(self._physics._m, self._physics._d, self._physics._broken)
        for name, calls in [*constrain, *accelerate, *kinematics] * substeps:
            for call in calls:
                call(self._physics._m, self._physics._d)
            self._mark(name)

    def read(self) -> None:
        """Add the times of the last control step to `spent`."""
        import warp as wp

        if self._cuda:
            torch.cuda.synchronize(self._physics.device)
        for (_, begin), (name, end) in pairwise(self._marks):
            between = wp.get_event_elapsed_time(begin, end, synchronize=False) / 1e3 if self._cuda else end - begin
            self.spent[name] += between
        if not self._cuda:  # events stay in the graph
            self._marks.clear()

    def _mark(self, ended: str) -> None:
        import warp as wp

        now: Any = time.perf_counter()
        if self._cuda:
            now = wp.Event(self._physics._wp_device, enable_timing=True)
            wp.record_event(now)
        self._marks.append((ended, now))


def time_warp(env: Any, start: dict[str, Any], actions: torch.Tensor) -> dict[str, Any]:
    """Measure the stages on Warp: replay the recorded actions as a graph, in stages, and launched one by one.

    Args:
        env: Environment whose physics is measured.
        start: Snapshot to begin from.
        actions: Recorded actions, (steps, W, actions).

    Returns:
        See `physics_stages`.
    """
    import warp as wp

    physics, marked, kernels = env.physics, StagedWarp(env.physics), 0
    step, control_step, count = physics.step, physics._control_step, len(actions) * env.num_envs

    def staged(ctrl: torch.Tensor, substeps: int) -> None:
        step(ctrl, substeps)
        marked.read()

    def counted(launch: Callable[..., Any]) -> Callable[..., Any]:
        def run(kernel: Any, *arguments: Any, **keywords: Any) -> Any:
            nonlocal kernels
            kernels += bool(np.prod(arguments[0] if arguments else keywords["dim"]))  # no launch without threads
            return launch(kernel, *arguments, **keywords)

        return run

    def counting(substeps: int) -> None:
        """Count kernels; those in the solver's loop once per iteration."""
        with instead(wp, launch=counted(wp.launch), launch_tiled=counted(wp.launch_tiled)):
            control_step(substeps)

    whole = _physics_seconds(env, start, actions)
    graphs = {key: graph for key, graph in physics._graphs.items() if isinstance(key, str)}
    singly = {"_run": lambda key, launches: physics._launch(launches)}
    launching = {} if physics.device.type == "cuda" else singly
    with instead(physics, step=staged, _control_step=marked.control_step, _graphs=graphs, **launching):
        _physics_seconds(env, start, actions)
    with instead(physics, _control_step=counting, **singly):
        alone = _physics_seconds(env, start, actions)
    return {
        "stages": {name: 1e6 * seconds / count for name, seconds in marked.spent.items()},
        "whole": 1e6 * whole / count,
        "launched_singly": 1e6 * alone / count,
        "kernels": kernels / len(actions),
    }


def _physics_seconds(env: Any, start: dict[str, Any], actions: torch.Tensor) -> float:
    """Return the seconds of the control steps alone; the environment's resets between them are not counted."""
    clock = Clock(env.device)
    env.load_snapshot(start)
    with instead(env.physics, step=clock.timed("physics", env.physics.step)):
        for action in actions:
            step = env.advance(action)
            env.restart(step.terminated | step.truncated)
    return clock.seconds()["physics"]


if __name__ == "__main__":
    explain_library(__doc__ or "", "tools/benchmark.py")
