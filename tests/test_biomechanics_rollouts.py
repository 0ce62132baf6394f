"""Rollouts of a policy, from checkpoint or archive, through tools/analyze.py and tools/emg.py."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch
from commands import script
from conftest import data_file
from env_cases import Acting

from muscle_torch.biomechanics.gait import (
    activation_series,
    angle_error,
    body_of,
    followed_gait,
    gait_of,
    rollout_gait,
)
from muscle_torch.config import config_to_dict, load_config
from muscle_torch.embodiments import make_embodiment
from muscle_torch.envs import make_env
from muscle_torch.errors import InputError
from muscle_torch.evaluation import evaluate
from muscle_torch.evaluation.archive_recorder import ArchiveRecorder
from muscle_torch.models import make_policy
from muscle_torch.motion import load_motion
from muscle_torch.motion.rollout_archive import read_archive, write_archive
from muscle_torch.storage.checkpoint import save_checkpoint

CLIP = "data/clips/MyoFullBody/cmu_02_01_walk.npz"


@pytest.fixture(scope="module")
def body():
    return make_embodiment("fullbody")


@pytest.fixture(scope="module")
def clip(tmp_path_factory, body):
    """The start of a walk."""
    whole = load_motion(data_file(CLIP), body)[0]
    path = tmp_path_factory.mktemp("clip") / "walk.npz"
    dataclasses.replace(whole, qpos=whole.qpos[:60], qvel=None).save(path)
    return path


@pytest.fixture(scope="module")
def archive(clip):
    """A short rollout with every muscle half excited, written as an archive."""
    env = make_env("bimanual", embodiment="fullbody", num_envs=1, device="cpu", backend="mujoco", threads=1,
                   evaluation=True, motion=str(clip))  # fmt: skip
    recorder = ArchiveRecorder(env)
    evaluate(env, Acting(lambda observation: torch.zeros(1, env.action_size)), callbacks=[recorder])
    write_archive(clip.with_name("rollouts.npz"), recorder.archive())
    env.close()
    return clip.with_name("rollouts.npz")


def test_a_rollout_is_a_walk(archive, body):
    """Angles, ground forces and moments are the archive's; no joint is coupled to the hip."""
    read = read_archive(archive)
    assert body_of(read).name == body.name
    gait, followed, one = rollout_gait(body, read, 0), followed_gait(body, read, 0), read.episodes[0]
    frames = len(one.qpos)
    assert 10 < frames < 60 and len(followed.pelvis) == 60
    np.testing.assert_allclose(gait.pelvis[0], followed.pelvis[0], atol=1e-5)
    hip = one.qpos[:, body.model.joint("hip_flexion_r").qposadr[0]]
    np.testing.assert_allclose(gait.angles["hip_flexion_r"], hip, atol=1e-9)
    np.testing.assert_allclose(gait.forces["l"][:, 1], one.touch[:, 2] + one.touch[:, 3])
    assert 0 < angle_error(gait, followed) < 45
    column = read.force_joint_names.index("hip_flexion_r")
    np.testing.assert_allclose(gait.moments["hip_flexion_r"], one.joint_force[:-1, column], rtol=1e-4, atol=1e-3)
    assert gait.moments.time[0] == pytest.approx(0.01)
    # The patella and the knee's slides move with the knee: its moment holds theirs.
    alone = one.joint_force[:-1, read.force_joint_names.index("knee_angle_r")]
    assert np.abs(gait.moments["knee_angle_r"] - alone).max() > 1.0
    activations = activation_series(read, 0)
    assert activations.names == body.actuator_names and activations.time[0] == 0.0


def test_the_command_analyses_an_archive(archive, tmp_path, capsys):
    """The body falls before its first step, so curves are plotted over time with the reference."""
    main = script("tools/analyze.py").main
    assert main([f"archive={archive}", f"output={tmp_path}", "synergies=2"]) == 0
    shown, page = capsys.readouterr().out, (tmp_path / "report.html").read_text()
    assert "metabolic power" in shown and "is not a walk" in shown
    assert "their reference" in page and "http" not in page
    # Two seeds are two rollouts of the same motion.
    assert main([f"archive=[{archive},{archive}]", f"output={tmp_path}", "synergies=0"]) == 0
    assert [
        line.split()[1] for line in capsys.readouterr().out.splitlines() if line.startswith("cmu_02_01_walk  ")
    ] == ["0", "1"]
    with pytest.raises(InputError, match="1 episodes, so episode=3"):
        main([f"archive={archive}", "episode=3", f"output={tmp_path}"])


