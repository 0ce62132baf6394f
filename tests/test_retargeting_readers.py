"""Every format with real files and small files with known answers; errors are one line."""

import dataclasses
import shutil
from collections.abc import Sequence

import numpy as np
import pytest
from conftest import data_file

from muscle_torch.errors import InputError
from muscle_torch.retargeting import READERS, RawMotion, ReadOptions, read_motion
from muscle_torch.retargeting.raw import at_rate, check, leg_length
from muscle_torch.retargeting.readers.static_trial import carried

BVH = """HIERARCHY
ROOT Hips
{
 OFFSET 0 0 0
 CHANNELS 6 Xposition Yposition Zposition Zrotation Xrotation Yrotation
 JOINT Spine1
 {
  OFFSET 0 20 0
  CHANNELS 3 Zrotation Xrotation Yrotation
  JOINT Neck
  {
   OFFSET 0 30 0
   CHANNELS 3 Zrotation Xrotation Yrotation
   End Site
   {
    OFFSET 0 10 0
   }
  }
%s
 }
%s
}
MOTION
Frames: %d
Frame Time: 0.01
%s
"""


def limb(names: Sequence[str], offsets: Sequence[str]) -> str:
    (name, *below), (offset, *remaining) = names, offsets
    inner = limb(below, remaining) if below else "End Site\n{\nOFFSET 0 0 5\n}"
    return f"JOINT {name}\n{{\nOFFSET {offset}\nCHANNELS 3 Zrotation Xrotation Yrotation\n{inner}\n}}"


def bvh_text(frames: int = 40, forward: int = 1) -> str:
    """A stick figure in centimetres that glides along z, 1 cm a frame, its left knee bent by 90 degrees."""
    arms = "\n".join(
        limb((f"{s}Arm", f"{s}ForeArm", f"{s}Hand"), (f"{x * 20} 25 0", f"{x * 28} 0 0", f"{x * 25} 0 0"))
        for s, x in (("Left", 1), ("Right", -1))
    )
    legs = "\n".join(
        limb(
            (f"{s}UpLeg", f"{s}Leg", f"{s}Foot", f"{s}ToeBase"),
            (f"{x * 9} 0 0", "0 -42 0", "0 -40 0", f"0 -5 {forward * 13}"),
        )
        for s, x in (("Left", 1), ("Right", -1))
    )
    rows = []
    for t in range(frames):
        row = ["0", "90", str(t), "0", "0", "0"] + ["0"] * 6 + ["0"] * 18
        row += ["0", "0", "0", "0", "90", "0"] + ["0"] * 6 + ["0"] * 12
        rows.append(" ".join(row))
    return BVH % (arms, legs, frames, "\n".join(rows))


def error_message(path, options: ReadOptions | None = None) -> str:
    with pytest.raises(InputError) as expected:
        read_motion(path, options)
    assert "\n" not in str(expected.value)
    return str(expected.value)


def body_model(folder) -> str:
    """22 straight joints in the format of SMPL model files: one vertex a joint, one shape that makes it taller."""
    at = {0: (0, 0, 0), 3: (0, 0.11, 0), 6: (0, 0.24, 0), 9: (0, 0.29, 0), 12: (0, 0.5, 0), 15: (0, 0.6, 0)}
    for index, x in ((0, 1), (1, -1)):
        at |= {
            1 + index: (x * 0.09, -0.08, 0),
            4 + index: (x * 0.09, -0.46, 0),
            7 + index: (x * 0.09, -0.86, 0),
            10 + index: (x * 0.09, -0.9, 0.13),
            13 + index: (x * 0.08, 0.42, 0),
            16 + index: (x * 0.18, 0.45, 0),
            18 + index: (x * 0.44, 0.45, 0),
            20 + index: (x * 0.69, 0.45, 0),
        }
    template = np.array([at[i] for i in range(22)], dtype=float)
    parents = [-1, 0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 9, 9, 12, 13, 14, 16, 17, 18, 19]
    shapes = np.zeros((22, 3, 2))
    shapes[:, :, 0] = 0.1 * template
    path = folder / "model.npz"
    np.savez(
        path,
        v_template=template,
        J_regressor=np.eye(22),
        shapedirs=shapes,
        kintree_table=np.array([parents, range(22)]),
    )
    return str(path)


