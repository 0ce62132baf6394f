"""Zero-moment point, support, joint demand and feasibility: laws and cases computed by hand."""

import dataclasses
import json

import mujoco
import numpy as np
import pytest
from commands import script

from muscle_torch.embodiments import Embodiment, make_embodiment
from muscle_torch.embodiments.independent import IndependentJoints
from muscle_torch.errors import InputError
from muscle_torch.motion import MotionClip, generate
from muscle_torch.motion.dynamic_filter import FilterOptions, filter_motion
from muscle_torch.motion.feasibility import Infeasible, Limits, assess_clip, assess_motion, check_feasible
from muscle_torch.motion.ground_reaction import ground_reaction
from muscle_torch.motion.joint_demand import joint_demand
from muscle_torch.motion.low_pass import derivatives, low_pass
from muscle_torch.motion.resample import at_control_rate
from muscle_torch.motion.support import BodySurface, Soles, distance, half_planes, hull, standing_feet

RATE, FRAMES = 100.0, 40
GRAVITY = 9.81


@pytest.fixture(scope="module")
def body() -> Embodiment:
    return make_embodiment("fullbody")


@pytest.fixture(scope="module")
def standing(body) -> np.ndarray:
    """Return the first pose of quiet standing (nq,), both feet flat on the floor."""
    (clip,) = generate("sway", body)
    return body.project(clip.qpos[0].astype(float))


def moved(pose: np.ndarray, x: float | np.ndarray = 0.0, z: float | np.ndarray = 0.0) -> np.ndarray:
    """Return the pose with its root shifted by x and z (FRAMES,) [m], (FRAMES, nq)."""
    out = np.tile(pose, (FRAMES, 1))
    out[:, 0] += x
    out[:, 2] += z
    return out


def mass_centre(body: Embodiment, pose: np.ndarray) -> np.ndarray:
    data = mujoco.MjData(body.model)
    data.qpos[:] = pose
    mujoco.mj_kinematics(body.model, data)
    mujoco.mj_comPos(body.model, data)
    return data.subtree_com[1].copy()


def test_at_rest_the_zero_moment_point_is_below_the_centre_of_mass(body, standing):
    reaction = ground_reaction(body, moved(standing), RATE)
    centre = mass_centre(body, standing)
    np.testing.assert_allclose(reaction.zero_moment_point, np.tile(centre[:2], (FRAMES, 1)), atol=1e-9)
    np.testing.assert_allclose(reaction.force, np.tile([0, 0, reaction.weight], (FRAMES, 1)), atol=1e-6)
    assert reaction.weight == pytest.approx(GRAVITY * body.model.body_mass.sum(), rel=1e-6)
    assert reaction.stands.all() and (reaction.distance == 0).all() and not reaction.unsupported.any()


def test_an_accelerated_body_moves_it_by_height_times_acceleration_over_gravity(body, standing):
    time, acceleration, rising = np.arange(FRAMES) / RATE, 1.3, 0.7
    path = 0.5 * time**2
    still = moved(standing, acceleration * path)
    reaction = ground_reaction(body, still, RATE)
    centre = reaction.mass_centre
    expected = centre[:, 0] - centre[:, 2] * acceleration / GRAVITY
    np.testing.assert_allclose(reaction.zero_moment_point[:, 0], expected, atol=1e-8)
    np.testing.assert_allclose(reaction.friction_demand, acceleration / GRAVITY, atol=1e-9)
    # The ground carries more while the body rises, and the same push then moves the point less.
    reaction = ground_reaction(body, moved(standing, acceleration * path, rising * path), RATE)
    expected = reaction.mass_centre[:, 0] - reaction.mass_centre[:, 2] * acceleration / (GRAVITY + rising)
    np.testing.assert_allclose(reaction.zero_moment_point[:, 0], expected, atol=1e-8)


