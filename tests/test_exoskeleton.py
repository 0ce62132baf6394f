"""Exoskeletons and deficits: laws of the unit tests, worked out by hand."""

import math

import mujoco
import numpy as np
import pytest
import torch
from biped import make_biped
from env_cases import CPU, small_env
from physics_cases import everyone, random_ctrl, random_states

from muscle_torch.config import load_config
from muscle_torch.embodiments import configured_embodiment, make_embodiment
from muscle_torch.embodiments.deficits import GROUPS, PRESETS, deficits, strength_groups
from muscle_torch.embodiments.exoskeleton import with_device
from muscle_torch.embodiments.mirror import Sides
from muscle_torch.envs import make_env
from muscle_torch.envs.muscle_randomization import MuscleRandomization
from muscle_torch.errors import InputError
from muscle_torch.physics import BACKENDS, FIELDS, make_physics

ELBOW = {"name": "custom", "motors": {"elbow": [-1.0, 0.5]}, "lag": 0.025, "slew": 20.0}
MASS = 3.6  # [kg] of the toy arm
STEP = 0.002  # [s]


@pytest.fixture(scope="module")
def legs():
    return make_embodiment("legs")


@pytest.fixture(scope="module")
def worn():
    return configured_embodiment(load_config("legs", ["exoskeleton=hip_ankle"]))


def toy(num_envs: int = 2, **options):
    return small_env("toy_arm", num_envs, **{"exoskeleton": ELBOW, **options})


# The device on the body


def test_the_device_adds_four_motors_with_limits_by_body_mass(legs, worn):
    mass = legs.model.body_mass.sum()
    assert mass == pytest.approx(74.98, abs=0.01)
    assert worn.motor_names == tuple(f"exo_{j}_{s}" for j in ("hip_flexion", "ankle_angle") for s in "rl")
    assert (worn.model.nu, worn.model.na) == (legs.model.nu + 4, legs.model.na)
    limits = worn.model.actuator_ctrlrange[worn.motor_ids] / mass
    assert limits == pytest.approx(np.array([[-0.3, 0.3], [-0.3, 0.3], [-0.7, 0.1], [-0.7, 0.1]]))
    assert worn.muscle_names == legs.muscle_names and worn.joint_names == legs.joint_names


def test_a_torque_moves_one_degree_of_freedom(worn):
    data = mujoco.MjData(worn.model)
    for motor, joint in zip(worn.device.motors, worn.device.joints, strict=True):
        data.ctrl[:] = 0
        data.ctrl[worn.model.actuator(motor).id] = 7.0
        mujoco.mj_forward(worn.model, data)
        with_motor = data.qfrc_actuator.copy()
        data.ctrl[:] = 0
        mujoco.mj_forward(worn.model, data)
        added = with_motor - data.qfrc_actuator
        assert np.flatnonzero(np.abs(added) > 1e-9).tolist() == worn.model.joint(joint).dofadr.tolist()
        assert np.abs(added).max() == pytest.approx(7.0)


@pytest.mark.parametrize("backend", BACKENDS)
def test_idle_and_massless_it_is_exactly_not_there(backend):
    body = make_embodiment("toy_arm")
    device = with_device(body, {"elbow": [-1.0, 1.0]}, {}, 0.025, 5.0, "test")
    both = [make_physics(one.model, 2, device="cpu", backend=backend, threads=1) for one in (body, device)]
    qpos, qvel = random_states(body, 2)
    for physics in both:
        physics.reset(everyone(physics), qpos, qvel)
    for ctrl in random_ctrl(2, 2, 200):
        both[0].step(ctrl, 5)
        both[1].step(torch.cat((ctrl, torch.zeros(2, 1)), dim=1), 5)
    for field in FIELDS:
        one, other = (physics.field(field) for physics in both)
        assert torch.equal(one, other[:, : one.shape[1]] if one.dim() > 1 else other), field
    for physics in both:
        physics.close()