def amass(path, frames: int = 60, **changes):
    """A body that stands upright in AMASS' z-up world and walks along x; `None` removes an array."""
    poses = np.zeros((frames, 156))
    poses[:, :3] = [2 * np.pi / 3 / np.sqrt(3)] * 3  # SMPL's axes (left, up, forward) to (y, z, x)
    poses[:, 3 * 4] = 0.5  # left knee
    trans = np.stack((np.linspace(0, 1, frames), np.zeros(frames), np.full(frames, 0.9)), axis=1)
    arrays = {"poses": poses, "trans": trans, "betas": np.zeros(16), "gender": "neutral", "mocap_framerate": 120.0}
    arrays |= changes
    np.savez(path, **{key: value for key, value in arrays.items() if value is not None})
    return path


@pytest.mark.parametrize(
    ("name", "frames", "leg"),
    [
        ("cmu_mocap/02_01.amc", 343, 0.84),
        ("cmu_mocap_bvh/cmu_12_01_walk.bvh", 523, 0.79),
        ("cmu_markers_c3d/cmu_02_05.c3d", 1854, 0.86),
        ("opensim_c3d_treadmill/walking2.c3d", 414, 0.90),
        ("opensim_core_walk3d/coordinates.sto", 1350, 0.80),
        ("opensim_core_walk3d/markers_walk.trc", 238, 0.84),
        ("opensim_models_gait_subject01/subject01_walk1_ik.mot", 73, 0.80),
        ("opencap_processing/walking1_videoAndMocap.mot", 158, 0.80),
        ("pyomeca_lifting/markers_analogs.c3d", 580, None),
    ],
)
def test_real_files_are_read(name, frames, leg):
    raw = read_motion(data_file(f"data/{name}"))
    assert raw.num_frames == frames
    assert leg_length(raw.positions) == (None if leg is None else pytest.approx(leg, abs=0.01))
    up = raw.orientations["thorax"][:, 2, 2]  # the trunk's axis against the vertical
    assert np.median(up) > 0.8
    for values in (*raw.positions.values(), *raw.orientations.values()):
        assert np.isfinite(values).all()


def test_one_trial_in_two_formats_agrees():
    """The same walk as joint angles of its skeleton and as axis-angle poses on straight limbs: same directions."""
    asf = read_motion(data_file("data/cmu_mocap/02_06.amc"))
    c3d = read_motion(data_file("data/cmu_markers_c3d/cmu_02_05.c3d"))
    for raw in (asf, c3d):  # upright, arms below shoulders at some time, feet in front of ankles
        p = raw.positions
        facing = raw.orientations["pelvis"][:, :2, 0]
        foot = (p["left_toe"] - p["left_ankle"])[:, :2]
        assert np.median(np.sum(facing * foot, axis=1)) > 0.05


def test_bvh_by_hand(tmp_path):
    (tmp_path / "stiff.bvh").write_text(bvh_text())
    raw = read_motion(tmp_path / "stiff.bvh")
    p = raw.positions
    assert raw.rate == 100 and leg_length(p) == pytest.approx(0.82)  # centimetres were recognised
    np.testing.assert_allclose(p["pelvis"][-1], [0.39, 0, 0.9], atol=1e-9)
    np.testing.assert_allclose(p["left_hip"][0], [0, 0.09, 0.9], atol=1e-9)  # z forward -> x, x left -> y, y up -> z
    np.testing.assert_allclose(p["left_knee"][0], [0, 0.09, 0.48], atol=1e-9)
    np.testing.assert_allclose(p["left_ankle"][0], [-0.40, 0.09, 0.48], atol=1e-9)  # bent: the shank points back
    np.testing.assert_allclose(p["right_ankle"][0], [0, -0.09, 0.08], atol=1e-9)
    np.testing.assert_allclose(raw.rest["left_ankle"], [0, 0.09, -0.82], atol=1e-9)


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"gender": b"female", "mocap_framerate": None, "mocap_frame_rate": 120.00004577},
        {"dmpls": np.zeros((60, 8)), "gender": np.array(b"male")},
        {"betas": np.zeros(10)},
    ],
)
def test_amass_variants(tmp_path, changes):
    raw = read_motion(amass(tmp_path / "a.npz", **changes), ReadOptions(smpl=body_model(tmp_path)))
    assert raw.rate == 120.0 and raw.num_frames == 60
    np.testing.assert_allclose(raw.positions["pelvis"][0], [0, 0, 0.82], atol=1e-9)
    np.testing.assert_allclose(raw.positions["left_hip"][0], [0, 0.09, 0.82], atol=1e-9)
    np.testing.assert_allclose(raw.orientations["pelvis"][0], np.eye(3), atol=1e-9)
    knee, ankle = raw.positions["left_knee"][0], raw.positions["left_ankle"][0]
    np.testing.assert_allclose(ankle - knee, [-0.4 * np.sin(0.5), 0, -0.4 * np.cos(0.5)], atol=1e-9)


