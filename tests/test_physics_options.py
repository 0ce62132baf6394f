"""Group `physics` of a config: timestep, substeps, solver and integrator of a body, on both backends."""

import copy

import mujoco
import numpy as np
import pytest
import torch
from physics_cases import everyone, random_ctrl, random_states

from muscle_torch.config import Integrator, PhysicsConfig, Solver, load_config
from muscle_torch.embodiments import Embodiment, configured_embodiment, make_embodiment, with_physics
from muscle_torch.envs import make_env
from muscle_torch.errors import InputError
from muscle_torch.motion import load_motion
from muscle_torch.motion.joints import fit_to
from muscle_torch.motion.resample import at_control_rate
from muscle_torch.physics import BACKENDS, make_physics


@pytest.mark.parametrize(
    ("options", "timestep", "substeps", "frequency"),
    [
        ({}, 0.002, 5, 100.0),
        ({"timestep": 0.001}, 0.001, 10, 100.0),
        ({"timestep": 0.0025}, 0.0025, 4, 100.0),
        ({"timestep": 0.01}, 0.01, 1, 100.0),
        ({"substeps": 10}, 0.002, 10, 50.0),
        ({"substeps": 4}, 0.002, 4, 125.0),
        ({"timestep": 0.001, "substeps": 20}, 0.001, 20, 50.0),
        ({"timestep": 0.003, "substeps": 4}, 0.003, 4, 1 / 0.012),
    ],
)
def test_timestep_and_substeps_determine_the_control_step(options, timestep, substeps, frequency):
    body = with_physics(make_embodiment("toy_arm"), PhysicsConfig(**options))
    assert body.model.opt.timestep == pytest.approx(timestep, rel=1e-12)
    assert body.substeps == substeps and body.control_frequency == pytest.approx(frequency, rel=1e-12)
    assert body.whole_model.opt.timestep == body.model.opt.timestep
    assert make_embodiment("toy_arm").model.opt.timestep == 0.002  # the caller's own copy was changed


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"timestep": 0.003}, r"physics.timestep=0.003: .*0.01 s, is 3.333 .*; use 0.00333333"),
        ({"timestep": 0.02}, r"use 0.01"),
        ({"timestep": -0.002}, r"physics.timestep=-0.002: must not be negative"),
        ({"substeps": -1}, r"physics.substeps=-1: must not be negative"),
        ({"iterations": 0}, r"physics.iterations=0: must be at least 1"),
        ({"ls_iterations": -3}, r"physics.ls_iterations=-3: must be at least 1"),
        ({"contacts": 0}, r"physics.contacts=0: must be at least 1"),
        ({"constraint_rows": 0}, r"physics.constraint_rows=0: must be at least 1"),
    ],
)
def test_steps_that_do_not_fit_are_refused_in_one_line(options, message):
    with pytest.raises(InputError, match=message) as caught:
        with_physics(make_embodiment("toy_arm"), PhysicsConfig(**options))
    assert "\n" not in str(caught.value)


def test_solver_and_integrator_reach_model_and_spec():
    for name in ("toy_arm", "bimanual"):
        plain = make_embodiment(name)
        assert with_physics(plain, PhysicsConfig()) is plain
        body = with_physics(plain, PhysicsConfig(solver=Solver.cg, integrator=Integrator.implicitfast))
        for model in (body.model, body.whole_model):
            assert model.opt.solver == mujoco.mjtSolver.mjSOL_CG
            assert model.opt.integrator == mujoco.mjtIntegrator.mjINT_IMPLICITFAST
        assert plain.model.opt.solver == mujoco.mjtSolver.mjSOL_NEWTON
        assert (body.substeps, body.control_frequency) == (plain.substeps, plain.control_frequency)


def opt_of(model: mujoco.MjModel) -> tuple[int, int, bool]:
    damped = not model.opt.disableflags & mujoco.mjtDisableBit.mjDSBL_EULERDAMP
    return model.opt.iterations, model.opt.ls_iterations, damped


def test_the_solver_s_limits_are_the_body_s_own_or_those_asked_for():
    """The human bodies' own are measured (next test), the toy arm's are those of its file."""
    assert opt_of(make_embodiment("toy_arm").model) == (100, 50, True)
    for name in ("bimanual", "fullbody"):
        plain = make_embodiment(name)
        assert opt_of(plain.model) == opt_of(plain.whole_model) == (10, 20, True)
        for preset in ("paper", "release"):
            body = configured_embodiment(load_config(name, preset=preset))
            assert opt_of(body.model) == opt_of(body.whole_model) == (4, 8, False)
        again = with_physics(with_physics(plain, PhysicsConfig(eulerdamp=False)), PhysicsConfig(eulerdamp=True))
        assert opt_of(again.model) == (10, 20, True)


