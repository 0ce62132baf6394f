"""Motors beside muscles: whatever is about muscles reads muscles only."""

import dataclasses

import mujoco
import numpy as np
import pytest
import torch
from env_cases import half_excited, small_env
from physics_cases import everyone, random_ctrl, random_states

from muscle_torch.biomechanics.metabolic import minetti_power
from muscle_torch.biomechanics.muscle_activity import muscle_states
from muscle_torch.biomechanics.muscle_checks import check_muscles
from muscle_torch.embodiments import Embodiment, make_embodiment, similarity
from muscle_torch.embodiments.mirror import mirror_findings
from muscle_torch.errors import InputError
from muscle_torch.evaluation import evaluate
from muscle_torch.evaluation.archive_recorder import ArchiveRecorder
from muscle_torch.motion import MotionLibrary, generate
from muscle_torch.motion.rollout_archive import read_archive, write_archive
from muscle_torch.physics import BACKENDS, FIELDS, make_physics
from muscle_torch.rendering.scene import SceneRenderer


@pytest.fixture(scope="module")
def plain() -> Embodiment:
    return make_embodiment("toy_arm")


@pytest.fixture(scope="module")
def driven() -> Embodiment:
    return make_embodiment("toy_arm", motor=True)


def add_servo(spec: mujoco.MjSpec) -> None:
    """A motor with an activation of its own."""
    servo = spec.add_actuator(name="servo", target="elbow", trntype=mujoco.mjtTrn.mjTRN_JOINT)
    servo.dyntype, servo.dynprm[0] = mujoco.mjtDyn.mjDYN_FILTER, 0.05


def test_muscles_and_motors_are_told_apart(plain, driven):
    assert (plain.muscle_names, plain.motor_names) == (("flexor", "extensor"), ())
    assert driven.actuator_names == ("flexor", "extensor", "elbow_motor")
    assert (driven.muscle_names, driven.motor_names) == (("flexor", "extensor"), ("elbow_motor",))
    assert driven.muscle_ids.tolist() == [0, 1] and driven.motor_ids.tolist() == [2]
    assert driven.muscle_act_ids.tolist() == [0, 1] and driven.muscle_tendon_ids.tolist() == [0, 1]
    assert plain.field_rows == {}
    muscles = dict.fromkeys(("ctrl", "actuator_length", "actuator_velocity", "actuator_force"), (0, 1))
    assert driven.field_rows == muscles
    with pytest.raises(InputError, match="has no muscle 'elbow_motor'"):
        dataclasses.replace(driven, groups={"elbow": ("flexor", "elbow_motor")})
    with pytest.raises(InputError, match="has no muscle 'elbow_motor'"):
        dataclasses.replace(driven, left_right=(("elbow_motor", "flexor"),))


