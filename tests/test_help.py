"""Help texts, lists, equivalent spellings of options, and repr."""

import subprocess
import sys

import numpy as np
import pytest
import torch
from commands import ROOT, script
from env_cases import CPU, clip, small_env

from muscle_torch.config import Config, load_config, parse_words
from muscle_torch.config.command import IMPORTANT
from muscle_torch.config.words import nested, plain_words
from muscle_torch.embodiments import make_embodiment
from muscle_torch.envs import make_env
from muscle_torch.envs.muscle_randomization import MuscleRandomization
from muscle_torch.errors import InputError

PROGRAMS = sorted(
    path.relative_to(ROOT).as_posix() for path in (ROOT / "tools").rglob("*.py") if path.name != "__init__.py"
)


def shell(path: str, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, str(ROOT / path), *words], capture_output=True, text=True, timeout=120, check=False
    )


def values_of(text: str) -> dict[str, str]:
    """Return the values by key of a help text."""
    lines = [line.strip() for line in text.splitlines() if line.startswith("  ") and "=" in line.split("  ")[1]]
    return dict(line.split("  ")[0].split("=", 1) for line in lines)


@pytest.mark.parametrize(("words", "task"), [((), "bimanual"), (("--task=toy_arm",), "toy_arm")])
def test_help_shows_what_the_task_uses_and_what_can_be_chosen(words, task):
    done = shell("train.py", *words, "--help")
    assert done.returncode == 0, done.stderr
    cfg, shown = load_config(task), values_of(done.stdout)
    expected = (task, str(cfg.num_envs), str(cfg.total_steps), str(cfg.ppo.gamma))
    assert tuple(shown[key] for key in ("task", "num_envs", "total_steps", "ppo.gamma")) == expected
    assert shown["policy"].split(" ")[0] == cfg.policy.name
    names = [line.strip().split("=")[0] for line in done.stdout.splitlines() if line.startswith("  ") and "=" in line]
    assert names[: names.index("policy")] == list(IMPORTANT[: IMPORTANT.index("policy")])
    choices = done.stdout.split("Choices for")[1]
    for word in (
        *("bimanual fullbody legs", "mouse_reach", "toy_arm toy_exo toy_reach"),
        *("paper", "release"),
        "mean_site_deviation",
        "qpos",
        "joint_pos",
    ):
        assert word in choices, word
    groups, motion = ("elbow forearm", "wave") if task == "bimanual" else ("all", "swing")
    assert groups in choices and f"motions of {task}: all" in choices and motion in choices


def test_list_prints_every_registry():
    text = shell("train.py", "--list").stdout
    expected = {
        "tasks": "toy_reach", "presets": "release", "policy": "gated_residual", "stages": "cem", "exploration": "tanh",
        "goal": "target", "motions of fullbody": "walk", "observations of goal motion": "muscle_length_error",
        "rewards of goal target": "target", "terminations of goal motion": "root_height", "penalties": "action_rate",
        "muscle groups of fullbody": "lower_limb", "controllers": "zero", "embodiment": "toy_arm", "actions": "motors",
    }  # fmt: skip
    for heading, word in expected.items():
        start = text.index(f"  {heading}")
        assert word in text[start : start + 2500], heading


def test_three_forms_of_a_word_are_one():
    words = ["--num-envs", "8", "--seed=3", "total_steps=5", "--capture_video", "--ppo.epochs", "2", "--headless"]
    plain = ["num_envs=8", "seed=3", "total_steps=5", "capture_video=true", "ppo.epochs=2", "headless=true"]
    assert plain_words(words) == plain and plain_words(plain) == plain
    assert load_config("toy_arm", words) == load_config("toy_arm", plain)
    assert plain_words(["--device", "cuda:0", "--physics.timestep", "-0.1"]) == [
        "device=cuda:0",
        "physics.timestep=-0.1",
    ]
    options = script("tools/evaluate.py").EvaluateOptions
    assert parse_words(options, ["--checkpoint", "runs/a", "--seeds=2"]) == parse_words(
        options, ["checkpoint=runs/a", "seeds=2"]
    )
    done = shell("train.py", "--task", "toy_arm", "--sed", "3")
    assert done.returncode == 2 and "did you mean 'seed'" in done.stderr
    assert shell("train.py", "--version").stdout.startswith("muscle_torch ")


