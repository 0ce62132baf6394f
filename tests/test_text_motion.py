"""Joint positions of text-to-motion models: made here from a generated walk, read back, and retargeted to a body."""

import numpy as np
import pytest
from scipy.spatial.transform import Rotation
from test_retargeting_readers import body_model

from muscle_torch.embodiments import make_embodiment
from muscle_torch.errors import InputError
from muscle_torch.motion import MotionClip, generate
from muscle_torch.retargeting import ReadOptions, Retargeter, read_motion
from muscle_torch.retargeting.raw import at_rate
from muscle_torch.retargeting.readers.amass import JOINTS
from muscle_torch.retargeting.readers.smpl_parameters import axis_angles
from muscle_torch.retargeting.run import find_jobs

RATE = 20.0
Y_UP = np.array([[1.0, 0.0, 0.0], [0.0, 0.0, 1.0], [0.0, -1.0, 0.0]])  # world with z up -> file with y up
# From the hips to the first joint of the spine, and from the third to the neck, in SMPL's rest pose [m].
SPINE1, NECK = np.array([-0.0212, 0.0, 0.2]), np.array([-0.0429, 0.0, 0.2139])


@pytest.fixture(scope="module")
def walk(tmp_path_factory):
    """Two seconds of the generated walk as landmarks, at the rate of text-to-motion models."""
    path = tmp_path_factory.mktemp("walk") / "walk.npz"
    (clip,) = generate("walk", make_embodiment("fullbody"))
    clip.save(path)
    return at_rate(read_motion(path), RATE)


def smpl_joints(raw, count: int = 22) -> np.ndarray:
    """Positions (T, J, 3), y up; the spine turns with pelvis and thorax, collars and hands are not used."""
    p = raw.positions | {"head": raw.positions["neck"] + [0.0, 0.0, 0.15]}
    joints = np.zeros((raw.num_frames, count, 3))
    pelvis = (p["left_hip"] + p["right_hip"]) / 2
    joints[:, 3] = pelvis + raw.orientations["pelvis"] @ SPINE1
    joints[:, 9] = p["neck"] - raw.orientations["thorax"] @ NECK
    for name, index in JOINTS.items():
        joints[:, index] = p[name]
    return joints @ Y_UP.T


def test_positions_come_back_as_they_were(walk, tmp_path):
    """All layouts and both joint counts, y up, at the true rate."""
    joints = smpl_joints(walk)
    files = {
        "walk.npy": joints,
        "mdm.npy": np.moveaxis(joints, 0, -1).astype(np.float32),
        "hands.npy": smpl_joints(walk, 24),
    }
    for name, values in files.items():
        np.save(tmp_path / name, values)
        raw = read_motion(tmp_path / name, ReadOptions(rate=RATE))
        assert raw.rate == RATE and raw.num_frames == walk.num_frames
        for landmark in JOINTS.keys() - {"head"}:
            assert np.allclose(raw.positions[landmark], walk.positions[landmark], atol=1e-6), (name, landmark)
        for segment in ("pelvis", "thorax"):
            turned = raw.orientations[segment] @ walk.orientations[segment].transpose(0, 2, 1)
            # Spine and shoulders of the body are not in one plane exactly.
            assert Rotation.from_matrix(turned).magnitude().max() < np.radians(2), (name, segment)
    np.savez(tmp_path / "rated.npz", joints=joints, fps=RATE)
    raw = read_motion(tmp_path / "rated.npz")
    assert raw.rate == RATE and raw.duration == pytest.approx(walk.duration)
    assert read_motion(tmp_path / "rated.npz", ReadOptions(rate=25.0)).rate == 25.0


def test_a_file_of_several_motions_becomes_several_clips(walk, tmp_path):
    joints = np.moveaxis(smpl_joints(walk), 0, -1)
    np.save(tmp_path / "samples.npy", np.stack([joints, joints + 0.5, joints]))
    jobs = find_jobs(str(tmp_path / "samples.npy"))
    assert [job.name for job in jobs] == ["samples_0", "samples_1", "samples_2"]
    raw = read_motion(tmp_path / "samples.npy", ReadOptions(rate=RATE, part=1))
    assert np.allclose(raw.positions["neck"], walk.positions["neck"] + [0.5, -0.5, 0.5], atol=1e-6)


