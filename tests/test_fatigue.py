"""Muscle fatigue: the laws of the three compartments, their effect on the physics, and exact resume."""

import math

import pytest
import torch
from env_cases import CPU, actions, small_env

from muscle_torch.config import FatigueConfig
from muscle_torch.embodiments import make_embodiment
from muscle_torch.envs import make_env
from muscle_torch.envs.fatigue import FatiguedActions
from muscle_torch.errors import InputError

ARM = make_embodiment("toy_arm")
STEP = 1.0 / ARM.control_frequency
FAST = {"fatigue_rate": 0.5, "recovery_rate": 0.05, "initial_share": 0.0}


def muscles(num_envs: int = 1, **options) -> FatiguedActions:
    """The toy arm's two muscles, rested."""
    config = FatigueConfig(**{"enabled": True, "initial_share": 0.0, **options})
    made = FatiguedActions(
        small_env(num_envs=num_envs).actions.spaces, config, ARM, num_envs, torch.Generator().manual_seed(0)
    )
    made.begin(torch.ones(num_envs, dtype=torch.bool))
    return made


def hold(made: FatiguedActions, loads: torch.Tensor, seconds: float) -> torch.Tensor:
    """Request excitations (W, 2) for a time; the excitations that reach the physics, (T, W, 2)."""
    return torch.stack([made.apply(loads, ARM.substeps) for _ in range(round(seconds / STEP))])


def test_compartments_are_shares_that_sum_to_one_and_flow_as_published():
    made = muscles(16, **FAST)
    torch.manual_seed(0)
    for index in range(300):
        load = torch.rand(16, 2) * (index % 40 < 20)
        active, fatigued = made.active.clone(), made.fatigued.clone()
        made.apply(load, ARM.substeps)
        for share in (made.active, made.fatigued, made.resting):
            assert (share >= 0).all() and (share <= 1).all()
        assert torch.allclose(made.active + made.fatigued + made.resting, torch.ones(16, 2))
        recovery = torch.where(active < load, 0.05, 15 * 0.05)
        by_hand = fatigued + STEP * (0.5 * active - recovery * fatigued)
        assert torch.allclose(made.fatigued, by_hand, atol=1e-6)
    assert made.fatigued.max() > 0.1


def test_rest_recovers_faster_than_the_recovery_rate_alone():
    made, slow = muscles(**FAST), muscles(**FAST, rest_factor=1.0)
    for one in (made, slow):
        hold(one, torch.ones(1, 2), 10.0)
    tired = made.fatigued.clone()
    assert tired.min() > 0.5
    hold(made, torch.zeros(1, 2), 1.0)
    hold(slow, torch.zeros(1, 2), 1.0)
    assert (made.fatigued < slow.fatigued).all() and (slow.fatigued < 0.97 * tired + 0.05).all()
    hold(made, torch.zeros(1, 2), 20.0)
    assert made.fatigued.max() < 0.01
    assert torch.equal(hold(made, torch.full((1, 2), 0.8), STEP)[0], torch.full((1, 2), 0.8))


def test_the_endurance_of_a_constant_load_decreases_with_the_load_as_worked_out_by_hand():
    """f = F u / R (1 - exp(-R t)) while the load is held; it fails when f = 1 - u."""
    loads = torch.tensor([0.5, 0.6, 0.7, 0.8, 0.9])
    made = muscles(len(loads))
    reached = hold(made, loads.unsqueeze(1).expand(-1, 2).contiguous(), 125.0)[..., 0]
    endurance = (reached >= loads).sum(0) * STEP
    assert (endurance.diff() < 0).all()
    fatigue, recovery = 0.00912, 0.00094
    for load, seconds in zip(loads.tolist(), endurance.tolist(), strict=True):
        by_hand = -math.log(1 - (1 - load) * recovery / (fatigue * load)) / recovery
        assert seconds == pytest.approx(by_hand, rel=0.03, abs=0.3), load


