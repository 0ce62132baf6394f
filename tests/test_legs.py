"""The legs: equal to myo-sim's bodies, with or without the mass of the arms, walking, followed by muscle control."""

import dataclasses
from importlib.util import find_spec

import mujoco
import numpy as np
import pytest
import torch
from conftest import data_file
from control_trial import StoredMotion, run_trial
from physics_cases import everyone, random_ctrl

from muscle_torch.config import PhysicsConfig
from muscle_torch.control import MuscleControlOptions, clip_tables
from muscle_torch.control.body import ControlBody
from muscle_torch.control.planner import StepPlanner
from muscle_torch.embodiments import EMBODIMENTS, guard, make_embodiment, with_physics
from muscle_torch.embodiments.embodiment import names_of
from muscle_torch.errors import InputError
from muscle_torch.motion import load_motion
from muscle_torch.motion.ground_reaction import ground_reaction
from muscle_torch.motion.joints import fit_to
from muscle_torch.motion.resample import at_control_rate
from muscle_torch.physics import make_physics
from muscle_torch.retargeting import Retargeter, read_motion

# body -> nq, nv, muscles, couplings
SIZES = {"legs": (35, 34, 80, 14), "legs_back": (53, 52, 290, 29), "legs_abs": (38, 37, 86, 14)}
BODIES = [name for name in SIZES if name != "legs_abs" or find_spec("myo_sim")]
PARAMETERS = ("actuator_gainprm", "actuator_biasprm", "actuator_dynprm", "actuator_lengthrange", "actuator_gear")


@pytest.mark.parametrize("name", BODIES)
def test_sizes_are_the_published_ones(name):
    body = make_embodiment(name)
    model = body.model
    assert (model.nq, model.nv, model.nu, model.neq) == SIZES[name]
    assert (model.nbody, model.npair, model.nsensor) == (30, 26, 4)
    assert model.body_mass.sum() == pytest.approx(74.975, abs=0.006)  # MyoFullBody's four frames weigh 1 g each
    assert (1 / model.opt.timestep, body.substeps, body.control_frequency) == (pytest.approx(150), 5, 30)
    assert len(body.left_right) == model.nu / 2 and len(body.groups["lower_limb"]) == 80
    assert names_of(model, "sensor") == body.touch_sensors == ("r_foot", "r_toes", "l_foot", "l_toes")


@pytest.mark.parametrize("name", BODIES)
def test_it_faces_minus_y_and_stands_on_the_floor(name):
    body = make_embodiment(name)
    data = mujoco.MjData(body.model)
    mujoco.mj_forward(body.model, data)
    toes, heel = data.body("toes_r").xpos, data.body("calcn_r").xpos
    assert toes[1] < heel[1] - 0.1 and data.body("femur_l").xpos[0] > data.body("femur_r").xpos[0]
    floor = body.model.geom("floor")
    assert floor.type[0] == mujoco.mjtGeom.mjGEOM_PLANE and floor.pos[2] == 0
    fixed = [g for g in range(body.model.ngeom) if body.model.geom_bodyid[g] == 0]
    assert fixed == [floor.id]


@pytest.mark.parametrize("name", BODIES)
def test_muscles_are_those_of_myo_sim(name):
    """Names, parameters, couplings and, in random poses, lengths within 0.01 mm."""
    body, other = make_embodiment(name), _myo_sim_model(name)
    model = body.model
    joints, muscles = names_of(model, "joint"), names_of(model, "actuator")
    assert joints == names_of(other, "joint") and muscles == names_of(other, "actuator")
    for field in PARAMETERS:
        np.testing.assert_array_equal(getattr(model, field), getattr(other, field), err_msg=field)
    np.testing.assert_allclose(model.jnt_range, other.jnt_range, atol=3e-4)  # the knees' third rotation: 0.263 here
    order = [other.equality(model.equality(i).name).id for i in range(model.neq)]
    np.testing.assert_array_equal(model.eq_data[:, :5], other.eq_data[order, :5])
    random, ours, theirs = np.random.default_rng(0), mujoco.MjData(model), mujoco.MjData(other)
    low, high = model.jnt_range[body.scalar_joint_ids].T
    for _ in range(20):
        pose = body.qpos0.copy()
        pose[body.joint_qpos_ids] = random.uniform(low, high)
        ours.qpos[:] = theirs.qpos[:] = body.project(pose)
        mujoco.mj_fwdPosition(model, ours)
        mujoco.mj_fwdPosition(other, theirs)
        np.testing.assert_allclose(ours.actuator_length, theirs.actuator_length, atol=1e-5)


def _myo_sim_model(name: str) -> mujoco.MjModel:
    """Return myo-sim's own model; legs and back are composed of its parts, because it has no such model."""
    compose = pytest.importorskip("myo_sim.build.compose")
    warned = mujoco.get_mju_user_warning()
    mujoco.set_mju_user_warning(lambda text: None)
    try:
        if name != "legs_back":
            return compose.build_spec({"legs": "myolegs", "legs_abs": "myolegs_abdomen"}[name]).copy().compile()
        torso = compose.MODEL_REGISTRY["myotorso"]
        torso = dataclasses.replace(torso, build_kwargs=torso.build_kwargs | {"add_root_freejoint": True})
        spec = compose.build_torso_spec(torso)
        frame = spec.body("Full Body").add_frame(name="legs")
        spec.attach(compose.build_legs_spec(torso), prefix="", suffix="", frame=frame)
        return spec.copy().compile()
    finally:
        mujoco.set_mju_user_warning(warned)


