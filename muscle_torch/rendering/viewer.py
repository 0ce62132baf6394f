"""Browser viewer with viser: bones, muscles colored by activation, the reference as a ghost.

Requires the extra `viewer`. `muscle_torch.rendering.player` holds the playback state; this file draws it and connects
the controls.
"""

import socket
import time
from collections.abc import Callable
from contextlib import redirect_stdout
from typing import Any

import mujoco
import numpy as np

from muscle_torch.embodiments import Embodiment
from muscle_torch.errors import InputError

from .live import LivePlayer, Steer
from .player import Frame, Player, activation_bars, bars_html
from .scene import ACTIVE, BONE, GHOST, LANDMARK, LANDMARK_SIZE, RELAXED

try:
    import trimesh
    import viser
except ModuleNotFoundError as error:
    raise ImportError(f"{error.name} is not installed: run `pip install 'muscle_torch[viewer]'`") from None

GeomType = mujoco.mjtGeom
FPS = 30
BARS_EVERY = 3  # frames between updates of the bars: HTML is more expensive to send than poses
THICKNESS = 0.006  # [m] of a muscle's line
# Keys as on a numeric keypad, seen from above with x to the right -> heading in the world [degrees]; 5 stops.
HEADINGS = {"6": 0, "9": 45, "8": 90, "7": 135, "4": 180, "1": 225, "2": 270, "3": 315}
STOP_KEY = "5"
WALK = 1.265  # [m/s], initial value of the slider
SPEEDS = {"1/8": 0.125, "1/4": 0.25, "1/2": 0.5, "1": 1.0, "2": 2.0}


class BodyScene:
    """One embodiment in a viser scene; `draw` sets its pose."""

    def __init__(self, server: viser.ViserServer, embodiment: Embodiment):
        """Add the body's meshes, ghost, muscles and landmarks to the server's scene."""
        self.server, self.embodiment, self.model = server, embodiment, embodiment.whole_model
        self._data, self._ghost_data = mujoco.MjData(self.model), mujoco.MjData(self.model)
        self._world = server.scene.add_frame("/world", show_axes=False)
        self.meshes = body_meshes(self.model)
        self.bodies = {body: self._add_mesh("body", body, _rgb(BONE), None) for body in self.meshes}
        moving = [body for body in self.meshes if self.model.body_weldid[body] != 0]
        self.ghosts = {body: self._add_mesh("ghost", body, _rgb(GHOST), float(GHOST[3])) for body in moving}
        self._owner = np.full(self.model.ntendon, -1)
        drawn = np.flatnonzero(embodiment.muscle_tendon_ids >= 0)
        self._owner[embodiment.muscle_tendon_ids[drawn]] = drawn
        segments, colors = np.zeros((2 * self.model.nwrap, 2, 3)), np.zeros((2 * self.model.nwrap, 2, 3), np.uint8)
        self.muscles = server.scene.add_line_segments("/world/muscles", segments, colors, thickness=THICKNESS)
        self.landmarks = server.scene.add_point_cloud(
            "/world/landmarks", np.zeros((1, 3), np.float32), _rgb(LANDMARK), point_size=2 * LANDMARK_SIZE,
            point_shape="circle", precision="float32", visible=False,
        )  # fmt: skip
        self._place_camera()

    def _add_mesh(self, kind: str, body: int, color: tuple[int, int, int], opacity: float | None) -> Any:
        vertices, faces = self.meshes[body]
        name = f"/world/{kind}/{self.model.body(body).name or body}"
        options = {"color": color, "opacity": opacity, "cast_shadow": False, "receive_shadow": False}
        return self.server.scene.add_mesh_simple(name, vertices, faces, side="double", **options)

    def _place_camera(self) -> None:
        """Aim the camera at the whole body, from the same direction as `tools/render.py`."""
        _pose(self.model, self._data, self.model.qpos0)
        at, turned = self._data.xpos, self._data.xmat.reshape(-1, 3, 3)
        points = np.concatenate([at[b] + vertices @ turned[b].T for b, (vertices, _) in self.meshes.items()])
        middle = (points.min(0) + points.max(0)) / 2
        turn, tilt, distance = np.radians(115.0), np.radians(-12.0), 1.6 * np.ptp(points, axis=0).max()
        forward = np.array([np.cos(tilt) * np.cos(turn), np.cos(tilt) * np.sin(turn), np.sin(tilt)])
        camera = self.server.initial_camera
        camera.position, camera.look_at = tuple(middle - distance * forward), tuple(middle)
        floor = 0.0 if self.embodiment.root_joint else points[:, 2].min()
        self.server.scene.add_grid("/floor", width=10, height=10, position=(0.0, 0.0, float(floor)))

    def draw(self, frame: Frame, ghost: bool = True, follow: bool = False) -> None:
        """Show a frame.

        Args:
            frame: The frame.
            ghost: Show the reference.
            follow: Keep a free body in the centre of the view.
        """
        _pose(self.model, self._data, frame.qpos)
        show = ghost and frame.reference is not None
        if show:
            assert frame.reference is not None
            _pose(self.model, self._ghost_data, frame.reference)
        points, colors = muscle_segments(self.model, self._data, self._owner, frame.activation)
        with self.server.atomic():
            _place(self.bodies, self._data)
            if show:
                _place(self.ghosts, self._ghost_data)
            for handle in self.ghosts.values():
                handle.visible = show
            self.muscles.points, self.muscles.colors = points, colors
            self.landmarks.visible = ghost and frame.landmarks is not None
            if frame.landmarks is not None:
                self.landmarks.points = frame.landmarks.astype(np.float32)
            if self.embodiment.root_joint is not None:
                offset = frame.qpos[:2] if follow else np.zeros(2)
                self._world.position = (-float(offset[0]), -float(offset[1]), 0.0)


