"""The physics contract: every backend, every body. Warp runs on its CPU device here."""

import copy
from importlib.util import find_spec

import mujoco
import numpy as np
import pytest
import torch
from physics_cases import (
    SUBSTEPS,
    ball_model,
    embodiment,
    everyone,
    forwarded,
    late_sensors,
    plain_data,
    random_ctrl,
    random_states,
)

from muscle_torch.config import Integrator, PhysicsConfig
from muscle_torch.embodiments import EMBODIMENTS, with_physics
from muscle_torch.errors import InputError
from muscle_torch.physics import ACCELERATION_FIELDS, BACKENDS, FIELDS, Physics, make_physics, resolve_device

WORLDS = 4
CURRENT = ("xpos", "xquat", "site_xpos", "site_xmat", "subtree_com", "cvel")
CURRENT += ("actuator_length", "actuator_velocity", "ten_length")
SLOW = {("warp", "fullbody", None), ("warp", "bimanual", Integrator.rk4)}
SLOW |= {("warp", "legs_back", None), ("warp", "legs_abs", None)}
# The small body with every integrator, the others with their own, and RK4, whose control step is another, with more.
INTEGRATORS = [(body, None) for body in EMBODIMENTS if body != "legs_abs" or find_spec("myo_sim")]
INTEGRATORS += [("toy_arm", one) for one in Integrator if one != Integrator.euler]
INTEGRATORS += [("bimanual", Integrator.rk4)]
CASES = [
    pytest.param(
        (backend, *case),
        id=f"{backend}-{case[0]}" + f"-{case[1]}" * (case[1] is not None),
        marks=[pytest.mark.slow] * ((backend, *case) in SLOW),
    )
    for backend in BACKENDS
    for case in INTEGRATORS
]


@pytest.fixture(scope="module", params=CASES)
def case(request):
    """(body, physics of 4 worlds, qpos, qvel), shared by the tests of this file: each resets what it uses."""
    backend, name, integrator = request.param
    body = with_physics(embodiment(name), PhysicsConfig(integrator=integrator))
    physics = make_physics(body.model, WORLDS, device="cpu", backend=backend, threads=2)
    yield body, physics, *random_states(body, WORLDS)
    physics.close()


def start(physics: Physics, qpos, qvel, steps: int = 0, seed: int = 1) -> None:
    physics.reset(everyone(physics), qpos, qvel)
    for ctrl in random_ctrl(physics.model.nu, WORLDS, steps, seed):
        physics.step(ctrl, SUBSTEPS)


def assert_current(body, physics: Physics, sensors: bool = True) -> None:
    """Every position and velocity field is what mj_forward gives at the world's own qpos and qvel."""
    for world in range(WORLDS):
        data = forwarded(body.model, physics, world)
        for name in CURRENT:
            expected = getattr(data, name)
            got = physics.field(name)[world].numpy()
            assert got.shape == expected.shape, name
            if name == "xquat":  # a quaternion and its negative are one rotation
                got = got * np.sign((got * expected).sum(-1, keepdims=True))
            np.testing.assert_allclose(got, expected, rtol=2e-5, atol=1e-5, err_msg=name)
        if not sensors:
            continue
        early = ~late_sensors(body.model)
        got = physics.field("sensordata")[world].numpy()
        np.testing.assert_allclose(got[early], data.sensordata[early], rtol=2e-5, atol=1e-5)


def test_fields_agree_with_qpos_after_reset_and_step(case):
    body, physics, qpos, qvel = case
    start(physics, qpos, qvel)
    assert torch.equal(physics.field("qpos"), qpos)
    assert torch.equal(physics.field("qvel"), qvel)
    for name in ("act", "ctrl", "time", "qacc_warmstart"):
        assert not physics.field(name).any(), name
    assert_current(body, physics)
    start(physics, qpos, qvel, steps=3)
    assert not torch.equal(physics.field("qpos"), qpos)
    assert_current(body, physics)
    assert torch.allclose(physics.field("time"), torch.tensor(3 * SUBSTEPS * body.model.opt.timestep))


