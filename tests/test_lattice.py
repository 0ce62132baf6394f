"""Lattice exploration: torch's multivariate normal, with the covariance of noise on the last hidden layer."""

import copy

import pytest
import torch
from commands import script
from env_cases import CPU
from torch.distributions import MultivariateNormal, kl_divergence

from muscle_torch.config import config_to_dict, load_config
from muscle_torch.envs import make_env
from muscle_torch.errors import InputError
from muscle_torch.models import LatticeNormal, MLPPolicy, load_policy, make_policy
from muscle_torch.models.adapter import adapt
from muscle_torch.models.mixing import MixedActions
from muscle_torch.rl import Trainer
from muscle_torch.storage.checkpoint import save_checkpoint

LATTICE = {"name": "lattice", "initial_std": 0.3, "latent_std": 0.5}


def lattice(actions: int, latent: int, size: float, noise: float) -> tuple[LatticeNormal, MultivariateNormal]:
    """A distribution of 7 observations, and torch's in double precision."""
    generator = torch.Generator().manual_seed(actions)

    def draw(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=generator)

    loc, weight = draw(7, actions), size * draw(actions, latent)
    latent_std, std = draw(latent).exp(), noise * (0.2 * draw(actions)).exp()
    scaled = (weight * latent_std).double()
    covariance = scaled @ scaled.T + torch.diag(std.double().square())
    return LatticeNormal(loc, weight, latent_std, std), MultivariateNormal(loc.double(), covariance)


@pytest.mark.parametrize(
    ("actions", "latent", "size", "noise"),
    [(5, 3, 0.2, 0.3), (80, 512, 0.05, 0.3), (290, 512, 0.02, 0.1), (20, 64, 1.0, 0.01)],
)
def test_density_and_entropy_are_those_of_the_multivariate_normal(actions, latent, size, noise):
    """To 1e-4 of the density's magnitude; the last case has no Cholesky factor in single precision."""
    distribution, torchs = lattice(actions, latent, size, noise)
    torch.manual_seed(1)
    action = distribution.sample()
    assert action.shape == (7, actions) and distribution.log_prob(action).dtype == torch.float32
    expected = torchs.log_prob(action.double())
    scale = max(1.0, float(expected.abs().max()) / 100)
    assert (distribution.log_prob(action) - expected).abs().max() < 1e-4 * scale
    assert torch.allclose(distribution.entropy().double(), torchs.entropy(), atol=1e-4)
    assert torch.allclose(distribution.stddev.double(), torchs.stddev, rtol=1e-5)
    assert torch.allclose(distribution.covariance_matrix.double(), torchs.covariance_matrix, rtol=1e-5, atol=1e-7)
    assert torch.linalg.eigvalsh(distribution.covariance_matrix.double()).min() > 0
    assert torch.equal(distribution.mode, distribution.loc)


def test_samples_have_the_covariance_and_the_gradient_passes_through_the_weight():
    distribution, torchs = lattice(4, 6, 0.5, 0.2)
    torch.manual_seed(0)
    samples = distribution.sample(torch.Size([200_000]))[:, 0] - distribution.loc[0]
    covariance = samples.T @ samples / len(samples)
    assert torch.allclose(covariance.double(), torchs.covariance_matrix, atol=0.02 * float(covariance.max()))
    weight, action = distribution._weight.clone().requires_grad_(), distribution.sample()
    again = LatticeNormal(distribution.loc, weight, distribution._latent_std, distribution._std)
    (gradient,) = torch.autograd.grad(again.log_prob(action).sum() + again.entropy().sum(), weight)
    double = weight.detach().double().requires_grad_()
    scaled = double * distribution._latent_std.double()
    full = scaled @ scaled.T + torch.diag(distribution._std.double().square())
    same = MultivariateNormal(distribution.loc.double(), full)
    (expected,) = torch.autograd.grad(same.log_prob(action.double()).sum() + same.entropy().sum(), double)
    assert torch.allclose(gradient.double(), expected, rtol=1e-3, atol=1e-3) and gradient.abs().max() > 0.1


