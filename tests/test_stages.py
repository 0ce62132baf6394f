"""Stages: algorithms one after the other in one run that resumes exactly, a search before PPO, and one of one's own."""

import copy
import json

import numpy as np
import pytest
import torch
from commands import train
from test_rl import small, without_times
from torch import Tensor, nn

from muscle_torch.config import load_config
from muscle_torch.envs.goals.goal import Headline
from muscle_torch.errors import InputError
from muscle_torch.rl import ALGORITHMS, Algorithm
from muscle_torch.rl.gradients import GradientAverage
from muscle_torch.storage.checkpoint import load_checkpoint

SEARCH = {"policy": "reflex", "actions": {"muscles": {"mapping": "half"}}, "stages": ["cem", "ppo"]}
SEARCH |= {"cem": {"rounds": 3, "candidates": 8, "steps": 30, "trials": 2}}
TWICE = {"stages": ["ppo", "ppo"], "optimizer": {"learning_rate": 1e-3, "schedule": "linear"}}
PER_UPDATE = 8 * 16  # environments, control steps


class Cloning(Algorithm):
    """Regress the policy's mode on a teacher's action in the states that the policy visits (Ross 2011)."""

    @classmethod
    def num_steps(cls, cfg) -> int:
        return 16

    def __init__(self, *parts):
        super().__init__(*parts)
        self.optimizer = torch.optim.Adam([p for p in self.policy.parameters() if p.requires_grad], 3e-3)

    def begin(self, observation) -> Tensor:
        self.observations = []
        return super().begin(observation)

    def act(self, observation) -> Tensor:
        self.observations.append(observation)
        return self.policy.distribution(observation).sample()

    def record(self, step, done) -> bool:
        return True

    def update(self, observation) -> dict[str, float]:
        observations = torch.cat(self.observations)
        teacher = observations[:, :2].tanh()
        loss = (self.policy.distribution(observations).mode - teacher).square().mean()
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()
        return {"cloning/loss": float(loss.detach())}

    def state_dict(self) -> dict:
        return self.optimizer.state_dict()

    def load_state_dict(self, state) -> None:
        self.optimizer.load_state_dict(state)


@pytest.fixture
def own_row(monkeypatch):
    monkeypatch.setitem(ALGORITHMS, "cloning", Cloning)


def learned(trainer, updates: int) -> list[dict]:
    return [without_times(trainer.iteration()) for _ in range(updates)]


def assert_resumes_exactly(tmp_path, interrupted_after: int, updates: int, budget: int = 0, **settings) -> list[dict]:
    """Straight through, and saved and continued by another trainer: the same metrics and weights, to the bit.

    budget: max_iterations; 0: stage_steps decides.
    """
    whole = small(tmp_path / "whole", budget, **settings)
    straight = learned(whole, updates)
    first = small(tmp_path / "parts", budget, **settings)
    learned(first, interrupted_after)
    first.save({})
    torch.randn(100)  # what happens in between must not matter
    second = small(tmp_path / "parts", budget, **settings)
    second.load_state(load_checkpoint(tmp_path / "parts"))
    assert (second.stage_index, second.stage_update) == (first.stage_index, first.stage_update)
    for a, b in zip(straight[interrupted_after:], learned(second, updates - interrupted_after), strict=True):
        np.testing.assert_equal(a, b)
    assert whole.finished and second.finished and whole.step == second.step
    for (key, a), b in zip(whole.policy.state_dict().items(), second.policy.state_dict().values(), strict=True):
        assert torch.equal(a, b), key
    return straight


@pytest.mark.parametrize("interrupted_after", [1, 2, 3])
def test_two_stages_resume_exactly_in_each_and_between(tmp_path, interrupted_after):
    rows = assert_resumes_exactly(tmp_path, interrupted_after, 5, **TWICE, stage_steps=[2 * PER_UPDATE, 3 * PER_UPDATE])
    rates = [row["ppo/learning_rate"] for row in rows]
    assert rates == pytest.approx([1e-3, 5e-4, 1e-3, 2e-3 / 3, 1e-3 / 3]), "each stage has schedules of its own"


