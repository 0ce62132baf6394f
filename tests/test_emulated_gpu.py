"""All of training on a GPU that is torch, on one emulated on the CPU (emulated_gpu.py): nothing waits or mixes."""

import runpy

import numpy as np
import pytest
import torch
from commands import ROOT
from conftest import data_file
from emulated_gpu import GPU, GPUTensor, Launches, Mixed, Waiting, aten, emulated_gpu, no_waiting
from env_cases import ALL_REWARDS, MUSCLES, actions, clip, guarded_update, saved, tensors
from torch.utils._python_dispatch import TorchDispatchMode

from muscle_torch.config import load_config
from muscle_torch.envs import make_env
from muscle_torch.envs.faces.vec_task import VecTask
from muscle_torch.envs.goals.motion import MotionGoal
from muscle_torch.envs.observations import NEED_DEVICE
from muscle_torch.envs.observations import OBSERVATIONS as OF_BODY
from muscle_torch.envs.rewards import PENALTIES
from muscle_torch.envs.terminations import TERMINATIONS as TERMINATIONS_OF_BODY
from muscle_torch.models import make_policy
from muscle_torch.retargeting import Retargeter, RetargetOptions, read_motion
from muscle_torch.rl import Trainer
from muscle_torch.storage.checkpoint import load_checkpoint

OBSERVATIONS, REWARDS = OF_BODY | MotionGoal.observations, MotionGoal.rewards
TERMINATIONS = TERMINATIONS_OF_BODY | MotionGoal.terminations


@pytest.mark.parametrize(
    "ask",
    [
        lambda x: bool(x.any()),
        lambda x: x[x > 0],
        lambda x: x.sum().item(),
        lambda x: x.tolist(),
        lambda x: (x > 0).nonzero(),
        lambda x: x.new_zeros(3).index_put_((x > 0,), x),
        lambda x: torch.where(x > 0),
        lambda x: torch.normal(x, x),
        lambda x: x.cpu(),
        lambda x: torch.ones(3).to(GPU),
        lambda x: x.copy_(torch.ones(3)),
        lambda x: torch.ones(3).copy_(x),
        lambda x: torch.tensor([1.0, 2.0, 3.0], device=GPU),
    ],
)
def test_what_would_wait_is_heard(ask):
    x = torch.ones(3, device=GPU)
    ask(x)
    with no_waiting(), pytest.raises(Waiting):
        ask(x)


def test_devices_do_not_mix():
    x = torch.ones(3, device=GPU)
    assert (2 * x + torch.tensor(1.0)).tolist() == [3, 3, 3]
    with pytest.raises(Mixed):
        x + torch.ones(3)
    with pytest.raises(Mixed):
        x[torch.tensor([0])]


def walk(env) -> list[torch.Tensor]:
    """Every observation and reward of a few control steps with resets."""
    given = actions(env, 6).to(env.device)
    done = torch.arange(env.num_envs, device=env.device) % 3 == 0
    env.begin()
    first = env.advance(given[0])  # captures graphs, makes views
    seen = [first.observation, first.reward]
    with no_waiting():
        for action in given[1:]:
            step = env.advance(action)
            seen += [step.observation, step.reward, env.restart(step.terminated | step.truncated | done)]
    return seen


@pytest.mark.parametrize("evaluation", [False, True], ids=["training", "evaluation"])
def test_no_step_of_the_whole_body_with_every_term_waits(evaluation):
    with emulated_gpu() as device:
        env = make_env(
            "fullbody",
            6,
            device,
            goal={"compact_reference": False},
            observation={"terms": sorted(OBSERVATIONS.keys() - NEED_DEVICE), "muscle": MUSCLES, "history": 2},
            reward={"weights": dict.fromkeys(REWARDS, 1.0), "penalties": dict.fromkeys(PENALTIES, 0.1)},
            termination=dict.fromkeys(TERMINATIONS, 0.5),
            evaluation_termination=dict.fromkeys(TERMINATIONS, 0.5),
            curriculum={"termination": {"enabled": True}},
            sampling={"adaptive": True},
            evaluation=evaluation,
        )
        seen = walk(env)
        assert all(isinstance(value, GPUTensor) and torch.isfinite(value).all() for value in seen)
        env.close()


