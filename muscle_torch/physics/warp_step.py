"""Stages of a physics step of MuJoCo Warp, and the check for models that cannot be simulated by stages.

`update_kinematics` computes positions and velocities, `constrain` the constraints, `accelerate` forces and
accelerations; an integrator then computes the next state. Together they equal mjw.step, except for broken worlds
(`warp_broken.py`).
"""

import copy
from collections.abc import Callable

import mujoco
import mujoco_warp as mjw
import numpy as np
import warp as wp
from mujoco_warp._src.forward import _actuator_velocity  # part of fwd_velocity

from muscle_torch.errors import InputError

from .warp_broken import freeze_diverging

_SENSOR = mujoco.mjtSensor
_OF_CONSTRAINTS = [
    *(_SENSOR.mjSENS_JOINTLIMITPOS, _SENSOR.mjSENS_JOINTLIMITVEL, _SENSOR.mjSENS_TENDONLIMITPOS),
    *(_SENSOR.mjSENS_TENDONLIMITVEL, _SENSOR.mjSENS_GEOMDIST, _SENSOR.mjSENS_GEOMNORMAL, _SENSOR.mjSENS_GEOMFROMTO),
]
# arrays of a model that give tendons passive forces, or bodies gravity compensation
_PASSIVE = ("tendon_stiffness", "tendon_stiffnesspoly", "tendon_damping", "tendon_dampingpoly", "body_gravcomp")


def update_kinematics(m: mjw.Model, d: mjw.Data, passive: bool) -> None:
    """Run the position and velocity stages without `constrain`; sensors of the acceleration stage are unchanged.

    Args:
        m: The model on the device.
        d: The worlds.
        passive: `has_passive` of the model.
    """
    mjw.fwd_kinematics(m, d)
    mjw.transmission(m, d)
    mjw.sensor_pos(m, d)
    compute_velocities(m, d, passive)
    mjw.sensor_vel(m, d)


def compute_velocities(m: mjw.Model, d: mjw.Data, passive: bool) -> None:
    """Run mjw.fwd_velocity; if the model has no passive forces of tendons and bodies, without the loops over them.

    mjw.fwd_velocity checks every degree of freedom for springs, dampers and armature of each tendon, and for gravity
    compensation of each body.

    Args:
        m: The model on the device.
        d: The worlds.
        passive: `has_passive` of the model.
    """
    if passive:
        mjw.fwd_velocity(m, d)
        return
    moment = [d.moment_rownnz, d.moment_rowadr, d.moment_colind, d.actuator_moment]
    wp.launch(_actuator_velocity, d.actuator_velocity.shape, [d.qvel, *moment], [d.actuator_velocity])
    mjw.com_vel(m, d)
    joints_only = copy.copy(m)
    joints_only.ntendon, joints_only.nbody = 0, 1  # of the bodies only the world, which has no weight
    mjw.passive(joints_only, d)
    mjw.rne(m, d)


def constrain(m: mjw.Model, d: mjw.Data) -> None:
    """Compute inertia, contacts and constraint rows.

    Args:
        m: The model on the device.
        d: The worlds.
    """
    mjw.crb(m, d)
    if m.opt.run_collision_detection:
        mjw.collision(m, d)
    mjw.make_constraint(m, d)


def accelerate(m: mjw.Model, d: mjw.Data, broken: wp.array) -> None:
    """Compute muscle forces, constraint forces, accelerations and their sensors.

    Clear `d.sensordata` first: touch sensors add to it.

    Args:
        m: The model on the device.
        d: The worlds.
        broken: (W,) int; worlds that would keep the solver from converging are marked here and held at rest.
    """
    mjw.fwd_actuation(m, d)
    mjw.fwd_acceleration(m, d, factorize=True)
    freeze_diverging(d, broken)
    mjw.solve(m, d)
    if m.opt.run_rne_postconstraint or m.sensor_rne_postconstraint:
        mjw.rne_postconstraint(m, d)
    mjw.sensor_acc(m, d, skip_rne_postconstraint=True)


def _runge_kutta(m: mjw.Model, d: mjw.Data) -> None:
    """Integrate by mjw.rungekutta4, and keep the acceleration sensors of the step's start, as MuJoCo C does.

    mjw.rungekutta4 evaluates all stages at three more points, and leaves positions and velocities of the last one.
    """
    sensors = wp.clone(d.sensordata)
    mjw.rungekutta4(m, d)
    wp.copy(d.sensordata, sensors)


# mjtIntegrator -> function that computes the state at the end of a substep, after all stages at its start
INTEGRATORS: dict[int, Callable[[mjw.Model, mjw.Data], None]] = {
    mujoco.mjtIntegrator.mjINT_EULER: mjw.euler,
    mujoco.mjtIntegrator.mjINT_RK4: _runge_kutta,
    mujoco.mjtIntegrator.mjINT_IMPLICIT: mjw.implicit,
    mujoco.mjtIntegrator.mjINT_IMPLICITFAST: mjw.implicit,
}


def put_model(model: mujoco.MjModel) -> mjw.Model:
    """Return the model on Warp's current device.

    Raises:
        InputError: MuJoCo Warp cannot simulate the model.
    """
    try:
        _check(model)
        return mjw.put_model(model)
    except NotImplementedError as error:
        raise InputError(f"MuJoCo Warp cannot simulate this model: {error} Use backend=mujoco") from None


def _check(model: mujoco.MjModel) -> None:
    """Raise NotImplementedError for features that a step by stages does not support.

    At the end of a control step contacts and limits are not known yet: the next step computes them. Inertia of tendons
    and flexible bodies are not implemented in the stages.
    """
    unsupported = {
        "adhesion": (model.actuator_trntype == mujoco.mjtTrn.mjTRN_BODY).any(),
        "tendon armature": model.tendon_armature.any(),
        "sensors of limits or distances": np.isin(model.sensor_type, _OF_CONSTRAINTS).any(),
        "an integrator other than euler, rk4, implicit and implicitfast": model.opt.integrator not in INTEGRATORS,
        "the solver pgs": model.opt.solver == mujoco.mjtSolver.mjSOL_PGS,
        "sleeping": model.opt.enableflags & mujoco.mjtEnableBit.mjENBL_SLEEP,
        "flexible bodies": model.nflex,
    }
    for name, present in unsupported.items():
        if present:
            raise NotImplementedError(f"it has {name}.")


def has_passive(model: mujoco.MjModel) -> bool:
    """Return whether the model has passive forces besides those of joints, or a sensor of a tendon's velocity."""
    in_fluid = model.opt.density > 0 or model.opt.viscosity > 0 or model.opt.wind.any()
    sensed = (model.sensor_type == _SENSOR.mjSENS_TENDONVEL).any()
    return bool(in_fluid or sensed or any(getattr(model, name).any() for name in _PASSIVE))
