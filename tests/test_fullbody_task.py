"""The full body as a task: observations by name and number, history, terms that only it has, a training run."""

import json
import math
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from commands import train
from env_cases import CPU, actions
from test_parity import CASES

from muscle_torch.config import RewardConfig, load_config
from muscle_torch.embodiments import make_embodiment
from muscle_torch.envs import make_env
from muscle_torch.envs.goals.motion import MotionGoal, _termination_sites
from muscle_torch.envs.goals.motion_state import RootRange
from muscle_torch.envs.rewards import Reward
from muscle_torch.envs.terminations import TERMINATIONS as TERMINATIONS_OF_BODY
from muscle_torch.errors import InputError

COMMAND = {"motion": "walk", **CPU}
TERMINATIONS, REWARDS = TERMINATIONS_OF_BODY | MotionGoal.terminations, MotionGoal.rewards


def test_the_published_observation_is_one_word_away():
    for words, size in ((["observation.profile=musclemimic"], 2418), (["preset=release"], 2418)):
        cfg = load_config("fullbody", [*words, "policy=mlp"])
        assert cfg.observation.muscle == ["length", "velocity", "force", "excitation", "activation"]
        env = make_env(cfg, 1, motion="sway", device="cpu", backend="mujoco", threads=1)
        assert env.observation_size == size and env.begin().shape == (1, size)
        env.close()
    env = make_env(
        "fullbody", 1, embodiment={"fingers": True}, observation={"profile": "musclemimic"}, policy="mlp", **COMMAND
    )
    assert env.observation_size == 2418 + 2 * 40 + 5 * 62  # 40 finger joints with velocities, 62 muscles
    env.close()


def test_the_preset_is_what_parity_is_tested_with():
    """tests/test_parity.py compares observation, reward, errors and termination of this very configuration."""
    release, (_, tested) = load_config("fullbody", ["preset=release"]), CASES["fullbody"]
    for name, value in tested["observation"].items():
        assert getattr(release.observation, name) == value
    for name, value in tested["goal"].items():
        assert getattr(release.goal.options, name) == value
    assert release.reward.weights == tested["reward"]["weights"] and release.termination == tested["termination"]


def test_words_win_over_the_profile():
    cfg = load_config("fullbody", ["observation.profile=musclemimic", "goal.lookahead=2"])
    assert cfg.goal.options.lookahead == 2 and cfg.goal.options.stride == 20
    with pytest.raises(InputError, match="musclemimic"):
        load_config("fullbody", ["observation.profile=musclmimic"])
    with pytest.raises(InputError, match="no settings for task"):
        load_config("toy_arm", ["observation.profile=musclemimic"])


def test_training_and_evaluation_have_their_thresholds():
    release = load_config("fullbody", ["preset=release"])
    given = {"mean_relative_site_deviation": 1.0, "root_deviation": 1.0, "root_orientation": 1.0}
    assert release.termination == given
    assert release.evaluation_termination["mean_relative_site_deviation"] == 0.5
    paper = load_config("fullbody", ["preset=paper"])
    for thresholds in (paper.termination, paper.evaluation_termination):
        assert (thresholds["mean_relative_site_deviation"], thresholds["root_deviation"]) == (0.5, 0.5)


@pytest.mark.parametrize("split", [False, True])
def test_history_holds_the_last_observations(split):
    """Against an environment without history that does the same; the third world begins anew on the way."""
    length, shown = 3, {"terms": ["joint_pos", "phase", "muscle", "joint_error", "previous_action"]}
    single = make_env("toy_arm", 3, **CPU, observation=shown)
    stacked = make_env("toy_arm", 3, **CPU, observation=shown | {"history": length, "goal_history": not split})
    newest = [single.begin()]
    found = stacked.begin()
    names = [name for name in shown["terms"] if not (split and name in MotionGoal.observations)]
    columns = torch.cat([torch.arange(single.observation_size)[single.observation_layout[name]] for name in names])
    goal = [single.observation_layout[name] for name in shown["terms"] if split and name in MotionGoal.observations]
    anew = torch.tensor([False, False, True])
    for step in range(6):
        past = [torch.zeros_like(newest[0])] * (length - 1) + newest
        expected = torch.cat([*(one[:, columns] for one in past[-length:]), *(newest[-1][:, g] for g in goal)], dim=1)
        torch.testing.assert_close(found, expected, rtol=0, atol=0)
        for name, where in stacked.observation_layout.items():
            assert torch.equal(found[:, where], newest[-1][:, single.observation_layout[name]]), name
        given = actions(single, 1, seed=step)[0]
        newest.append(single.advance(given).observation)
        found = stacked.advance(given).observation
        if step == 3:
            newest[:-1] = [torch.where(anew[:, None], 0.0, one) for one in newest[:-1]]
            newest[-1], found = single.restart(anew), stacked.restart(anew)
    single.close()
    stacked.close()


def test_a_stored_environment_with_history_goes_on_exactly():
    env = make_env("toy_arm", 2, **CPU, observation={"history": 4})
    env.begin()
    env.advance(actions(env, 1)[0])
    kept, given = env.snapshot(), actions(env, 2, seed=1)
    first = [env.advance(one).observation for one in given]
    env.load_snapshot(kept)
    for one, expected in zip(given, first, strict=True):
        assert torch.equal(env.advance(one).observation, expected)
    env.close()


