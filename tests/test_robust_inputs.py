"""Inputs from user scripts: arrays, copies, other folders, a stale environment; progress output."""

import copy
import os
import pickle
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from commands import ROOT, script, train
from env_cases import CPU, actions, clip, saved, small_env

from muscle_torch.config import opengl
from muscle_torch.envs import VecTask, make_env
from muscle_torch.envs.faces.gymnasium_env import GymnasiumEnv
from muscle_torch.errors import InputError
from muscle_torch.models import load_policy
from muscle_torch.motion.load import absolute_paths
from muscle_torch.storage.checkpoint import load_checkpoint

TOY = ("task=toy_arm", "num_envs=4", "threads=1", "ppo.num_steps=8", "max_iterations=1", "device=cpu")


def test_numpy_and_float64_actions_act_as_tensors():
    results = []
    for convert in (
        lambda a: a,
        lambda a: a.numpy(),
        lambda a: a.double(),
        lambda a: a.double().numpy(),
        torch.Tensor.tolist,
    ):
        env = VecTask(small_env("toy_arm", 4, seed=1))
        env.reset()
        results.append(env.step(convert(actions(env.env, 1)[0]))[0])
        env.close()
    assert all(torch.equal(results[0], other) for other in results[1:])


@pytest.mark.parametrize("shape", [(3, 2), (4, 3), (2,), (4, 2, 1)])
def test_wrong_rows_are_a_one_line_error(shape):
    env = VecTask(small_env("toy_arm", 4))
    env.reset()
    with pytest.raises(InputError, match=r"actions have shape \(.*\), needed \(4, 2\)") as caught:
        env.step(np.zeros(shape))
    assert "\n" not in str(caught.value)
    env.close()


def test_seeds_of_other_integer_types_are_accepted():
    env = GymnasiumEnv(small_env("toy_arm", 4))
    first = env.reset(seed=True)[0]
    assert np.array_equal(first, env.reset(seed=np.int64(1))[0])
    env.close()


@pytest.mark.parametrize("evaluation", [False, True])
@pytest.mark.parametrize("copied", [copy.deepcopy, lambda env: pickle.loads(pickle.dumps(env))], ids=["copy", "pickle"])
def test_a_copied_environment_continues_identically_and_independently(copied, evaluation):
    """To the bit, resets and their random numbers included."""
    env = make_env("toy_arm", 2, **CPU, evaluation=evaluation, **{"env.horizon": 12})
    env.begin()
    sequence = actions(env, 40)
    for action in sequence[:10]:
        step = env.advance(action)
        env.restart(step.terminated | step.truncated)
    twin = copied(env)
    assert twin.config == env.config and twin.evaluation == evaluation and twin.physics is not env.physics
    for action in sequence[10:]:
        steps = [one.advance(action) for one in (env, twin)]
        assert torch.equal(steps[0].observation, steps[1].observation) and torch.equal(steps[0].reward, steps[1].reward)
        assert torch.equal(
            *(one.restart(step.terminated | step.truncated) for one, step in zip((env, twin), steps, strict=True))
        )
    env.close()
    twin.close()


@pytest.fixture(scope="module")
def home(tmp_path_factory) -> Path:
    """A folder with a motion and a run that learned from it by a relative path."""
    folder = tmp_path_factory.mktemp("home")
    saved(folder, clip(np.linspace(0.2, 1.2, 40)))
    done = train(*TOY, "motion=clip.npz", "experiment=rel", "evaluate=false", cwd=folder)
    assert done.returncode == 0, done.stderr
    return folder


def test_act_casts_its_input_and_reports_a_wrong_size(home):
    policy = load_policy(home / "runs" / "rel")
    observation = torch.randn(3, policy.policy.spec["observation_size"], dtype=torch.float64)
    expected = policy.act(observation.float())
    assert torch.equal(policy.act(observation), expected) and torch.equal(policy.act(observation.numpy()), expected)
    with pytest.raises(InputError, match=r"observations have shape \(3, 4\)"):
        policy.act(observation[:, :4])


def test_relative_motions_survive_another_folder(home, tmp_path):
    """Resumed, and evaluated, from elsewhere; the same file by another relative path is the same motion."""
    run = home / "runs" / "rel"
    assert load_checkpoint(run)["config"]["motion"] == [str(home / "clip.npz")]
    words = (f"resume={run}", "threads=1", "evaluate=false")
    for more in (("max_iterations=2",), ("max_iterations=3", f"motion={os.path.relpath(home / 'clip.npz', tmp_path)}")):
        done = train(*words, *more, cwd=tmp_path)
        assert done.returncode == 0, done.stderr
    assert load_checkpoint(run)["update"] == 3
    evaluated = subprocess.run(
        [sys.executable, str(ROOT / "tools/evaluate.py"), f"checkpoint={run}", "output=here.json"],
        cwd=tmp_path, capture_output=True, text=True, timeout=200, check=False,
    )  # fmt: skip
    assert evaluated.returncode == 0 and (tmp_path / "here.json").exists(), evaluated.stderr


