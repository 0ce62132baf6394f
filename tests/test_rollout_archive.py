"""Rollout archives: the stored rollout is the played one, and mm-evalkit reads it."""

import dataclasses

import mujoco
import numpy as np
import pytest
import torch
from conftest import data_file
from env_cases import Acting, half_excited

from muscle_torch.embodiments import make_embodiment
from muscle_torch.envs import make_env
from muscle_torch.errors import InputError
from muscle_torch.evaluation import ZeroController, evaluate
from muscle_torch.evaluation.archive_recorder import ArchiveRecorder
from muscle_torch.motion.rollout_archive import read_archive, write_archive

CPU = {"device": "cpu", "backend": "mujoco", "threads": 1, "evaluation": True}


def record(env, path, controller=None, motion_group="") -> dict:
    """Evaluate, write the archive, close the environment, and return the metrics."""
    recorder = ArchiveRecorder(env)
    metrics = evaluate(env, controller or half_excited(env), callbacks=[recorder])
    write_archive(path, recorder.archive(motion_group))
    env.close()
    return metrics


@pytest.fixture(scope="module")
def toy(tmp_path_factory):
    path = tmp_path_factory.mktemp("toy") / "new" / "toy.npz"
    env = make_env("toy_arm", num_envs=2, evaluation_termination={"mean_site_deviation": 0.05}, **CPU)
    return path, record(env, path, motion_group="GROUP"), env.goal.library


def test_an_archive_contains_every_clip_until_it_was_lost(toy):
    path, metrics, library = toy
    archive = read_archive(path, make_embodiment("toy_arm"))
    assert [e.name for e in archive.episodes] == library.names and archive.motion_group == "GROUP"
    assert archive.dt == 0.01 and archive.muscle_names == ("flexor", "extensor")
    for index, (episode, row) in enumerate(zip(archive.episodes, metrics["per_clip"], strict=True)):
        start = int(library.start[index])
        assert episode.clip == index and len(episode.qpos) == row["mean_episode_length"]
        assert np.array_equal(episode.reference, library.qpos[start : start + row["num_frames"]].numpy())
        assert np.array_equal(episode.qpos[0], episode.reference[0])  # rows are those before a step
        assert (episode.activation[0] == 0).all() and (episode.excitation == 0.5).all()
        assert episode.reward.sum() == pytest.approx(row["mean_episode_return"], rel=1e-5)
    assert any(row["early_termination_rate"] for row in metrics["per_clip"])


def test_the_joint_force_of_the_archive_is_moment_arm_times_muscle_force(toy):
    """The muscle forces of row t + 1 and the joint force after step t are of the same substep."""
    body = make_embodiment("toy_arm")
    episode = max(read_archive(toy[0]).episodes, key=lambda e: len(e.qpos))
    data = mujoco.MjData(body.model)
    for t in range(1, len(episode.qpos) - 1, 7):
        # The last substep began 2 ms before the row: along its velocity.
        data.qpos[:] = episode.qpos[t] - 0.002 * episode.qvel[t]
        mujoco.mj_forward(body.model, data)
        moment = np.zeros((2, 1))
        mujoco.mju_sparse2dense(
            moment, data.actuator_moment, data.moment_rownnz, data.moment_rowadr, data.moment_colind
        )
        torque = moment[:, 0] @ episode.muscle_force[t]
        assert episode.joint_force[t - 1, 0] == pytest.approx(torque, rel=2e-3)
    assert abs(episode.joint_force).max() > 0.1


def test_the_archive_of_another_body_is_rejected_in_one_line(toy, tmp_path):
    with pytest.raises(InputError, match=r"toy_arm.*bimanual") as error:
        read_archive(toy[0], make_embodiment("bimanual"))
    assert "\n" not in str(error.value)
    arrays = dict(np.load(toy[0]))
    damaged = {
        "short": arrays | {"episode_0_muscle_activations": arrays["episode_0_muscle_activations"][:-1]},
        "without": {k: v for k, v in arrays.items() if k != "episode_0_traj_qpos"},
        "pickled": {"dt": np.array([{}], dtype=object)},
    }
    for name, contents in damaged.items():
        np.savez(tmp_path / name, **contents)
        with pytest.raises(InputError, match="archive") as error:
            read_archive(tmp_path / f"{name}.npz")
        assert "\n" not in str(error.value)
    (tmp_path / "text.npz").write_text("no archive")
    for name in ("text", "missing"):
        with pytest.raises(InputError, match=name):
            read_archive(tmp_path / f"{name}.npz")


