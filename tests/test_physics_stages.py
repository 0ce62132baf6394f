"""The split of the physics into stages: the same step as the whole one, and times that add up to it."""

import itertools

import mujoco
import numpy as np
import pytest
import torch
from commands import script
from env_cases import actions
from physics_cases import SUBSTEPS, ball_model, embodiment, everyone, plain_data, random_ctrl, random_states

from muscle_torch.envs import make_env
from muscle_torch.models import DiagonalNormal
from muscle_torch.physics.mujoco_physics import MujocoPhysics
from muscle_torch.physics.warp_physics import WarpPhysics
from muscle_torch.tools.benchmarking.physics_stages import (
    STAGES,
    StagedWarp,
    mujoco_stages,
    physics_stages,
    time_mujoco,
    time_warp,
)

benchmark = script("tools/benchmark.py")
BODIES = ["toy_arm", "bimanual", "fullbody"]


def whole_state(model, data):
    state = np.empty(mujoco.mj_stateSize(model, mujoco.mjtState.mjSTATE_INTEGRATION))
    mujoco.mj_getState(model, data, state, mujoco.mjtState.mjSTATE_INTEGRATION)
    return np.concatenate([state, data.sensordata, data.actuator_force])


def check_c(model, data, steps):
    """`steps` of both from the same data, and the sensors that follow from the last of them."""
    plain, stages = mujoco.MjData(model), mujoco_stages(model)
    mujoco.mj_copyData(plain, model, data)
    for _ in range(steps):
        mujoco.mj_step(model, plain)
        for call in itertools.chain(*(calls for _, calls in stages)):
            call(model, data)
        assert np.array_equal(whole_state(model, plain), whole_state(model, data))


@pytest.mark.parametrize("name", BODIES)
def test_the_stages_of_c_are_its_step_to_the_bit(name):
    body = embodiment(name)
    for data in plain_data(body.model, *random_states(body, 3)):
        data.ctrl[:] = np.random.default_rng(0).uniform(0, 1, body.model.nu)
        check_c(body.model, data, 2 * SUBSTEPS)


@pytest.mark.parametrize("integrator", ["EULER", "RK4", "IMPLICIT", "IMPLICITFAST"])
def test_the_stages_of_c_hold_every_sensor_and_integrator(integrator):
    """A ball on a touch sensor with an accelerometer, which reads what only the last stage knows."""
    model = ball_model()
    model.opt.integrator = getattr(mujoco.mjtIntegrator, f"mjINT_{integrator}")
    data = mujoco.MjData(model)
    data.ctrl[:] = 1.0
    check_c(model, data, 20)
    assert data.sensordata[0] > 10.0 and np.abs(data.sensordata[-3:]).sum() > 1.0


def recorded(name, count):
    """States, warm starts and controls from 10 control steps on."""
    body = embodiment(name)
    physics = MujocoPhysics(body.model, count, threads=1)
    physics.reset(everyone(physics), *random_states(body, count))
    for ctrl in random_ctrl(body.model.nu, count, 10):
        physics.step(ctrl, SUBSTEPS)
    state = torch.cat([physics.field(f).reshape(count, -1) for f in ("time", "qpos", "qvel", "act")], dim=1)
    return body.model, *(values.double().numpy() for values in (state, physics.field("qacc_warmstart"), ctrl))


@pytest.mark.parametrize("name", ["bimanual", "fullbody"])
def test_the_times_of_c_add_up(name):
    found = time_mujoco(*recorded(name, 8), SUBSTEPS)
    assert list(found["stages"]) == list(STAGES)
    assert all(microseconds > 0 for microseconds in found["stages"].values())
    assert 0.6 < sum(found["stages"].values()) / found["whole"] < 1.6
    assert found["kernels"] is None


def same_step(physics, substeps):
    """A control step and the same in stages from one state, both looked at with all that they leave."""
    before, ctrl = physics.state(), random_ctrl(physics.model.nu, physics.num_worlds, 1)[0].to(physics.device)
    names = ("sensordata", "actuator_force", "actuator_length", "site_xpos", "qfrc_bias")
    seen = []
    marked = StagedWarp(physics)
    for staged in (False, True):
        physics.load_state(before)
        if staged:
            physics._views["ctrl"].copy_(ctrl)
            physics._launch(lambda: marked.control_step(substeps))
            marked.read()
        else:
            physics.step(ctrl, substeps)
        seen.append(physics.state() | {name: physics.field(name).clone() for name in names})
    assert not torch.equal(seen[0]["qpos"], before["qpos"])
    for name, values in seen[0].items():
        assert torch.equal(values, seen[1][name]), name
    assert all(seconds > 0 for seconds in marked.spent.values())


@pytest.mark.parametrize("substeps", [1, SUBSTEPS])
@pytest.mark.parametrize("name", ["toy_arm", "bimanual", pytest.param("fullbody", marks=pytest.mark.slow)])
def test_the_stages_of_warp_are_its_step_to_the_bit(name, substeps):
    body = embodiment(name)
    physics = WarpPhysics(body.model, 2)
    physics.reset(everyone(physics), *random_states(body, 2))
    same_step(physics, substeps)


@pytest.mark.parametrize("integrator", ["EULER", "RK4", "IMPLICITFAST"])
def test_the_stages_of_warp_hold_every_sensor(integrator):
    model = ball_model()
    model.opt.integrator = getattr(mujoco.mjtIntegrator, f"mjINT_{integrator}")
    physics = WarpPhysics(model, 2)
    same_step(physics, SUBSTEPS)
    assert physics.field("sensordata")[:, 0].min() > 1.0


def check_warp(env, given):
    """Times of every stage, and an environment that goes on as if nothing had been measured."""
    env.begin()
    start = env.snapshot()
    step, ends = env.physics.step, []
    for _ in range(2):
        env.load_snapshot(start)
        for action in given:
            done = env.advance(action)
            env.restart(done.terminated | done.truncated)
        ends.append(env.physics.field("qpos").clone())
        if not ends[1:]:
            found = time_warp(env, start, given)
    assert env.physics.step == step
    assert env.device.type == "cuda" or torch.equal(*ends)  # on a GPU sums have no fixed order
    assert list(found["stages"]) == list(STAGES) and all(value > 0 for value in found["stages"].values())
    assert found["whole"] > 0 and found["kernels"] > 100
    return found


def test_warp_is_timed_three_ways():
    """On a CPU the stages are launched one by one: together they are that time, and the graph is quicker."""
    env = make_env("toy_arm", 4, device="cpu", backend="warp")
    found = check_warp(env, actions(env, 8))
    assert found["whole"] < found["launched_singly"]
    assert 0.5 < sum(found["stages"].values()) / found["launched_singly"] < 1.6


@pytest.mark.gpu
def test_the_stages_of_the_graph_add_up_on_a_gpu():
    env = make_env("bimanual", 1024, device="cuda")
    found = check_warp(env, actions(env, 8).cuda())
    assert 0.7 < sum(found["stages"].values()) / found["whole"] < 1.5


def test_the_benchmark_times_the_states_of_its_recording():
    """Of both backends the same numbers, whatever their engine."""
    policy = torch.nn.Module()
    policy.distribution = lambda observation: DiagonalNormal(*torch.zeros(2, len(observation), 2))
    for backend in ("mujoco", "warp"):
        env = make_env("toy_arm", 3, device="cpu", backend=backend, threads=1)
        env.begin()
        start = env.snapshot()
        found = physics_stages(env, benchmark.record(env, policy, 4), start)
        assert (found["kernels"] is None) == (backend == "mujoco") and set(found["stages"]) == set(STAGES)
