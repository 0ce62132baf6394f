"""The support of a motion: the standing feet of each frame, and the support polygon on the floor.

A foot is a body with a touch sensor together with its descendants that have one (heel bone and toes). The floor is
z = 0. A foot stands if one of its points is near the floor and moves slowly along it, which excludes a swing foot that
passes low over the floor.
"""

from dataclasses import dataclass

import mujoco
import numpy as np

from muscle_torch.embodiments import Embodiment
from muscle_torch.errors import InputError

GeomType = mujoco.mjtGeom
NEAR = 0.015  # [m] above the floor: a lower point may bear weight
SLOW, FAST = 0.4, 0.8  # [m/s] along the floor: slower, a near foot stands; faster, it swings; between: hysteresis
MIN_DURATION = 0.05  # [s] shorter stances, and shorter gaps in a stance, are artefacts


@dataclass(frozen=True)
class Soles:
    """Points of the feet that can touch the floor: ends of capsules, spheres, corners of boxes, ellipsoids.

    A point has a centre in its geom's frame, a radius, and the half axes of an ellipsoid (otherwise zero).
    """

    feet: tuple[str, ...]  # name of each foot's first body
    foot_bodies: np.ndarray  # (F,) model ids of these bodies
    foot: np.ndarray  # (P,) foot index of each point
    geom: np.ndarray  # (P,) geom id of each point
    centre: np.ndarray  # (P, 3) [m]
    radius: np.ndarray  # (P,) [m]
    half_axes: np.ndarray  # (P, 3) [m]

    @classmethod
    def of(cls, embodiment: Embodiment) -> "Soles":
        """Return the soles of a body. Raises InputError for a body without feet."""
        model = embodiment.model
        foot_of = _feet(embodiment)
        names = sorted(set(foot_of.values()))
        rows = []
        for geom in range(model.ngeom):
            body = int(model.geom_bodyid[geom])
            if body in foot_of and (model.geom_contype[geom] or model.geom_conaffinity[geom]):
                rows += [(names.index(foot_of[body]), geom, *point) for point in _points(embodiment, geom)]
        foot, ids, centre, radius, half_axes = (np.array(column) for column in zip(*rows, strict=True))
        return cls(
            tuple(model.body(body).name for body in names), np.array(names), foot, ids, centre, radius, half_axes
        )

    def lowest(self, data: mujoco.MjData) -> np.ndarray:
        """Return each point's lowest position on its surface, (P, 3) world [m], in the pose of `data`."""
        mat = data.geom_xmat[self.geom].reshape(-1, 3, 3)
        at = data.geom_xpos[self.geom] + np.einsum("pij,pj->pi", mat, self.centre)
        scaled = self.half_axes * mat[:, 2]
        reach = np.maximum(np.linalg.norm(scaled, axis=1, keepdims=True), 1e-12)
        at = at - np.einsum("pij,pj->pi", mat, self.half_axes * scaled / reach)
        at[:, 2] -= self.radius
        return at


@dataclass(frozen=True)
class BodySurface:
    """The G geoms of a model that can touch the floor: capsules, spheres and ellipsoids."""

    geoms: np.ndarray  # (G,)
    size: np.ndarray  # (G, 3) half axes of ellipsoids [m]; 0 for capsules and spheres
    radius: np.ndarray  # (G,) of capsules and spheres [m]
    half: np.ndarray  # (G,) half length of capsules [m]

    @classmethod
    def of(cls, model: mujoco.MjModel, without: np.ndarray | None = None) -> "BodySurface":
        """Return the surface of a model, without the geoms `without` (ids)."""
        round_ = (GeomType.mjGEOM_CAPSULE, GeomType.mjGEOM_SPHERE)
        touches = (model.geom_contype > 0) & np.isin(model.geom_type, (*round_, GeomType.mjGEOM_ELLIPSOID))
        touches[[] if without is None else without] = False
        geoms = np.flatnonzero(touches)
        size, kind = model.geom_size[geoms], model.geom_type[geoms]
        ellipsoid = kind == GeomType.mjGEOM_ELLIPSOID
        return cls(
            geoms,
            size * ellipsoid[:, None],
            size[:, 0] * ~ellipsoid,
            size[:, 1] * (kind == GeomType.mjGEOM_CAPSULE),
        )

    def lowest(self, data: mujoco.MjData) -> float:
        """Return the height of the lowest point in the pose of `data` [m]."""
        axes = data.geom_xmat[self.geoms].reshape(-1, 3, 3)[:, 2]
        below = np.linalg.norm(axes * self.size, axis=1) + np.abs(axes[:, 2]) * self.half + self.radius
        return float((data.geom_xpos[self.geoms, 2] - below).min(initial=np.inf))


def _feet(embodiment: Embodiment) -> dict[int, int]:
    """Return, for each body with a touch sensor, the first body of its foot."""
    model = embodiment.model
    sensors = embodiment.resolve("sensor", embodiment.touch_sensors)
    bodies = {int(model.site_bodyid[model.sensor_objid[sensor]]) for sensor in sensors}
    if not bodies or embodiment.root_joint is None:
        raise InputError(
            f"{embodiment.name} has no feet (touch sensors below a free root): ground support is defined only for "
            "bodies that stand; use such a body"
        )
    first: dict[int, int] = {}
    for body in sorted(bodies):  # parents come before children
        first[body] = first.get(int(model.body_parentid[body]), body)
    return first


