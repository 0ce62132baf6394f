"""Joint angles by stac-mjx: the published clips of the mouse, jumps that are bridged, clips of another arm."""

import shutil
from pathlib import Path

import numpy as np
import pytest
from conftest import data_file

from muscle_torch.embodiments import make_embodiment
from muscle_torch.errors import InputError
from muscle_torch.motion import MotionLibrary, generate, load_motion
from muscle_torch.motion.stac_file import LARGEST_STEP, bridged

FOLDER = "data/mouse_forelimb"
H5 = "A36-1_2023-07-18_16-54-01_lightOff_trial01_ik.h5"


@pytest.fixture(scope="module")
def arm():
    return make_embodiment("mouse", path=str(data_file(f"{FOLDER}/mouse_arm_no_meshes.xml")))


@pytest.fixture(scope="module")
def clips(arm):
    return load_motion(f"{data_file(FOLDER)}/*.npz", arm)


def stored(name: str) -> dict[str, np.ndarray]:
    with np.load(data_file(f"{FOLDER}/{name}.npz")) as file:
        return dict(file)


def test_the_published_clips_are_read_and_mended(arm, clips):
    """Nothing changes but a few frames beside a jump, and there the steps are those of a fast reach."""
    assert len(clips) == 10 and {(clip.num_frames, clip.frequency) for clip in clips} == {(100, 200.0)}
    jumps = 0
    for clip in clips:
        qpos = stored(clip.name)["qpos"]
        steps = np.abs(np.diff(qpos, axis=0)).max(axis=1)
        changed = np.flatnonzero((clip.qpos != qpos).any(axis=1))
        jumps += int((steps > LARGEST_STEP).sum())
        assert np.abs(np.diff(clip.qpos, axis=0)).max() <= LARGEST_STEP
        assert clip.joint_names == arm.joint_names and clip.qvel is None
        for frame in changed:
            assert np.abs(np.flatnonzero(steps > LARGEST_STEP) + 0.5 - frame).min() < 5
        assert (len(changed) > 0) == bool((steps > LARGEST_STEP).any())
    assert jumps == 6


def test_velocities_are_those_of_the_mended_angles(arm, clips):
    """The files clip them at 20 rad/s; here they integrate back to the angles."""
    assert all(np.abs(stored(clip.name)["qvel"]).max() <= 20 for clip in clips)
    library = MotionLibrary(clips[:2], arm, cache=False)
    assert library.length.tolist() == [199, 199]
    for clip in range(2):
        rows = library.clip_rows(clip)
        qpos, qvel = library.qpos[rows].double().numpy(), library.qvel[rows].double().numpy()
        assert np.abs(qvel).max() > 25
        trapezoid = qpos[0] + np.cumsum((qvel[1:] + qvel[:-1]) / 2, axis=0) / arm.control_frequency
        assert np.abs(trapezoid - qpos[1:]).max() < 0.01


def test_a_trial_that_is_there_twice_counts_once(arm, tmp_path):
    for name, copy in (("A36-1_trial01", "a"), ("A36-1_trial04", "b"), ("A36-1_trial01", "again")):
        shutil.copy(data_file(f"{FOLDER}/{name}.npz"), tmp_path / f"{copy}.npz")
    assert [clip.name for clip in load_motion(tmp_path, arm)] == ["a", "b"]
    assert [clip.name for clip in load_motion([str(tmp_path / "b.npz"), str(tmp_path)], arm)] == ["b", "a"]
    ours = generate("reach_8", make_embodiment("mouse"))[0]  # motions that are no recordings stay as often as named
    path = ours.save(tmp_path / "ours" / "reach.npz")
    assert len(load_motion([str(path), str(path)], make_embodiment("mouse"))) == 2


def test_an_h5_file_is_the_same_clip(arm, tmp_path):
    pytest.importorskip("h5py")
    folder = data_file(FOLDER)
    (clip,) = load_motion(folder / H5, arm)
    (twin,) = load_motion(folder / "A36-1_trial01.npz", arm)
    np.testing.assert_array_equal(clip.qpos, twin.qpos)
    assert clip.joint_names == arm.joint_names and clip.frequency == twin.frequency
    assert len(load_motion(folder, arm)) == 10
    (tmp_path / "broken.h5").write_bytes((folder / H5).read_bytes()[:1000])
    with pytest.raises(InputError, match=r"broken.h5 is damaged or not an .h5 file") as caught:
        load_motion(tmp_path, arm)
    assert "\n" not in str(caught.value)