def test_what_is_observed_is_that_of_the_cpu():
    """The way of a GPU (masks over all worlds) and that of a CPU (only the worlds that changed) agree."""
    with emulated_gpu() as device:
        env = make_env("toy_arm", 4, device, reward=ALL_REWARDS)
        gpu = [value.cpu() for value in walk(env)]
        env.close()
    env = make_env("toy_arm", 4, device="cpu", backend="warp", reward=ALL_REWARDS)
    assert all(torch.equal(a, b) for a, b in zip(gpu, walk(env), strict=True))
    env.close()


BODIES = {
    "toy_arm": {
        "observation": {"terms": ["joint_pos", "muscle", "previous_action", "phase"], "muscle": MUSCLES},
        "reward": ALL_REWARDS | {"penalties": dict.fromkeys(PENALTIES, 0.1)},
    },
    "toy_reach": {"curriculum": {"termination": {"enabled": False}}},
    "fullbody": {
        "observation": {"terms": sorted(OBSERVATIONS.keys() - NEED_DEVICE), "muscle": MUSCLES, "history": 2},
        "goal": {"compact_reference": False},
        "reward": {"weights": dict.fromkeys(REWARDS, 1.0), "penalties": dict.fromkeys(PENALTIES, 0.1)},
        "termination": dict.fromkeys(TERMINATIONS, 0.5),
    },
}


@pytest.mark.parametrize("evaluation", [False, True], ids=["training", "evaluation"])
@pytest.mark.parametrize("task", list(BODIES))
def test_a_graph_of_the_terms_gives_what_they_give_one_by_one(task, evaluation):
    """To the bit, through steps and resets, whatever was replaced since the graph was captured."""
    results = []
    with emulated_gpu() as device:
        for graph in (False, True):
            env = make_env(task, 4, device, env={"graph": graph}, evaluation=evaluation, **BODIES[task])
            given = actions(env, 8).to(env.device)
            env.begin()
            seen, kept = [], []
            for index, action in enumerate(given):
                if index == 4:  # a curriculum between two updates; an environment that is put back
                    env.termination.thresholds.mul_(0.9)
                    env.load_snapshot(env.snapshot())
                step = env.advance(action)
                done = step.terminated | step.truncated | (torch.arange(4, device=env.device) == index)
                seen += [*tensors(step), env.restart(done), env.goal.success()]
                kept.append([value.clone() for value in seen])
            assert all(torch.equal(a, b) for a, b in zip(kept[3], seen, strict=False)), "a result changed later"
            results.append([value.cpu() for value in seen])
            env.close()
    assert all(torch.equal(a, b) for a, b in zip(*results, strict=True))
    assert all(torch.isfinite(value).all() for value in results[0])


def launches(task: str, graph: bool, **settings) -> int:
    """Operations that the host launches for a control step with resets, besides the physics' graph."""
    with emulated_gpu() as device:
        env = make_env(task, 4, device, env={"graph": graph}, **settings)
        given = actions(env, 3).to(env.device)
        done = torch.arange(4, device=env.device) == 0
        env.begin()
        for action in given:
            with Launches() as counted:
                env.advance(action)
                env.restart(done)
        env.close()
    return counted.count


def test_a_graph_of_the_terms_spares_the_host_most_of_its_launches():
    one_by_one, graph = (launches("toy_arm", graph, reward=ALL_REWARDS) for graph in (False, True))
    assert graph < 0.65 * one_by_one, (one_by_one, graph)


