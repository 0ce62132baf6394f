"""Kinematics against MuJoCo, the solver, the floor, and quality metrics with values by hand."""

import dataclasses

import mujoco
import numpy as np
import pytest
import torch
from conftest import data_file
from scipy.spatial.transform import Rotation

from muscle_torch.biomechanics.recordings import read_storage
from muscle_torch.embodiments import make_embodiment
from muscle_torch.motion.support import BodySurface, runs
from muscle_torch.retargeting import METHODS, THRESHOLDS, Retargeter, RetargetOptions, assess, read_motion, reasons
from muscle_torch.retargeting.fit import Proportions, resting_pitch
from muscle_torch.retargeting.ground import Soles, find_floor, grounded, stances, standing
from muscle_torch.retargeting.kinematics import BodyTree, Points
from muscle_torch.retargeting.quality import tendon_jumps
from muscle_torch.retargeting.solver import Normal, solve
from muscle_torch.retargeting.support import SWING, Stance, typical_slide

TRACKED = ("pelvis", "thorax", "humerus_l", "ulna_r", "lunate_l", "femur_l", "tibia_r", "talus_l", "calcn_r", "toes_l")


def random_pose(tree: BodyTree, frames: int = 6):
    generator = torch.Generator().manual_seed(0)
    span = tree.upper - tree.lower
    joints = tree.lower + span * torch.rand(frames, len(tree.names), generator=generator, dtype=tree.dtype)
    pose = tree.rest(frames)._replace(joints=joints)
    step = torch.randn(frames, tree.num_dof, generator=generator, dtype=tree.dtype)
    step[:, 6 * tree.free :] = 0
    return tree.move(pose, step)


@pytest.fixture(scope="module")
def whole() -> Retargeter:
    torch.set_num_threads(1)
    return Retargeter("fullbody")


@pytest.mark.parametrize("name", ["fullbody", "bimanual", "toy_arm"])
def test_forward_kinematics_are_mujocos(name):
    embodiment = make_embodiment(name)
    tree = BodyTree(embodiment, dtype=torch.float64)
    pose = random_pose(tree)
    frames, data = tree.forward(pose), mujoco.MjData(embodiment.model)
    for t, qpos in enumerate(tree.qpos(pose)):
        data.qpos[:] = qpos
        mujoco.mj_kinematics(embodiment.model, data)
        np.testing.assert_allclose(frames.pos[t], data.xpos, atol=1e-12)
        np.testing.assert_allclose(frames.mat[t], data.xmat.reshape(-1, 3, 3), atol=1e-12)


def test_jacobians_are_the_derivatives_of_the_kinematics(whole):
    tree = BodyTree(whole.embodiment, dtype=torch.float64, bodies=TRACKED)
    tree.lower, tree.upper = tree.lower - 1, tree.upper + 1  # a step may pass a limit here
    pose = random_pose(tree)
    bodies = torch.tensor([tree.body(name) for name in TRACKED])
    points = Points(bodies, torch.linspace(-0.1, 0.1, 3 * len(TRACKED), dtype=torch.float64).reshape(-1, 3))
    frames = tree.forward(pose)
    where = tree.points(frames, points)
    jacobian = tree.point_jacobian(frames, bodies, where)
    turning = tree.turn_jacobian(frames, bodies)
    for dof in range(tree.num_dof):
        step = torch.zeros(len(where), tree.num_dof, dtype=torch.float64)
        step[:, dof] = 1e-6
        moved = tree.forward(tree.move(pose, step))
        np.testing.assert_allclose((tree.points(moved, points) - where) / 1e-6, jacobian[..., dof], atol=1e-5)
        spin = (moved.mat[:, bodies] - frames.mat[:, bodies]) / 1e-6 @ frames.mat[:, bodies].transpose(-1, -2)
        derivative = torch.stack((spin[..., 2, 1], spin[..., 0, 2], spin[..., 1, 0]), -1)
        np.testing.assert_allclose(derivative, turning[..., dof], atol=1e-5)