@pytest.mark.parametrize("name", ["bimanual", "fullbody"])
def test_the_human_bodies_limits_are_never_felt(name):
    """From frames of the generated motions under random excitations: the states of 100 and 50, to the bit."""
    body, rng = make_embodiment(name), np.random.default_rng(0)
    longer = copy.copy(body.model)
    longer.opt.iterations, longer.opt.ls_iterations = 100, 50
    frames = np.concatenate([at_control_rate(fit_to(c, body), body, "derivative")[0] for c in load_motion("all", body)])
    most = 0
    for qpos in frames[rng.choice(len(frames), 20, replace=False)]:
        data, other = mujoco.MjData(body.model), mujoco.MjData(longer)
        data.qpos[:] = other.qpos[:] = qpos
        data.ctrl[:] = other.ctrl[:] = rng.random(body.model.nu)
        for _ in range(20):
            mujoco.mj_step(body.model, data)
            mujoco.mj_step(longer, other)
            most = max(most, int(data.solver_niter.max()))
        assert np.array_equal(data.qpos, other.qpos)
    assert 1 <= most <= 6


OPTIONS = {
    "body's own": {},
    "published": {"iterations": 4, "ls_iterations": 8, "eulerdamp": False},
    "iterations": {"iterations": 4, "ls_iterations": 8},
    "one iteration": {"iterations": 1, "ls_iterations": 1},
    "eulerdamp": {"eulerdamp": False},
    "cg": {"solver": Solver.cg},
    "rk4": {"integrator": Integrator.rk4},
    "implicit": {"integrator": Integrator.implicit},
    "implicitfast": {"integrator": Integrator.implicitfast},
}
PARITY = [("toy_arm", 2e-7), ("bimanual", 1e-5), pytest.param("fullbody", 1e-4, marks=pytest.mark.slow)]


@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)
@pytest.mark.parametrize(("name", "limit"), PARITY)
def test_a_step_under_each_option_is_the_same_on_both_backends(name, limit, options):
    """A physics step from 4 random states; qpos and qvel times the timestep (rad, m)."""
    body = with_physics(make_embodiment(name), PhysicsConfig(**options))
    ends = []
    for backend in BACKENDS:
        physics = make_physics(body.model, 4, device="cpu", backend=backend, threads=1)
        physics.reset(everyone(physics), *random_states(body, 4))
        physics.step(random_ctrl(body.model.nu, 4, 1)[0], 1)
        ends.append([physics.field("qpos").clone(), body.model.opt.timestep * physics.field("qvel")])
        physics.close()
    apart = max(float((a - b).abs().max()) for a, b in zip(*ends, strict=True))
    print(f"{name}, {options}: {apart:.1e}")
    assert apart < limit


@pytest.mark.parametrize("backend", BACKENDS)
def test_explicit_damping_is_another_step(backend):
    """Of a hinge with damping c and inertia I: v - h c v / I instead of v / (1 + h c / I)."""
    model = mujoco.MjModel.from_xml_string("""<mujoco><option timestep="0.01" gravity="0 0 0"/><worldbody><body>
      <joint damping="2"/><geom size=".1" mass="0"/><inertial pos="0 0 0" mass="1" diaginertia=".1 .1 .1"/></body>
      </worldbody></mujoco>""")
    for damped, expected in ((True, 1 / 1.2), (False, 0.8)):
        flag = int(mujoco.mjtDisableBit.mjDSBL_EULERDAMP)
        model.opt.disableflags = 0 if damped else flag
        physics = make_physics(model, 1, device="cpu", backend=backend, threads=1)
        physics.reset(everyone(physics), torch.zeros(1, 1), torch.ones(1, 1))
        physics.step(torch.zeros(1, 0), 1)
        assert float(physics.field("qvel")) == pytest.approx(expected, rel=1e-6)
        physics.close()


