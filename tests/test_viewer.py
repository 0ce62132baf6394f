"""The viewer: playback state, the served scene, and the page in a real browser."""

import dataclasses
import shutil
import urllib.request
from contextlib import contextmanager

import mujoco
import numpy as np
import pytest
from commands import script
from conftest import data_file

from muscle_torch.embodiments import make_embodiment
from muscle_torch.errors import InputError
from muscle_torch.evaluation import Trajectory
from muscle_torch.motion import MotionClip
from muscle_torch.rendering.muscle_chart import chart_html, chart_rows
from muscle_torch.rendering.player import Frame, Player

pytest.importorskip("viser")

from muscle_torch.rendering.body_scene import BodyScene, body_meshes, muscle_segments, segment_colors
from muscle_torch.rendering.viewer import BrowserPage, Viewer

ARM = make_embodiment("toy_arm")
NAMES = ("flexor", "extensor")


def trajectory(name: str, seconds: float = 1.0, start: float = 0.0) -> Trajectory:
    """An elbow that bends by 1 rad/s from `start`; the flexor's activation rises from 0 to 1."""
    frames = round(seconds * 100) + 1
    bend = start + np.arange(frames)[:, None] / 100
    activation = np.stack([np.linspace(0, 1, frames), np.zeros(frames)], axis=1)
    return Trajectory(name, bend, 100.0, reference=bend + 0.3, activation=activation)


@pytest.fixture
def player():
    made = {"trained": lambda: [trajectory("bend"), trajectory("long", 3.0, 0.2)]}
    return Player(made | {"alone": lambda: [trajectory("long", 3.0, 0.5)]})


@pytest.fixture
def viewer(player):
    made = Viewer(player, ARM, port=8377)
    yield made
    made.close()


@pytest.fixture
def page(viewer):
    """A page without a browser: what all pages share."""
    return BrowserPage(viewer.server, viewer.player.copy(), ARM)


class Event:
    """Stands for the event that viser passes to a callback."""

    def __init__(self):
        self.client, self.messages = self, []

    def add_notification(self, title, body, **options):
        self.messages.append(body)


def test_time_passes_only_while_playing_and_begins_anew_at_the_end(player):
    assert player.advance(0.4) and player.time == pytest.approx(0.4)
    assert player.frame.qpos == pytest.approx(0.4) and player.frame.reference == pytest.approx(0.7)
    assert player.frame.activation == pytest.approx([0.4, 0.0])
    player.speed = 0.25
    player.advance(0.4)
    assert player.time == pytest.approx(0.5)
    player.playing = False
    assert not player.advance(1.0) and player.time == pytest.approx(0.5)
    player.playing = True
    player.advance(10.0)
    assert player.time == 0.0


def test_scrubbing_stays_inside_the_motion_and_steps_are_frames(player):
    player.seek(99.0)
    assert player.time == player.trajectory.seconds == 1.0 and player.frame.qpos == pytest.approx(1.0)
    player.seek(-3.0)
    assert player.time == 0.0
    player.seek(0.2)
    player.step(3)
    assert not player.playing and player.frame.qpos == pytest.approx(0.23)


def test_selecting_a_kind_keeps_shared_options(player):
    player.choose_clip("long")
    player.seek(2.0)
    player.choose_source("alone")  # the same motion, the same moment
    assert (player.source, player.trajectory.name, player.time) == ("alone", "long", 2.0)
    assert player.frame.qpos == pytest.approx(2.5)
    player.choose_source("trained")
    assert player.trajectory.name == "long"
    player.choose_clip("bend")
    assert player.time == 0.0
    player.seek(0.9)
    player.choose_source("alone")  # has no "bend"
    assert player.trajectory.name == "long"
    with pytest.raises(InputError, match="'trained'"):
        player.choose_source("traned")
    with pytest.raises(InputError, match="'long'"):
        player.choose_clip("lng")


def test_motion_sources_are_created_once_and_only_if_selected():
    calls = []
    sources = {name: lambda n=name: calls.append(n) or [trajectory("bend")] for name in ("a", "b")}
    player = Player(sources)
    assert calls == ["a"]
    for name in ("b", "a", "b"):
        player.choose_source(name)
    assert calls == ["a", "b"]
    with pytest.raises(InputError, match="nothing to show"):
        Player({})