class Viewer:
    """The page: a `BodyScene`, its controls and the playback clock."""

    def __init__(self, player: Player | LivePlayer, embodiment: Embodiment, host: str = "127.0.0.1", port: int = 8080):
        """Start the server.

        Args:
            player: Playback state, or a simulation, which may be steered.
            embodiment: The body.
            host: Address to listen on.
            port: Port; the next free one if it is in use.

        Raises:
            InputError: The address or port is invalid.
        """
        self.server = _serve(host, port)
        self.player, self.scene, self.embodiment = player, BodyScene(self.server, embodiment), embodiment
        self._bars = activation_bars(embodiment.groups, embodiment.muscle_names)
        self._count, self._changed = 0, True
        self._add_controls()
        self.refresh()

    @property
    def url(self) -> str:
        """Address of the page."""
        return f"http://{self.server.get_host()}:{self.server.get_port()}"

    def run(self) -> None:
        """Play until interrupted."""
        last = time.monotonic()
        while True:
            time.sleep(max(0.0, last + 1 / FPS - time.monotonic()))
            now = time.monotonic()
            self.tick(now - last)
            last = now

    def tick(self, seconds: float) -> None:
        """Advance by `seconds` and redraw if anything changed."""
        if self.player.advance(seconds) or self._changed:
            self._changed = False
            self.refresh()

    def refresh(self) -> None:
        """Draw the player's current frame and update the controls."""
        frame = self.player.frame
        self.scene.draw(frame, self.ghost.value, self.follow.value)
        self.slider.value = min(round(self.player.time, 2), self.slider.max)
        if self._count % BARS_EVERY == 0 or not self.player.playing:
            self.bars.content = bars_html(self._bars, self.embodiment.muscle_names, frame.activation)
        self._count += 1

    def close(self) -> None:
        """Stop the server."""
        with redirect_stdout(None):
            self.server.stop()

    def _add_controls(self) -> None:
        gui, player = self.server.gui, self.player
        self.source = gui.add_dropdown("policy", player.source_names, initial_value=player.source)
        self.clip = gui.add_dropdown("motion", player.clip_names, initial_value=player.trajectory.name)
        self.play = gui.add_button("pause")
        self.slider = gui.add_slider("time [s]", 0.0, max(player.trajectory.seconds, 0.01), 0.01, 0.0)
        self.speed = gui.add_dropdown("speed", tuple(SPEEDS), initial_value="1")
        self.ghost = gui.add_checkbox("reference", True)
        self.follow = gui.add_checkbox("follow", True, visible=self.embodiment.root_joint is not None)
        if isinstance(player, LivePlayer) and player.steer is not None:
            self._add_steering(player.steer)
        with gui.add_folder("muscle activation"):
            self.bars = gui.add_html("")
        self.source.on_update(self._user_callback(lambda: self._choose_source(self.source.value)))
        self.clip.on_update(self._user_callback(lambda: self._choose_clip(self.clip.value)))
        self.slider.on_update(self._user_callback(lambda: player.seek(self.slider.value)))
        self.play.on_click(self._user_callback(self._toggle))
        self.speed.on_update(self._user_callback(lambda: setattr(player, "speed", SPEEDS[self.speed.value])))
        for switch in (self.ghost, self.follow):
            switch.on_update(self._user_callback(lambda: None))

    def _add_steering(self, steer: Steer) -> None:
        """Add a slider of the speed, and a button and a key for each heading and to stop."""
        gui = self.server.gui
        with gui.add_folder("direction"):
            self.walking_speed = gui.add_slider("speed [m/s]", 0.1, 3.0, 0.1, WALK)
            for key, degrees in HEADINGS.items():
                self._add_command(key, f"{degrees} degrees", lambda at=degrees: steer(np.radians(at), self.walking_speed.value))
            self._add_command(STOP_KEY, "stop", lambda: steer(0.0, 0.0))

    def _add_command(self, key: Any, label: str, act: Callable[[], None]) -> None:
        respond = self._user_callback(act)
        self.server.gui.add_button(f"{label} (key {key})").on_click(respond)
        self.server.gui.add_command(f"walk: {label}", hotkey=key).on_trigger(respond)

    def _user_callback(self, act: Any) -> Any:
        """Wrap `act` as a callback that ignores changes made by the program itself."""

        def respond(event: Any) -> None:
            if event.client is None:
                return
            try:
                act()
            except InputError as error:
                event.client.add_notification("Cannot show this", str(error), color="red")
            self._changed = True

        return respond

    def _toggle(self) -> None:
        self.player.playing = not self.player.playing
        self.play.label = "pause" if self.player.playing else "play"

    def _choose_source(self, name: str) -> None:
        self.source.disabled = True  # loading a source may take a while
        try:
            self.player.choose_source(name)
        finally:
            self.source.disabled, self.source.value = False, self.player.source
        self.clip.options = self.player.clip_names
        self.clip.value = self.player.trajectory.name
        self._fit_slider()

    def _choose_clip(self, name: str) -> None:
        self.player.choose_clip(name)
        self._fit_slider()

    def _fit_slider(self) -> None:
        self.slider.max = max(self.player.trajectory.seconds, 0.01)


