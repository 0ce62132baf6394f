"""Goals for the root of a free body: walking to a point or in a direction, and penalty kicks, by laws and by hand."""

import math

import pytest
import torch
from env_cases import CPU, actions, all_equal, play

from muscle_torch.embodiments.pitch import BAR_HEIGHT, GOAL_LINE, HALF_WIDTH
from muscle_torch.envs import make_env
from muscle_torch.envs.goals.keepers import KEEPERS, Situation, keeper_velocity
from muscle_torch.envs.goals.kick import is_goal, is_published_goal
from muscle_torch.errors import InputError
from muscle_torch.evaluation import ZeroController, evaluate, group_table
from muscle_torch.evaluation.figures import target_map
from muscle_torch.rotations import yaw

TASKS = ("legs_target", "legs_direction", "legs_kick")
STILL = {"goal": {"start": "beginning"}, "motion": ["walk"]}


@pytest.fixture(scope="module")
def envs():
    made = {task: make_env(task, 3, seed=1, **CPU) for task in TASKS}
    yield made
    for env in made.values():
        env.close()


@pytest.fixture(params=TASKS)
def env(request, envs):
    return envs[request.param]


def start_at(env, point, frame: int = 0):
    """Begin every episode at a frame of the first clip with a point (2,)."""
    clip = torch.zeros(env.num_envs, dtype=torch.long)
    env.assign((clip, clip + frame, torch.tensor(point).expand(env.num_envs, 2)))


def test_a_stored_goal_goes_on_exactly(env):
    env.begin()
    play(env, actions(env, 3))
    kept, sequence = env.snapshot(), actions(env, 12, seed=1)
    first = play(env, sequence)
    env.load_snapshot(kept)
    assert all_equal(play(env, sequence), first)


def test_trials_have_equal_groups_and_do_not_depend_on_the_seed(env):
    other = make_env(env.config.task, 1, seed=5, **CPU)
    first, second = env.goal.trials, other.goal.trials
    assert first.names == second.names and len(set(first.names)) == len(first.names)
    assert all(torch.equal(a, b) for a, b in zip(first.starts, second.starts, strict=True))
    other.close()


def test_the_reference_is_the_body_with_its_root_at_the_target(envs):
    env = envs["legs_target"]
    start_at(env, (1.5, -0.5), frame=7)
    state = env.state()
    reference = state.reference
    assert torch.equal(reference.rpos, state.rpos) and torch.equal(reference.qvel, state.qvel)
    torch.testing.assert_close(reference.qpos[:, :2], state.target)
    assert torch.equal(reference.qpos[:, 3:], state.qpos[:, 3:])
    assert (
        state.ahead.rpos.shape == (3, 3, *state.rpos.shape[1:]) and state.ahead.frame(2).rpos.shape == state.rpos.shape
    )
    observed = env.observer.begin(state)
    for term in ("muscle_length_error", "muscle_velocity_error"):
        assert not observed[:, env.observation_layout[term]].any(), term
    error = observed[:, env.observation_layout["root_error"]]
    assert error[:, 3:].abs().max() < 1e-6 and torch.allclose(
        error[:, :2].norm(dim=1), torch.full((3,), math.hypot(1.5, 0.5))
    )


def test_observations_are_those_of_imitation(envs):
    """A checkpoint of task=legs has the same observation vector, term by term."""
    imitation = make_env("legs", 1, **CPU)
    for task in ("legs_target", "legs_direction"):
        assert envs[task].observation_layout == imitation.observation_layout
    imitation.close()


def test_the_point_is_ahead_of_the_body(envs):
    """The body faces -y at the identity; a point ahead and to the left is where its feet and its left side point."""
    env = envs["legs_target"]
    start_at(env, (1.0, 0.0))
    names = env.embodiment.site_names
    sites = env.state().site_pos[0]
    feet = sum(
        sites[names.index(f"{s}_toes_mimic")] - sites[names.index(f"{s}_ankle_mimic")] for s in ("left", "right")
    )
    across = sites[names.index("left_hip_mimic")] - sites[names.index("right_hip_mimic")]
    assert torch.cosine_similarity(env.goal.target[0], feet[:2], dim=0) > 0.95
    start_at(env, (0.0, 1.0))
    assert torch.cosine_similarity(env.goal.target[0], across[:2], dim=0) > 0.95
    offset = env.goal.observations["target_offset"](env.state())
    torch.testing.assert_close(offset, torch.tensor([[0.0, 1.0]]).expand(3, 2), atol=1e-6, rtol=0)


