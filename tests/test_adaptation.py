"""Curricula and failure-driven sampling: their rules against published numbers, and what they do to a running body."""

import json

import numpy as np
import pytest
import torch
from conftest import data_file
from env_cases import all_equal, clip, play, saved, small_env

from muscle_torch.config import RewardCurriculumConfig, SamplingConfig, TerminationCurriculumConfig, load_config
from muscle_torch.envs import make_env
from muscle_torch.envs.curriculum import RewardCurriculum, TerminationCurriculum
from muscle_torch.errors import InputError
from muscle_torch.models import make_policy
from muscle_torch.motion import FailureRates
from muscle_torch.rl import Trainer
from muscle_torch.storage.checkpoint import load_checkpoint

FOREARM = 0.3  # [m] elbow to hand, of the toy arm's XML
REST = 0.0  # [rad] about where the relaxed arm hangs


# The rules, against the published system's


@pytest.fixture(scope="module")
def oracle():
    arrays = np.load(data_file("oracle/checkpoints/curricula.npz"))
    return arrays, json.loads(str(arrays["meta_json"]))


@pytest.mark.parametrize("name", ["fullbody", "fullbody_fast", "bimanual", "bimanual_fast"])
def test_thresholds_follow_the_published_rule(oracle, name):
    arrays, meta = oracle
    settings = meta["termination"][name]
    rule = TerminationCurriculum(
        TerminationCurriculumConfig(
            enabled=True,
            min_ratio=settings["min_threshold"] / settings["init_threshold"],
            factor=settings["adjust_factor"],
            low=settings["low_band"],
            high=settings["high_band"],
            patience=settings["consecutive_k"],
            smoothing=settings["ema_alpha"],
        )
    )
    expected = {key: arrays[f"termination/{name}/{key}"] for key in ("threshold", "ema_rate", "consecutive")}
    for i, (rate, ended) in enumerate(zip(arrays["rate"], arrays["done_count"], strict=True)):
        if ended:
            rule.observe(float(rate))
        assert rule.ratio * settings["init_threshold"] == pytest.approx(expected["threshold"][i], rel=1e-5)
        assert rule.rate == pytest.approx(expected["ema_rate"][i], rel=1e-5)
        assert rule.count == expected["consecutive"][i]
    assert len(set(expected["threshold"])) > 3  # it did move


@pytest.mark.parametrize("name", ["fullbody", "fullbody_fast", "bimanual", "bimanual_fast"])
def test_reward_weights_follow_the_published_rule(oracle, name):
    arrays, meta = oracle
    settings = meta["reward"][name]
    terms = {"qvel": "qvel_w_sum", "root_vel": "root_vel_w_sum"}
    weights = {term: settings[f"{key}_init"] for term, key in terms.items()}
    # There a weight of 0 is allowed, and stays 0.
    growing = {term: settings[f"{key}_max"] for term, key in terms.items() if weights[term]}
    rule = RewardCurriculum(
        RewardCurriculumConfig(
            highest=growing,
            growth=settings["eta"],
            below=settings["term_rate_threshold"],
            patience=settings["consecutive_k"],
            smoothing=settings["ema_alpha"],
        ),
        weights,
    )
    for i, rate in enumerate(arrays["rate"]):
        rule.observe(float(rate))
        for term in growing:
            assert rule.weights[term] == pytest.approx(arrays[f"reward/{name}/{terms[term]}"][i], rel=1e-5)
        assert rule.rate == pytest.approx(arrays[f"reward/{name}/ema_term_rate"][i], rel=1e-5)
        assert rule.count == arrays[f"reward/{name}/consecutive_below"][i]


@pytest.mark.parametrize("name", ["default", "sharp", "degenerate"])
def test_clip_weights_follow_the_published_rule(oracle, name):
    arrays, meta = oracle
    settings = meta["sampling"][name]
    config = SamplingConfig(
        adaptive=True,
        sharpness=settings["alpha"],
        uniform_share=settings["floor_mix"],
        smoothing=settings["beta"],
        prior_episodes=settings["ema_done_init"],
        prior_failures=settings["ema_early_init"],
    )
    rule = FailureRates(config, arrays[f"sampling/{name}/weights"].shape[1])
    for i, weights in enumerate(arrays[f"sampling/{name}/weights"]):
        counts = [torch.from_numpy(arrays[f"sampling/{name}/{kind}_counts"][i]) for kind in ("done", "early")]
        rule.observe(*counts)
        assert rule.rate.numpy() == pytest.approx(arrays[f"sampling/{name}/rate_hat"][i], rel=1e-5, abs=1e-7)
        assert rule.weights.numpy() == pytest.approx(weights, rel=1e-5)


