"""MuJoCo Warp against MuJoCo C (on Warp's CPU device), and its fixed-size buffers."""

import mujoco
import mujoco_warp as mjw
import numpy as np
import pytest
import torch
import warp as wp
from physics_cases import (
    SUBSTEPS,
    ball_model,
    embodiment,
    everyone,
    late_sensors,
    plain_data,
    random_ctrl,
    random_states,
)

from muscle_torch.config import Integrator, PhysicsConfig
from muscle_torch.embodiments import with_physics
from muscle_torch.errors import InputError
from muscle_torch.physics import FIELDS, make_physics
from muscle_torch.physics.mujoco_physics import MujocoPhysics
from muscle_torch.physics.warp_budget import Buffers
from muscle_torch.physics.warp_physics import WarpPhysics

WORLDS = 8
LIMIT_SENSOR = """<worldbody><body><joint name="hinge" range="-10 10"/><geom size=".1"/></body></worldbody>
  <sensor><jointlimitpos joint="hinge"/></sensor>"""
FLEXIBLE = """<worldbody><flexcomp name="cloth" type="grid" count="3 3 1" spacing=".1 .1 .1" dim="2" mass="1"/>
  </worldbody>"""
# Everything that a tendon or a body can do to the velocity stage, whole or in part: a spring, a damper, both growing
# with the way, a float, half the weight, air, and a sensor of a tendon's velocity
PASSIVE = {
    "spring": ("stiffness='300' springlength='0.2'", "", "", ""),
    "growing spring": ("stiffness='100 500 300' springlength='0.2'", "", "", ""),
    "damper": ("damping='20'", "", "", ""),
    "growing damper": ("damping='20 30 10'", "", "", ""),
    "float": ("", "gravcomp='0.5'", "", ""),
    "air": ("", "", "density='1000' viscosity='1' wind='1 0 0'", ""),
    "sensor": ("", "", "", "<tendonvel tendon='cord'/>"),
    "all": ("stiffness='300' damping='20'", "gravcomp='0.5'", "density='100'", "<tendonvel tendon='cord'/>"),
    "none": ("", "", "", ""),
}
BODIES = ["toy_arm", "bimanual", pytest.param("fullbody", marks=pytest.mark.slow)]


@pytest.mark.parametrize("name", BODIES[:2])
def test_hundred_control_steps_agree_with_c(name):
    """1 s of random excitation from 8 random states: median world within 1e-4 (rad), each within 1e-2."""
    body = embodiment(name)
    qpos, qvel = random_states(body, WORLDS)
    both = [make_physics(body.model, WORLDS, device="cpu", backend=b, threads=2) for b in ("mujoco", "warp")]
    for physics in both:
        physics.reset(everyone(physics), qpos, qvel)
    for ctrl in random_ctrl(body.model.nu, WORLDS, 100):
        for physics in both:
            physics.step(ctrl, SUBSTEPS)
    apart = (both[0].field("qpos") - both[1].field("qpos")).abs().amax(1)
    print(f"{name}: median {apart.median():.1e}, largest {apart.max():.1e}")
    assert apart.median() < 1e-4
    assert apart.max() < 1e-2
    assert both[1].overflow() == {}
    assert (both[0].field("qpos") - qpos).abs().amax(1).min() > 1e-2  # it did move


