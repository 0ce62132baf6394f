"""Learning: known numbers, exact resume, and checkpoints that survive what happens to machines."""

import copy
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
import torch
from conftest import data_file

from muscle_torch.config import load_config
from muscle_torch.envs import make_env
from muscle_torch.errors import InputError
from muscle_torch.models import load_policy, make_policy
from muscle_torch.rl import StopSignals, Trainer
from muscle_torch.rl.optimizer import make_optimizer
from muscle_torch.rl.return_normalizer import ReturnNormalizer
from muscle_torch.rl.rollout import Rollout
from muscle_torch.storage.checkpoint import load_checkpoint, save_checkpoint

TIMES = ("speed/", "memory/")
ERRORS = ["muscle_length_error", "muscle_velocity_error"]


def small(tmp_path, updates, policy="gated_residual", **changes):
    cfg = load_config(
        "toy_arm",
        num_envs=8,
        threads=1,
        max_iterations=updates,
        policy=policy,
        ppo={"num_steps": 16},
        observation={"terms": ["joint_pos", "joint_vel", "joint_error", *ERRORS]},
        **changes,
    )
    torch.manual_seed(cfg.seed)
    (tmp_path / "checkpoints").mkdir(parents=True, exist_ok=True)
    env = make_env(cfg)
    return Trainer(env, make_policy(cfg.policy, env, cfg.exploration), cfg, tmp_path)


def without_times(metrics):
    return {k: v for k, v in metrics.items() if not k.startswith(TIMES)}


@pytest.mark.parametrize(
    ("name", "policy"), [("adamw", "gated_residual"), ("muon", "gated_residual"), ("adamw", "intention")]
)
def test_resume_is_exact(tmp_path, name, policy):
    settings = {"optimizer": {"name": name}, "policy": policy}
    whole = small(tmp_path / "whole", 6, **settings)
    straight = [whole.iteration() for _ in range(6)]
    first = small(tmp_path / "parts", 6, **settings)
    for _ in range(3):
        first.iteration()
    first.save({})
    torch.randn(100)  # what happens in between must not matter
    second = small(tmp_path / "parts", 6, **settings)
    second.load_state(load_checkpoint(tmp_path / "parts"))
    continued = [second.iteration() for _ in range(3)]
    for a, b in zip(straight[3:], continued, strict=True):
        np.testing.assert_equal(without_times(a), without_times(b))
    for (key, a), b in zip(whole.policy.state_dict().items(), second.policy.state_dict().values(), strict=True):
        assert torch.equal(a, b), key
    flat = [torch.utils._pytree.tree_leaves(t.algorithm.state_dict()) for t in (whole, second)]
    assert all(torch.equal(a, b) if torch.is_tensor(a) else a == b for a, b in zip(*flat, strict=True))


def test_the_first_ratio_is_one_and_what_is_stored_is_what_was_done(tmp_path):
    trainer = small(tmp_path, 4)
    for _ in range(3):
        found = trainer.iteration()
        assert found["ppo/first_ratio"] == pytest.approx(1.0, abs=1e-4)
        assert found["ppo/skipped_updates"] == 0
    assert torch.isfinite(trainer.algorithm.rollout.observation).all()


def test_a_mixture_of_experts_learns_by_its_balance_loss_too(tmp_path):
    policy = {"name": "moe", "mixture": {"balance": 50.0, "temperature": 0.1}}
    noise = {"exploration": {"initial_std": 0.5}}
    trainer = small(tmp_path, 8, policy=policy, optimizer={"learning_rate": 1e-2}, **noise)
    gates = [m.gate for m in trainer.policy.modules() if hasattr(m, "gate")]
    for gate in gates:
        gate.bias.data[0] = 0.5  # one expert does nearly everything
    losses = [trainer.iteration()["ppo/auxiliary_loss"] for _ in range(8)]
    assert len(gates) == 2 and losses[-1] < 0.8 * losses[0] and losses[-1] >= 2 * 50.0, losses


