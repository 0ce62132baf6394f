"""DAgger: a network clones muscle control on the toy arm, resumes exactly, and runs without its teacher."""

import json
import subprocess
import sys

import numpy as np
import pytest
import torch
from commands import ROOT, train
from test_rl import without_times

from muscle_torch.config import load_config
from muscle_torch.control import MuscleController
from muscle_torch.embodiments import make_embodiment
from muscle_torch.envs import make_env
from muscle_torch.errors import InputError
from muscle_torch.evaluation import PolicyController, evaluate
from muscle_torch.models import make_policy
from muscle_torch.motion import MotionClip
from muscle_torch.rl import Trainer
from muscle_torch.rl.labelled_states import LabelledStates
from muscle_torch.storage.checkpoint import load_checkpoint
from muscle_torch.tools.teaching import make_teacher

ROUND = 8 * 16  # environments, control steps
CASE = {"num_envs": 8, "threads": 1, "device": "cpu", "actions": "activations", "policy": {"hidden": [64, 64]}}
SMALL = {"num_steps": 16, "gradient_steps": 10, "batch": 64, "capacity": 2 * ROUND}


def make_trainer(folder, updates: int = 0, dagger: dict | None = None, teacher=None, **changes) -> Trainer:
    settings = CASE | {"max_iterations": updates, "dagger": SMALL | (dagger or {}), "stages": ["dagger"]} | changes
    cfg = load_config("toy_arm", **settings)
    torch.manual_seed(cfg.seed)
    (folder / "checkpoints").mkdir(parents=True, exist_ok=True)
    env = make_env(cfg)
    policy = make_policy(cfg.policy, env, cfg.exploration)
    return Trainer(env, policy, cfg, folder, teacher=teacher or MuscleController())


def test_the_newest_samples_replace_the_oldest():
    states = LabelledStates(3, 2, 1, 1, torch.device("cpu"))
    for step in range(5):
        states.add(torch.tensor([[step], [10.0 + step]]), torch.tensor([[-step], [-10.0 - step]]))
    assert len(states) == 6
    observation, label = states.newest(3)
    assert sorted(observation.flatten().tolist()) == [2, 3, 4, 12, 13, 14]
    assert torch.equal(label, -observation)
    assert sorted(states.newest(1)[0].flatten().tolist()) == [4, 14]
    drawn, labels = states.draw(200)
    assert set(drawn.flatten().tolist()) == {2, 3, 4, 12, 13, 14} and torch.equal(labels, -drawn)
    other = LabelledStates(3, 2, 1, 1, torch.device("cpu"))
    other.load_state(states.state())
    for one in (states, other):
        one.add(torch.tensor([[5.0], [15.0]]), torch.zeros(2, 1))
    assert torch.equal(states.newest(3)[0], other.newest(3)[0])


@pytest.mark.parametrize("interrupted_after", [1, 3, 4])
def test_a_run_resumes_exactly_in_the_middle_of_a_stage_and_between(tmp_path, interrupted_after):
    """The data set is full after two rounds, so that resume also restores where it is overwritten."""
    settings = {"stages": ["dagger", "ppo"], "stage_steps": [4 * ROUND, 2 * ROUND], "ppo": {"num_steps": 16}}
    settings |= {"dagger": {"teacher_share": 0.5, "fade": 1.0, "noise": 0.05}}
    whole = make_trainer(tmp_path / "whole", **settings)
    straight = [without_times(whole.iteration()) for _ in range(6)]
    assert ["dagger/loss" in row for row in straight] == [True] * 4 + [False] * 2
    first = make_trainer(tmp_path / "parts", **settings)
    for _ in range(interrupted_after):
        first.iteration()
    first.save({})
    torch.randn(100)
    second = make_trainer(tmp_path / "parts", **settings)
    second.load_state(load_checkpoint(tmp_path / "parts"))
    for row in straight[interrupted_after:]:
        np.testing.assert_equal(without_times(second.iteration()), row)
    for (name, a), b in zip(whole.policy.state_dict().items(), second.policy.state_dict().values(), strict=True):
        assert torch.equal(a, b), name


def test_the_student_becomes_as_good_as_its_teacher(tmp_path):
    options = {"gradient_steps": 60, "capacity": 40 * ROUND, "fade": 0.5, "learning_rate": 3e-3}
    trainer = make_trainer(tmp_path, 20, options)
    rows = [trainer.iteration() for _ in range(20)]
    shares = [row["dagger/teacher_share"] for row in rows]
    assert shares[0] == 1.0 and shares[-1] == 0.0 and sorted(shares, reverse=True) == shares
    assert rows[0]["dagger/r2"] < 0.5 < 0.9 < np.mean([row["dagger/r2"] for row in rows[-5:]])
    assert rows[-1]["dagger/samples"] == 20 * ROUND
    env = make_env(trainer.cfg, evaluation=True)
    error = {
        name: evaluate(env, controller)["err_site_abs"]
        for name, controller in {
            "teacher": MuscleController(),
            "student": PolicyController(trainer.policy),
            "untrained": PolicyController(trainer.untrained_policy()),
        }.items()
    }
    assert error["student"] < error["teacher"] + 0.1 * (error["untrained"] - error["teacher"]), error


