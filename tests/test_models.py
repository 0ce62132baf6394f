"""Policies: shapes, the paper's start, frozen normalisation, storage, and plugging in one's own."""

import copy

import pytest
import torch
from conftest import data_file
from env_cases import FRESH_POLICIES
from tensordict import TensorDict

from muscle_torch.config import load_config
from muscle_torch.embodiments import make_embodiment
from muscle_torch.envs import make_env
from muscle_torch.errors import InputError
from muscle_torch.models import MLPPolicy, MoEPolicy, ObservationNormalizer, build_policy, make_policy
from muscle_torch.models.moe import MixtureLayer
from muscle_torch.models.reflex import ReflexPolicy
from muscle_torch.models.trunks import ResidualBlock

NEEDED = ["joint_pos", "joint_vel", "muscle_length_error", "muscle_velocity_error"]


@pytest.fixture(scope="module")
def env():
    half = {"muscles": {"mapping": "half"}}
    cfg = load_config("toy_arm", num_envs=4, threads=1, actions=half, observation={"terms": NEEDED})
    made = make_env(cfg)
    yield made
    made.close()


def chosen(name, env, **exploration):
    """A policy of two layers with this noise."""
    cfg = load_config("toy_arm", policy=name, exploration=exploration)
    return make_policy(cfg.policy, env, cfg.exploration)


MIXTURE = {"experts": 3, "layers": [0], "networks": "both", "temperature": 0.7, "balance": 0.1}


@pytest.mark.parametrize("name", FRESH_POLICIES)
@pytest.mark.parametrize("hidden", [[16], [16, 16], [16, 24, 8]])
def test_every_policy_acts_learns_and_survives_storage(env, name, hidden):
    mixture = {"mixture": MIXTURE} if name == "moe" else {}
    policy = chosen({"name": name, "hidden": hidden, **mixture}, env)
    observation = {"observation": env.begin()}
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
    assert float(torch.sigmoid(block.gate.detach())) == pytest.approx(0.1192, abs=1e-4)
    block.second_norm.weight.data.zero_()
    x = torch.randn(5, 8)
    assert torch.allclose(block(x), torch.nn.functional.silu(x))


@pytest.mark.parametrize(("inputs", "outputs"), [(10, 64), (64, 10)])
def test_units_of_a_skip_vary_as_inputs_do(inputs, outputs):
    """Orthogonal weights of gain g, n inputs of variance 1: units vary by g^2 n / units if n < units, else by g^2."""
    torch.manual_seed(0)
    x = torch.randn(20000, inputs)
    for gain, expected in ((0.0, 1.0), (1.0, min(1.0, inputs / outputs) ** 0.5)):
        block = ResidualBlock(inputs, (16, outputs), "silu", gated=True, skip_gain=gain)
        assert float(block.skip(x).std()) == pytest.approx(expected, rel=0.02)


def test_a_mixture_layer_is_the_weighted_sum_of_its_experts():
    torch.manual_seed(0)
    layer = MixtureLayer(5, 8, experts=3, temperature=0.5, name="tanh")
    torch.nn.init.normal_(layer.gate.weight)
    x = torch.randn(7, 5)
    weight = torch.softmax(layer.gate(x) / 0.5, dim=1)
    by_hand = sum(weight[:, [e]] * layer.outer[e](torch.tanh(layer.inner[e](x))) for e in range(3))
    assert torch.allclose(layer(x), by_hand, atol=1e-6)
    assert layer.inner[0].weight.shape == (4, 5)


def test_balance_loss_is_least_when_all_experts_work_alike():
    mixture = MIXTURE | {"experts": 4, "networks": "actor", "balance": 1.0}
    policy = MoEPolicy(2, 2, hidden=[8], mixture=mixture)
    (layer,) = [m for m in policy.modules() if isinstance(m, MixtureLayer)]
    layer.gate.weight.data.zero_()  # and its bias is zero: equal weights
    layer(torch.ones(6, 2))
    assert float(policy.auxiliary_loss().detach()) == pytest.approx(1.0)
    layer.gate.bias.data[2] = 100.0
    layer(torch.ones(6, 2))
    copy.deepcopy(layer)  # a pending share does not stop a copy
    assert float(policy.auxiliary_loss().detach()) == pytest.approx(4.0)


def test_auxiliary_loss_reaches_every_gate_of_the_networks_named():
    for networks, gates in (("actor", 1), ("critic", 1), ("both", 2)):
        policy = MoEPolicy(6, 2, hidden=[8, 8], mixture=MIXTURE | {"networks": networks})
        policy.critic(policy.actor(TensorDict({"observation": torch.randn(9, 6)}, batch_size=[9])))
        loss = policy.auxiliary_loss()
        assert float(loss) >= 0.1 * gates  # weight 0.1, each at least 1
        loss.backward()
        learned = [m for m in policy.modules() if isinstance(m, MixtureLayer) and m.gate.weight.grad is not None]
        assert len(learned) == gates


@pytest.mark.parametrize(
    ("wrong", "named"),
    [({"experts": 1}, "2 experts"), ({"layers": [2]}, "between 0 and 1"), ({"networks": "all"}, "actor, critic or")],
)
def test_a_wrong_mixture_is_one_line(wrong, named):
    with pytest.raises(InputError, match=named):
        MoEPolicy(6, 2, hidden=[8, 8], mixture=MIXTURE | wrong)