def test_reset_is_a_forward_pass_at_rest(case):
    body, physics, qpos, qvel = case
    start(physics, qpos, qvel, steps=2)
    start(physics, qpos, qvel)
    for world in range(WORLDS):
        data = forwarded(body.model, physics, world)
        got = physics.field("actuator_force")[world].numpy()
        np.testing.assert_allclose(got, data.actuator_force, rtol=1e-3, atol=0.1)


def test_step_is_plain_mujoco(case):
    """qpos to the bit on C; on Warp (float32) within 1e-4 after one control step from the same state."""
    body, physics, qpos, qvel = case
    start(physics, qpos, qvel)
    datas = plain_data(body.model, qpos, qvel)
    exact = "integration" in physics.state()  # MuJoCo C keeps float64
    steps = 5 if exact else 1
    for ctrl in random_ctrl(body.model.nu, WORLDS, steps):
        physics.step(ctrl, SUBSTEPS)
        for world, data in enumerate(datas):
            data.ctrl[:] = ctrl[world].numpy()
            mujoco.mj_step(body.model, data, SUBSTEPS)
    for world, data in enumerate(datas):
        for name, tolerance in (("qpos", 1e-4), ("act", 1e-5), ("ctrl", 0.0)):
            got, expected = physics.field(name)[world].numpy(), np.float32(getattr(data, name))
            np.testing.assert_allclose(got, expected, rtol=0, atol=0 if exact else tolerance, err_msg=name)
        if exact:
            late = late_sensors(body.model)
            assert np.array_equal(physics.field("actuator_force")[world].numpy(), np.float32(data.actuator_force))
            got = physics.field("sensordata")[world].numpy()
            assert np.array_equal(got[late], np.float32(data.sensordata[late]))


def test_reset_touches_only_the_chosen_worlds(case):
    _, physics, qpos, qvel = case
    start(physics, qpos, qvel, steps=2)
    before = {n: physics.field(n).clone() for n in FIELDS}
    chosen = torch.tensor([False, True, False, False])
    physics.reset(chosen, qpos, torch.full_like(qvel, float("nan")).where(~chosen[:, None], qvel))
    for name in FIELDS:
        assert torch.equal(physics.field(name)[~chosen], before[name][~chosen]), name
    assert torch.equal(physics.field("qpos")[1], qpos[1])
    assert physics.field("time")[1] == 0
    start_again = {n: physics.field(n)[1].clone() for n in FIELDS}
    start(physics, qpos, qvel)
    for name in FIELDS:
        assert torch.equal(physics.field(name)[1], start_again[name]), name


def test_a_reset_elsewhere_does_not_change_the_future(case):
    _, physics, qpos, qvel = case
    start(physics, qpos, qvel, steps=4)
    undisturbed = physics.field("qpos")[2:].clone()
    start(physics, qpos, qvel)
    for i, ctrl in enumerate(random_ctrl(physics.model.nu, WORLDS, 4)):
        physics.step(ctrl, SUBSTEPS)
        if i == 1:
            physics.reset(torch.tensor([True, True, False, False]), qpos, qvel)
    assert torch.equal(physics.field("qpos")[2:], undisturbed)


def rollout(physics: Physics, steps: int) -> list[torch.Tensor]:
    seen = []
    for ctrl in random_ctrl(physics.model.nu, WORLDS, steps, seed=7):
        physics.step(ctrl, SUBSTEPS)
        seen += [physics.field(n).clone() for n in ("qpos", "qvel", "act", "site_xpos", *ACCELERATION_FIELDS)]
    return seen


def test_state_continues_to_the_bit(case):
    _, physics, qpos, qvel = case
    for steps in (0, 3):  # right after a reset, and in the middle
        start(physics, qpos, qvel, steps=steps)
        saved, fields = physics.state(), {n: physics.field(n).clone() for n in FIELDS}
        first = rollout(physics, 3)
        physics.load_state(saved)
        for name, value in fields.items():
            assert torch.equal(physics.field(name), value), name
        assert all(torch.equal(a, b) for a, b in zip(first, rollout(physics, 3), strict=True))
        physics.load_state(saved)
        physics.reset(torch.tensor([True, False, False, False]), qpos, qvel)
        for name in ACCELERATION_FIELDS:
            assert torch.equal(physics.field(name)[1:], fields[name][1:]), name