@pytest.mark.parametrize("backend", BACKENDS)
def test_an_idle_massless_motor_is_exactly_not_there(plain, driven, backend):
    """100 control steps and resets under random excitation: every field that both have is the same to the bit."""
    assert np.array_equal(plain.model.body_inertia, driven.model.body_inertia)
    both = [make_physics(body.model, 4, device="cpu", backend=backend, threads=1) for body in (plain, driven)]
    qpos, qvel = random_states(plain, 4)
    for physics in both:
        physics.reset(everyone(physics), qpos, qvel)
    for step, ctrl in enumerate(random_ctrl(2, 4, 100)):
        both[0].step(ctrl, 5)
        both[1].step(torch.cat((ctrl, torch.zeros(4, 1)), dim=1), 5)
        if step % 10 == 9:
            for physics in both:
                physics.reset(torch.arange(4) == step // 10 % 4, qpos, qvel)
        for field in FIELDS:
            one, other = (physics.field(field) for physics in both)
            assert torch.equal(one, other[:, : one.shape[1]] if one.dim() > 1 else other), field
    for physics in both:
        physics.close()


def test_a_motor_turns_the_elbow_by_its_torque(driven):
    """Full control adds 5 N m to what the elbow's muscles do, half control backwards takes 2.5 N m away."""
    torques = []
    for control in (0.0, 1.0, -0.5):
        data = mujoco.MjData(driven.model)
        data.qpos[:], data.ctrl[:] = 1.0, (0.3, 0.1, control)
        mujoco.mj_forward(driven.model, data)
        torques.append(data.qfrc_actuator[0])
    assert torques[1] - torques[0] == pytest.approx(5.0) and torques[2] - torques[0] == pytest.approx(-2.5)


def test_tables_of_muscles_have_no_column_for_a_motor(plain, driven):
    clips = generate("all", plain)
    libraries = [MotionLibrary(clips, body, cache=False) for body in (plain, driven)]
    assert libraries[1].muscle_length.shape == (libraries[1].num_frames, 2)
    for name in ("muscle_length", "muscle_velocity", "qpos", "site_pos"):
        assert torch.equal(*(getattr(library, name) for library in libraries)), name
    assert np.array_equal(similarity(plain), similarity(driven))
    assert mirror_findings(driven) == []
    checks = [check_muscles(body, points=11) for body in (plain, driven)]
    assert repr(checks[0].rows) == repr(checks[1].rows)  # they hold NaN: no pairs to compare
    qpos, qvel = np.full((3, 1), 0.5), np.ones((3, 1))
    speeds = [muscle_states(body, qpos, qvel)[1] for body in (plain, driven)]
    powers = [minetti_power(body, np.ones((3, 2)), speeds[0]) for body in (plain, driven)]
    assert np.array_equal(*speeds) and np.array_equal(*powers) and powers[0].shape == (3, 2)


def test_a_servo_with_an_activation_of_its_own_is_no_muscle(plain):
    servo = plain.edited(add_servo)
    assert servo.build_spec().compile().nu == servo.model.nu == 3
    assert servo.muscle_names == plain.muscle_names and servo.motor_names == ("servo",)
    assert servo.model.na == 3 and servo.field_rows["act"] == tuple(servo.muscle_act_ids.tolist())
    physics = make_physics(servo.model, 1, device="cpu", backend="mujoco", threads=1)
    ctrl = torch.zeros(1, 3)
    ctrl[0, servo.muscle_ids] = torch.tensor([1.0, 0.0])
    ctrl[0, servo.motor_ids] = 0.5
    physics.step(ctrl, 5)
    excited, still = physics.field("act", servo.field_rows["act"])[0].tolist()
    assert excited > 0.2 and still == 0.0
    assert physics.field("ctrl", servo.field_rows["ctrl"])[0].tolist() == [1.0, 0.0]
    physics.close()


def test_an_archive_has_a_column_for_each_muscle(driven, tmp_path):
    env = small_env(embodiment={"motor": True}, evaluation=True)
    recorder = ArchiveRecorder(env)
    evaluate(env, half_excited(env), trials=[0], callbacks=[recorder])
    path = tmp_path / "rollouts.npz"
    write_archive(path, recorder.archive())
    archive = read_archive(path, env.embodiment)
    assert archive.muscle_names == ("flexor", "extensor") and archive.embodiment_options == {"motor": True}
    for name in ("activation", "excitation", "muscle_force"):
        assert getattr(archive.episodes[0], name).shape == (len(archive.episodes[0].qpos), 2), name
    assert archive.episodes[0].excitation == pytest.approx(0.5)
    with pytest.raises(InputError, match=r"embodiment_options is \{'motor': True\}, here \{'motor': False\}") as caught:
        read_archive(path, make_embodiment("toy_arm"))
    assert "\n" not in str(caught.value)
    env.close()


def test_pictures_colour_muscles_by_their_own_activation(plain, driven):
    images = []
    for body in (plain, driven):
        with SceneRenderer(body, 64, 64) as renderer:
            images.append(renderer.draw(np.array([0.8]), activation=np.array([1.0, 0.0])))
            other = renderer.draw(np.array([0.8]), activation=np.array([0.0, 1.0]))
    assert np.array_equal(*images) and not np.array_equal(images[1], other)