def _points(embodiment: Embodiment, geom: int) -> list[tuple[np.ndarray, float, np.ndarray]]:
    """Return (centre, radius, half axes) of a geom's points, in its frame."""
    model = embodiment.model
    kind, size, none = model.geom_type[geom], model.geom_size[geom], np.zeros(3)
    if kind == GeomType.mjGEOM_SPHERE:
        return [(none, float(size[0]), none)]
    if kind == GeomType.mjGEOM_CAPSULE:
        return [(np.array([0.0, 0.0, end * size[1]]), float(size[0]), none) for end in (-1, 1)]
    if kind == GeomType.mjGEOM_ELLIPSOID:
        return [(none, 0.0, size.copy())]
    if kind == GeomType.mjGEOM_BOX:
        signs = np.array(np.meshgrid(*[(-1.0, 1.0)] * 3)).reshape(3, -1).T
        return [(sign * size, 0.0, none) for sign in signs]
    raise InputError(
        f"{embodiment.name}: geom {model.geom(geom).name!r} of a foot is a {GeomType(kind).name}; use spheres, "
        "capsules, ellipsoids or boxes"
    )


def standing_feet(points: np.ndarray, speed: np.ndarray, soles: Soles, rate: float) -> np.ndarray:
    """Return which feet stand, (T, F) bool.

    A stance begins and ends when the slowest point near the floor exceeds 0.8 m/s, and contains a frame in which one is
    slower than 0.4 m/s. Stances, and gaps between stances of a foot, of less than 0.05 s are removed.

    Args:
        points: Positions of the soles' points, (T, P, 3) [m].
        speed: Their speed along the floor, (T, P) [m/s].
        soles: The soles.
        rate: Frame rate [Hz].
    """
    slowest = np.where(points[..., 2] < NEAR, speed, np.inf)
    slowest = np.stack([slowest[:, soles.foot == foot].min(axis=1) for foot in range(len(soles.feet))], axis=1)
    stands = slowest < FAST
    for column, still in zip(stands.T, (slowest < SLOW).T, strict=True):
        for start, stop in runs(column):
            column[start:stop] = still[start:stop].any()
    shortest = max(1, round(MIN_DURATION * rate))
    for column in stands.T:
        for value in (True, False):  # first close gaps, then drop short stances
            for start, stop in runs(column != value):
                if stop - start < shortest and start > 0 and stop < len(column):
                    column[start:stop] = value
    return stands


def support_mask(points: np.ndarray, stands: np.ndarray, soles: Soles) -> np.ndarray:
    """Return which points bear on the floor, (T, P) bool: the low ones of standing feet.

    Args:
        points: Positions of the soles' points, (T, P, 3) [m].
        stands: Standing feet, (T, F) bool.
        soles: The soles.
    """
    return stands[:, soles.foot] & (points[..., 2] < NEAR)


def hull(points: np.ndarray) -> np.ndarray:
    """Return the corners (K, 2) of the convex hull of points (N, 2), counterclockwise; 1 or 2 for a point or a line."""
    ordered = np.unique(points, axis=0)
    if len(ordered) < 3:
        return ordered

    def chain(sequence: np.ndarray) -> list[np.ndarray]:
        corners: list[np.ndarray] = []
        for point in sequence:
            while len(corners) > 1 and _cross(corners[-1] - corners[-2], point - corners[-1]) <= 1e-12:
                corners.pop()
            corners.append(point)
        return corners[:-1]

    return np.array(chain(ordered) + chain(ordered[::-1]))


def distance(corners: np.ndarray, point: np.ndarray) -> float:
    """Return how far a point (2,) lies outside the convex polygon `corners` (K, 2) [m]; 0 inside, NaN for K = 0."""
    if not len(corners):
        return np.nan
    start, side = corners, np.roll(corners, -1, axis=0) - corners
    offset = point - start
    if len(corners) > 2 and (_cross(side, offset) >= 0).all():
        return 0.0
    length = np.maximum(np.sum(side**2, axis=1), 1e-18)
    along = np.clip(np.sum(offset * side, axis=1) / length, 0.0, 1.0)
    return float(np.linalg.norm(offset - along[:, None] * side, axis=1).min())


def half_planes(corners: np.ndarray, margin: float) -> tuple[np.ndarray, np.ndarray]:
    """Return (normals (E, 2), offsets (E,)) with normal . x <= offset for the polygon shrunk by `margin` [m].

    No side moves by more than half its distance from the mean of the corners, so that the polygon never vanishes.
    """
    middle = corners.mean(axis=0)
    side = np.roll(corners, -1, axis=0) - corners if len(corners) > 1 else np.array([[1.0, 0.0], [-1.0, 0.0]])
    normals = np.column_stack((side[:, 1], -side[:, 0]))
    start = np.broadcast_to(corners, normals.shape) if len(corners) == 1 else corners
    if len(corners) < 3:  # a point or a line also ends in the directions along it
        normals = np.concatenate((normals, side))
        start = np.concatenate((start, np.roll(corners, -1, axis=0) if len(corners) == 2 else start))
    normals = normals / np.linalg.norm(normals, axis=1, keepdims=True)
    offsets = np.sum(normals * start, axis=1)
    room = offsets - normals @ middle
    return normals, offsets - np.minimum(margin, 0.5 * room)


def runs(flags: np.ndarray) -> list[tuple[int, int]]:
    """Return the intervals [start, stop) of consecutive True values in flags (T,)."""
    edges = np.flatnonzero(np.diff(np.concatenate(([0], flags.astype(np.int8), [0]))))
    return list(zip(edges[::2].tolist(), edges[1::2].tolist(), strict=True))


def _cross(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Return the z component of the cross product of vectors (..., 2)."""
    return a[..., 0] * b[..., 1] - a[..., 1] * b[..., 0]