def test_a_moved_motion_file_is_accepted_if_its_content_is_the_same(home, tmp_path):
    run, moved = home / "runs" / "rel", tmp_path / "moved.npz"
    moved.write_bytes((home / "clip.npz").read_bytes())
    other = saved(tmp_path, clip(np.linspace(0.2, 1.3, 40), "other"))[0]
    update = load_checkpoint(run)["update"]
    words = (f"resume={run}", "threads=1", "evaluate=false", f"max_iterations={update + 1}")
    refused = train(*words, f"motion={other}", cwd=tmp_path)
    assert refused.returncode == 2 and "other motions" in refused.stderr and len(refused.stderr.splitlines()) == 1
    done = train(*words, f"motion={moved}", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert load_checkpoint(run)["config"]["motion"] == [str(moved)]


def test_names_of_motions_stay_names(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "clips").mkdir()
    (tmp_path / "wave").mkdir()
    words = ["all", "wave", "walk", "clips", "*.npz", "a/b.npz", "/c.npz"]
    expected = ["all", "wave", "walk", *(str(tmp_path / name) for name in ("clips", "*.npz", "a/b.npz")), "/c.npz"]
    assert absolute_paths(words, "bimanual") == expected


def test_two_runs_of_one_second_have_two_folders(tmp_path):
    words = (*TOY, "evaluate=false", "runs_dir=both")
    command = [sys.executable, str(ROOT / "train.py"), *words]
    runs = [subprocess.Popen([*command, f"seed={seed}"], cwd=tmp_path, stdout=subprocess.DEVNULL) for seed in (1, 2, 3)]
    assert [run.wait(timeout=300) for run in runs] == [0, 0, 0]
    folders = sorted((tmp_path / "both").iterdir())
    seeds = sorted(load_checkpoint(folder)["config"]["seed"] for folder in folders)
    lines = [len((folder / "metrics.jsonl").read_text().splitlines()) for folder in folders]
    assert len(folders) == 3 and seeds == [1, 2, 3] and lines == [1, 1, 1]
    for folder in folders:
        assert f"seed: {load_checkpoint(folder)['config']['seed']}\n" in (folder / "config.yaml").read_text()


def test_the_folder_of_a_taken_second_gets_a_number(tmp_path):
    from muscle_torch.config import load_config
    from muscle_torch.storage.run_folder import create_run_folder

    cfg = load_config("toy_arm")
    made = [create_run_folder(cfg, tmp_path / "toy_arm_now").name for _ in range(3)]
    assert made == ["toy_arm_now", "toy_arm_now_2", "toy_arm_now_3"]


def test_a_waiting_rank_reports_the_reason_and_handles_sigterm(tmp_path):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    for rank, waits in ((0, 1), (1, 0)):
        stale = {"RANK": str(rank), "WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
        command = [sys.executable, "-u", str(ROOT / "train.py"), *TOY]
        run = subprocess.Popen(command, cwd=tmp_path, env=os.environ | stale, stderr=subprocess.PIPE, text=True)
        line = run.stderr.readline()
        while line and "waits at" not in line:
            line = run.stderr.readline()
        assert f"process {rank} of 2 waits at 127.0.0.1:{port} for process {waits}" in line and "unset them" in line
        begin = time.monotonic()
        run.send_signal(signal.SIGTERM)
        assert run.wait(timeout=60) == 75 and time.monotonic() - begin < 30
    assert not (tmp_path / "runs").exists()


def test_a_missing_osmesa_is_a_one_line_error(monkeypatch, capsys):
    monkeypatch.setenv("MUJOCO_GL", "osmesa")
    monkeypatch.setattr(opengl, "LIBRARY", "NoSuchLibrary")
    with pytest.raises(InputError, match=r"apt-get install libosmesa6.*MUJOCO_GL=osmesa") as caught:
        opengl.check_opengl()
    assert "\n" not in str(caught.value)
    monkeypatch.setattr(opengl, "LIBRARY", "c")  # there on every Linux
    opengl.check_opengl()


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="OSMesa is for Linux")
def test_errors_are_messages_instead_of_tracebacks(tmp_path):
    code = f"""
import runpy, sys
from muscle_torch.config import opengl
opengl.LIBRARY = "NoSuchLibrary"
sys.argv = ["render.py", "task=toy_arm", "motion=swing", r"output={tmp_path / "a.mp4"}"]
runpy.run_path(r"{ROOT / "tools" / "render.py"}", run_name="__main__")
"""
    environment = os.environ | {"MUJOCO_GL": "osmesa"}
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, timeout=100, check=False
    )
    assert done.returncode == 2 and len(done.stderr.splitlines()) == 1 and "libosmesa6" in done.stderr


# Work is shown


def test_a_run_prints_its_progress_and_the_next_steps(tmp_path):
    done = train(*TOY, "experiment=shown", "validation_interval=1", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    for expected in (
        "validating after 32 steps: 2 clips",
        "evaluating untrained: 2 clips",
        "evaluating trained: 2 clips",
    ):
        assert expected in lines, expected
    assert "evaluating zero excitation: 2 clips" in lines
    play, render = lines[-2:]
    for line, name in ((play, "play"), (render, "render")):
        words = line.split("#")[0].split()
        assert words[0] == "python" and (tmp_path / words[1]).resolve() == (ROOT / "tools" / f"{name}.py").resolve()
        assert words[2] == "checkpoint=runs/shown"
    options = script("tools/render.py").RenderOptions
    from muscle_torch.config import parse_words

    assert parse_words(options, render.split("#")[0].split()[2:]).output == "shown.mp4"


def test_the_bar_counts_every_control_step():
    from muscle_torch.evaluation import ZeroController, evaluate
    from muscle_torch.evaluation.progress import ProgressBar

    env = small_env("toy_arm", 1, evaluation=True)  # two clips of 501 frames, one after the other
    counted = []
    with ProgressBar(env, "evaluating") as bar:
        bar._bar.update = lambda: counted.append(1)
        evaluate(env, ZeroController(), callbacks=[bar])
    assert len(counted) == bar._bar.total == 1000
    env.close()