def test_independent_limits_keep_the_coupled_joints_in_theirs(whole):
    embodiment, tree = whole.embodiment, BodyTree(whole.embodiment, dtype=torch.float64)
    model = embodiment.model
    for share in (0.0, 0.3, 1.0):
        joints = tree.lower + share * (tree.upper - tree.lower)
        qpos = tree.qpos(tree.rest(1)._replace(joints=joints[None]))[0]
        value = qpos[model.jnt_qposadr[embodiment.scalar_joint_ids]]
        low, high = model.jnt_range[embodiment.scalar_joint_ids].T
        assert np.maximum(low - value, value - high).max() < 3.1e-4
        np.testing.assert_array_equal(embodiment.project(qpos), qpos)


def problem(value: list[float], hessian: float = 1.0, gradient: float = 0.0, low: float = -9.0) -> Normal:
    """Return a problem with one degree of freedom per entry of `value`; x increases the one-sided term."""
    count = len(value)
    one = torch.ones(count, 1, dtype=torch.float64)
    return Normal(
        hessian=hessian * one[:, :, None],
        gradient=gradient * one,
        jacobian=one[:, :, None],
        value=torch.tensor(value, dtype=torch.float64)[:, None],
        weight=1e6 * one,
        bend=torch.zeros(max(count - 2, 0), 1, dtype=torch.float64),
        low=low * one,
        high=9.0 * one,
        typical=hessian * one[0],
    )


def test_the_solver_lifts_what_sinks_and_leaves_the_rest():
    step = solve(problem([0.1, -0.2]), smoothing=0.0)
    np.testing.assert_allclose(step[:, 0], [0.0, 0.2], atol=1e-3)


def test_the_solver_stops_at_a_floor_that_the_step_would_pass():
    """Pulled down by 0.5 from 0.1 above: the unconstrained step would end 0.4 below."""
    step = solve(problem([0.1, 0.1], gradient=0.5), smoothing=0.0)
    np.testing.assert_allclose(step[:, 0], [-0.1, -0.1], atol=1e-3)


def test_the_solver_keeps_bounds():
    step = solve(problem([9.0, 9.0], gradient=0.5, low=-0.2), smoothing=0.0)
    np.testing.assert_allclose(step[:, 0], [-0.2, -0.2], atol=1e-9)


def test_smoothing_halves_a_wave_at_the_cutoff():
    """Second differences weigh as much as the targets there: a wave of that frequency comes out halved."""
    frames, period = 400, 20
    wave = torch.cos(2 * torch.pi * torch.arange(frames, dtype=torch.float64) / period)[:, None]
    one = torch.ones(frames, 1, dtype=torch.float64)
    none = one[:, :0]
    linear = Normal(one[:, :, None], -0.1 * wave, none[:, :, None], none, none, 0 * one[2:], -9 * one, 9 * one, one[0])
    step = solve(linear, (2 * np.pi / period) ** -4)
    assert float(step[180:220].abs().max()) == pytest.approx(0.05, rel=0.03)


def test_only_free_fall_leaves_the_floor():
    """0.2 s with the feet 20 mm up: an error where the pelvis keeps its height, a jump where it flies a parabola."""
    rate, time = 100.0, np.arange(100) / 100.0
    up = (time >= 0.4) & (time < 0.6)
    lowest, level = np.where(up, 0.02, 0.0), np.full(100, 0.9)
    assert grounded(lowest, level, rate).all()
    jump = level + np.where(up, 9.81 / 2 * (0.01 - (time - 0.5) ** 2), 0.0)
    np.testing.assert_array_equal(grounded(lowest, jump, rate), ~up)
    np.testing.assert_array_equal(grounded(10 * lowest, level, rate), ~up)  # both feet up on a chair


def test_a_stance_lasts_while_the_point_keeps_its_place():
    """A heel that glides its last 6 mm onto the floor faster than a standing point is held where it comes to rest."""
    rate, count = 100.0, 60
    point = np.zeros((count, 1, 3))
    point[:20, 0, 0] = -0.003 * np.arange(20, 0, -1)  # 0.3 m/s
    point[40:, 0, 2] = 0.004 * np.arange(1, 21)  # 0.4 m/s
    still, place = stances(point, rate)
    assert not standing(point, rate)[17:19].any() and still[17:40].all() and not still[:16].any()
    assert not still[44:].any()
    np.testing.assert_allclose(place[still[:, 0], 0], 0.0, atol=1e-9)