def test_the_divergence_that_the_schedule_reads_is_that_of_the_distributions():
    """The mean of log p_old - log p_new over samples, which PPO measures."""
    (old, torch_old), (new, torch_new) = lattice(4, 6, 0.5, 0.2), lattice(4, 6, 0.5, 0.5)
    torch.manual_seed(0)
    samples = old.sample(torch.Size([100_000]))
    estimate = (old.log_prob(samples) - new.log_prob(samples)).mean(0)
    assert torch.allclose(estimate.double(), kl_divergence(torch_old, torch_new), rtol=0.03)


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("mlp", {}),
        ("gated_residual", {"hidden": [16, 16]}),
        ("moe", {}),
        ("intention", {"state_std": False, "hidden": [16, 16]}),
    ],
)
def test_every_policy_learns_with_it_and_resumes_exactly(name, options):
    cfg = load_config(
        "toy_arm",
        num_envs=4,
        max_iterations=3,
        policy={"name": name, "hidden": [16, 16], **options},
        exploration=LATTICE,
        ppo={"num_steps": 8, "minibatches": 2, "epochs": 2, "target_kl": 0.1},
        optimizer={"schedule": "adaptive"},
        **CPU,
    )

    def trainer() -> Trainer:
        torch.manual_seed(0)
        env = make_env(cfg)
        return Trainer(env, make_policy(cfg.policy, env, cfg.exploration), cfg, None)

    straight = trainer()
    initial = {key: value.clone() for key, value in straight.policy.state_dict().items()}
    rows = [straight.iteration() for _ in range(3)]
    assert all(row["ppo/skipped_updates"] == 0 for row in rows)
    assert rows[0]["ppo/first_ratio"] == pytest.approx(1.0, abs=1e-4)
    first = trainer()
    first.iteration()
    stored = first.state_dict()
    second = trainer()
    second.load_state(stored)
    for _ in range(2):
        second.iteration()
    final = straight.policy.state_dict()
    assert all(torch.equal(value, final[key]) for key, value in second.policy.state_dict().items())
    for part in ("log_std", "latent_log_std"):
        assert not torch.equal(final[f"actor.module.exploration.{part}"], initial[f"actor.module.exploration.{part}"])


def test_a_policy_owns_the_covariance_of_its_last_layer(tmp_path):
    """In the policy, in a copy of it, after loading, and in an exported file, which computes the mean alone."""
    env = make_env("toy_arm", 1, **CPU)
    cfg = load_config(
        "toy_arm", policy={"name": "mlp", "hidden": [16]}, exploration={**LATTICE, "final_std": 0.1}, **CPU
    )
    policy = make_policy(cfg.policy, env, cfg.exploration)
    head = policy.actor.module.mean[1][-1]
    by_hand = 0.25 * head.weight @ head.weight.T + 0.09 * torch.eye(env.action_size)
    observation = torch.randn(3, env.observation_size)
    assert torch.allclose(policy.distribution(observation).covariance_matrix, by_hand, atol=1e-6)
    assert torch.allclose(policy.actor.module(observation)[1], by_hand.diagonal().sqrt().expand(3, -1))
    policy.anneal(1.0)
    assert torch.allclose(policy.distribution(observation).covariance_matrix, by_hand / 9, atol=1e-6)
    stored = {"policy": policy.state_dict(), "policy_spec": policy.spec, "task": "toy_arm"}
    save_checkpoint(tmp_path / "last.pt", {**stored, "config": config_to_dict(cfg), **env.facts()})
    loaded = load_policy(tmp_path)
    before = policy.distribution(observation).covariance_matrix
    assert torch.equal(loaded.distribution(observation).covariance_matrix, before)
    duplicate = copy.deepcopy(policy)
    with torch.no_grad():
        duplicate.actor.module.mean[1][-1].weight.zero_()
    assert torch.equal(policy.distribution(observation).covariance_matrix, before)
    independent = 0.01 * torch.eye(env.action_size)
    assert torch.allclose(duplicate.distribution(observation).covariance_matrix, independent)
    export_tool = script("tools/export.py")
    assert export_tool.main([f"checkpoint={tmp_path}", f"output={tmp_path / 'policy.pt'}"]) == 0
    run = export_tool.READERS[".pt"](tmp_path / "policy.pt")
    excitation = (loaded.act(observation).clamp(-1, 1) + 1) / 2
    assert abs(run(observation.numpy()) - excitation.numpy()).max() < 1e-5
    env.close()


def test_mixed_actions_have_the_standard_deviation_of_their_samples():
    policy = MLPPolicy(4, 3, {**LATTICE, "synergy_mixing": 0.5}, hidden=[8])
    with torch.no_grad():
        policy.mixing.matrix.copy_(torch.tensor([[1.0, 0.5, 0.0], [0.0, 1.0, 0.2], [0.3, 0.0, 1.0]]))
        policy.actor.module.mean[1][-1].weight.copy_(torch.randn(3, 8))
    distribution = policy.distribution(torch.zeros(1, 4))
    assert isinstance(distribution, MixedActions)
    torch.manual_seed(0)
    assert torch.allclose(distribution.sample(torch.Size([100_000])).std(0), distribution.stddev, rtol=0.02)


def test_what_has_no_single_covariance_is_refused_in_one_line():
    env = make_env("toy_arm", 1, **CPU)
    for policy, words in (("intention", "state_std=false"), ("mlp", "latent_std")):
        cfg = load_config("toy_arm", policy=policy, exploration={**LATTICE, "latent_std": float(policy != "mlp")})
        with pytest.raises(InputError, match=words):
            make_policy(cfg.policy, env, cfg.exploration)
    with pytest.raises(InputError, match="LatticeNormal from `distribution`"):
        adapt(MLPPolicy(4, 3), "mine", LATTICE, 3)
    env.close()
