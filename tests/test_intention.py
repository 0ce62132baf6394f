"""policy=intention: its divergence is an integral, its latents are those that acted, and it learns."""

import copy
import math

import numpy as np
import pytest
import torch
from env_cases import small_env
from test_rl import small

from muscle_torch.config import load_config
from muscle_torch.envs import make_env
from muscle_torch.errors import InputError
from muscle_torch.evaluation import PolicyController, evaluate
from muscle_torch.evaluation.archive_recorder import ArchiveRecorder
from muscle_torch.models import IntentionPolicy, TanhNormal, make_policy
from muscle_torch.models.intention import kl_to_process
from muscle_torch.motion.rollout_archive import read_archive, write_archive
from muscle_torch.rl import Trainer
from muscle_torch.rl.contracts import LatentPolicy

OPTIONS = {"name": "intention", "hidden": [16, 16], "latent_size": 3}


def intention(task="toy_arm", words=(), **options):
    """A small environment and its policy."""
    cfg = load_config(task, policy=OPTIONS | options)
    env = small_env(task, words=words) if words else small_env(task)
    return env, make_policy(cfg.policy, env, cfg.exploration)


def integral(mean, std, center, spread):
    """KL of two normal densities, by the trapezoid rule on a fine grid."""
    x = np.linspace(mean - 12 * std, mean + 12 * std, 20001)
    log_q = -0.5 * ((x - mean) / std) ** 2 - np.log(std)
    log_p = -0.5 * ((x - center) / spread) ** 2 - np.log(spread)
    return float(np.trapezoid(np.exp(log_q) / math.sqrt(2 * math.pi) * (log_q - log_p), x))


@pytest.mark.parametrize("correlation", [0.0, 0.6, 0.95])
def test_the_divergence_is_the_integral(correlation):
    rng = np.random.default_rng(1)
    mean, std, previous = rng.normal(size=(4, 3)), rng.uniform(0.05, 2.0, (4, 3)), rng.normal(size=(4, 3))
    first = np.array([True, False, True, False])
    given = [torch.from_numpy(values) for values in (mean, std, previous, first)]
    divergence = kl_to_process(*given, correlation)
    for row in range(4):
        centers = np.zeros(3) if first[row] else correlation * previous[row]
        spread = 1.0 if first[row] else math.sqrt(1 - correlation**2)
        expected = sum(integral(m, s, c, spread) for m, s, c in zip(mean[row], std[row], centers, strict=True))
        assert float(divergence[row]) == pytest.approx(expected, rel=1e-6)


def test_a_latent_drawn_from_the_prior_stays_standard_normal():
    """The prior is stationary: at its own mean and deviation the divergence is 0, and the variance stays 1."""
    previous, noise = torch.randn(200000, 1), torch.randn(200000, 1)
    mean, std = 0.95 * previous, torch.full_like(previous, math.sqrt(1 - 0.95**2))
    assert float((mean + std * noise).var()) == pytest.approx(1.0, abs=0.02)
    assert float(kl_to_process(mean, std, previous, torch.zeros(200000, dtype=torch.bool), 0.95).abs().max()) < 1e-5


def test_the_encoder_reads_the_goal_and_the_decoder_the_body():
    env, policy = intention()
    assert policy.spec["reference"] == [[6, 9], [9, 10]]  # joint_error and phase, the motion's own terms
    observation = torch.randn(5, env.observation_size)
    seen = policy.activity(observation)
    assert seen["latent"].shape == seen["latent_std"].shape == (5, 3)
    assert seen["encoder_2"].shape == seen["decoder_1"].shape == (5, 16)
    for columns, changes in ((slice(0, 6), False), (slice(6, 10), True)):
        moved = observation.clone()
        moved[:, columns] += 1.0
        assert bool((policy.activity(moved)["latent"] != seen["latent"]).any()) == changes
    # With the same latent the decoder does not see the goal at all.
    normal = policy.normalizer(observation)
    moved = normal.clone()
    moved[:, 6:] += 1.0
    latent = torch.randn(5, 3)
    assert torch.equal(policy.intention.decode(normal, latent)[0], policy.intention.decode(moved, latent)[0])
    env.close()


@pytest.mark.parametrize("task", ["toy_arm", "toy_reach", "bimanual"])
def test_every_body_and_goal_has_one(task):
    env, policy = intention(task)
    distribution = policy.distribution(env.begin())
    base = getattr(distribution, "base", distribution)  # bimanual mixes muscles
    assert isinstance(base, TanhNormal) and distribution.sample().shape == (4, env.action_size)
    reads = {term for term in env.config.observation.terms if term in env.goal.observations}
    assert sum(stop - start for start, stop in policy.spec["reference"]) == sum(
        env.observation_layout[term].stop - env.observation_layout[term].start for term in reads
    )
    env.close()


def test_the_standard_deviation_follows_the_state_unless_turned_off():
    observation = 3 * torch.randn(50, 10)
    for state_std in (True, False):
        policy = IntentionPolicy(
            10, 2, [[6, 10]], **{k: v for k, v in OPTIONS.items() if k != "name"}, state_std=state_std
        )
        torch.nn.init.normal_(policy.intention.decoder[-1].weight)
        scale = policy.intention(observation)[1]
        assert bool((scale.std(0) > 0.01).all()) == state_std
        assert scale.min() >= policy.exploration.options.min_std


