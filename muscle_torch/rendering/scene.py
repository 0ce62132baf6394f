"""Off-screen images: the body, its muscles colored by activation, the reference as a ghost, landmarks."""

import functools
import importlib
import os
import platform
import subprocess
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import zip_longest
from typing import Any

import mujoco
import numpy as np

from muscle_torch.config.opengl import NO_OPENGL
from muscle_torch.embodiments import Embodiment
from muscle_torch.errors import InputError

from .colors import BONE, GHOST, LANDMARK, RELAXED, muscle_color
from .ribcage import hide_badge

GeomType = mujoco.mjtGeom
LANDMARK_SIZE = 0.022  # [m]
MAX_GEOMS = 20_000
KEY_WIDTH, KEY_COLORS = 128, 32  # [pixels] and number of colors of the activation key
KEY_TEXT = "activation 0 to 1"
PROBE = """
import sys, mujoco, importlib
context = importlib.import_module("mujoco." + sys.argv[1]).GLContext(64, 64)
context.make_current()
model = mujoco.MjModel.from_xml_string("<mujoco/>")
mujoco.MjrContext(model, mujoco.mjtFontScale.mjFONTSCALE_100)
print("drawn", flush=True)
"""


@dataclass(frozen=True)
class View:
    """A camera: look-at point relative to the followed root [m], distance [m], direction [degrees]."""

    offset: np.ndarray
    distance: float
    azimuth: float
    elevation: float


@functools.cache
def choose_gl() -> str:
    """Return the OpenGL backend for off-screen rendering, `egl` or `osmesa`; `MUJOCO_GL` takes precedence.

    Each is tried in a separate process, because a failing OpenGL library may crash the process that loads it.

    Raises:
        InputError: None of them works.
    """
    if platform.system() != "Linux":
        return {"Darwin": "cgl"}.get(platform.system(), "glfw")
    requested = os.environ.get("MUJOCO_GL", "").lower()
    for name in (requested,) if requested in ("egl", "osmesa") else ("egl", "osmesa"):
        environment = {**os.environ, "MUJOCO_GL": name, "PYOPENGL_PLATFORM": name}
        tried = subprocess.run([sys.executable, "-c", PROBE, name], env=environment, capture_output=True, timeout=120)
        if b"drawn" in tried.stdout:
            return name
    raise InputError(NO_OPENGL + (f"; MUJOCO_GL={requested} allows only that one" if requested else ""))


def _gl_context(width: int, height: int) -> Any:
    name = choose_gl()
    if platform.system() == "Linux":
        os.environ.setdefault("PYOPENGL_PLATFORM", name)
    context = importlib.import_module(f"mujoco.{name}").GLContext(width, height)
    context.make_current()
    return context


def scene_model(embodiment: Embodiment) -> mujoco.MjModel:
    """Return the body in a light room above a chequered floor. Its joints are unchanged.

    The floor of a body whose root is fixed is drawn below its hanging limbs.
    """
    spec = embodiment.build_spec()
    for texture in [t for t in spec.textures if t.type == mujoco.mjtTexture.mjTEXTURE_SKYBOX]:
        spec.delete(texture)
    for light in list(spec.lights):
        spec.delete(light)
    sky = {"builtin": mujoco.mjtBuiltin.mjBUILTIN_GRADIENT, "rgb1": [0.95, 0.96, 0.98], "rgb2": [0.72, 0.78, 0.86]}
    spec.add_texture(name="room", type=mujoco.mjtTexture.mjTEXTURE_SKYBOX, width=256, height=1536, **sky)
    # No shadows: a directional light's shadow map is coarse, speckles the bones, and costs half the time on a CPU.
    for direction, brightness in (([-0.4, 0.5, -1.0], 0.50), ([0.6, 0.9, -0.3], 0.20)):
        sun = {"diffuse": [brightness] * 3, "specular": [0.1] * 3, "castshadow": False}
        spec.worldbody.add_light(type=mujoco.mjtLightType.mjLIGHT_DIRECTIONAL, pos=[0, 0, 4], dir=direction, **sun)
    _add_floor(spec, embodiment)
    model = spec.compile()
    model.vis.headlight.ambient[:], model.vis.headlight.diffuse[:] = 0.35, 0.20
    bones = np.flatnonzero(model.geom_type == GeomType.mjGEOM_MESH)
    model.geom_rgba[bones], model.geom_matid[bones] = BONE, -1
    hide_badge(model)
    return model


