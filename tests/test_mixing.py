"""Synergies inside the policy: they move muscles together, leave every muscle free, and change no probability law."""

import numpy as np
import pytest
import torch
from commands import ROOT
from env_cases import CPU
from torch.distributions import MultivariateNormal

from muscle_torch.config import config_from_dict, config_to_dict, load_config
from muscle_torch.embodiments import make_embodiment, similarity
from muscle_torch.envs import make_env
from muscle_torch.errors import InputError
from muscle_torch.models import build_policy, make_policy
from muscle_torch.models.mixing import mixing_matrix
from muscle_torch.storage.checkpoint import load_weights
from muscle_torch.storage.run_folder import fine_tuning

BODIES = ["toy_arm", "bimanual", "fullbody"]
MIXED = {"synergy_mixing": 0.9, "action_bias": 0.1}


def made(name: str = "mlp", exploration: str = "normal", task: str = "toy_arm", **options):
    """An environment and a policy whose actions are mixed."""
    chosen = {"name": exploration, **MIXED, **options}
    cfg = load_config(task, policy=name, exploration=chosen, actions={"muscles": {"mapping": "half"}})
    env = make_env(cfg, 2, **CPU)
    return env, make_policy(cfg.policy, env, cfg.exploration)


def test_antagonists_are_told_apart():
    assert similarity(make_embodiment("toy_arm")) == pytest.approx(np.array([[1.0, -1.0], [-1.0, 1.0]]))
    arm = make_embodiment("bimanual")
    cosines, index = arm.muscle_similarity, arm.actuator_names.index
    assert cosines[index("BRD"), index("BRA")] > 0.8  # both bend the elbow
    assert cosines[index("TRImed"), index("BRA")] < -0.8
    assert abs(cosines[index("BRA"), index("BRA_left")]) < 1e-6  # the other arm's


@pytest.mark.parametrize("name", BODIES)
def test_noise_is_correlated_like_moment_arms(name):
    cosines = make_embodiment(name).muscle_similarity
    mixing = torch.from_numpy(mixing_matrix(cosines, 0.9))
    expected = 0.1 * torch.eye(len(mixing)) + 0.9 * torch.from_numpy(cosines)
    torch.testing.assert_close(mixing @ mixing.T, expected.double(), rtol=0, atol=1e-6)
    weight = mixing.square().sum(dim=0)
    assert (weight[:-1] >= weight[1:] - 1e-6).all()
    torch.testing.assert_close(torch.linalg.matrix_rank(mixing), torch.tensor(len(mixing)))


def test_the_density_is_that_of_the_correlated_normal():
    """Against torch's own: N(M loc + b, s^2 M M^T), whose marginals keep the standard deviation s."""
    env, policy = made("mlp", initial_std=0.3)
    cosines = np.array([[1.0, -1.0], [-1.0, 1.0]])
    covariance = 0.3**2 * (0.1 * np.eye(2) + 0.9 * cosines)
    observation = torch.randn(5, env.observation_size, generator=torch.Generator().manual_seed(0))
    mixed = policy.distribution(observation)
    law = MultivariateNormal(mixed.mode, torch.from_numpy(covariance).float())
    action = mixed.sample()
    torch.testing.assert_close(mixed.log_prob(action), law.log_prob(action), rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(mixed.entropy(), law.entropy(), rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(mixed.stddev, torch.full((5, 2), 0.3), rtol=1e-5, atol=1e-5)
    many = policy.distribution(observation[:1]).sample(torch.Size([20000]))[:, 0]
    torch.testing.assert_close(torch.cov(many.T), torch.from_numpy(covariance).float(), rtol=0, atol=0.004)
    loc = policy.actor.module(observation)[0]
    torch.testing.assert_close(mixed.mode, loc @ policy.mixing.matrix.T + 0.1)
    env.close()


@pytest.mark.parametrize("exploration", ["normal", "tanh_normal"])
@pytest.mark.parametrize("name", ["mlp", f"{ROOT / 'examples' / 'my_policy.py'}:MyPolicy"])
def test_every_policy_can_be_mixed_and_is_stored_with_it(name, exploration):
    env, policy = made(name, exploration)
    observation = env.begin() + 1.0
    again = build_policy(policy.spec)
    again.load_state_dict(policy.state_dict())
    mixed, restored = policy.distribution(observation), again.distribution(observation)
    action = mixed.sample()
    assert torch.equal(restored.mode, mixed.mode)
    assert torch.equal(restored.log_prob(action), mixed.log_prob(action))
    assert float((policy.mixing.matrix @ policy.mixing.inverse - torch.eye(2)).abs().max()) < 1e-6
    env.close()


def test_motors_are_not_mixed():
    cfg = load_config("toy_arm", embodiment={"motor": True}, actions=["motors", "muscles"], exploration=MIXED)
    env = make_env(cfg, 1, **CPU)
    mixing = make_policy(cfg.policy, env, cfg.exploration).mixing
    assert mixing.matrix[0].tolist() == [1.0, 0.0, 0.0] and mixing.matrix[:, 0].tolist() == [1.0, 0.0, 0.0]
    assert mixing.bias.tolist() == pytest.approx([0.0, 0.1, 0.1])
    env.close()


def test_what_cannot_be_mixed_is_one_line():
    env, policy = made()
    with pytest.raises(InputError, match=r"synergy_mixing=1.0: choose a fraction"):
        made(synergy_mixing=1.0)
    plain = make_policy(env.config.policy, env)
    stored = {"policy": policy.state_dict(), "task": "toy_arm", **env.facts()}
    with pytest.raises(InputError, match=r"exploration\.synergy_mixing"):
        load_weights(plain, stored, env, "toy_arm")
    with pytest.raises(InputError, match="does not fit"):
        load_weights(policy, stored | {"policy": plain.state_dict()}, env, "toy_arm")
    motors = load_config("toy_arm", embodiment={"motor": True}, actions=["motors"], exploration=MIXED)
    with pytest.raises(InputError, match="excite muscles"):
        make_policy(motors.policy, make_env(motors, 1, **CPU), motors.exploration)
    env.close()


@pytest.mark.parametrize(("before", "now"), [(MIXED, {}), ({}, MIXED)])
def test_a_run_from_a_checkpoint_has_its_mixing(before, now, capsys):
    source = load_config("toy_arm", exploration=before)
    env = make_env(source, 1, **CPU)
    policy = make_policy(source.policy, env, source.exploration)
    stored = {"policy": policy.state_dict(), "config": config_to_dict(source), "task": "toy_arm", **env.facts()}
    cfg = fine_tuning(load_config("toy_arm", exploration=now), stored)
    assert "exploration.synergy_mixing" in capsys.readouterr().out
    tuned = make_policy(cfg.policy, env, cfg.exploration)
    load_weights(tuned, stored, env, "toy_arm")
    observation = env.begin()
    assert torch.equal(tuned.distribution(observation).mode, policy.distribution(observation).mode)
    assert config_to_dict(cfg)["exploration"] == config_to_dict(source)["exploration"]
    env.close()


def test_configs_of_older_checkpoints_load_unless_the_environment_mixed():
    stored = config_to_dict(load_config("toy_arm"))
    old = {**stored, "actions": [{**stored["actions"][0], "synergy_mixing": 0.0, "action_bias": 0.0}]}
    assert config_from_dict(old) == load_config("toy_arm")
    with pytest.raises(InputError, match="retrain it"):
        config_from_dict({**stored, "actions": [{**stored["actions"][0], "synergy_mixing": 0.9}]})
