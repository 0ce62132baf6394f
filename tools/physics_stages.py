"""What the physics of a control step goes to: muscle paths, inertia, collision, constraint solver and the rest.

Both backends make their step once more, by the engine's own functions one after another, from states that the
environment's worlds went through; the clock is read between them. Tests hold the result equal to the whole step's.
"""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import pairwise
from typing import Any

import mujoco
import numpy as np
import torch

from muscle_torch.physics.mujoco_physics import MujocoPhysics
from muscle_torch.tools.step_profile import Clock

# Stage -> what is in it, in the order of a step.
STAGES = {
    "kinematics": "poses of bodies, sites, cameras and lights, centres of mass",
    "muscle_paths": "tendons: length and Jacobian, wrapping included",
    "inertia": "mass matrix, its factors, acceleration without constraints",
    "collision": "contacts",
    "constraint_rows": "Jacobian and reference of contacts, limits and couplings",
    "velocity": "velocities, spring-damper and bias forces",
    "muscle_forces": "moment arms of the actuators, activation, force",
    "solver": "constraint forces",
    "integration": "the next state, checks for bad numbers",
    "sensors": "touch and the rest",
}
SAMPLED = 200  # control steps timed of MuJoCo C, spread over the recording
TRIES = 3  # of each; the fastest counts: the machine may be busy with something else

Call = Callable[[Any, Any], Any]
_INTEGRATOR = mujoco.mjtIntegrator
_IMPLICIT = (_INTEGRATOR.mjINT_IMPLICIT, _INTEGRATOR.mjINT_IMPLICITFAST)
_NO_MARK = ""


def physics_stages(env: Any, recording: Any, start: dict[str, Any]) -> dict[str, Any]:
    """Microseconds of one control step of one world: `stages` {name: ...} and `whole`, the same step in one piece.

    On MuJoCo C of one thread. On Warp `whole` is the control step's graph, `launched_singly` the same without a graph,
    and `kernels` how many kernels that launches (None on MuJoCo C). recording: `tools/benchmark.py`'s; start: the
    environment's snapshot it began from. The environment is left where the recording ends.
    """
    if not isinstance(env.physics, MujocoPhysics):
        return time_warp(env, start, recording.actions)
    chosen = np.unique(np.linspace(0, recording.state.shape[0] * env.num_envs - 1, SAMPLED).astype(int))
    rows = [array.reshape(-1, array.shape[-1])[chosen] for array in (recording.state, recording.warmstart)]
    control = recording.control.reshape(-1, recording.control.shape[-1])[chosen]
    return time_mujoco(env.embodiment.model, *rows, control, env.embodiment.substeps)


# MuJoCo C


def mujoco_calls(model: mujoco.MjModel) -> list[tuple[str, Call]]:
    """(stage, function of model and data) in the order of mj_step; without energies, which no model here asks for."""

    def sensors_of_acceleration(m: mujoco.MjModel, d: mujoco.MjData) -> None:
        d.flg_rnepost = 0  # as mj_forward: body accelerations, where a sensor reads them, are of an earlier step
        mujoco.mj_sensorAcc(m, d)

    return [
        ("integration", mujoco.mj_checkPos),
        ("integration", mujoco.mj_checkVel),
        ("kinematics", mujoco.mj_kinematics),
        ("kinematics", mujoco.mj_comPos),
        ("kinematics", mujoco.mj_camlight),
        ("kinematics", mujoco.mj_flex),
        ("muscle_paths", mujoco.mj_tendon),
        ("inertia", mujoco.mj_makeM),
        ("inertia", mujoco.mj_factorM),
        ("collision", mujoco.mj_collision),
        ("constraint_rows", mujoco.mj_makeConstraint),
        ("constraint_rows", mujoco.mj_island),
        ("constraint_rows", mujoco.mj_projectConstraint),
        ("muscle_forces", mujoco.mj_transmission),
        ("sensors", mujoco.mj_sensorPos),
        ("velocity", mujoco.mj_fwdVelocity),
        ("sensors", mujoco.mj_sensorVel),
        ("muscle_forces", mujoco.mj_fwdActuation),
        ("inertia", mujoco.mj_fwdAcceleration),
        ("solver", mujoco.mj_fwdConstraint),
        ("sensors", sensors_of_acceleration),
        ("integration", mujoco.mj_checkAcc),
        ("integration", mujoco.mj_implicit if model.opt.integrator in _IMPLICIT else mujoco.mj_Euler),
    ]


