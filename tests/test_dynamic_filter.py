"""The dynamic filter: laws of its quadratic program, and its effect on synthetic and recorded motions."""

import numpy as np
import pytest
from conftest import data_file

from muscle_torch.embodiments import Embodiment, make_embodiment
from muscle_torch.errors import InputError
from muscle_torch.motion import MotionClip, generate, load_motion
from muscle_torch.motion.balance import Sides, plan_shift
from muscle_torch.motion.dynamic_filter import FilterOptions, filter_clip
from muscle_torch.motion.feasibility import assess_clip
from muscle_torch.motion.generated.chain import Chain
from muscle_torch.motion.generated.fullbody import _planted, _root, on_feet
from muscle_torch.motion.generated.walk import posture
from muscle_torch.motion.ground_reaction import GroundReaction, ground_reaction
from muscle_torch.motion.support import Soles

RATE, FRAMES = 100.0, 200
HEIGHT, LONG = 0.95, 800  # of the point mass [m], and frames of its clips


@pytest.fixture(scope="module")
def body() -> Embodiment:
    return make_embodiment("fullbody")


@pytest.fixture(scope="module")
def swaying(body) -> MotionClip:
    """Return planted feet and a body that sways too fast: 4 cm at 1 Hz."""
    time = np.arange(FRAMES) / RATE
    over = np.column_stack((0.04 * np.sin(2 * np.pi * time), np.full(FRAMES, -0.10)))
    feet = _planted(body, FRAMES, half_width=0.09, outward=0.12)
    qpos = posture(body, on_feet(body, {}, _root(np.full(FRAMES, 0.92)), feet, over))
    return MotionClip("swaying", qpos.astype(np.float32), RATE, body.joint_names, body.name, body.model_version)


def resting(place: float) -> GroundReaction:
    """Of a point mass at rest at x = `place` above a floor."""
    weight, mass = 9.81 * 70, 70.0
    force, centre = np.tile([0.0, 0.0, weight], (LONG, 1)), np.tile([place, 0.0, HEIGHT], (LONG, 1))
    points, stands = np.zeros((LONG, 1, 3)), np.ones((LONG, 1), dtype=bool)
    corners = (np.zeros((1, 2)),) * LONG
    moment, other = np.cross(centre, force), np.zeros(LONG, dtype=bool)
    return GroundReaction(force, moment, mass, weight, centre, points, stands, corners, other)


def wall(offset: float, frames: slice = slice(0, LONG)) -> Sides:
    """The zero-moment point must keep x <= offset."""
    at = np.arange(LONG)[frames]
    return Sides(at, np.tile([1.0, 0.0], (len(at), 1)), np.full(len(at), offset))


def second_difference(path: np.ndarray) -> np.ndarray:
    return (path[2:] - 2 * path[1:-1] + path[:-2]) * RATE**2


def test_inside_nothing_is_shifted():
    shift = plan_shift(resting(0.01), wall(0.02), RATE)
    np.testing.assert_array_equal(shift, np.zeros((LONG, 2)))


def test_a_body_at_rest_outside_is_shifted_to_the_border():
    shift = plan_shift(resting(0.05), wall(0.02), RATE)
    middle = slice(250, -250)  # at its ends a clip may fall away from the border
    np.testing.assert_allclose(shift[middle, 0], -0.03, atol=1e-3)
    np.testing.assert_allclose(shift[:, 1], 0.0, atol=1e-12)


def test_the_shift_keeps_the_cart_table_s_zero_moment_point_within_the_sides():
    """A push of 0.1 s outside: the body sways a little before and after it instead of jumping."""
    reaction = resting(0.05)
    shift = plan_shift(reaction, wall(0.02, slice(95, 105)), RATE)
    zero_moment_point = 0.05 + shift[1:-1, 0] - HEIGHT / 9.81 * second_difference(shift[:, 0])
    assert zero_moment_point[94:104].max() < 0.02 + 1e-3
    assert np.abs(shift[:, 0]).max() < 0.03, "it need not go as far as at rest"
    assert np.abs(np.diff(shift[:, 0], 3)).max() * RATE**3 < 100


def test_an_infeasible_stretch_does_not_affect_other_frames():
    shift = plan_shift(resting(5.0), wall(0.02, slice(100, 102)), RATE)
    assert np.abs(shift).max() < 0.2