@pytest.mark.parametrize("name", ["legs", "legs_back"])
def test_the_mass_of_the_arms_is_that_of_the_full_body(name):
    """In the default pose, mass, centre of mass and inertia of the whole are those of MyoFullBody."""
    light, heavy, whole = make_embodiment(name), make_embodiment(name, arm_mass=True), make_embodiment("fullbody")
    assert heavy.model.body_mass.sum() == pytest.approx(84.27, abs=0.01)
    assert heavy.model.nq == light.model.nq and heavy.model.ngeom == light.model.ngeom
    assert heavy.identity["embodiment_options"] == {"arm_mass": True}
    inertias = []
    for body in (heavy, whole):
        data = mujoco.MjData(body.model)
        mujoco.mj_forward(body.model, data)
        dense = np.zeros((body.model.nv, body.model.nv))
        mujoco.mj_fullM(body.model, data, dense)
        inertias.append(dense[:6, :6])
    np.testing.assert_allclose(*inertias, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("name", BODIES)
def test_the_walk_is_supported_by_the_feet_at_every_control_rate(name):
    body = make_embodiment(name)
    clip = load_motion("all", body)[0]
    assert (clip.name, clip.frequency, clip.num_frames) == ("walk", 30, 160)
    at_100 = with_physics(body, PhysicsConfig(timestep=0.002, substeps=5))
    fast = load_motion("walk", at_100)[0]
    assert (fast.frequency, fast.num_frames) == (100, 531)
    np.testing.assert_allclose(fast.qpos[::10], clip.qpos[: 3 * len(fast.qpos[::10]) : 3], atol=1e-5)
    assert fast.qpos[-1, 1] < -5  # forward, 5 strides
    reaction = ground_reaction(at_100, fast.qpos.astype(float), 100)
    assert reaction.distance.max() < 0.02 and not reaction.unsupported.any()


def test_lengths_are_guarded(monkeypatch):
    body = make_embodiment("legs")
    first = body.model.tendon_adr[body.model.actuator_trnid[body.actuator_names.index("soleus_r"), 0]]
    body.model.site_pos[body.model.wrap_objid[first]] += 0.01
    with pytest.raises(InputError, match=r"MyoLegs: muscle soleus_r is .* mm off its validated length"):
        guard.check_muscle_lengths(body)


@pytest.mark.parametrize(
    ("version", "text"), [(None, "missing"), ("0.2.3", "version 0.2.3"), ("0.3.0", "version 0.3.0")]
)
def test_the_abdomen_needs_myo_sim(version, text, monkeypatch):
    monkeypatch.setattr(guard, "package_version", {"myo-sim": version}.get)
    with pytest.raises(InputError, match=rf"legs_abs comes from myo-sim, which is {text}: run `pip install") as caught:
        EMBODIMENTS["legs_abs"].load()(EMBODIMENTS["legs_abs"].options())
    assert "\n" not in str(caught.value)


def test_a_clip_of_another_body_is_refused():
    clip = load_motion("walk", make_embodiment("legs"))[0]
    with pytest.raises(InputError, match="is a motion of MyoLegs, but the body is MyoLegsBack; retarget it"):
        fit_to(clip, make_embodiment("legs_back"))


def test_warp_follows_c_for_200_steps():
    """Falling from the default pose, 200 steps within 1e-3 [m, rad]; walking, 100 steps: later impacts are chaotic."""
    body, frames = make_embodiment("legs"), [0, 32, 64, 96, 128]
    qpos, qvel = at_control_rate(load_motion("walk", body)[0], body, "derivative")
    qpos, qvel = np.vstack((body.qpos0, qpos[frames])), np.vstack((0 * qvel[0], qvel[frames]))
    ctrl = 0.4 * random_ctrl(body.model.nu, len(qpos), 40)
    runs = []
    for backend in ("mujoco", "warp"):
        physics = make_physics(body.model, len(qpos), device="cpu", backend=backend, threads=1)
        physics.reset(everyone(physics), torch.from_numpy(qpos).float(), torch.from_numpy(qvel).float())
        runs.append([])
        for excitation in ctrl:
            physics.step(excitation, 5)
            runs[-1].append(physics.field("qpos").numpy().copy())
        physics.close()
    away = np.abs(np.subtract(*runs)).max(axis=2)  # (control steps, worlds)
    assert np.abs(runs[0][-1] - qpos).max(axis=1).min() > 0.5
    assert away[-1, 0] < 1e-3 and away[19].max() < 1e-3


@pytest.mark.slow
@pytest.mark.parametrize("name", ["legs", "legs_back"])
def test_muscle_control_follows_a_recorded_walk(name):
    """A CMU walk without the arms' landmarks, at 100 Hz control and 500 Hz physics; 30 Hz is too coarse (docs)."""
    result = Retargeter(name)(read_motion(data_file("data/cmu_mocap/02_01.amc")))
    assert result.quality.rmse < 0.012 and not any("elbow" in name for name in result.targets.names)
    assert result.clip.frequency == 100
    body = with_physics(make_embodiment(name), PhysicsConfig(timestep=0.002, substeps=5))
    control, options = ControlBody(body), MuscleControlOptions()
    tables = clip_tables(result.clip, control, options, cache=False)
    trial = run_trial(StepPlanner(control, options), tables.reference, StoredMotion.of(result.clip, body))
    assert trial.whole and trial.site_error < 0.07