def test_every_muscle_has_one_bar_as_long_as_its_activation():
    arms = make_embodiment("bimanual")
    rows = chart_rows(arms.groups, arms.left_right, arms.muscle_names)
    assert list(rows) == list(arms.groups)
    shown = [muscle for group in rows.values() for row in group for muscle in (row.left, row.right)]
    assert sorted(shown) == list(range(64))
    row = next(row for row in rows["elbow"] if row.label == "BIClong")
    assert [arms.muscle_names[muscle] for muscle in (row.left, row.right)] == ["BIClong_left", "BIClong"]
    single = chart_rows({"front": ("flexor",)}, (), NAMES)
    assert {group: [(row.label, row.left, row.right) for row in rows] for group, rows in single.items()} == {
        "front": [("flexor", None, 0)],
        "other": [("extensor", None, 1)],
    }
    html = chart_html([*single["front"], *single["other"]], NAMES, np.array([0.25, 1.7]))
    assert 'title="flexor 0.25"' in html and "width:25%" in html
    assert 'title="extensor 1.00"' in html and "width:100%" in html
    assert "width:0%" in chart_html(single["front"], NAMES, None)


def test_the_drawn_body_is_the_models():
    """Boxes around the drawn meshes against MuJoCo's own boxes around the same geometry."""
    for name in ("toy_arm", "bimanual"):
        model = make_embodiment(name).whole_model
        data = mujoco.MjData(model)
        mujoco.mj_forward(model, data)
        meshes = body_meshes(model)
        for body, (vertices, faces) in meshes.items():
            assert faces.max() == len(vertices) - 1
            geoms = [g for g in range(model.ngeom) if model.geom_bodyid[g] == body and model.geom_group[g] == 0]
            reach = max(
                float(np.linalg.norm(data.geom_xpos[g] - data.xpos[body]) + model.geom_rbound[g]) for g in geoms
            )
            assert np.linalg.norm(vertices, axis=1).max() <= reach * 1.001
    hand = body_meshes(ARM.model)[ARM.model.body("hand").id][0]
    assert np.allclose(np.abs(hand).max(0), [0.03, 0.02, 0.05], rtol=0.02)  # an ellipsoid
    upper = body_meshes(ARM.model)[ARM.model.body("upper_arm").id][0]
    assert upper[:, 2].min() == pytest.approx(-0.332, abs=2e-3) and upper[:, 2].max() == pytest.approx(0.03, abs=2e-3)


def test_the_page_shows_bones_that_are_not_simulated(viewer):
    arms = make_embodiment("bimanual")
    scene = BodyScene(viewer.server, arms)
    assert not body_meshes(arms.model) and set(scene.bodies) == set(body_meshes(arms.whole_model))
    assert {"humerus_r", "ulna_l", "lunate_l"} <= {arms.model.body(body).name for body in scene.bodies}
    data, hand = mujoco.MjData(arms.model), arms.model.body("lunate_l").id
    data.qpos[arms.joint_qpos_ids] = 0.3
    mujoco.mj_kinematics(arms.model, data)
    scene.draw(Frame(data.qpos, None, None))
    assert np.allclose(scene.bodies[hand].position, data.xpos[hand], atol=1e-6)


def test_muscles_are_drawn_along_their_paths_in_the_color_of_their_activation():
    model, data = ARM.model, mujoco.MjData(ARM.model)
    data.qpos[:] = 1.0
    mujoco.mj_forward(model, data)
    owner = np.array([0, 1])
    points, muscle = muscle_segments(model, data, owner)
    colors = segment_colors(muscle, np.array([1.0, 0.0]))
    lengths = np.linalg.norm(points[:, 1] - points[:, 0], axis=1)
    assert lengths[0] == pytest.approx(data.ten_length[0], rel=1e-5)  # the flexor is one straight line
    # the extensor bends around the elbow: chords are shorter than the arc, by little
    assert data.ten_length[1] * 0.95 < lengths[1:].sum() < data.ten_length[1]
    assert muscle[0] == 0 and (muscle[1 : 1 + np.sum(lengths > 0) - 1] == 1).all() and muscle[-1] == -1
    assert colors[0, 0, 0] > 250 and colors[0, 0, 2] < 5  # orange
    assert colors[1, 0, 2] > colors[1, 0, 0]  # blue, as all are without activations
    np.testing.assert_array_equal(segment_colors(muscle, None)[0], colors[1])


def test_the_scene_follows_the_player(page, viewer):
    hand = ARM.model.body("hand").id
    page.player.playing = False
    page.player.seek(0.5)
    page.refresh()
    data = mujoco.MjData(ARM.model)
    data.qpos[:] = 0.5
    mujoco.mj_kinematics(ARM.model, data)
    assert np.allclose(page.scene.bodies[hand].position, data.xpos[hand], atol=1e-6)
    data.qpos[:] = 0.8
    mujoco.mj_kinematics(ARM.model, data)
    assert page.scene.ghosts[hand].visible
    assert np.allclose(page.scene.ghosts[hand].position, data.xpos[hand], atol=1e-6)
    assert "flexor 0.50" in page.chart.content and page.slider.value == 0.5
    assert urllib.request.urlopen(viewer.url, timeout=10).status == 200


