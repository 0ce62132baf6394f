"""Soles and floor: lowest points of the feet, standing points, tilt and height of the floor."""

from dataclasses import dataclass

import mujoco
import numpy as np
import torch
from torch import Tensor

from muscle_torch.errors import InputError
from muscle_torch.motion.support import runs

from .kinematics import BodyTree, Frames, Pose

GeomType = mujoco.mjtGeom
FEET = ("calcn", "toes")
NEAR = 0.02  # [m] above the floor: may be in contact
SLOW = 0.25  # [m/s] along the floor: stands
RISING = 0.10  # [m/s] away from the floor: a lifting heel no longer stands
SHORTEST_STANCE = 0.05  # [s]
SAME_PLACE, LOW = 0.01, 0.015  # [m] along the floor and above it: within these a point keeps standing
STEEPEST = 3.0  # [deg]; a larger tilt belongs to the motion, not to the floor
TOUCH = 0.001  # [m] above the floor: a lower foot touches it
LIFTED = 0.05  # [m]; with both feet higher, a person sits or climbs; less may be a recording error
FALLING, FREE = 0.04, 6.5  # [s] time step, [m/s^2] acceleration of a pelvis in flight; at most 5 in walking
LEVEL = 0.15  # [deg]; a smaller tilt is ignored


@dataclass(frozen=True)
class Soles:
    """P support points of both feet: ends of capsules, and ellipsoids."""

    bodies: Tensor  # (P,)
    local: Tensor  # (P, 3) centres in the body's axes [m]
    radius: Tensor  # (P,) of capsule ends [m]
    axes: Tensor  # (P, 3, 3) of ellipsoids in the body's axes
    sizes: Tensor  # (P, 3) half axes of ellipsoids; 0 for capsule ends

    @classmethod
    def of(cls, tree: BodyTree) -> "Soles":
        """Return the soles of a body. Raises InputError for unsupported geoms."""
        model = tree.model
        rows = []
        names = {tree.body(f"{part}_{side}") for part in FEET for side in "rl"}
        for geom in range(model.ngeom):
            body = int(tree.place[model.geom_bodyid[geom]])
            if body not in names or not (model.geom_contype[geom] or model.geom_conaffinity[geom]):
                continue
            turn = np.zeros(9)
            mujoco.mju_quat2Mat(turn, model.geom_quat[geom])
            turn, size, at = turn.reshape(3, 3), model.geom_size[geom], model.geom_pos[geom]
            kind = model.geom_type[geom]
            if kind == GeomType.mjGEOM_CAPSULE:
                rows += [(body, at + sign * size[1] * turn[:, 2], size[0], turn, np.zeros(3)) for sign in (-1, 1)]
            elif kind == GeomType.mjGEOM_SPHERE:
                rows.append((body, at, size[0], turn, np.zeros(3)))
            elif kind == GeomType.mjGEOM_ELLIPSOID:
                rows.append((body, at, 0.0, turn, size))
            else:
                raise InputError(f"a sole has geom type {kind}; use capsules, spheres or ellipsoids")
        body, at, radius, turn, size = (np.array(column) for column in zip(*rows, strict=True))
        return cls(tree.index(body), *(tree.tensor(a) for a in (at, radius, turn, size)))

    def lowest(self, frames: Frames) -> Tensor:
        """Return the lowest position of each point in the world, (T, P, 3) [m]."""
        mat = frames.mat[:, self.bodies]
        at = frames.pos[:, self.bodies] + (mat @ self.local[..., None])[..., 0]
        down = torch.zeros_like(at)
        down[..., 2] = self.radius
        # Support of an ellipsoid: centre - R S^2 R' z / |S R' z|.
        turn = mat @ self.axes
        scaled = self.sizes * turn[..., 2, :]
        reach = torch.linalg.vector_norm(scaled, dim=-1, keepdim=True).clamp_min(1e-9)
        bulge = (turn @ (self.sizes * scaled / reach)[..., None])[..., 0]
        return at - down - bulge

    @property
    def rigid(self) -> Tensor:
        """Capsule ends, (P,) bool: points that can stand still, unlike the moving lowest point of an ellipsoid."""
        return self.radius > 0


class Feet:
    """The soles with a separate small tree, for cheap kinematics."""

    def __init__(self, tree: BodyTree) -> None:
        """Build the small tree."""
        self.soles = Soles.of(tree)
        self.tree = BodyTree(tree.embodiment, tree.device, tree.dtype, [f"{p}_{side}" for p in FEET for side in "rl"])
        self._soles = Soles.of(self.tree)

    def lowest(self, pose: Pose) -> np.ndarray:
        """Return the lowest position of each support point in the world, (T, P, 3) [m]."""
        return self._soles.lowest(self.tree.forward(pose)).double().cpu().numpy()