def _add_floor(spec: mujoco.MjSpec, embodiment: Embodiment) -> None:
    """Cover the floor with squares; add one below a body that hangs in the air."""
    model = embodiment.whole_model
    data = mujoco.MjData(model)
    mujoco.mj_kinematics(model, data)
    corners = _corners(model, data)
    size = float(np.ptp(corners, axis=0).max())
    squares = {"builtin": mujoco.mjtBuiltin.mjBUILTIN_CHECKER, "rgb1": [0.98, 0.99, 1.0], "rgb2": [0.90, 0.93, 0.96]}
    spec.add_texture(name="squares", type=mujoco.mjtTexture.mjTEXTURE_2D, width=256, height=256, **squares)
    repeat = max(1.0, 0.5 / size)
    material = spec.add_material(name="squares", texrepeat=[repeat, repeat], texuniform=True)
    material.textures[mujoco.mjtTextureRole.mjTEXROLE_RGB] = "squares"
    floors = [geom for geom in spec.geoms if geom.type == GeomType.mjGEOM_PLANE]
    if not floors:
        floors = [spec.worldbody.add_geom(type=GeomType.mjGEOM_PLANE, contype=0, conaffinity=0, group=2)]
    for floor in floors:
        floor.material, floor.rgba, floor.size = "squares", [1, 1, 1, 1], [20 * size, 20 * size, 0.1]
        if embodiment.root_joint is None:
            floor.pos = [0, 0, corners[:, 2].min() - 0.05 * size]


def _corners(model: mujoco.MjModel, data: mujoco.MjData) -> np.ndarray:
    """Return the corners (P, 3) [m] of the bounding boxes of all visible geoms but planes, in the world."""
    shown = np.flatnonzero((model.geom_group == 0) & (model.geom_type != GeomType.mjGEOM_PLANE))
    signs = np.array(np.meshgrid(*[(-1, 1)] * 3)).reshape(3, 8).T
    corners = model.geom_aabb[shown, None, :3] + signs * model.geom_aabb[shown, None, 3:]
    turn = data.geom_xmat[shown].reshape(-1, 3, 3)
    return (np.einsum("gij,gpj->gpi", turn, corners) + data.geom_xpos[shown, None]).reshape(-1, 3)


