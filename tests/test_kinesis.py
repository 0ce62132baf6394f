"""Imitation as in KINESIS: sizes, invariance, laws, and the numbers that the published formulas give."""

import math
from types import SimpleNamespace
from typing import Any

import mujoco
import numpy as np
import pytest
import torch
from env_cases import CPU
from kinesis_cases import kinesis_env, swinging

from muscle_torch.config import load_config
from muscle_torch.envs import make_env
from muscle_torch.envs.goals import kinesis_terms
from muscle_torch.envs.goals.kinesis import legacy_stride
from muscle_torch.envs.goals.turned_reference import turn
from muscle_torch.errors import InputError
from muscle_torch.motion import MotionClip
from muscle_torch.rl.optimizer import make_optimizer
from muscle_torch.rotations import quat_mul

EVERYONE = torch.ones(4, dtype=torch.bool)


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    return swinging(tmp_path_factory.mktemp("clips"))


@pytest.fixture(scope="module")
def env(clip):
    made = kinesis_env(clip)
    yield made
    made.close()


def start(env, frame: int = 5, angle: float = 0.0) -> torch.Tensor:
    """Put every environment on a frame of the clip, turned by an angle."""
    zeros = torch.zeros(env.num_envs, dtype=torch.long)
    return env.assign((zeros, zeros + frame, torch.full((env.num_envs,), angle)))


def moved(env, qpos: torch.Tensor, qvel: torch.Tensor):
    """The state of given poses and velocities."""
    env.physics.reset(EVERYONE[: env.num_envs], qpos, qvel)
    return env.state()


@pytest.mark.parametrize(("body", "size"), [("legs", 309), ("legs_back", 453), ("legs_abs", 363)])
def test_the_published_observation_has_its_size_and_order(tmp_path, body, size):
    if body == "legs_abs":
        pytest.importorskip("myo_sim")
    env = kinesis_env(swinging(tmp_path, body), body, 1)
    bodies, points = len(env.goal.options.bodies), len(env.goal.options.tracked_sites) + 1
    assert env.observation_size == size == 15 * bodies + 6 + 9 * points
    widths = {"root_height": 1, "root_tilt": 4, "body_pos": 3 * (bodies - 1), "body_rot": 6 * bodies}
    widths |= {"body_linvel": 3 * bodies, "body_angvel": 3 * bodies, "touch": 4, "tracked_reference": 9 * points}
    assert [(n, c.stop - c.start) for n, c in env.observation_layout.items()] == list(widths.items())
    env.close()


def test_the_observation_does_not_depend_on_heading_and_place(env):
    """Body and motion turned and shifted together; the state is off the reference and moves."""
    noise = torch.Generator().manual_seed(0)
    joints, speeds = (0.1 * torch.randn(1, size, generator=noise) for size in (28, 34))
    seen = []
    for angle, shift in ((0.0, torch.zeros(1, 3)), (1.9, torch.tensor([[30.0, -20.0, 0.0]]))):
        start(env, 5, angle)
        qpos, qvel = env.state().qpos.clone(), env.state().qvel.clone()
        qpos[:, 7:] += joints
        qpos[:, :3] += turn(torch.tensor([[0.05, -0.03, 0.02]]), torch.tensor([angle])) + shift
        qvel += torch.cat((turn(speeds[:, :3], torch.tensor([angle])), speeds[:, 3:]), dim=1)
        env.goal._origin = env.goal._origin - turn(shift, torch.tensor([-angle]))[:, :2]
        seen.append(env.observer.begin(moved(env, qpos, qvel)))
    assert seen[0].abs().max() > 0.5 and (seen[0][:, env.observation_layout["tracked_reference"]].abs() > 0.01).any()
    torch.testing.assert_close(seen[0], seen[1], atol=1e-5, rtol=1e-5)