def _serve(host: str, port: int) -> viser.ViserServer:
    """Start a server on `port`, or on the next free port if it is in use."""
    if not 0 < port < 2**16:
        raise InputError(f"port={port}: choose one between 1024 and 65535")
    try:
        with socket.create_server((host, 0)):  # viser would wait forever
            pass
    except OSError as error:
        raise InputError(f"host={host} is not an address of this machine ({error.strerror}): use 127.0.0.1") from None
    with redirect_stdout(None):  # suppress viser's banner
        return viser.ViserServer(host, port, label="muscle_torch", verbose=False)


def body_meshes(model: mujoco.MjModel) -> dict[int, tuple[np.ndarray, np.ndarray]]:
    """Return the visible geometry (group 0, no planes): body id -> (vertices (V, 3) [m] in its frame, faces (F, 3))."""
    parts: dict[int, list[tuple[np.ndarray, np.ndarray]]] = {}
    for geom in range(model.ngeom):
        if (
            model.geom_group[geom] != 0
            or model.geom_type[geom] == GeomType.mjGEOM_PLANE
            or model.geom_rgba[geom, 3] == 0
        ):
            continue
        vertices, faces = _geom_mesh(model, geom)
        turn = np.zeros(9)
        mujoco.mju_quat2Mat(turn, model.geom_quat[geom])
        placed = vertices @ turn.reshape(3, 3).T + model.geom_pos[geom]
        parts.setdefault(int(model.geom_bodyid[geom]), []).append((placed, faces))
    return {body: _joined(pieces) for body, pieces in parts.items()}


