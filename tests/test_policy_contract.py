"""Policies own their distribution: what a user's class must have, and that nothing else of it is used."""

import ast
import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from commands import ROOT, script, train
from env_cases import FRESH_POLICIES, small_env
from tensordict import TensorDict
from tensordict.nn import TensorDictModule
from torch import nn
from torch.distributions import Categorical, Distribution, Independent, MultivariateNormal, Normal

from muscle_torch.config import Choice, PPOConfig
from muscle_torch.errors import InputError
from muscle_torch.models import MLPPolicy, PolicyAdapter, build_policy, load_policy, make_policy
from muscle_torch.models.adapter import adapt
from muscle_torch.models.options import EXPLORATIONS, NormalOptions
from muscle_torch.rl.contracts import ActorCritic, Searchable, TrainingEnv
from muscle_torch.rl.optimizer import AdamW
from muscle_torch.rl.options import AdamWOptions
from muscle_torch.rl.ppo_update import PPOUpdate
from muscle_torch.storage.checkpoint import load_checkpoint

TOY = ("task=toy_arm", "num_envs=16", "threads=1", "ppo.num_steps=16", "device=cpu", "evaluate=false")
USERS_FILE = '''
import torch
from tensordict.nn import TensorDictModule
from torch import nn
from torch.distributions import Categorical, Distribution, MultivariateNormal


class Base(nn.Module):
    def __init__(self, observation_size, outputs):
        super().__init__()
        self.actor = nn.Sequential(nn.LayerNorm(observation_size), nn.Linear(observation_size, outputs))
        value = nn.Sequential(nn.LayerNorm(observation_size), nn.Linear(observation_size, 1))
        self.critic = TensorDictModule(value, ["observation"], ["state_value"])


class FullCovariance(Base):
    def __init__(self, observation_size, action_size, exploration, **options):
        super().__init__(observation_size, action_size)
        self.factor = nn.Parameter(exploration["initial_std"] * (torch.eye(action_size) - 0.5 * torch.ones(1)))

    def distribution(self, observation):
        factor = torch.tril(self.factor, -1) + torch.diag(self.factor.diagonal().abs() + 0.01)
        return MultivariateNormal(self.actor(observation), scale_tril=factor)


class Patterns(Distribution):
    """One of K muscle patterns."""

    def __init__(self, logits, patterns):
        self.choice, self.patterns = Categorical(logits=logits), patterns
        super().__init__(logits.shape[:-1], patterns.shape[1:], validate_args=False)

    def sample(self, sample_shape=torch.Size()):
        return self.patterns[self.choice.sample(sample_shape)]

    def log_prob(self, value):
        return self.choice.log_prob((value.unsqueeze(-2) - self.patterns).abs().sum(-1).argmin(-1))

    def entropy(self):
        return self.choice.entropy()

    @property
    def mode(self):
        return self.patterns[self.choice.mode]


class PatternPolicy(Base):
    def __init__(self, observation_size, action_size, exploration, **options):
        super().__init__(observation_size, 3)
        self.register_buffer("patterns", torch.tensor([[1.0, -1.0], [-1.0, 1.0], [-1.0, -1.0]]))

    def distribution(self, observation):
        return Patterns(self.actor(observation), self.patterns)
'''


@pytest.fixture
def users_file(tmp_path) -> Path:
    path = tmp_path / "mine.py"
    path.write_text(USERS_FILE)
    return path


def rows(run: Path) -> list[dict]:
    return [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]


