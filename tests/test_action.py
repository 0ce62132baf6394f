"""From action to control: synergies move muscles together, and leave every muscle free."""

import numpy as np
import pytest
import torch
from env_cases import CPU

from muscle_torch.embodiments import make_embodiment, similarity
from muscle_torch.envs import make_env
from muscle_torch.envs.actions.muscles import MuscleActions
from muscle_torch.envs.actions.options import MuscleOptions
from muscle_torch.errors import InputError

BODIES = ["toy_arm", "bimanual", "fullbody"]


def of(name: str, **options) -> MuscleActions:
    return MuscleActions(MuscleOptions(**options), make_embodiment(name), 1, torch.device("cpu"))


def matrix(actions: MuscleActions) -> torch.Tensor:
    nu = len(actions.zero_action)
    return (actions.to_actuators(torch.eye(nu)) - actions.to_actuators(torch.zeros(1, nu))).T


def controls(actions: MuscleActions, action: torch.Tensor) -> torch.Tensor:
    """Controls of an action; muscles read neither physics nor goal."""
    return actions.to_controls(actions.to_actuators(action), None, None)


def test_antagonists_are_told_apart():
    assert similarity(make_embodiment("toy_arm")) == pytest.approx(np.array([[1.0, -1.0], [-1.0, 1.0]]))
    arm = make_embodiment("bimanual")
    cosines, index = similarity(arm), arm.actuator_names.index
    assert cosines[index("BRD"), index("BRA")] > 0.8  # both bend the elbow
    assert cosines[index("TRImed"), index("BRA")] < -0.8
    assert abs(cosines[index("BRA"), index("BRA_left")]) < 1e-6  # the other arm's


@pytest.mark.parametrize("name", BODIES)
def test_noise_on_actions_is_correlated_like_moment_arms(name):
    mixing, cosines = matrix(of(name, synergy_mixing=0.9)).double(), torch.from_numpy(similarity(make_embodiment(name)))
    expected = 0.1 * torch.eye(len(mixing)) + 0.9 * cosines
    torch.testing.assert_close(mixing @ mixing.T, expected.double(), rtol=0, atol=1e-4)
    weight = mixing.square().sum(dim=0)
    assert (weight[:-1] >= weight[1:] - 1e-5).all()
    torch.testing.assert_close(torch.linalg.matrix_rank(mixing), torch.tensor(len(mixing)))


@pytest.mark.parametrize("mapping", ["half", "full", "clip", "sigmoid"])
@pytest.mark.parametrize(("mixing", "bias"), [(0.0, 0.0), (0.0, 0.2), (0.9, 0.0), (0.9, 0.1)])
def test_the_zero_action_excites_nothing(mapping, mixing, bias):
    actions = of("bimanual", mapping=mapping, synergy_mixing=mixing, action_bias=bias)
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


def test_without_synergies_an_action_is_a_muscles():
    actions = of("bimanual", mapping="half")
    action = torch.linspace(-1, 1, 64)[None]
    assert torch.equal(controls(actions, action), action)
    assert actions.names == make_embodiment("bimanual").actuator_names
    assert float(of("toy_arm", action_bias=0.25).to_actuators(torch.zeros(1, 2))[0, 0]) == 0.25


def test_the_environment_judges_what_muscles_are_told():
    """One synergy bends the toy's elbow: up excites the flexor, down the extensor; the penalty sees muscle actions."""
    words = {
        "actions": {"muscles": {"mapping": "half", "synergy_mixing": 0.9}},
        "reward": {"penalties": {"action_out_of_bounds": 0.1}},
    }
    env = make_env("toy_arm", 2, **CPU, **words)
    env.begin()
    assert env.action_names == ("synergy_0", "synergy_1")
    step = env.advance(torch.tensor([[1.0, 0.0], [-1.0, 0.0]]))
    activation = env.physics.field("act")
    assert activation[0].argmax() != activation[1].argmax() and step.terms["penalty"].shape == (2,)
    outside = env.advance(torch.tensor([[5.0, 0.0], [0.0, 0.0]])).terms["penalty"]
    assert float(outside[0]) < 0 and float(outside[1]) == 0
    env.close()


def test_a_share_of_one_is_refused():
    with pytest.raises(InputError, match="synergy_mixing"):
        of("toy_arm", synergy_mixing=1.0)


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
    ("options", "told"),
    [
        ({"actions": ["motors"]}, "has no motors"),
        ({"embodiment": {"motor": True}, "actions": [{"name": "motors", "limit": 0.0}]}, "limit"),
        ({"actions": ["muscles", "muscles"]}, "twice"),
    ],
)
def test_actions_a_body_cannot_have_are_one_line(options, told):
    with pytest.raises(InputError, match=told) as error:
        make_env("toy_arm", 1, **options, **CPU)
    assert "\n" not in str(error.value)