def test_the_observation_is_that_of_mujoco_in_the_heading_frame(env):
    observation, layout = start(env, 7), env.observation_layout
    model, data = env.embodiment.model, mujoco.MjData(env.embodiment.model)
    data.qpos[:], data.qvel[:] = env.state().qpos[0].double(), env.state().qvel[0].double()
    mujoco.mj_forward(model, data)
    ahead = -data.body("Full Body").xmat.reshape(3, 3)[:, 1]  # the body faces -y
    ahead = np.array([ahead[0], ahead[1], 0.0]) / np.hypot(ahead[0], ahead[1])
    axes = np.stack((ahead, np.cross([0.0, 0.0, 1.0], ahead), [0.0, 0.0, 1.0]))  # rows: ahead, left, up
    bodies = [data.body(name) for name in env.goal.options.bodies]
    velocity = np.zeros((len(bodies), 6))
    for row, body in zip(velocity, bodies, strict=True):
        mujoco.mj_objectVelocity(model, data, mujoco.mjtObj.mjOBJ_XBODY, body.id, row, 0)
    expected = {
        "root_height": np.array([data.qpos[2]]),
        "body_pos": np.array([axes @ (body.xpos - bodies[0].xpos) for body in bodies[1:]]),
        "body_rot": np.array([(axes @ body.xmat.reshape(3, 3)[:, [0, 2]]).T for body in bodies]),
        "body_linvel": velocity[:, 3:] @ axes.T,
        "body_angvel": velocity[:, :3] @ axes.T,
    }
    for name, values in expected.items():
        np.testing.assert_allclose(observation[0, layout[name]], values.ravel(), atol=2e-5, err_msg=name)
    library = env.goal.library
    site = library.site_pos[8, env.embodiment.site_names.index("left_knee_mimic")] - library.qpos[7, :3]
    position = observation[0, layout["tracked_reference"]].view(3, 7, 3)[2, 1]  # of the left knee, minus the root
    np.testing.assert_allclose(position, axes @ site.numpy(), atol=1e-5)


def test_the_tilt_is_sideways_then_forward(env):
    start(env)
    qpos, qvel = env.state().qpos.clone(), torch.zeros(4, 34)
    half = torch.tensor(0.15)
    upright, about_x = torch.tensor([1.0, 0.0, 0.0, 0.0]), torch.stack((half.cos(), half.sin(), 0 * half, 0 * half))
    about_y = torch.stack((half.cos(), 0 * half, half.sin(), 0 * half))
    yaw = torch.stack(((4 * half).cos(), 0 * half, 0 * half, (4 * half).sin()))
    # The left of the body is x and it faces -y: turning about x leans it back or forward, about y sideways.
    qpos[:, 3:7] = torch.stack((upright, about_x, about_y, quat_mul(yaw, about_x)))
    tilt = moved(env, qpos, qvel).tilt
    assert tilt.abs().tolist() == [
        pytest.approx(pair, abs=1e-6) for pair in ([0.0, 0.0], [0.0, 0.3], [0.3, 0.0], [0.0, 0.3])
    ]
    torch.testing.assert_close(env.reward(env.state())[1]["reward/upright"][1:], torch.full((3,), math.exp(-0.27)))


def test_position_fixtures_of_the_published_reward(env):
    """All points 20, 43, 100 and 150 mm off: exp(-200 d^2 / 3), the mean over bodies and axes."""
    start(env)
    qpos, qvel = env.state().qpos.clone(), env.state().qvel.clone()
    qpos[:, 0] += torch.tensor([0.020, 0.043, 0.100, 0.150])
    _, terms = env.reward(moved(env, qpos, qvel))
    torch.testing.assert_close(
        terms["reward/tracked_pos"], torch.tensor([0.9737, 0.8840, 0.5134, 0.2231]), atol=1e-4, rtol=0
    )
    torch.testing.assert_close(terms["reward/tracked_vel"], torch.ones(4))
    qvel[:, 1] += torch.tensor([0.1, 0.5, 1.0, 2.0])
    _, terms = env.reward(moved(env, qpos, qvel))
    by_hand = torch.exp(-5 / 3 * torch.tensor([0.01, 0.25, 1.0, 4.0]))
    torch.testing.assert_close(terms["reward/tracked_vel"], by_hand, atol=1e-4, rtol=0)