@pytest.mark.parametrize("name", BODIES)
@pytest.mark.parametrize("substeps", [1, SUBSTEPS])
def test_one_step_from_the_state_of_c(name, substeps):
    """Every fifth state of 1 s of C is given to Warp, which steps once, a physics step (1) or a control step (5).

    qpos of the arms is within 1e-5 rad of C after a physics step. Over a control step float32 can decide a substep
    earlier or later than float64 whether a joint limit acts, which costs up to 1.4e-5. Of the full body, which falls,
    98 % of the states are within 1e-4: in one of 168 its hand lies on the floor for one and not for the other.
    """
    body = embodiment(name)
    reference, once = (MujocoPhysics(body.model, WORLDS, threads=2) for _ in range(2))
    warp = WarpPhysics(body.model, WORLDS)
    reference.reset(everyone(reference), *random_states(body, WORLDS))
    apart = []
    for i, ctrl in enumerate(random_ctrl(body.model.nu, WORLDS, 101)):
        if i % 5 == 0:
            once.load_state(reference.state())
            warp.load_state({field: once.field(field).clone() for field in warp.state()})
            for physics in (once, warp):
                physics.step(ctrl, substeps)
            apart.append((once.field("qpos") - warp.field("qpos")).abs().amax(1))
        reference.step(ctrl, SUBSTEPS)
    differences = torch.cat(apart)
    print(f"{name}: median {differences.median():.1e}, largest {differences.max():.1e}")
    assert differences.median() < 1e-6
    if name == "fullbody":
        assert differences.quantile(0.98) < 1e-4 and differences.max() < 1e-2
    else:
        assert differences.max() < (1e-5 if substeps == 1 else 2e-5)


def passive_model(case: str, integrator: str) -> mujoco.MjModel:
    """Two links and a cord with all that a tendon can have: an actuator, limits, friction, wrapping, and the case."""
    cord, forearm, option, sensor = PASSIVE[case]
    return mujoco.MjModel.from_xml_string(f"""
<mujoco><option timestep="0.002" integrator="{integrator}" {option}/><worldbody>
  <site name="wall" pos="0.2 0.1 0.1"/><geom name="post" type="cylinder" size="0.03 0.2" euler="90 0 0"/>
  <body><joint name="shoulder" axis="0 1 0" damping="0.1" stiffness="1"/><geom type="capsule" fromto="0 0 0 .3 0 0"
    size="0.03" mass="1" contype="0" conaffinity="0"/>
    <body pos="0.3 0 0" {forearm}><joint name="elbow" axis="0 1 0" damping="0.1" limited="true" range="-100 100"/>
      <geom type="capsule" fromto="0 0 0 .3 0 0" size="0.02" mass="0.5" contype="0" conaffinity="0"/>
      <site name="hand" pos="0.3 0 0"/></body></body></worldbody>
  <tendon><spatial name="cord" limited="true" range="0 0.42" frictionloss="0.1" actuatorfrclimited="true"
    actuatorfrcrange="-2 2" {cord}><site site="wall"/><geom geom="post"/><site site="hand"/></spatial></tendon>
  <actuator><general tendon="cord" dyntype="filter" dynprm="0.05" gainprm="-5" biastype="affine" biasprm="0 0 -1"/>
  </actuator>
  <sensor>{sensor}<tendonpos tendon="cord"/><jointvel joint="elbow"/><tendonactuatorfrc tendon="cord"/></sensor>
</mujoco>""")


def stepped_by_warp(physics: WarpPhysics, ctrl: torch.Tensor, substeps: int) -> dict[str, torch.Tensor]:
    """FIELDS after mjw.step from where the physics stands, then mjw.step1 for what follows from the new positions."""
    m, worlds = mjw.put_model(physics.model), physics.num_worlds
    m.opt.warn_overflow = 0
    d = physics.buffers.make_data(physics.model, worlds)
    views = {name: wp.to_torch(getattr(d, name)) for name in FIELDS}
    for name in ("qpos", "qvel", "act", "time", "qacc_warmstart"):
        views[name].copy_(physics.field(name))
    views["ctrl"].copy_(ctrl)
    for _ in range(substeps):
        mjw.step(m, d)
    late, is_late = views["sensordata"].clone(), torch.from_numpy(late_sensors(physics.model))
    mjw.step1(m, d)
    views["sensordata"][:, is_late] = late[:, is_late]
    return {name: view.flatten(2) if view.dim() == 4 else view for name, view in views.items()}


def same_as_warps_step(physics: WarpPhysics, steps: int = 2) -> None:
    for ctrl in random_ctrl(physics.model.nu, physics.num_worlds, steps):
        expected = stepped_by_warp(physics, ctrl, SUBSTEPS)
        physics.step(ctrl, SUBSTEPS)
        for name, values in expected.items():
            assert torch.equal(physics.field(name), values), name


