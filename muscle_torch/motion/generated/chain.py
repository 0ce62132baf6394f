"""Kinematics of one limb over all frames at once: pose, Jacobian and inverse kinematics from the root to a body."""

from collections.abc import Sequence
from typing import NamedTuple

import mujoco
import numpy as np
from scipy.spatial.transform import Rotation

from muscle_torch.embodiments import Embodiment
from muscle_torch.errors import InputError

ITERATIONS = 40
MAX_STEP = 0.2  # [rad] per iteration
DAMPING = 1e-8
REACHED = 1e-6  # [m], [rad]
CONVERGED = 1e-6  # [rad] smaller steps end the iteration
ERROR_WEIGHTS = np.array([1.0, 1.0, 1.0, 0.3, 0.3, 0.3])  # position [m] and orientation, with a lever arm of 0.3 m
MARGIN = 0.02  # [rad] to the limits


class Placed(NamedTuple):
    """Pose of a body, and the joints between it and the root."""

    pos: np.ndarray  # (T, 3) [m]
    mat: np.ndarray  # (T, 3, 3)
    joints: list[tuple[int, np.ndarray, np.ndarray]]  # joint id, anchor (T, 3), axis (T, 3), from the root outward


class Chain:
    """The bodies from the world to `body`; world axes, first axis T, as in MuJoCo's kinematics."""

    def __init__(self, embodiment: Embodiment, body: str) -> None:
        """Collect the bodies of the chain. Raises InputError if `body` is unknown."""
        self._embodiment, self._model = embodiment, embodiment.model
        self._bodies: list[int] = []
        at = int(embodiment.resolve("body", [body])[0])
        while at > 0:
            self._bodies.insert(0, at)
            at = int(self._model.body_parentid[at])

    def place(self, qpos: np.ndarray) -> Placed:
        """Return the pose of the body in `qpos` (T, nq)."""
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
        """Return the qpos addresses of the hinges and slides of all descendants of the body."""
        model, last = self._model, self._bodies[-1]
        beyond = {last}
        for body in range(last + 1, model.nbody):  # parents come before children
            if int(model.body_parentid[body]) in beyond:
                beyond.add(body)
        joints = [joint for joint in range(model.njnt) if int(model.jnt_bodyid[joint]) in beyond - {last}]
        return model.jnt_qposadr[joints].astype(np.int64)

    def free_joints(self) -> tuple[str, ...]:
        """Return the uncoupled hinges and slides between root and body, from the root outward."""
        coupled = set(self._embodiment.dependent.qpos_ids.tolist())
        names = []
        for body in self._bodies:
            first = self._model.body_jntadr[body]
            for joint in range(first, first + self._model.body_jntnum[body]):
                scalar = self._model.jnt_type[joint] != mujoco.mjtJoint.mjJNT_FREE
                if scalar and int(self._model.jnt_qposadr[joint]) not in coupled:
                    names.append(self._model.joint(joint).name)
        return tuple(names)

    def jacobian(self, placed: Placed, qpos: np.ndarray, names: Sequence[str]) -> np.ndarray:
        """Return the Jacobian (T, 6, N): velocity of the body's origin, then angular velocity, for each named joint.

        Joints that are coupled to a named one move with it.

        Args:
            placed: Of `place`.
            qpos: (T, nq).
            names: N joints.
        """
        model, coupling = self._model, self._embodiment.dependent
        column = {int(model.joint(name).qposadr[0]): index for index, name in enumerate(names)}
        coupled = dict(zip(coupling.qpos_ids.tolist(), range(len(coupling.qpos_ids)), strict=True))
        out = np.zeros((len(qpos), 6, len(names)))
        for joint, anchor, axis in placed.joints:
            address, rate = int(model.jnt_qposadr[joint]), np.ones(len(qpos))
            if address in coupled:
                row = coupled[address]
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
        """Solve inverse kinematics by damped Gauss-Newton, starting from `qpos`; coupled joints follow.

        Args:
            qpos: (T, nq).
            names: n joints to solve for.
            pos: Target position of the body (T, 3) [m].
            mat: Target orientation of the body (T, 3, 3).
            exactly: Whether to raise if the target is not reached; otherwise return the nearest solution.
            limits: Joint limits (n, 2); None: those of the model less `MARGIN`.

        Returns:
            qpos (T, nq) with the named joints changed.

        Raises:
            InputError: The limb does not reach the target, and `exactly` is set.
        """
        ids = [self._model.joint(name).qposadr[0] for name in names]
        if limits is None:
            limits = np.array([self._model.joint(name).range for name in names]) + np.array((MARGIN, -MARGIN))
        low, high = limits.T
        out, active, error = np.array(qpos), np.arange(len(qpos)), np.zeros((len(qpos), 6))
        out[:, ids] = np.clip(out[:, ids], low, high)
        for _ in range(ITERATIONS):
            part = self._embodiment.project(out[active])
            placed = self.place(part)
            turn = (Rotation.from_matrix(mat[active]) * Rotation.from_matrix(placed.mat).inv()).as_rotvec()
            out[active], error[active] = part, np.concatenate((pos[active] - placed.pos, turn), axis=1)
            away = np.abs(error[active]).max(axis=1) >= REACHED
            if not away.any():
                return out
            active = active[away]
            step = _bounded_step(
                self.jacobian(placed, part, names)[away], error[active], out[active][:, ids], low, high
            )
            out[np.ix_(active, ids)] += step
            active = active[np.abs(step).max(axis=1) > CONVERGED]  # the other frames are as near as their limits allow
            if not len(active):
                break
        out = self._embodiment.project(out)
        if not exactly:
            return out
        frame = int(np.abs(error).max(axis=1).argmax())
        angles = ", ".join(f"{name} {angle:.2f}" for name, angle in zip(names, out[frame, ids], strict=True))
        raise InputError(
            f"the limb does not reach its target in frame {frame}, off by {error[frame].round(3)}: {angles}"
        )


def _bounded_step(
    jacobian: np.ndarray, error: np.ndarray, angles: np.ndarray, low: np.ndarray, high: np.ndarray
) -> np.ndarray:
    """Return steps (T, n) of the joints that reduce errors (T, 6), within the joint limits (n,)."""
    step = _damped_step(jacobian, error)
    # A joint at its limit that the step would push further stays there, and the step is recomputed without it.
    stuck = ((angles <= low) & (step < 0)) | ((angles >= high) & (step > 0))
    if stuck.any():
        step = _damped_step(np.where(stuck[:, None], 0.0, jacobian), error)
    step *= np.minimum(1.0, MAX_STEP / np.maximum(np.abs(step).max(axis=1, keepdims=True), 1e-12))
    return np.clip(angles + step, low, high) - angles


def _damped_step(jacobian: np.ndarray, error: np.ndarray) -> np.ndarray:
    """Return damped least-squares steps (T, n) for errors (T, 6) and Jacobians (T, 6, n)."""
    jacobian, error = jacobian * ERROR_WEIGHTS[:, None], error * ERROR_WEIGHTS
    square = jacobian.swapaxes(1, 2) @ jacobian + DAMPING * np.eye(jacobian.shape[2])
    return np.linalg.solve(square, jacobian.swapaxes(1, 2) @ error[..., None])[..., 0]