def time_mujoco(
    model: mujoco.MjModel, states: np.ndarray, warmstarts: np.ndarray, controls: np.ndarray, substeps: int
) -> dict[str, Any]:
    """Control steps from `states` (N, FULLPHYSICS), `warmstarts` (N, nv), `controls` (N, nu), on one thread."""
    data, calls, calling = mujoco.MjData(model), mujoco_calls(model), _seconds_to_call()
    staged, whole = np.zeros((substeps, len(calls))), np.zeros(substeps)

    def load(i: int) -> None:
        mujoco.mj_setState(model, data, states[i], mujoco.mjtState.mjSTATE_FULLPHYSICS)
        data.qacc_warmstart[:], data.ctrl[:] = warmstarts[i], controls[i]

    for i in range(len(states)):
        tries = []
        for _ in range(TRIES):  # in turns: what disturbs one disturbs the other
            load(i)
            marks = [[time.perf_counter()] + [_after(call, model, data) for _, call in calls] for _ in range(substeps)]
            load(i)
            steps = [time.perf_counter()] + [_after(mujoco.mj_step, model, data) for _ in range(substeps)]
            tries.append((np.diff(marks, axis=1), np.diff(steps)))
        staged += np.min([a for a, _ in tries], axis=0)
        whole += np.min([b for _, b in tries], axis=0)
    stages = dict.fromkeys(STAGES, 0.0)
    for (name, _), seconds in zip(calls, staged.sum(0), strict=True):
        stages[name] += 1e6 * max(float(seconds) / len(states) - calling * substeps, 0.0)
    return {"stages": stages, "whole": 1e6 * float(whole.sum()) / len(states), "launched_singly": None, "kernels": None}


def _seconds_to_call() -> float:
    """Of a function of MuJoCo's that finds nothing to do: Python's part of every call."""
    model = mujoco.MjModel.from_xml_string("<mujoco/>")
    data = mujoco.MjData(model)
    marks = [_after(mujoco.mj_flex, model, data) for _ in range(1000)]
    return float(np.median(np.diff(marks)))


def _after(call: Call, model: mujoco.MjModel, data: mujoco.MjData) -> float:
    call(model, data)
    return time.perf_counter()


# Warp


def warp_calls(physics: Any, factorize: bool) -> tuple[list[tuple[str, Call]], ...]:
    """WarpPhysics' three parts of a physics step, `_look`, `_constrain` and the acceleration stage, as (stage, call).

    factorize: with the mass matrix (as where a control step begins) or, False, with the acceleration (as mjw.step).
    """
    import mujoco_warp as mjw

    m = physics._m
    look = [
        ("kinematics", mjw.kinematics),
        ("kinematics", mjw.com_pos),
        ("kinematics", mjw.camlight),
        ("kinematics", mjw.flex),
        ("muscle_paths", mjw.tendon),
        ("muscle_forces", mjw.transmission),
        ("sensors", mjw.sensor_pos),
        ("velocity", mjw.fwd_velocity),
        ("sensors", mjw.sensor_vel),
    ]
    constrain = [
        ("inertia", mjw.crb),
        *([("inertia", mjw.factor_m)] if factorize else []),
        *([("collision", mjw.collision)] if m.opt.run_collision_detection else []),
        ("constraint_rows", mjw.make_constraint),
    ]
    sensors_of_bodies = m.opt.run_rne_postconstraint or m.sensor_rne_postconstraint
    accelerate = [
        ("sensors", lambda m, d: d.sensordata.zero_()),  # a touch sensor adds up its contacts
        ("muscle_forces", mjw.fwd_actuation),
        ("inertia", lambda m, d: mjw.fwd_acceleration(m, d, factorize=not factorize)),
        ("solver", mjw.solve),
        *([("sensors", mjw.rne_postconstraint)] if sensors_of_bodies else []),
        ("sensors", lambda m, d: mjw.sensor_acc(m, d, skip_rne_postconstraint=True)),
        ("integration", mjw.implicit if m.opt.integrator in _IMPLICIT else mjw.euler),
    ]
    return look, constrain, accelerate