def test_an_idle_device_changes_no_number_of_the_legs(legs, worn):
    """200 control steps of the environment's muscles, with the device's dynamics stepped at every substep."""
    states = []
    device = {"exoskeleton": "hip_ankle", "actions": ["muscles", "exoskeleton"]}
    for body, pairs in ((legs, {"actions": ["muscles"]}), (worn, device)):
        env = make_env("legs", 1, **pairs, **CPU)
        env.begin()
        random = torch.Generator().manual_seed(0)
        for _ in range(200):
            action = 0.5 * torch.randn(1, len(body.muscle_names), generator=random)
            env.advance(torch.cat((action, torch.zeros(1, env.action_size - action.shape[1])), dim=1))
        states.append(env.physics.field("qpos").clone())
        env.close()
    assert torch.equal(*states)


def test_device_masses_are_on_pelvis_thighs_and_shanks(legs):
    words = ["exoskeleton=hip", "exoskeleton.pelvis_mass=2", "exoskeleton.thigh_mass=0.5", "exoskeleton.shank_mass=0.3"]
    heavy = configured_embodiment(load_config("legs", words))
    assert heavy.model.body_mass.sum() - legs.model.body_mass.sum() == pytest.approx(2 + 2 * 0.5 + 2 * 0.3)
    added = {
        heavy.model.body(heavy.model.body(i).parentid[0]).name: heavy.model.body_mass[i]
        for i in range(heavy.model.nbody)
        if heavy.model.body(i).name.startswith("exo_")
    }
    assert added == {"pelvis": 2, "femur_r": 0.5, "femur_l": 0.5, "tibia_r": 0.3, "tibia_l": 0.3}
    one = configured_embodiment(load_config("legs", ["exoskeleton=ankle", "exoskeleton.sides=r"]))
    assert one.motor_names == ("exo_ankle_angle_r",)


def test_a_device_of_a_file(tmp_path):
    path = tmp_path / "elbow.yaml"
    path.write_text("motors: {elbow: [-0.5, 1]}\nmasses: {forearm: 0.2}\nlag: 0\nslew: 0\n")
    body = configured_embodiment(load_config("toy_arm", ["exoskeleton=custom", f"exoskeleton.path={path}"]))
    assert body.device.low == pytest.approx((-1.8,)) and body.device.high == pytest.approx((3.6,))
    assert (body.device.lag, body.device.slew) == (0.0, math.inf)
    assert body.model.body_mass.sum() == pytest.approx(MASS + 0.2)


@pytest.mark.parametrize(
    ("task", "words", "message"),
    [
        ("bimanual", ["exoskeleton=ankle"], "no joint 'ankle_angle_r'"),
        ("legs", ["exoskeleton=hip", "exoskeleton.hip_limit=[0,0]"], "torque limit of hip_flexion_r is .* not both 0"),
        ("legs", ["exoskeleton=hip", "exoskeleton.hip_limit=[0.1,0.3]"], "lowest <= 0 <= highest"),
        ("legs", ["exoskeleton=hip", "exoskeleton.sides=x"], "choose from r and l"),
        ("legs", ["exoskeleton=hip", "exoskeleton.thigh_mass=-1"], "device mass on femur_r is -1"),
        ("legs", ["exoskeleton=hip", "exoskeleton.lag=-1"], "at least 0"),
        ("toy_arm", ["exoskeleton=custom"], "no motors"),
        ("toy_arm", ["exoskeleton=custom", "exoskeleton.path=none.yaml"], "no such file"),
        ("toy_arm", ["exoskeleton=custom", "exoskeleton.motors={elbo: [-1,1]}"], "did you mean 'elbow'"),
    ],
)
def test_devices_that_cannot_be_are_one_line(task, words, message):
    with pytest.raises(InputError, match=message) as error:
        configured_embodiment(load_config(task, words))
    assert "\n" not in str(error.value)


# The command's way to the torque