def test_in_free_fall_the_ground_is_not_needed(body, standing):
    time = np.arange(FRAMES) / RATE
    reaction = ground_reaction(body, moved(standing, 2.0 * time, 1.0 - 0.5 * GRAVITY * time**2), RATE)
    assert np.abs(reaction.force).max() < 1e-4 * reaction.weight
    assert not reaction.loaded.any() and np.isnan(reaction.zero_moment_point).all()
    assert (reaction.distance == 0).all() and not reaction.unsupported.any()


def test_feet_stand_by_height_and_speed(body, standing):
    time = np.arange(FRAMES) / RATE
    cases = {
        "still": (moved(standing), True),
        "gliding at walking speed": (moved(standing, 1.2 * time), False),
        "creeping": (moved(standing, 0.2 * time), True),
        "lifted": (moved(standing, 0.0, 0.05), False),
    }
    for name, (qpos, stands) in cases.items():
        reaction = ground_reaction(body, qpos, RATE)
        assert (reaction.stands == stands).all(), name
        assert (reaction.unsupported == (not stands)).all(), name


def test_short_gaps_and_short_stances_are_artefacts(body):
    soles = Soles.of(body)
    points = np.zeros((60, len(soles.foot), 3))
    speed = np.zeros((60, len(soles.foot)))
    first, second = soles.foot == 0, soles.foot == 1
    speed[20:23, first] = 2.0  # a gap of 0.03 s in a stance
    points[:, second, 2] = 0.1
    points[30:33, second, 2] = 0.0  # a touch of 0.03 s in a swing
    stands = standing_feet(points, speed, soles, RATE)
    assert stands[:, 0].all() and not stands[:, 1].any()
    # Between 0.4 and 0.8 m/s a foot goes on with what it did.
    speed[:] = np.where(np.arange(60) < 30, 0.1, 0.6)[:, None]
    points[:] = 0.0
    assert standing_feet(points, speed, soles, RATE).all()
    assert not standing_feet(points, np.full_like(speed, 0.6), soles, RATE).any()


def test_hull_and_distance_worked_out_by_hand():
    square = np.array([[0.0, 0.0], [1, 0], [1, 1], [0, 1], [0.5, 0.5], [0.5, 0.0]])
    corners = hull(square)
    assert {tuple(corner) for corner in corners} == {(0, 0), (1, 0), (1, 1), (0, 1)}
    assert distance(corners, np.array([0.3, 0.9])) == 0.0
    assert distance(corners, np.array([1.25, 0.5])) == pytest.approx(0.25)
    assert distance(corners, np.array([1.3, 1.4])) == pytest.approx(0.5)  # beyond a corner: 3, 4, 5
    line = hull(np.array([[0.0, 0.0], [2.0, 0.0]]))
    assert distance(line, np.array([1.0, 0.1])) == pytest.approx(0.1)
    assert distance(line, np.array([2.3, 0.4])) == pytest.approx(0.5)
    assert distance(hull(np.array([[1.0, 1.0]])), np.array([1.0, 3.0])) == pytest.approx(2.0)
    assert np.isnan(distance(np.zeros((0, 2)), np.zeros(2)))


@pytest.mark.parametrize("corners", [[[0, 0], [1, 0], [1, 1], [0, 1]], [[0, 0], [1, 0]], [[0.3, 0.4]]])
def test_half_planes_hold_the_polygon_and_what_is_left_of_it(corners):
    corners = np.array(corners, dtype=float)
    normals, offsets = half_planes(corners, 0.0)
    assert (normals @ corners.T <= offsets[:, None] + 1e-12).all()
    outside = corners.max(axis=0) + 0.2
    assert (normals @ outside > offsets).any()
    normals, offsets = half_planes(corners, 0.1)
    assert (normals @ corners.mean(axis=0) <= offsets + 1e-12).all()
    if len(corners) == 4:
        assert (normals @ [0.95, 0.5] > offsets).any() and (normals @ [0.85, 0.5] <= offsets).all()
        assert (normals @ [0.5, 0.5] <= half_planes(corners, 9.0)[1] + 1e-12).all()


