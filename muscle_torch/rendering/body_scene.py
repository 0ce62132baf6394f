"""One body in the scene of a browser page: bones, muscles colored by activation, the reference, landmarks."""

from typing import Any

import mujoco
import numpy as np

from muscle_torch.embodiments import Embodiment

from .colors import BONE, GHOST, LANDMARK, muscle_color
from .player import Frame
from .ribcage import visible_faces
from .scene import LANDMARK_SIZE

try:
    import trimesh
    import viser
except ModuleNotFoundError as error:
    raise ImportError(f"{error.name} is not installed: run `pip install 'muscle_torch[viewer]'`") from None

GeomType = mujoco.mjtGeom
THICKNESS, HIGHLIGHT_THICKNESS = 0.006, 0.016  # [m] of a muscle's line
HIGHLIGHT = (230, 0, 160)  # color of the highlighted muscle
FIELD_OF_VIEW = np.radians(75.0)  # vertical, of a page's camera
AZIMUTH, ELEVATION = np.radians(115.0), np.radians(-12.0)  # as in `tools/render.py`

Page = viser.ViserServer | viser.ClientHandle


class BodyScene:
    """One embodiment in the scene of a page; `draw` sets its pose."""

    def __init__(self, page: Page, embodiment: Embodiment):
        """Add the body's meshes, ghost, muscles and landmarks.

        Args:
            page: A client's page, or the server for what all pages share.
            embodiment: The body.
        """
        self.page, self.embodiment, self.model = page, embodiment, embodiment.whole_model
        self._data, self._ghost_data = mujoco.MjData(self.model), mujoco.MjData(self.model)
        self._world = page.scene.add_frame("/world", show_axes=False)
        self.meshes = body_meshes(self.model)
        self.bodies = {body: self._add_mesh("body", body, _rgb(BONE), None) for body in self.meshes}
        moving = [body for body in self.meshes if self.model.body_weldid[body] != 0]
        self.ghosts = {body: self._add_mesh("ghost", body, _rgb(GHOST), float(GHOST[3])) for body in moving}
        self._owner = np.full(self.model.ntendon, -1)
        drawn = np.flatnonzero(embodiment.muscle_tendon_ids >= 0)
        self._owner[embodiment.muscle_tendon_ids[drawn]] = drawn
        segments, colors = np.zeros((2 * self.model.nwrap, 2, 3)), np.zeros((2 * self.model.nwrap, 2, 3), np.uint8)
        self.muscles = page.scene.add_line_segments("/world/muscles", segments, colors, thickness=THICKNESS)
        self.highlighted = page.scene.add_line_segments(
            "/world/highlighted", segments, np.array(HIGHLIGHT, np.uint8), thickness=HIGHLIGHT_THICKNESS, visible=False
        )
        self.landmarks = page.scene.add_point_cloud(
            "/world/landmarks", np.zeros((1, 3), np.float32), _rgb(LANDMARK), point_size=2 * LANDMARK_SIZE,
            point_shape="circle", precision="float32", visible=False,
        )  # fmt: skip
        self._add_floor()

    def _add_mesh(self, kind: str, body: int, color: tuple[int, int, int], opacity: float | None) -> Any:
        vertices, faces = self.meshes[body]
        name = f"/world/{kind}/{self.model.body(body).name or body}"
        options = {"color": color, "opacity": opacity, "cast_shadow": False, "receive_shadow": False}
        return self.page.scene.add_mesh_simple(name, vertices, faces, side="double", **options)

    def look(self) -> tuple[np.ndarray, np.ndarray]:
        """Return position and target (3,) [m] of a camera that shows the whole body from near."""
        points = self._points()
        middle, extent = (points.min(0) + points.max(0)) / 2, float(np.ptp(points, axis=0).max())
        distance = 0.8 * extent / np.tan(FIELD_OF_VIEW / 2) + 0.25 * extent
        turned, raised = (np.cos(AZIMUTH), np.sin(AZIMUTH)), np.cos(ELEVATION)
        forward = np.array([raised * turned[0], raised * turned[1], np.sin(ELEVATION)])
        return middle - distance * forward, middle

    def _points(self) -> np.ndarray:
        """Return the vertices of all bones in the default pose, (P, 3) [m]."""
        _pose(self.model, self._data, self.model.qpos0)
        at, turned = self._data.xpos, self._data.xmat.reshape(-1, 3, 3)
        return np.concatenate([at[b] + vertices @ turned[b].T for b, (vertices, _) in self.meshes.items()])

    def _add_floor(self) -> None:
        lowest = 0.0 if self.embodiment.root_joint else float(self._points()[:, 2].min())
        self.page.scene.add_grid("/floor", width=10, height=10, position=(0.0, 0.0, lowest))

    def draw(self, frame: Frame, ghost: bool = True, follow: bool = False, highlight: int | None = None) -> None:
        """Show a frame.

        Args:
            frame: The frame.
            ghost: Show the reference.
            follow: Keep a free body in the centre of the view.
            highlight: Id of a muscle to highlight; None: none.
        """
        _pose(self.model, self._data, frame.qpos)
        show = ghost and frame.reference is not None
        if show:
            assert frame.reference is not None
            _pose(self.model, self._ghost_data, frame.reference)
        points, muscle = muscle_segments(self.model, self._data, self._owner)
        with self.page.atomic():
            _place(self.bodies, self._data)
            if show:
                _place(self.ghosts, self._ghost_data)
            for handle in self.ghosts.values():
                handle.visible = show
            self.muscles.points, self.muscles.colors = points, segment_colors(muscle, frame.activation)
            self.highlighted.visible = highlight is not None
            if highlight is not None:
                self.highlighted.points = np.where((muscle == highlight)[:, None, None], points, 0.0)
            self.landmarks.visible = ghost and frame.landmarks is not None
            if frame.landmarks is not None:
                self.landmarks.points = frame.landmarks.astype(np.float32)
            if self.embodiment.root_joint is not None:
                offset = frame.qpos[:2] if follow else np.zeros(2)
                self._world.position = (-float(offset[0]), -float(offset[1]), 0.0)


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
        used, corners = np.unique(model.mesh_face[face : face + faces][visible_faces(model, mesh)], return_inverse=True)
        return model.mesh_vert[first : first + count][used], corners.reshape(-1, 3)
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


