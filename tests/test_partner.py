"""Two agents on one body: what the learner sees, and training in turn by the real command."""

import json

import pytest
import torch
from commands import train
from env_cases import CPU, small_env

from muscle_torch.config import config_to_dict, load_config
from muscle_torch.envs import make_env, make_partner_env
from muscle_torch.errors import InputError

MOTOR = {"embodiment": {"motor": True}}
WORDS = ("task=toy_arm", "embodiment.motor=true", "num_envs=8", "threads=1", "device=cpu", "ppo.num_steps=16")


class Constant:
    """A partner that always acts alike and remembers what it observed."""

    def __init__(self, value: float, size: int, **options):
        self.config = config_to_dict(load_config("toy_arm", **MOTOR, **options))
        self.action, self.observations = torch.full((size,), value), []

    def act(self, observation):
        self.observations.append(observation)
        return self.action.expand(len(observation), -1)


def test_beside_an_idle_motor_muscles_learn_as_if_alone():
    partner = Constant(0.0, 1, actions=["motors"])
    pair = make_partner_env("toy_arm", partner, 3, **MOTOR, **CPU)
    alone = small_env("toy_arm", 3, **MOTOR)
    assert (pair.action_size, pair.action_names) == (2, alone.action_names)
    assert torch.equal(pair.begin(), alone.begin())
    random = torch.Generator().manual_seed(0)
    for _ in range(30):
        action = torch.randn(3, 2, generator=random)
        first, second = pair.advance(action), alone.advance(action)
        assert torch.equal(first.observation, second.observation) and torch.equal(first.reward, second.reward)
        done = first.terminated | first.truncated
        assert torch.equal(pair.restart(done), alone.restart(done))
    for env in (pair, alone):
        env.close()


def test_each_agent_sees_its_own_commands_and_terms():
    """The motors learn, the muscles observe what they were trained with; penalties are of the learner's command."""
    observation = {"terms": ["joint_pos", "muscle", "previous_action"], "muscle": ["length"]}
    partner = Constant(0.25, 2, observation=observation)
    reward = {"penalties": {"action_out_of_bounds": 0.1}}
    env = make_partner_env("toy_arm", partner, 2, actions=["motors"], reward=reward, **MOTOR, **CPU)
    assert env.action_size == 1 and env.zero_action.tolist() == [0.0]
    env.begin()
    step = env.advance(torch.tensor([[3.0], [0.5]]))
    assert float(step.terms["penalty"][0]) == pytest.approx(-0.1 * 4.0) and float(step.terms["penalty"][1]) == 0.0
    env.advance(torch.zeros(2, 1))
    assert partner.observations[1].shape == (2, 1 + 2 + 2)
    torch.testing.assert_close(partner.observations[1][:, -2:], torch.full((2, 2), 0.25))
    env.close()


def test_a_stored_pair_goes_on_exactly():
    partner = Constant(0.5, 1, actions=["motors"], observation={"history": 3})
    env = make_partner_env("toy_arm", partner, 2, **MOTOR, **CPU)
    env.begin()
    random = torch.Generator().manual_seed(0)
    actions = torch.randn(20, 2, 2, generator=random)
    for action in actions[:5]:
        env.advance(action)
    kept = env.snapshot()
    first = [env.advance(action).observation for action in actions[5:]]
    observed = partner.observations[5:]
    env.load_snapshot(kept)
    partner.observations = []
    assert all(torch.equal(env.advance(a).observation, b) for a, b in zip(actions[5:], first, strict=True))
    assert all(torch.equal(a, b) for a, b in zip(partner.observations, observed, strict=True))
    env.close()


@pytest.mark.parametrize(
    ("partner", "options", "message"),
    [
        (Constant(0.0, 2), {}, "acts through muscles as well"),
        (Constant(0.0, 1, actions=["motors"]), {"goal": {"stride": 9}}, "use the same"),
    ],
)
def test_pairs_that_cannot_be_are_one_line(partner, options, message):
    with pytest.raises(InputError, match=message) as error:
        make_partner_env("toy_arm", partner, 1, **MOTOR, **options, **CPU)
    assert "\n" not in str(error.value)


def test_a_partner_needs_its_policy():
    with pytest.raises(InputError, match="make_partner_env"):
        make_env("toy_arm", 1, partner="runs/x", **MOTOR, **CPU)


def test_muscles_and_motors_train_in_turn(tmp_path):
    turns = (
        (*WORDS, "experiment=muscles", "max_iterations=2"),
        (*WORDS, "experiment=motors", "max_iterations=2", "actions=[motors]", "partner=runs/muscles"),
        (*WORDS, "experiment=again", "max_iterations=2", "partner=runs/motors", "checkpoint=runs/muscles"),
        ("resume=runs/motors", "task=toy_arm", "max_iterations=3"),
    )
    for words in turns:
        done = train(*words, cwd=tmp_path)
        assert done.returncode == 0, done.stderr
    for experiment in ("muscles", "motors", "again"):
        metrics = json.loads((tmp_path / f"runs/{experiment}/eval/final/metrics.json").read_text())
        assert metrics["num_clips"] > 0 and metrics["err_site_abs"] > 0
