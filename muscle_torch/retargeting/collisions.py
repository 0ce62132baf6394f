"""Body parts that come too near each other: MuJoCo finds the nearest points, torch pushes them apart."""

from dataclasses import dataclass

import mujoco
import numpy as np
import torch
from torch import Tensor

from .kinematics import BodyTree, Frames, Pose


@dataclass(frozen=True)
class Contacts:
    """Nearest points of C pairs of geoms, per frame; pairs that are near in no frame are left out."""

    bodies: Tensor  # (2, C)
    local: Tensor  # (2, T, C, 3) the nearest points in the axes of their bodies [m]
    normal: Tensor  # (T, C, 3) from the first to the second, world
    near: Tensor  # (T, C) 1 where the pair is near in that frame
    nearest: np.ndarray  # (T,) smallest distance of all pairs [m]

    def __len__(self) -> int:
        return self.bodies.shape[1]

    def rows(self, tree: BodyTree, frames: Frames, clearance: float, weight: float) -> tuple[Tensor, Tensor, Tensor]:
        """One-sided terms: (Jacobian (T, C, d), distance beyond `clearance` (T, C), weight (T, C))."""
        where = [
            frames.pos[:, b] + (frames.mat[:, b] @ at[..., None])[..., 0]
            for b, at in zip(self.bodies, self.local, strict=True)
        ]
        apart = torch.sum((where[1] - where[0]) * self.normal, dim=-1) - clearance
        move = [tree.point_jacobian(frames, b, at) for b, at in zip(self.bodies, where, strict=True)]
        jacobian = torch.sum((move[1] - move[0]) * self.normal[..., None], dim=2)
        return jacobian, apart, weight * self.near


def pairs(model: mujoco.MjModel) -> np.ndarray:
    """(C, 2) geoms whose collision the model asks for, floor left out."""
    return np.stack((model.pair_geom1, model.pair_geom2), axis=1)


def find_contacts(tree: BodyTree, pose: Pose, clearance: float) -> Contacts | None:
    """The model's pairs that are nearer than about twice `clearance`."""
    model, qpos = tree.model, tree.qpos(pose, exact=False)
    both = pairs(model)
    data = mujoco.MjData(model)
    reach = 2 * clearance
    found = np.zeros((len(qpos), len(both)), dtype=bool)
    ends = np.zeros((2, len(qpos), len(both), 3))
    normals = np.zeros((len(qpos), len(both), 3))
    nearest = np.full(len(qpos), np.inf)
    line = np.zeros(6)
    sizes = model.geom_rbound[both].sum(axis=1) + reach
    for t, q in enumerate(qpos):
        data.qpos[:] = q
        mujoco.mj_kinematics(model, data)
        distance = np.linalg.norm(data.geom_xpos[both[:, 0]] - data.geom_xpos[both[:, 1]], axis=1)
        for c in np.flatnonzero(distance < sizes):
            first, second = both[c]
            gap = mujoco.mj_geomDistance(model, data, first, second, reach, line)
            if gap >= reach:
                continue
            nearest[t] = min(nearest[t], gap)
            along = (line[3:] - line[:3]) * (1.0 if gap >= 0 else -1.0)
            length = np.linalg.norm(along)
            if length < 1e-9:
                continue
            found[t, c], normals[t, c] = True, along / length
            for side, (geom, at) in enumerate(((first, line[:3]), (second, line[3:]))):
                body = model.geom_bodyid[geom]
                ends[side, t, c] = data.xmat[body].reshape(3, 3).T @ (at - data.xpos[body])
    used = np.flatnonzero(found.any(axis=0))
    if not len(used):
        return None
    return Contacts(
        bodies=tree.index(tree.place[model.geom_bodyid[both[used]].T]),
        local=tree.tensor(ends[:, :, used]),
        normal=tree.tensor(normals[:, used]),
        near=tree.tensor(found[:, used]),
        nearest=nearest,
    )