def test_what_is_stored_of_latents_is_what_acted(tmp_path):
    trainer = small(tmp_path, 4, policy=OPTIONS)
    policy = trainer.policy
    assert isinstance(policy, LatentPolicy)
    rollout, latents = trainer.algorithm.rollout, trainer.algorithm.latents
    for _ in range(20):
        trainer.collect()
        if rollout.done[:-1].any():
            break
    with torch.no_grad():
        mean, std = policy.intention.encode(policy.normalizer(rollout.observation[:-1]))
    drawn = mean + std * latents.noise
    assert torch.allclose(latents.previous[1:], drawn[:-1], atol=1e-6)
    assert torch.equal(latents.first[1:], rollout.done[:-1]) and latents.first[1:].any() and not latents.first.all()
    assert torch.allclose(latents.latent, drawn[-1], atol=1e-6)
    assert float(latents.noise.std()) == pytest.approx(1.0, abs=0.15)
    metrics = trainer.learn()
    assert metrics["ppo/first_ratio"] == pytest.approx(1.0, abs=1e-4) and metrics["ppo/skipped_updates"] == 0
    carried, begins = latents.latent.clone(), latents.begins.clone()
    trainer.collect()  # the next rollout goes on with the episodes of the last one
    assert torch.equal(latents.previous[0], carried) and torch.equal(latents.first[0], begins)


def test_the_weight_of_the_divergence_rises_and_the_loss_is_counted_once():
    policy = IntentionPolicy(6, 2, [[0, 2]], hidden=[8], kl_weight=0.5, kl_ramp=0.2, latent_size=3)
    policy.anneal(0.0)
    assert policy.auxiliary_loss() is None
    noise, previous, first = torch.randn(7, 3), torch.randn(7, 3), torch.zeros(7, dtype=torch.bool)
    observation = torch.randn(7, 6)
    seen = policy.activity(observation)
    expected = kl_to_process(seen["latent"], seen["latent_std"], previous, first, 0.95).mean()
    for progress, weight in ((0.0, 0.0), (0.1, 0.25), (0.2, 0.5), (1.0, 0.5)):
        policy.anneal(progress)
        policy.latent_distribution(observation, noise, previous, first)
        copy.deepcopy(policy)  # a pending divergence does not stop a copy
        loss = policy.auxiliary_loss()
        assert float(loss.detach()) == pytest.approx(weight * float(expected), rel=1e-5)
        assert policy.auxiliary_loss() is None


def test_a_heavy_divergence_draws_the_latent_to_its_prior(tmp_path):
    # Without correlation, for the encoder does not see the latent before and could not follow it.
    policy = OPTIONS | {"kl_weight": 10.0, "kl_ramp": 0.0, "prior_correlation": 0.0}
    trainer = small(tmp_path, 10, policy=policy, optimizer={"learning_rate": 3e-3})
    losses = [trainer.iteration()["ppo/auxiliary_loss"] for _ in range(10)]
    assert losses[-1] < 0.5 * losses[0], losses


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"latent_size": 0}, r"policy.latent_size=0: at least 1"),
        ({"prior_correlation": 1.0}, r"policy.prior_correlation=1.0"),
        ({"kl_weight": -1.0}, "kl_weight"),
        ({"kl_ramp": 2.0}, "kl_ramp"),
        ({"reference_terms": ["joint_eror"]}, "joint_error"),
    ],
)
def test_bad_options_are_refused_in_one_line(options, message):
    with pytest.raises(InputError, match=message) as error:
        intention(**options)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("observation", "message"),
    [
        ({"terms": ["joint_pos", "joint_vel"]}, "has none"),
        ({"terms": ["joint_error", "phase"]}, "none for the decoder"),
        ({"history": 2, "goal_history": True}, "goal_history=false"),
    ],
)
def test_encoder_and_decoder_both_need_something_to_read(observation, message):
    env = small_env(observation=observation)
    with pytest.raises(InputError, match=message) as error:
        make_policy("intention", env)
    assert "\n" not in str(error.value)
    env.close()


def test_an_archive_holds_what_the_policy_computed(tmp_path):
    cfg = load_config("toy_arm", policy=OPTIONS)
    env = make_env("toy_arm", num_envs=2, device="cpu", backend="mujoco", threads=1, evaluation=True)
    policy = make_policy(cfg.policy, env, cfg.exploration)
    recorder = ArchiveRecorder(env, policy.activity)
    evaluate(env, PolicyController(policy), callbacks=[recorder])
    write_archive(tmp_path / "x.npz", recorder.archive())
    episode = read_archive(tmp_path / "x.npz").episodes[1]
    assert {"latent", "latent_std", "encoder_1", "decoder_2"} <= set(episode.network)
    assert episode.network["latent"].shape == (len(episode.qpos), 3)
    # The first row is that of the observation at the start of the clip.
    env.assign(tuple(values[[1, 1]] for values in env.goal.trials.starts))
    start = policy.activity(env.observation)
    np.testing.assert_allclose(episode.network["latent"][0], start["latent"][0], atol=1e-6)
    env.close()


def test_it_learns_the_toy_arm(tmp_path):
    """Half of the task's own budget and networks half as wide."""
    words = ["num_envs=64", "threads=1", "total_steps=100000", "policy.hidden=[32,32]"]
    cfg = load_config("toy_arm", ["policy=intention", *words])
    torch.manual_seed(0)
    (tmp_path / "checkpoints").mkdir()
    env = make_env(cfg)
    trainer = Trainer(env, make_policy(cfg.policy, env, cfg.exploration), cfg, tmp_path)
    trainer.run()
    env.close()
    judge = make_env(cfg, 2, evaluation=True)
    errors = [
        evaluate(judge, PolicyController(one))["err_site_abs"] for one in (trainer.untrained_policy(), trainer.policy)
    ]
    judge.close()
    assert errors[1] < 0.4 * errors[0], errors
