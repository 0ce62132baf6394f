"""Terms against laws and numbers worked out by hand, on the real bodies."""

import math
from types import SimpleNamespace

import pytest
import torch
from conftest import data_file
from env_cases import ALL_REWARDS, CPU, MUSCLES, actions, small_env

from muscle_torch.config import ObservationConfig, RewardConfig
from muscle_torch.envs import make_env
from muscle_torch.envs.goals.motion import MotionGoal
from muscle_torch.envs.goals.motion_terminations import NEED_ANKLES
from muscle_torch.envs.observations import NEED_DEVICE, Observer
from muscle_torch.envs.observations import NEED_ROOT as OBSERVATION_NEEDS_ROOT
from muscle_torch.envs.observations import OBSERVATIONS as OF_BODY
from muscle_torch.envs.rewards import PENALTIES, Reward
from muscle_torch.envs.state import State
from muscle_torch.envs.terminations import NEED_ROOT as TERMINATION_NEEDS_ROOT
from muscle_torch.envs.terminations import TERMINATIONS as TERMINATIONS_OF_BODY
from muscle_torch.envs.terminations import Termination
from muscle_torch.errors import InputError
from muscle_torch.motion import RelativeSites, relative_sites_from_matrices, site_velocity
from muscle_torch.rotations import quat_mul, quat_normalize, quat_to_matrix, yaw

OBSERVATIONS, REWARDS = OF_BODY | MotionGoal.observations, MotionGoal.rewards
TERMINATIONS = TERMINATIONS_OF_BODY | MotionGoal.terminations
NEED_ROOT = OBSERVATION_NEEDS_ROOT | TERMINATION_NEEDS_ROOT | MotionGoal.need_root
FOREARM = 0.3  # [m] elbow to hand, of the toy arm's XML
ABSOLUTE = {"root_height", "root_orientation_in_motions"}  # judge the body, not its distance from the motion's frame
EVERY_TERMINATION = {name: 1e-4 for name in TERMINATIONS if name not in NEED_ROOT | NEED_ANKLES}


@pytest.fixture(scope="module", params=["toy_arm", "bimanual", "bimanual_fingers"])
def env(request):
    fingers = request.param.endswith("_fingers")
    options = {"embodiment": {"fingers": True}} if fingers else {}
    made = small_env(request.param.removesuffix("_fingers"), reward=ALL_REWARDS, **options)
    yield made
    made.close()


@pytest.fixture(scope="module")
def full_body():
    """With every reward term, the root's included, and thresholds of 0.1 mm and 0.1 mrad."""
    motion = str(data_file("oracle/fullbody_traj.npz"))
    terms = [name for name in OBSERVATIONS if name not in NEED_DEVICE and not name.startswith("muscle_")]
    observation = {"terms": terms, "muscle": MUSCLES}
    made = make_env(
        "toy_arm",
        4,
        embodiment="fullbody",
        motion=motion,
        reward={"weights": dict.fromkeys(REWARDS, 1.0)},
        observation=observation,
        **CPU,
    )
    yield made
    made.close()


def at(env, frame: int = 0, **kept) -> State:
    """Every world on a frame of a clip of its own."""
    clips = torch.arange(env.num_envs) % env.goal.library.num_clips
    env.assign((clips, torch.full_like(clips, frame)))
    state = env.state()
    for name, value in kept.items():
        setattr(state, name, value)
    return state


def reward_of(env, state: State, **config) -> tuple[torch.Tensor, dict]:
    return Reward(RewardConfig(**{"weights": {}, "penalties": {}} | config), env.goal, env.device)(state)


@pytest.mark.parametrize("frame", [0, 57, 10_000])
def test_a_body_on_the_reference_scores_1_and_is_never_terminated(env, frame):
    state = at(env, frame)
    _, terms = env.reward(state)
    assert set(ALL_REWARDS["weights"]) == {n.removeprefix("reward/") for n in terms if n.startswith("reward/")}
    for name, value in terms.items():
        expected = torch.zeros(4) if name == "penalty" else torch.ones(4)
        torch.testing.assert_close(value, expected, rtol=0, atol=1e-5, msg=name)
    assert not Termination(EVERY_TERMINATION, env.goal, env.device)(state).any()


