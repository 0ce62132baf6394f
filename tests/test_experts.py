"""A gate over frozen experts: its distribution, what learns, and the one checkpoint that every tool takes."""

import math

import pytest
import torch
from commands import script
from env_cases import CPU

from muscle_torch.config import Config, config_to_dict, load_config
from muscle_torch.envs import make_env
from muscle_torch.errors import InputError
from muscle_torch.evaluation import PolicyController, evaluate
from muscle_torch.models import load_policy, make_policy
from muscle_torch.models.experts import ExpertChoice
from muscle_torch.rl import Trainer
from muscle_torch.storage.checkpoint import load_weights, save_checkpoint

SMALL = {"policy": {"name": "mlp", "hidden": [16]}, "ppo": {"num_steps": 8, "minibatches": 2, "epochs": 2}, **CPU}


def save_expert(path, seed: int, task: str = "toy_arm", **options) -> str:
    """Save a policy of a seed, with observed statistics, as a checkpoint."""
    cfg = load_config(task, num_envs=4, **{**SMALL, **options})
    env = make_env(cfg)
    torch.manual_seed(seed)
    policy = make_policy(cfg.policy, env, cfg.exploration)
    with torch.no_grad():
        policy.actor.module.mean[1][-1].weight.mul_(100)
    policy.normalizer.observe(env.begin() + torch.randn(4, env.observation_size))
    policy.normalizer.commit()
    stored = {"policy": policy.state_dict(), "policy_spec": policy.spec, "task": task, "config": config_to_dict(cfg)}
    save_checkpoint(path, stored | env.facts())
    env.close()
    return str(path)


@pytest.fixture(scope="module")
def experts(tmp_path_factory) -> list[str]:
    folder = tmp_path_factory.mktemp("experts")
    return [save_expert(folder / f"expert_{seed}.pt", seed) for seed in range(3)]


def gate_config(checkpoints: list[str], **options) -> Config:
    policy = {"name": "experts", "checkpoints": checkpoints, "gate_hidden": [16, 8]}
    return load_config("toy_arm", num_envs=4, **{**SMALL, "policy": policy, **options})


def test_the_density_is_the_probability_of_the_experts_with_that_action():
    logits = torch.tensor([[1.0, 2.0, 3.0], [0.0, 0.0, 5.0]], requires_grad=True)
    choices = torch.tensor([[[0.0, 1.0], [1.0, 0.0], [0.5, 0.5]], [[2.0, 2.0], [2.0, 2.0], [3.0, 3.0]]])
    distribution = ExpertChoice(logits, choices)
    probability = logits.detach().softmax(-1)
    density = distribution.log_prob(torch.tensor([[1.0 + 1e-7, 0.0], [2.0, 2.0]]))
    assert torch.allclose(density.exp(), torch.stack([probability[0, 1], probability[1, 0] + probability[1, 1]]))
    (gradient,) = torch.autograd.grad(density[0], logits, retain_graph=True)
    assert torch.allclose(gradient[0], torch.tensor([0.0, 1.0, 0.0]) - probability[0], atol=1e-6)
    assert torch.equal(distribution.mode, torch.tensor([[0.5, 0.5], [3.0, 3.0]]))
    by_hand = -(probability * probability.log()).sum(-1)
    assert torch.allclose(distribution.entropy(), by_hand) and float(by_hand[1]) < math.log(3)
    torch.manual_seed(0)
    samples = distribution.sample(torch.Size([50_000]))
    assert samples.shape == (50_000, 2, 2)
    share = (samples[:, 0] == choices[0, 2]).all(-1).float().mean()
    assert float(share) == pytest.approx(float(probability[0, 2]), abs=0.01)


