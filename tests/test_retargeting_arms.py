"""Forearms, wrists and arms: the file's angles reach the body, from every format, with values by hand."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import data_file
from scipy.spatial.transform import Rotation
from test_retargeting_readers import amass, body_model, bvh_text

from muscle_torch.biomechanics.recordings import read_storage
from muscle_torch.biomechanics.series import TimeSeries
from muscle_torch.embodiments import make_embodiment
from muscle_torch.retargeting import (
    THRESHOLDS,
    ReadOptions,
    Retargeter,
    RetargetOptions,
    read_motion,
    reasons,
)
from muscle_torch.retargeting.arm_axes import bends_to, elbow_axes, segment_axes
from muscle_torch.retargeting.fit import Proportions, Targets, make_targets
from muscle_torch.retargeting.kinematics import BodyTree
from muscle_torch.retargeting.readers.asf_amc import _read_amc
from muscle_torch.retargeting.readers.marker_files import Markers
from muscle_torch.retargeting.readers.markers import from_markers

SIDES = ("left", "right")
RANGES = {"pro_sup": (-90, 90), "deviation": (-10, 25), "flexion": (-45, 45)}  # [deg] of the body's joints


@pytest.fixture(scope="module")
def arms() -> Retargeter:
    torch.set_num_threads(1)
    return Retargeter("bimanual")


def angles(targets: Targets) -> dict[str, np.ndarray]:
    """Return the expected angles of the arms' joints [deg]."""
    return {joint: np.degrees(values) for joint, values in targets.angles.items()}


def assert_follow(result, file_angles: dict[str, np.ndarray], rate: float, most: float) -> None:
    """The clip's joints are within `most` degrees RMS of `file_angles` at `rate`, as far as the body can go."""
    clip = result.clip
    time = np.arange(clip.num_frames) / clip.frequency
    for joint, values in file_angles.items():
        made = np.degrees(clip.qpos[:, clip.joint_names.index(joint) + (6 if clip.has_root else 0)])
        at_clip_times = np.interp(time, np.arange(len(values)) / rate, values)
        reachable = np.clip(at_clip_times, *RANGES[joint[:-2]])
        assert np.sqrt(np.mean((made - reachable) ** 2)) < most, joint
        if np.ptp(reachable) > 10:
            assert np.corrcoef(made, reachable)[0, 1] > 0.9, joint


def test_axes_are_the_identity_in_a_t_pose_with_palms_down():
    forward = np.array([1.0, 0.0, 0.0])
    np.testing.assert_allclose(segment_axes(forward, np.array([0.0, 0.3, 0.0]), "left"), np.eye(3), atol=1e-12)
    np.testing.assert_allclose(segment_axes(forward, np.array([0.0, -0.3, 0.0]), "right"), np.eye(3), atol=1e-12)
    hanging = segment_axes(forward, np.array([0.1, 0.0, -1.0]), "right")  # the palm faces the thigh: its back outwards
    np.testing.assert_allclose(hanging[:, 2], [0.0, -1.0, 0.0], atol=1e-12)


@pytest.mark.parametrize("name", ["fullbody", "bimanual"])
def test_the_joints_follow_the_segments_of_their_own_body(name):
    """Random poses of the body, seen as segments: the same angles come back."""
    embodiment = make_embodiment(name)
    body = Proportions(embodiment)
    tree = BodyTree(embodiment, dtype=torch.float64)
    generator = torch.Generator().manual_seed(1)
    joints = tree.lower + (tree.upper - tree.lower) * torch.rand(
        50, len(tree.names), generator=generator, dtype=torch.float64
    )
    frames = tree.forward(tree.rest(50)._replace(joints=joints))
    for arm in body.arms.values():
        bones = {bone: frames.mat[:, tree.body(bone)].numpy() for bone in arm.bodies.values()}
        elbow = frames.pos[:, tree.body(arm.bodies["ulna"])].numpy()
        upper = elbow - frames.pos[:, tree.body(arm.bodies["upper_arm"])].numpy()
        fore = frames.pos[:, tree.body(arm.bodies["hand"])].numpy() - elbow
        upper, fore = (bone / np.linalg.norm(bone, axis=1, keepdims=True) for bone in (upper, fore))
        turns, joint_angles = arm.follow(arm.segments(bones), upper, fore)
        for joint, most in zip(
            arm.joints, (1.5, 1e-6, 1e-6), strict=True
        ):  # the forearm's axis is not quite its length
            actual = joints[:, tree.names.index(joint)].numpy()
            np.testing.assert_allclose(np.degrees(joint_angles[joint]), np.degrees(actual), atol=most)
        np.testing.assert_allclose(turns[arm.bodies["upper_arm"]], bones[arm.bodies["upper_arm"]], atol=1e-9)
        exact = {joint: joints[:, tree.names.index(joint)].numpy() for joint in arm.joints}
        np.testing.assert_allclose(arm.hand(bones[arm.bodies["ulna"]], exact), bones[arm.bodies["hand"]], atol=1e-9)
        direction = arm.forearm(arm.segments(bones)[f"{arm.side}_ulna"], exact[arm.joints[0]])
        np.testing.assert_allclose(direction, fore, atol=1e-9)