def test_a_clip_that_is_not_drawn_for_long_keeps_its_rate():
    rule = FailureRates(SamplingConfig(), 2)
    for _ in range(5000):
        rule.observe(torch.tensor([4, 0]), torch.tensor([1, 0]))
    assert rule.rate.tolist() == pytest.approx([0.25, 0.5], rel=2e-2)


# What they do


def rollout(env, steps: int = 40) -> float:
    """Relaxed muscles for some steps, then one adaptation; the share of ended episodes that were terminated."""
    action = env.zero_action.expand(env.num_envs, -1)
    ended = failed = 0
    for _ in range(steps):
        step = env.advance(action)
        done = step.terminated | step.truncated
        ended, failed = ended + int(done.sum()), failed + int(step.terminated.sum())
        env.restart(done)
    env.adapt()
    return failed / max(ended, 1)


def away(distance: float):
    """A still reference that the relaxed arm leaves: the mean deviation of its three sites comes near `distance`."""
    return np.full(30, REST + 2 * np.arcsin(3 * distance / (2 * FOREARM)))


def test_thresholds_tighten_on_success_until_episodes_fail_and_then_loosen(tmp_path):
    curriculum = {"enabled": True, "patience": 2, "smoothing": 0.5, "factor": 0.8, "min_ratio": 0.1}
    env = small_env(
        motion=saved(tmp_path, clip(away(0.03))),
        termination={"mean_site_deviation": 0.1, "max_site_deviation": 9.0},
        curriculum={"termination": curriculum | {"terms": ["mean_site_deviation"]}},
        goal={"start": "beginning"},
    )
    env.begin()
    threshold, failures = [], []
    for _ in range(40):
        failures.append(rollout(env))
        threshold.append(float(env.termination.thresholds[0]))
    assert failures[0] == 0 and max(failures) == 1  # the same body, judged more strictly
    assert min(threshold) < 0.03 < threshold[0] == pytest.approx(0.1)
    lowest = int(np.argmin(threshold))
    assert max(threshold[lowest:]) > 0.03  # and back
    assert env.termination.thresholds[1] == 9.0  # not named


def test_without_the_curriculum_nothing_moves(tmp_path):
    env = small_env(motion=saved(tmp_path, clip(away(0.03))), termination={"mean_site_deviation": 0.1})
    env.begin()
    assert [rollout(env) for _ in range(10)] == [0.0] * 10 and env.adapt() == {}
    assert env.termination.thresholds.tolist() == pytest.approx([0.1])


def test_reward_weights_grow_on_success_and_the_reward_with_them(tmp_path):
    env = small_env(
        motion=saved(tmp_path, clip(np.full(20, REST))),
        reward={"weights": {"qpos": 1.0, "qvel": 0.1, "site_pos": 0.0}},
        curriculum={"reward": {"highest": {"qvel": 0.3}, "growth": 0.5, "patience": 2}},
    )
    env.begin()
    weights, rewards = [], []
    for _ in range(9):
        rollout(env)
        weights.append(env.reward.weights["qvel"])
        start = torch.zeros(env.num_envs, dtype=torch.long)
        env.assign((start, start))
        rewards.append(float(env.advance(env.zero_action.expand(env.num_envs, -1)).reward[0]))
    # The first rollout only starts the running rate; then every second one multiplies by 1.5, up to 0.3.
    assert weights == pytest.approx([0.1, 0.1, 0.15, 0.15, 0.225, 0.225, 0.3, 0.3, 0.3])
    assert rewards == pytest.approx([1.0 + weight for weight in weights], abs=2e-3)  # resting as it should: all terms 1


def test_failing_clips_are_drawn_more_often(tmp_path):
    """Two clips the relaxed arm can follow and one it cannot."""
    clips = [clip(np.full(20, REST), "easy"), clip(np.full(21, REST), "easy_too"), clip(np.full(60, 1.2), "hard")]
    share = {}
    for adaptive in (False, True):
        env = small_env(
            num_envs=32,
            motion=saved(tmp_path, *clips),
            termination={"mean_site_deviation": 0.05},
            sampling={"adaptive": adaptive},
            goal={"start": "beginning"},
        )
        env.begin()
        for _ in range(15):
            rollout(env, 70)
        drawn = torch.bincount(env.goal._sampler.sample(3000)[0], minlength=3) / 3000
        share[adaptive] = float(drawn[2])
        assert env.failure_rate[2] > 0.95 > 0.05 > env.failure_rate[:2].max()
    assert share[False] == pytest.approx(1 / 3, abs=0.04)
    # Rates near 0, 0, 1: nine tenths go to the hard one, and a third of the uniform tenth.
    assert share[True] == pytest.approx(0.9 + 0.1 / 3, abs=0.05)