def test_the_gate_learns_and_the_experts_stay_the_same_to_the_bit(experts):
    cfg = gate_config(experts)
    env = make_env(cfg)
    torch.manual_seed(0)
    policy = make_policy(cfg.policy, env, cfg.exploration)
    observation = env.begin()
    stored = [load_policy(path) for path in experts]
    assert torch.equal(policy.distribution(observation).choices[:, 1], stored[1].act(observation))
    assert torch.equal(policy.gate[0].mean, stored[0].policy.normalizer.mean)
    before = {name: value.clone() for name, value in policy.state_dict().items()}
    trainer = Trainer(env, policy, cfg, None)
    for _ in range(5):
        row = trainer.iteration()
        assert row["ppo/skipped_updates"] == 0 and 0 < row["ppo/entropy"] <= math.log(3)
    changed = {name for name, value in policy.state_dict().items() if not torch.equal(value, before[name])}
    assert changed and {name.split(".")[2] for name in changed if name.startswith("actor.")} == {"gate"}
    assert any(name.startswith("critic.") for name in changed)
    for expert, loaded in zip(policy.experts, stored, strict=True):
        original = loaded.policy.state_dict()
        assert all(torch.equal(value, original[name]) for name, value in expert.state_dict().items())
    second = Trainer(make_env(cfg), make_policy(cfg.policy, env, cfg.exploration), cfg, None)
    state = trainer.state_dict()
    straight = trainer.iteration()["ppo/value_loss"]
    second.load_state(state)
    assert second.iteration()["ppo/value_loss"] == straight
    env.close()


@pytest.mark.parametrize("suffix", [".pt", pytest.param(".onnx", marks=pytest.mark.slow)])
def test_one_checkpoint_is_evaluated_exported_and_continued(experts, tmp_path, suffix):
    cfg = gate_config(experts)
    env = make_env(cfg)
    policy = make_policy(cfg.policy, env, cfg.exploration)
    trainer = Trainer(env, policy, cfg, tmp_path)
    trainer.iteration()
    trainer.save({})
    again = gate_config([], checkpoint=str(tmp_path), **{"policy.gate_hidden": [16, 8]})
    tuned = make_policy(again.policy, make_env(again), again.exploration)
    stored = torch.load(tmp_path / "checkpoints" / "last.pt", weights_only=True)
    load_weights(tuned, stored, env, "toy_arm")
    loaded = load_policy(tmp_path)
    observation = env.begin()
    assert torch.equal(loaded.act(observation), policy.distribution(observation).mode)
    assert torch.equal(tuned.distribution(observation).mode, loaded.act(observation))
    assert torch.allclose(loaded.activity(observation)["gate"].sum(-1), torch.ones(4))
    metrics = evaluate(make_env(cfg, evaluation=True), PolicyController(loaded))
    output = tmp_path / "metrics.json"
    assert script("tools/evaluate.py").main([f"checkpoint={tmp_path}", f"output={output}", "distances=false"]) == 0
    assert metrics["err_site_abs"] > 0 and output.exists()
    export_tool = script("tools/export.py")
    path = tmp_path / f"policy{suffix}"
    assert export_tool.main([f"checkpoint={tmp_path}", f"output={path}"]) == 0
    excitation = (loaded.act(observation).clamp(-1, 1) + 1) / 2
    assert abs(export_tool.READERS[suffix](path)(observation.numpy()) - excitation.numpy()).max() < 1e-5
    env.close()


def test_experts_of_another_body_or_profile_are_one_line(experts, tmp_path):
    reach = save_expert(tmp_path / "reach.pt", 0, "toy_reach")
    excitation = save_expert(tmp_path / "clip.pt", 0, actions={"muscles": {"mapping": "half"}})
    cases = (
        ([experts[0], reach], "reach.pt is of task=toy_reach"),
        ([excitation], "clip.pt was trained with other settings of actions"),
        ([str(tmp_path / "none")], "not found"),
        ([], "policy.checkpoints="),
    )
    for checkpoints, message in cases:
        cfg = gate_config(checkpoints)
        env = make_env(cfg)
        with pytest.raises(InputError, match=message) as caught:
            make_policy(cfg.policy, env, cfg.exploration)
        assert "\n" not in str(caught.value)
        env.close()