def test_updates_that_are_not_finite_are_skipped_and_counted(tmp_path):
    trainer = small(tmp_path, 4)
    trainer.iteration()
    before = copy.deepcopy(trainer.policy.state_dict())
    trainer.algorithm.rollout.action.fill_(float("nan"))
    batch, _, _ = trainer.algorithm.batch(trainer.algorithm.rollout.reward)
    found = trainer.algorithm.learner.update(batch)
    assert found["skipped_updates"] == trainer.cfg.ppo.epochs * trainer.cfg.ppo.minibatches
    assert all(torch.equal(v, before[k]) for k, v in trainer.policy.state_dict().items())


def test_advantages_bootstrap_truncations_and_not_terminations(tmp_path):
    """Three worlds, two steps, gamma = lambda = 1, by hand: values are the first observation entry."""
    trainer = small(tmp_path, 1)
    rollout = Rollout(2, trainer.env)
    worlds = trainer.env.num_envs
    rollout.observation.zero_()
    rollout.observation[..., 0] = torch.tensor([1.0, 2.0, 3.0]).view(3, 1)
    rollout.final_observation[..., 0] = 10.0
    rollout.reward[:] = 1.0
    rollout.done[0, 1] = rollout.done[0, 2] = True
    rollout.terminated[0, 2] = True

    class Value(torch.nn.Module):
        def critic(self, read):
            return read.set("state_value", read["observation"][..., :1])

    advantage, target, value = rollout.advantages(Value(), rollout.reward, 1.0, 1.0)
    assert value[:, 0].tolist() == [1.0, 2.0]
    assert advantage[0, :3].tolist() == [1 + 1 + 3 - 1, 1 + 10 - 1, 1 - 1]
    assert advantage[1].tolist() == [1 + 3 - 2] * worlds
    assert torch.equal(target, advantage + value)


def test_reward_scale_is_the_published_one():
    stored = np.load(data_file("oracle/checkpoints/normalizers.npz"))
    keys = {k.split("__")[0] for k in stored.files}
    assert keys
    scale = ReturnNormalizer(4, 0.9, torch.device("cpu"))
    # By hand: G <- 0.9 G (1 - done) + r, and the variance over all G seen, the start counted as 1e-4 of variance 1.
    rewards = torch.tensor([[1.0, 2.0, 3.0, 4.0], [1.0, 1.0, 1.0, 1.0]])
    done = torch.tensor([[False] * 4, [True, False, False, False]])
    scale.observe(rewards, done)
    returns = torch.tensor([1.0, 2.0, 3.0, 4.0, 1.0, 2.8, 3.7, 4.6])
    assert scale.moments[1] == pytest.approx(float(returns.var(correction=0)), rel=1e-3)
    assert torch.allclose(scale(rewards), rewards / returns.std(correction=0), rtol=1e-3)


def test_schedules_begin_and_end_where_they_should():
    weight = torch.nn.Parameter(torch.ones(2, 2))

    def rates(**changes):
        cfg = load_config("toy_arm", optimizer={"learning_rate": 1.0, **changes}).optimizer
        optimizer = make_optimizer(cfg, [weight])
        found = []
        for progress in (0.0, 0.05, 0.1, 0.5, 1.0):
            optimizer.schedule(progress, kl=0.0)
            found.append(optimizer.learning_rate)
        return found

    assert rates(schedule="linear", min_ratio=0.1) == pytest.approx([1.0, 0.955, 0.91, 0.55, 0.1])
    assert rates(schedule="constant") == [1.0] * 5
    cosine = rates(schedule="cosine", min_ratio=0.1, warmup=0.1)
    assert cosine[1] == pytest.approx(0.5) and cosine[2] == pytest.approx(1.0) and cosine[4] == pytest.approx(0.1)


def test_the_search_finds_gains_that_track(tmp_path):
    half = {"muscles": {"mapping": "half"}}
    trainer = small(
        tmp_path,
        1,
        policy="reflex",
        actions=half,
        stages=["cem", "ppo"],
        cem={"rounds": 3, "candidates": 8, "steps": 100},
    )
    env, policy = trainer.env, trainer.policy

    def error():
        observation, total = env.assign((torch.zeros(8, dtype=torch.long), torch.zeros(8, dtype=torch.long))), 0.0
        for _ in range(150):
            step = env.advance(policy.actor.module(observation)[0])
            observation, total = step.observation, total + float(step.terms["err/site_abs"].mean())
        return total / 150

    before = error()
    while trainer.stage.name == "cem":
        trainer.iteration()
    assert error() < 0.5 * before