def test_angles_past_a_joint_s_range_end_there(arms):
    arm = arms.body.arms["right"]
    hand = Rotation.from_euler("ZX", [[40, 60], [-30, -60]], degrees=True).as_matrix()  # to the thumb and palm; away
    along = np.tile([0.0, -1.0, 0.0], (2, 1))
    _, joint_angles = arm.follow({"right_hand": hand}, along, along)
    np.testing.assert_allclose(np.degrees(joint_angles["deviation_r"]), [25, -10], atol=1e-3)
    np.testing.assert_allclose(np.degrees(joint_angles["flexion_r"]), [45, -45], atol=1e-3)
    assert "pro_sup_r" not in joint_angles  # a straight elbow without an upper arm does not show where it would bend to


def test_a_straight_elbow_takes_its_plane_from_before_and_after():
    """It bends forwards, straightens while the arm hangs, and bends outwards: half way, the plane is half way."""
    bend = np.radians([60, 30, 0, 0, 0, 30, 60])
    way = np.array([[1.0, 0, 0]] * 3 + [[0, 0, 0]] + [[0, -1.0, 0]] * 3)
    down = np.tile([0.0, 0.0, -1.0], (7, 1))
    fore = np.sin(bend)[:, None] * way + np.cos(bend)[:, None] * down
    axes = elbow_axes(down, fore, None, "right")
    assert axes is not None
    np.testing.assert_allclose(axes[3, :, 0], [np.sqrt(0.5), -np.sqrt(0.5), 0.0], atol=1e-9)
    assert elbow_axes(down, down, None, "right") is None
    upper = np.tile(segment_axes(np.array([1.0, 0.0, 0.0]), down[0], "right"), (7, 1, 1))
    straight = elbow_axes(down, down, upper, "right")
    assert straight is not None
    np.testing.assert_allclose(straight[:, :, 0], np.tile([1.0, 0.0, 0.0], (7, 1)), atol=1e-9)


def test_the_direction_of_elbow_flexion_defines_the_upper_arm_axes():
    places = np.array(
        [[[0, 0, 1.5], [0, 0, 1.2], [0, 0, 0.9]], [[0, 0, 1.5], [0.3, 0, 1.5], [0.3, 0.2, 1.5]]], dtype=float
    )
    turns = np.stack((np.eye(3), Rotation.from_euler("y", -90, degrees=True).as_matrix()))
    bend = bends_to(places, turns)
    assert bend is not None
    np.testing.assert_allclose(bend, [0.0, 1.0, 0.0], atol=1e-9)
    assert bends_to(places[:1], turns[:1]) is None


def test_angles_of_an_amass_file_arrive(arms, tmp_path):
    """Elbows bent forwards by 90 degrees, forearms turned by 30, hands by 20 to the thumb, then by 35 to the palm."""
    with np.load(amass(tmp_path / "a.npz")) as stored:
        poses = stored["poses"].reshape(-1, 52, 3)
    for sign, elbow, wrist in ((1, 18, 20), (-1, 19, 21)):
        poses[:, elbow] = [0, -sign * np.pi / 2, 0]
        poses[:, wrist] = Rotation.from_euler("XYZ", [30, -sign * 20, -sign * 35], degrees=True).as_rotvec()
    amass(tmp_path / "b.npz", poses=poses.reshape(len(poses), -1))
    raw = read_motion(tmp_path / "b.npz", ReadOptions(smpl=body_model(tmp_path)))
    joint_angles = angles(make_targets(raw, arms.body))
    for side in "lr":
        for joint, value in (("pro_sup", 30), ("deviation", 20), ("flexion", 35)):
            np.testing.assert_allclose(joint_angles[f"{joint}_{side}"], value, atol=1e-6, err_msg=f"{joint}_{side}")