def test_an_unwritable_archive_is_reported(toy, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="cannot write"):
        write_archive(tmp_path / "file" / "x.npz", read_archive(toy[0]))


def test_rows_after_nan_are_not_stored(tmp_path):
    env = make_env("toy_arm", num_envs=1, **CPU)
    calls = []

    def act(observation):
        calls.append(1)
        return torch.full((1, 2), float("nan") if len(calls) == 4 else 0.0)

    record(env, tmp_path / "x.npz", Acting(act))
    archive = read_archive(tmp_path / "x.npz")
    arrays = [
        getattr(e, f.name) for e in archive.episodes for f in dataclasses.fields(e) if f.name not in ("name", "network")
    ]
    assert all(np.isfinite(a).all() for a in arrays)
    assert min(len(e.qpos) for e in archive.episodes) == 3


def test_a_clip_that_diverges_at_once_is_reported_and_excluded(tmp_path):
    env = make_env("toy_arm", num_envs=2, **CPU)
    recorder = ArchiveRecorder(env)
    actions = torch.tensor([[float("nan")] * 2, [0.0] * 2])
    evaluate(env, Acting(lambda observation: actions), callbacks=[recorder])
    (episode,) = recorder.archive().episodes
    assert set(recorder.broken) | {episode.name} == set(env.goal.library.names)


def test_mm_evalkit_reads_a_bimanual_rollout(tmp_path):
    bimanual = pytest.importorskip("mm_evalkit.workflows.bimanual.rollout")
    path = tmp_path / "arms.npz"
    env = make_env("bimanual", num_envs=4, **CPU)
    record(env, path, ZeroController(), motion_group="GENERATED")
    with bimanual.open_rollout(path, expected_activation_count=64, expected_motion_group="GENERATED") as (_, metadata):
        assert metadata.n_episodes == env.goal.library.num_clips and metadata.dt == 0.01
        assert metadata.joint_names == make_embodiment("bimanual").joint_names


def test_mm_evalkit_reads_a_full_body_rollout_with_kinetics(tmp_path):
    validation = pytest.importorskip("mm_evalkit.workflows.gait.rollout_validation")
    from mm_evalkit.activation import activation_sample_phase
    from mm_evalkit.policies import PolicySpec
    from mm_evalkit.workflows.gait.channels import joint_names_myo, muscle_names_myo

    clip = data_file("data/clips/MyoFullBody/cmu_02_01_walk.npz")
    env = make_env(
        "bimanual",
        embodiment="fullbody",
        motion=str(clip),
        evaluation_termination={"mean_relative_site_deviation": 0.5, "root_deviation": 0.5},
        **CPU,
    )
    path = tmp_path / "body.npz"
    metrics = record(env, path)
    validation.validate_policy_rollouts(
        [PolicySpec(id=name, label=name, trajectory_path=path, color="red") for name in ("a", "b")],
        subject_based=True,
        motion_count=1,
        expected_joint_names=tuple(joint_names_myo),
        expected_joint_width=len(joint_names_myo) + 6,
        expected_activation_width=len(muscle_names_myo),
        expected_motion_group=None,
    )
    with np.load(path) as archive:
        assert activation_sample_phase(archive) == "pre_step" and validation.has_embedded_kinetics(archive, path)
    (episode,) = read_archive(path, env.embodiment).episodes
    assert len(episode.qpos) == metrics["mean_episode_length"] > 10
    # It stands on its feet at first, carried by the floor, where the motion is.
    assert np.abs(episode.qpos[0, :2] - episode.reference[0, :2]).max() < 1e-6
    assert episode.sensor_force.max() > 100 and episode.touch[1:].tolist() == episode.sensor_force[:-1].tolist()