ADAPTED = {
    "curriculum": {
        "termination": {"enabled": True, "patience": 1, "smoothing": 1.0, "low": 2.0, "high": 2.0},
        "reward": {"highest": {"qvel": 0.9}, "patience": 1, "below": 1.1},
    },
    "sampling": {"adaptive": True, "smoothing": 0.5},
    "termination": {"mean_site_deviation": 0.1},
}


def test_a_snapshot_holds_all_that_has_been_adapted():
    env = small_env(num_envs=8, **ADAPTED)
    env.begin()
    for _ in range(4):
        rollout(env, 30)
    for _ in range(7):  # in the middle of a rollout
        env.advance(torch.zeros(8, 2))
    stored = env.snapshot()
    other = small_env(num_envs=8, **ADAPTED)
    other.begin()
    other.load_snapshot(stored)
    assert float(env.termination.thresholds[0]) < 0.1 and env.reward.weights["qvel"] > 0.2
    actions = torch.randn(60, 8, 2, generator=torch.Generator().manual_seed(1))
    assert all_equal(play(env, actions), play(other, actions))
    assert env.adapt() == other.adapt()
    assert torch.equal(env.goal._sampler.weights, other.goal._sampler.weights)


def test_a_resumed_run_goes_on_with_what_was_adapted(tmp_path):
    def trainer() -> Trainer:
        cfg = load_config("toy_arm", num_envs=8, threads=1, max_iterations=8, ppo={"num_steps": 16}, **ADAPTED)
        torch.manual_seed(cfg.seed)
        (tmp_path / "checkpoints").mkdir(exist_ok=True)
        env = make_env(cfg)
        return Trainer(env, make_policy(cfg.policy, env, cfg.exploration), cfg, tmp_path)

    def learn(one: Trainer, updates: int) -> list[dict]:
        kept = [one.iteration() for _ in range(updates)]
        return [{k: v for k, v in m.items() if not k.startswith(("speed/", "memory/"))} for m in kept]

    straight = learn(trainer(), 8)
    first = trainer()
    learn(first, 4)
    first.save({})
    second = trainer()
    second.load_state(load_checkpoint(tmp_path))
    np.testing.assert_equal(learn(second, 4), straight[4:])
    ratios = [m["curriculum/threshold_ratio"] for m in straight]
    assert len(set(ratios)) > 2 and straight[-1]["curriculum/weight_qvel"] > straight[0]["curriculum/weight_qvel"]
    assert straight[-1]["sampling/weight_max"] > straight[-1]["sampling/weight_min"]


def test_an_evaluation_is_judged_by_its_own_fixed_thresholds():
    env = small_env(evaluation=True, **ADAPTED)
    assert env.adapt() == {} and env.termination.thresholds.tolist() == pytest.approx([0.05])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"curriculum": {"termination": {"enabled": True, "terms": ["mean_site"]}}}, "mean_site_deviation"),
        (
            {"curriculum": {"termination": {"enabled": True}}, "termination": {"mean_site_deviation": None}},
            "termination",
        ),
        ({"curriculum": {"termination": {"factor": 1.5}}}, "factor=1.5"),
        ({"curriculum": {"termination": {"low": 0.5}}}, "low <= high"),
        ({"curriculum": {"termination": {"patience": 0}}}, "patience"),
        ({"curriculum": {"reward": {"highest": {"rpos": 0.3}}}}, "reward.weights"),
        ({"curriculum": {"reward": {"highest": {"qvel": 0.1}}}}, "below its weight"),
        ({"sampling": {"smoothing": 0.0}}, "sampling.smoothing"),
        ({"sampling": {"uniform_share": 2.0}}, "sampling.uniform_share"),
        ({"sampling": {"prior_failures": 20.0}}, "prior_failures"),
        ({"sampling": {"sharpness": -1.0}}, "sharpness"),
    ],
)
def test_settings_that_make_no_sense_are_named(changes, message):
    with pytest.raises(InputError, match=message) as error:
        small_env(**changes)
    assert "\n" not in str(error.value)