def test_without_layernorm_there_is_none_and_old_checkpoints_keep_theirs():
    plain = MLPPolicy(6, 2, hidden=[8, 8], layernorm_epsilon=0.0)
    assert not any(isinstance(m, torch.nn.LayerNorm) for m in plain.modules())
    spec = plain.spec | {"name": "mlp"}
    for key in ("layernorm_epsilon", "normalizer_epsilon", "normalizer_clip"):
        del spec[key]  # as a checkpoint of before these keys
    old = build_policy(spec)
    assert {m.eps for m in old.modules() if isinstance(m, torch.nn.LayerNorm)} == {1e-5}
    assert (old.normalizer.epsilon, old.normalizer.clip) == (1e-4, 10.0)


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
    policy = chosen("mlp", env, initial_std=0.4, final_std=0.1)
    actor = policy.actor.module
    for progress, std in ((0.0, 0.4), (0.5, 0.2), (1.0, 0.1)):
        policy.anneal(progress)
        assert torch.allclose(actor.exploration.std(), torch.tensor(std))
    assert not actor.exploration.log_std.requires_grad
    learned = chosen("mlp", env, initial_std=0.4).exploration.log_std
    assert learned.requires_grad


@pytest.mark.parametrize(
    ("name", "offered"),
    [
        ("gated_residul", "gated_residual"),
        ("examples/my_policy.py:MyPolcy", "MyPolicy"),
        ("nowhere.py:MyPolicy", "does not exist"),
        ("no_such_module:MyPolicy", "no_such_module"),
        ("torch.nn:Identity", "actor"),
    ],
)
def test_a_wrong_policy_is_one_line(env, name, offered, monkeypatch):
    from pathlib import Path

    monkeypatch.chdir(Path(__file__).parents[1])
    with pytest.raises(InputError) as caught:
        make_policy(name, env)
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


def test_reflex_pulls_what_is_too_long_and_is_silent_untrained(env):
    policy = make_policy("reflex", env)
    actor, layout = policy.reflexes, env.observation_layout
    observation = torch.zeros(1, env.observation_size)
    observation[0, layout["muscle_length_error"]] = torch.tensor([0.5, -0.5])
    observation[0, layout["muscle_velocity_error"]] = torch.tensor([1.0, 0.0])
    assert torch.equal(actor.reflex(observation, actor.gains, actor.posture), torch.zeros(1, 2))
    policy.adopt(torch.tensor([4.0, 0.5, 0.1]).log().index_fill(0, torch.tensor([2]), 0.1))
    assert torch.allclose(actor.reflex(observation, actor.gains, actor.posture), torch.tensor([[2.6, -1.9]]), atol=1e-4)


def test_posture_pulls_of_antagonists_are_opposite_and_both_sides_alike():
    body = make_embodiment("fullbody")
    pulls = torch.from_numpy(body.posture_pulls)
    assert torch.equal(pulls.abs().amax(-1), torch.ones(2, 3, dtype=pulls.dtype))
    muscle = {name: number for number, name in enumerate(body.actuator_names)}
    ankle, hip, subtalar, adduction = (0, 0), (0, 1), (1, 0), (1, 1)
    for joints, larger, smaller, mirrored in (
        (ankle, "tibant", "soleus", 1),
        (hip, "psoas", "glmax1", 1),
        (adduction, "addlong", "glmed1", -1),
        (subtalar, "tibpost", "perlong", -1),
    ):
        for side, sign in (("r", 1), ("l", mirrored)):
            assert sign * pulls[joints][muscle[f"{larger}_{side}"]] > 0.1
            assert sign * pulls[joints][muscle[f"{smaller}_{side}"]] < -0.1
    assert abs(pulls[0, 2, muscle["soleus_r"]]) < 1e-9 and abs(pulls[1, 2, muscle["tibant_l"]]) < 1e-9


def test_posture_answers_the_roots_error_in_its_own_plane():
    layout = {"muscle_length_error": [0, 2], "muscle_velocity_error": [2, 4], "root_error": [4, 16]}
    policy = ReflexPolicy(16, 2, layout, [0, 0], 1)
    actor = policy.reflexes
    actor.pulls[0, 0] = torch.tensor([1.0, -0.5])  # the sagittal joints
    actor.pulls[1, 0] = torch.tensor([0.0, 0.25])  # the frontal ones
    candidate = torch.tensor([-50.0, -50.0, 0.0, *(2.0, 0.0, 0.0, 0.0), *(0.0, 0.0, 0.0, 3.0)])
    observation = torch.zeros(1, 16)
    observation[0, 4 + 1] = 0.05  # [m] behind, half a unit
    assert torch.allclose(policy.search_action(observation, candidate[None]), torch.tensor([[1.0, -0.5]]))
    observation[0, 4 + 10] = -1.0  # [rad/s] about y, one unit
    assert torch.allclose(policy.search_action(observation, candidate[None]), torch.tensor([[1.0, -0.5 - 0.75]]))
    policy.adopt(candidate)
    assert torch.allclose(actor.reflex(observation, actor.gains, actor.posture), torch.tensor([[1.0, -1.25]]))
