"""Kinematics of one limb over all frames at once: from the root to a body, with Jacobian and inverse kinematics."""

from collections.abc import Sequence
from typing import NamedTuple

import mujoco
import numpy as np
from scipy.spatial.transform import Rotation

from muscle_torch.embodiments import Embodiment
from muscle_torch.errors import InputError

ITERATIONS = 40
LONGEST_STEP = 0.2  # [rad] an iteration
DAMPING = 1e-8
REACHED = 1e-6  # [m], [rad]
SETTLED = 1e-6  # [rad] smaller steps end the search
TURNING = np.array([1.0, 1.0, 1.0, 0.3, 0.3, 0.3])  # a body that misses its place by an angle moves over 0.3 m
MARGIN = 0.02  # [rad] to the limits


class Placed(NamedTuple):
    """Where a body is, and the joints on the way to it."""

    pos: np.ndarray  # (T, 3) [m]
    mat: np.ndarray  # (T, 3, 3)
    joints: list[tuple[int, np.ndarray, np.ndarray]]  # joint id, anchor (T, 3), axis (T, 3), from the root outward


class Chain:
    """The bodies from the world to `body`; world axes, frames T first, as MuJoCo's own kinematics has them."""

    def __init__(self, embodiment: Embodiment, body: str) -> None:
        self._embodiment, self._model = embodiment, embodiment.model
        self._bodies: list[int] = []
        at = int(embodiment.resolve("body", [body])[0])
        while at > 0:
            self._bodies.insert(0, at)
            at = int(self._model.body_parentid[at])

    def place(self, qpos: np.ndarray) -> Placed:
        """Pose of the body in `qpos` (T, nq)."""
        model = self._model
        pos, mat = np.zeros((len(qpos), 3)), np.tile(np.eye(3), (len(qpos), 1, 1))
        joints: list[tuple[int, np.ndarray, np.ndarray]] = []
        for body in self._bodies:
            pos = pos + mat @ model.body_pos[body]
            mat = mat @ Rotation.from_quat(model.body_quat[body], scalar_first=True).as_matrix()
            first = model.body_jntadr[body]
            for joint in range(first, first + model.body_jntnum[body]):
                address = model.jnt_qposadr[joint]
                if model.jnt_type[joint] == mujoco.mjtJoint.mjJNT_FREE:
                    pos = qpos[:, address : address + 3]
                    mat = Rotation.from_quat(qpos[:, address + 3 : address + 7], scalar_first=True).as_matrix()
                    continue
                moved = qpos[:, address] - model.qpos0[address]
                anchor, axis = pos + mat @ model.jnt_pos[joint], mat @ model.jnt_axis[joint]
                joints.append((joint, anchor, axis))
                if model.jnt_type[joint] == mujoco.mjtJoint.mjJNT_SLIDE:
                    pos = pos + axis * moved[:, None]
                else:
                    mat = mat @ Rotation.from_rotvec(moved[:, None] * model.jnt_axis[joint]).as_matrix()
                    pos = anchor - mat @ model.jnt_pos[joint]
        return Placed(pos, mat, joints)

    def joints_beyond(self) -> np.ndarray:
        """Addresses in qpos of the hinges and slides of all bodies that hang on this one."""
        model, last = self._model, self._bodies[-1]
        beyond = {last}
        for body in range(last + 1, model.nbody):  # parents come before children
            if int(model.body_parentid[body]) in beyond:
                beyond.add(body)
        joints = [joint for joint in range(model.njnt) if int(model.jnt_bodyid[joint]) in beyond - {last}]
        return model.jnt_qposadr[joints].astype(np.int64)

    def free_joints(self) -> tuple[str, ...]:
        """Hinges and slides on the way to the body that no equality ties to others, from the root outward."""
        tied = set(self._embodiment.dependent.qpos_ids.tolist())
        names = []
        for body in self._bodies:
            first = self._model.body_jntadr[body]
            for joint in range(first, first + self._model.body_jntnum[body]):
                scalar = self._model.jnt_type[joint] != mujoco.mjtJoint.mjJNT_FREE
                if scalar and int(self._model.jnt_qposadr[joint]) not in tied:
                    names.append(self._model.joint(joint).name)
        return tuple(names)

    def jacobian(self, placed: Placed, qpos: np.ndarray, names: Sequence[str]) -> np.ndarray:
        """(T, 6, len(names)): velocity of the body's origin, then angular velocity, for each named joint.

        Joints that an equality ties to a named one move with it.
        """
        model, coupling = self._model, self._embodiment.dependent
        column = {int(model.joint(name).qposadr[0]): index for index, name in enumerate(names)}
        tied = dict(zip(coupling.qpos_ids.tolist(), range(len(coupling.qpos_ids)), strict=True))
        out = np.zeros((len(qpos), 6, len(names)))
        for joint, anchor, axis in placed.joints:
            address, rate = int(model.jnt_qposadr[joint]), np.ones(len(qpos))
            if address in tied:
                row = tied[address]
                address = int(coupling.independent_qpos_ids[row])
                slope = np.polynomial.polynomial.polyder(coupling.polynomials[row])
                rate = np.polynomial.polynomial.polyval(qpos[:, address] - model.qpos0[address], slope)
            if address not in column:
                continue
            if model.jnt_type[joint] == mujoco.mjtJoint.mjJNT_SLIDE:
                motion = np.concatenate((axis, np.zeros_like(axis)), axis=1)
            else:
                motion = np.concatenate((np.cross(axis, placed.pos - anchor), axis), axis=1)
            out[:, :, column[address]] += rate[:, None] * motion
        return out

    def reach(
        self,
        qpos: np.ndarray,
        names: Sequence[str],
        pos: np.ndarray,
        mat: np.ndarray,
        exactly: bool = True,
        limits: np.ndarray | None = None,
    ) -> np.ndarray:
        """`qpos` (T, nq) with the joints `names` such that the body is at pos (T, 3), mat (T, 3, 3).

        Coupled joints follow; the joints stay within `limits` (n, 2), by default their own less `MARGIN`. Damped
        Gauss-Newton from `qpos`. Raises InputError where the limb does not reach; not `exactly`: gets as near as it
        can.
        """
        ids = [self._model.joint(name).qposadr[0] for name in names]
        if limits is None:
            limits = np.array([self._model.joint(name).range for name in names]) + np.array((MARGIN, -MARGIN))
        low, high = limits.T
        out, left, error = np.array(qpos), np.arange(len(qpos)), np.zeros((len(qpos), 6))
        out[:, ids] = np.clip(out[:, ids], low, high)
        for _ in range(ITERATIONS):
            part = self._embodiment.project(out[left])
            placed = self.place(part)
            turn = (Rotation.from_matrix(mat[left]) * Rotation.from_matrix(placed.mat).inv()).as_rotvec()
            out[left], error[left] = part, np.concatenate((pos[left] - placed.pos, turn), axis=1)
            away = np.abs(error[left]).max(axis=1) >= REACHED
            if not away.any():
                return out
            left = left[away]
            step = _bounded_step(self.jacobian(placed, part, names)[away], error[left], out[left][:, ids], low, high)
            out[np.ix_(left, ids)] += step
            left = left[np.abs(step).max(axis=1) > SETTLED]  # the others are as near as their limits let them come
            if not len(left):
                break
        out = self._embodiment.project(out)
        if not exactly:
            return out
        frame = int(np.abs(error).max(axis=1).argmax())
        angles = ", ".join(f"{name} {angle:.2f}" for name, angle in zip(names, out[frame, ids], strict=True))
        raise InputError(f"the limb does not reach its place in frame {frame}, {error[frame].round(3)} off: {angles}")