def test_a_body_without_feet_is_rejected_in_one_line(standing):
    arms = make_embodiment("bimanual")
    with pytest.raises(InputError, match="MyoBimanualArm has no feet") as caught:
        ground_reaction(arms, np.tile(arms.model.qpos0, (FRAMES, 1)), RATE)
    assert "\n" not in str(caught.value)


def test_accelerations_need_some_frames(body, standing):
    with pytest.raises(InputError, match="3 frames are too few"):
        derivatives(body.model, moved(standing)[:3], RATE)


def test_the_low_pass_keeps_slow_motion_and_halves_the_power_at_its_cutoff(body, standing):
    time = np.arange(400) / RATE
    for frequency, gain in ((1.0, 1.0), (6.0, np.sqrt(0.5)), (25.0, 0.0)):
        qpos = np.tile(standing, (400, 1))
        qpos[:, 0] += 0.1 * np.sin(2 * np.pi * frequency * time)
        out = low_pass(body, qpos, RATE, 6.0)[100:300, 0] - standing[0]
        assert np.abs(out).max() == pytest.approx(0.1 * gain, abs=2e-3), frequency
    np.testing.assert_allclose(low_pass(body, qpos, RATE, 0.0), body.project(qpos))


def test_low_passed_quaternions_of_changing_sign_stay_one_rotation(body, standing):
    qpos = moved(standing)
    qpos[::2, 3:7] *= -1
    out = low_pass(body, qpos, RATE, 6.0)
    assert np.abs(np.abs(out[:, 3:7] @ standing[3:7]) - 1).max() < 1e-9


def test_coupled_joints_follow_the_independent_ones(body, standing):
    independent, random = IndependentJoints(body), np.random.default_rng(0)
    rates = random.normal(size=len(independent.dofs))
    rates[:6] = 0.0
    qpos = standing.copy()
    low, high = body.model.jnt_range[body.scalar_joint_ids].T
    qpos[body.joint_qpos_ids] = low + random.uniform(0.3, 0.7, len(low)) * (high - low)
    qpos = body.project(qpos)
    small, velocity, expected = 1e-6, np.zeros(body.model.nv), np.zeros(body.model.nv)
    velocity[independent.dofs] = rates
    ahead, previous = qpos.copy(), qpos.copy()
    mujoco.mj_integratePos(body.model, ahead, velocity, small)
    mujoco.mj_integratePos(body.model, previous, velocity, -small)
    mujoco.mj_differentiatePos(body.model, expected, 2 * small, body.project(previous), body.project(ahead))
    np.testing.assert_allclose(independent.tangent(qpos) @ rates, expected, atol=1e-6)


def test_at_rest_joints_hold_the_weight_above_them(body, standing):
    """Of the arms, which carry nothing: the moment is the change of potential energy with the joint."""
    pose = standing.copy()
    for joint, angle in {"shoulder_elv_r": 0.8, "elbow_flex_r": 1.2, "elv_angle_r": 0.9, "flexion_r": 0.2}.items():
        pose[body.model.joint(joint).qposadr[0]] = angle
    pose = body.project(pose)
    qpos = moved(pose)
    demand = joint_demand(body, qpos, RATE, ground_reaction(body, qpos, RATE))
    weight = GRAVITY * body.model.body_mass.sum()

    def energy(joint: str, angle: float) -> float:
        there = pose.copy()
        there[body.model.joint(joint).qposadr[0]] += angle
        return weight * mass_centre(body, body.project(there))[2]

    for joint in ("elbow_flex_r", "shoulder_elv_r", "elv_angle_r", "flexion_r"):
        expected = (energy(joint, 1e-5) - energy(joint, -1e-5)) / 2e-5
        result = demand.needed[:, demand.joints.index(joint)]
        np.testing.assert_allclose(result, expected, atol=2e-3)
    assert abs(demand.needed[0, demand.joints.index("elbow_flex_r")]) > 1.0
    assert np.abs(demand.root_residual).max() < 0.5, "the ground carries the whole body"