@pytest.mark.parametrize("frame", [0, 57, 10_000])
def test_the_full_body_too(full_body, frame):
    """The files were made by another MuJoCo, whose velocities we take over: thresholds see it, at most."""
    state = at(full_body, frame)
    assert not state.qpos[:, :2].any()  # it starts at the world's origin, wherever the motion was
    _, terms = full_body.reward(state)
    for name in REWARDS:
        torch.testing.assert_close(terms[f"reward/{name}"], torch.ones(4), rtol=0, atol=1e-4, msg=name)
    assert not Termination(dict.fromkeys(set(TERMINATIONS) - ABSOLUTE, 1e-4), full_body.goal, full_body.device)(
        state
    ).any()


def test_root_error_is_told_along_the_roots_heading(full_body):
    observe_root = OBSERVATIONS["root_error"]
    state = at(full_body, 57)
    torch.testing.assert_close(observe_root(state), torch.zeros(4, 12), rtol=0, atol=1e-4)
    turn = torch.tensor([math.cos(0.15), 0.0, 0.0, math.sin(0.15)])  # by 0.3 rad to the left
    qpos, qvel = state.qpos.clone(), state.qvel.clone()
    heading = 0.3 + yaw(qpos[:, 3:7])
    qpos[:, 0] += 0.1
    qpos[:, 3:7] = quat_mul(turn.expand(4, 4), qpos[:, 3:7])
    qvel[:, 2] += 0.5
    error = observe_root(at(full_body, 57, qpos=qpos, qvel=qvel)).unflatten(1, (4, 3))
    along = torch.stack((0.1 * heading.cos(), -0.1 * heading.sin(), torch.zeros(4)), dim=1)
    torch.testing.assert_close(error[:, 0], along, rtol=0, atol=1e-4)
    torch.testing.assert_close(error[:, 1], torch.tensor([0.0, 0.0, 0.3]).expand(4, 3), rtol=0, atol=1e-4)
    torch.testing.assert_close(error[:, 2], torch.tensor([0.0, 0.0, 0.5]).expand(4, 3), rtol=0, atol=1e-4)


def test_replaying_a_clip_has_no_error(env):
    worst = 0.0
    for frame in range(0, int(env.goal.library.length.max()), 13):
        state = at(env, frame)
        worst = max(worst, float(state.site_deviation.mean(dim=1).max()))
    assert worst < 1e-4


def test_relative_sites_are_those_of_the_motion_library(env):
    env.begin()
    for action in actions(env, 5):
        env.advance(action)
    state = env.state()
    mat = state.read("site_xmat").unflatten(-1, (3, 3))
    velocity = site_velocity(state.site_pos, state.read("cvel"), state.read("subtree_com"))
    for got, expected in zip(
        state._relative, relative_sites_from_matrices(state.site_pos, mat, *velocity), strict=True
    ):
        torch.testing.assert_close(got, expected, rtol=1e-5, atol=2e-6)


def test_sites_turned_on_their_bodies_are_turned_in_the_relative_rotation():
    random = torch.Generator().manual_seed(0)
    site, body = (quat_normalize(torch.randn(*shape, 4, generator=random)) for shape in ((3,), (5, 3)))
    mat = quat_to_matrix(quat_mul(body, site.expand_as(body)))
    pos, angvel, linvel = torch.randn(3, 5, 3, 3, generator=random)
    got = RelativeSites(site)(pos, body, mat, angvel, linvel)
    for mine, expected in zip(got, relative_sites_from_matrices(pos, mat, angvel, linvel), strict=True):
        torch.testing.assert_close(mine, expected, rtol=1e-5, atol=5e-6)


