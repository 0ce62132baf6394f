"""Props beside a body: the body comes first in the model, and nothing that belongs to it changes."""

import mujoco
import numpy as np
import pytest
import torch
from env_cases import ALL_REWARDS, MUSCLES, actions, all_equal, half_excited, play, small_env
from physics_cases import everyone, random_ctrl

from muscle_torch.embodiments import Embodiment, make_embodiment, moment_matrix, similarity
from muscle_torch.embodiments.props import Ball, attach
from muscle_torch.envs import factory
from muscle_torch.errors import InputError
from muscle_torch.evaluation import ZeroController, evaluate
from muscle_torch.evaluation import play as play_trials
from muscle_torch.evaluation.archive_recorder import ArchiveRecorder
from muscle_torch.motion import MotionLibrary, generate
from muscle_torch.physics import BACKENDS, make_physics
from muscle_torch.rendering import scene, video

FAR = Ball(position=(0.0, -3.0, 5.0))
EVERYTHING = {
    "terms": [
        *("joint_pos", "joint_vel", "muscle", "site_relative", "reference", "phase", "previous_action"),
        *("site_error", "joint_error", "muscle_length_error", "muscle_velocity_error"),
    ],
    "muscle": MUSCLES,
}
PENALTIES = {"joint_acc": 1e-4, "joint_torque": 1e-4, "activation_energy": 0.1, "action_rate": 0.01}
TASK = {"observation": EVERYTHING, "reward": ALL_REWARDS | {"penalties": PENALTIES}}


def with_ball(name: str = "toy_arm", **options) -> Embodiment:
    return attach(make_embodiment(name, **options), FAR)


def env_with_ball(monkeypatch, **overrides):
    """The environment of a task whose body has a ball beside it."""
    built = factory.configured_embodiment
    with monkeypatch.context() as patch:
        patch.setattr(factory, "configured_embodiment", lambda config: attach(built(config), FAR))
        return small_env(**TASK, **overrides)


def test_a_ball_far_away_changes_nothing_of_an_episode(monkeypatch):
    """Observations, rewards, ends and errors of 150 steps with resets are the same to the bit, while the ball falls."""
    alone, beside = small_env(**TASK), env_with_ball(monkeypatch)
    assert (beside.embodiment.model.nq, beside.embodiment.num_qpos) == (8, 1)
    assert torch.equal(alone.begin(), beside.begin())
    sequence = actions(alone, 150)
    assert all_equal(play(alone, sequence), play(beside, sequence))
    assert alone.observation_size == beside.observation_size and alone.action_size == beside.action_size
    ball = beside.physics.field("qpos")[:, 1:]
    time = beside.physics.field("time")
    # MuJoCo's Euler steps fall g t (t + h) / 2; float32.
    fallen = 9.81 * time * (time + 0.002) / 2
    assert (time > 0.05).any() and torch.allclose(ball[:, 2], 5.0 - fallen, atol=1e-3)
    beside.restart(torch.ones(4, dtype=torch.bool))
    assert torch.equal(beside.physics.field("qpos")[0, 1:], torch.tensor([0.0, -3.0, 5.0, 1.0, 0.0, 0.0, 0.0]))
    for env in (alone, beside):
        env.close()


@pytest.mark.parametrize("backend", BACKENDS)
def test_both_backends_simulate_the_body_as_if_alone(backend):
    """30 control steps of an arm whose elbow also meets its limit; on Warp, in float32, to rounding."""
    bodies = make_embodiment("toy_arm"), with_ball()
    both = [make_physics(body.model, 4, device="cpu", backend=backend, threads=1) for body in bodies]
    for body, physics in zip(bodies, both, strict=True):
        qpos, qvel = np.float32([[0.1], [0.5], [1.0], [2.2]]), np.zeros((4, 1), np.float32)
        whole = torch.from_numpy(body.whole_qpos(qpos)), torch.from_numpy(body.whole_qvel(qvel))
        physics.reset(everyone(physics), *whole)
    for ctrl in random_ctrl(2, 4, 30):
        for physics in both:
            physics.step(ctrl, 5)
        alone, beside = both[0].field("qpos"), both[1].field("qpos", bodies[1].field_rows["qpos"])
        assert torch.equal(alone, beside) or (backend == "warp" and torch.allclose(alone, beside, atol=1e-6))
    assert not both[1].bad_worlds().any() and (both[1].field("qpos")[:, 3] < 4.9).all()
    for physics in both:
        physics.close()


def test_an_episode_continues_from_a_snapshot_with_its_ball(monkeypatch):
    env = env_with_ball(monkeypatch)
    env.begin()
    sequence = actions(env, 20)
    play(env, sequence[:10])
    stored = env.snapshot()
    first = play(env, sequence[10:]), env.physics.field("qpos").clone()
    env.load_snapshot(stored)
    second = play(env, sequence[10:]), env.physics.field("qpos").clone()
    assert all_equal(first[0], second[0]) and torch.equal(first[1], second[1])
    env.close()