def test_betas_and_smplx_arrays(tmp_path):
    model = body_model(tmp_path)
    betas = np.zeros(16)
    betas[0] = 1.0
    tall = read_motion(amass(tmp_path / "a.npz", betas=betas), ReadOptions(smpl=model))
    assert leg_length(tall.positions) == pytest.approx(0.78 * 1.1)
    with np.load(amass(tmp_path / "b.npz")) as stored:
        poses = stored["poses"]
    amass(tmp_path / "c.npz", poses=None, root_orient=poses[:, :3], pose_body=poses[:, 3:66])
    same = [read_motion(tmp_path / f"{name}.npz", ReadOptions(smpl=model)).positions for name in "bc"]
    np.testing.assert_array_equal(same[0]["left_ankle"], same[1]["left_ankle"])


def test_real_amass_poses_with_a_straight_body(tmp_path):
    raw = read_motion(data_file("data/cmu_as_amass/CMU_02_01_walk_poses.npz"), ReadOptions(smpl=body_model(tmp_path)))
    asf = read_motion(data_file("data/cmu_mocap/02_01.amc"))
    assert raw.rate == asf.rate and raw.num_frames == asf.num_frames

    def knee(p):
        thigh, shank = p["left_hip"] - p["left_knee"], p["left_ankle"] - p["left_knee"]
        cosine = np.sum(thigh * shank, axis=1) / np.linalg.norm(thigh, axis=1) / np.linalg.norm(shank, axis=1)
        return np.degrees(np.arccos(cosine))

    assert np.abs(knee(raw.positions) - knee(asf.positions)).max() < 1.0  # both from the same recording


def test_gaps_are_filled_up_to_a_length(tmp_path):
    (tmp_path / "stiff.bvh").write_text(bvh_text(200))
    whole = read_motion(tmp_path / "stiff.bvh")
    hidden = whole.positions["left_knee"].copy()
    hidden[50:70] = np.nan
    filled = check(dataclasses.replace(whole, positions=whole.positions | {"left_knee": hidden}))
    np.testing.assert_allclose(filled.positions["left_knee"], whole.positions["left_knee"], atol=1e-6)
    hidden[50:90] = np.nan
    with pytest.raises(InputError, match=r"left_knee is missing for 0\.40 s"):
        check(dataclasses.replace(whole, positions=whole.positions | {"left_knee": hidden}))
    hidden = whole.positions["left_knee"].copy()
    hidden[:60] = np.nan  # at an end nothing is invented: the motion begins later
    assert check(dataclasses.replace(whole, positions=whole.positions | {"left_knee": hidden})).num_frames == 140


def test_rates_change_time_not_motion(tmp_path):
    time = np.arange(121) / 120
    raw = RawMotion("sine", 120.0, positions={"left_wrist": np.stack((np.sin(time), time, 0 * time), axis=1)})
    new = at_rate(raw, 100.0)
    assert new.num_frames == 101
    np.testing.assert_allclose(new.positions["left_wrist"][:, 0], np.sin(np.arange(101) / 100), atol=1e-6)


def test_errors_of_a_recording_are_reported(tmp_path):
    path = tmp_path / "walk.bvh"
    path.write_text(bvh_text(forward=-1))
    assert "left and right are swapped" in error_message(path)
    path.write_text(bvh_text(15))
    assert "at least 0.2 s" in error_message(path)
    path.write_text(bvh_text())
    assert "not in metres" in error_message(path, ReadOptions(unit=1.0))
    still = read_motion(path)
    frozen = {name: np.repeat(values[:1], 40, axis=0) for name, values in still.positions.items()}
    with pytest.raises(InputError, match="static trial"):
        check(dataclasses.replace(still, positions=frozen))
    path.write_text(bvh_text().replace("LeftUpLeg", "Gamba"))
    assert "left_hip" in error_message(path)


def test_amass_without_a_model_reports_where_to_get_it(tmp_path):
    expected = error_message(amass(tmp_path / "a.npz"))
    assert "mano.is.tue.mpg.de" in expected and "smpl=" in expected
    assert "pickle" in error_message(tmp_path / "a.npz", ReadOptions(smpl=str(tmp_path / "SMPLH_neutral.pkl")))
    model = body_model(tmp_path)
    assert "frame rate" in error_message(amass(tmp_path / "b.npz", mocap_framerate=None), ReadOptions(smpl=model))
    assert "trans" in error_message(amass(tmp_path / "c.npz", trans=np.zeros((3, 3))), ReadOptions(smpl=model))