def test_options_reach_warp():
    body = with_physics(make_embodiment("toy_arm"), PhysicsConfig(iterations=3, ls_iterations=7, eulerdamp=False))
    physics = make_physics(body.model, 2, device="cpu", backend="warp", contacts=5, constraint_rows=24)
    option = physics._m.opt
    assert (option.iterations, option.ls_iterations) == (3, 7)
    assert option.disableflags & mujoco.mjtDisableBit.mjDSBL_EULERDAMP
    assert (physics._d.naconmax, physics._d.njmax) == (10, 24)
    for backend in BACKENDS:  # MuJoCo C has no such buffers
        env = make_env("toy_arm", 2, device="cpu", backend=backend, physics={"contacts": 5, "constraint_rows": 24})
        assert backend != "warp" or (env.physics.buffers.contacts, env.physics.buffers.rows) == (5, 24)
        env.close()


def end_of(body: Embodiment, backend: str, seconds: float) -> torch.Tensor:
    """qpos (8, 1) after holding each control for 0.1 s."""
    physics = make_physics(body.model, 8, device="cpu", backend=backend, threads=1)
    physics.reset(everyone(physics), *random_states(body, 8))
    substeps = round(0.1 / body.model.opt.timestep)
    for ctrl in random_ctrl(2, 8, round(10 * seconds)):
        physics.step(ctrl, substeps)
    qpos = physics.field("qpos").clone()
    physics.close()
    return qpos


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_shorter_timestep_and_a_better_integrator_come_closer_to_the_truth(backend):
    """The truth is RK4 at 0.1 ms on MuJoCo C; Euler's error falls with the timestep, RK4 has hardly any."""

    def error(**options) -> float:
        body = with_physics(make_embodiment("toy_arm"), PhysicsConfig(**options))
        return float((end_of(body, backend, 0.5) - truth).abs().max())

    fine = with_physics(make_embodiment("toy_arm"), PhysicsConfig(timestep=1e-4, integrator=Integrator.rk4))
    truth = end_of(fine, "mujoco", 0.5)
    euler, half, runge_kutta = error(), error(timestep=0.001), error(integrator=Integrator.rk4)
    print(f"{backend}: Euler {euler:.1e}, at half the timestep {half:.1e}, RK4 {runge_kutta:.1e} rad")
    assert half == pytest.approx(euler / 2, rel=0.2)
    assert runge_kutta < 0.05 * euler


@pytest.mark.parametrize("backend", BACKENDS)
def test_solvers_agree_where_a_joint_limit_acts(backend):
    """The extended elbow is pressed against its limit: conjugate gradients find what Newton finds."""
    ends = {}
    for solver in (Solver.newton, Solver.cg, Solver.pgs):
        body = with_physics(make_embodiment("toy_arm"), PhysicsConfig(solver=solver))
        if (backend, solver) == ("warp", Solver.pgs):
            with pytest.raises(InputError, match=r"the solver pgs.*backend=mujoco") as caught:
                make_physics(body.model, 1, device="cpu", backend=backend)
            assert "\n" not in str(caught.value)
            continue
        physics = make_physics(body.model, 2, device="cpu", backend=backend, threads=1)
        for _ in range(20):
            physics.step(torch.tensor([[0.0, 1.0], [0.0, 0.2]]), 5)
        ends[solver] = physics.field("qpos").clone()
        physics.close()
    assert (ends[Solver.newton] < -1e-4).all()  # the limit is soft: pressed beyond 0
    for qpos in ends.values():
        assert torch.allclose(qpos, ends[Solver.newton], atol=1e-6)


def test_an_environment_honours_the_group():
    """Twice the substeps: half the control steps a second, and motions at that rate."""
    options = {"device": "cpu", "threads": 1}
    plain = make_env("toy_arm", 2, **options)
    slow = make_env("toy_arm", 2, physics={"substeps": 10, "integrator": "rk4"}, **options)
    assert (slow.embodiment.control_frequency, slow.embodiment.substeps) == (50.0, 10)
    assert slow.physics.model.opt.integrator == mujoco.mjtIntegrator.mjINT_RK4
    frames = [env.goal.library.length.float() for env in (plain, slow)]
    assert torch.allclose(frames[1], frames[0] / 2, atol=1.0)
    slow.begin()
    slow.advance(torch.zeros(2, 2))
    assert torch.allclose(slow.physics.field("time"), torch.tensor(0.02))
    for env in (plain, slow):
        env.close()
    with pytest.raises(InputError, match=r"is 3\.333 of them"):
        make_env("toy_arm", 2, physics={"timestep": 0.003}, **options)