@pytest.mark.parametrize(("name", "has_std"), [("FullCovariance", True), ("PatternPolicy", False)])
def test_a_users_distribution_trains_resumes_and_is_evaluated(tmp_path, users_file, name, has_std):
    words = (*TOY, f"policy=mine.py:{name}", "optimizer.schedule=constant", "save_interval=1")
    for experiment, updates in (("straight", 4), ("parts", 2)):
        done = train(*words, f"max_iterations={updates}", f"experiment={experiment}", cwd=tmp_path)
        assert done.returncode == 0, done.stderr
    runs = tmp_path / "runs"
    first, second = rows(runs / "parts")
    for row in (first, second):
        assert row["ppo/first_ratio"] == pytest.approx(1.0, abs=1e-4) and row["ppo/skipped_updates"] == 0
        assert row["ppo/entropy"] is not None and ("ppo/std" in row) == has_std
    assert second["ppo/kl"] != 0, "the distribution does not move"
    more = train("resume=runs/parts", "max_iterations=4", cwd=tmp_path)
    assert more.returncode == 0, more.stderr
    weights = [load_checkpoint(runs / run)["policy"] for run in ("straight", "parts")]
    assert all(torch.equal(value, weights[1][key]) for key, value in weights[0].items())
    initial = load_checkpoint(runs / "straight")["untrained"]
    assert any(not torch.equal(value, initial[key]) for key, value in weights[0].items() if ".actor." in key)