def test_a_search_that_is_stopped_adopts_nothing(tmp_path):
    search = {"stages": ["cem", "ppo"], "cem": {"rounds": 50, "steps": 5}}
    trainer = small(tmp_path, 1, policy="reflex", actions={"muscles": {"mapping": "half"}}, **search)
    stop = StopSignals()
    iteration, rounds = trainer.iteration, []

    def stopped():
        rounds.append(iteration())
        stop.code = 130
        return rounds[-1]

    trainer.iteration = stopped
    assert trainer.run(stop=stop) == 130
    assert len(rounds) == 1 and not trainer.policy.reflexes.gains.any()


def test_what_a_search_found_is_saved_before_the_first_update(tmp_path):
    half = {"muscles": {"mapping": "half"}}
    search = {"stages": ["cem", "ppo"], "cem": {"rounds": 1, "candidates": 8, "steps": 20}}
    trainer = small(tmp_path, 1, policy="reflex", actions=half, **search)
    seen = []
    trainer.run(lambda *_: seen.append(load_checkpoint(tmp_path)["update"]))
    assert seen == [0]


def test_a_policy_without_anything_to_search_for_is_refused(tmp_path):
    with pytest.raises(InputError, match="no parameters that cem can search"):
        small(tmp_path, 1, stages=["cem", "ppo"])


def test_load_policy_acts_like_the_trained_one(tmp_path):
    trainer = small(tmp_path, 2)
    trainer.iteration()
    trainer.save({"err/site_abs": 0.1})
    observation = trainer.env.begin()
    wanted = trainer.policy.actor.module(observation)[0]
    loaded = load_policy(tmp_path)
    assert torch.equal(loaded.act(observation), wanted)
    assert loaded.task == "toy_arm"
    assert (tmp_path / "checkpoints" / "best.pt").exists()


@pytest.mark.parametrize("damage", ["truncated", "other", "empty"])
def test_a_damaged_checkpoint_is_one_line(tmp_path, damage):
    path = tmp_path / "x.pt"
    save_checkpoint(path, {"weights": torch.zeros(1000)})
    if damage == "truncated":
        path.write_bytes(path.read_bytes()[:500])
    elif damage == "other":
        torch.save({"model": 1}, path)
    else:
        path.write_bytes(b"")
    with pytest.raises(InputError) as caught:
        load_checkpoint(path)
    assert "\n" not in str(caught.value) and "checkpoint" in str(caught.value)


@pytest.mark.skipif(os.name == "nt", reason="POSIX signals")
def test_kill_9_during_a_save_leaves_a_whole_checkpoint(tmp_path):
    path = tmp_path / "last.pt"
    code = (
        "import sys, torch\nfrom pathlib import Path\nfrom muscle_torch.storage.checkpoint import save_checkpoint\n"
        "for i in range(100000): save_checkpoint(Path(sys.argv[1]), {'i': i, 'x': torch.full((300000,), float(i))})"
    )
    for wait in (0.05, 0.13, 0.21):
        process = subprocess.Popen([sys.executable, "-c", code, str(path)])
        while not path.exists() and process.poll() is None:
            time.sleep(0.02)
        time.sleep(wait)
        process.send_signal(signal.SIGKILL)
        process.wait()
        stored = load_checkpoint(path)
        assert (stored["x"] == stored["i"]).all()
        path.unlink()


def test_a_toy_arm_learns(tmp_path):
    """Less than half the default budget: the error while training, exploration noise included, halves at least."""
    cfg = load_config("toy_arm", threads=2, max_iterations=40)
    torch.manual_seed(0)
    env = make_env(cfg)
    trainer = Trainer(env, make_policy(cfg.policy, env, cfg.exploration), cfg, None)
    errors = [trainer.iteration()["err/site_abs"] for _ in range(40)]
    assert errors[-1] < 0.5 * max(errors), errors