def test_find_floor_levels_a_tilted_walk():
    """Feet that stand on a plane of 1 degree along the walk, lifted between stances."""
    rate, time = 100.0, np.arange(400) / 100.0
    x = np.floor(time / 0.5) * 0.6
    lift = np.where((time % 0.5) > 0.35, 0.1 * np.sin(np.pi * ((time % 0.5) - 0.35) / 0.15), 0.0)
    x = x + np.where((time % 0.5) > 0.35, 0.6 * ((time % 0.5) - 0.35) / 0.15, 0.0)
    slope = np.tan(np.radians(1.0))
    point = np.stack((x, 0 * x, 0.05 + slope * x + lift), axis=1)[:, None]
    turn, height = find_floor(point, rate)
    level = point[:, 0] @ turn.T
    stands = lift == 0
    assert np.ptp(level[stands, 2]) < 0.004
    assert abs(np.median(level[stands, 2]) - height) < 0.003
    assert standing(level[:, None] - [0, 0, height], rate)[100:130].any()


def test_runs_are_the_stretches_of_true():
    assert runs(np.array([1, 1, 0, 0, 1, 0, 1], dtype=bool)) == [(0, 2), (4, 5), (6, 7)]
    assert runs(np.zeros(3, dtype=bool)) == []


def test_lowest_points_of_the_soles_are_those_of_mujoco(whole):
    """The floor contact MuJoCo finds when a foot sinks is as deep as the lowest point of the soles says."""
    embodiment = whole.embodiment
    tree = BodyTree(embodiment, dtype=torch.float64)
    pose = tree.rest(1)
    low = float(Soles.of(tree).lowest(tree.forward(pose))[..., 2].min())
    qpos = tree.qpos(pose)[0]
    qpos[2] -= low + 0.005
    data = mujoco.MjData(embodiment.model)
    data.qpos[:] = qpos
    mujoco.mj_forward(embodiment.model, data)
    floor = [
        c.dist
        for c in data.contact
        if 0 in (embodiment.model.geom_bodyid[c.geom1], embodiment.model.geom_bodyid[c.geom2])
    ]
    assert min(floor) == pytest.approx(-0.005, abs=1e-6)


def test_tendon_jumps_by_hand():
    """Steps of 1 % of the first length, then one of 50 %: more than 10 times the average 0.99 * 0.01 + 0.01 * 0.5."""
    length = np.array([1.0, 1.01, 1.02, 1.52])[:, None]
    steps, flagged = tendon_jumps(length)
    np.testing.assert_allclose(steps[:, 0], [0.01, 0.01, 0.5])
    assert flagged[:, 0].tolist() == [False, False, True]
    assert not tendon_jumps(np.array([1.0, 1.01, 1.02, 1.12])[:, None])[1].any()  # 0.1 is just not 10 times 0.0109


def test_a_tendon_that_jumps_at_the_start_hides_no_later_jump():
    """7.6 % in the first frame raise the moving average for 230 frames; the same jump in frame 100 is still one."""
    steps = np.full(300, 0.001)
    steps[[0, 100]] = 0.076
    swift = 0.02 * np.exp(-(((np.arange(300) - 200) / 4.0) ** 2))  # a swift movement of 0.1 s
    length = 1 + np.concatenate(([0.0], np.cumsum(steps + swift)))
    _, flagged = tendon_jumps(length[:, None])
    assert np.flatnonzero(flagged).tolist() == [0, 100]


def standing_still(whole: Retargeter, frames: int) -> np.ndarray:
    """A body at rest whose soles touch the floor (T, nq)."""
    tree = BodyTree(whole.embodiment, dtype=torch.float64)
    pose = tree.rest(frames)
    qpos = tree.qpos(pose)
    qpos[:, 2] -= float(Soles.of(tree).lowest(tree.forward(pose))[0, :, 2].min())
    return qpos