def _bounded_step(
    jacobian: np.ndarray, error: np.ndarray, angles: np.ndarray, low: np.ndarray, high: np.ndarray
) -> np.ndarray:
    """Steps (T, n) of the joints that reduce errors (T, 6), by Jacobians (T, 6, n), within the joints' limits (n,)."""
    step = _damped_step(jacobian, error)
    # A joint at its limit that the step would push beyond stays there, and the others do without it.
    stuck = ((angles <= low) & (step < 0)) | ((angles >= high) & (step > 0))
    if stuck.any():
        step = _damped_step(np.where(stuck[:, None], 0.0, jacobian), error)
    step *= np.minimum(1.0, LONGEST_STEP / np.maximum(np.abs(step).max(axis=1, keepdims=True), 1e-12))
    return np.clip(angles + step, low, high) - angles


def _damped_step(jacobian: np.ndarray, error: np.ndarray) -> np.ndarray:
    """Steps (T, n) of least squares that reduce errors (T, 6) by Jacobians (T, 6, n)."""
    jacobian, error = jacobian * TURNING[:, None], error * TURNING
    square = jacobian.swapaxes(1, 2) @ jacobian + DAMPING * np.eye(jacobian.shape[2])
    return np.linalg.solve(square, jacobian.swapaxes(1, 2) @ error[..., None])[..., 0]