def test_lag_slew_and_limits_of_the_torque():
    """By hand: a first-order lag until the limit; a slew of 20 N m/kg/s of 3.6 kg is 0.144 N m per physics step."""
    slow = toy(actions=["exoskeleton"])
    slow.begin()
    share = 1 - math.exp(-STEP / 0.025)
    expected, torques = 0.0, []
    for _ in range(40):
        slow.advance(torch.tensor([[2.0], [-1.0]]))
        torques.append(slow.physics.field("ctrl")[:, 2].clone())
    for _ in range(200):
        expected += min(share * (0.5 * MASS - expected), 0.144)
    assert torques[-1].tolist() == pytest.approx([expected, torques[-1][1].item()], rel=1e-5)
    assert expected < 0.5 * MASS and torques[-1][0] > 0.49 * MASS
    assert float(torques[0][1]) == pytest.approx(-5 * 0.144, rel=1e-5)  # limited by the slew rate
    assert all(-MASS <= float(t[1]) <= 0 for t in torques)

    free = toy(actions=["exoskeleton"], exoskeleton={**ELBOW, "slew": 0.0})
    free.begin()
    for step in range(1, 6):
        free.advance(torch.full((2, 1), -0.5))
        lagged = -0.5 * MASS * (1 - math.exp(-step * 5 * STEP / 0.025))
        assert free.physics.field("ctrl")[:, 2].tolist() == pytest.approx([lagged] * 2, rel=1e-5)
    direct = toy(actions=["exoskeleton"], exoskeleton={**ELBOW, "slew": 0.0, "lag": 0.0})
    direct.begin()
    direct.advance(torch.full((2, 1), 0.5))
    assert direct.physics.field("ctrl")[:, 2].tolist() == pytest.approx([0.25 * MASS] * 2)


def test_a_reset_and_a_snapshot_carry_the_torque():
    env = toy(actions=["muscles", "exoskeleton"])
    env.begin()
    for _ in range(5):
        env.advance(torch.ones(2, 3))
    stored, action = env.snapshot(), torch.full((2, 3), 0.3)
    first = env.advance(action).observation
    env.load_snapshot(stored)
    assert torch.equal(env.advance(action).observation, first)
    env.restart(torch.tensor([True, False]))
    torque = env.actions.torque[:, 0]
    assert torque[0] == 0 and torque[1] > 0.5


# Deficits


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_deficit_is_the_ratio_of_forces_and_differs_between_worlds(backend):
    """Two severities in one batch; passive and active force scale together, and the extensor keeps its own."""
    changes = {"deficit": {"flexor": [0.25, 1.0], "extensor": 1.0}}
    force = []
    for options in ({}, changes):
        env = make_env("toy_arm", 3, device="cpu", backend=backend, threads=1, **options)
        start = torch.zeros(3, dtype=torch.long)
        env.assign((start, start))
        env.physics.step(torch.ones(3, 2), 2)
        force.append(env.physics.field("actuator_force").clone())
    severity = env.muscles.strength
    assert len(set(severity[:, 0].tolist())) == 3 and (severity[:, 1] == 1).all()
    torch.testing.assert_close(force[1] / force[0], severity, rtol=2e-4, atol=0)


def test_only_the_muscles_of_the_group_are_weakened(legs):
    weak = MuscleRandomization(load_config("legs").randomization, legs, 1, 0, False, {"plantarflexors_r": 0.4})
    names = {f"{name}_r" for name in GROUPS["plantarflexors"]}
    expected = [0.4 if name in names else 1.0 for name in legs.muscle_names]
    assert weak.strength[0].tolist() == pytest.approx(expected)
    physics = [make_physics(legs.model, 1, "cpu", "mujoco", threads=1) for _ in range(2)]
    weak.apply(physics[1])
    for one in physics:
        one.load_state(one.state() | {"act": torch.full((1, legs.model.na), 0.5)})
        one.step(torch.full((1, legs.model.nu), 0.5), 1)
    before, after = (one.field("actuator_force")[0] for one in physics)
    clear = before.abs() > 1e-3
    torch.testing.assert_close((after / before)[clear], torch.tensor(expected)[clear], rtol=1e-4, atol=0)


