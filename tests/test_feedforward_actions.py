"""The feedforward as actions and as an observation: what the motion asks for, corrected by the policy."""

import numpy as np
import pytest
import torch

from muscle_torch.control import MuscleControl, clip_tables
from muscle_torch.control.body import ControlBody
from muscle_torch.control.env_controller import library_clips
from muscle_torch.envs import make_env
from muscle_torch.errors import InputError

CASE = {"num_envs": 3, "device": "cpu", "threads": 1, "evaluation": True}


@pytest.fixture(autouse=True, scope="module")
def _own_cache(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MUSCLE_TORCH_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


def make(task: str = "toy_arm", **options):
    return make_env(task, actions=[{"name": "muscles_feedforward", **options}], **CASE)


def tables(env, clip: int) -> np.ndarray:
    """Excitations of a clip, computed apart from the environment."""
    clips, body = library_clips(env.goal.library), ControlBody(env.embodiment)
    return clip_tables(clips[clip], body, cache=False).feedforward.excitation[:, env.embodiment.muscle_ids]


def test_an_action_of_zero_plays_the_table_and_others_correct_it():
    env = make()
    env.begin()
    expected = np.stack([tables(env, clip)[0] for clip in env.goal.clip.tolist()])
    env.advance(torch.zeros(3, env.action_size))
    np.testing.assert_allclose(env.physics.field("ctrl").numpy(), expected, atol=1e-5)
    env.begin()
    env.advance(torch.tensor([[0.1, -0.1]]).expand(3, -1))
    np.testing.assert_allclose(
        env.physics.field("ctrl").numpy(), (expected + np.array([0.1, -0.1])).clip(0, 1), atol=1e-5
    )
    env.begin()
    env.advance(env.zero_action.expand(3, -1))
    assert float(env.physics.field("ctrl").abs().max()) == 0.0
    env.close()


def test_the_lead_reads_later_frames_and_stops_at_the_clips_end():
    env = make(lead=4)
    env.begin()
    table = tables(env, int(env.goal.clip[0]))
    for frame in range(len(table) - 1):
        expected = table[min(frame + 4, len(table) - 1)]
        np.testing.assert_allclose(env.goal.feedforward(4)[0].numpy(), expected, atol=1e-5)
        env.advance(torch.zeros(3, env.action_size))
    env.close()


def test_the_observation_shows_the_table():
    env = make_env("toy_arm", **CASE, observation={"terms": ["joint_pos", "feedforward"]})
    env.begin()
    for _ in range(5):
        env.advance(env.zero_action.expand(3, -1))
    shown = env.observation[:, env.observation_layout["feedforward"]].numpy()
    for world in range(3):
        np.testing.assert_allclose(
            shown[world], tables(env, int(env.goal.clip[world]))[int(env.goal.frame[world])], atol=1e-5
        )
    env.close()


def test_alone_it_brings_the_toy_arm_nearer_to_its_motion_than_doing_nothing():
    env, errors = make(), {}
    for name, action in {"feedforward": torch.zeros(3, env.action_size), "zero": env.zero_action.expand(3, -1)}.items():
        env.begin()
        errors[name] = np.mean([float(env.advance(action).terms["err/joint_pos"].mean()) for _ in range(100)])
    assert errors["feedforward"] < 0.5 * errors["zero"]
    env.close()


def test_motions_are_followed_through_any_invertible_action_space():
    """`from_controls` undoes each mapping: the controller's controls reach the muscles."""
    spaces = [{"muscles": {"mapping": mapping}} for mapping in ("full", "clip", "sigmoid")]
    for space in (*spaces, ["muscles_feedforward"]):
        env = make_env("toy_arm", **CASE, actions=space)
        controls = torch.rand(3, env.embodiment.model.nu, generator=torch.Generator().manual_seed(0))
        env.begin()
        env.advance(env.actions.from_controls(controls, env.physics, env.goal))
        np.testing.assert_allclose(env.physics.field("ctrl").numpy(), controls.numpy(), atol=1e-4)
        env.close()


def test_other_goals_and_bad_options_are_one_line():
    with pytest.raises(InputError, match="needs a motion to follow"):
        env = make("toy_reach")
        env.begin()
        env.advance(torch.zeros(3, env.action_size))
    with pytest.raises(InputError, match="the scale must be above 0"):
        make(scale=0.0)


def test_a_body_fixed_to_the_world_follows_its_motion_by_muscle_control():
    env = make_env("toy_arm", **CASE)
    control = MuscleControl(env.embodiment, library_clips(env.goal.library))
    assert control.body.feet == () and control.body.root_size == 0
    env.close()
