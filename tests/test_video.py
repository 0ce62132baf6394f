"""Images and videos, rendered and compared as arrays."""

import re
import subprocess
import sys

import imageio_ffmpeg
import numpy as np
import pytest

from muscle_torch.embodiments import make_embodiment
from muscle_torch.envs import make_env
from muscle_torch.errors import InputError
from muscle_torch.evaluation import PolicyController, Trajectory, ZeroController, play
from muscle_torch.models import make_policy
from muscle_torch.rendering import scene, video
from muscle_torch.rendering.colors import BACKGROUND
from muscle_torch.rendering.ribcage import visible_faces


@pytest.fixture(scope="module")
def renderer():
    try:
        made = scene.SceneRenderer(make_embodiment("toy_arm"), 160, 120)
    except InputError as error:
        pytest.skip(str(error))
    with made:
        yield made


def _reddish(image: np.ndarray) -> int:
    image = image.astype(int)
    return int(((image[..., 0] - image[..., 1] > 60) & (image[..., 0] - image[..., 2] > 60)).sum())


def _greenish(image: np.ndarray) -> int:
    image = image.astype(int)
    return int(((image[..., 1] - image[..., 0] > 60) & (image[..., 1] - image[..., 2] > 10)).sum())


def _purplish(image: np.ndarray) -> np.ndarray:
    image = image.astype(int)
    return (image[..., 0] - image[..., 1] > 60) & (image[..., 2] - image[..., 1] > 30)


def test_the_body_is_in_the_picture_and_moves(renderer):
    renderer.aim(np.array([[0.0], [2.0]]))
    straight, bent = renderer.draw(np.array([0.0])), renderer.draw(np.array([2.0]))
    assert straight.shape == (120, 160, 3) and straight.dtype == np.uint8
    changed = np.abs(straight.astype(int) - bent).max(axis=-1) > 40
    assert 0.01 < changed.mean() < 0.5
    assert not changed[:, [0, -1]].any() and not changed[[0, -1]].any()  # the camera holds both poses
    assert np.array_equal(renderer.draw(np.array([0.0])), straight)


def test_active_muscles_are_orange_and_the_ghost_is_green(renderer):
    pose = np.array([1.0])
    relaxed, active = (renderer.draw(pose, activation=np.full(2, level)) for level in (0.0, 1.0))
    assert _reddish(active) > _reddish(relaxed) + 20
    ghost = renderer.draw(pose, reference=np.array([0.3]))
    assert _greenish(ghost) > _greenish(renderer.draw(pose)) + 50


def test_landmarks_are_spheres_where_they_were_recorded(renderer):
    """Two points half a metre apart: two purple spots, of the same size, none without landmarks."""

    pose = np.array([1.0])
    renderer.aim(pose[None])
    points = np.array([[0.14, -0.03, 1.33], [0.14, 0.03, 0.79]])
    one, two = (_purplish(renderer.draw(pose, landmarks=points[:count])) for count in (1, 2))
    assert not _purplish(renderer.draw(pose)).any() and one.sum() > 3
    assert two[one].all() and two.sum() == pytest.approx(2 * one.sum(), rel=0.5)


def test_the_camera_holds_landmarks_far_from_the_body(renderer):
    """A point a metre beside the arm is in the picture, whole, once the camera was aimed at it too."""

    pose, away = np.array([1.0]), np.array([[1.2, 0.0, 1.0]])
    renderer.aim([pose])
    assert not _purplish(renderer.draw(pose, landmarks=away)).any()
    renderer.aim([pose], landmarks=[away])
    spot = _purplish(renderer.draw(pose, landmarks=away))
    assert spot.sum() > 3 and not spot[:, [0, -1]].any() and not spot[[0, -1]].any()


def test_video_has_the_requested_length_size_and_rate(tmp_path, renderer):
    qpos = np.linspace(0, 2, 101)[:, None]
    trajectory = Trajectory("bend", qpos, 100.0, reference=qpos * 0.5, activation=np.tile(qpos / 2, 2))
    output = tmp_path / "new" / "bend.mp4"
    progress = []
    video.render(
        make_embodiment("toy_arm"),
        [trajectory],
        output,
        width=160,
        height=120,
        fps=20,
        speed=2.0,
        progress=lambda done, total: progress.append((done, total)),
    )
    frames, seconds = imageio_ffmpeg.count_frames_and_secs(str(output))
    assert frames == 11 and seconds == pytest.approx(0.55, abs=0.06)
    assert progress[-1] == (11, 11)
    details = next(imageio_ffmpeg.read_frames(str(output)))
    assert details["size"] == (160, 120) and details["fps"] == 20
    assert [path.name for path in output.parent.iterdir()] == ["bend.mp4"]