def muscle_segments(model: mujoco.MjModel, data: mujoco.MjData, owner: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return line segments along every tendon's path, for buffers of constant size.

    Args:
        model: The model.
        data: State with computed tendon paths.
        owner: Muscle of each tendon, -1 for none, (ntendon,).

    Returns:
        Points (2 nwrap, 2, 3) [m], and the muscle of each segment (2 nwrap,), -1 for none; unused segments have zero
        length.
    """
    points = np.zeros((2 * model.nwrap, 2, 3), dtype=np.float32)
    muscle = np.full(2 * model.nwrap, -1)
    path, used = data.wrap_xpos.reshape(-1, 3), 0
    for tendon in range(model.ntendon):
        first, count = data.ten_wrapadr[tendon], data.ten_wrapnum[tendon]
        segments = slice(used, used + max(count - 1, 0))
        points[segments, 0], points[segments, 1] = path[first : first + count - 1], path[first + 1 : first + count]
        muscle[segments] = owner[tendon]
        used = segments.stop
    return points, muscle


def segment_colors(muscle: np.ndarray, activation: np.ndarray | None) -> np.ndarray:
    """Return the colors of line segments for a browser, (N, 2, 3) uint8.

    Args:
        muscle: Muscle of each segment, (N,); -1: none, drawn relaxed.
        activation: (muscles,) in [0, 1]; None: all relaxed.
    """
    level = np.zeros(len(muscle)) if activation is None else np.where(muscle < 0, 0.0, activation[muscle])
    # The browser treats line colors as linear light and brightens them, so darken them here.
    color = 255 * muscle_color(level)[:, :3] ** 2.2
    return np.repeat(color.astype(np.uint8)[:, None], 2, axis=1)


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