CMU = {"02_01": "CMU_02_01_walk_poses", "02_03": "CMU_02_03_run_poses", "02_06": "CMU_02_06_bend_scoop_lift_poses"}


def cmu_angles(take: str) -> dict[str, np.ndarray]:
    """Angles [deg] of a CMU recording, by its .amc alone.

    Bone `wrist` turns about the forearm, by 30 degrees more than where the elbow's tilted axis bends to; bone `hand`
    bends about the thumb (rx) after the back of the hand (rz); the left side's turns are mirrored.
    """
    frames = _read_amc(data_file(f"data/cmu_mocap/{take}.amc")).frames
    joint_angles = {}
    for side, sign in (("l", -1), ("r", 1)):
        joint_angles |= {f"pro_sup_{side}": 30 + sign * frames[f"{side}wrist"][:, 0],
                  f"flexion_{side}": frames[f"{side}hand"][:, 0],
                  f"deviation_{side}": sign * frames[f"{side}hand"][:, 1]}  # fmt: skip
    return joint_angles


@pytest.mark.parametrize("take", CMU)
def test_angles_of_real_amc_and_amass_files_arrive(arms, tmp_path, take):
    """Within 3 degrees where the body can; kept at 0 they would be off by up to 39."""
    file_angles = cmu_angles(take)
    assert_follow(arms(read_motion(data_file(f"data/cmu_mocap/{take}.amc"))), file_angles, 120.0, 3.0)
    raw = read_motion(data_file(f"data/cmu_as_amass/{CMU[take]}.npz"), ReadOptions(smpl=body_model(tmp_path)))
    assert_follow(arms(raw), file_angles, 120.0, 3.0)


def angle(series: TimeSeries, name: str) -> np.ndarray:
    """A column (T,) [deg]."""
    column = series.names.index(name)
    return series.values[:, column] * (1.0 if series.units[column] == "deg" else np.degrees(1.0))


@pytest.mark.parametrize(
    "name", ["opencap_processing/walking1_videoAndMocap.mot", "opensim_core_walk3d/coordinates.sto"]
)
def test_pronation_of_real_opensim_files_arrives(name):
    """`pro_sup` is 0 in supination in the file, and half way in the body; these models have straight wrists."""
    path = data_file(f"data/{name}")
    series, file_angles = read_storage(path), {}
    for side in "lr":
        turned = angle(series, f"pro_sup_{side}") - 90
        file_angles |= {f"pro_sup_{side}": turned, f"deviation_{side}": 0 * turned, f"flexion_{side}": 0 * turned}
    raw = read_motion(path)
    assert_follow(Retargeter("fullbody")(raw), file_angles, raw.rate, 2.0)


def test_pronation_of_a_shoulder_model_arrives(arms):
    """34.3 degrees throughout, with a straight elbow, which alone would not show how the forearm is turned."""
    path = data_file("data/rmr_shoulder/ABD01.mot")
    raw = read_motion(path)
    assert_follow(arms(raw), {"pro_sup_r": angle(read_storage(path), "pro_sup")}, raw.rate, 2.0)


def test_wrist_angles_of_an_opensim_file_arrive(arms, tmp_path):
    names = ["time", "pelvis_tilt", "hip_flexion_r", "hip_flexion_l", "knee_angle_r", "knee_angle_l"]
    values = {f"{name}_{side}": value for side in "rl" for name, value in
              (("arm_flex", 20), ("arm_rot", 10), ("elbow_flex", 80), ("pro_sup", 70), ("wrist_flex", 25))}  # fmt: skip
    values |= {"wrist_dev_r": 0.0, "wrist_dev_l": 0.0}
    rows = [[t / 100, 0, 10 * np.sin(t / 10), 10 * np.sin(t / 10 + 3), 30, 30, *values.values()] for t in range(60)]
    table = "\n".join("\t".join(f"{value:.6f}" for value in row) for row in rows)
    path = tmp_path / "arms.mot"
    path.write_text("walk\ninDegrees=yes\nendheader\n" + "\t".join([*names, *values]) + "\n" + table + "\n")
    joint_angles = angles(make_targets(read_motion(path), arms.body))
    for side in "lr":
        np.testing.assert_allclose(joint_angles[f"pro_sup_{side}"], -20, atol=1.0)
        np.testing.assert_allclose(joint_angles[f"flexion_{side}"], 25, atol=1e-6)  # towards the palm
        np.testing.assert_allclose(joint_angles[f"deviation_{side}"], 0, atol=1e-6)