@pytest.mark.parametrize("name", BODIES)
def test_a_control_step_is_warps_own_to_the_bit(name):
    """Every field, from random states; and of a body of muscles no tendon is looked at for springs."""
    body = embodiment(name)
    warp = WarpPhysics(body.model, WORLDS)
    assert not warp._passive
    warp.reset(everyone(warp), *random_states(body, WORLDS))
    same_as_warps_step(warp)


@pytest.mark.parametrize("integrator", ["Euler", "implicitfast"])
@pytest.mark.parametrize("case", PASSIVE)
def test_springs_dampers_and_floats_are_not_left_out(case, integrator):
    """Warp's own steps to the bit, MuJoCo C's to 1e-5 over 20 ms, and far from those of an arm without."""
    model, bare = passive_model(case, integrator), passive_model("none", integrator)
    warp = WarpPhysics(model, 2, contacts=4, constraints=16)
    assert warp._passive == (case != "none")
    qpos, qvel = torch.tensor([[0.3, 0.5], [-0.5, 1.0]]), torch.tensor([[1.0, -2.0], [0.5, 3.0]])
    warp.reset(everyone(warp), qpos, qvel)
    datas, bares = plain_data(model, qpos, qvel), plain_data(bare, qpos, qvel)
    same_as_warps_step(warp)
    for ctrl in random_ctrl(1, 2, 2):
        for world in range(2):
            for of, data in ((model, datas[world]), (bare, bares[world])):
                data.ctrl[:] = ctrl[world].numpy()
                mujoco.mj_step(of, data, SUBSTEPS)
    for world, (data, other) in enumerate(zip(datas, bares, strict=True)):
        assert np.abs(warp.field("qpos")[world].numpy() - data.qpos).max() < 1e-5
        if case not in ("none", "sensor"):
            assert np.abs(data.qpos - other.qpos).max() > 1e-4


def test_rk4_agrees_with_c():
    """100 steps of the toy arm: one motion within 1e-6 rad of MuJoCo C; of 64 random ones half, and all within 2e-6.

    What is left is float32. MuJoCo C itself, its state rounded to float32 after every step, is 3e-7 away from C at the
    median and 8e-7 at most. Euler differs from RK4 by more than a hundred times as much.
    """
    body = with_physics(embodiment("toy_arm"), PhysicsConfig(integrator=Integrator.rk4))
    worlds = 64
    qpos, qvel = random_states(body, worlds)
    qpos[0], qvel[0] = 1.0, 0.0
    models = [body.model, body.model, embodiment("toy_arm").model]
    c, warp, euler = (
        make_physics(model, worlds, device="cpu", backend=backend, threads=1)
        for model, backend in zip(models, ("mujoco", "warp", "mujoco"), strict=True)
    )
    for physics in (c, warp, euler):
        physics.reset(everyone(physics), qpos, qvel)
    apart, of_euler = torch.zeros(worlds, 1, dtype=torch.float64), torch.zeros(worlds, 1)
    for ctrl in random_ctrl(body.model.nu, worlds, 100):
        for physics in (c, warp, euler):
            physics.step(ctrl, 1)
        exact = torch.from_numpy(c._sources["qpos"])  # float64
        apart = torch.maximum(apart, (exact - warp.field("qpos").double()).abs())
        of_euler = torch.maximum(of_euler, (c.field("qpos") - euler.field("qpos")).abs())
    print(f"first {apart[0].item():.1e}, median {apart.median():.1e}, largest {apart.max():.1e}")
    assert apart[0] < 1e-6 and apart.median() < 1e-6 and apart.max() < 2e-6
    assert of_euler.median() > 1e-4 and (c.field("qpos") - qpos).abs().median() > 0.05