def test_a_kick_changes_velocities_alone(case):
    body, physics, qpos, qvel = case
    start(physics, qpos, qvel, steps=2)
    kept = {name: physics.field(name).clone() for name in ("qpos", "act", "ctrl", "time", "actuator_force")}
    before, change = physics.field("qvel").clone(), 0.1 * random_ctrl(body.model.nv, WORLDS, 1, 3)[0]
    change[0] = 0.0
    physics.kick(change)
    torch.testing.assert_close(physics.field("qvel"), before + change)
    for name, value in kept.items():
        assert torch.equal(physics.field(name), value), name
    assert_current(body, physics, sensors=False)


def test_state_of_another_size_is_refused(case):
    _, physics, _, _ = case
    with pytest.raises(InputError, match="resume with the same"):
        physics.load_state({name: tensor[:2] for name, tensor in physics.state().items()})


@pytest.mark.parametrize("poison", ["ctrl", "qvel", "huge"])
def test_a_bad_world_is_seen_and_alone(case, poison, tmp_path, monkeypatch, capfd):
    _, physics, qpos, qvel = case
    monkeypatch.chdir(tmp_path)
    start(physics, qpos, qvel, steps=3)
    healthy = physics.field("qpos").clone()
    bad_qvel, controls = qvel.clone(), random_ctrl(physics.model.nu, WORLDS, 3)
    if poison == "ctrl":
        controls[1, 1, 0] = float("nan")
    else:
        bad_qvel[1, -1] = float("inf") if poison == "qvel" else 1e12
    physics.reset(everyone(physics), qpos, bad_qvel)
    seen = physics.bad_worlds()[1]
    for ctrl in controls:
        physics.step(ctrl, SUBSTEPS)
        seen = seen | physics.bad_worlds()[1]
        assert not physics.bad_worlds()[[0, 2, 3]].any()
    assert seen
    assert torch.equal(physics.field("qpos")[[0, 2, 3]], healthy[[0, 2, 3]])
    physics.reset(torch.tensor([False, True, False, False]), qpos, qvel)
    assert not physics.bad_worlds().any()
    start(physics, qpos, qvel, steps=3)
    assert torch.equal(physics.field("qpos"), healthy)
    assert not list(tmp_path.iterdir())  # no MUJOCO_LOG.TXT
    assert "nstable" not in "".join(capfd.readouterr())


def test_rows_select_along_the_first_axis(case):
    body, physics, qpos, qvel = case
    start(physics, qpos, qvel, steps=1)
    sites = tuple(int(i) for i in body.site_ids)
    for name, rows in (("site_xpos", sites), ("site_xmat", sites), ("cvel", (1, 0)), ("actuator_force", (1,))):
        assert torch.equal(physics.field(name, rows), physics.field(name)[:, list(rows)]), name
    assert physics.field("site_xmat", sites).shape == (WORLDS, len(sites), 9)


def test_every_field_is_float32_with_mujocos_shape(case):
    body, physics, _, _ = case
    data = mujoco.MjData(body.model)
    for name in FIELDS:
        value = physics.field(name)
        assert value.dtype == torch.float32
        assert tuple(value.shape) == (WORLDS, *np.shape(getattr(data, name))), name
    with pytest.raises(InputError, match="site_xpos"):
        physics.field("site_pos")


def test_model_fields_differ_between_worlds(case):
    """World 1 with doubled muscle forces moves as a model with doubled forces, the others as before."""
    body, physics, qpos, qvel = case
    start(physics, qpos, qvel, steps=2)
    normal = physics.field("qpos").clone()
    gains = torch.from_numpy(body.model.actuator_gainprm).repeat(WORLDS, 1, 1)
    stronger = gains.clone()
    stronger[1, :, 2] *= 2
    physics.set_model_field("actuator_gainprm", stronger)
    start(physics, qpos, qvel, steps=2)
    changed = physics.field("qpos").clone()
    physics.set_model_field("actuator_gainprm", gains)
    start(physics, qpos, qvel, steps=2)
    assert torch.equal(physics.field("qpos"), normal)
    assert torch.equal(changed[[0, 2, 3]], normal[[0, 2, 3]])
    scaled = model_with_double_forces(body)
    (data,) = plain_data(scaled, qpos[1:2], qvel[1:2])
    for ctrl in random_ctrl(body.model.nu, WORLDS, 2):
        data.ctrl[:] = ctrl[1].numpy()
        mujoco.mj_step(scaled, data, SUBSTEPS)
    moved = (changed[1] - normal[1]).abs().max()
    assert moved > 1e-3
    np.testing.assert_allclose(changed[1].numpy(), data.qpos, atol=0.05 * float(moved))
    with pytest.raises(InputError, match="actuator_gainprm"):
        physics.set_model_field("actuator_gainprms", gains)
    with pytest.raises(InputError, match="needed"):
        physics.set_model_field("actuator_gainprm", gains[:2])