def ramp(frames: int = 40) -> np.ndarray:
    return np.stack((np.linspace(0, 1, frames), np.zeros(frames)), axis=1).astype(np.float32)


def test_a_jump_is_bridged_between_the_frames_beside_it():
    qpos = ramp()
    assert bridged(qpos, "x") is qpos
    qpos[20:, 1] += 0.5  # one step of 0.5 rad: over three steps a monotone cubic stays below 0.3
    mended = bridged(qpos, "x")
    assert np.flatnonzero((mended != qpos).any(axis=1)).tolist() == [19, 20]
    assert (np.diff(mended[:, 1]) >= 0).all() and np.abs(np.diff(mended, axis=0)).max() <= 0.3
    np.testing.assert_allclose(mended[:, 0], ramp()[:, 0], atol=1e-6)
    spike = ramp()
    spike[10, 1] = 2.0
    np.testing.assert_allclose(bridged(spike, "x"), ramp(), atol=1e-6)


@pytest.mark.parametrize("jump", [{"at": 0, "by": 1.0}, {"at": 20, "by": 9.0}, {"at": 38, "by": 1.0}])
def test_a_jump_that_cannot_be_mended_is_one_line(jump):
    qpos = ramp()
    qpos[jump["at"] + 1 :, 1] += jump["by"]
    message = rf"clip.npz: a jump of {jump['by']:.2f} rad after frame {jump['at']} cannot be bridged"
    with pytest.raises(InputError, match=message) as caught:
        bridged(qpos, "clip.npz")
    assert "\n" not in str(caught.value)


def other_joints(arrays: dict[str, np.ndarray]) -> None:
    arrays["joint_names"] = np.array(["sh_elv", "sh_extension", "sh_rotation", "knee"])


def elsewhere(arrays: dict[str, np.ndarray]) -> None:
    arrays["xpos"] = arrays["xpos"] + 0.003


def no_names(arrays: dict[str, np.ndarray]) -> None:
    del arrays["joint_names"]


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (other_joints, r"a clip of another arm: joints knee are in only one .*embodiment.path="),
        (elsewhere, r"a clip of another arm: .* body '\w+' is 5.\d mm from where MouseForelimb has it"),
        (no_names, r"not a file of joint angles by stac-mjx, it lacks joint_names"),
    ],
)
def test_clips_of_another_arm_are_one_line(arm, tmp_path, edit, message):
    arrays = stored("A36-1_trial01")
    edit(arrays)
    np.savez(tmp_path / "clip.npz", **arrays)
    with pytest.raises(InputError, match=message) as caught:
        load_motion(tmp_path / "clip.npz", arm)
    assert "\n" not in str(caught.value)


def test_published_clips_on_our_arm_are_refused_with_the_remedy(tmp_path):
    shutil.copy(data_file(f"{FOLDER}/A36-1_trial01.npz"), tmp_path)
    with pytest.raises(InputError, match=r"19.5 mm from where MouseArm has it; .*embodiment.path=") as caught:
        load_motion(tmp_path, make_embodiment("mouse"))
    assert "\n" not in str(caught.value)
    with pytest.raises(InputError, match=r"has no .npz or .h5 file"):
        load_motion(Path(tmp_path / "empty").mkdir() or tmp_path / "empty", make_embodiment("mouse"))


@pytest.mark.parametrize("path", ["", f"{FOLDER}/mouse_arm_no_meshes.xml"])
def test_reach_8_visits_eight_targets_on_a_circle(path):
    body = make_embodiment("mouse", path=path and str(data_file(path)))
    (clip,) = generate("reach_8", body)
    library = MotionLibrary([clip], body, cache=False)
    low, high = body.model.jnt_range.T
    assert (clip.qpos > low).all() and (clip.qpos < high).all()
    assert library.qvel[[0, -1]].abs().max() < 0.05
    wrist = library.site_pos[:, -1].double().numpy()
    away = np.linalg.norm(wrist - wrist[0], axis=1)
    rest = library.qvel.abs().max(dim=1).values.numpy() < 1e-3
    reached = wrist[rest & (away > 0.003)] - wrist[0]
    angles = np.unique(np.round(np.degrees(np.arctan2(reached[:, 2], reached[:, 0])) / 5) * 5 % 360)
    assert angles.tolist() == [0.0, 45.0, 90.0, 135.0, 180.0, 225.0, 270.0, 315.0]
    assert np.abs(np.linalg.norm(reached, axis=1) - 0.005).max() < 3e-4