def test_terms_at_the_target_and_away(envs):
    env = envs["legs_target"]
    start_at(env, (0.0, 0.0))
    state, rewards = env.state(), env.goal.rewards
    assert rewards["target_reached"](state).tolist() == [1, 1, 1]
    torch.testing.assert_close(torch.exp(-rewards["target"].distance(state)), torch.ones(3))
    env.goal.update(state)
    assert env.goal.success().all()
    start_at(env, (0.3, 0.4))
    state = env.state()
    torch.testing.assert_close(rewards["target"].distance(state), torch.full((3,), 0.25))
    torch.testing.assert_close(rewards["progress"](state), torch.zeros(3), atol=1e-6, rtol=0)
    assert not rewards["target_reached"](state).any()
    moved = env.state()
    moved.__dict__["qpos"] = state.qpos + torch.nn.functional.pad(
        0.1 * state.target / 0.5, (0, state.qpos.shape[1] - 2)
    )
    torch.testing.assert_close(rewards["progress"](moved), torch.full((3,), 0.1), atol=1e-6, rtol=0)


def test_points_fill_the_square_and_quadrants_are_weighted(envs):
    goal = envs["legs_target"].goal
    point = goal.draw(4000)[2]
    assert 1.95 < float(point.abs().max()) <= 2.0
    assert torch.allclose(point.abs().mean(dim=0), torch.ones(2), atol=0.04)
    counts = torch.bincount(goal._groups_of(point), minlength=4)
    assert (counts - 1000).abs().max() < 130
    assert goal.groups[int(goal._groups_of(torch.tensor([[-1.0, 0.2]])))] == "behind"
    assert goal.groups[int(goal._groups_of(torch.tensor([[0.1, 1.0]])))] == "left"


# Directions


def test_a_command_moves_the_target_with_the_body(envs):
    env = envs["legs_direction"]
    goal = env.goal
    start_at(env, (0.0, 0.0))
    goal.set_direction(math.pi / 2, 1.2)
    state = env.state()
    torch.testing.assert_close(state.offset, torch.tensor([[0.0, 1.2]]).expand(3, 2), atol=1e-6, rtol=0)
    torch.testing.assert_close(state.reference.qpos[:, :2], state.qpos[:, :2] + state.offset)
    env.begin()  # new episodes keep the command
    torch.testing.assert_close(goal.target, state.offset)
    goal.set_direction(0.0, 0.0)
    assert not env.state().offset.any() and goal.groups[8] == "stop"
    goal.release()
    env.begin()
    assert goal.target.abs().sum() > 0


def test_a_body_that_moves_as_commanded_succeeds(envs):
    env = envs["legs_direction"]
    goal = env.goal
    start_at(env, (1.0, 0.0))
    for _ in range(30):
        goal.step()
    torch.testing.assert_close(goal.due, goal.target * 1.0, atol=1e-5, rtol=0)  # 30 steps of 1/30 s
    goal.position = goal.due * torch.tensor([[1.0], [0.75], [0.6]])
    assert goal.success().tolist() == [True, True, False]  # tolerance 0.3 m/s
    assert goal.outcome()["mean_speed"].tolist() == pytest.approx([1.0, 0.75, 0.6])


def test_headings_and_stop_are_drawn_alike(envs):
    goal = envs["legs_direction"].goal
    command = goal.draw(4500)[2]
    assert torch.bincount(goal._groups_of(command), minlength=9).float().sub(500).abs().max() < 100
    speed = command.norm(dim=1)
    assert ((speed == 0) | ((speed > 0.79) & (speed < 1.266))).all()


# Kicks


