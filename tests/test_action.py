"""From action to control: an action is a muscle's, and what reaches the physics is its excitation."""

import pytest
import torch
from env_cases import CPU

from muscle_torch.embodiments import make_embodiment
from muscle_torch.envs import make_env
from muscle_torch.envs.actions.muscles import MuscleActions
from muscle_torch.envs.actions.options import MuscleOptions
from muscle_torch.errors import InputError

BODIES = ["toy_arm", "bimanual", "fullbody"]


def of(name: str, **options) -> MuscleActions:
    return MuscleActions(MuscleOptions(**options), make_embodiment(name), 1, torch.device("cpu"))


def controls(actions: MuscleActions, action: torch.Tensor) -> torch.Tensor:
    """Controls of an action; muscles read neither physics nor goal."""
    return actions.to_controls(actions.to_actuators(action), None, None)


@pytest.mark.parametrize("mapping", ["half", "full", "clip", "sigmoid"])
def test_the_zero_action_excites_nothing(mapping):
    actions = of("bimanual", mapping=mapping)
    assert float(controls(actions, actions.zero_action[None]).max()) < (1e-4 if mapping == "sigmoid" else 1e-5)


def test_mappings_by_hand():
    action = torch.tensor([[-3.0, 1.0], [-1.0, -0.5], [0.0, 0.5], [1.0, 2.0]])
    by_hand = {
        "half": [[-1.0, 1.0], [-1.0, -0.5], [0.0, 0.5], [1.0, 1.0]],
        "full": [[0.0, 1.0], [0.0, 0.25], [0.5, 0.75], [1.0, 1.0]],
        "clip": [[0.0, 1.0], [0.0, 0.0], [0.0, 0.5], [1.0, 1.0]],
    }
    for mapping, expected in by_hand.items():
        assert controls(of("toy_arm", mapping=mapping), action).tolist() == expected, mapping
    assert controls(of("toy_arm", mapping="sigmoid"), action)[2].tolist() == pytest.approx([0.5, 0.622459])


def test_an_action_is_a_muscles():
    actions = of("bimanual", mapping="half")
    action = torch.linspace(-1, 1, 64)[None]
    assert torch.equal(controls(actions, action), action)
    assert actions.names == make_embodiment("bimanual").actuator_names


@pytest.mark.parametrize("mapping", ["half", "full", "clip", "sigmoid"])
def test_the_default_task_excites_the_muscle_that_an_action_names(mapping):
    """Up to [0, 1]: also with the published mapping, whose negative actions MuJoCo would read as 0."""
    env = make_env("bimanual", 3, **CPU, actions={"muscles": {"mapping": mapping}})
    env.begin()
    assert env.action_names == env.embodiment.muscle_names
    action = env.zero_action.repeat(3, 1)
    assert env.action_spec.is_in(action)
    biceps = env.action_names.index("BIClong")
    action[1, biceps] = float(env.actions.high[biceps])
    action[2] = 9.0 + action[2]
    env.advance(action)
    excitation = env.physics.field("ctrl")
    assert float(excitation.min()) >= 0 and float(excitation.max()) <= 1
    assert float(excitation[0].max()) < 1e-4
    assert int(excitation[1].argmax()) == biceps and float(excitation[1, biceps]) > 0.9999
    assert float(excitation[1].sum() - excitation[1, biceps]) < 64 * 1e-4
    env.close()


def test_the_observed_excitation_stays_the_published_one():
    """MuscleMimic observes the clipped action, also below 0 (spec: quirk that checkpoints depend on)."""
    env = make_env("bimanual", 2, **CPU, observation={"muscle": ["excitation"]})
    env.begin()
    assert not env.observation[:, env.observation_layout["muscle_excitation"]].any()
    action = torch.linspace(-2, 2, 128).reshape(2, 64)
    excitation = env.advance(action).observation[:, env.observation_layout["muscle_excitation"]]
    assert torch.equal(excitation, action.clamp(-1, 1))
    assert torch.equal(env.physics.field("ctrl"), action.clamp(0, 1))
    snapshot, other = env.snapshot(), make_env("bimanual", 2, **CPU, observation={"muscle": ["excitation"]})
    other.load_snapshot(snapshot)
    assert torch.equal(other.state().read("ctrl"), action.clamp(-1, 1))
    for one in (env, other):
        one.close()


# Motors beside the muscles


def test_an_idle_motor_is_not_there():
    """To the bit: the same rollout with and without it."""
    plain, idle = (make_env("toy_arm", 3, embodiment={"motor": motor}, **CPU) for motor in (False, True))
    assert idle.embodiment.motor_names and idle.action_names == plain.action_names
    random = torch.Generator().manual_seed(0)
    first = [env.begin() for env in (plain, idle)]
    assert torch.equal(*first)
    for _ in range(40):
        action = torch.randn(3, 2, generator=random)
        steps = [env.advance(action) for env in (plain, idle)]
        assert torch.equal(steps[0].observation, steps[1].observation) and torch.equal(steps[0].reward, steps[1].reward)
        done = steps[0].terminated | steps[0].truncated
        assert torch.equal(*(env.restart(done) for env in (plain, idle)))
    for env in (plain, idle):
        env.close()


def test_muscles_and_motors_act_side_by_side():
    options = {"embodiment": {"motor": True}, "actions": ["muscles", {"name": "motors", "limit": 0.5}]}
    env = make_env("toy_arm", 2, **options, **CPU)
    assert env.action_size == 3 and env.actions.columns["motors"] == slice(2, 3)
    assert env.zero_action.tolist() == [-1.0, -1.0, 0.0]
    env.assign((torch.zeros(2, dtype=torch.long), torch.zeros(2, dtype=torch.long)))
    env.advance(torch.tensor([[-1.0, -1.0, 2.0], [-1.0, -1.0, -0.25]]))
    motor = int(env.embodiment.motor_ids[0])
    low, high = env.embodiment.model.actuator_ctrlrange[motor]
    torch.testing.assert_close(
        env.physics.field("ctrl")[:, motor], torch.tensor([0.5 * high, 0.25 * 0.5 * low]).float()
    )
    velocity = env.physics.field("qvel")[:, 0]
    assert velocity[0] > velocity[1]
    env.close()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"actions": ["motors"]}, "has no motors"),
        ({"embodiment": {"motor": True}, "actions": [{"name": "motors", "limit": 0.0}]}, "limit"),
        ({"actions": ["muscles", "muscles"]}, "twice"),
    ],
)
def test_actions_a_body_cannot_have_are_one_line(options, message):
    with pytest.raises(InputError, match=message) as error:
        make_env("toy_arm", 1, **options, **CPU)
    assert "\n" not in str(error.value)