@pytest.mark.parametrize("interrupted_after", [1, 3, 4])
def test_a_search_and_ppo_resume_exactly(tmp_path, interrupted_after):
    rows = assert_resumes_exactly(tmp_path, interrupted_after, 5, budget=2, **SEARCH)
    assert [set(row) == {"cem/reward", "cem/best_reward"} for row in rows] == [True] * 3 + [False] * 2
    assert all(row["cem/best_reward"] >= row["cem/reward"] for row in rows[:3])
    contents = load_checkpoint(tmp_path / "parts")
    assert contents["stage"] == (0 if interrupted_after < 3 else 1)
    assert contents["step"] == contents["update"] * PER_UPDATE == max(0, interrupted_after - 3) * PER_UPDATE


def test_an_algorithm_of_ones_own_trains_and_resumes(tmp_path, own_row):
    rows = assert_resumes_exactly(tmp_path, 3, 8, stages=["cloning", "ppo"], stage_steps=[4 * PER_UPDATE] * 2)
    assert all("cloning/loss" in row and "ppo/kl" not in row for row in rows[:4])
    assert all("ppo/kl" in row and "cloning/loss" not in row for row in rows[4:])
    assert all(row["err/site_abs"] > 0 and "episode/reward" in row for row in rows)


def test_an_algorithm_of_ones_own_learns(tmp_path, own_row):
    trainer = small(tmp_path, 60, stages=["cloning"], policy="mlp")
    losses = [trainer.iteration()["cloning/loss"] for _ in range(60)]
    assert losses[-1] < 0.1 * losses[0] and trainer.finished, losses


def test_a_run_writes_rows_of_what_counts_only(tmp_path, own_row, capsys):
    trainer = small(tmp_path, 4, **SEARCH | {"stages": ["cem", "cloning", "ppo"]})
    assert [(stage.name, stage.updates) for stage in trainer.stages] == [("cem", 3), ("cloning", 2), ("ppo", 2)]
    stages = []
    assert trainer.run(lambda update, step, _: stages.append((trainer.stage.name, update, step))) == 0
    rows = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert [row["step"] for row in rows] == [PER_UPDATE * (i + 1) for i in range(4)]
    assert [("cloning/loss" in row, "ppo/kl" in row) for row in rows] == [(True, False)] * 2 + [(False, True)] * 2
    assert [update for _, update, _ in stages] == [1, 2, 3, 4] and stages[-1][2] == trainer.total_steps
    out = capsys.readouterr().out
    assert "cem 3/3: cem/reward" in out and f"/{4 * PER_UPDATE:,d} steps" in out


# Budgets


def updates_of(**settings) -> list[int]:
    from muscle_torch.envs import make_env
    from muscle_torch.models import make_policy
    from muscle_torch.rl.stages import plan_stages

    cfg = load_config("toy_arm", **{"num_envs": 8, "threads": 1, "ppo": {"num_steps": 16}} | settings)
    env = make_env(cfg)
    try:
        return [stage.updates for stage in plan_stages(env, make_policy(cfg.policy, env, cfg.exploration), cfg, 8)]
    finally:
        env.close()


@pytest.mark.parametrize(
    ("settings", "updates"),
    [
        ({"total_steps": 10 * PER_UPDATE}, [10]),
        ({"total_steps": 10 * PER_UPDATE, "stages": ["ppo", "ppo"]}, [5, 5]),
        ({"max_iterations": 7, "stages": ["ppo", "ppo"]}, [4, 3]),
        ({"stage_steps": [1, 6 * PER_UPDATE], "stages": ["ppo", "ppo"]}, [1, 6]),
    ],
)
def test_budgets_become_updates(settings, updates):
    assert updates_of(**settings) == updates