@pytest.mark.slow  # a process for each
@pytest.mark.parametrize("path", PROGRAMS)
def test_no_file_of_tools_has_an_empty_help(path):
    done = shell(path, "--help")
    assert done.returncode == 0 and len(done.stdout.split()) > 10, done.stderr
    if "This file is a library" in done.stdout:
        named = done.stdout.rsplit("`python ", 1)[1].split()[0]
        assert named in ("train.py", *PROGRAMS) and "is a library" not in shell(named, "--help").stdout


def test_dotted_keys_from_python():
    cfg = load_config(
        "toy_arm", **{"env.horizon": 7, "policy": "mlp", "policy.hidden": [8], "ppo": {"epochs": 3}, "ppo.clip": 0.1}
    )
    assert (cfg.env.horizon, cfg.policy.name, cfg.policy.options.hidden) == (7, "mlp", [8])
    assert (cfg.ppo.epochs, cfg.ppo.clip) == (3, 0.1)
    mixed = nested({"actions": ["muscles", "motors"], "actions.motors.limit": 0.5})
    assert mixed == {"actions": {"names": ["muscles", "motors"], "motors": {"limit": 0.5}}}
    env = make_env("toy_arm", 1, **CPU, **{"env.horizon": 7, "actions.muscles.mapping": "half"})
    assert env.config.env.horizon == 7 and env.config.actions[0].options.mapping == "half"
    env.close()
    with pytest.raises(InputError, match="horizon"):
        make_env("toy_arm", 1, **CPU, **{"env.horizn": 7})


def test_one_number_is_a_list_of_one():
    for word in ("policy.hidden=256", "policy.hidden=[256]"):
        assert load_config("toy_arm", [word]).policy.options.hidden == [256]
    cfg = load_config("toy_arm", ["policy=moe", "policy.mixture.layers=0", "stages=ppo", "stage_steps=500"])
    assert (cfg.policy.options.mixture.layers, cfg.stages, cfg.stage_steps) == ([0], ["ppo"], [500])
    assert load_config("toy_arm", policy={"hidden": 16}).policy.options.hidden == [16]


def test_thresholds_of_a_root_need_one():
    for name in ("root_deviation", "root_orientation"):
        with pytest.raises(InputError, match="free root joint"):
            make_env("toy_arm", 1, **CPU, evaluation=True, evaluation_termination={name: 0.3})


def test_inputs_are_classified():
    env = small_env("toy_arm", 4)
    assert repr(env) == (
        "MuscleEnv(task=toy_arm, goal=motion, body=ToyArm, num_envs=4, observation_size=10, action_size=2, "
        "physics=MujocoPhysics on cpu)"
    )
    env.close()
    assert repr(clip(np.zeros(11))) == "MotionClip('clip' of ToyArm: 11 frames at 100 Hz, 1 joints)"


def test_the_imports_that_readme_names():
    from muscle_torch.physics import MujocoPhysics, WarpPhysics, make_physics

    physics = make_physics(make_embodiment("toy_arm").model, 1, device="cpu", backend="mujoco", threads=1)
    assert isinstance(physics, MujocoPhysics) and WarpPhysics.__name__ == "WarpPhysics"
    physics.close()


def test_randomization_by_name_weakens_one_muscle():
    arm = make_embodiment("bimanual")
    cfg = load_config("bimanual", ["randomization.strength.BIClong=[0.1,0.1]", "randomization.strength.elbow=[2,2]"])
    factor = MuscleRandomization(cfg.randomization, arm, 2, 0, middle=False).factors["strength"]
    expected = torch.ones(2, arm.model.nu, dtype=torch.float64)
    expected[:, arm.resolve("actuator", arm.groups["elbow"])] = 2.0
    expected[:, arm.actuator_names.index("BIClong")] *= 0.1
    torch.testing.assert_close(factor, expected)
    wrong = load_config("bimanual", ["randomization.strength.BIClon=[1,1]"])
    with pytest.raises(InputError, match="BIClong"):
        MuscleRandomization(wrong.randomization, arm, 2, 0, middle=False)
    assert isinstance(cfg, Config)
