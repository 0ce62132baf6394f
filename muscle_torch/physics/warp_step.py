"""A physics step of MuJoCo Warp in its parts, and the models that cannot be simulated in such parts.

`look` finds where everything is, `constrain` what holds it, `accelerate` how it moves; an integrator makes the next
state. Together they are mjw.step, but for worlds whose numbers are broken (`warp_broken.py`).
"""

import copy
from collections.abc import Callable

import mujoco
import mujoco_warp as mjw
import numpy as np
import warp as wp
from mujoco_warp._src.forward import _actuator_velocity  # within fwd_velocity; a part of its own only here

from muscle_torch.errors import InputError

from .warp_broken import freeze_diverging

_SENSOR = mujoco.mjtSensor
_OF_CONSTRAINTS = [
    *(_SENSOR.mjSENS_JOINTLIMITPOS, _SENSOR.mjSENS_JOINTLIMITVEL, _SENSOR.mjSENS_TENDONLIMITPOS),
    *(_SENSOR.mjSENS_TENDONLIMITVEL, _SENSOR.mjSENS_GEOMDIST, _SENSOR.mjSENS_GEOMNORMAL, _SENSOR.mjSENS_GEOMFROMTO),
]
# of a model: what makes tendons push by themselves, or bodies float
_PASSIVE = ("tendon_stiffness", "tendon_stiffnesspoly", "tendon_damping", "tendon_dampingpoly", "body_gravcomp")


def look(m: mjw.Model, d: mjw.Data, passive: bool) -> None:
    """Run the position and velocity stages but for `constrain`; sensors of the acceleration stage stay.

    passive: `has_passive` of the model.
    """
    mjw.fwd_kinematics(m, d)
    mjw.transmission(m, d)
    mjw.sensor_pos(m, d)
    find_velocities(m, d, passive)
    mjw.sensor_vel(m, d)


def find_velocities(m: mjw.Model, d: mjw.Data, passive: bool) -> None:
    """Run mjw.fwd_velocity, without its search for what the model has not.

    It looks for springs, dampers and armature of each tendon at every degree of freedom, and for a float of each body
    at every one.
    """
    if passive:
        mjw.fwd_velocity(m, d)
        return
    moment = [d.moment_rownnz, d.moment_rowadr, d.moment_colind, d.actuator_moment]
    wp.launch(_actuator_velocity, d.actuator_velocity.shape, [d.qvel, *moment], [d.actuator_velocity])
    mjw.com_vel(m, d)
    joints_only = copy.copy(m)
    joints_only.ntendon, joints_only.nbody = 0, 1  # of bodies the world, which has no weight
    mjw.passive(joints_only, d)
    mjw.rne(m, d)


def constrain(m: mjw.Model, d: mjw.Data) -> None:
    """Compute inertia, contacts and the rows of the constraints."""
    mjw.crb(m, d)
    if m.opt.run_collision_detection:
        mjw.collision(m, d)
    mjw.make_constraint(m, d)


def accelerate(m: mjw.Model, d: mjw.Data, broken: wp.array) -> None:
    """Compute muscle forces, constraint forces, accelerations and their sensors, which add up: clear them first.

    broken: (W,) int; worlds that would keep the solver from converging are marked there, and held still.
    """
    mjw.fwd_actuation(m, d)
    mjw.fwd_acceleration(m, d, factorize=True)
    freeze_diverging(d, broken)
    mjw.solve(m, d)
    if m.opt.run_rne_postconstraint or m.sensor_rne_postconstraint:
        mjw.rne_postconstraint(m, d)
    mjw.sensor_acc(m, d, skip_rne_postconstraint=True)


def _runge_kutta(m: mjw.Model, d: mjw.Data) -> None:
    """Integrate as mjw.rungekutta4; sensors of the acceleration stage stay those of the step's start, as in C.

    It evaluates all stages anew at three more points, and leaves positions and velocities of the last of them.
    """
    sensors = wp.clone(d.sensordata)
    mjw.rungekutta4(m, d)
    wp.copy(d.sensordata, sensors)


# mjtIntegrator -> what takes the state from the start of a substep, where all stages are known, to its end
INTEGRATORS: dict[int, Callable[[mjw.Model, mjw.Data], None]] = {
    mujoco.mjtIntegrator.mjINT_EULER: mjw.euler,
    mujoco.mjtIntegrator.mjINT_RK4: _runge_kutta,
    mujoco.mjtIntegrator.mjINT_IMPLICIT: mjw.implicit,
    mujoco.mjtIntegrator.mjINT_IMPLICITFAST: mjw.implicit,
}


def put_model(model: mujoco.MjModel) -> mjw.Model:
    """Return the model on Warp's current device.

    Raises:
        InputError: MuJoCo Warp cannot simulate it.
    """
    try:
        _check(model)
        return mjw.put_model(model)
    except NotImplementedError as error:
        raise InputError(f"MuJoCo Warp cannot simulate this model: {error} Use backend=mujoco") from None


def _check(model: mujoco.MjModel) -> None:
    """What would need contacts or limits where a control step ends, which are computed where the next one begins.

    And what a step made of parts leaves out: inertia of tendons, checks of flexible bodies.
    """
    refused = {
        "adhesion": (model.actuator_trntype == mujoco.mjtTrn.mjTRN_BODY).any(),
        "tendon armature": model.tendon_armature.any(),
        "sensors of limits or distances": np.isin(model.sensor_type, _OF_CONSTRAINTS).any(),
        "an integrator other than euler, rk4, implicit and implicitfast": model.opt.integrator not in INTEGRATORS,
        "the solver pgs": model.opt.solver == mujoco.mjtSolver.mjSOL_PGS,
        "sleeping": model.opt.enableflags & mujoco.mjtEnableBit.mjENBL_SLEEP,
        "flexible bodies": model.nflex,
    }
    for name, found in refused.items():
        if found:
            raise NotImplementedError(f"it has {name}.")


def has_passive(model: mujoco.MjModel) -> bool:
    """Whether anything but joints makes passive forces, or reads a tendon's velocity."""
    in_fluid = model.opt.density > 0 or model.opt.viscosity > 0 or model.opt.wind.any()
    sensed = (model.sensor_type == _SENSOR.mjSENS_TENDONVEL).any()
    return bool(in_fluid or sensed or any(getattr(model, name).any() for name in _PASSIVE))