def test_zero_rates_are_the_environment_without_fatigue_to_the_bit():
    rates = {"enabled": True, "fatigue_rate": 0.0, "recovery_rate": 0.0, "initial_share": 0.0}
    plain, same = small_env(), small_env(fatigue=rates)
    sampled = actions(plain, 40)
    assert torch.equal(plain.begin(), same.begin())
    for action in sampled:
        one, two = plain.advance(action), same.advance(action)
        assert torch.equal(one.observation, two.observation) and torch.equal(one.reward, two.reward)
        done = one.terminated | one.truncated
        assert torch.equal(plain.restart(done), same.restart(done))
    assert not plain.state().read("fatigue").any() and not same.state().read("fatigue").any()
    assert torch.equal(plain.physics.field("qpos"), same.physics.field("qpos"))


@pytest.mark.parametrize("backend", ["mujoco", "warp"])
def test_fatigue_weakens_the_muscles_is_observed_and_resumes_exactly(backend):
    options = {"backend": backend, "device": "cpu", "threads": 1, "num_envs": 3}
    terms = {"terms": ["joint_pos", "muscle", "fatigue"], "muscle": ["force", "activation"]}
    env = make_env("toy_arm", **options, observation=terms, fatigue={"enabled": True, **FAST, "initial_share": 0.2})
    rested = make_env("toy_arm", **options)
    observation = env.begin()
    rested.begin()
    columns = env.observation_layout["fatigue"]
    initial = observation[:, columns].clone()
    assert (initial >= 0).all() and (initial <= 0.2).all() and initial.unique().numel() == 6
    full = torch.ones(3, 2)
    for _ in range(60):
        step = env.advance(full)
        rested.advance(full)
    assert torch.equal(initial, observation[:, columns]), "a returned observation has changed"
    shown = step.observation[:, columns]
    assert torch.equal(shown, env.actions.fatigued) and (shown > initial + 0.1).all()
    control = env.physics.field("ctrl")
    assert (control < 0.9).all() and (rested.physics.field("ctrl") == 1.0).all()
    assert (env.physics.field("act") < rested.physics.field("act") - 0.05).all()
    stored = env.snapshot()
    straight = [env.advance(full).observation for _ in range(5)][-1]
    again = make_env("toy_arm", **options, observation=terms, fatigue={"enabled": True, **FAST, "initial_share": 0.2})
    again.begin()
    again.load_snapshot(stored)
    assert torch.equal([again.advance(full).observation for _ in range(5)][-1], straight)
    kept = env.actions.fatigued.clone()
    env.restart(torch.tensor([True, False, False]))
    assert env.actions.fatigued[0].max() <= 0.2 and torch.equal(env.actions.fatigued[1:], kept[1:])


def test_evaluation_starts_with_the_mean_share():
    env = make_env("toy_arm", fatigue={"enabled": True}, evaluation=True, **CPU)
    env.begin()
    assert torch.equal(env.actions.fatigued, torch.full_like(env.actions.fatigued, 0.05))


def test_motors_do_not_fatigue():
    env = small_env(embodiment={"motor": True}, actions=["motors", "muscles"], fatigue={"enabled": True, **FAST})
    env.begin()
    for _ in range(30):
        env.advance(torch.ones(4, 3))
    controls = env.physics.field("ctrl")
    motor, muscle = env.embodiment.motor_ids, env.embodiment.muscle_ids
    assert (controls[:, motor] == 1.0).all() and (controls[:, muscle] < 1.0).all()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"fatigue": {"enabled": True, "initial_share": 1.5}}, "initial_share=1.5"),
        ({"fatigue": {"enabled": True, "fatigue_rate": -1.0}}, "fatigue_rate: -1 / s"),
        ({"fatigue": {"enabled": True, "recovery_rate": 9.0}}, "recovery_rate: 135 / s"),
        ({"fatigue": {"enabled": True, "rest_factor": -1.0}}, "rest_factor=-1.0"),
    ],
)
def test_bad_input_is_one_line(options, message):
    with pytest.raises(InputError, match=message) as caught:
        small_env(**options)
    assert "\n" not in str(caught.value)
