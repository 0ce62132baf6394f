"""Motion files: round trips, and one-line errors with what, where and the remedy."""

import dataclasses
import warnings
from pathlib import Path

import numpy as np
import pytest
from conftest import data_file

from muscle_torch.embodiments import Embodiment, make_embodiment
from muscle_torch.errors import InputError
from muscle_torch.motion import MotionClip, generate, load_motion

BODIES = [("bimanual", "MyoBimanualArm"), ("fullbody", "MyoFullBody")]


@pytest.fixture(scope="module")
def arm() -> Embodiment:
    return make_embodiment("bimanual")


@pytest.fixture(scope="module")
def toy() -> Embodiment:
    return make_embodiment("toy_arm")


def error_message(motion, embodiment: Embodiment) -> str:
    with pytest.raises(InputError) as expected:
        load_motion(motion, embodiment)
    assert "\n" not in str(expected.value)
    return str(expected.value)


def edited(source: Path, target: Path, **changes) -> Path:
    """Return `source` with some arrays replaced; `None` removes one. The pickle `metadata` is dropped."""
    with np.load(source, allow_pickle=False) as stored:
        arrays = {key: stored[key] for key in stored.files if key != "metadata"}
    arrays.update(changes)
    np.savez(target, **{key: array for key, array in arrays.items() if array is not None})
    return target


def test_a_saved_clip_is_read_back(tmp_path, arm):
    clip = dataclasses.replace(generate("wave", arm)[0], source="here", licence="MIT")
    clip = dataclasses.replace(clip, qvel=np.ones_like(clip.qpos))
    read = MotionClip.load(clip.save(tmp_path / "new" / "wave.npz"))
    for field in dataclasses.fields(MotionClip):
        np.testing.assert_array_equal(getattr(read, field.name), getattr(clip, field.name))
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["wave.npz"]
    with np.load(tmp_path / "new" / "wave.npz", allow_pickle=False) as stored:
        assert not any(stored[key].dtype.hasobject for key in stored.files)


def test_inputs_are_files_folders_globs_or_lists(tmp_path, toy, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for clip in generate("all", toy):
        clip.save(tmp_path / "clips" / f"{clip.name}.npz")
    (tmp_path / "clips" / "reach_analysis.npz").write_bytes(b"the reference's companion file")
    names = [[clip.name for clip in load_motion(m, toy)] for m in ("clips", "clips/*.npz", "**/r*h.npz", "swing")]
    assert names == [["reach", "swing"], ["reach", "swing"], ["reach"], ["swing"]]
    several = load_motion(["swing", Path("clips/swing.npz"), ["all"]], toy)
    assert [clip.name for clip in several] == ["swing", "swing_2", "reach", "swing_3"]


@pytest.mark.parametrize(
    ("motion", "expected"),
    [
        ("", "motion is empty"),
        ("none.npz", "none.npz"),
        ("swnig", "did you mean 'swing'"),
        ("nothing/*.npz", "nothing/*.npz"),
        (["swing", "x/y.npz"], "x/y.npz"),
        (3, "motion=3"),
    ],
)
def test_missing_paths_are_reported(tmp_path, toy, monkeypatch, motion, expected):
    monkeypatch.chdir(tmp_path)
    assert expected in error_message(motion, toy)


def test_a_folder_without_motion_is_reported(tmp_path, toy):
    assert str(tmp_path) in error_message(tmp_path, toy)


@pytest.mark.parametrize(
    "content", [b"", b"frame,elbow\n0,0.1\n", b"PK\x03\x04 not a zip"], ids=["empty", "text", "head of a zip"]
)
def test_other_files_are_not_npz_archives(tmp_path, toy, content):
    path = tmp_path / "bad.npz"
    path.write_bytes(content)
    assert str(path) in error_message(path, toy)


def test_a_damaged_file_is_reported(tmp_path, toy):
    path = generate("swing", toy)[0].save(tmp_path / "bad.npz")
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    assert "again" in error_message(path, toy)
    start = whole.find(b"qpos.npy") + 60
    path.write_bytes(whole[:start] + bytes(40) + whole[start + 40 :])
    assert "damaged" in error_message(path, toy)


def test_pickles_are_never_loaded(tmp_path, toy):
    path = generate("swing", toy)[0].save(tmp_path / "bad.npz")
    edited(path, path, qpos=np.array([{"a": 1}], dtype=object))
    assert "lacks qpos" in error_message(path, toy)


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"qpos": np.zeros((1, 1))}, "1 frame, a motion needs at least 2"),
        ({"qpos": np.zeros((0, 1))}, "0 frames"),
        ({"qpos": np.where(np.arange(9)[:, None] == 7, np.nan, 0.0)}, "joint 'elbow' is nan in frame 7"),
        ({"qpos": np.zeros((9, 3))}, "(9, 3)"),
        ({"qpos": np.array(["a", "b"])}, "numbers"),
        ({"qvel": np.zeros((9, 1))}, "qvel has shape (9, 1)"),
        ({"frequency": np.array(0.0)}, "frequency"),
        ({"frequency": np.array([100.0, 100.0])}, "frequency"),
        ({"frequency": np.array(1e6)}, "less than one control step"),
        ({"joint_names": np.array(["knee"])}, "elbow"),
        ({"embodiment": np.array("MyoFullBody")}, "MyoFullBody"),
        ({"model_version": np.array("toy-0")}, "toy-0"),
        ({"model_version": None}, "lacks model_version"),
    ],
)
def test_bad_content_is_reported(tmp_path, toy, changes, expected):
    from muscle_torch.motion import MotionLibrary

    path = edited(generate("swing", toy)[0].save(tmp_path / "bad.npz"), tmp_path / "bad.npz", **changes)
    with pytest.raises(InputError) as error:
        MotionLibrary(load_motion(path, toy), toy, cache=False)
    assert expected in str(error.value)


