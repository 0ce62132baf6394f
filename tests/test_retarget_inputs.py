"""Trajectory files, data sets of the hub, treadmills: what comes in otherwise than as a plain recording."""

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
from test_retargeting_readers import complaint

from muscle_torch.embodiments import make_embodiment
from muscle_torch.motion import MotionClip, generate, load_motion
from muscle_torch.retargeting import Retargeter, read_motion
from muscle_torch.retargeting.raw import check
from muscle_torch.retargeting.run import find_jobs
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


def test_a_clip_of_another_version_comes_back_as_it_was(arms, wave):
    given, made = MotionClip.load(wave), arms(read_motion(wave)).clip
    assert made.model_version == arms.embodiment.model_version != given.model_version
    for name in ("shoulder_elv_r", "elbow_flex_r"):
        column = given.joint_names.index(name)
        away = np.abs(made.qpos[:, column] - given.qpos[: made.num_frames, column])
        assert np.median(away) < 0.05 and np.ptp(given.qpos[:, column]) > 0.2


def test_a_trajectory_file_of_two_motions_is_two_clips(tmp_path):
    source = data_file("oracle/fullbody_traj.npz")
    assert [(job.name, job.part) for job in find_jobs(str(source))] == [("fullbody_traj_0", 0), ("fullbody_traj_1", 1)]
    assert main([f"input={source}", f"output={tmp_path}", "figures=false"]) == 0
    first, second = load_motion(str(tmp_path), make_embodiment("fullbody"))
    assert (first.num_frames, second.num_frames) == (200, 150)


def test_a_damaged_trajectory_file_is_told(wave):
    wave.write_bytes(wave.read_bytes()[:-200])
    assert "damaged" in complaint(wave) or "only a part" in complaint(wave)


def test_clips_keep_their_landmarks(arms, wave, tmp_path):
    """Where the landmarks are is where the body's own joints are, as far as the fit reaches."""
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
