"""policy=feedforward: its actions are the motion's feedforward plus what the network adds, mixed or not."""

import pytest
import torch
from env_cases import CPU

from muscle_torch.config import load_config
from muscle_torch.envs import make_env
from muscle_torch.errors import InputError
from muscle_torch.models import build_policy, make_policy

TERMS = {"terms": ["joint_pos", "joint_vel", "feedforward", "phase"]}


def made(mapping: str = "half", terms: dict = TERMS, **exploration):
    cfg = load_config(
        "toy_arm",
        policy="feedforward",
        exploration={"name": "normal", **exploration},
        actions={"muscles": {"mapping": mapping}},
        observation=terms,
    )
    env = make_env(cfg, 3, **CPU)
    return env, make_policy(cfg.policy, env, cfg.exploration)


def silence(policy) -> None:
    """Let the network add nothing."""
    with torch.no_grad():
        policy.actor.module.mean[-1][-1].weight.zero_()


@pytest.mark.parametrize("mixing", [0.0, 0.9])
def test_a_silent_network_plays_the_feedforward(mixing):
    """The same joint angles as the action space `muscles_feedforward` gives with an action of 0."""
    env, policy = made(synergy_mixing=mixing)
    silence(policy)
    corrected = make_env("toy_arm", 3, **CPU, actions=["muscles_feedforward"], observation=TERMS)
    env.reset(), corrected.reset()
    zero = torch.zeros(3, corrected.action_size)
    for _ in range(20):
        action = policy.distribution(env.observation).mode
        torch.testing.assert_close(action, env.goal.feedforward(), rtol=0, atol=1e-5)
        env.advance(action), corrected.advance(zero)
    torch.testing.assert_close(env.physics.field("qpos"), corrected.physics.field("qpos"), rtol=0, atol=1e-4)


def test_the_network_adds_to_it_and_noise_stays_what_it_is():
    env, policy = made(synergy_mixing=0.9, action_bias=0.1, initial_std=0.2)
    env.reset()
    shown = env.observation.clone()
    columns = env.observation_layout["feedforward"]
    before = policy.distribution(shown)
    shown[:, columns] = 0.0
    # What the network itself makes of the feedforward is compared with its weights for it at 0.
    with torch.no_grad():
        policy.actor.module.mean[-1][-1].weight.zero_()
    plain = policy.distribution(shown)
    torch.testing.assert_close(plain.mode, torch.full_like(plain.mode, 0.1))
    torch.testing.assert_close(plain.stddev, before.stddev)
    torch.testing.assert_close(plain.stddev, torch.full_like(plain.stddev, 0.2), rtol=1e-4, atol=0)


def test_a_checkpoint_builds_it_again():
    env, policy = made(synergy_mixing=0.9)
    env.reset()
    again = build_policy(policy.spec)
    again.load_state_dict(policy.state_dict())
    expected = policy.distribution(env.observation).mode
    torch.testing.assert_close(again.distribution(env.observation).mode, expected)
    assert expected.std() > 0


def test_what_it_needs_is_said():
    with pytest.raises(InputError, match="needs the observation term 'feedforward'"):
        made(terms={"terms": ["joint_pos"]})
    with pytest.raises(InputError, match="mapping=half"):
        made(mapping="full")