def test_the_groups_are_observed_by_side():
    env = small_env("legs", 2, deficit="hemiparesis_r", observation={"terms": ["muscle_strength"]})
    groups = list(strength_groups(env.embodiment))
    assert len(groups) == 12
    observed = dict(zip(groups, env.begin()[0].tolist(), strict=True))
    assert observed["plantarflexors_r"] == observed["dorsiflexors_r"] == observed["hip_flexors_r"] == 0.5
    assert observed["knee_extensors_r"] == pytest.approx(0.875)  # rectus femoris also flexes the hip
    assert all(value == 1 for group, value in observed.items() if group.endswith("_l"))


def test_every_preset_names_muscles_of_the_legs(legs):
    for name in PRESETS:
        assert all(0 <= one.lowest <= one.highest <= 1 and one.muscles for one in deficits(name, legs)), name
    assert len(deficits({"plantarflexors": 0.5}, legs)[0].muscles) == 16


@pytest.mark.parametrize(
    ("deficit", "message"),
    [
        ("hemiparesis", "did you mean 'hemiparesis_r'"),
        ({"plantarflexor_r": 0.5}, "did you mean 'plantarflexors_r'"),
        ({"plantarflexors_x": 0.5}, "a side is _r or _l"),
        ({"plantarflexors_r": 1.5}, "from 0 to 1"),
        ({"plantarflexors_r": -0.1}, "from 0 to 1"),
        ({"plantarflexors_r": [1.0, 0.5]}, "from 0 to 1"),
        ({"plantarflexors_r": "weak"}, "from 0 to 1"),
        (0.5, "write a preset, or group"),
    ],
)
def test_deficits_that_cannot_be_are_one_line(legs, deficit, message):
    with pytest.raises(InputError, match=message) as error:
        deficits(deficit, legs)
    assert "\n" not in str(error.value)


def test_a_deficit_replaces_that_of_the_preset():
    words = ["preset=exo_deficit", "deficit={hip_flexors_l: 0.5}"]
    assert load_config("legs_exo", words).deficit == {"hip_flexors_l": 0.5}


# Symmetry


def test_mirrored_state_deficit_and_torque_give_the_mirrored_motion():
    """The biped, weak and assisted on the right, and on the left: states stay mirror images."""
    body = make_biped()
    sides, model = Sides(body), body.model
    pose = model.qpos0.copy()
    pose[7:] = np.random.default_rng(0).uniform(-0.3, 0.3, model.nq - 7)
    names, results = body.muscle_names, []
    for side, start in (("r", pose), ("l", sides.mirror_pose(pose))):
        limits = {f"ankle_{side}": [-0.7, 0.7], f"hip_flexion_{side}": [-0.3, 0.3]}
        worn = with_device(body, limits, {}, 0.025, 5.0, "test")
        weak = {name: 0.5 for name in names if name.startswith("knee") and name.endswith(side)}
        physics = make_physics(worn.model, 1, "cpu", "mujoco", threads=1)
        MuscleRandomization(load_config("legs").randomization, worn, 1, 0, False, weak).apply(physics)
        physics.reset(everyone(physics), torch.from_numpy(start[None]).float(), torch.zeros(1, model.nv))
        # Muscles of the sagittal plane only: those of the others change their sense in the mirror.
        strong = {f"{joint}_plus_{side}" for joint in ("hip_flexion", "knee", "ankle")}
        ctrl = torch.tensor([[0.3 if name in strong else 0.1 for name in names] + [9.0, -4.0]])
        physics.step(ctrl, 50)
        results.append(physics.field("qpos")[0].double().numpy().copy())
        assert len(weak) == 2
    assert np.abs(results[0][7:] - pose[7:]).max() > 0.1
    assert sides.mirror_pose(results[0])[7:] == pytest.approx(results[1][7:], abs=2e-4)