def test_bounds_are_isometric_force_times_moment_arms(body, standing):
    qpos = moved(standing)
    demand = joint_demand(body, qpos, RATE, ground_reaction(body, qpos, RATE))
    model, data = body.model, mujoco.MjData(body.model)
    data.qpos[:] = standing
    mujoco.mj_forward(model, data)
    independent = IndependentJoints(body)
    column = independent.names.index("knee_angle_r")
    moment = np.zeros((model.nu, model.nv))
    mujoco.mju_sparse2dense(
        moment, data.actuator_moment.ravel(), data.moment_rownnz, data.moment_rowadr, data.moment_colind.ravel()
    )
    least = most = 0.0
    for i, arm in enumerate(moment @ independent.tangent(standing)[:, column]):
        limits, strength = model.actuator_lengthrange[i], model.actuator_acc0[i]
        active = mujoco.mju_muscleGain(data.actuator_length[i], 0.0, limits, strength, model.actuator_gainprm[i, :9])
        passive = arm * mujoco.mju_muscleBias(data.actuator_length[i], limits, strength, model.actuator_biasprm[i, :9])
        least, most = least + passive + min(arm * active, 0.0), most + passive + max(arm * active, 0.0)
    joint = demand.joints.index("knee_angle_r")
    assert demand.least[0, joint] == pytest.approx(least, rel=1e-6)
    assert demand.most[0, joint] == pytest.approx(most, rel=1e-6)
    assert least < -50 and most > 50, "a knee bends and stretches by more than 50 Nm"


def test_standing_still_is_within_the_capacity_of_the_muscles(body, standing):
    feasibility = assess_motion(body, moved(standing), RATE)
    row = feasibility.row()
    assert feasibility.issues() == [] and row["moment_excess"] == 0.0 and row["moment_excess_name"] == ""
    assert row["zmp_distance"] == row["zmp_outside_rate"] == row["unsupported_rate"] == 0.0


def test_messages_state_frames_and_reasons(body, standing):
    bent = standing.copy()  # at the hips, forward (-y), over straight legs
    bent[3:7] = [np.cos(0.65), np.sin(0.65), 0.0, 0.0]
    for side in "rl":
        bent[body.model.joint(f"hip_flexion_{side}").qposadr[0]] += 1.3
    bent = body.project(bent)
    bent[2] -= ground_reaction(body, moved(bent), RATE).points[0, :, 2].min()
    assert mass_centre(body, bent)[1] < mass_centre(body, standing)[1] - 0.1
    feasibility = assess_motion(body, np.concatenate((moved(standing), moved(bent))), RATE)
    (line,) = [i for i in feasibility.issues(Limits(zmp_distance=0.03)) if "zero-moment point" in i]
    assert line.startswith("the zero-moment point lies up to") and "to 79" in line and "0.79 s)" in line
    floating = assess_motion(body, moved(standing, 0.0, 0.1), RATE)
    assert floating.issues() == [
        "the ground must carry the body in frames 0 to 39 (0.00 to 0.39 s), and no foot stands"
    ]
    assert floating.row()["zmp_outside_rate"] == floating.row()["unsupported_rate"] == 1.0


def test_a_foot_that_stands_above_the_floor_carries_nothing(body, standing):
    """A stance holds through a short gap, in which the foot offers no polygon."""
    reaction = ground_reaction(body, moved(standing), RATE)
    nothing = (np.zeros((0, 2)),) * FRAMES
    lifted = dataclasses.replace(reaction, corners=nothing)
    assert lifted.stands.all() and lifted.unsupported.all() and not lifted.distance.any()


def test_lying_and_handstands_are_not_checked(body, standing):
    """The load on hands, knees and back is unknown."""
    lying = standing.copy()
    lying[3:7] = [np.sqrt(0.5), np.sqrt(0.5), 0.0, 0.0]  # face down or on the back
    data = mujoco.MjData(body.model)
    data.qpos[:] = lying
    mujoco.mj_kinematics(body.model, data)
    lying[2] -= BodySurface.of(body.model).lowest(data)
    feasibility = assess_motion(body, moved(lying), RATE)
    assert feasibility.reaction.other_contact.all() and feasibility.issues() == []
    assert feasibility.row()["unsupported_rate"] == feasibility.row()["moment_excess"] == 0.0
    shift = filter_motion(body, moved(lying, 0.1 * np.sin(np.arange(FRAMES))), RATE, FilterOptions(), Soles.of(body))[1]
    assert not shift.any()
    assert not assess_motion(body, moved(standing), RATE).reaction.other_contact.any()