@pytest.mark.parametrize(
    ("settings", "named"),
    [
        ({"stages": ["pppo"]}, "did you mean 'ppo'"),
        ({"stages": []}, "at least one algorithm"),
        ({"stages": ["cem", "ppo"]}, r"policy=gated_residual has no parameters that cem can search"),
        ({"stages": ["ppo"], "stage_steps": [10, 10]}, r"stage_steps=\[10, 10\]: list one budget"),
        ({"stages": ["ppo", "ppo"], "max_iterations": 1}, "at least one update for each"),
        ({**SEARCH, "cem": {"rounds": 0}}, "cem.rounds=0"),
        ({"ppo": {"num_steps": 16, "minibatches": 1000}}, "ppo.minibatches=1000 for 128 samples"),
    ],
)
def test_stages_that_cannot_run_are_one_line(tmp_path, settings, named):
    with pytest.raises(InputError, match=named) as caught:
        updates_of(**settings) if "policy" not in settings else small(tmp_path, 1, **settings)
    assert "\n" not in str(caught.value)


# What a run makes of them


def test_a_search_is_skipped_when_a_run_starts_from_a_checkpoint(tmp_path):
    words = ["task=toy_arm", "num_envs=8", "threads=1", "device=cpu", "evaluate=false", "policy=reflex"]
    words += [
        "actions.muscles.mapping=half",
        "ppo.num_steps=16",
        "max_iterations=1",
        "stages=[cem,ppo]",
        "cem.rounds=1",
    ]
    words += ["cem.steps=10", "observation.terms=[joint_pos,joint_error,muscle_length_error,muscle_velocity_error]"]
    for more, searched in ((["experiment=a"], True), (["experiment=b", "checkpoint=runs/a"], False)):
        done = train(*words, *more, cwd=tmp_path)
        assert done.returncode == 0, done.stderr
        assert ("cem 1/1" in done.stdout) == searched
    gains = [load_checkpoint(tmp_path / "runs" / run)["policy"]["actor.module.mean.gains"] for run in "ab"]
    assert gains[0].any() and (gains[0] - gains[1]).abs().max() < 0.1


@pytest.mark.parametrize("lower_is_better", [True, False])
def test_the_best_checkpoint_follows_the_headline(tmp_path, monkeypatch, lower_is_better):
    trainer = small(tmp_path, 10)
    headline = Headline("err/target", "distance", "cm", 1e2, lower_is_better)
    monkeypatch.setattr(type(trainer.env), "headline", headline)
    best = []
    for value in (0.5, 0.7, 0.4, float("nan"), 0.6):
        trainer.update += 1
        trainer.save({"err/target": value, "err/site_abs": -value})
        best.append(load_checkpoint(tmp_path / "checkpoints" / "best.pt")["update"])
    assert best == ([1, 1, 3, 3, 3] if lower_is_better else [1, 2, 2, 2, 2])
    facts = {name: load_checkpoint(tmp_path)[name] for name in trainer.env.facts()}
    assert facts == trainer.env.facts() and facts["observation_size"] == trainer.env.observation_size


def test_the_progress_line_shows_the_headline(tmp_path, monkeypatch, capsys):
    trainer = small(tmp_path, 1)
    monkeypatch.setattr(type(trainer.env), "headline", Headline("err/joint_pos", "angle", "mrad", 1e3))
    trainer.run()
    row = json.loads((tmp_path / "metrics.jsonl").read_text())
    assert f"angle mrad {1e3 * row['err/joint_pos']:.1f}" in capsys.readouterr().out


def test_gradients_are_averaged_once_however_many_stages_there_were():
    layer, exchanges = nn.Linear(2, 1), []

    def exchange(call):
        exchanges.append(call)
        return type("Work", (), {"wait": lambda self: None})()

    averages = [GradientAverage(layer.parameters(), 1, exchange) for _ in range(2)]
    averages[0].remove()
    layer(torch.ones(3, 2)).sum().backward()
    before = copy.deepcopy(layer.weight.grad)
    averages[0].finish()
    assert not exchanges
    averages[1].finish()
    assert len(exchanges) == 2 and torch.equal(layer.weight.grad, before)  # sent, and waited for