def test_an_elbow_off_by_half_a_radian():
    """Toy arm: of its three sites only the hand moves, by the chord of the angle, and turns, by the angle."""
    env = small_env("toy_arm", 1, reward=ALL_REWARDS)
    angle = 0.5
    row = env.goal.library.rows(torch.tensor([0]), torch.tensor([0]))
    env.assign((torch.tensor([0]), torch.tensor([0])))
    everyone = torch.ones(1, dtype=torch.bool)
    env.physics.reset(everyone, env.goal.library.qpos[row] + angle, env.goal.library.qvel[row])
    state = env.state()
    _, terms = env.reward(state)
    chord = 2 * FOREARM * math.sin(angle / 2)
    expected = {
        "qpos": math.exp(-10 * angle**2),
        "qvel": 1.0,
        "site_pos": math.exp(-100 * chord**2 / 3),
        # against the anchor on the upper arm: two sites, three axes; both sites of the forearm turn
        "rpos": math.exp(-100 * chord**2 / 6),
        "rquat": math.exp(-10 * 2 * angle**2 / 6),
    }
    for name, value in expected.items():
        assert float(terms[f"reward/{name}"]) == pytest.approx(value, rel=1e-3), name
    deviations = {name: float(TERMINATIONS[name](state)) for name in EVERY_TERMINATION}
    assert deviations["mean_site_deviation"] == pytest.approx(chord / 3, rel=1e-4)
    assert deviations["max_site_deviation"] == pytest.approx(chord, rel=1e-4)
    assert deviations["mean_relative_site_deviation"] == pytest.approx(chord / 2, rel=1e-4)
    assert float(TERMINATIONS["root_deviation"](state)) == pytest.approx(0.0, abs=1e-6)  # the anchor itself stays
    for threshold, over in ((chord / 3 * 0.99, True), (chord / 3 * 1.01, False)):
        assert Termination({"mean_site_deviation": threshold}, env.goal, env.device)(state).tolist() == [over]
    env.close()


def test_penalties_by_hand():
    action, before = torch.tensor([[1.5, -0.25], [-3.0, 2.0]]), torch.tensor([[0.5, 0.25], [0.0, 0.0]])
    fields = {"act": torch.tensor([[0.5, 0.1], [1.0, 0.0]]), "qfrc_actuator": torch.tensor([[3.0], [-400.0]])}
    fields["ctrl"] = torch.tensor([[1.5, -0.25], [0.5, 0.5]])
    state = SimpleNamespace(
        body=SimpleNamespace(joint_qvel=slice(0, 1), control_step=0.01),
        action=action,
        previous_action=before,
        qvel=torch.tensor([[0.2], [1.0]]),
        metabolic=torch.tensor([0.1, 0.3]),  # tests/test_metabolic.py
        previous_qvel=torch.tensor([[0.1], [1.0]]),
        read=fields.__getitem__,
    )
    expected = {
        "action_out_of_bounds": [0.5**2 / 2, (2.0**2 + 1.0**2) / 2],
        "joint_acc": [0.1**2 / 0.01, 0.0],
        "joint_torque": [9.0, 400.0**2],
        "action_rate": [1.0 + 0.25, 9.0 + 4.0],
        "control": [2.25 + 0.0625, 9.0 + 4.0],
        "excitation": [1.0, 0.5],
        "power": [0.2 * 3.0, 50.0],  # the second is 400 W
        "activation_energy": [(0.25 + 0.01) / 2, 0.5],
        "metabolic": [0.1, 0.3],
    }
    assert set(expected) == set(PENALTIES)
    for name, value in expected.items():
        torch.testing.assert_close(PENALTIES[name](state), torch.tensor(value), rtol=1e-5, atol=1e-7, msg=name)


def test_penalties_take_at_most_1_and_the_total_is_never_negative(env):
    state = at(env)
    state.action = torch.full_like(state.action, 2.0)  # the excess is 1
    for coefficient, taken in ((0.25, -0.25), (5.0, -1.0)):
        penalties = {"action_out_of_bounds": coefficient}
        reward, terms = reward_of(env, state, weights={"qpos": 0.75}, penalties=penalties)
        torch.testing.assert_close(terms["penalty"], torch.full((4,), taken))
        torch.testing.assert_close(reward, torch.full((4,), max(0.75 + taken, 0.0)), rtol=0, atol=1e-5)


def test_weight_0_is_off_and_sharpness_can_be_chosen(env):
    state = at(env)
    state.qpos = state.qpos + 0.1
    _, terms = reward_of(env, state, weights={"qpos": 1.0, "qvel": 0.0}, sharpness={"qpos": 3.0})
    assert set(terms) == {"reward/qpos", "penalty"}
    torch.testing.assert_close(terms["reward/qpos"], torch.full((4,), math.exp(-3 * 0.01)), rtol=1e-4, atol=0)


