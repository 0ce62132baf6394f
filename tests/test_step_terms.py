"""The terms in one CUDA graph: what can be shown without one (the rest: test_emulated_gpu.py), and on CUDA itself."""

import gc

import pytest
import torch
from commands import script
from env_cases import ALL_REWARDS, actions, play

from muscle_torch.config import load_config
from muscle_torch.envs import make_env
from muscle_torch.envs.step_terms import capture_graph, collection_paused
from muscle_torch.errors import InputError
from muscle_torch.models import make_policy
from muscle_torch.rl import Trainer

needs_cuda = [pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")]


def test_garbage_is_not_collected_during_a_capture():
    """And is again afterwards, even if the capture failed; if it was switched off before, it stays so."""
    with pytest.raises(ValueError, match="capture"), collection_paused():
        assert not gc.isenabled()
        raise ValueError("the capture failed")
    assert gc.isenabled()
    gc.disable()
    try:
        with collection_paused():
            pass
        assert not gc.isenabled()
    finally:
        gc.enable()


def test_a_capture_inside_a_capture_is_one_line(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_current_stream_capturing", lambda: True)
    with pytest.raises(InputError) as caught:
        capture_graph(lambda: None, torch.device("cuda"))
    assert (
        str(caught.value)
        == "env.graph=true: a step cannot be captured inside another capture: use env.graph=false there"
    )


def test_on_a_cpu_a_graph_is_ignored_with_a_line(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    words = ["task=toy_arm", "device=cpu", "num_envs=2", "threads=1", "ppo.num_steps=4", "ppo.minibatches=1"]
    assert script("train.py").main([*words, "max_iterations=1", "evaluate=false", "env.graph=true"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines.count("env.graph=true is ignored: it needs CUDA, and on a CPU the terms are computed one by one") == 1


@pytest.mark.parametrize("task", [pytest.param(task, marks=needs_cuda) for task in ("bimanual", "fullbody")])
def test_on_cuda_a_graph_gives_what_the_terms_give_one_by_one(task):
    """Of a first control step exactly; later ones differ by the order in which the physics adds up."""
    results = []
    for graph in (False, True):
        env = make_env(task, 16, "cuda", env={"graph": graph}, reward=ALL_REWARDS)
        env.assign(env.goal.in_order(16))
        results.append(play(env, actions(env, 6).to(env.device)))
        env.close()
    for one, other in zip(*results, strict=True):
        torch.testing.assert_close(one.float(), other.float(), rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("name", [pytest.param(name, marks=needs_cuda) for name in ("adamw", "muon")])
def test_on_cuda_a_critic_beside_the_actor_learns_what_it_learns_behind_it(name):
    """The same batch, with and without the second stream."""
    cfg = load_config("toy_arm", device="cuda", num_envs=64, optimizer={"name": name})
    losses = []
    for beside in (True, False):
        torch.manual_seed(0)
        env = make_env(cfg)
        trainer = Trainer(env, make_policy(cfg.policy, env, cfg.exploration).to(env.device), cfg, None)
        trainer.collect()
        if not beside:
            trainer.algorithm.learner.loss.side = None
        losses.append(trainer.learn())
        env.close()
    for key in ("ppo/policy_loss", "ppo/value_loss", "ppo/grad_norm", "ppo/kl"):
        assert losses[0][key] == pytest.approx(losses[1][key], rel=2e-2, abs=2e-4), key
