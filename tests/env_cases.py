"""What the environment's tests share: small environments on MuJoCo C, and rollouts of them."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

import torch

from muscle_torch.embodiments import Embodiment, make_embodiment
from muscle_torch.envs import MuscleEnv, Transition, make_env
from muscle_torch.envs.goals.motion_rewards import NEED_ROOT, REWARDS
from muscle_torch.models.options import POLICIES
from muscle_torch.motion import MotionClip

CPU = {"device": "cpu", "backend": "mujoco", "threads": 1}
ALL_REWARDS = {"weights": {name: 1.0 for name in REWARDS if name not in NEED_ROOT}}
FRESH_POLICIES = [name for name in POLICIES if name != "experts"]  # experts need checkpoints: tests/test_experts.py
MUSCLES = ["length", "velocity", "force", "excitation", "activation"]


def small_env(task: str = "toy_arm", num_envs: int = 4, **overrides) -> MuscleEnv:
    return make_env(task, num_envs, **CPU, **overrides)


def clip(angles, name: str = "clip", arm: Embodiment | None = None) -> MotionClip:
    """A motion of the toy arm's elbow [rad] at the control rate."""
    arm = arm or make_embodiment("toy_arm")
    qpos = torch.as_tensor(angles, dtype=torch.float32).reshape(-1, 1).numpy()
    return MotionClip(
        name=name,
        qpos=qpos,
        frequency=arm.control_frequency,
        joint_names=arm.joint_names,
        embodiment=arm.name,
        model_version=arm.model_version,
        source="test",
        licence="CC0-1.0",
    )


def saved(folder, *clips: MotionClip) -> list[str]:
    """The clips as files, the way a user would give them."""
    for one in clips:
        one.save(folder / f"{one.name}.npz")
    return [str(folder / f"{one.name}.npz") for one in clips]


class Acting:
    """A controller whose action is a function of the observation."""

    def __init__(self, act: Callable[[torch.Tensor], torch.Tensor]):
        self._act = act

    def begin(self, env: MuscleEnv, worlds: torch.Tensor) -> None:
        assert worlds.shape == (env.num_envs,) and worlds.dtype == torch.bool

    def act(self, env: MuscleEnv) -> torch.Tensor:
        return self._act(env.observation)


def half_excited(env: MuscleEnv) -> Acting:
    """Every muscle half excited: forces that can be seen."""
    return Acting(lambda observation: torch.zeros(env.num_envs, env.action_size))


def actions(env: MuscleEnv, steps: int, seed: int = 0) -> torch.Tensor:
    """(steps, W, nu), also beyond [-1, 1]."""
    return 0.6 * torch.randn(steps, env.num_envs, env.action_size, generator=torch.Generator().manual_seed(seed))


def play(env: MuscleEnv, sequence: torch.Tensor) -> list[torch.Tensor]:
    """Every tensor of a rollout with resets."""
    values = []
    for action in sequence:
        step = env.advance(action)
        values += [*tensors(step), env.restart(step.terminated | step.truncated)]
    return values


def tensors(step: Transition) -> list[torch.Tensor]:
    named = (step.terms[name] for name in sorted(step.terms))
    return [step.observation, step.reward, step.terminated, step.truncated, step.broken, *named]


def all_equal(a: list[torch.Tensor], b: list[torch.Tensor]) -> bool:
    return len(a) == len(b) and all(torch.equal(x, y) for x, y in zip(a, b, strict=True))


def guarded_update(trainer: Any, guard: Callable[[], AbstractContextManager[Any]]) -> dict[str, float]:
    """One update whose collecting and learning run inside `guard()`; its metrics."""
    collect, learn, calls = trainer._rollout, trainer.algorithm.learner._learn, []

    def watched(call):
        def run(*arguments):
            calls.append(call)
            with guard():
                return call(*arguments)

        return run

    trainer._rollout, trainer.algorithm.learner._learn = watched(collect), watched(learn)
    metrics = trainer.iteration()
    trainer._rollout, trainer.algorithm.learner._learn = collect, learn
    assert calls == [collect] + [learn] * trainer.cfg.ppo.epochs
    return metrics
