"""Task mouse_reach: the published observation, rewards by hand, costs, action maps, clips held out from training."""

import json
import math
from typing import Any

import pytest
import torch
from commands import script
from conftest import data_file

from muscle_torch.config import load_config
from muscle_torch.envs import make_env
from muscle_torch.envs.rewards import PENALTIES
from muscle_torch.errors import InputError
from muscle_torch.models import load_policy
from muscle_torch.models.intention import IntentionPolicy

SIZES: dict[str, Any] = {"num_envs": 3, "device": "cpu", "threads": 1}
FOLDER = "data/mouse_forelimb"


def published(**overrides):
    path = str(data_file(f"{FOLDER}/mouse_arm_no_meshes.xml"))
    motion = f"{data_file(FOLDER)}/*.npz"
    return make_env("mouse_reach", **SIZES, motion=motion, embodiment={"path": path}, **overrides)


@pytest.fixture(scope="module")
def env():
    made = make_env("mouse_reach", **SIZES, preset="mouse_paper")
    yield made
    made.close()


def off_reference(env, error: float):
    """The state with every joint so far from the reference [rad], at rest."""
    env.begin()
    qpos = env.state().reference.qpos + error
    everyone = torch.ones(env.num_envs, dtype=torch.bool)
    env.physics.reset(everyone, qpos, torch.zeros_like(qpos))
    return env.state()


@pytest.mark.parametrize("preset", ["mouse_paper", "mouse_branch"])
def test_the_published_observation_has_28_numbers_and_19_without_the_zeros(preset):
    env = make_env("mouse_reach", **SIZES, preset=preset)
    sizes = {name: columns.stop - columns.start for name, columns in env.observation_layout.items()}
    expected = {"next_joint_error": 4, "joint_pos": 4, "joint_vel": 4, "joint_torque": 4, "last_site": 3, "zeros": 9}
    assert env.observation_size == 28 and sizes == expected
    observation = env.begin()
    step = env.advance(torch.full((3, 9), 0.5))
    for one in (observation, step.observation):
        assert (one[:, env.observation_layout["zeros"]] == 0).all()
    state, layout = env.state(), env.observation_layout
    torque = env.physics.field("qfrc_actuator")
    assert torque.abs().min() > 0 and torch.equal(step.observation[:, layout["joint_torque"]], torque)
    ahead = env.goal.library.qpos[env.goal._row + 1] - state.qpos
    torch.testing.assert_close(step.observation[:, layout["next_joint_error"]], ahead)
    wrist = env.physics.field("site_xpos")[:, int(env.embodiment.site_ids[-1])]
    assert torch.equal(step.observation[:, layout["last_site"]], wrist)
    env.close()
    short = make_env("mouse_reach", **SIZES, preset=preset, observation={"profile": "mouse_19"})
    assert short.observation_size == 19 and "zeros" not in short.observation_layout
    short.close()


@pytest.mark.parametrize(("error", "expected"), [(0.0, 5.0), (0.5, 5 * math.exp(-0.2)), (0.1, 5 * math.exp(-0.008))])
def test_the_joint_reward_by_hand(env, error, expected):
    """5 exp(-0.2 * 4 error^2): 5.0 on the reference, 4.094 at 0.5 rad."""
    reward, _ = env.reward(off_reference(env, error))
    torch.testing.assert_close(reward, torch.full((3,), expected), rtol=1e-5, atol=0)


def test_costs_by_hand(env):
    command = torch.tensor([[1.0] * 9, [-0.5] * 9, [0.0] * 9])
    env.begin()
    env.physics.step(torch.full((3, 9), 0.8), 8)
    state = env.state(command=command)
    state.previous_action = torch.full((3, 9), 0.5)
    torch.testing.assert_close(PENALTIES["control"](state), torch.tensor([9.0, 2.25, 0.0]))
    torch.testing.assert_close(PENALTIES["action_rate"](state), torch.tensor([2.25, 9.0, 2.25]))
    qvel, torque = env.physics.field("qvel"), env.physics.field("qfrc_actuator")
    power = PENALTIES["power"](state)
    torch.testing.assert_close(power, sum((qvel[:, i] * torque[:, i]).abs() for i in range(4)))
    assert (power > 0).all()
    reward, terms = env.reward(state)
    cost = 0.15 * PENALTIES["control"](state) + 0.2 * power
    torch.testing.assert_close(reward, 5 * terms["reward/qpos"] - cost)
    assert cost[0] > 1  # more than the published floor of penalties of the human bodies


def test_only_a_signed_reward_lifts_the_bounds():
    for signed, expected in ((True, -9.0 * 2), (False, 0.0)):
        reward = {"weights": {"qpos": 0.5, "qvel": 0.0}, "penalties": {"control": 2.0}, "signed": signed}
        env = make_env("mouse_reach", **SIZES, reward=reward)
        off_reference(env, 0.0)
        value, terms = env.reward(env.state(command=torch.ones(3, 9)))
        torch.testing.assert_close(terms["penalty"], torch.full((3,), expected if signed else -1.0))
        torch.testing.assert_close(value, torch.full((3,), expected + 0.5 if signed else 0.0))
        env.close()


