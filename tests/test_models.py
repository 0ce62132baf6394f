"""Policies: shapes, the paper's start, frozen normalisation, storage, and plugging in one's own."""

import copy

import pytest
import torch
from conftest import data_file

from muscle_torch.config import load_config
from muscle_torch.envs import make_env
from muscle_torch.errors import InputError
from muscle_torch.models import POLICIES, ObservationNormalizer, build_policy, make_policy
from muscle_torch.models.trunks import ResidualBlock

NEEDED = ["joint_pos", "joint_vel", "muscle_length_error", "muscle_velocity_error"]


@pytest.fixture(scope="module")
def env():
    cfg = load_config("toy_arm", num_envs=4, threads=1, observation={"terms": NEEDED})
    made = make_env(cfg)
    yield made
    made.close()


def network(**changes):
    return {**vars(load_config("toy_arm").network), **changes}


@pytest.mark.parametrize("name", POLICIES)
@pytest.mark.parametrize("hidden", [[16], [16, 16], [16, 24, 8]])
def test_every_policy_acts_learns_and_survives_storage(env, name, hidden):
    policy = make_policy(name, env, network(hidden=hidden))
    observation = {"observation": env.begin()}
    from tensordict import TensorDict

    out = policy.critic(policy.actor(TensorDict(observation, batch_size=[4])))
    assert out["loc"].shape == out["scale"].shape == (4, env.action_size)
    assert out["state_value"].shape == (4, 1)
    (out["loc"].sum() + out["scale"].sum() + out["state_value"].sum()).backward()
    assert all(p.grad is not None for p in policy.parameters() if p.requires_grad)
    again = build_policy(policy.spec)
    again.load_state_dict(policy.state_dict())
    assert torch.equal(again.actor(TensorDict(observation, batch_size=[4]))["loc"], out["loc"])


def test_residual_block_starts_at_its_skip():
    block = ResidualBlock(8, (16, 8), "silu", gated=True)
    assert float(torch.sigmoid(block.gate)) == pytest.approx(0.1192, abs=1e-4)
    block.second_norm.weight.data.zero_()
    x = torch.randn(5, 8)
    assert torch.allclose(block(x), torch.nn.functional.silu(x))


def test_normalizer_equals_the_statistics_of_all_it_saw_and_is_frozen_until_commit():
    torch.manual_seed(0)
    data = torch.randn(300, 3) * torch.tensor([1.0, 5.0, 0.1]) + torch.tensor([0.0, -2.0, 7.0])
    normalizer = ObservationNormalizer(3, epsilon=0.0, clip=0.0)
    before = normalizer(data)
    for batch in data.split(70):
        normalizer.observe(batch)
    assert torch.equal(normalizer(data), before)
    normalizer.commit()
    assert torch.allclose(normalizer.mean, data.mean(0), atol=1e-5)
    assert torch.allclose(normalizer.var, data.var(0, correction=0), rtol=1e-4)
    kept = copy.deepcopy(normalizer.state_dict())
    normalizer.commit()
    assert all(torch.equal(v, kept[k]) for k, v in normalizer.state_dict().items())


def test_noise_falls_geometrically_to_its_last_value(env):
    policy = make_policy("mlp", env, network(initial_std=0.4, final_std=0.1))
    actor = policy.actor.module
    for progress, std in ((0.0, 0.4), (0.5, 0.2), (1.0, 0.1)):
        policy.anneal(progress)
        assert torch.allclose(actor.std(), torch.tensor(std))
    assert not actor.log_std.requires_grad
    learned = make_policy("mlp", env, network(initial_std=0.4)).actor.module.log_std
    assert learned.requires_grad


@pytest.mark.parametrize(
    ("name", "offered"),
    [
        ("gated_residul", "gated_residual"),
        ("docs/my_policy_example.py:MyPolcy", "MyPolicy"),
        ("nowhere.py:MyPolicy", "not found"),
        ("no_such_module:MyPolicy", "no_such_module"),
        ("torch.nn:Identity", "actor"),
    ],
)
def test_a_wrong_policy_is_one_line(env, name, offered, monkeypatch):
    from pathlib import Path

    monkeypatch.chdir(Path(__file__).parents[1])
    with pytest.raises(InputError) as caught:
        make_policy(name, env, network())
    assert offered in str(caught.value) and "\n" not in str(caught.value)


def test_normaliser_equals_the_published_one():
    import json

    import numpy as np

    stored = np.load(data_file("oracle/checkpoints/bimanual_plain/expected_12.npz"))
    assert json.loads(str(stored["meta_json"]))
    normalizer = ObservationNormalizer(stored["obs"].shape[1], epsilon=1e-8, clip=0.0)
    normalizer.mean.copy_(torch.from_numpy(stored["run_mean"]))
    normalizer.var.copy_(torch.from_numpy(stored["run_var"]))
    expected = torch.from_numpy(stored["norm_obs"])
    found = normalizer(torch.from_numpy(stored["obs"]))
    assert (found - expected).abs().max() <= 1e-5 * max(1.0, float(expected.abs().max()))