def test_the_filter_makes_a_too_fast_motion_feasible(body, swaying):
    before = assess_clip(swaying, body).reaction.distance
    filtered = filter_clip(swaying, body, cache=False)
    assert before.max() > 0.05 and filtered.zmp_distance.max() < 1e-3
    after = assess_clip(filtered.clip, body).reaction.distance
    assert after.max() < 2e-3, "rounding to float32 costs no more than that"
    assert filtered.support.all() and filtered.support.shape == (FRAMES, 2)
    assert np.abs(filtered.shift[:, 0]).max() < 0.04 and np.abs(filtered.shift[:, 1]).max() < 0.005
    stored, made = (clip.qpos.astype(float) for clip in (swaying, filtered.clip))
    for foot in Soles.of(body).feet:
        places = [Chain(body, foot).place(qpos) for qpos in (stored, made)]
        assert np.abs(places[0].pos - places[1].pos).max() < 5e-4
        assert np.abs(places[0].mat - places[1].mat).max() < 5e-3
    assert np.abs(body.project(made) - made).max() < 1e-5
    low, high = body.model.jnt_range[body.scalar_joint_ids].T
    free = ~np.isin(body.joint_qpos_ids, body.dependent.qpos_ids)
    values = made[:, body.joint_qpos_ids]
    assert (values >= low - 1e-6)[:, free].all() and (values <= high + 1e-6)[:, free].all()


def test_a_feasible_motion_is_unchanged(body):
    (sway,) = generate("sway", body)
    filtered = filter_clip(sway, body, cache=False)
    np.testing.assert_array_equal(filtered.shift, np.zeros((sway.num_frames, 2)))
    assert np.abs(filtered.clip.qpos - sway.qpos).max() < 5e-3, "the low-pass takes little of slow motion"


def test_no_rounds_no_shift(body, swaying):
    filtered = filter_clip(swaying, body, FilterOptions(rounds=0), cache=False)
    assert not filtered.shift.any() and filtered.zmp_distance.max() > 0.05


def test_clips_are_resampled_to_the_control_rate(body, swaying):
    slow = MotionClip("slow", swaying.qpos[::2], RATE / 2, body.joint_names, body.name, body.model_version)
    filtered = filter_clip(slow, body, cache=False)
    assert filtered.clip.frequency == body.control_frequency
    assert filtered.clip.num_frames == len(filtered.zmp_distance) == len(filtered.shift) == FRAMES - 1
    assert filtered.zmp_distance.max() < 5e-3


def test_the_result_is_kept_on_disk(body, swaying, tmp_path, monkeypatch):
    monkeypatch.setenv("MUSCLE_TORCH_CACHE", str(tmp_path))
    first = filter_clip(swaying, body)
    (path,) = tmp_path.rglob("*.npz")
    again = filter_clip(swaying, body)
    np.testing.assert_array_equal(first.clip.qpos, again.clip.qpos)
    np.testing.assert_array_equal(first.shift, again.shift)
    np.testing.assert_array_equal(first.support, again.support)
    other = filter_clip(swaying, body, FilterOptions(rounds=0))
    assert np.abs(other.clip.qpos - first.clip.qpos).max() > 0.005 and len(list(tmp_path.rglob("*.npz"))) == 2
    path.write_bytes(b"damaged")
    np.testing.assert_array_equal(filter_clip(swaying, body).clip.qpos, first.clip.qpos)


def test_bodies_and_clips_that_cannot_be_filtered(body, swaying):
    arms = make_embodiment("bimanual")
    (reach,) = generate("reach", arms)
    with pytest.raises(InputError, match="MyoBimanualArm has no feet"):
        filter_clip(reach, arms)
    short = MotionClip("short", swaying.qpos[:5], RATE, body.joint_names, body.name, body.model_version)
    with pytest.raises(InputError, match="5 frames are too few"):
        filter_clip(short, body)


@pytest.mark.parametrize("name", ["cmu_02_01_walk", "opensim_walk3d"])
def test_recorded_walks_become_possible(body, name):
    (clip,) = load_motion(data_file(f"data/clips/MyoFullBody/{name}.npz"), body)
    before = assess_clip(clip, body).row()
    filtered = filter_clip(clip, body, cache=False)
    after = assess_clip(filtered.clip, body).row()
    print(name, before["zmp_distance"], after["zmp_distance"], np.linalg.norm(filtered.shift, axis=1).max())
    assert before["zmp_distance"] > (0.2 if name.startswith("cmu") else 0.01)
    assert after["zmp_distance"] < 1e-3 and after["zmp_distance_p95"] < 1e-3 and after["zmp_outside_rate"] == 0.0
    assert np.linalg.norm(filtered.shift, axis=1).max() < 0.015
    reaction = ground_reaction(body, filtered.clip.qpos.astype(float), RATE)
    assert reaction.points[..., 2].min() > -0.004 and after["unsupported_rate"] == 0.0