def test_a_grid_shows_all_motions_at_once(tmp_path, renderer):
    """Five motions in a 2 x 3 grid at one scale; short ones wait, and the sixth cell is empty."""
    lengths = (101, 51, 51, 21, 21)
    played = [Trajectory(f"bend {n}", np.linspace(0, 2, n)[:, None], 100.0) for n in lengths]
    output = tmp_path / "grid.mp4"
    video.render(make_embodiment("toy_arm"), played, output, width=160, height=120, fps=20, grid=True)
    assert imageio_ffmpeg.count_frames_and_secs(str(output))[0] == 21
    frames = imageio_ffmpeg.read_frames(str(output))
    assert next(frames)["size"] == (480, 240)
    last = np.frombuffer(list(frames)[-1], np.uint8).reshape(240, 480, 3)
    assert (np.abs(last[120:, 320:].astype(int) - BACKGROUND) < 8).all()  # nothing to show there
    drawn = last.reshape(2, 120, 3, 160, 3).astype(int)
    for row, column in ((0, 0), (0, 1), (0, 2), (1, 0), (1, 1)):
        assert drawn[row, :, column].std() > 5
    assert np.abs(drawn[0, :90, 0] - drawn[1, :90, 0]).mean() < 2  # all wait, or stand, on the same last pose
    with pytest.raises(InputError, match="reduce width="):
        video.render(make_embodiment("toy_arm"), played, output, width=4000, height=64, grid=True)


@pytest.mark.parametrize(
    ("count", "shape"), [(1, (1, 1)), (3, (1, 3)), (4, (2, 2)), (8, (2, 4)), (9, (3, 3)), (10, (3, 4))]
)
def test_grids_leave_few_cells_empty(count, shape):
    assert video.grid_shape(count) == shape


def test_an_image_has_a_key_of_the_activation_colors(renderer):
    """Without activations there is nothing to explain."""
    with scene.SceneRenderer(renderer.embodiment, 480, 320) as large:
        plain, keyed = (large.draw(np.zeros(1), activation=values) for values in (None, np.zeros(2)))
    assert _reddish(keyed[-60:, -160:]) > 100 and _reddish(plain[-60:, -160:]) == 0


def test_the_badge_on_the_sternum_is_not_drawn():
    """It holds 15,482 of the 21,216 faces of the ribcage's mesh; ribs and sternum stay."""
    model = make_embodiment("bimanual").whole_model
    mesh = model.mesh("thorax").id
    shown = visible_faces(model, mesh)
    faces = model.mesh_face[model.mesh_faceadr[mesh] :][: len(shown)][shown]
    vertices = model.mesh_vert[model.mesh_vertadr[mesh] :][faces.ravel()]
    assert 5_000 < shown.sum() < len(shown) - 15_000
    low, high = np.min(vertices, axis=0), np.max(vertices, axis=0)
    everything = model.mesh_vert[model.mesh_vertadr[mesh] :][: model.mesh_vertnum[mesh]]
    np.testing.assert_allclose(high[1:], everything.max(axis=0)[1:], atol=1e-6)
    np.testing.assert_allclose(low, everything.min(axis=0), atol=1e-6)
    assert visible_faces(model, model.mesh("humerus_r").id).all()