@pytest.mark.parametrize("name", ["FullCovariance", "PatternPolicy"])
def test_a_users_distribution_acts_by_its_mode_and_is_exported(tmp_path, users_file, name, monkeypatch):
    monkeypatch.chdir(tmp_path)
    words = (*TOY, f"policy=mine.py:{name}", "max_iterations=2", "experiment=mine")
    done = train(*(word for word in words if word != "evaluate=false"), cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    metrics = json.loads((tmp_path / "runs/mine/eval/final/metrics.json").read_text())
    assert metrics["num_clips"] >= 2 and metrics["err_site_abs"] > 0
    policy = load_policy("runs/mine")
    observation = torch.randn(7, policy.policy.spec["observation_size"])
    assert torch.equal(policy.act(observation), policy.policy.distribution(observation).mode)
    again = tmp_path / "again.json"
    assert script("tools/evaluate.py").main(["checkpoint=runs/mine", f"output={again}"]) == 0
    assert json.loads(again.read_text())["err_site_abs"] == pytest.approx(metrics["err_site_abs"])
    export_tool = script("tools/export.py")
    assert export_tool.main(["checkpoint=runs/mine", "output=policy.pt"]) == 0
    run = export_tool.READERS[".pt"](tmp_path / "policy.pt")
    excitation = (policy.act(observation).clamp(-1, 1) + 1) / 2  # the toy's mapping
    assert np.abs(run(observation.numpy()) - excitation.numpy()).max() < 1e-5


class Gaussian(nn.Module):
    """One layer; a full covariance whose factor is diagonal, or the diagonal normal that this is."""

    def __init__(self, full: bool):
        super().__init__()
        torch.manual_seed(0)
        self.full, self.actor, value = full, nn.Linear(5, 3), nn.Linear(5, 1)
        self.log_std = nn.Parameter(torch.tensor([-1.0, -0.5, 0.2]))
        self.critic = TensorDictModule(value, ["observation"], ["state_value"])

    def distribution(self, observation):
        loc, std = self.actor(observation), self.log_std.exp()
        if self.full:
            return MultivariateNormal(loc, scale_tril=torch.diag(std))
        return Independent(Normal(loc, std.expand_as(loc)), 1)


def test_ppo_uses_the_policys_own_density_and_entropy():
    """Two ways to write one distribution give one update."""
    generator = torch.Generator().manual_seed(1)

    def draw(*shape: int) -> torch.Tensor:
        return torch.randn(64, *shape, generator=generator)

    names = {"observation": 5, "action": 3, "advantage": 1, "value_target": 1, "state_value": 1}
    batch = TensorDict({name: draw(size) for name, size in names.items()}, batch_size=[64])
    options = PPOConfig(epochs=2, minibatches=2, entropy_coef=0.1)
    found = []
    for full in (True, False):
        policy = adapt(Gaussian(full), "gaussian")
        with torch.no_grad():
            log_prob = policy.distribution(batch["observation"]).log_prob(batch["action"]) + 0.1
        torch.manual_seed(2)
        update = PPOUpdate(policy, AdamW(policy.parameters(), AdamWOptions()), options)
        metrics = update.update(batch.clone().set("action_log_prob", log_prob))
        found.append((metrics, policy.state_dict()))
    (a, weights), (b, others) = found
    assert a == pytest.approx(b, rel=1e-4, abs=1e-5)
    by_hand = float(torch.tensor([-1.0, -0.5, 0.2]).sum() + 1.5 * np.log(2 * np.pi * np.e))
    assert a["entropy"] == pytest.approx(by_hand, rel=1e-2)
    assert all(torch.allclose(value, others[key], atol=1e-5) for key, value in weights.items())


# What is refused


class Modes(nn.Module):
    """A class that lacks something."""

    def __init__(self, size: int, actions: int, distribution=None, critic: nn.Module | None = None):
        super().__init__()
        self.actor = nn.Linear(size, actions)
        self.critic = critic or TensorDictModule(nn.Linear(size, 1), ["observation"], ["state_value"])
        if distribution is not None:
            self.distribution = lambda observation: distribution(self.actor(observation))


class NoMode(Distribution):
    def __init__(self, loc):
        self.normal = Independent(Normal(loc, torch.ones_like(loc)), 1)
        super().__init__(loc.shape[:-1], loc.shape[-1:], validate_args=False)
        self.sample, self.log_prob, self.entropy = self.normal.sample, self.normal.log_prob, self.normal.entropy


@pytest.mark.parametrize(
    ("options", "remedy"),
    [
        ({}, "`loc` and `scale`"),
        ({"distribution": NoMode}, "NoMode has no mode"),
        ({"distribution": lambda loc: Normal(loc, torch.ones_like(loc))}, "Independent"),
        ({"distribution": lambda loc: Categorical(logits=loc)}, "sample of its distribution must have shape"),
        ({"distribution": lambda loc: loc}, "must return a torch Distribution, it returned Tensor"),
        ({"critic": nn.Linear(6, 1)}, "TensorDict module that writes `state_value`"),
        (
            {
                "distribution": lambda loc: Independent(Normal(loc, torch.ones_like(loc)), 1),
                "critic": TensorDictModule(nn.Linear(6, 2), ["observation"], ["state_value"]),
            },
            r"'state_value' of shape \(2, 1\)",
        ),
    ],
)
def test_a_policy_without_what_training_needs_is_one_line(monkeypatch, options, remedy):
    from muscle_torch.models import build

    def make(observation_size, action_size, exploration):
        return Modes(observation_size, action_size, **options)

    monkeypatch.setattr(build, "policy_class", lambda name: make)
    env = SimpleNamespace(observation_size=6, action_size=2)
    with pytest.raises(InputError, match=remedy) as caught:
        build.make_policy(Choice("mine", {}), env, Choice("normal", NormalOptions()))
    assert "\n" not in str(caught.value) and "policy=mine" in str(caught.value)


def test_the_shell_sees_one_line_and_code_2(tmp_path):
    (tmp_path / "mine.py").write_text(
        USERS_FILE + "\n\nclass Bare(Base):\n    def __init__(self, observation_size, action_size, **options):\n"
        "        super().__init__(observation_size, action_size)\n\n\n"
        "class Strict(Base):\n    def __init__(self, observation_size, action_size):\n        pass\n"
    )
    for name, remedy in (("Bare", "`distribution(observation)`"), ("Strict", "exploration")):
        done = train(*TOY, f"policy=mine.py:{name}", "max_iterations=1", cwd=tmp_path)
        assert done.returncode == 2 and len(done.stderr.splitlines()) == 1, done.stderr
        assert remedy in done.stderr and "custom_policy" in done.stderr
    assert not (tmp_path / "runs").exists()


# The contracts


def members(protocol: type) -> set[str]:
    inherited = set().union(*(vars(kind) for kind in protocol.__mro__[:-2] if kind.__module__ == protocol.__module__))
    annotated = set().union(*(getattr(kind, "__annotations__", {}) for kind in protocol.__mro__))
    return {name for name in inherited | annotated if not name.startswith("_")}


def test_the_environment_has_what_the_contract_states():
    env = small_env()
    assert {"begin", "advance", "facts", "num_envs"} <= members(TrainingEnv)
    assert [name for name in members(TrainingEnv) if not hasattr(env, name)] == []
    assert env.facts()["observation_size"] == env.observation_size and set(env.health()) == {"nan_resets", "overflow"}
    env.close()


@pytest.mark.parametrize("name", [*FRESH_POLICIES, f"{ROOT / 'examples' / 'my_policy.py'}:MyPolicy"])
def test_every_policy_has_what_the_contract_states(name):
    terms = ["joint_pos", "muscle_length_error", "muscle_velocity_error"]
    env = small_env(actions={"muscles": {"mapping": "half"}}, observation={"terms": terms})
    policy = make_policy(name, env)
    assert {"actor", "critic", "distribution", "anneal"} <= members(ActorCritic)
    assert [part for part in members(ActorCritic) if not hasattr(policy, part)] == []
    observation = env.begin()
    distribution = policy.distribution(observation)
    action = distribution.sample()
    assert action.shape == distribution.mode.shape == (env.num_envs, env.action_size)
    assert distribution.log_prob(action).shape == distribution.entropy().shape == (env.num_envs,)
    assert isinstance(policy, Searchable) == (name == "reflex")
    again = build_policy(policy.spec)
    again.load_state_dict(policy.state_dict())
    assert torch.equal(again.distribution(observation).mode, distribution.mode)
    env.close()


@pytest.mark.parametrize("name", EXPLORATIONS)
def test_every_exploration_samples_around_the_networks_mean(name):
    policy = MLPPolicy(4, 3, {"name": name, "initial_std": 0.2, "final_std": 0.1}, hidden=[8])
    observation = torch.randn(5, 4)
    loc = policy.actor.module(observation)[0]
    mode = {"lattice": loc, "normal": loc, "tanh_normal": loc.tanh()}[name]
    distribution = policy.distribution(observation)
    assert torch.equal(distribution.mode, mode)
    assert (distribution.sample() - mode).abs().max() < 5 * 0.2
    policy.anneal(1.0)
    assert torch.allclose(policy.exploration.std(), torch.tensor(0.1))
    again = build_policy({"name": "mlp", **policy.spec})
    assert type(again.distribution(observation)) is type(distribution)
    with pytest.raises(InputError, match=r"did you mean 'normal'|choose|unknown exploration"):
        MLPPolicy(4, 3, {"name": "norml"}, hidden=[8])


def test_what_a_users_policy_leaves_out_does_nothing_and_what_it_has_is_called():
    plain = adapt(Gaussian(False), "gaussian")
    assert plain.normalizer is None and plain.auxiliary_loss(lambda x: x) is None
    plain.anneal(0.5)

    class Whole(Gaussian):
        def anneal(self, progress):
            self.progress = progress

        def auxiliary_loss(self, mean):
            return mean(torch.tensor(2.0))

        def search_space(self):
            return torch.zeros(2), torch.ones(2)

    whole = Whole(False)
    whole.normalizer = nn.Identity()
    adapted = adapt(whole, "whole")
    adapted.anneal(0.25)
    assert whole.progress == 0.25 and adapted.auxiliary_loss(lambda x: 3 * x) == 6.0
    assert adapted.normalizer is whole.normalizer and isinstance(adapted, PolicyAdapter)
    assert isinstance(adapted, Searchable) and adapted.search_space()[1].sum() == 2


def test_the_learner_knows_environments_and_policies_by_their_contracts_only():
    """Nothing in rl/ looks for attributes of a policy, or takes one, or an environment, as anything."""
    for path in sorted((ROOT / "muscle_torch" / "rl").glob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if (
                isinstance(node, ast.Call)
                and isinstance(node.func, ast.Name)
                and node.func.id in ("getattr", "hasattr")
            ):
                assert "policy" not in ast.unparse(node.args[0]), f"{path.name}:{node.lineno}"
            if isinstance(node, ast.arg) and node.arg in ("env", "policy") and node.annotation is not None:
                assert ast.unparse(node.annotation) not in ("Any", "nn.Module"), f"{path.name}:{node.lineno}"
        imports = [line for line in path.read_text(encoding="utf-8").splitlines() if "import" in line]
        assert not any("muscle_torch.envs" in line or "muscle_torch.motion" in line for line in imports), path.name