def test_a_body_that_hovers_is_rejected_and_one_that_flies_is_not(whole):
    """Lifted by 231 mm for 1.3 s, as on a stair; then a jump of 0.4 s, which reaches 196 mm."""
    embodiment, time = whole.embodiment, np.arange(200) / 100
    stair = standing_still(whole, 200)
    stair[:, 2] += 0.231 * np.clip(np.minimum(time - 0.3, 1.7 - time) / 0.05, 0, 1)
    quality, _ = assess(embodiment, stair, 100.0, None, None, 1.0)
    assert quality.hover_height == pytest.approx(0.231, abs=1e-3) and quality.hover_time == pytest.approx(1.4, abs=0.05)
    assert quality.floating_lowest < 0.025  # what was measured alone before
    assert any(reason.startswith("hover_height 0.231 > 0.03 (for 1.") for reason in reasons(quality, THRESHOLDS))
    jump = standing_still(whole, 200)
    jump[:, 2] += np.maximum(9.81 / 2 * (0.2**2 - (time - 1.0) ** 2), 0.0)
    quality, _ = assess(embodiment, jump, 100.0, None, None, 1.0)
    assert quality.floating_highest == pytest.approx(0.196, abs=1e-3) and quality.hover_height == 0


@pytest.mark.parametrize("ground", ["kerb", "slope"])
def test_a_walk_over_uneven_ground_is_rejected(whole, ground):
    """A recorded walk that climbs a kerb of 0.15 m, or 8 degrees of slope; the same walk on the level passes."""
    raw = read_motion(data_file("data/opensim_core_walk3d/markers_walk.trc"))
    pelvis = raw.positions["pelvis"]
    way = np.linalg.norm(pelvis[:, :2] - pelvis[0, :2], axis=1)
    rise = 0.15 / (1 + np.exp(-(way - way[-1] / 2) / 0.05)) if ground == "kerb" else np.tan(np.radians(8)) * way
    lift = rise[:, None] * [0.0, 0.0, 1.0]
    climbing = dataclasses.replace(raw, positions={name: values + lift for name, values in raw.positions.items()})
    quality = whole(climbing).quality
    assert quality.floating_lowest < 0.025 and quality.penetration_depth < 0.005  # what saw nothing before
    assert [reason.split()[0] for reason in reasons(quality, THRESHOLDS)] == ["hover_height"]


def test_a_body_that_lies_does_not_hover(whole):
    """On its back with raised legs, the trunk supports it."""
    embodiment = whole.embodiment
    qpos = standing_still(whole, 100)
    qpos[:, 3:7] = (Rotation.from_euler("y", -90, degrees=True)
                    * Rotation.from_quat(qpos[0, 3:7], scalar_first=True)).as_quat(scalar_first=True)  # fmt: skip
    for side in "rl":
        qpos[:, embodiment.model.joint(f"hip_flexion_{side}").qposadr[0]] = np.radians(80)
    data = mujoco.MjData(embodiment.whole_model)
    data.qpos[:] = qpos[0]
    mujoco.mj_kinematics(embodiment.whole_model, data)
    qpos[:, 2] -= BodySurface.of(embodiment.whole_model).lowest(data)
    quality, _ = assess(embodiment, qpos, 100.0, None, None, 1.0)
    assert quality.floating_highest > 0.3 and quality.hover_height == 0


def test_feet_that_slide_throughout_a_stance_are_detected(whole):
    """0.35 m/s is too fast to count as standing, so `foot_slide` is 0; feet that stop once a stance do not slide."""
    embodiment, time = whole.embodiment, np.arange(100) / 100
    glide = standing_still(whole, 100)
    glide[:, 0] += 0.35 * time
    quality, _ = assess(embodiment, glide, 100.0, None, None, 1.0)
    assert quality.foot_slide == 0 and quality.stance_slide == pytest.approx(0.35, abs=1e-6)
    assert quality.run_slide == 0 and reasons(quality, THRESHOLDS) == []  # a figure that glides slowly
    glide[:, 0] = 0.35 * np.cumsum((time < 0.4) | (time > 0.5)) / 100
    quality, _ = assess(embodiment, glide, 100.0, None, None, 1.0)
    assert quality.stance_slide == pytest.approx(0.0, abs=1e-6)
    glide[:, 0] = 11 * time  # the root's path in decimetres
    quality, _ = assess(embodiment, glide, 100.0, None, None, 1.0)
    assert any(reason.startswith("stance_slide 11 > 1 ") for reason in reasons(quality, THRESHOLDS))