def test_the_driver_acts_and_the_teacher_labels(tmp_path):
    class Constant:
        def begin(self, env, worlds):
            pass

        def act(self, env):
            return torch.full((env.num_envs, env.action_size), 0.25)

    for share, driver in ((1.0, "teacher"), (0.0, "student")):
        options = {"teacher_share": share, "noise": 0.0}
        trainer = make_trainer(tmp_path / driver, 4, options, teacher=Constant())
        actions, advance = [], trainer.env.advance
        trainer.env.advance = lambda action, actions=actions, advance=advance: actions.append(action) or advance(action)
        trainer.collect()
        observations, labels = trainer.algorithm.states.newest(16)
        assert torch.equal(labels, torch.full_like(labels, 0.25)) and len(observations) == ROUND
        acted = torch.stack(actions[-16:])
        assert bool((acted == 0.25).all()) == (driver == "teacher")
        assert bool((acted.abs() < 0.1).all()) == (driver == "student")  # an untrained network


# What cannot be taught


def shaking(tmp_path) -> str:
    """Save a motion that swings by 1 rad five times per second: more than the arm's muscles can do."""
    body = make_embodiment("toy_arm")
    time = np.arange(100) / body.control_frequency
    clip = MotionClip(
        "shaking",
        (0.8 + 0.8 * np.sin(2 * np.pi * 6 * time))[:, None],
        body.control_frequency,
        body.joint_names,
        body.name,
        body.model_version,
    )
    path = tmp_path / "shaking.npz"
    clip.save(path)
    return str(path)


def test_a_motion_that_the_teacher_loses_is_left_out_with_its_reason(tmp_path):
    built_in = make_env("toy_arm", **CASE).goal.library.names[0]
    settings = {"stages": ["dagger"], "max_iterations": 1, "motion": [built_in, shaking(tmp_path)]}
    cfg = load_config("toy_arm", **CASE, **settings)
    env, lines = make_env(cfg), []
    assert isinstance(make_teacher(cfg, env, False, lines.append), MuscleController)
    assert len(lines) == 1 and lines[0].startswith("shaking: left out, because muscle_control loses it after ")
    assert set(env.goal.draw(200)[0].tolist()) == {0}
    resumed = make_env(cfg)
    resumed.load_snapshot(env.snapshot())
    resumed.goal.set_group_weights(torch.ones(2))  # as adaptive sampling does
    assert set(resumed.goal.draw(200)[0].tolist()) == {0}
    with pytest.raises(InputError, match="muscle_control follows none of the motions"):
        make_teacher(load_config("toy_arm", **CASE, **settings | {"motion": shaking(tmp_path)}), _only(tmp_path), False)


def _only(tmp_path):
    return make_env("toy_arm", **CASE, motion=shaking(tmp_path))


@pytest.mark.parametrize(
    ("task", "settings", "problem"),
    [
        ("toy_reach", {}, "the teacher needs motions to follow"),
        ("toy_arm", {"dagger": {"teacher": "muscle_contol"}}, "'muscle_control'"),
        ("toy_arm", {"partner": "runs/x"}, "leave partner= out"),
    ],
)
def test_teachers_that_cannot_teach_are_one_line(task, settings, problem):
    cfg = load_config(task, stages=["dagger"], **CASE, **settings)
    env = make_env(load_config(task, **CASE))
    with pytest.raises(InputError, match=problem) as caught:
        make_teacher(cfg, env, False)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("options", "problem"),
    [({"batch": 0}, "dagger.batch=0"), ({"fade": 2.0}, "dagger.fade=2.0"), ({"noise": -1.0}, "dagger.noise=-1.0")],
)
def test_options_out_of_range_are_one_line(tmp_path, options, problem):
    with pytest.raises(InputError, match=problem):
        make_trainer(tmp_path, 1, options)


def test_dagger_without_a_teacher_is_one_line():
    cfg = load_config("toy_arm", **CASE, stages=["dagger"], max_iterations=1)
    env = make_env(cfg)
    with pytest.raises(InputError, match="dagger needs a teacher"):
        Trainer(env, make_policy(cfg.policy, env, cfg.exploration), cfg, None)


@pytest.mark.slow
def test_a_trained_student_evaluates_without_muscle_control(tmp_path):
    words = ["task=toy_arm", "stages=[dagger,ppo]", "actions=[activations]", "num_envs=8", "threads=1", "device=cpu"]
    words += ["max_iterations=4", "policy.hidden=[32]", "dagger.num_steps=16", "dagger.gradient_steps=5"]
    words += ["ppo.num_steps=16", "evaluate=false", "experiment=a"]
    done = train(*words, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    rows = [json.loads(line) for line in (tmp_path / "runs" / "a" / "metrics.jsonl").read_text().splitlines()]
    assert ["dagger/r2" in row for row in rows] == [True, True, False, False]
    code = (
        "import sys; sys.modules['muscle_torch.control'] = None\n"
        f"sys.path.insert(0, {str(ROOT / 'tools')!r})\n"
        "import evaluate\n"
        "sys.exit(evaluate.main(['checkpoint=runs/a', 'threads=1', 'device=cpu', 'output=x.json']))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert json.loads((tmp_path / "x.json").read_text())["frame_coverage"] > 0