def grounded(lowest: np.ndarray, height: np.ndarray, rate: float) -> np.ndarray:
    """Return the frames in which a foot must touch the floor, (T,) bool: all except flight and raised feet.

    Only a freely falling body leaves the floor. If the feet seem to leave it while the pelvis falls more slowly, the
    recording is wrong.

    Args:
        lowest: Lowest point of the feet, (T,) [m].
        height: Height of the pelvis, (T,) [m].
        rate: Frame rate [Hz].
    """
    touching = np.ones(len(lowest), dtype=bool)
    step = min(max(1, round(FALLING * rate)), len(height) - 1)
    padded = np.pad(height, step, mode="reflect", reflect_type="odd")
    falling = (2 * height - padded[2 * step :] - padded[: -2 * step]) * (rate / step) ** 2
    for start, stop in runs(lowest > TOUCH):
        if falling[start:stop].max() > FREE or lowest[start:stop].max() > LIFTED:
            touching[start:stop] = False
    return touching


def standing(points: np.ndarray, rate: float) -> np.ndarray:
    """Return which points (T, P, 3) are near the floor, and slow along it and upwards for long enough, (T, P) bool."""
    velocity = np.gradient(points, axis=0) * rate
    level, rising = np.linalg.norm(velocity[..., :2], axis=-1), np.abs(velocity[..., 2])
    still = (points[..., 2] < NEAR) & (level < SLOW) & (rising < RISING)
    shortest = max(2, round(SHORTEST_STANCE * rate))
    for column in still.T:
        for start, stop in runs(column):
            if stop - start < shortest:
                column[start:stop] = False
    return still


def stances(points: np.ndarray, rate: float) -> tuple[np.ndarray, np.ndarray]:
    """Return which points (T, P, 3) stand, (T, P) bool, and their position while they do, (T, P, 2) [m].

    As `standing`, but a stance lasts as long as its point is near the stance's position, because recorded feet still
    glide when they land.
    """
    still, position = standing(points, rate), points[..., :2].copy()
    for column, point, out in zip(still.T, points.transpose(1, 0, 2), position.transpose(1, 0, 2), strict=True):
        for start, stop in runs(column):
            if start and column[start - 1]:  # already covered by the previous stance
                continue
            middle = np.median(point[start:stop, :2], axis=0)
            near = (np.linalg.norm(point[:, :2] - middle, axis=1) < SAME_PLACE) & (point[:, 2] < LOW)
            outside = np.flatnonzero(~near)
            start = max(outside[outside < start], default=-1) + 1
            stop = min(outside[outside >= stop], default=len(near))
            column[start:stop] = True
            out[start:stop] = np.median(point[start:stop, :2], axis=0)
    return still, position


def find_floor(points: np.ndarray, rate: float) -> tuple[np.ndarray, float]:
    """Estimate the floor; return the rotation (3, 3) that levels the motion, and the floor's height afterwards [m].

    Fits a plane through the points that stand still, regularized towards level because a recording may not determine
    the tilt (a straight walk does not determine it across).

    Args:
        points: Sole points, (T, P, 3) [m].
        rate: Frame rate [Hz].
    """
    speed = np.linalg.norm(np.gradient(points, axis=0), axis=-1) * rate
    lowest = points[..., 2].min(axis=1)
    # The lowest point of each slow frame; heights may drift along a tilted floor by centimetres.
    point = points[np.arange(len(points)), points[..., 2].argmin(axis=1)]
    slow = speed[np.arange(len(points)), points[..., 2].argmin(axis=1)] < SLOW
    if slow.sum() < 5:
        return np.eye(3), float(np.quantile(lowest, 0.02))
    at = point[slow]
    at = at[at[:, 2] < np.quantile(at[:, 2], 0.1) + 0.10]
    plane, height = np.zeros(2), float(np.median(at[:, 2]))
    centre = at[:, :2].mean(axis=0)
    for _ in range(5):  # iteratively reweighted, because a raised foot is not on the floor
        flat = at[:, :2] - centre
        residual = at[:, 2] - height - flat @ plane
        weight = 1.0 / (1.0 + (residual / 0.01) ** 2)
        design = np.column_stack((flat, np.ones(len(flat))))
        ridge = np.diag([0.01 * len(flat), 0.01 * len(flat), 0.0])
        solved = np.linalg.solve(design.T @ (design * weight[:, None]) + ridge, design.T @ (weight * at[:, 2]))
        plane, height = solved[:2], float(solved[2])
    angle = np.degrees(np.arctan(np.linalg.norm(plane)))
    if not LEVEL < angle < STEEPEST:
        return np.eye(3), float(np.median(at[:, 2]))
    normal = np.array([-plane[0], -plane[1], 1.0]) / np.sqrt(1 + plane @ plane)
    axis = np.cross(normal, [0.0, 0.0, 1.0])
    cross = np.array([[0, -axis[2], axis[1]], [axis[2], 0, -axis[0]], [-axis[1], axis[0], 0]])
    turn = np.eye(3) + cross + cross @ cross / (1 + normal[2])
    level = float((turn @ np.array([*centre, height]))[2])
    return turn, level