def test_the_command_rolls_a_policy_out(clip, tmp_path, capsys):
    cfg = load_config("fullbody", (), motion=str(clip), num_envs=1, device="cpu", backend="mujoco", threads=1)
    env = make_env(cfg)
    policy = make_policy(cfg.policy, env, cfg.exploration)
    facts = {"config": config_to_dict(cfg), "policy_spec": policy.spec, "task": cfg.task}
    save_checkpoint(tmp_path / "policy.pt", {"policy": policy.state_dict(), **facts})
    env.close()
    words = [f"checkpoint={tmp_path / 'policy.pt'}", "seeds=2", "device=cpu", "threads=1", "synergies=0"]
    assert script("tools/analyze.py").main([*words, f"output={tmp_path / 'out'}"]) == 0
    shown = capsys.readouterr().out
    first, second = (read_archive(tmp_path / "out" / f"rollouts{name}.npz") for name in ("", "_seed1"))
    frames = min(len(one.episodes[0].qpos) for one in (first, second))
    assert frames > 5 and not np.array_equal(first.episodes[0].qpos[:frames], second.episodes[0].qpos[:frames])
    assert "walk" in shown and (tmp_path / "out" / "report.html").is_file()


def walking_archive(path: Path, body) -> np.ndarray:
    """Return an exactly tracked walk whose right soleus follows the stride, and right strikes (N,) [s]."""
    whole = load_motion(data_file(CLIP), body)[0]
    qpos = whole.qpos.astype(float)
    strikes = gait_of(body, qpos, whole.frequency).contacts["r"].starts
    phase = (np.arange(len(qpos)) / whole.frequency - strikes[0]) / np.diff(strikes)[0]
    env = make_env("bimanual", embodiment="fullbody", num_envs=1, device="cpu", backend="mujoco", threads=1,
                   motion=data_file(CLIP).as_posix())  # fmt: skip
    recorder = ArchiveRecorder(env)
    evaluate(env, Acting(lambda observation: torch.zeros(1, env.action_size)), callbacks=[recorder])
    env.close()
    made = recorder.archive()
    one, frames = made.episodes[0], len(qpos) - 1
    rows = {f.name: getattr(one, f.name) for f in dataclasses.fields(one)}
    for name in ("qvel", "activation", "excitation", "muscle_force", "touch", "joint_force", "sensor_force"):
        rows[name] = np.zeros((frames, rows[name].shape[1]))
    rows |= {"qpos": qpos[:frames], "reference": qpos, "reward": np.zeros(frames)}
    rows |= {"reference_step": np.arange(1, frames + 1)}
    soleus = 0.1 + 0.8 * np.exp(-((((phase[:frames] % 1.0) - 0.45) / 0.1) ** 2))
    rows["activation"][:, body.actuator_names.index("soleus_r")] = soleus
    write_archive(path, dataclasses.replace(made, episodes=(dataclasses.replace(one, **rows),)))
    return strikes


def test_emg_of_other_strides_is_compared_with_a_policy(tmp_path, body, capsys):
    """The subject strides slower than the policy, but the soleus agrees over the cycle."""
    assert len(walking_archive(tmp_path / "rollouts.npz", body)) == 2
    time = np.arange(0, 8, 0.001)
    emg = 0.1 + 0.8 * np.exp(-((((((time - 0.5) / 1.3) % 1.0) - 0.45) / 0.1) ** 2))
    rows = "\n".join(f"{t:.3f},{value:.5f}" for t, value in zip(time, emg, strict=True))
    (tmp_path / "emg.csv").write_text(f"time,soleus\n{rows}\n")
    (tmp_path / "steps.csv").write_text("touchdown_s\n" + "\n".join(str(0.5 + 1.3 * i) for i in range(6)))
    words = [f"emg={tmp_path / 'emg.csv'}", f"cycles={tmp_path / 'steps.csv'}", f"against={tmp_path / 'rollouts.npz'}"]
    assert script("tools/emg.py").main([*words, f"output={tmp_path}"]) == 0
    row = next(line for line in capsys.readouterr().out.splitlines() if line.startswith("soleus_r")).split()
    assert float(row[1]) == 45 and float(row[3]) <= 1 and float(row[4]) > 0.99 and abs(float(row[6])) <= 1