def trained(device: str, task: str, updates: int, **settings) -> tuple[list[dict[str, float]], Trainer]:
    """(metrics of each update, the trainer); from the second update on nothing in it may wait."""
    cfg = load_config(
        task,
        num_envs=8,
        device=device,
        backend="warp",
        max_iterations=updates,
        ppo={"num_steps": 8, "minibatches": 2},
        stages=["ppo"],
        **settings,
    )
    torch.manual_seed(0)
    env = make_env(cfg)
    trainer = Trainer(env, make_policy(cfg.policy, env, cfg.exploration).to(env.device), cfg, None)
    metrics = [trainer.iteration()]
    metrics += [guarded_update(trainer, no_waiting) for _ in range(updates - 1)]
    env.close()
    return metrics, trainer


@pytest.mark.parametrize("policy", ["gated_residual", "intention", "mlp", "moe", "reflex"])
@pytest.mark.parametrize("name", ["adamw", "muon"])
def test_collecting_and_learning_wait_for_nothing_and_learn_what_a_cpu_learns(policy, name):
    half = {"actions": {"muscles": {"mapping": "half"}}} if policy == "reflex" else {}
    shown = ["joint_pos", "joint_vel", "joint_error", "muscle_length_error", "muscle_velocity_error"]
    mixed = {"exploration": {"synergy_mixing": 0.5, "action_bias": 0.1}} if policy == "mlp" else {}
    settings = {"policy": policy, "optimizer": {"name": name}, "observation": {"terms": shown}, **half, **mixed}
    with emulated_gpu() as device:
        found, gpu = trained(device, "toy_arm", 3, **settings)
    expected, cpu = trained("cpu", "toy_arm", 3, **settings)
    for key in ("episode/reward", "ppo/policy_loss", "ppo/value_loss", "ppo/grad_norm", "ppo/kl"):
        assert [row[key] for row in found] == pytest.approx([row[key] for row in expected], rel=2e-2, abs=2e-4), key
    limit = {"adamw": 1e-5, "muon": 5e-3}[name]  # what bfloat16 leaves of Muon's steps
    for ours, theirs in zip(gpu.policy.parameters(), cpu.policy.parameters(), strict=True):
        assert isinstance(ours.data, GPUTensor)
        torch.testing.assert_close(ours.detach().cpu(), theirs.detach(), rtol=0, atol=limit)


class Products(TorchDispatchMode):
    """Matrix products of float32, and in which precision a GPU would make them."""

    def __init__(self):
        super().__init__()
        self.precisions: set[str] = set()

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        if func.overloadpacket in (aten.mm, aten.bmm, aten.addmm):
            self.precisions.add(torch.get_float32_matmul_precision())
        return func(*args, **(kwargs or {}))


def test_tf32_is_for_the_networks_and_not_for_what_they_observe():
    try:
        with emulated_gpu() as device:
            _, trainer = trained(device, "toy_arm", 1, precision="tf32")
            env = make_env("fullbody", 2, device)
            with Products() as of_env:
                walk(env)
            batch, *_ = trainer.algorithm.batch(trainer.algorithm.rollout.reward)
            with Products() as of_learning:
                trainer.algorithm.learner.update(batch)
            env.close()
    finally:
        torch.set_float32_matmul_precision("highest")
    assert of_env.precisions == {"highest"} and "high" in of_learning.precisions


def test_the_whole_body_with_its_default_policy_waits_for_nothing():
    with emulated_gpu() as device:
        metrics, trainer = trained(device, "fullbody", 2)
    assert trainer.cfg.policy.name == "reflex" and "root_error" in trainer.cfg.observation.terms
    assert metrics[-1]["ppo/skipped_updates"] == 0