@pytest.mark.parametrize("muscles", [80, 290])
def test_energy_fixtures_of_the_published_reward(muscles):
    uniform = torch.tensor([0.05, 0.1, 0.2, 0.5])
    state: Any = SimpleNamespace(substep_excitation=uniform.view(4, 1, 1).expand(4, 5, muscles))
    legs = torch.tensor([0.8006, 0.6410, 0.4109, 0.1082])
    published = legs if muscles == 80 else torch.tensor([0.464, 0.215, 0.046, 0.0005])
    torch.testing.assert_close(kinesis_terms.energy(state), legs, atol=1e-4, rtol=0)
    tolerance = 1e-4 if muscles == 80 else 6e-4  # the fixtures of 290 muscles have three digits
    torch.testing.assert_close(kinesis_terms.energy_published(state), published, atol=tolerance, rtol=0)


def test_energy_is_the_mean_over_the_substeps(env):
    """One step without excitation and one at 0.5: not the energy of the mean excitation."""
    state: Any = SimpleNamespace(substep_excitation=torch.tensor([0.0, 0.5]).view(1, 2, 1).expand(1, 2, 80))
    assert float(kinesis_terms.energy(state)) == pytest.approx((1 + 0.1082) / 2, abs=1e-4)
    start(env)
    env.advance(torch.zeros(4, 80))  # half excitation
    assert env.field("substep_ctrl").shape == (4, 1, 80) and (env.field("substep_ctrl") == 0.5).all()


@pytest.mark.parametrize(("angle", "frame"), [(0.0, 0), (2.5, 11)])
def test_a_body_on_the_reference_scores_1(env, angle, frame):
    start(env, frame, angle)
    state = env.state()
    reward, terms = env.reward(state)
    tracking = {n: v for n, v in (terms | env.reward.unweighted_terms(state)).items() if n.startswith("reward/")}
    assert {"reward/tracked_pos", "reward/rvel_lin", "reward/qpos"} <= tracking.keys()
    for name, value in tracking.items():
        torch.testing.assert_close(value, torch.ones(4), atol=1e-4, rtol=0, msg=name)
    torch.testing.assert_close(reward, torch.full((4,), 1.0), atol=1e-4, rtol=0)
    assert float(env.goal.errors(state)["err/mpjpe"].max()) < 1e-5


def test_thresholds_of_training_and_evaluation(env, clip):
    evaluation = kinesis_env(clip, evaluation=True)
    for one, shift in ((env, 0.15), (evaluation, 0.5)):
        one.assign(tuple(torch.zeros(4, dtype=torch.long) for _ in range(2)))
        qpos, qvel = one.state().qpos.clone(), one.state().qvel.clone()
        qpos[:, 0] += shift + torch.tensor([-0.01, 0.01, -0.02, 0.02])
        assert one.termination(moved(one, qpos, qvel)).tolist() == [False, True, False, True]
    start(env)
    qpos, qvel = env.state().qpos.clone(), env.state().qvel.clone()
    qpos[:2, env.embodiment.model.joint("knee_angle_r").qposadr[0]] += 0.6  # one foot is off by more, the mean by less
    state = moved(env, qpos, qvel)
    assert (state.tracked_distance[0].amax(), state.tracked_distance[0].mean()) > (0.15, 0.0)
    assert env.termination(state).tolist() == [True, True, False, False]
    assert not evaluation.termination(state).any()
    evaluation.close()


def test_episodes_start_with_the_motions_velocities_or_at_rest(env, clip):
    published = kinesis_env(clip, goal={"joint_velocity": "zero"})
    for one in (env, published):
        one.begin()
        state, motion = one.state(), one.state().reference.qvel
        assert torch.equal(state.qvel[:, :6], motion[:, :6]) and motion[:, 6:].abs().max() > 0.5
        expected = torch.zeros_like(motion[:, 6:]) if one is published else motion[:, 6:]
        assert torch.equal(state.qvel[:, 6:], expected)
    published.close()


def test_headings_are_random_in_training_and_recorded_in_evaluation(clip):
    many, evaluation = kinesis_env(clip, num_envs=64), kinesis_env(clip, evaluation=True)
    many.begin()
    assert many.state().heading.max() - many.state().heading.min() > 5.0  # of 2 pi
    before = many.state().heading.clone()
    many.restart(torch.arange(64) < 32)
    assert torch.equal(many.state().heading[32:], before[32:]) and (many.state().heading[:32] != before[:32]).any()
    evaluation.begin()
    recorded = evaluation.goal.library.qpos[0, 3:7]
    assert torch.equal(evaluation.state().qpos[0, 3:7], recorded)
    snapshot = many.snapshot()
    other = kinesis_env(clip, num_envs=64)
    other.load_snapshot(snapshot)
    action = torch.zeros(64, 80)
    assert torch.equal(other.advance(action).observation, many.advance(action).observation)
    for one in (many, evaluation, other):
        one.close()