@pytest.mark.parametrize("num_envs", [1, 3])
def test_every_clip_is_recorded_from_start_to_end(num_envs):
    """For any number of environments; the relaxed arm starts on the motion and falls."""
    options = {"device": "cpu", "backend": "mujoco", "threads": 1, "observation": {"terms": ["joint_pos"]}}
    env = make_env("toy_arm", num_envs=num_envs, motion="all", evaluation=True, **options)
    played = play(env, ZeroController(), max_seconds=60)
    assert [trajectory.name for trajectory in played] == list(env.goal.library.names)
    assert [len(trajectory.qpos) for trajectory in played] == env.goal.library.length.tolist()
    for trajectory in played:
        np.testing.assert_allclose(trajectory.qpos[0], trajectory.reference[0], atol=1e-5)
        assert np.abs(trajectory.qpos - trajectory.reference).max() > 0.3
        assert trajectory.activation.shape == (len(trajectory.qpos), 2) and not trajectory.activation.any()
    policy = make_policy("mlp", env)
    assert all(len(short.qpos) == 51 for short in play(env, PolicyController(policy), max_seconds=0.5))
    assert policy.training
    env.close()


def test_still_is_a_png(tmp_path, renderer):
    from matplotlib.image import imread

    output = tmp_path / "pose.png"
    video.render_still(renderer.embodiment, Trajectory("x", np.array([[1.0]]), 100.0), output, 0.0, 160, 120)
    assert imread(output).shape[:2] == (120, 160)


def test_an_animation_for_web_pages_has_every_frame(tmp_path, renderer):
    from PIL import Image

    swing = Trajectory("x", np.linspace(0, 1, 51)[:, None], 100.0)
    video.render(renderer.embodiment, [swing], tmp_path / "x.webp", width=96, height=64, fps=20)
    with Image.open(tmp_path / "x.webp") as picture:
        assert (picture.n_frames, picture.size, picture.info["loop"]) == (11, (96, 64), 0)
        picture.seek(1)
        picture.load()
        assert picture.info["duration"] == 50


def test_filming_as_part_of_a_run_raises_one_line_whatever_fails(tmp_path, renderer, monkeypatch):
    """Driver errors become InputError, programming errors do not."""
    still = [Trajectory("x", np.zeros((2, 1)), 100.0)]
    for raised, expected in ((RuntimeError("the driver died"), InputError), (ValueError("a mistake"), ValueError)):

        def broken(*_, error=raised, **__):
            raise error

        monkeypatch.setattr(scene.SceneRenderer, "draw", broken)
        with pytest.raises(expected, match=str(raised)) as caught:
            video.film(renderer.embodiment, still, tmp_path / "x.mp4", width=64, height=64)
        assert caught.type is expected
    assert not list(tmp_path.iterdir())


def test_bad_sizes_and_no_motion_are_reported(tmp_path):
    with pytest.raises(InputError, match="161 x 120"):
        scene.SceneRenderer(make_embodiment("toy_arm"), 161, 120)
    with pytest.raises(InputError, match="no motion"):
        video.render(make_embodiment("toy_arm"), [], tmp_path / "x.mp4")


def test_without_opengl_the_remedy_is_one_line(monkeypatch):
    monkeypatch.setattr(scene.platform, "system", lambda: "Linux")
    monkeypatch.setattr(scene, "PROBE", "raise SystemExit(1)")
    monkeypatch.setenv("MUJOCO_GL", "osmesa")
    scene.choose_gl.cache_clear()
    with pytest.raises(InputError, match="apt-get install libosmesa6") as caught:
        scene.choose_gl()
    assert "\n" not in str(caught.value) and "MUJOCO_GL=osmesa" in str(caught.value)
    scene.choose_gl.cache_clear()


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["output=x.gif"], "must end in .mp4, .webp or .png"),
        (["fps=0"], "fps=0"),
        (["speeed=1"], "'speed'"),
        (["task=toy"], "toy_arm"),
    ],
)
def test_command_line_errors_are_one_line(words, expected, tmp_path):
    ran = subprocess.run(
        [sys.executable, "-m", "muscle_torch.tools.render", *words], capture_output=True, text=True, cwd=tmp_path
    )
    assert ran.returncode == 2
    assert re.fullmatch(r"error: .*\n", ran.stderr) and expected in ran.stderr


def test_command_shows_a_generated_motion(tmp_path, renderer):
    words = ["task=toy_arm", "motion=all", "output=x.mp4", "width=64", "height=64", "max_seconds=0.2"]
    command = [sys.executable, "-m", "muscle_torch.tools.render", *words]
    ran = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path)
    assert ran.returncode == 0, ran.stderr
    assert imageio_ffmpeg.count_frames_and_secs(str(tmp_path / "x.mp4"))[0] >= 7
