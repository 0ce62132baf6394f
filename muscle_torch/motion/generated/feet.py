"""Feet on the floor (flat, or rolling over heel and ball without sliding) or lifted, and the legs that reach them.

The body faces -y, its left is +x, the floor is z = 0. Angles [rad], lengths [m].
"""

from typing import NamedTuple

import mujoco
import numpy as np
from scipy.spatial.transform import Rotation
from scipy.special import logsumexp

from muscle_torch.embodiments import Embodiment

from .chain import Chain

LEG = ("hip_flexion", "hip_adduction", "hip_rotation", "knee_angle", "ankle_angle", "subtalar_angle")
OUTWARD = {"r": -1.0, "l": 1.0}  # along x


class FootPath(NamedTuple):
    """Path of a foot: pose of the heel bone and angle of the toes."""

    pos: np.ndarray  # (T, 3)
    mat: np.ndarray  # (T, 3, 3)
    toes: np.ndarray  # (T,)


class Foot:
    """One foot, whose sole consists of the spheres at the ends of its collision capsules, and the leg above it."""

    def __init__(self, embodiment: Embodiment, side: str) -> None:
        """Collect the sole's spheres of one side, "r" or "l"."""
        self.side, self._model = side, embodiment.model
        self.leg = tuple(f"{joint}_{side}" for joint in LEG)
        self.toe_joint = f"mtp_angle_{side}"
        self.chain = Chain(embodiment, f"calcn_{side}")
        self._neutral = self.chain.place(embodiment.project(embodiment.qpos0)[None]).mat[0]
        toes = self._model.body(f"toes_{side}")
        self._toe_pos, self._toe_axis = toes.pos, self._model.joint(self.toe_joint).axis
        parts = [self._spheres(f"{bone}_{side}") for bone in ("calcn", "toes")]
        self._centres = [np.array([centre for centre, _ in part]) for part in parts]
        self._radii = np.array([radius for part in parts for _, radius in part])

    def _spheres(self, body: str) -> list[tuple[np.ndarray, float]]:
        """Return (centre in the body frame, radius) of both ends of each collision capsule."""
        model, spheres = self._model, []
        for geom in range(model.ngeom):
            capsule = model.geom_type[geom] == mujoco.mjtGeom.mjGEOM_CAPSULE and model.geom_contype[geom]
            if capsule and model.body(model.geom_bodyid[geom]).name == body:
                turn = Rotation.from_quat(model.geom_quat[geom], scalar_first=True)
                radius, half = model.geom_size[geom, :2]
                for end in (-half, half):
                    spheres.append((model.geom_pos[geom] + turn.apply([0.0, 0.0, end]), float(radius)))
        return spheres

    def turned(self, outward: np.ndarray | float, pitch: np.ndarray) -> np.ndarray:
        """Return the orientation of the heel bone (T, 3, 3), toes rotated `outward` and up by `pitch` (T,) [rad]."""
        yaw = np.broadcast_to(OUTWARD[self.side] * np.asarray(outward), pitch.shape)
        turn = Rotation.from_euler("z", yaw[:, None]) * Rotation.from_euler("x", -pitch[:, None])
        return turn.as_matrix() @ self._neutral

    def _sole(self, mat: np.ndarray, toes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return sphere centres relative to the heel bone (T, N, 3) and their bodies' orientation (T, N, 3, 3)."""
        bent = mat @ Rotation.from_rotvec(toes[:, None] * self._toe_axis).as_matrix()
        heel, front = self._centres
        centres = (heel @ mat.swapaxes(1, 2), (mat @ self._toe_pos)[:, None] + front @ bent.swapaxes(1, 2))
        turns = [np.repeat(turn[:, None], len(part), axis=1) for turn, part in ((mat, heel), (bent, front))]
        return np.concatenate(centres, axis=1), np.concatenate(turns, axis=1)

    def standing(self, place: np.ndarray, outward: float, pitch: np.ndarray, lift: np.ndarray) -> FootPath:
        """Return the path of a foot at a fixed orientation.

        Args:
            place: Horizontal position of the heel bone, (T, 2) [m].
            outward: Outward rotation [rad].
            pitch: Toes up, (T,) [rad].
            lift: Height of the lowest point above the floor, (T,) [m].
        """
        mat, toes = self.turned(outward, pitch), np.zeros(len(pitch))
        centres, _ = self._sole(mat, toes)
        height = lift - (centres[..., 2] - self._radii).min(axis=1)
        return FootPath(np.column_stack((place, height)), mat, toes)

    def clear_height(self, mat: np.ndarray, toes: np.ndarray, softness: float = 0.01) -> np.ndarray:
        """Return the height of the heel bone (T,) [m] at which the whole sole clears the floor.

        The exact height, smoothed: up to softness * log(points) [m] higher when several points are lowest together, so
        that it has no kink when the lowest point changes from the toes to the heel.

        Args:
            mat: Orientation of the heel bone, (T, 3, 3).
            toes: Angle of the toes, (T,) [rad].
            softness: [m].
        """
        centres, _ = self._sole(mat, toes)
        return softness * logsumexp((self._radii - centres[..., 2]) / softness, axis=1)

    def rolling(self, place: np.ndarray, outward: float, pitch: np.ndarray, toes: np.ndarray, flat: int) -> FootPath:
        """Return the path of a foot that rolls on the floor without sliding.

        Args:
            place: Position (2,) [m] of the heel bone in frame `flat`.
            outward: Outward rotation [rad].
            pitch: Toes up, (T,) [rad].
            toes: Angle of the toe joint, (T,) [rad].
            flat: Frame in which the foot is at `place`.
        """
        mat = self.turned(outward, pitch)
        centres, turns = self._sole(mat, toes)
        heights = centres[..., 2] - self._radii
        pos = np.column_stack((np.tile(place, (len(pitch), 1)), -heights.min(axis=1)))
        down = np.array([0.0, 0.0, -1.0])
        order = [(k, k + 1) for k in range(flat, len(pitch) - 1)] + [(k, k - 1) for k in range(flat, 0, -1)]
        for here, there in order:
            touching = int(heights[here].argmin())
            point = self._radii[touching] * down
            carried = turns[there, touching] @ turns[here, touching].T @ point
            now, then = centres[here, touching] + point, centres[there, touching] + carried
            pos[there, :2] = pos[here, :2] + (now - then)[:2]
        return FootPath(pos, mat, toes)

    def step_to(self, qpos: np.ndarray, path: FootPath, exactly: bool = True) -> np.ndarray:
        """Return `qpos` (T, nq) with this leg's joints placing the foot on its path; see `Chain.reach`."""
        out = self.chain.reach(qpos, self.leg, path.pos, path.mat, exactly)
        out[:, self._model.joint(self.toe_joint).qposadr[0]] = path.toes
        return out