def test_the_excitation_cost_spares_what_excites_nothing():
    env = make_env("mouse_reach", **SIZES)
    env.begin()
    env.advance(torch.tensor([[-1.0] * 9, [0.5] * 9, [3.0] * 9]))
    cost = PENALTIES["excitation"](env.state())
    torch.testing.assert_close(cost, torch.tensor([0.0, 9 * 0.25, 9.0]))
    env.close()


@pytest.mark.parametrize(
    ("mapping", "excitation"),
    [
        ("clip", [0.0, 0.0, 0.5]),
        ("half", [0.0, 0.0, 0.5]),
        ("full", [0.25, 0.5, 0.75]),
        ("sigmoid", [0.37754, 0.5, 0.62246]),
    ],
)
def test_action_maps_by_hand(mapping, excitation):
    """On both arms: the published one has a control range of [0, 1] in its file."""
    for env in (
        make_env("mouse_reach", **SIZES, actions={"muscles": {"mapping": mapping}}),
        published(actions={"muscles": {"mapping": mapping}}),
    ):
        env.begin()
        env.advance(torch.tensor([-0.5, 0.0, 0.5]).unsqueeze(1).expand(3, 9))
        control = env.physics.field("ctrl")
        torch.testing.assert_close(control, torch.tensor(excitation).unsqueeze(1).expand(3, 9), atol=1e-4, rtol=0)
        env.close()


def test_training_never_draws_the_clips_held_out():
    env = published(goal={"held_out": 0.3}, sampling={"adaptive": True})
    assert list(env.goal.held_out) == [1, 5, 8] and len(env.goal.groups) == 10
    for _ in range(2):
        clips = env.goal.draw(5000)[0]
        assert set(clips.tolist()) == {0, 2, 3, 4, 6, 7, 9}
        env.adapt()  # adaptive sampling must not bring them back
    env.close()
    for fraction, message in ((1.0, "at least 0 and below 1"), (-0.1, "at least 0 and below 1")):
        with pytest.raises(InputError, match=message):
            make_env("mouse_reach", **SIZES, goal={"held_out": fraction})


def test_a_run_evaluates_all_clips_and_those_held_out_apart(tmp_path):
    words = ["task=mouse_reach", f"embodiment.path={data_file(FOLDER)}/mouse_arm_no_meshes.xml"]
    words += [f"motion='{data_file(FOLDER)}/*.npz'", "num_envs=8", "max_iterations=1", "device=cpu", "threads=1"]
    assert script("train.py").main([*words, f"runs_dir={tmp_path}", "experiment=run"]) == 0
    files = {name: tmp_path / "run" / "eval" / name / "metrics.json" for name in ("final", "held_out")}
    final, held_out = (json.loads(file.read_text()) for file in files.values())
    assert final["num_clips"] == 10 and held_out["num_clips"] == 3
    rows = {row["name"]: row["err_joint_pos"] for row in final["per_clip"]}
    assert all(rows[row["name"]] == pytest.approx(row["err_joint_pos"], rel=1e-5) for row in held_out["per_clip"])


def test_a_run_with_one_motion_holds_nothing_out(tmp_path):
    words = ["task=mouse_reach", "num_envs=8", "max_iterations=1", "device=cpu", "threads=1", f"runs_dir={tmp_path}"]
    assert script("train.py").main([*words, "experiment=run"]) == 0
    assert not (tmp_path / "run" / "eval" / "held_out").exists()


@pytest.mark.parametrize("preset", ["mouse_paper", "mouse_branch"])
def test_the_presets_train_the_published_network(tmp_path, preset):
    """Encoder of the four joint errors ahead, latent of 4, decoder; one update and a checkpoint."""
    words = ["task=mouse_reach", f"preset={preset}", "num_envs=8", "max_iterations=1", "device=cpu", "threads=1"]
    words += ["ppo.num_steps=8", "ppo.minibatches=1", "evaluate=false", f"runs_dir={tmp_path}", "experiment=run"]
    assert script("train.py").main(words) == 0
    policy = load_policy(tmp_path / "run").policy
    assert isinstance(policy, IntentionPolicy) and policy.latent_size == 4
    inputs = policy.intention.encoder[0], policy.intention.decoder[0]
    assert [(layer.in_features, layer.out_features) for layer in inputs] == [(4, 512), (4 + 24, 512)]


def test_the_plain_imitation_task_of_the_body_is_mouse_reach():
    cfg = load_config("mouse_reach")
    assert cfg.embodiment.name == "mouse" and cfg.goal.name == "motion" and cfg.motion == ["all"]
