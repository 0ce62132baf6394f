"""The environment on CUDA: nothing waits for the device, and what is observed is what MuJoCo C shows."""

import pytest
import torch
from env_cases import ALL_REWARDS, actions, small_env

from muscle_torch.envs import make_env

pytestmark = [pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")]
WORLDS = 64


@pytest.fixture(scope="module")
def env():
    made = make_env("bimanual", WORLDS, "cuda", reward=ALL_REWARDS)
    made.begin()
    for action in actions(made, 2):  # compiles, captures
        step = made.advance(action.to(made.device))
        made.restart(step.terminated | step.truncated)
    yield made
    made.close()


def test_no_step_and_no_restart_waits_for_the_device(env):
    given = actions(env, 5).to(env.device)
    done = torch.arange(WORLDS, device=env.device) % 7 == 0
    torch.cuda.synchronize()
    torch.cuda.set_sync_debug_mode("error")
    try:
        for action in given:
            step = env.advance(action)
            env.restart(step.terminated | step.truncated | done)
    finally:
        torch.cuda.set_sync_debug_mode("default")


def test_a_reset_is_observed_as_on_the_cpu(env):
    host = small_env("bimanual", WORLDS, reward=ALL_REWARDS)
    clip = torch.arange(WORLDS) % host.library.num_clips
    frame = torch.arange(WORLDS) * 7
    got, expected = env.assign(clip, frame).cpu(), host.assign(clip, frame)
    scaled = (got - expected).abs() / expected.abs().clamp(min=1)
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
    rows = env.library.rows(env.clip, env.frame)
    assert torch.equal(env.physics.field("qpos")[done], env.library.qpos[rows][done])