@pytest.mark.parametrize(("body", "folder"), BODIES)
@pytest.mark.parametrize("fingers", [False, True])
def test_every_published_format_clip_loads(body, folder, fingers):
    path = data_file(f"data/clips/{'fingers_on/' if fingers else ''}{folder}")
    embodiment = make_embodiment(body, fingers=fingers)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        clips = load_motion(path, embodiment)
    assert len(clips) == 3
    assert all(clip.joint_names == embodiment.joint_names and clip.qvel is not None for clip in clips)


def test_a_file_of_several_clips_is_split(arm):
    clips = load_motion(data_file("oracle/bimanual_traj.npz"), arm)
    assert [(clip.name, clip.num_frames) for clip in clips] == [("bimanual_traj_0", 200), ("bimanual_traj_1", 150)]


def test_joints_are_matched_by_name(tmp_path, arm):
    """Columns are reordered; fingers are dropped, or zero if the file has none."""
    path = data_file("data/clips/MyoBimanualArm/cmu_02_05_punch.npz")
    ours = load_motion(path, arm)[0]
    order = np.random.default_rng(0).permutation(len(ours.joint_names))
    shuffled = edited(
        path,
        tmp_path / "shuffled.npz",
        joint_names=np.array(ours.joint_names)[order],
        qpos=ours.qpos[:, order],
        qvel=ours.qvel[:, order],
    )
    read = load_motion(shuffled, arm)[0]
    np.testing.assert_array_equal(read.qpos, ours.qpos)
    np.testing.assert_array_equal(read.qvel, ours.qvel)

    with_fingers = make_embodiment("bimanual", fingers=True)
    wide = load_motion(path, with_fingers)[0]
    ids = [with_fingers.joint_names.index(name) for name in arm.joint_names]
    np.testing.assert_array_equal(wide.qpos[:, ids], ours.qpos)
    assert wide.qpos.shape[1] == 76 and not np.delete(wide.qpos, ids, axis=1).any()
    narrow = load_motion(data_file("data/clips/fingers_on/MyoBimanualArm/cmu_02_05_punch.npz"), arm)[0]
    np.testing.assert_allclose(narrow.qpos, ours.qpos, atol=1e-6)


def test_the_root_keeps_its_place_among_shuffled_joints(tmp_path):
    body = make_embodiment("fullbody")
    path = data_file("data/clips/MyoFullBody/cmu_02_01_walk.npz")
    ours = load_motion(path, body)[0]
    order = 1 + np.random.default_rng(0).permutation(len(ours.joint_names) - 1)
    columns = np.concatenate((np.arange(7), order + 6))
    shuffled = edited(
        path,
        tmp_path / "shuffled.npz",
        joint_names=np.array(ours.joint_names)[np.concatenate(([0], order))],
        jnt_type=None,
        qpos=ours.qpos[:, columns],
        qvel=ours.qvel[:, np.concatenate((np.arange(6), order + 5))],
    )
    read = load_motion(shuffled, body)[0]
    np.testing.assert_array_equal(read.qpos, ours.qpos)
    np.testing.assert_array_equal(read.qvel, ours.qvel)


def test_coupled_joints_may_be_left_out(arm):
    """The equalities give the coupled joints of a clip of independent joints."""
    whole = generate("drink", arm)[0]
    coupled = {i for i, a in enumerate(arm.model.jnt_qposadr) if a in arm.dependent.qpos_ids}
    kept = [i for i in range(len(arm.joint_names)) if i not in coupled]
    part = dataclasses.replace(whole, qpos=whole.qpos[:, kept], joint_names=tuple(whole.joint_names[i] for i in kept))
    from muscle_torch.motion.joints import fit_to

    np.testing.assert_allclose(fit_to(part, arm).qpos, whole.qpos, atol=1e-6)


def test_a_missing_joint_causes_a_warning(arm):
    whole = generate("drink", arm)[0]
    lost = whole.joint_names.index("pro_sup_l")
    part = dataclasses.replace(
        whole,
        qpos=np.delete(whole.qpos, lost, axis=1),
        joint_names=tuple(name for name in whole.joint_names if name != "pro_sup_l"),
    )
    from muscle_torch.motion.joints import fit_to

    with pytest.warns(UserWarning, match="pro_sup_l"):
        fitted = fit_to(part, arm)
    assert not fitted.qpos[:, lost].any()


@pytest.mark.parametrize("body", ["bimanual", "fullbody"])
def test_a_motion_of_another_body_is_rejected(body):
    other = "MyoFullBody/cmu_02_01_walk" if body == "bimanual" else "MyoBimanualArm/cmu_02_05_punch"
    assert "another body" in error_message(data_file(f"data/clips/{other}.npz"), make_embodiment(body))


def test_another_version_of_the_body_is_rejected(tmp_path):
    """Version 1.0.5 has another left knee; the trajectory file contains body positions."""
    path = data_file("data/clips/MyoFullBody/cmu_02_01_walk.npz")
    with np.load(path, allow_pickle=False) as stored:
        pos, names = stored["body_pos"], stored["body_names"].tolist()
    pos[names.index("tibia_l")] += 0.002
    moved = edited(path, tmp_path / "moved.npz", body_pos=pos)
    assert "'tibia_l'" in error_message(moved, make_embodiment("fullbody"))


@pytest.mark.parametrize("splits", [[0, 60, 40, 350], [0, 200], [5, 350], [0, 200, 200, 350], [350]])
def test_splits_must_divide_the_frames(tmp_path, arm, splits):
    source = data_file("oracle/bimanual_traj.npz")
    assert "split_points" in error_message(edited(source, tmp_path / "bad.npz", split_points=np.array(splits)), arm)