def test_a_joint_beyond_its_muscles_is_reported(body, standing):
    qpos, elbow = moved(standing), int(body.model.joint("elbow_flex_r").qposadr[0])
    qpos[:, elbow] = 1.0 + 0.6 * np.sin(2 * np.pi * 8.0 * np.arange(FRAMES) / RATE)
    feasibility = assess_motion(body, body.project(qpos), RATE)
    assert feasibility.row()["moment_excess_name"] != ""
    (line,) = [i for i in feasibility.issues(Limits(moment_excess=1.0, duration=0.02)) if i.startswith("elbow_flex_r")]
    assert "its muscles give" in line and "Nm" in line


def clip_of(body: Embodiment, qpos: np.ndarray) -> MotionClip:
    return MotionClip("hover", qpos.astype(np.float32), RATE, body.joint_names, body.name, body.model_version)


def test_an_infeasible_clip_warns_or_is_rejected(body, standing):
    clip = clip_of(body, moved(standing, 0.0, 0.1))
    with pytest.warns(UserWarning, match="motion 'hover': no body can follow it: the ground must carry"):
        check_feasible(clip, body)
    with pytest.raises(InputError, match="frames 0 to 39") as caught:
        check_feasible(clip, body, Infeasible.reject)
    assert "\n" not in str(caught.value) and "infeasible=keep" in str(caught.value)


@pytest.mark.parametrize("name", ["sway", "squat", "arm_raise", "step_in_place", "walk"])
def test_the_feet_can_carry_the_generated_motions(body, name):
    (clip,) = generate(name, body)
    qpos, _ = at_control_rate(clip, body, "derivative")
    feasibility = assess_motion(body, qpos, body.control_frequency)
    distances, row = feasibility.reaction.distance, feasibility.row()
    print(name, {key: value for key, value in row.items() if key.startswith(("zmp", "friction", "moment"))})
    assert np.quantile(distances, 0.95) < 0.005
    assert (distances > 0.005).mean() < 0.05 and row["unsupported_rate"] == 0.0
    assert row["friction_demand_p95"] < 0.4, "shoes on a floor give 0.5"
    assert feasibility.issues() == []


def test_the_filter_brings_the_zero_moment_point_over_the_feet(body, standing, tmp_path, capsys):
    time = np.arange(200) / RATE
    qpos = np.tile(standing, (200, 1))
    qpos[:, 0] += 0.02 * np.sin(2 * np.pi * 2.0 * time) * np.clip(time, 0, 1)
    clip = dataclasses.replace(clip_of(body, qpos), name="shake")
    clip.save(tmp_path / "shake.npz")
    words = [f"motion={tmp_path / 'shake.npz'}", "filter=true", f"clips={tmp_path / 'filtered'}"]
    assert script("tools/check_motion.py").main([*words, f"output={tmp_path / 'x.json'}"]) == 0
    assert "shake" in capsys.readouterr().out
    (row,) = json.loads((tmp_path / "x.json").read_text())["clips"]
    filtered = MotionClip.load(tmp_path / "filtered" / "shake.npz")
    before, after = assess_clip(clip, body).row(), assess_clip(filtered, body).row()
    assert before["zmp_distance_p95"] > 0.02 and after["zmp_distance_p95"] < 0.005
    assert row["zmp_distance_p95"] == pytest.approx(after["zmp_distance_p95"], abs=1e-4)
    assert 0.002 < row["shift_max"] < 0.03, "the pelvis moves no further than the shake did"


def test_clips_are_only_stored_when_they_are_filtered(tmp_path):
    with pytest.raises(InputError, match="set filter=true"):
        script("tools/check_motion.py").main([f"clips={tmp_path}"])