CUT = [
    "cmu_mocap/02_01.amc",
    "cmu_mocap_bvh/cmu_12_01_walk.bvh",
    "cmu_markers_c3d/cmu_02_05.c3d",
    "opensim_core_walk3d/coordinates.sto",
    "opensim_core_walk3d/markers_walk.trc",
    "cmu_as_amass/CMU_02_01_walk_poses.npz",
]


@pytest.mark.parametrize("name", CUT)
def test_truncated_files_are_reported(tmp_path, name):
    source = data_file(f"data/{name}")
    path = tmp_path / source.name
    content = source.read_bytes()
    path.write_bytes(content[: len(content) * 2 // 3 + 5])
    if path.suffix == ".amc":
        shutil.copy(source.with_name("02.asf"), tmp_path)
    assert str(path) in error_message(path, ReadOptions(smpl=body_model(tmp_path)))


@pytest.mark.parametrize("suffix", READERS)
def test_invalid_arrays_are_not_a_motion(tmp_path, suffix):
    path = tmp_path / f"x{suffix}"
    path.write_bytes(b"this is no motion\n" * 20)
    assert str(path) in error_message(path, ReadOptions(smpl="nowhere"))
    path.write_bytes(b"")
    assert "is empty" in error_message(path)


def test_points_of_the_static_trial_are_attached_to_rigid_clusters():
    """A knee between a shank that turns by 90 degrees about x and a thigh whose markers slide: the shank carries it."""
    static = {
        "shank_1": np.array([0.05, 0.0, 0.3]),
        "shank_2": np.array([-0.05, 0.02, 0.25]),
        "shank_3": np.array([0.0, -0.05, 0.2]),
        "thigh_1": np.array([0.05, 0.0, 0.52]),
        "thigh_2": np.array([-0.05, 0.0, 0.55]),
        "far": np.array([0.0, 0.0, 1.5]),
    }
    turn = np.array([[1.0, 0.0, 0.0], [0.0, 0.0, -1.0], [0.0, 1.0, 0.0]])
    frames = np.stack([np.eye(3), turn])
    moving = {name: frames @ at + [0.0, 1.0, 0.0] for name, at in static.items()}
    for name in ("thigh_1", "thigh_2"):
        moving[name][1] += 0.2
    knee = np.array([0.0, 0.01, 0.5])
    result = carried(knee, static, moving)
    assert result is not None and result[1] == ("shank_1", "shank_2", "shank_3")
    np.testing.assert_allclose(result[0], [[0.0, 1.01, 0.5], [0.0, 0.5, 0.01]], atol=1e-12)
    assert carried(knee, static, {name: moving[name] for name in ("shank_1", "shank_2", "thigh_1")}) is None


def test_knees_come_from_the_static_trial():
    """A run whose file has clusters on thigh and shank, and no marker at knee or ankle."""
    path = data_file("data/opensim_models_rajagopal_run/motion_capture_run.trc")
    standing = data_file("data/opensim_models_rajagopal_run/static_run.trc")
    assert "left_knee" not in read_motion(path).positions
    p = read_motion(path, ReadOptions(static=str(standing))).positions
    for side, thigh, shank in (("left", 0.467, 0.410), ("right", 0.429, 0.428)):  # [m] in the static trial
        for upper, lower, length in (("hip", "knee", thigh), ("knee", "ankle", shank)):
            apart = np.linalg.norm(p[f"{side}_{upper}"] - p[f"{side}_{lower}"], axis=1)
            assert np.median(apart) == pytest.approx(length, abs=0.015)
            assert np.ptp(np.quantile(apart, [0.1, 0.9])) < 0.03  # the one rides on the pelvis, the other on the shank
    assert "static=nowhere" in error_message(path, ReadOptions(static="nowhere"))
    other = data_file("data/pyomeca_lifting/inverse_kin.mot")
    assert "ISB shoulder model" in error_message(other)


def test_unknown_markers_report_how_to_map_them(tmp_path):
    source = data_file("data/opensim_core_walk3d/markers_walk.trc").read_text()
    path = tmp_path / "odd.trc"
    path.write_text(source.replace("R.Shoulder", "Alpha").replace("L.Shoulder", "Beta"))
    expected = error_message(path)
    assert "markers=" in expected and "Alpha" in expected
    raw = read_motion(path, ReadOptions(markers={"RSHO": "Alpha", "LSHO": "Beta"}))
    assert "left_elbow" in raw.positions
    assert "did you mean 'RSHO'" in error_message(path, ReadOptions(markers={"RSHOO": "Alpha"}))