def test_every_observation_term_is_what_it_says(full_body):
    env = full_body
    env.begin()
    for action in actions(env, 3):
        step = env.advance(action)
    observation, layout, physics = step.observation, env.observation_layout, env.physics
    joints, nu = len(env.embodiment.joint_qpos_ids), env.action_size
    assert list(layout)[:1] == ["root_pos"] and max(s.stop for s in layout.values()) == env.observation_size
    torch.testing.assert_close(observation[:, layout["root_pos"]], physics.field("qpos")[:, 2:7])
    torch.testing.assert_close(observation[:, layout["joint_pos"]], physics.field("qpos")[:, 7:])
    torch.testing.assert_close(observation[:, layout["joint_vel"]], physics.field("qvel")[:, 6:])
    torch.testing.assert_close(observation[:, layout["muscle_force"]], physics.field("actuator_force"))
    torch.testing.assert_close(observation[:, layout["muscle_activation"]], physics.field("act"))
    torch.testing.assert_close(observation[:, layout["previous_action"]], action)
    assert observation[:, layout["muscle"]].shape == (4, 5 * nu) and observation[:, layout["touch"]].shape == (4, 4)
    frames = env.config.goal.options.lookahead
    sites = observation[:, layout["site_error"]].view(4, frames, -1, 3)
    deviation = sites[:, 0].norm(dim=-1).mean(dim=1)
    torch.testing.assert_close(deviation, step.terms["err/site_abs"], rtol=1e-4, atol=1e-6)
    joint = observation[:, layout["joint_error"]].view(4, frames, joints)
    rms = joint[:, 0].square().mean(dim=1).sqrt()
    torch.testing.assert_close(rms, step.terms["err/joint_pos"], rtol=1e-4, atol=1e-6)


def test_the_look_ahead_stops_at_the_end_of_the_clip(env):
    last = int(env.goal.library.length.min()) - 1
    shown = env.config.goal.options
    state = at(env, last - 1)
    clips = torch.arange(4) % env.goal.library.num_clips
    frames = last - 1 + torch.arange(shown.lookahead) * shown.stride
    expected = env.goal.library.qpos[env.goal.library.rows(clips[:, None], frames[None])]
    assert torch.equal(state.ahead.qpos, expected)


@pytest.mark.parametrize(
    ("block", "message"),
    [
        ({"reward": {"weights": {"rposs": 1.0}}}, "rpos"),
        ({"reward": {"sharpness": {"qpso": 1.0}}}, "qpos"),
        ({"reward": {"penalties": {"action_rat": 1.0}}}, "action_rate"),
        ({"reward": {"weights": {"root_pos": 1.0}}}, "free root joint"),
        ({"observation": {"terms": ["joint_poss"]}}, "joint_pos"),
        ({"observation": {"terms": ["root_pos"]}}, "free root joint"),
        ({"observation": {"terms": ["touch"]}}, "touch sensors"),
        ({"observation": {"terms": []}}, "empty"),
        ({"observation": {"terms": ["phase", "phase"]}}, "twice"),
        ({"observation": {"muscle": ["forse"]}}, "force"),
        ({"goal": {"lookahead": 0}}, "lookahead=0"),
        ({"goal": {"stride": 0}}, "stride=0"),
        ({"termination": {"mean_site_deviatoin": 1.0}}, "mean_site_deviation"),
        ({"termination": {"root_orientation": 1.0}}, "free root joint"),
        ({"env": {"horizon": 0}}, "horizon=0"),
        ({"actions": {"muscles": {"mapping": "ful"}}}, "full"),
        ({"goal": {"start": "begining"}}, "beginning"),
        ({"num_envs": 0}, "num_envs=0"),
        ({"num_env": 3}, "num_envs"),
    ],
)
def test_what_cannot_be_is_told_with_the_remedy(block, message):
    with pytest.raises(InputError, match=message) as error:
        make_env("toy_arm", **{"num_envs": 2} | CPU | block)
    assert "\n" not in str(error.value)


def test_every_term_has_a_docstring_with_its_shape():
    named = OBSERVATIONS | PENALTIES | TERMINATIONS | {n: t.errors for n, t in REWARDS.items()}
    assert all("(W," in (function.__doc__ or "") for function in named.values())


def test_terms_without_a_root_are_accepted_by_any_body(env):
    terms = [name for name in OBSERVATIONS if name not in NEED_ROOT | NEED_DEVICE | {"touch", "muscle_strength"}]
    observer = Observer(ObservationConfig(terms=terms), env.goal, at(env))
    assert torch.isfinite(observer.begin(at(env))).all()