def test_legacy_stride_plays_100_hz_data_10_percent_too_slowly():
    frames = np.arange(100, dtype=np.float32)[:, None]
    options = {"joint_names": ("a",), "embodiment": "x", "model_version": "1"}
    clip = MotionClip("clip", frames, 100.0, qvel=frames, **options)
    strided = legacy_stride(clip)
    assert strided.qpos[:, 0].tolist() == list(range(0, 100, 3)) and strided.frequency == 30 and strided.qvel is None
    assert strided.duration == pytest.approx(1.1) and clip.duration == pytest.approx(0.99)
    assert legacy_stride(MotionClip("clip", frames, 120.0, **options)).num_frames == 25


def test_the_legacy_stride_reaches_the_reference(tmp_path):
    path = swinging(tmp_path, frames=100, frequency=100.0)
    lengths = []
    for legacy in (False, True):
        env = make_env("legs", 1, **CPU, motion=path, goal={"legacy_stride": legacy}, actions=["muscles"])
        lengths.append(int(env.goal.library.length[0]))
        env.close()
    assert lengths == [30, 34]


@pytest.mark.parametrize("body", ["legs", "legs_abs", "legs_back"])
def test_the_preset_is_the_published_configuration(body):
    cfg = load_config(body, ["preset=kinesis"])
    assert cfg.num_envs * cfg.ppo.num_steps == 51200 and (cfg.ppo.epochs, cfg.ppo.minibatches) == (10, 1)
    assert cfg.policy.options.hidden == [2048, 1536, 1024, 1024, 512, 512] and cfg.policy.options.normalizer_clip == 5
    assert not cfg.policy.options.normalize_critic and cfg.ppo.max_grad_norm == 25 and cfg.ppo.entropy_coef == 0
    weights = {name: weight for name, weight in cfg.reward.weights.items() if weight}
    of_body = {"energy": 0.1, "upright": 0.1} if body == "legs" else {"energy": 0.2}
    assert weights == {"tracked_pos": 0.6, "tracked_vel": 0.2} | of_body
    thresholds = {name: value for name, value in cfg.termination.items() if value < math.inf}
    assert thresholds == {"max_tracked_deviation": 0.15}
    assert cfg.evaluation_termination == {"mean_tracked_deviation": 0.5}
    actor, critic = torch.nn.Parameter(torch.ones(2, 2)), torch.nn.Parameter(torch.ones(2, 2))
    optimizer = make_optimizer(cfg.optimizer, [actor, critic], None, [critic])
    optimizer.schedule(0.7, 0.0)
    rates = {id(p): group["lr"] for group in optimizer.parts[0].param_groups for p in group["params"]}
    assert rates == {id(actor): pytest.approx(5e-5), id(critic): pytest.approx(3e-4)}


@pytest.mark.parametrize(
    ("task", "words", "message"),
    [
        ("bimanual", ["preset=kinesis"], "goal=kinesis needs a body with a free root, which MyoBimanualArm lacks"),
        ("legs", ["goal.tracked_sites=[left_kne_mimic]"], "'left_kne_mimic'.*left_knee_mimic"),
        ("legs", ["goal.bodies=[pelvis,torso]"], "goal.bodies: the first one must be the root, 'Full Body'"),
        ("legs", ["goal.bodies=[Full Body,torsoo]"], "has no body 'torsoo'"),
    ],
)
def test_what_does_not_fit_is_refused_in_one_line(clip, task, words, message):
    motion = ["motion=rest"] if task == "bimanual" else [f"motion={clip}"]
    with pytest.raises(InputError, match=message) as raised:
        make_env(load_config(task, [*words, *motion, "num_envs=1", "threads=1"]), device="cpu", backend="mujoco")
    assert "\n" not in str(raised.value)