def test_the_controls_move_the_player(page):
    event = Event()
    page.clip.value = "long"
    page._user_callback(lambda: page._choose_clip(page.clip.value))(event)
    assert page.player.trajectory.name == "long" and page.slider.max == 3.0
    page._user_callback(page._toggle)(event)
    assert not page.player.playing and page.play.label == "play"
    page.ghost.value = False
    page._user_callback(lambda: None)(event)
    page.tick(0.1)
    assert not any(handle.visible for handle in page.scene.ghosts.values())
    page.highlight.value = "extensor"
    page._user_callback(lambda: None)(event)
    page.tick(0.1)
    assert page.scene.highlighted.visible
    drawn = np.linalg.norm(np.diff(page.scene.highlighted.points, axis=1)[:, 0], axis=1).sum()
    assert drawn == pytest.approx(page.scene._data.ten_length[1], rel=0.05)
    page._user_callback(lambda: page._choose_source("nobody"))(event)
    assert "nobody" in event.messages[0]  # the browser shows the message, and the page stays usable
    page.tick(0.1)


def test_pages_play_independently(viewer, player):
    """Each page starts at the beginning, playing, whatever another one does."""
    another = Viewer(player, ARM, port=8378)
    first, second = (BrowserPage(made.server, player.copy(), ARM) for made in (viewer, another))
    viewer.pages = {0: first, 1: second}
    first._toggle()
    viewer.tick(0.25)
    assert (first.player.time, second.player.time) == (0.0, pytest.approx(0.25))
    second.player.choose_source("alone")
    assert first.player.source == "trained"
    another.close()


def test_the_camera_shows_the_whole_body_from_near():
    """The body covers more than half of the view's height and stays inside."""
    for name in ("toy_arm", "bimanual"):
        scene = BodyScene(
            Viewer(Player({"a": lambda: [trajectory("bend")]}), ARM, port=8391).server, make_embodiment(name)
        )
        position, target = scene.look()
        points, forward = scene._points() - position, (target - position) / np.linalg.norm(target - position)
        right = np.cross(forward, [0, 0, 1])
        up = np.cross(right / np.linalg.norm(right), forward)
        height = (points @ up) / (points @ forward) / np.tan(np.radians(75.0) / 2)
        assert np.abs(height).max() < 1.0 and np.ptp(height) > 0.6


def test_the_command_offers_the_motions_of_a_task():
    program = script("tools/play.py")
    made = program.make_viewer(program.parse_words(program.PlayOptions, ["task=toy_arm", "port=8377", "max_seconds=1"]))
    try:
        assert made.player.source == program.MOTION_ONLY and len(made.player.clip_names) >= 2
        assert made.player.trajectory.seconds == pytest.approx(1.0)
        made.tick(0.05)
    finally:
        made.close()
    for words, expected in (
        (["max_seconds=0"], "max_seconds"),
        (["port=99999"], "port"),
        (["checkpoint=no"], "not found"),
        (["host=192.0.2.1"], "host="),
    ):
        with pytest.raises(InputError, match=expected):
            program.main(["task=toy_arm", *words])


@pytest.fixture(scope="module")
def clips(tmp_path_factory):
    """A folder with a retargeted walk of 0.4 s."""
    from muscle_torch.retargeting import Retargeter, read_motion

    raw = read_motion(data_file("data/cmu_mocap/02_01.amc"))
    raw = dataclasses.replace(
        raw,
        positions={name: values[:48] for name, values in raw.positions.items()},
        orientations={name: values[:48] for name, values in raw.orientations.items()},
    )
    folder = tmp_path_factory.mktemp("clips")
    Retargeter("fullbody")(raw).clip.save(folder / "walk.npz")
    return folder


@pytest.fixture
def walk(clips):
    program = script("tools/play.py")
    made = program.make_viewer(
        program.parse_words(program.PlayOptions, ["task=fullbody", f"motion={clips}", "port=8377"])
    )
    made.player.playing = False
    yield made
    made.close()


@pytest.fixture
def walk_page(walk):
    page = BrowserPage(walk.server, walk.player.copy(), walk.embodiment)
    page.player.playing = False
    return page


def test_landmarks_of_a_retargeted_clip_are_where_the_clip_has_them(walk_page, clips):
    clip = MotionClip.load(clips / "walk.npz")
    walk_page.player.seek(0.2)
    walk_page.refresh()
    shown = walk_page.scene.landmarks
    assert shown.visible and clip.landmarks is not None
    np.testing.assert_allclose(shown.points, clip.landmarks[20], atol=1e-6)
    knee = walk_page.embodiment.model.body("tibia_r").id
    at = np.asarray(walk_page.scene.bodies[knee].position)
    assert np.linalg.norm(at - shown.points[clip.landmark_names.index("right_knee")]) < 0.03