def test_feet_that_slide_in_a_run_are_rejected(whole):
    """Three flights of 0.2 s, and stances of 0.2 s in which the feet slide at 0.35 m/s, then stand."""
    embodiment, time = whole.embodiment, np.arange(160) / 100
    for slide, passes in ((0.35, False), (0.0, True)):
        hop = standing_still(whole, 160)
        within = time % 0.4 - 0.3  # a flight from 0.2 to 0.4 s
        flying = np.abs(within) < 0.1
        hop[:, 2] += np.where(flying, 9.81 / 2 * (0.01 - within**2), 0.0)
        hop[:, 0] = np.cumsum(np.where(flying, 2.5, slide)) / 100
        quality, _ = assess(embodiment, hop, 100.0, None, None, 1.0)
        assert quality.run_slide == pytest.approx(slide, abs=0.01) and quality.hover_height == 0
        expected = [reason for reason in reasons(quality, THRESHOLDS) if reason.startswith("run_slide 0.35 > 0.2")]
        assert (expected == []) == passes


def test_a_root_faster_than_any_person_is_rejected(whole):
    qpos = standing_still(whole, 60)
    qpos[:, 0] += 110 * np.arange(60) / 100
    quality, _ = assess(whole.embodiment, qpos, 100.0, None, None, 1.0)
    assert quality.root_speed == pytest.approx(110)
    assert any(reason.startswith("root_speed 110 > 12.5") for reason in reasons(quality, THRESHOLDS))


def test_quality_metrics_detect_errors(whole):
    """A body that stands still, then sunk by 1 cm, bent past a limit, torn from its coupling."""
    embodiment, tree = whole.embodiment, BodyTree(whole.embodiment, dtype=torch.float64)
    pose = tree.rest(20)
    qpos = tree.qpos(pose)
    qpos[:, 2] -= float(Soles.of(tree).lowest(tree.forward(pose))[0, :, 2].min())
    good, _ = assess(embodiment, qpos, 100.0, None, None, 0.2)
    assert (
        good.penetration_depth < 1e-6 and good.joint_violation_rate_independent == 0 and good.coupling_residual < 1e-6
    )
    assert good.time_per_frame == pytest.approx(0.01) and good.joint_speed == 0 and good.self_collision_rate == 0
    assert reasons(good, THRESHOLDS) == []
    model = embodiment.model
    qpos[:10, 2] -= 0.01
    qpos[:, model.joint("knee_angle_r").qposadr[0]] = -0.1
    bad, _ = assess(embodiment, qpos, 100.0, None, None, 0.2)
    assert bad.penetration_depth == pytest.approx(0.01, abs=2e-3) and bad.penetration_rate >= 0.5
    assert bad.joint_violation_max == pytest.approx(
        0.1, abs=1e-3
    ) and bad.joint_violation_rate_independent == pytest.approx(1 / 31)
    assert bad.coupling_residual > 1e-3
    expected = reasons(bad, THRESHOLDS)
    assert any(reason.startswith("penetration_depth") for reason in expected) and len(expected) >= 3


def test_reference_clips_pass_the_measure(whole):
    """Clips made by another method, whose own table says 0.54 mm penetration and 9.4 rad/s for the walk."""
    with np.load(data_file("data/clips/MyoFullBody/cmu_02_01_walk.npz"), allow_pickle=False) as stored:
        quality, _ = assess(whole.embodiment, stored["qpos"], 100.0, None, None, 1.0)
    assert quality.penetration_depth == pytest.approx(0.00054, abs=1e-5)
    assert quality.joint_speed == pytest.approx(9.41, abs=0.01) and quality.joint_speed_name == "elv_angle_r"
    assert quality.tendon_jump == pytest.approx(0.012, abs=5e-4) and quality.floating_height == pytest.approx(
        0.0176, abs=1e-4
    )


@pytest.mark.parametrize(
    "name",
    [
        "cmu_mocap/02_01.amc",
        "cmu_mocap/02_03.amc",
        "cmu_mocap_bvh/cmu_12_01_walk.bvh",
        "opensim_core_walk3d/markers_walk.trc",
    ],
)
def test_real_recordings_pass_the_thresholds(whole, name):
    result = whole(read_motion(data_file(f"data/{name}")))
    quality = result.quality
    assert quality.joint_violation_rate_independent == 0 and quality.joint_violation_max < 3e-4
    assert quality.coupling_residual < 1e-4 and quality.penetration_depth < 0.002 and quality.rmse < 0.025
    assert quality.floating_lowest < 0.010 and quality.foot_slide < 0.08
    assert reasons(quality, THRESHOLDS) == []
    assert result.clip.frequency == 100.0 and result.clip.joint_names == whole.embodiment.joint_names
    np.testing.assert_allclose(result.clip.qpos[0, :2], 0, atol=1e-6)