def _joined(pieces: list[tuple[np.ndarray, np.ndarray]]) -> tuple[np.ndarray, np.ndarray]:
    starts = np.cumsum([0, *(len(vertices) for vertices, _ in pieces)])
    faces = [faces + start for (_, faces), start in zip(pieces, starts[:-1], strict=True)]
    return np.concatenate([vertices for vertices, _ in pieces]), np.concatenate(faces)


def _geom_mesh(model: mujoco.MjModel, geom: int) -> tuple[np.ndarray, np.ndarray]:
    size, kind = model.geom_size[geom], model.geom_type[geom]
    if kind == GeomType.mjGEOM_MESH:
        mesh = model.geom_dataid[geom]
        first, count = model.mesh_vertadr[mesh], model.mesh_vertnum[mesh]
        face, faces = model.mesh_faceadr[mesh], model.mesh_facenum[mesh]
        return model.mesh_vert[first : first + count], model.mesh_face[face : face + faces]
    if kind == GeomType.mjGEOM_CAPSULE:
        shape = trimesh.creation.capsule(height=2 * size[1], radius=size[0])  # type: ignore[attr-defined]
        shape.apply_translation((0, 0, -shape.bounds.mean(axis=0)[2]))
    elif kind == GeomType.mjGEOM_CYLINDER:
        shape = trimesh.creation.cylinder(radius=size[0], height=2 * size[1])  # type: ignore[attr-defined]
    elif kind == GeomType.mjGEOM_BOX:
        shape = trimesh.creation.box(extents=2 * size)  # type: ignore[attr-defined]
    else:
        shape = trimesh.creation.icosphere(subdivisions=3)  # type: ignore[attr-defined]
        shape.apply_scale(size if kind == GeomType.mjGEOM_ELLIPSOID else size[0])
    return np.asarray(shape.vertices), np.asarray(shape.faces)


def muscle_segments(
    model: mujoco.MjModel, data: mujoco.MjData, owner: np.ndarray, activation: np.ndarray | None
) -> tuple[np.ndarray, np.ndarray]:
    """Return line segments along every muscle's path, for buffers of constant size.

    Args:
        model: The model.
        data: State with computed tendon paths.
        owner: Muscle of each tendon, -1 for none (drawn relaxed), (ntendon,).
        activation: (muscles,) in [0, 1]; None: all relaxed.

    Returns:
        Points (2 nwrap, 2, 3) [m] and colors (2 nwrap, 2, 3) uint8; unused segments have zero length.
    """
    points = np.zeros((2 * model.nwrap, 2, 3), dtype=np.float32)
    level = np.zeros(2 * model.nwrap)
    path, used = data.wrap_xpos.reshape(-1, 3), 0
    for tendon in range(model.ntendon):
        first, count = data.ten_wrapadr[tendon], data.ten_wrapnum[tendon]
        segments = slice(used, used + max(count - 1, 0))
        points[segments, 0], points[segments, 1] = path[first : first + count - 1], path[first + 1 : first + count]
        if activation is not None and owner[tendon] >= 0:
            level[segments] = np.clip(activation[owner[tendon]], 0, 1)
        used = segments.stop
    # The browser treats line colors as linear light and brightens them, so darken them here.
    color = 255 * (RELAXED + level[:, None] * (ACTIVE - RELAXED))[:, :3] ** 2.2
    return points, np.repeat(color.astype(np.uint8)[:, None], 2, axis=1)


def _pose(model: mujoco.MjModel, data: mujoco.MjData, qpos: np.ndarray) -> None:
    data.qpos[: len(qpos)] = qpos  # motions do not include props, which stay in place
    mujoco.mj_kinematics(model, data)
    mujoco.mj_comPos(model, data)
    mujoco.mj_tendon(model, data)


def _place(handles: dict[int, Any], data: mujoco.MjData) -> None:
    for body, handle in handles.items():
        handle.position, handle.wxyz = data.xpos[body], data.xquat[body]


def _rgb(color: Any) -> tuple[int, int, int]:
    red, green, blue = (round(255 * float(value)) for value in list(color)[:3])
    return red, green, blue