def test_markers_on_both_sides_of_the_wrist_show_the_forearm(arms):
    """Right elbow bent by 90 degrees in front; the thumb's marker is turned down from the vertical by 40 degrees."""
    turn = np.radians(40)
    across = 0.03 * np.array([0.0, np.sin(turn), np.cos(turn)])  # the palm faces left at 0; pronated, it faces down
    wrist = np.array([0.35, -0.2, 1.1])
    at = {"C7": (-0.05, 0, 1.45), "CLAV": (0.08, 0, 1.4), "STRN": (0.1, 0, 1.2), "T10": (-0.1, 0, 1.2),
          "RSHO": (0, -0.2, 1.45), "LSHO": (0, 0.2, 1.45), "RELB": (0.05, -0.24, 1.1), "RELM": (0.05, -0.16, 1.1),
          "RWRA": wrist + across, "RWRB": wrist - across}  # fmt: skip
    points = np.tile(np.array(list(at.values())), (60, 1, 1))
    points[:, :, 0] += 0.1 * np.sin(np.arange(60) / 10)[:, None]
    raw = from_markers(Path("markers.trc"), Markers(list(at), points, 100.0))
    joint_angles = angles(make_targets(raw, arms.body))
    np.testing.assert_allclose(joint_angles["pro_sup_r"], 40, atol=1.0)
    assert "flexion_r" not in joint_angles


FINGERS = {  # joint -> (its place, its end) in centimetres, of the left hand
    "no fingers": {},
    "thumb": {"HandThumb1": ((4, 0, 4), (4, 0, 4))},
    "first and last": {"HandPinky1": ((8, 0, -3), (4, 0, 0)), "HandIndex1": ((8, 0, 3), (4, 0, 0))},
}


def bvh_with_hands(turn: tuple[float, float, float], fingers: dict) -> str:
    """Elbows bent forwards by 90 degrees, the left hand turned by `turn` (Z, X, Y) [deg], the right as in a mirror."""
    text = bvh_text(40)
    for side, x in (("Left", 1), ("Right", -1)):
        at = text.index("End Site", text.index(f"JOINT {side}Hand"))
        for name, (place, end) in fingers.items():
            (px, *p), (ex, *e) = place, end
            text = text[:at] + (
                f"JOINT {side}{name}\n{{\nOFFSET {x * px} {p[0]} {p[1]}\nCHANNELS 3 Zrotation Xrotation Yrotation\n"
                f"End Site\n{{\nOFFSET {x * ex} {e[0]} {e[1]}\n}}\n}}\n"
            ) + text[at:]  # fmt: skip
    head, motion = text.split("Frame Time: 0.01\n")
    rows = []
    for row in filter(None, motion.split("\n")):
        words = row.split()
        hand = 18  # after root, spine, neck, upper arm and forearm
        for sign in (1, -1):
            words[hand - 3 : hand] = ["0", "0", str(-90 * sign)]
            words[hand : hand + 3] = [str(value * s) for value, s in zip(turn, (sign, 1, sign), strict=True)]
            words[hand + 3 : hand + 3] = ["0"] * 3 * len(fingers)
            hand += 9 + 3 * len(fingers)
        rows.append(" ".join(words))
    return head + "Frame Time: 0.01\n" + "\n".join(rows) + "\n"


@pytest.mark.parametrize("fingers", FINGERS)
def test_hands_of_a_bvh_file_arrive_with_and_without_fingers(arms, tmp_path, fingers):
    """Forearms turned by 25 degrees, thumbs down; hands then bent by 30 towards the palm."""
    path = tmp_path / "hands.bvh"
    path.write_text(bvh_with_hands((-30.0, 25.0, 0.0), FINGERS[fingers]))
    joint_angles = angles(make_targets(read_motion(path), arms.body))
    turn = Rotation.from_euler("ZX", [-30, 25], degrees=True)  # of the left hand, whose arm lies along x
    pronation, deviation, flexion = turn.as_euler("XYZ", degrees=True)
    for side in "lr":
        np.testing.assert_allclose(joint_angles[f"pro_sup_{side}"], pronation, atol=1e-6)
        np.testing.assert_allclose(joint_angles[f"deviation_{side}"], np.clip(-deviation, -10, 25), atol=1e-4)
        np.testing.assert_allclose(joint_angles[f"flexion_{side}"], -flexion, atol=1e-6)


