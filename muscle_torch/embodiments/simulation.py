"""Physics settings of a body: timestep, substeps, solver and integrator."""

import copy
import dataclasses
from functools import partial

import mujoco

from muscle_torch.config import Integrator, PhysicsConfig, Solver
from muscle_torch.errors import InputError

from .embodiment import Embodiment, edited_spec

SOLVERS = {
    Solver.newton: mujoco.mjtSolver.mjSOL_NEWTON,
    Solver.cg: mujoco.mjtSolver.mjSOL_CG,
    Solver.pgs: mujoco.mjtSolver.mjSOL_PGS,
}
INTEGRATORS = {
    Integrator.euler: mujoco.mjtIntegrator.mjINT_EULER,
    Integrator.rk4: mujoco.mjtIntegrator.mjINT_RK4,
    Integrator.implicit: mujoco.mjtIntegrator.mjINT_IMPLICIT,
    Integrator.implicitfast: mujoco.mjtIntegrator.mjINT_IMPLICITFAST,
}


def with_physics(embodiment: Embodiment, options: PhysicsConfig) -> Embodiment:
    """Return the body with other physics settings, or the body itself if `options` sets none.

    If only the timestep is set, the control frequency is kept and the number of substeps follows. If only the number of
    substeps is set, the timestep is kept and the control frequency follows. Together they determine it.

    Args:
        embodiment: The body.
        options: Settings; None and 0 keep those of the body.

    Raises:
        InputError: A number is too small, or the control step is not a multiple of the new timestep.
    """
    if options == PhysicsConfig():
        return embodiment
    _check_counts(options)
    timestep, substeps = _steps(embodiment, options)
    set_options = partial(_set_options, timestep=timestep, options=options)
    model = copy.copy(embodiment.model)
    set_options(model.opt)
    return dataclasses.replace(
        embodiment,
        model=model,
        substeps=substeps,
        # Unchanged if possible: 1 / (substeps * timestep) may differ in the last digit.
        control_frequency=1.0 / (substeps * timestep) if options.substeps else embodiment.control_frequency,
        build_spec=partial(edited_spec, embodiment.build_spec, lambda spec: set_options(spec.option)),
    )


def _check_counts(options: PhysicsConfig) -> None:
    for name in ("iterations", "ls_iterations", "contacts", "constraint_rows"):
        count = getattr(options, name)
        if count is not None and count < 1:
            raise InputError(f"physics.{name}={count}: must be at least 1; leave it out to keep the body's value")


def _steps(embodiment: Embodiment, options: PhysicsConfig) -> tuple[float, int]:
    """Return the timestep [s] and the number of substeps."""
    for name in ("timestep", "substeps"):
        if getattr(options, name) < 0:
            raise InputError(f"physics.{name}={getattr(options, name)}: must not be negative; 0 keeps the body's value")
    timestep = options.timestep or embodiment.model.opt.timestep
    if options.substeps or not options.timestep:
        return timestep, options.substeps or embodiment.substeps
    control_step = 1.0 / embodiment.control_frequency
    exact = control_step / timestep
    substeps = max(1, round(exact))
    if abs(exact - substeps) > 1e-6:
        raise InputError(
            f"physics.timestep={timestep}: the control step of {embodiment.name}, {control_step:g} s, is {exact:.3f} "
            f"of them; use {control_step / substeps:.6g}, or set physics.substeps too"
        )
    return control_step / substeps, substeps


def _set_options(option: mujoco.MjOption, timestep: float, options: PhysicsConfig) -> None:
    """Write the settings into a model's or a spec's options."""
    option.timestep = timestep
    if options.solver is not None:
        if option.solver != SOLVERS[options.solver]:  # limits are tuned for the body's solver: CG needs more iterations
            option.iterations, option.ls_iterations = max(option.iterations, 100), max(option.ls_iterations, 50)
        option.solver = SOLVERS[options.solver]
    if options.integrator is not None:
        option.integrator = INTEGRATORS[options.integrator]
    if options.iterations is not None:
        option.iterations = options.iterations
    if options.ls_iterations is not None:
        option.ls_iterations = options.ls_iterations
    if options.eulerdamp is not None:
        flag = int(mujoco.mjtDisableBit.mjDSBL_EULERDAMP)
        option.disableflags = option.disableflags & ~flag if options.eulerdamp else option.disableflags | flag