def test_train_py_from_start_to_end(tmp_path, monkeypatch, capsys):
    """Search, updates, validation, a save, continued, evaluated."""
    monkeypatch.chdir(tmp_path)
    motion = saved(tmp_path, clip(torch.linspace(0.2, 1.2, 40)))[0]
    words = ["task=toy_arm", f"motion={motion}", "policy=reflex", "actions.muscles.mapping=half", "num_envs=8"]
    words += ["observation.terms=[joint_pos,joint_vel,joint_error,muscle_length_error,muscle_velocity_error]"]
    words += ["ppo.num_steps=8", "capture_video=false"]
    words += ["stages=[cem,ppo]", "cem.rounds=1", "cem.candidates=4", "cem.steps=20"]
    words += ["validation_interval=2", "experiment=run", "resume=auto"]
    main = runpy.run_path(str(ROOT / "train.py"))["main"]
    with emulated_gpu() as device:
        assert main([*words, f"device={device}", "max_iterations=2", "evaluate=false"]) == 0
        assert main([*words, f"device={device}", "max_iterations=4", "evaluate=true"]) == 0
    assert load_checkpoint(tmp_path / "runs" / "run")["update"] == 4
    out = capsys.readouterr().out
    assert "cem 1/1" in out and "site position error" in out


def test_train_py_takes_the_gpus_recipe_by_itself(tmp_path, monkeypatch, capsys):
    """With a line, under the words, and not if a preset or a checkpoint is named or a run goes on."""
    monkeypatch.chdir(tmp_path)
    main = runpy.run_path(str(ROOT / "train.py"))["main"]
    line = "preset=gpu: chosen because the device is emulated:0; preset=cpu keeps the task's recipe"
    words = ["task=toy_arm", "num_envs=8", "ppo.num_steps=8", "evaluate=false", "check_memory=false"]

    def run(*more: str) -> tuple[dict, bool]:
        capsys.readouterr()
        assert main([*words, *more, f"device={device}"]) == 0
        name = next(word.split("=")[1] for word in more if word.startswith("experiment="))
        return load_checkpoint(tmp_path / "runs" / name)["config"], line in capsys.readouterr().out.splitlines()

    with emulated_gpu() as device:
        one = ("max_iterations=1", "policy.hidden=[32,32]", "ppo.gamma=0.9")
        chosen, said = run("experiment=chosen", "resume=auto", *one)
        assert said and chosen["preset"] == "gpu" and chosen["precision"] == "tf32"
        assert (chosen["ppo"]["epochs"], chosen["ppo"]["smallest_minibatch"]) == (1, 16384)
        assert (chosen["num_envs"], chosen["ppo"]["gamma"], chosen["policy"]["hidden"]) == (8, 0.9, [32, 32])
        again, said = run("experiment=chosen", "resume=auto", "max_iterations=2", *one[1:])
        assert not said and again["preset"] == "gpu" and again["ppo"] == chosen["ppo"]
        plain, said = run("experiment=plain", "preset=cpu", *one)
        assert not said and plain["ppo"]["epochs"] == 4
        tuned, said = run("experiment=tuned", "checkpoint=runs/plain", *one)
        assert not said and tuned["preset"] == "" and tuned["ppo"]["epochs"] == 4
    torch.set_float32_matmul_precision("highest")


def test_other_ways_in_and_muscles_that_differ():
    with emulated_gpu() as device:
        env = make_env("toy_arm", 4, device, randomization={"strength": {"all": [0.5, 1.5]}})
        task = VecTask(env)
        task.reset()
        task.step(task.zero_actions())
        with no_waiting():
            observation, *_ = task.step(task.zero_actions())
        env.load_snapshot(env.snapshot())
        assert torch.equal(env.restart(torch.zeros(4, dtype=torch.bool, device=env.device)), observation)
        assert env.rollout(3)["next", "reward"].device == GPU
        task.close()


def test_retargeting_gives_the_clip_of_a_cpu():
    raw = read_motion(data_file("data/opensim_c3d_treadmill/walking2.c3d"))
    found = Retargeter("fullbody", RetargetOptions(device=str(GPU)))(raw)
    assert np.abs(found.clip.qpos - Retargeter("fullbody")(raw).clip.qpos).max() < 1e-6
