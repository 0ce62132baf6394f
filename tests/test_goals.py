"""Goals: what all of them keep to, and reaching by laws and by hand."""

import dataclasses

import pytest
import torch
from env_cases import CPU, actions, all_equal, play, small_env
from kinesis_cases import swinging

from muscle_torch.embodiments import make_embodiment
from muscle_torch.envs import make_env
from muscle_torch.envs.goals.options import GOALS, TargetOptions
from muscle_torch.envs.goals.target import OCTANTS, ReachablePoses, TargetGoal
from muscle_torch.envs.model_indices import ModelIndices
from muscle_torch.errors import InputError

TASKS = {"motion": "toy_arm", "kinesis": "legs", "target": "toy_reach"}
ROOT = {"root_target", "direction", "kick"}  # in test_root_goals.py


@pytest.fixture(params=TASKS)
def env(request, tmp_path):
    # The generated walk takes seconds, and its feedforward minutes.
    clips = [swinging(tmp_path, frames=frames, name=f"swing_{frames}") for frames in (20, 40)]
    short = {"motion": clips, "actions": ["muscles"]} if request.param == "kinesis" else {}
    made = small_env(TASKS[request.param], 4, seed=3, **short)
    yield made
    made.close()


def test_every_goal_has_a_task_here():
    assert GOALS.keys() == TASKS.keys() | ROOT


def test_starts_groups_and_errors_fit_together(env):
    goal = env.goal
    env.begin()
    assert goal.group.shape == (4,) and 0 <= int(goal.group.min()) <= int(goal.group.max()) < len(goal.groups)
    step = env.advance(env.zero_action.expand(4, -1))
    assert goal.headline.name in step.terms and goal.finished().shape == (4,)
    assert set(goal.errors(env.state())) == {name for name in step.terms if name.startswith("err/")}
    start = goal.draw(1000)
    assert all(values.shape == (1000,) for values in start)
    assert not torch.equal(goal.draw(1000)[0], start[0])


def test_an_episode_finishes_where_its_trial_ends(env):
    trials = env.goal.trials
    assert len(trials.names) == len(trials.lengths) == len(trials.starts[0])
    env.assign(env.goal.in_order(4))
    lengths = trials.lengths[torch.arange(4) % len(trials.names)]
    for frame in range(1, int(lengths.max())):
        assert torch.equal(env.goal.finished(), frame > lengths - 1), frame
        env.advance(env.zero_action.expand(4, -1))
    assert env.goal.finished().all()


def test_a_stored_goal_goes_on_exactly(env):
    env.begin()
    play(env, actions(env, 5))
    kept, sequence = env.snapshot(), actions(env, 60, seed=1)
    first = play(env, sequence)
    env.load_snapshot(kept)
    assert all_equal(play(env, sequence), first)
    assert {"goal", "generator", "actions"} <= kept.keys()


def test_groups_that_fail_are_drawn_more_often(env):
    weights = torch.full((len(env.goal.groups),), 1e-9)
    present = torch.cat([_group_of(env, start) for start in (env.goal.draw(500),)])
    chosen = int(present[0])
    weights[chosen] = 1.0
    env.goal.set_group_weights(weights)
    assert (_group_of(env, env.goal.draw(500)) == chosen).all()


def _group_of(env, start):
    return env.goal._octant[start[1]] if isinstance(env.goal, TargetGoal) else start[0]


# Reaching


@pytest.fixture(scope="module")
def reach():
    made = make_env("toy_reach", 3, reward={"weights": {"target": 1.0, "target_reached": 1.0}}, **CPU)
    yield made
    made.close()


def test_a_site_on_its_target_has_arrived(reach):
    rows = torch.tensor([5, 50, 500])
    reach.assign((rows, rows))
    state = reach.state()
    torch.testing.assert_close(state.distance, torch.zeros(3), rtol=0, atol=1e-6)
    reward, terms = reach.reward(state)
    torch.testing.assert_close(reward, torch.full((3,), 2.0), rtol=0, atol=1e-6)
    assert set(terms) == {"reward/target", "reward/target_reached", "penalty"}
    reach.goal.update(state)
    assert reach.goal.success().all()


def test_the_distance_is_the_chord_of_the_elbows_angle(reach):
    """The hand is 0.3 m from the elbow."""
    reach.assign((torch.tensor([1, 2, 3]), torch.tensor([11, 12, 13])))
    poses = reach.goal.assets.qpos
    angle = (poses[[1, 2, 3], 0] - poses[[11, 12, 13], 0]).abs()
    torch.testing.assert_close(reach.state().distance, 0.6 * (angle / 2).sin(), rtol=1e-4, atol=1e-6)


def test_success_counts_at_the_end_only(reach):
    reach.assign((torch.tensor([7, 7, 7]), torch.tensor([7, 7, 900])))
    reach.advance(reach.zero_action.expand(3, -1))
    assert reach.goal.success().tolist() == (reach.state().distance < reach.goal.options.radius).tolist()


def test_trials_do_not_depend_on_the_seed():
    first, second = (make_env("toy_reach", seed=seed, evaluation=True, **CPU) for seed in (0, 1))
    assert first.num_envs == 64 and torch.equal(first.begin(), second.begin())
    assert len(set(first.goal.trials.names)) == 64


def test_octants_are_around_the_mean_target():
    arm = make_embodiment("toy_arm")
    poses = ReachablePoses.of(arm, int(arm.site_ids[-1]), 500)
    body = ModelIndices.of(arm, torch.device("cpu"))
    goal = TargetGoal(TargetOptions(), arm, body, poses, 1, torch.Generator())
    above = (poses.position > poses.position.mean(dim=0)).int()
    for row in range(0, 500, 37):
        name = "".join("-+"[int(above[row, axis])] + "xyz"[axis] for axis in range(3))
        assert OCTANTS[int(goal._octant[row])] == name


@pytest.mark.parametrize("signed", [False, True])
def test_rewards_below_zero_are_a_choice(signed):
    reward = {"weights": {"target": 0.0, "target_distance": 1.0}, "signed": signed}
    env = make_env("toy_reach", 2, reward=reward, **CPU)
    env.assign((torch.tensor([1, 1]), torch.tensor([1, 400])))
    reward, terms = env.reward(env.state())
    expected = -env.state().distance if signed else torch.zeros(2)
    torch.testing.assert_close(reward, expected, rtol=0, atol=1e-6)
    torch.testing.assert_close(terms["reward/target_distance"], -env.state().distance)
    env.close()


@pytest.mark.parametrize(
    ("task", "options", "message"),
    [
        ("fullbody", {"goal": "target", "motion": []}, "fixed to the world"),
        ("toy_reach", {"goal": {"site": "hand_mimc"}}, "does not track"),
        ("toy_reach", {"motion": "wave"}, "follows no motion"),
        ("toy_reach", {"goal": {"radius": 0.0}}, "goal.radius"),
        ("toy_reach", {"observation": {"terms": ["reference"]}}, "unknown observation term"),
        ("toy_reach", {"reward": {"sharpness": {"target_reached": 1.0}}}, "no exponential term"),
        ("toy_reach", {"termination": {"mean_site_deviation": 0.1}}, "unknown termination term"),
    ],
)
def test_what_a_goal_cannot_have_is_one_line(task, options, message):
    with pytest.raises(InputError, match=message) as error:
        make_env(task, 1, **CPU, **options)
    assert "\n" not in str(error.value)


def test_options_are_plain_data():
    assert dataclasses.asdict(TargetOptions())["radius"] == 0.03