class WarpMarks:
    """WarpPhysics' control step in stages, `control_step`, and the seconds `spent` in each.

    On CUDA the marks are events inside the control step's graph, so that the stages follow one another as they do in
    the whole; on a CPU, whose graphs hold no clock, the stages are launched one by one.
    """

    def __init__(self, physics: Any):
        self.spent = dict.fromkeys(STAGES, 0.0)
        self._physics = physics
        self._cuda = physics.device.type == "cuda"
        self._marks: list[tuple[str, Any]] = []

    def control_step(self, substeps: int, constrained: bool = False) -> None:
        look, constrain, accelerate = warp_calls(self._physics, factorize=True)
        _, constrain_later, accelerate_later = warp_calls(self._physics, factorize=False)
        self._mark(_NO_MARK)
        self._make([] if constrained else constrain)
        self._make(accelerate)
        for _ in range(substeps - 1):
            self._make(look + constrain_later + accelerate_later)
        self._make(look)

    def read(self) -> None:
        """After a control step: adds its times."""
        import warp as wp

        if self._cuda:
            torch.cuda.synchronize(self._physics.device)
        for (_, begin), (name, end) in pairwise(self._marks):
            between = wp.get_event_elapsed_time(begin, end, synchronize=False) / 1e3 if self._cuda else end - begin
            self.spent[name] += between
        if not self._cuda:  # events stay in their graph
            self._marks.clear()

    def _make(self, calls: list[tuple[str, Call]]) -> None:
        for i, (name, call) in enumerate(calls):
            call(self._physics._m, self._physics._d)
            if i + 1 == len(calls) or calls[i + 1][0] != name:
                self._mark(name)

    def _mark(self, ended: str) -> None:
        import warp as wp

        now: Any = time.perf_counter()
        if self._cuda:
            now = wp.Event(self._physics._wp_device, enable_timing=True)
            wp.record_event(now)
        self._marks.append((ended, now))


def time_warp(env: Any, start: dict[str, Any], actions: torch.Tensor) -> dict[str, Any]:
    """Three times through the recorded actions (steps, W, nu): as it is, in stages, and launched one by one."""
    physics, marks, kernels = env.physics, WarpMarks(env.physics), [0]
    step, control_step, count = physics.step, physics._control_step, len(actions) * env.num_envs

    def staged(ctrl: torch.Tensor, substeps: int) -> None:
        physics._constrained = False  # one graph, with all stages
        step(ctrl, substeps)
        marks.read()

    def counted(substeps: int, constrained: bool = False) -> None:
        with _counting(kernels):
            control_step(substeps, constrained)

    def singly(key: object, launches: Callable[[], None]) -> None:
        physics._launch(launches)

    whole = _physics_seconds(env, start, actions)
    graphs = {key: graph for key, graph in physics._graphs.items() if isinstance(key, str)}
    launching = {} if physics.device.type == "cuda" else {"_run": singly}
    with _instead(physics, step=staged, _control_step=marks.control_step, _graphs=graphs, **launching):
        _physics_seconds(env, start, actions)
    with _instead(physics, _control_step=counted, _run=singly):
        alone = _physics_seconds(env, start, actions)
    return {
        "stages": {name: 1e6 * seconds / count for name, seconds in marks.spent.items()},
        "whole": 1e6 * whole / count,
        "launched_singly": 1e6 * alone / count,
        "kernels": kernels[0] / len(actions),
    }


def _physics_seconds(env: Any, start: dict[str, Any], actions: torch.Tensor) -> float:
    """Of the control steps alone, with the environment's resets between them."""
    clock = Clock(env.device)
    env.load_snapshot(start)
    with _instead(env.physics, step=clock.timed("physics", env.physics.step)):
        for action in actions:
            step = env.advance(action)
            env.restart(step.terminated | step.truncated)
    return clock.seconds()["physics"]


@contextmanager
def _counting(kernels: list[int]) -> Iterator[None]:
    """Adds to `kernels[0]` what is launched; loops of the solver as often as they turn."""
    import warp as wp

    def counted(launch: Callable[..., Any]) -> Callable[..., Any]:
        def run(*given: Any, **named: Any) -> Any:
            kernels[0] += 1
            return launch(*given, **named)

        return run

    with _instead(wp, launch=counted(wp.launch), launch_tiled=counted(wp.launch_tiled)):
        yield


@contextmanager
def _instead(of: Any, **given: Any) -> Iterator[None]:
    kept = {name: getattr(of, name) for name in given}
    for name, value in given.items():
        setattr(of, name, value)
    try:
        yield
    finally:
        for name, value in kept.items():
            setattr(of, name, value)
