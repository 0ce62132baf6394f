"""What the training loop asks its device, seen on a CPU: every question would make the host wait for a GPU.

Not seen here are copies between host and device; `test_env_gpu.py` and `test_physics_gpu.py` look for those on a GPU.
"""

from contextlib import contextmanager, nullcontext

import pytest
import torch
from env_cases import ALL_REWARDS, MUSCLES, actions, small_env
from test_rl import small
from torch.utils._python_dispatch import TorchDispatchMode, _disable_current_modes

from muscle_torch.envs import make_env
from muscle_torch.envs.observations import OBSERVATIONS
from muscle_torch.envs.rewards import PENALTIES, REWARDS
from muscle_torch.envs.terminations import TERMINATIONS
from muscle_torch.physics.mujoco_physics import MujocoPhysics

aten = torch.ops.aten
# Numbers and truth values for Python, results whose size depends on numbers, and tensors made of Python's numbers.
QUESTIONS = {
    *(aten._local_scalar_dense, aten.is_nonzero, aten.equal, aten.nonzero, aten.masked_select, aten.bincount),
    *(aten._unique, aten._unique2, aten.unique_dim, aten.unique_consecutive, aten.repeat_interleave, aten.lift_fresh),
}


class Question(RuntimeError):
    pass


class Questions(TorchDispatchMode):
    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        picked = func.overloadpacket in (aten.index, aten.index_put, aten.index_put_)
        if func.overloadpacket in QUESTIONS or (picked and any(_mask(i) for i in args[1])):
            raise Question(str(func))
        return func(*args, **(kwargs or {}))


def _mask(index) -> bool:
    return index is not None and index.dtype in (torch.bool, torch.uint8)


def unheard(call):
    """What is another on a GPU, or as MuJoCo C not there: what it asks is no question to a device."""

    def run(*given, **named):
        with _disable_current_modes():
            return call(*given, **named)

    return run


class Unheard:
    """All that an object does."""

    def __init__(self, of):
        self._of = of

    def __getattr__(self, name):
        found = getattr(self._of, name)
        return unheard(found) if callable(found) else found


@contextmanager
def as_on_a_gpu(env):
    """The environment takes the way it takes on a GPU, and may ask nothing."""
    physics, env._may_look = env.physics, False
    env.physics = Unheard(physics) if isinstance(physics, MujocoPhysics) else physics
    with Questions():
        yield
    env.physics = physics


@pytest.mark.parametrize(
    "ask",
    [
        lambda x: bool(x.any()),
        lambda x: x[x > 0],
        lambda x: x.sum().item(),
        lambda x: (x > 0).nonzero(),
        lambda x: x.new_zeros(3).index_put_((x > 0,), x),
        lambda x: x + torch.tensor([1.0, 2.0, 3.0]),
        lambda x: torch.where(x > 0),
    ],
)
def test_a_question_is_heard(ask):
    with Questions(), pytest.raises(Question):
        ask(torch.ones(3))


def walk(env, way=as_on_a_gpu) -> list[torch.Tensor]:
    given, done = actions(env, 6), torch.arange(env.num_envs) % 3 == 0
    env.begin()
    first = env.advance(given[0])  # captures graphs, makes views
    seen = [first.observation, first.reward]
    with way(env):
        for action in given[1:]:
            step = env.advance(action)
            seen += [step.observation, step.reward, env.restart(step.terminated | step.truncated | done)]
    return seen


@pytest.mark.parametrize("evaluation", [False, True], ids=["training", "evaluation"])
@pytest.mark.parametrize("history", [1, 3])
def test_a_step_of_the_whole_body_with_every_term_asks_nothing(history, evaluation):
    env = small_env(
        "fullbody",
        6,
        observation={"terms": list(OBSERVATIONS), "muscle": MUSCLES, "concise": False, "history": history},
        reward={"weights": dict.fromkeys(REWARDS, 1.0), "penalties": dict.fromkeys(PENALTIES, 0.1)},
        termination=dict.fromkeys(TERMINATIONS, 0.5),
        evaluation_termination=dict.fromkeys(TERMINATIONS, 0.5),
        env={"synergies": 0.5, "tone": 0.1},
        curriculum={"termination": {"enabled": True}},
        sampling={"adaptive": True},
        evaluation=evaluation,
    )
    assert all(torch.isfinite(value).all() for value in walk(env))
    env.close()


def test_warp_asks_nothing_and_gives_what_it_gives_when_asked():
    """The way of a GPU (masks over all worlds) and that of a CPU (only the worlds that changed) agree."""
    seen = []
    for way in (as_on_a_gpu, nullcontext):
        env = make_env("toy_arm", 4, device="cpu", backend="warp", reward=ALL_REWARDS)
        seen.append(walk(env, way))
        env.close()
    assert all(torch.equal(a, b) for a, b in zip(*seen, strict=True))


@pytest.mark.parametrize("policy", ["gated_residual", "mlp", "moe", "reflex"])
@pytest.mark.parametrize("name", ["adamw", "muon"])
def test_collecting_and_minibatches_ask_nothing(tmp_path, monkeypatch, policy, name):
    half = {"env": {"action_mapping": "half"}} if policy == "reflex" else {}
    trainer = small(tmp_path, 5, policy, optimizer={"name": name}, **half)
    trainer.iteration()
    # It counts on the device where that is a GPU (`capturable`), only there.
    monkeypatch.setattr(torch.optim.NAdam, "step", unheard(torch.optim.NAdam.step))
    collect, step = trainer.rollout._collect, trainer.ppo._learn
    calls = []

    def collecting(*given):
        calls.append("collect")
        with as_on_a_gpu(trainer.env):
            return collect(*given)

    def learning(*given):
        calls.append("learn")
        with Questions():
            return step(*given)

    trainer.rollout._collect, trainer.ppo._learn = collecting, learning
    trainer.iteration()
    assert calls == ["collect"] + ["learn"] * trainer.cfg.ppo.epochs