def test_the_walk_is_retargeted_to_the_walk(walk, tmp_path):
    """The clip that comes out walks as far and bends its knees as much as the one that went in."""
    np.save(tmp_path / "walk.npy", smpl_joints(walk))
    raw = read_motion(tmp_path / "walk.npy", ReadOptions(rate=RATE))
    clip = Retargeter("fullbody")(raw).clip
    (original,) = generate("walk", make_embodiment("fullbody"))
    assert isinstance(clip, MotionClip) and clip.duration == pytest.approx(walk.duration, abs=0.06)
    travelled = [np.linalg.norm(one.qpos[-1, :2] - one.qpos[0, :2]) for one in (clip, original)]
    assert travelled[0] == pytest.approx(travelled[1], rel=0.05)
    for joint in ("knee_angle_r", "hip_flexion_l"):
        angles = [one.qpos[:, one.joint_names.index(joint) + 6] for one in (clip, original)]
        times = [np.arange(len(a)) / one.frequency for a, one in zip(angles, (clip, original), strict=True)]
        assert np.corrcoef(angles[0], np.interp(times[0], times[1], angles[1]))[0, 1] > 0.95, joint


def test_six_numbers_are_the_first_two_rows_of_a_rotation():
    turns = Rotation.random(20, random_state=0)
    rows = turns.as_matrix()[:, :2].reshape(20, 6)
    scaled = rows * np.repeat([[2.0, 0.5]], 3, axis=1).reshape(1, 6)
    assert np.allclose(Rotation.from_rotvec(axis_angles(scaled)).as_matrix(), turns.as_matrix(), atol=1e-12)


def test_smpl_parameters_of_mdm_are_read_like_amass(tmp_path):
    """The same rotations and path, once as MDM's thetas and once as AMASS's poses."""
    rng, frames = np.random.default_rng(0), 30
    poses = np.zeros((frames, 24, 3))
    poses[:, 1:3, 0] = 0.3 * np.sin(np.arange(frames) / 5)[:, None]
    poses[:, :, 1] = 0.02 * rng.standard_normal(24)
    trans = np.stack([0 * np.arange(frames), 0.9 + 0 * np.arange(frames), 0.03 * np.arange(frames)], axis=1)
    thetas = Rotation.from_rotvec(poses.reshape(-1, 3)).as_matrix()[:, :2].reshape(frames, 24, 6)
    smpl = body_model(tmp_path)
    np.savez(tmp_path / "a.npz", poses=poses.reshape(frames, -1), trans=trans, mocap_framerate=20)
    np.savez(tmp_path / "b.npz", thetas=np.moveaxis(thetas, 0, -1), root_translation=trans.T, fps=20)
    first, second = (read_motion(tmp_path / name, ReadOptions(smpl=smpl)) for name in ("a.npz", "b.npz"))
    assert first.rate == second.rate == 20
    for name, values in first.positions.items():
        assert np.allclose(values, second.positions[name], atol=1e-9), name


@pytest.mark.parametrize(
    ("values", "options", "message"),
    [
        (np.zeros((40, 22, 3)), {}, "no frame rate; set rate="),
        (np.zeros((40, 21, 3)), {"rate": 20}, "21 joints"),
        (np.zeros((40, 263)), {"rate": 20}, "recover_from_ric"),
        (np.zeros((40, 22)), {"rate": 20}, r"has shape \(40, 22\)"),
        (np.zeros((40, 22, 3)), {"rate": 2000000}, "the rate is 2e"),
        (np.full((40, 22, 3), np.nan), {"rate": 20}, "not numbers"),
        (np.array({"motion": 1}, dtype=object), {"rate": 20}, "pickled"),
        (np.zeros((2, 40, 22, 3)), {"rate": 20, "part": 2}, "has 2 motions"),
    ],
)
def test_what_is_no_motion_is_one_line(values, options, message, tmp_path):
    np.save(tmp_path / "x.npy", values)
    with pytest.raises(InputError, match=message) as error:
        read_motion(tmp_path / "x.npy", ReadOptions(**options))
    assert "\n" not in str(error.value)


def test_a_walk_at_a_wrong_rate_is_too_fast(walk, tmp_path):
    np.save(tmp_path / "x.npy", smpl_joints(walk))
    with pytest.raises(InputError, match="no person runs faster"):
        read_motion(tmp_path / "x.npy", ReadOptions(rate=400.0))
