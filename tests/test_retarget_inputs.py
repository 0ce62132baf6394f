"""Trajectory files, data sets of the hub, treadmills."""

import dataclasses
import os
import subprocess
import sys
import threading
from functools import partial
from http.server import ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import data_file
from test_import_checkpoint import Hub
from test_retargeting_readers import error_message

from muscle_torch.embodiments import make_embodiment
from muscle_torch.motion import MotionClip, generate, load_motion
from muscle_torch.retargeting import ReadOptions, Retargeter, read_motion
from muscle_torch.retargeting.raw import RawMotion, check
from muscle_torch.retargeting.run import find_jobs
from muscle_torch.retargeting.treadmill import belt_velocity
from muscle_torch.tools.retarget import main

TOOL = Path(__file__).parents[1] / "tools" / "retarget.py"


@pytest.fixture(scope="module")
def arms() -> Retargeter:
    torch.set_num_threads(1)
    return Retargeter("bimanual")


@pytest.fixture
def wave(tmp_path) -> Path:
    """A clip of the arms, as a file of an older version of the body."""
    (clip,) = generate("wave", make_embodiment("bimanual"))
    return dataclasses.replace(clip, model_version="1.0.5").save(tmp_path / "in" / "wave.npz")


def test_clips_of_another_body_version_are_converted_exactly(arms, wave):
    original, made = MotionClip.load(wave), arms(read_motion(wave)).clip
    assert made.model_version == arms.embodiment.model_version != original.model_version
    for name in ("shoulder_elv_r", "elbow_flex_r"):
        column = original.joint_names.index(name)
        away = np.abs(made.qpos[:, column] - original.qpos[: made.num_frames, column])
        assert np.median(away) < 0.05 and np.ptp(original.qpos[:, column]) > 0.2


def test_a_trajectory_file_of_two_motions_is_two_clips(tmp_path):
    source = data_file("oracle/fullbody_traj.npz")
    assert [(job.name, job.part) for job in find_jobs(str(source))] == [("fullbody_traj_0", 0), ("fullbody_traj_1", 1)]
    assert main([f"input={source}", f"output={tmp_path}", "figures=false"]) == 0
    first, second = load_motion(str(tmp_path), make_embodiment("fullbody"))
    assert (first.num_frames, second.num_frames) == (200, 150)


def test_a_damaged_trajectory_file_is_reported(wave):
    wave.write_bytes(wave.read_bytes()[:-200])
    assert "damaged" in error_message(wave) or "incomplete" in error_message(wave)


def test_clips_keep_their_landmarks(arms, wave, tmp_path):
    """Landmarks are at the body's joints within the fitting error."""
    result = arms(read_motion(wave))
    stored = MotionClip.load(result.clip.save(tmp_path / "x.npz"))
    assert stored.landmarks is not None and stored.landmarks.shape == (stored.num_frames, 8, 3)
    np.testing.assert_array_equal(stored.landmarks, result.targets.positions.astype(np.float32))
    assert "left_wrist" in stored.landmark_names


def test_a_treadmill_becomes_the_ground():
    """The recorded pelvis stays within centimetres; undone, the stance foot stays and the pelvis goes on at 1 m/s."""
    raw = read_motion(data_file("data/opensim_models_gait_subject01/subject01_walk1_ik.mot"))
    assert "treadmill" in raw.notes[0]
    speed = (raw.positions["pelvis"][-1, 0] - raw.positions["pelvis"][0, 0]) / raw.duration
    assert 0.9 < speed < 1.5
    again = check(dataclasses.replace(raw, notes=()))
    assert again.notes == ()  # over ground nothing is added
    np.testing.assert_array_equal(again.positions["pelvis"], raw.positions["pelvis"])


class DatasetHub(Hub):
    def do_GET(self):
        self.path = self.path.replace("/api/datasets/", "/api/models/")
        super().do_GET()

    do_HEAD = do_GET