@pytest.mark.parametrize(
    "name", ["opencap_processing/walking1_videoAndMocap.mot", "opensim_c3d_treadmill/walking2.c3d"]
)
def test_a_foot_is_on_the_floor_throughout_a_walk(whole, name):
    """Also where the recording, here from video, has both feet up to 30 mm above it."""
    quality = whole(read_motion(data_file(f"data/{name}"))).quality
    assert quality.floating_highest < 0.010 and quality.penetration_depth < 0.002


def test_landmarks_are_nearer_than_frame_by_frame(whole):
    """The clip on which inverse kinematics frame by frame, whose feet may sink into the floor, comes nearest."""
    raw = read_motion(data_file("data/opensim_models_gait_subject01/subject01_walk1_ik.mot"))
    other = Retargeter("fullbody", RetargetOptions(method="gmr"))(raw).quality
    quality = whole(raw).quality
    assert quality.rmse < other.rmse < 0.007 and quality.penetration_depth < 0.002 < other.penetration_depth


def test_opensim_angles_survive(whole):
    """Hip, knee and ankle of a walking trial follow the angles in its file (r >= 0.97)."""
    path = data_file("data/opensim_core_walk3d/coordinates.sto")
    clip = whole(read_motion(path)).clip
    series = read_storage(path)
    assert "deg" not in series.units
    time = series.time[0] + np.arange(clip.num_frames) / clip.frequency
    for joint in ("hip_flexion_r", "knee_angle_r", "ankle_angle_r", "hip_flexion_l", "knee_angle_l", "ankle_angle_l"):
        angles = clip.qpos[:, whole.embodiment.model.joint(joint).qposadr[0]]
        assert np.corrcoef(angles, np.interp(time, series.time, series[joint]))[0, 1] >= 0.97, joint


def test_one_recorded_arm_is_enough(whole):
    result = Retargeter("bimanual")(read_motion(data_file("data/pyomeca_lifting/markers_analogs.c3d")))
    right = result.clip.qpos[:, result.clip.joint_names.index("elbow_flex_r")]
    left = result.clip.qpos[:, result.clip.joint_names.index("elbow_flex_l")]
    assert result.quality.rmse < 0.01 and np.ptp(right) > 0.5 and np.ptp(left) < 0.05


def test_a_shoulder_trial_lifts_the_arm_as_another_method_says(whole):
    """Elevation of the humerus against the trunk, which the file gives only through the gliding scapula."""
    clip = Retargeter("bimanual")(read_motion(data_file("data/rmr_shoulder/ABD01.mot"))).clip
    with np.load(data_file("data/clips/MyoBimanualArm/rmr_abd01_abduction.npz"), allow_pickle=False) as stored:
        names, other = [str(name) for name in stored["joint_names"]], stored["qpos"]
    for name, most in (("shoulder_elv_r", 4.0), ("elv_angle_r", 6.0)):
        angles = np.degrees(clip.qpos[230 : 230 + len(other), clip.joint_names.index(name)])
        theirs = np.degrees(other[: len(angles), names.index(name)])
        assert np.corrcoef(angles, theirs)[0, 1] > 0.99 and np.sqrt(np.mean((angles - theirs) ** 2)) < most, name
        assert np.ptp(theirs) > 50


@pytest.mark.parametrize("method", [m for m in METHODS if m != "batch"])
def test_other_methods_keep_limits_and_couplings(method):
    raw = read_motion(data_file("data/cmu_mocap/02_01.amc"))
    cut = slice(0, 40)
    raw = dataclasses.replace(
        raw,
        positions={name: values[cut] for name, values in raw.positions.items()},
        orientations={name: values[cut] for name, values in raw.orientations.items()},
    )
    quality = Retargeter("fullbody", RetargetOptions(method=method))(raw).quality
    assert quality.joint_violation_rate_independent == 0 and quality.coupling_residual < 1e-4 and quality.rmse < 0.06