@pytest.mark.parametrize("name", ["cmu_02_05_punch", "cmu_02_06_bend_scoop_lift", "rmr_abd01_abduction"])
def test_a_clip_of_the_arms_keeps_its_angles(arms, name):
    path = data_file(f"data/clips/MyoBimanualArm/{name}.npz")
    with np.load(path) as stored:
        names, qpos = [str(joint) for joint in stored["joint_names"]], np.degrees(stored["qpos"])
    made = arms(read_motion(path)).clip
    for joint in ("shoulder_elv", "elbow_flex", "pro_sup", "deviation", "flexion"):
        for side in "lr":
            stored_angles = qpos[: made.num_frames, names.index(f"{joint}_{side}")]
            actual = np.degrees(made.qpos[: len(stored_angles), made.joint_names.index(f"{joint}_{side}")])
            assert np.sqrt(np.mean((actual - stored_angles) ** 2)) < 2.0, f"{joint}_{side}"


@pytest.mark.parametrize(("name", "most"), [
    ("cmu_mocap/02_01.amc", 0.0140),
    ("cmu_mocap/02_03.amc", 0.0075),
    ("cmu_mocap/02_06.amc", 0.0110),
    ("cmu_mocap_bvh/cmu_12_01_walk.bvh", 0.0120),
    ("cmu_markers_c3d/cmu_02_05.c3d", 0.0025),
    ("opensim_core_walk3d/markers_walk.trc", 0.0025),
    ("opencap_processing/walking1_videoAndMocap.mot", 0.0030),
])  # fmt: skip
def test_the_arms_of_a_whole_recording_are_near_its_landmarks(arms, name, most):
    """They were 16 to 75 mm away when they were taken from the fit of the whole body."""
    quality = arms(read_motion(data_file(f"data/{name}"))).quality
    assert quality.rmse < most
    assert reasons(quality, THRESHOLDS) == []
    assert quality.joint_speed < 20 and quality.tendon_jump < 0.03


def test_the_arms_of_a_whole_recording_are_relative_to_the_fitted_trunk(arms):
    """Upper arms point as in the whole body's clip, relative to the thorax, in which both agree."""
    raw = read_motion(data_file("data/cmu_mocap/02_06.amc"))
    whole = Retargeter("fullbody")(raw).clip
    made = arms(raw).clip
    trees = {clip.embodiment: BodyTree(make_embodiment(name), dtype=torch.float64)
             for clip, name in ((whole, "fullbody"), (made, "bimanual"))}  # fmt: skip
    directions = []
    for clip in (whole, made):
        tree = trees[clip.embodiment]
        frames = tree.forward(tree.pose(clip.qpos.astype(float)))
        upper = frames.pos[:, tree.body("ulna_r")] - frames.pos[:, tree.body("humerus_r")]
        local = torch.einsum("tji,tj->ti", frames.mat[:, tree.body("thorax")], upper)
        directions.append(local / local.norm(dim=1, keepdim=True))
    apart = torch.rad2deg(torch.arccos((directions[0] * directions[1]).sum(dim=1).clamp(-1, 1)))
    assert float(apart.median()) < 3.0


def test_other_methods_turn_the_forearm_too():
    """Inverse kinematics frame by frame: the hand's orientation in the world follows the file's angles."""
    raw = read_motion(data_file("data/cmu_mocap/02_03.amc"))
    cut = slice(0, 60)
    raw = dataclasses.replace(
        raw,
        positions={name: values[cut] for name, values in raw.positions.items()},
        orientations={name: values[cut] for name, values in raw.orientations.items()},
    )
    result = Retargeter("fullbody", RetargetOptions(method="gmr"))(raw)
    flexion = np.degrees(result.clip.qpos[:, result.clip.joint_names.index("flexion_r") + 6])
    assert -45 <= flexion.mean() < -20  # the file bends it back by 40; its rest is 0