def model_with_double_forces(body) -> mujoco.MjModel:
    model = copy.copy(body.model)
    model.actuator_gainprm[:, 2] *= 2
    return model


def test_nothing_overflows(case):
    _, physics, qpos, qvel = case
    start(physics, qpos, qvel, steps=2)
    assert physics.overflow() == {}


@pytest.mark.parametrize("integrator", ["EULER", "RK4", "IMPLICIT", "IMPLICITFAST"])
@pytest.mark.parametrize("backend", BACKENDS)
def test_touch_stays_that_of_the_last_substep(backend, integrator):
    """A ball of 2 kg comes to rest on its sensor: m g = 19.62 N; on C equal to plain stepping, to the bit."""
    model = ball_model()
    model.opt.integrator = getattr(mujoco.mjtIntegrator, f"mjINT_{integrator}")
    physics = make_physics(model, 2, device="cpu", backend=backend, threads=1)
    qpos = torch.from_numpy(model.qpos0).float().repeat(2, 1)
    physics.reset(everyone(physics), qpos, torch.zeros(2, model.nv))
    (data,) = plain_data(model, qpos[:1], torch.zeros(1, model.nv))
    mujoco.mj_forward(model, data)
    late = late_sensors(model)
    for _ in range(60):
        np.testing.assert_allclose(physics.field("sensordata")[0, late], data.sensordata[late], rtol=1e-3, atol=1e-2)
        physics.step(torch.full((2, 1), 0.5), SUBSTEPS)
        data.ctrl[:] = 0.5
        mujoco.mj_step(model, data, SUBSTEPS)
    physics.step(torch.full((2, 1), 0.5), 1)  # a single substep has no acceleration stage but step2's
    assert physics.field("sensordata")[1, 0].item() == pytest.approx(19.62, rel=1e-3)
    resting = physics.field("sensordata").clone()
    physics.reset(torch.tensor([True, False]), qpos + 1.0, torch.zeros(2, model.nv))
    assert physics.field("sensordata")[0, 0] == 0
    assert torch.equal(physics.field("sensordata")[1], resting[1])
    physics.close()


def test_too_many_contacts_are_counted():
    """An arena of 100 kB cannot hold the contacts of 27 balls in a heap."""
    balls = "".join(
        f'<body pos="{0.1 * x} {0.1 * y} {0.1 * z + 0.1}"><freejoint/><geom size="0.1"/></body>'
        for x in range(3)
        for y in range(3)
        for z in range(3)
    )
    model = mujoco.MjModel.from_xml_string(
        f'<mujoco><size memory="100K"/><worldbody><geom type="plane" size="1 1 .1"/>{balls}</worldbody></mujoco>'
    )
    physics = make_physics(model, 2, device="cpu", backend="mujoco", threads=1)
    assert physics.overflow()
    assert physics.overflow() == {}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"backend": "mujocoo"}, "did you mean 'mujoco'"),
        ({"num_worlds": 0}, "at least one"),
        ({"device": "tpu"}, "device"),
        pytest.param(
            {"device": "cuda"}, "no CUDA device", marks=pytest.mark.skipif(torch.cuda.is_available(), reason="has CUDA")
        ),
    ],
)
def test_what_cannot_be_had_is_refused(arguments, message):
    with pytest.raises(InputError, match=message):
        make_physics(ball_model(), **{"num_worlds": 1, **arguments})


def test_devices_resolve():
    assert resolve_device("cpu") == torch.device("cpu")
    assert resolve_device("auto").type == ("cuda" if torch.cuda.is_available() else "cpu")