def test_full_buffers_are_counted_once_and_announced_once(capfd):
    """Four contact rows of a ball on the floor do not fit into two."""
    model = ball_model()
    warp = WarpPhysics(model, 2, contacts=4, constraints=2)
    for counts in ({"constraints": 2}, {}, {"constraints": 2}):
        if counts:
            warp.step(torch.zeros(2, 1), SUBSTEPS)
        assert warp.overflow() == counts
    (line,) = [line for line in capfd.readouterr().err.splitlines() if line.startswith("warning:")]  # once
    assert "constraints in 2 worlds" in line
    assert "increase physics.constraint_rows, now 2" in line
    two_balls = "".join(f'<body pos="{x} 0 .1"><freejoint/><geom size=".1"/></body>' for x in (0.0, 0.15))
    floor = '<geom type="plane" size="1 1 .1"/>'
    crowded = WarpPhysics(
        mujoco.MjModel.from_xml_string(f"<mujoco><worldbody>{floor}{two_balls}</worldbody></mujoco>"),
        num_worlds=1,
        contacts=1,
        constraints=64,
    )
    crowded.step(torch.zeros(1, 0), SUBSTEPS)
    assert crowded.overflow()["contact candidates"] == 1
    assert "increase physics.contacts, now 1" in capfd.readouterr().err


def test_buffers_hold_two_and_a_half_times_what_was_measured():
    """A ball that lies on the floor: one pair near, one contact of four rows; 2.5 and 10, rounded up to eights.

    A ball and a plane do not need the general collider; the arms' ellipsoids and cylinders do.
    """
    buffers = WarpPhysics(ball_model(), 100).buffers
    assert buffers == Buffers(contacts=8, convex=0, rows=16, crowded=8)
    d = buffers.make_data(ball_model(), 100)
    assert (d.naconmax, d.naccdmax, d.njmax) == (800, 0, 16)
    body = WarpPhysics(embodiment("bimanual").model, 2).buffers
    assert body.contacts <= 16 and 0 < body.convex <= 16 and 48 <= body.rows <= 96
    fewer = body.with_sizes(4, 30)
    assert (fewer.contacts, fewer.convex, fewer.rows) == (4, 4, 30)


def test_what_warp_cannot_do_is_refused():
    model = ball_model()
    warp = WarpPhysics(model, 2, contacts=4, constraints=16)
    with pytest.raises(InputError, match="backend=mujoco"):
        warp.set_model_field("body_mass", torch.from_numpy(model.body_mass).expand(2, -1))
    for text in ("<option solver='PGS'/>", "<option integrator='discrete'/>", LIMIT_SENSOR, FLEXIBLE):
        with pytest.raises(InputError, match="backend=mujoco"):
            WarpPhysics(mujoco.MjModel.from_xml_string(f"<mujoco>{text}</mujoco>"), 1)


def test_fields_are_views_of_warps_memory():
    """qpos of the same tensor follows the steps: no copies."""
    model = ball_model()
    warp = WarpPhysics(model, 1, contacts=4, constraints=16)
    qpos = warp.field("qpos")
    before = qpos.clone()
    warp.step(torch.ones(1, 1), SUBSTEPS)
    assert not torch.equal(qpos, before)
    assert warp.field("qpos").data_ptr() == qpos.data_ptr()
    (data,) = plain_data(model, before, torch.zeros(1, model.nv))
    data.ctrl[:] = 1.0
    mujoco.mj_step(model, data, SUBSTEPS)
    assert torch.allclose(qpos[0], torch.from_numpy(data.qpos).float(), atol=1e-5)


def test_graph_equals_plain_launches():
    """Replaying the captured control step gives, to the bit, what launching its kernels one by one gives."""
    body = embodiment("toy_arm")
    warp = WarpPhysics(body.model, WORLDS)
    ctrl = random_ctrl(body.model.nu, WORLDS, 1)[0]
    results = []
    for replay in (True, False):
        warp.reset(everyone(warp), *random_states(body, WORLDS))
        if replay:
            warp.step(ctrl, SUBSTEPS)
        else:
            warp.field("ctrl").copy_(ctrl)
            warp._launch(lambda: warp._control_step(SUBSTEPS))
        results.append(warp.field("qpos").clone())
    assert torch.equal(*results)