def test_history_needs_a_step():
    with pytest.raises(InputError, match="history=0"):
        make_env("toy_arm", 1, **CPU, observation={"history": 0})


def turned(angle: float, axis: int) -> list[float]:
    quat = [math.cos(angle / 2), 0.0, 0.0, 0.0]
    quat[1 + axis] = math.sin(angle / 2)
    return quat


def test_terms_of_the_root_by_hand():
    qpos = torch.tensor([[3.0, 4.0, 0.55, *turned(0.4, 2)], [0.0, 0.0, 1.35, *turned(0.0, 0)]])
    frames = torch.tensor([[0.0, 0.0, 0.9, *turned(0.1, 2)], [0.0, 0.0, 1.0, *turned(-0.1, 2)]])
    frames[1, 3:] *= -1  # the same orientation
    state = SimpleNamespace(qpos=qpos, root_range=RootRange.of(frames))
    expected = {
        "root_height": [0.5, 0.3],  # from 1.05 m; 0.45 is the published range of 0.6 to 1.5 m
        "root_height_in_motions": [0.35, 0.35],
        "root_orientation_in_motions": [0.4, 0.0],
    }
    for name, values in expected.items():
        torch.testing.assert_close(TERMINATIONS[name](state), torch.tensor(values), rtol=0, atol=1e-5, msg=name)


def test_deviations_by_hand():
    """Sites 1 cm, 2 cm, ... from where they should be; the pelvis first."""
    full = make_embodiment("fullbody")
    ankles = [i + 1 for i, name in enumerate(full.site_names) if name.endswith("ankle_mimic")]
    distance = 0.01 * torch.arange(1, len(full.site_names) + 1).float()[None]
    for excluded, judged in (((), list(range(1, 18))), (("head_mimic", "pelvis_mimic"), [2, *range(4, 18)])):
        sites = _termination_sites(full, excluded, torch.device("cpu"))
        squared = torch.zeros(1, 16, 3)
        squared[..., 1] = distance[:, 1:].square()
        state = SimpleNamespace(termination_sites=sites, site_deviation=distance, squared_error=lambda name: squared)  # noqa: B023
        expected = {
            "mean_site_deviation": np.mean(judged),
            "max_site_deviation": 17,
            "mean_relative_site_deviation": np.mean([one for one in judged if one > 1]),
            "mean_ankle_deviation": np.mean(ankles),
            "max_ankle_deviation": max(ankles),
            "root_deviation": 1,
        }
        for name, value in expected.items():
            assert float(TERMINATIONS[name](state)) == pytest.approx(0.01 * value, rel=1e-5), (name, excluded)
    with pytest.raises(InputError, match="head_mimic"):
        _termination_sites(full, ["head_mimc"], torch.device("cpu"))
    with pytest.raises(InputError, match="no site but the anchor"):
        _termination_sites(full, full.site_names[1:], torch.device("cpu"))
    with pytest.raises(InputError, match="tracked ankles"):
        make_env("toy_arm", 1, **CPU, termination={"max_ankle_deviation": 0.5})


def test_target_velocity_by_hand():
    """Walking 1.2 m/s straight ahead in a world where ahead is y, against 1.0 m/s where ahead is x, turning by 0.3."""
    own = SimpleNamespace(
        qpos=torch.tensor([[0.0, 0, 1, *turned(math.pi / 2, 2)]]), qvel=torch.tensor([[0.0, 1.2, 0.4, 0, 0, 0.5]])
    )
    other = SimpleNamespace(
        qpos=torch.tensor([[5.0, 0, 1, *turned(0.0, 2)]]), qvel=torch.tensor([[1.0, 0.0, -0.4, 1.0, 0, 0.2]])
    )
    distance = REWARDS["target_velocity"].distance(SimpleNamespace(qpos=own.qpos, qvel=own.qvel, reference=other))
    assert float(distance) == pytest.approx((0.2**2 + 0.3**2) / 3, rel=1e-4)


def test_a_full_body_learns_for_an_update(tmp_path):
    words = ["task=fullbody", "num_envs=4", "max_iterations=1", "ppo.num_steps=8"]
    done = train(*words, "device=cpu", "threads=1", "evaluate=false", "experiment=x", "motion=sway", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    last = json.loads((tmp_path / "runs/x/metrics.jsonl").read_text().splitlines()[-1])
    assert last["step"] == 32 and all(math.isfinite(v) for v in last.values() if isinstance(v, float))


def test_elementwise_rewards_by_hand():
    """Of two joints one is 0.1 rad off: half of the term is lost in full, the other half not at all."""
    squared = torch.tensor([[0.01, 0.0]])
    state = SimpleNamespace(
        body=SimpleNamespace(has_root=False, name="two joints"),
        squared_error=lambda name: squared,
        action=torch.zeros(1, 2),
    )
    goal = SimpleNamespace(rewards=REWARDS, missing=lambda name: None)
    for elementwise, expected in ((False, math.exp(-10 * 0.005)), (True, (math.exp(-10 * 0.01) + 1) / 2)):
        config = RewardConfig(weights={"qpos": 2.0}, penalties={}, elementwise=elementwise)
        total, terms = Reward(config, goal, torch.device("cpu"))(state)
        assert float(terms["reward/qpos"]) == pytest.approx(expected, rel=1e-6)
        assert float(total) == pytest.approx(2 * expected, rel=1e-6)
