"""Collisions between body parts: MuJoCo finds the nearest points, torch pushes the parts apart."""

from dataclasses import dataclass

import mujoco
import numpy as np
import torch
from torch import Tensor

from .kinematics import BodyTree, Frames, Pose


@dataclass(frozen=True)
class Contacts:
    """Nearest points of C pairs of geoms per frame; pairs that are never near are excluded."""

    bodies: Tensor  # (2, C)
    local: Tensor  # (2, T, C, 3) the nearest points in the axes of their bodies [m]
    normal: Tensor  # (T, C, 3) from the first to the second, world
    near: Tensor  # (T, C) 1 if the pair is near in that frame
    nearest: np.ndarray  # (T,) smallest distance of all pairs [m]

    def __len__(self) -> int:
        """Return the number of pairs C."""
        return self.bodies.shape[1]

    def rows(self, tree: BodyTree, frames: Frames, clearance: float, weight: float) -> tuple[Tensor, Tensor, Tensor]:
        """Return the one-sided terms: Jacobian (T, C, d), distance beyond `clearance` (T, C) and weight (T, C).

        Args:
            tree: The body.
            frames: Its kinematics.
            clearance: Distance to keep [m].
            weight: Weight of a near pair.
        """
        points = [
            frames.pos[:, b] + (frames.mat[:, b] @ at[..., None])[..., 0]
            for b, at in zip(self.bodies, self.local, strict=True)
        ]
        distance = torch.sum((points[1] - points[0]) * self.normal, dim=-1) - clearance
        jacobians = [tree.point_jacobian(frames, b, at) for b, at in zip(self.bodies, points, strict=True)]
        jacobian = torch.sum((jacobians[1] - jacobians[0]) * self.normal[..., None], dim=2)
        return jacobian, distance, weight * self.near


def pairs(model: mujoco.MjModel) -> np.ndarray:
    """Return the pairs of geoms (C, 2) whose collision the model defines, without the floor."""
    return np.stack((model.pair_geom1, model.pair_geom2), axis=1)


def find_contacts(tree: BodyTree, pose: Pose, clearance: float) -> Contacts | None:
    """Find the model's pairs that are nearer than twice `clearance` [m]; None if there are none."""
    model, qpos = tree.model, tree.qpos(pose, exact=False)
    geoms = pairs(model)
    data = mujoco.MjData(model)
    reach = 2 * clearance
    near = np.zeros((len(qpos), len(geoms)), dtype=bool)
    ends = np.zeros((2, len(qpos), len(geoms), 3))
    normals = np.zeros((len(qpos), len(geoms), 3))
    nearest = np.full(len(qpos), np.inf)
    line = np.zeros(6)
    sizes = model.geom_rbound[geoms].sum(axis=1) + reach
    for t, q in enumerate(qpos):
        data.qpos[:] = q
        mujoco.mj_kinematics(model, data)
        distance = np.linalg.norm(data.geom_xpos[geoms[:, 0]] - data.geom_xpos[geoms[:, 1]], axis=1)
        for c in np.flatnonzero(distance < sizes):
            first, second = geoms[c]
            gap = mujoco.mj_geomDistance(model, data, first, second, reach, line)
            if gap >= reach:
                continue
            nearest[t] = min(nearest[t], gap)
            along = (line[3:] - line[:3]) * (1.0 if gap >= 0 else -1.0)
            length = np.linalg.norm(along)
            if length < 1e-9:
                continue
            near[t, c], normals[t, c] = True, along / length
            for side, (geom, at) in enumerate(((first, line[:3]), (second, line[3:]))):
                body = model.geom_bodyid[geom]
                ends[side, t, c] = data.xmat[body].reshape(3, 3).T @ (at - data.xpos[body])
    used = np.flatnonzero(near.any(axis=0))
    if not len(used):
        return None
    return Contacts(
        bodies=tree.index(tree.place[model.geom_bodyid[geoms[used]].T]),
        local=tree.tensor(ends[:, :, used]),
        normal=tree.tensor(normals[:, used]),
        near=tree.tensor(near[:, used]),
        nearest=nearest,
    )