def test_six_balls_by_hand():
    """Short of the line, in the middle, beside a post, over the bar, at the edge of a post, just under the bar."""
    beyond, post, bar = GOAL_LINE + 0.2, HALF_WIDTH, BAR_HEIGHT
    balls = [(9.9, 0, 0.1), (beyond, 0, 1), (beyond, -post - 0.1, 1), (beyond, 1, bar + 0.1), (beyond, post, 0.1)]
    position = torch.tensor([*balls, (beyond, -3.2, bar - 0.01)])
    assert is_goal(position).tolist() == [False, True, False, False, False, True]
    assert is_published_goal(position).tolist() == [False, True, False, True, False, True]


def test_keepers_keep_to_their_laws():
    """Ball at y = 2: stationary stays, block follows it at gain 5, all within their speed and the goal's width."""
    keeper, drift = torch.tensor([0.0, 1.9, -1.0, 3.29]), torch.tensor([0.05, -0.5, 0.02, 1.0])
    situation = Situation(keeper, torch.full((4,), 2.0), drift, gain=5.0)
    fastest = torch.tensor([3.0, 3.0, 1.0, 5.0])

    def velocity(name):
        kind = torch.full((4,), list(KEEPERS).index(name))
        return keeper_velocity(kind, situation, fastest, 0.01).tolist()

    assert velocity("stationary") == [0, 0, 0, 0]
    assert velocity("block") == pytest.approx([3.0, 0.5, 1.0, -5.0])
    assert velocity("random") == pytest.approx([0.5, -3.0, 0.2, 1.0], abs=1e-4)  # the last one reaches the post


def kick_env(**options):
    return make_env("legs_kick", 3, motion=["walk"], **{**CPU, **options})


def keeper_starts(env, kinds, place=0.0, fastest=2.0):
    start = list(env.goal.in_order(3))
    start[4] = torch.tensor([list(KEEPERS).index(kind) for kind in kinds])
    start[5] = torch.tensor([[place, fastest]]).expand(3, 2)
    return tuple(start)


@pytest.mark.parametrize("backend", ["mujoco", pytest.param("warp", marks=pytest.mark.slow)])
def test_a_keeper_blocks_and_a_ball_scores_on_both_backends(backend):
    """The ball is sent over the line beside a keeper that follows it too slowly, or waits; past the post it is none."""
    env = kick_env(backend=backend)
    env.assign(keeper_starts(env, ["block", "stationary", "stationary"], fastest=1.0))
    joint = env.embodiment.model.joint("ball")
    state = env.physics.state()
    change = torch.zeros(3, env.embodiment.model.nv)
    change[:, joint.dofadr[0]] = 100.0
    change[:, joint.dofadr[0] + 1] = torch.tensor([20.0, 10.0, 40.0])
    change[:, joint.dofadr[0] + 2] = 0.5
    assert state["qpos" if backend == "warp" else "integration"].shape[0] == 3
    env.physics.kick(change)
    keeper = env.embodiment.model.joint("keeper").qposadr[0]
    places = []
    for _ in range(12):
        step = env.advance(env.zero_action.expand(3, -1))
        places.append(env.physics.field("qpos")[:, keeper].clone())
    assert env.goal.scored.tolist() == [True, True, False] and env.goal.crossed.all()
    outcome = env.goal.outcome()
    assert outcome["published_flag"].tolist() != [0, 0, 0] and outcome["standing"].all()
    assert env.goal.success().tolist() == [True, True, False]
    speed = torch.diff(torch.stack(places), dim=0) / 0.01
    assert torch.allclose(speed[:, 0], torch.ones(11), atol=0.02) and torch.allclose(
        speed[:, 1], torch.zeros(11), atol=1e-3
    )
    assert float(step.terms["err/ball"].max()) == 0
    env.close()


def test_a_fast_ball_is_rewarded_along_the_line_only(envs):
    env = envs["legs_kick"]
    env.assign(env.goal.in_order(3))
    state = env.state()
    before = state.ball
    for move, expected in (((0.02, 0.01, 0), 2.0), ((0.02, 0.03, 0), 0.0), ((0.005, 0, 0), 0.0)):
        state.__dict__["ball"] = before + torch.tensor(move)
        speed = env.goal.rewards["ball_velocity"](state)
        torch.testing.assert_close(speed, torch.full((3,), expected), atol=1e-3, rtol=0)