@contextmanager
def browser_page(url: str):
    """A page of 900 x 600 in headless Chromium, drawing without a graphics card."""
    playwright = pytest.importorskip("playwright.sync_api")
    browser = next(filter(None, map(shutil.which, ("chromium-headless-shell", "chromium", "google-chrome"))), None)
    options = ["--no-sandbox", "--use-angle=swiftshader", "--enable-unsafe-swiftshader", "--ignore-gpu-blocklist"]
    with playwright.sync_playwright() as running:
        try:
            chromium = running.chromium.launch(executable_path=browser, args=options)
        except playwright.Error as error:
            pytest.skip(f"no Chromium: {str(error).splitlines()[0]}")
        page = chromium.new_page(viewport={"width": 900, "height": 600})
        page.goto(url)
        yield page
        chromium.close()


def screenshot(page, path) -> np.ndarray:
    """Return the image left of the controls (600, 600, 3), in [0, 1]."""
    from matplotlib.image import imread

    page.wait_for_timeout(3000)
    page.screenshot(path=str(path))
    return imread(path)[:, :600, :3]


@pytest.mark.slow
def test_a_browser_shows_the_body_and_its_buttons_work(viewer, tmp_path):
    with browser_page(viewer.url) as page:
        page.get_by_role("button", name="pause").wait_for(timeout=60_000)
        shown = screenshot(page, tmp_path / "shown.png")
        assert page.get_by_title("flexor").count() == 1
        page.get_by_role("button", name="pause").click()
        page.get_by_role("button", name="play").wait_for(timeout=20_000)
        (shown_page,) = viewer.pages.values()
        assert not shown_page.player.playing and viewer.player.playing
        shown_page.scene._world.visible = False
        hidden = screenshot(page, tmp_path / "hidden.png")
    different = np.abs(shown - hidden).max(axis=-1) > 0.1
    assert different.mean() > 0.005
    rows, columns = different.nonzero()
    assert np.ptp(rows) > 150  # from shoulder to hand
    assert np.ptp(columns) > 20


@pytest.mark.slow
def test_a_browser_shows_the_landmarks_of_a_retargeted_clip(walk, tmp_path):
    """Purple points from foot to shoulder, which go when they are switched off."""
    with browser_page(walk.url) as page:
        page.get_by_role("button", name="pause").wait_for(timeout=60_000)
        shown = screenshot(page, tmp_path / "shown.png")
        next(iter(walk.pages.values())).scene.landmarks.visible = False
        hidden = screenshot(page, tmp_path / "hidden.png")
    changed = np.abs(shown - hidden).max(axis=-1) > 0.1
    rows, _ = changed.nonzero()
    assert 100 < changed.sum() < 20_000 and np.ptp(rows) > 150
    red, green, blue = shown[changed].mean(axis=0)
    assert red > blue > green and red - green > 0.2


def test_a_live_simulation_is_steered_by_buttons_and_keys():
    """Time passes with the simulation, buttons and keys set the direction, an episode starts anew at its end."""
    from muscle_torch.envs import make_env
    from muscle_torch.evaluation import ZeroController
    from muscle_torch.rendering.live import LivePlayer

    far = {"mean_site_deviation": 100.0}
    options = {"motion": ["swing"], "evaluation": True, "evaluation_termination": far}
    env = make_env("toy_arm", 1, device="cpu", backend="mujoco", threads=1, **options)
    commands, now = [], [100.0]
    steer = lambda heading, speed: commands.append((round(np.degrees(heading)), speed))  # noqa: E731
    live = LivePlayer(env, ZeroController(), steer, clock=lambda: now[0])

    def wait(seconds):
        now[0] += seconds
        return live.advance(0.0)

    assert wait(0.105) and live.time == pytest.approx(0.1) and int(env.episode_step) == 10
    wait(10.0)  # a slow computer does not try to catch up
    assert live.time == pytest.approx(0.3, abs=0.011) and live.frame.qpos.shape == (1,)
    live.playing = False
    assert not wait(0.1) and live.time < 0.31
    made = Viewer(live, ARM, port=8391)
    try:
        page = BrowserPage(made.server, live.copy(), ARM)
        page.walking_speed.value = 0.8
        handles = made.server.gui._gui_input_handle_from_uuid.values()
        buttons = {handle.label: handle for handle in handles if "key" in str(getattr(handle, "label", ""))}
        assert len(buttons) == 9
        for label in ("90 degrees (key 8)", "stop (key 5)"):
            for callback in buttons[label]._impl.update_cb:
                callback(Event())
        assert commands == [(90, 0.8), (0, 0.0)]
        live.choose_clip("simulation")
        assert live.time == 0
    finally:
        made.close()
        env.close()
