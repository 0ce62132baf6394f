"""The environment on CUDA: nothing waits for the device, and what is observed is what MuJoCo C shows."""

from contextlib import contextmanager

import pytest
import torch
from env_cases import ALL_REWARDS, actions, guarded_update, small_env

from muscle_torch.config import load_config
from muscle_torch.envs import make_env
from muscle_torch.models import make_policy
from muscle_torch.rl import Trainer

pytestmark = [pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")]
WORLDS = 64


@pytest.fixture(scope="module", params=["bimanual", "fullbody"])
def env(request):
    made = make_env(request.param, WORLDS, "cuda", reward=ALL_REWARDS)
    made.begin()
    for action in actions(made, 2):  # compiles, captures
        step = made.advance(action.to(made.device))
        made.restart(step.terminated | step.truncated)
    yield made
    made.close()


@contextmanager
def nobody_waits():
    torch.cuda.synchronize()
    torch.cuda.set_sync_debug_mode("error")
    try:
        yield
    finally:
        torch.cuda.set_sync_debug_mode("default")


def test_no_step_and_no_restart_waits_for_the_device(env):
    given = actions(env, 5).to(env.device)
    done = torch.arange(WORLDS, device=env.device) % 7 == 0
    with nobody_waits():
        for action in given:
            step = env.advance(action)
            env.restart(step.terminated | step.truncated | done)


@pytest.mark.parametrize("name", ["adamw", "muon"])
@pytest.mark.parametrize("precision", ["float32", "bf16"])
def test_no_step_of_collecting_and_learning_waits_for_the_device(name, precision):
    """Two updates; the first one makes the optimiser's moments and the graphs."""
    cfg = load_config("toy_arm", device="cuda", num_envs=WORLDS, optimizer={"name": name}, precision=precision)
    made = make_env(cfg)
    trainer = Trainer(made, make_policy(cfg.policy, made, cfg.exploration).to(made.device), cfg, None)
    trainer.iteration()
    metrics = guarded_update(trainer, nobody_waits)
    assert metrics["ppo/skipped_updates"] == 0 and metrics["ppo/first_ratio"] == pytest.approx(1.0, abs=0.02)
    made.close()


def test_a_reset_is_observed_as_on_the_cpu(env):
    host = small_env(env.config.task, WORLDS, reward=ALL_REWARDS)
    clip = torch.arange(WORLDS) % host.goal.library.num_clips
    frame = torch.arange(WORLDS) * 7
    got, expected = env.assign((clip, frame)).cpu(), host.assign((clip, frame))
    scaled = (got - expected).abs() / expected.abs().clamp(min=1)
    if touch := host.observation_layout.get("touch"):
        # A sole that just reaches the floor touches it or not: rounding decides.
        alike = (got[:, touch] > 0) == (expected[:, touch] > 0)
        assert alike.float().mean() > 0.8
        scaled[:, touch] *= alike
    assert scaled.max() < 5e-3  # forces of a thousand newtons in float32
    action = actions(host, 1)[0]
    ours, theirs = env.advance(action.to(env.device)), host.advance(action)
    torch.testing.assert_close(ours.reward.cpu(), theirs.reward, rtol=0, atol=2e-3)
    host.close()


def test_restart_leaves_the_other_worlds_alone(env):
    env.begin()
    step = env.advance(actions(env, 1)[0].to(env.device))
    done = torch.arange(WORLDS, device=env.device) % 3 == 0
    qpos = env.physics.field("qpos").clone()
    after = env.restart(done)
    assert torch.equal(after[~done], step.observation[~done])
    assert torch.equal(env.physics.field("qpos")[~done], qpos[~done])
    rows = env.goal.library.rows(env.goal.clip, env.goal.frame)
    # from the third number on: where a body with a root begins is its origin
    assert torch.equal(env.physics.field("qpos")[done, 2:], env.goal.library.qpos[rows][done, 2:])