def test_kicks_start_a_step_behind_the_ball_facing_the_goal(envs):
    env = envs["legs_kick"]
    env.assign(env.goal.draw(3))
    qpos = env.physics.field("qpos")
    assert ((qpos[:, 0] <= -1.0) & (qpos[:, 0] >= -1.5)).all()
    assert all(min(abs(y - 0.3), abs(y + 0.1)) < 1e-5 for y in qpos[:, 1].tolist())
    heading = yaw(qpos[:, 3:7]) + env.goal.forward
    assert torch.allclose(torch.atan2(heading.sin(), heading.cos()), torch.zeros(3), atol=1e-4)
    reach = make_env("legs_ball", 3, **CPU)
    position, heading = reach.goal._places(500, reach.goal.generator)
    to_ball = torch.atan2(-position[:, 1], -position[:, 0])
    assert (position[:, 0] <= 0).all() and (position[:, 1].abs() <= 4).all()
    assert (heading - to_ball).abs().max() <= math.pi / 6
    reach.close()


def test_evaluation_reports_groups_outcomes_and_a_map():
    env = make_env("legs_target", evaluation=True, goal={"trials": 8, "duration": 3}, motion=["walk"], **CPU)
    metrics = evaluate(env, ZeroController())
    assert metrics["num_trials"] == 8 and {row["group"] for row in metrics["per_trial"]} == set(env.goal.groups)
    assert all(group["num_trials"] == 2 for group in metrics["per_group"].values())
    ends = [row["outcome"]["final_distance"] for row in metrics["per_trial"]]
    assert metrics["outcome"]["final_distance"] == pytest.approx(sum(ends) / 8)
    assert group_table(metrics).splitlines()[-1].split()[:2] == ["all", "8"]
    title = target_map(metrics).axes[0].get_title()
    assert title.startswith(f"{round(8 * metrics['success_rate'])} of 8 targets reached")
    env.close()


@pytest.mark.parametrize(
    ("task", "options", "message"),
    [
        ("legs_target", {"embodiment": "toy_arm", "motion": []}, "cannot walk to a target"),
        ("legs_kick", {"embodiment": "toy_arm", "motion": []}, "touch sensors at its feet"),
        ("legs_kick", {"goal": {"keepers": {"blocker": 1.0}}}, "unknown keeper 'blocker'"),
        ("legs_kick", {"goal": {"keeper_speed": [5, 1]}}, "keeper_speed"),
        ("legs_target", {"goal": {"radius": -0.1}}, "goal.radius"),
        ("legs_target", {"observation": {"terms": ["feedforward"]}}, "a motion to follow"),
    ],
)
def test_what_a_goal_cannot_have_is_one_line(task, options, message):
    with pytest.raises(InputError, match=message) as error:
        make_env(task, 1, **CPU, **options)
    assert "\n" not in str(error.value)


def test_the_map_needs_targets():
    with pytest.raises(InputError, match="map="):
        target_map({"per_trial": [{"success_rate": 1.0}]})


@pytest.mark.parametrize(("task", "imitation"), [("legs_target", "legs"), ("legs_kick", "legs_back")])
def test_the_profile_of_kinesis_is_that_of_imitation(task, imitation):
    """The root's reference is the target, every other body's its own: positions and velocities without error."""
    options = {"observation": {"profile": "kinesis"}, "motion": ["walk"], **CPU}
    env, other = make_env(task, 2, **options), make_env(imitation, 1, **options)
    assert env.observation_layout == other.observation_layout
    start = env.goal.in_order(2)
    env.assign(start)
    observed = env.observation[:, env.observation_layout["tracked_reference"]].unflatten(1, (3, -1, 3))
    offset = env.goal.observations["target_offset"](env.state())
    torch.testing.assert_close(observed[:, 0, 0, :2], offset, atol=1e-5, rtol=0)  # the root's position error, then none
    assert observed[:, 0, 1:].abs().max() < 1e-6 and observed[:, 1].abs().max() < 1e-6
    for made in (env, other):
        made.close()