class SceneRenderer:
    """Renders poses of one embodiment to images. Use as a context manager, or call `close`."""

    def __init__(self, embodiment: Embodiment, width: int = 640, height: int = 480, samples: int = 4) -> None:
        """Create the OpenGL context and compile the scene.

        Args:
            embodiment: The body.
            width: Of the images [pixels], even and at least 16.
            height: Of the images [pixels], even and at least 16.
            samples: Antialiasing samples per pixel; 0 is twice as fast on a CPU but leaves jagged edges.

        Raises:
            InputError: The size is invalid, or no OpenGL backend works.
        """
        if min(width, height) < 16 or width % 2 or height % 2:
            raise InputError(f"image size {width} x {height}: width and height must be even and at least 16")
        self.embodiment, self.width, self.height = embodiment, width, height
        self._gl = _gl_context(width, height)
        self.model = scene_model(embodiment)
        self.model.vis.global_.offwidth, self.model.vis.global_.offheight = width, height
        self.model.vis.quality.offsamples = samples
        self._data, self._ghost = mujoco.MjData(self.model), mujoco.MjData(self.model)
        self._context = mujoco.MjrContext(self.model, mujoco.mjtFontScale.mjFONTSCALE_100)
        mujoco.mjr_setBuffer(mujoco.mjtFramebuffer.mjFB_OFFSCREEN, self._context)
        self._scene = mujoco.MjvScene(self.model, maxgeom=MAX_GEOMS)
        self._scene.flags[mujoco.mjtRndFlag.mjRND_HAZE] = False
        self._camera = mujoco.MjvCamera()
        self._body_options, self._ghost_options = _options(tendons=True), _options(tendons=False)
        self._drawn = embodiment.muscle_tendon_ids >= 0  # muscles without a tendon have no path
        self._tendons = embodiment.muscle_tendon_ids[self._drawn]
        self._widths = self.model.tendon_width.copy()
        self.model.tendon_rgba[:] = RELAXED
        self._view = self.aim([self.model.qpos0])

    def aim(
        self,
        poses: Iterable[np.ndarray],
        azimuth: float = 115.0,
        elevation: float = -12.0,
        landmarks: Iterable[np.ndarray] = (),
    ) -> View:
        """Return a camera that shows all poses and landmarks.

        The camera follows a free body horizontally. It becomes the default view of `draw`.

        Args:
            poses: Poses (nq,), or (num_qpos,) for a body without its props.
            azimuth: Viewing direction about the vertical [degrees].
            elevation: Viewing direction above the horizontal [degrees].
            landmarks: Points (K, 3) [m] shown with the first poses, one array per pose.
        """
        parts = []
        for pose, shown in zip_longest(poses, landmarks):
            parts.append(self._points(pose))
            if shown is not None:
                spheres = shown[:, None] + LANDMARK_SIZE * np.concatenate((np.eye(3), -np.eye(3)))
                parts.append(spheres.reshape(-1, 3) - self._root(self._data))
        points = np.concatenate(parts)
        turn, tilt = np.radians(azimuth), np.radians(elevation)
        forward = np.array([np.cos(tilt) * np.cos(turn), np.cos(tilt) * np.sin(turn), np.sin(tilt)])
        right = np.array([np.sin(turn), -np.cos(turn), 0.0])
        axes = np.stack((right, np.cross(right, forward), forward))  # of the camera: right, up, away
        projected = points @ axes.T
        middle = (projected.min(axis=0) + projected.max(axis=0)) / 2
        tangent = np.tan(np.radians(self.model.vis.global_.fovy) / 2)
        reach = np.abs((projected - middle)[:, :2]) / tangent / (self.width / self.height, 1.0)
        distance = float((1.06 * reach.max(axis=-1) - (projected - middle)[:, 2]).max())
        self._view = View(middle @ axes, distance, azimuth, elevation)
        return self._view

    def draw(
        self,
        qpos: np.ndarray,
        reference: np.ndarray | None = None,
        activation: np.ndarray | None = None,
        view: View | None = None,
        landmarks: np.ndarray | None = None,
        label: tuple[str, str] = ("", ""),
    ) -> np.ndarray:
        """Render one image.

        Args:
            qpos: Pose (nq,).
            reference: Pose (nq,) of the ghost; None: no ghost.
            activation: Muscle activations in [0, 1], (muscles,); None: keep the colors.
            view: Camera; None: that of the last `aim`.
            landmarks: Points (K, 3) [m]; None: none.
            label: Two columns of text at the bottom left.

        Returns:
            (height, width, 3) uint8.
        """
        self._gl.make_current()
        self._pose(self._data, qpos)
        if activation is not None:
            level = np.clip(activation, 0, 1)[self._drawn]
            self.model.tendon_rgba[self._tendons] = muscle_color(level)
            self.model.tendon_width[self._tendons] = self._widths[self._tendons] * (1 + 0.4 * level)
        view = view or self._view
        self._camera.lookat[:] = view.offset + self._root(self._data)
        self._camera.distance, self._camera.azimuth, self._camera.elevation = (
            view.distance,
            view.azimuth,
            view.elevation,
        )
        everything = mujoco.mjtCatBit.mjCAT_ALL
        nothing = mujoco.MjvPerturb()
        mujoco.mjv_updateScene(
            self.model, self._data, self._body_options, nothing, self._camera, everything, self._scene
        )
        if reference is not None:
            self._add_ghost(reference, nothing)
        for point in () if landmarks is None else landmarks:
            geom = self._scene.geoms[self._scene.ngeom]
            size, at, turn = np.full(3, LANDMARK_SIZE), point.astype(np.float64), np.eye(3).ravel()
            mujoco.mjv_initGeom(geom, GeomType.mjGEOM_SPHERE, size, at, turn, LANDMARK)
            self._scene.ngeom += 1
        return self._read(label, key=activation is not None)

    def _add_ghost(self, reference: np.ndarray, nothing: mujoco.MjvPerturb) -> None:
        self._pose(self._ghost, reference)
        first = self._scene.ngeom
        # Only moving parts: a ghost of the fixed parts would cause z-fighting.
        moving = mujoco.mjtCatBit.mjCAT_DYNAMIC
        mujoco.mjv_addGeoms(self.model, self._ghost, self._ghost_options, nothing, moving, self._scene)
        for index in range(first, self._scene.ngeom):
            geom = self._scene.geoms[index]
            geom.rgba[:], geom.transparent, geom.matid = GHOST, 1, -1

    def _read(self, label: tuple[str, str], key: bool) -> np.ndarray:
        rectangle = mujoco.MjrRect(0, 0, self.width, self.height)
        mujoco.mjr_render(rectangle, self._scene, self._context)
        if key:
            self._draw_key()
        if any(label):
            corner, font = mujoco.mjtGridPos.mjGRID_BOTTOMLEFT, mujoco.mjtFont.mjFONT_NORMAL
            mujoco.mjr_overlay(font, corner, rectangle, label[0], label[1], self._context)
        image = np.empty((self.height, self.width, 3), dtype=np.uint8)
        mujoco.mjr_readPixels(image, None, rectangle, self._context)
        return np.ascontiguousarray(image[::-1])  # OpenGL's first row is the bottom row

    def _draw_key(self) -> None:
        """Draw the colors of activations 0 to 1 at the bottom right, if there is room."""
        if self.width < 3 * KEY_WIDTH or self.height < 120:
            return
        left, bottom, step = self.width - KEY_WIDTH - 6, 32, KEY_WIDTH // KEY_COLORS
        for index, color in enumerate(muscle_color(np.linspace(0, 1, KEY_COLORS))):
            cell = mujoco.MjrRect(left + index * step, bottom, step, 10)
            mujoco.mjr_rectangle(cell, *color.tolist())
        whole, corner = mujoco.MjrRect(0, 0, self.width, self.height), mujoco.mjtGridPos.mjGRID_BOTTOMRIGHT
        mujoco.mjr_overlay(mujoco.mjtFont.mjFONT_NORMAL, corner, whole, KEY_TEXT, "", self._context)

    def _pose(self, data: mujoco.MjData, qpos: np.ndarray) -> None:
        data.qpos[: len(qpos)] = qpos  # motions do not include props, which stay in place
        mujoco.mj_kinematics(self.model, data)
        mujoco.mj_comPos(self.model, data)
        mujoco.mj_camlight(self.model, data)
        mujoco.mj_tendon(self.model, data)

    def _points(self, qpos: np.ndarray) -> np.ndarray:
        """Return the corners (P, 3) of the bounding boxes of all visible geoms, relative to the followed root."""
        self._pose(self._data, qpos)
        return _corners(self.model, self._data) - self._root(self._data)

    def _root(self, data: mujoco.MjData) -> np.ndarray:
        """Return the horizontal position of the free root, or the origin for a fixed body, (3,)."""
        if self.embodiment.root_joint is None:
            return np.zeros(3)
        address = self.model.joint(self.embodiment.root_joint).qposadr[0]
        return np.array([*data.qpos[address : address + 2], 0.0])

    def close(self) -> None:
        """Free the OpenGL context."""
        self._context.free()
        self._gl.free()

    def __enter__(self) -> "SceneRenderer":
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()


def _options(tendons: bool) -> mujoco.MjvOption:
    """Return what is drawn: bones (group 0) and the floor; no sites, wrapping or collision geometry."""
    options = mujoco.MjvOption()
    options.sitegroup[:] = 0
    options.geomgroup[:] = (1, 0, 1, 0, 0, 0)
    options.tendongroup[:] = int(tendons)
    options.flags[mujoco.mjtVisFlag.mjVIS_TENDON] = tendons
    options.flags[mujoco.mjtVisFlag.mjVIS_ACTUATOR] = False
    return options