def test_proportions_match_the_body():
    body = Proportions(make_embodiment("fullbody"))
    assert body.length("left_hip", "left_knee") == pytest.approx(0.404, abs=2e-3)
    assert body.rest["left_hip"][1] == pytest.approx(0.077, abs=2e-3)
    assert body.rest["left_wrist"][1] > 0.6  # T-pose: the left arm points left
    hanging = body.shoulder("left", np.array([0.0]))[0]
    raised = body.shoulder("left", np.array([np.pi]))[0]
    assert raised[2] > hanging[2]  # the scapula lifts the shoulder


def test_a_walk_bends_its_joints_as_people_do(whole):
    """A gait cycle of each leg in a CMU walk against the mean of seven cycles of another adult: r >= 0.9."""
    clip = whole(read_motion(data_file("data/cmu_mocap/02_01.amc"))).clip
    with np.load(data_file("data/falisse2019_gait_cycles/gait_cycles_trials1-7.npz")) as stored:
        names = [str(name) for name in stored["angle_deg_names"]]
        measured = stored["angle_deg"].mean(axis=2)
    tree = BodyTree(whole.embodiment, dtype=torch.float64)
    frames = tree.forward(tree.pose(clip.qpos.astype(float)))
    way = clip.qpos[-1, :2] - clip.qpos[0, :2]
    for side in "rl":
        ahead = (frames.pos[:, tree.body(f"calcn_{side}")] - frames.pos[:, tree.body("pelvis")]).numpy()
        reach = ahead[:, :2] @ (way / np.linalg.norm(way))
        strikes = [t for t in range(10, len(reach) - 10) if reach[t] == reach[t - 10 : t + 11].max()]
        at = np.linspace(strikes[0], strikes[1], 100)
        for name, sign in (("hip_flexion", 1), ("knee_angle", -1), ("ankle_angle", 1)):
            angles = clip.qpos[:, whole.embodiment.model.joint(f"{name}_{side}").qposadr[0]]
            curve = np.interp(at, np.arange(len(angles)), angles)
            assert np.corrcoef(curve, sign * measured[:, names.index(name)])[0, 1] >= 0.9, (name, side)


def test_a_foot_rests_while_its_toe_does():
    """Level for the third of a stride in which the toe stays; in flight it points down and turns less."""
    stance = np.arange(120) < 40
    pitch = np.where(stance, -0.4 + 0.002 * np.sin(np.arange(120)), -1.2)
    foot = 0.14 * np.stack((np.cos(pitch), 0 * pitch, np.sin(pitch)), axis=1)
    toe = np.cumsum(np.where(stance, 0.0, 0.03))[:, None] * [1.0, 0.0, 0.0]
    assert resting_pitch(foot, toe) == pytest.approx(-0.4, abs=0.003)


def test_a_run_without_a_rest_pose_stands_on_its_soles(whole):
    """As markers and rows of bones come: within 1 mm of the error with the rest pose of the skeleton."""
    raw = read_motion(data_file("data/cmu_mocap/02_03.amc"))
    without = whole(dataclasses.replace(raw, rest={})).quality
    assert without.rmse == pytest.approx(whole(raw).quality.rmse, abs=1e-3)


def test_a_filter_that_exceeds_a_threshold_is_skipped(whole):
    """With a stricter threshold the filtered walk penetrates deeper than the fitted one."""
    raw = read_motion(data_file("data/cmu_mocap/02_01.amc"))
    fitted = Retargeter("fullbody", RetargetOptions(dynamic=None))(raw)
    filtered = whole(raw)
    assert fitted.quality.penetration_depth < 0.0011 < filtered.quality.penetration_depth
    strict = Retargeter("fullbody", RetargetOptions(thresholds={"penetration_depth": 0.0011}))(raw)
    np.testing.assert_array_equal(strict.clip.qpos, fitted.clip.qpos)
    assert "not dynamically filtered, because it would then fail penetration_depth" in strict.notes[-1]
    assert strict.notes[-1] in strict.clip.source


def test_a_swing_that_brushes_the_floor_is_not_a_stance():
    brush = [Stance(0, 15, 2.4, False)]
    assert typical_slide(brush, SWING * 100) == 0.0
    assert typical_slide(brush * 3, SWING * 100) == pytest.approx(2.4), "feet that glide throughout"