@pytest.mark.parametrize("name", ["toy_arm", "bimanual", "fullbody"])
def test_names_poses_and_muscles_stay_those_of_the_body(name):
    body, both = make_embodiment(name), with_ball(name)
    model = both.model
    assert both.props == ("ball",) and body.props == ()
    assert (model.nq, model.nv) == (body.model.nq + 7, body.model.nv + 6)
    for attribute in ("joint_names", "actuator_names", "muscle_names", "sizes", "num_qpos", "num_qvel", "has_root"):
        assert getattr(both, attribute) == getattr(body, attribute), attribute
    for attribute in ("joint_qpos_ids", "joint_qvel_ids", "scalar_joint_ids", "muscle_ids", "site_ids", "qpos0"):
        assert np.array_equal(getattr(both, attribute), getattr(body, attribute)), attribute
    assert both.whole_model.nq == model.nq
    pose = np.float32(body.project(body.qpos0[None] + 0.1))
    whole = both.whole_qpos(pose)
    assert whole.shape == (1, model.nq) and whole.dtype == np.float32
    assert np.array_equal(whole[:, : both.num_qpos], pose)
    assert whole[0, both.num_qpos :].tolist() == [0.0, -3.0, 5.0, 1.0, 0.0, 0.0, 0.0]
    assert np.allclose(both.project(pose), pose, atol=1e-6)
    velocity = both.whole_qvel(np.ones((2, 3, both.num_qvel)))
    assert velocity.shape == (2, 3, model.nv) and velocity[..., both.num_qvel :].sum() == 0


@pytest.mark.parametrize("name", ["toy_arm", "bimanual"])
def test_motions_and_muscles_are_computed_as_without_props(name):
    body, both = make_embodiment(name), with_ball(name)
    clips = generate("all", body)[:2]
    for one, other in zip(clips, generate("all", both), strict=False):
        assert np.array_equal(one.qpos, other.qpos) and one.joint_names == other.joint_names
    libraries = [MotionLibrary(clips, one, cache=False) for one in (body, both)]
    for field in ("qpos", "qvel", "site_pos", "site_linvel", "muscle_length", "muscle_velocity"):
        tables = [getattr(library, field) for library in libraries]
        assert torch.equal(*tables), field
    data = [mujoco.MjData(one.model) for one in (body, both)]
    for one, scratch in zip((body, both), data, strict=True):
        mujoco.mj_forward(one.model, scratch)
    assert np.array_equal(moment_matrix(body, data[0]), moment_matrix(both, data[1]))
    assert np.array_equal(similarity(body), similarity(both))


def test_a_rollout_archive_holds_the_body_alone(monkeypatch):
    archives = []
    for env in (small_env(evaluation=True, **TASK), env_with_ball(monkeypatch, evaluation=True)):
        recorder = ArchiveRecorder(env)
        evaluate(env, half_excited(env), trials=[0], callbacks=[recorder])
        archives.append(recorder.archive())
        env.close()
    one, other = archives
    assert one.mass == other.mass and one.joint_names == other.joint_names and one.muscle_names == other.muscle_names
    for name in ("qpos", "qvel", "activation", "excitation", "muscle_force", "joint_force"):
        assert np.array_equal(getattr(one.episodes[0], name), getattr(other.episodes[0], name)), name


def test_a_ball_is_a_solid_sphere_that_bounces_off_the_floor():
    both = attach(make_embodiment("fullbody"), Ball(radius=0.1, mass=0.5, position=(0.0, -3.0, 0.5)))
    model, data = both.model, mujoco.MjData(both.model)
    ball = model.body("ball").id
    assert model.body_mass[ball] == pytest.approx(0.5)
    assert model.body_inertia[ball] == pytest.approx(np.full(3, 0.4 * 0.5 * 0.1**2))
    for _ in range(500):
        mujoco.mj_step(model, data)
    assert data.xpos[ball, 2] == pytest.approx(0.1, abs=0.01)


def test_what_does_not_fit_is_refused_in_one_line():
    arm = make_embodiment("toy_arm")
    with pytest.raises(InputError, match="already has a body 'hand'"):
        attach(arm, Ball(name="hand"))
    with pytest.raises(InputError, match="already has a body 'ball'"):
        attach(arm, Ball(), Ball())

    class Hat:
        """Not beside the body but on it."""

        name = "hat"

        def add_to(self, spec: mujoco.MjSpec) -> None:
            hat = spec.body("upper_arm").add_body(name="hat")
            hat.add_joint(name="hat", axis=[0, 0, 1])
            hat.add_geom(size=[0.1, 0, 0], mass=0.1)

    with pytest.raises(InputError, match="hat is not a separate tree after the body"):
        attach(arm, Hat())
    with pytest.raises(InputError, match="edit the body before ball is attached"):
        attach(arm, FAR).edited(lambda spec: None)


def test_a_played_trial_is_filmed_with_its_ball_although_the_ghost_has_none(monkeypatch, tmp_path):
    import imageio_ffmpeg

    env = env_with_ball(monkeypatch, evaluation=True)
    trajectory = play_trials(env, ZeroController(), max_seconds=0.1)[0]
    assert trajectory.qpos.shape == (11, 8) and trajectory.reference.shape == (11, 1)
    assert trajectory.activation.shape == (11, 2)
    try:
        scene.choose_gl()
    except InputError as error:
        pytest.skip(str(error))
    video.film(env.embodiment, [trajectory], tmp_path / "x.mp4", width=64, height=64)
    assert imageio_ffmpeg.count_frames_and_secs(str(tmp_path / "x.mp4"))[0] == 4
    env.close()