def test_data_sets_of_the_hub(wave, tmp_path):
    pytest.importorskip("huggingface_hub", reason="pip install 'muscle_torch[hub]'")
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(DatasetHub, wave.parent))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    changes = {"HF_HOME": str(tmp_path / "hub"), "HF_ENDPOINT": f"http://127.0.0.1:{server.server_port}"}
    changes |= {"HF_HUB_DISABLE_XET": "1", "HF_HUB_DISABLE_PROGRESS_BARS": "1", "no_proxy": "127.0.0.1"}

    def retarget(source: str) -> subprocess.CompletedProcess[str]:
        words = [f"input={source}", f"output={tmp_path / 'out'}", "embodiment=bimanual", "figures=false"]
        environment = {**os.environ, **changes}
        return subprocess.run([sys.executable, str(TOOL), *words], capture_output=True, text=True, env=environment)

    try:
        done = retarget("hf://me/open")
        assert done.returncode == 0 and "1 passed" in done.stdout, done.stderr
        assert (tmp_path / "out" / "wave.npz").is_file()
        gated = retarget("hf://me/gated")
        assert gated.returncode == 2 and gated.stderr.count("\n") == 1, gated.stderr
        assert "accept its terms at https://huggingface.co/datasets/me/gated" in gated.stderr
    finally:
        server.shutdown()


def runner(speed: float, rate: float = 100.0, stance: float = 0.35) -> RawMotion:
    """A person who runs in place on a belt that moves at `speed` [m/s] along -x, 0.7 s a stride.

    Each toe rests on the belt for `stance` of the stride, slows by 20 % as it rolls off in the last 40 % of it, and
    swings forward 0.2 m high; between two stances the body flies.
    """
    time = np.arange(int(4 * rate)) / rate
    positions = {}
    for side, shift in (("left", 0.0), ("right", 0.5)):
        phase = (time / 0.7 + shift) % 1.0
        rolling = np.clip((phase - 0.6 * stance) / (0.4 * stance), 0.0, 1.0)
        back = speed * 0.7 * (np.minimum(phase, stance) - 0.2 * 0.4 * stance * rolling**2 / 2)
        swing = np.clip((phase - stance) / (1 - stance), 0.0, 1.0)
        reach = speed * 0.7 * stance * (1 - 0.04)
        x = reach / 2 - back + reach * (3 * swing**2 - 2 * swing**3)
        z = 0.04 + 0.03 * rolling**2 * (swing == 0) + (0.03 * (1 - swing) + 0.2 * np.sin(np.pi * swing)) * (swing > 0)
        lateral = 0.09 if side == "left" else -0.09
        for joint, offset in (
            ("hip", (0, 0, 0.82)),
            ("knee", (0, 0, 0.4)),
            ("ankle", (-0.13, 0, 0.05)),
            ("toe", (0, 0, 0)),
        ):
            moves = 1.0 if joint in ("ankle", "toe") else 0.0
            positions[f"{side}_{joint}"] = np.stack((moves * x, 0 * x + lateral, moves * z), axis=1) + offset
    positions["pelvis"] = (positions["left_hip"] + positions["right_hip"]) / 2
    return RawMotion("runner", rate, positions)


@pytest.mark.parametrize("speed", [1.2, 2.5, 3.6, 5.0])
def test_a_treadmill_run_gets_the_speed_of_its_belt(speed):
    """Within 2 %, though the feet touch the belt in 70 % of the time at most and roll off it."""
    raw = runner(speed)
    belt = belt_velocity([raw.positions["left_toe"], raw.positions["right_toe"]], raw.rate)
    np.testing.assert_allclose(belt, [-speed, 0.0], atol=0.02 * speed)
    moved = check(raw)
    (note,) = moved.notes
    assert f"treadmill speed of {-belt[0]:.2f} m/s" in note
    way = moved.positions["pelvis"][-1] - moved.positions["pelvis"][0]
    assert way[0] / moved.duration == pytest.approx(speed, rel=0.02)


def test_a_person_who_jogs_in_place_gets_no_treadmill():
    raw = runner(0.0)
    assert check(raw).notes == ()


def test_a_real_treadmill_run_gets_the_speed_of_its_belt():
    """3.85 m/s: what the markers of heel and outer and inner forefoot of both feet share in their stances."""
    path = data_file("data/opensim_models_rajagopal_run/motion_capture_run.trc")
    standing = data_file("data/opensim_models_rajagopal_run/static_run.trc")
    raw = read_motion(path, ReadOptions(static=str(standing)))
    way = np.linalg.norm((raw.positions["pelvis"][-1] - raw.positions["pelvis"][0])[:2])
    assert way / raw.duration == pytest.approx(3.85, rel=0.02)
