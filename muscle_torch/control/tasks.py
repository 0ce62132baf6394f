"""Control tasks as weighted rows of a least-squares problem over the body's acceleration.

Every task is a function of the state and of the next reference frame, and returns `Rows`: jacobian @ qacc ~ target. The
posture is weighted by the reduced mass matrix, with couplings eliminated (Gauss' principle of least constraint: an
error of acceleration costs as much as the force that causes it). Root, swing feet and angular momentum add further
rows. The acceleration of a point is J qacc plus its drift dJ/dt qvel; the drift is subtracted from the targets.
"""

from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import mujoco
import numpy as np

from .body import ControlBody
from .dynamics import mass_matrix
from .options import TaskOptions
from .reference import Reference, relative_turning


class Rows(NamedTuple):
    """Weighted rows of a least-squares problem."""

    jacobian: np.ndarray  # (r, nv)
    target: np.ndarray  # (r,)


@dataclass(eq=False)
class BodyState:
    """State of one environment after `Dynamics.forward`, and its reference."""

    body: ControlBody
    data: mujoco.MjData
    reference: Reference
    frame: int  # current frame of the reference

    @property
    def next(self) -> int:
        """Next frame of the reference, which the control step should reach."""
        return min(self.frame + 1, self.reference.num_frames - 1)

    @cached_property
    def tangent(self) -> np.ndarray:
        """Matrix from independent velocities to those of all dofs, (nv, n)."""
        return self.body.independent.tangent(self.data.qpos)

    @cached_property
    def com_jacobian(self) -> np.ndarray:
        """Jacobian of the mass centre, (3, nv)."""
        out = np.zeros((3, self.body.model.nv))
        mujoco.mj_jacSubtreeCom(self.body.model, self.data, out, self.body.trunk)
        return out

    @cached_property
    def drift(self) -> tuple[np.ndarray, np.ndarray]:
        """Drift at qacc = 0: acceleration of the mass centre (3,) [m/s^2], rate of angular momentum about it (3,) [Nm].

        The root's rows of the bias force are the wrench on the whole body; the contribution of gravity is removed.
        """
        model, data, trunk = self.body.model, self.data, self.body.trunk
        start = int(model.body_dofadr[trunk])
        force, moment = data.qfrc_bias[start : start + 3], data.qfrc_bias[start + 3 : start + 6]
        moment = data.xmat[trunk].reshape(3, 3) @ moment - np.cross(self.com - data.xpos[trunk], force)
        return force / float(model.body_subtreemass[trunk]) + model.opt.gravity, moment

    def point_drift(self, point: np.ndarray, body: int) -> np.ndarray:
        """Return the drift of a point (3,) of a body: linear [m/s^2], then angular [rad/s^2], world axes, (6,)."""
        linear, angular = np.zeros((2, 3, self.body.model.nv))
        mujoco.mj_jacDot(self.body.model, self.data, linear, angular, point, body)
        return np.concatenate((linear @ self.data.qvel, angular @ self.data.qvel))

    @property
    def com(self) -> np.ndarray:
        """Mass centre, (3,) [m]."""
        return self.data.subtree_com[self.body.trunk]

    @cached_property
    def com_velocity(self) -> np.ndarray:
        """Velocity of the mass centre, (3,) [m/s]."""
        return self.com_jacobian @ self.data.qvel

    @cached_property
    def touching(self) -> np.ndarray:
        """Which feet have a contact that penetrates the floor, bool (F,)."""
        feet = self.body.feet_of_contacts(self.data)[self.data.contact.dist < 0.0]
        return np.isin(np.arange(len(self.body.feet)), feet)

    @cached_property
    def lowest(self) -> tuple[np.ndarray, np.ndarray]:
        """Lowest point of each foot, (F, 3) [m], and the ids of their bodies, (F,)."""
        soles = self.body.soles
        if soles is None:
            return np.zeros((0, 3)), np.zeros(0, dtype=np.int64)
        points = soles.lowest(self.data)
        columns = [np.flatnonzero(soles.foot == index) for index in range(len(self.body.feet))]
        ids = np.array([column[points[column, 2].argmin()] for column in columns])
        return points[ids], self.body.model.geom_bodyid[soles.geom[ids]]


def rotation_error(target: np.ndarray, current: np.ndarray) -> np.ndarray:
    """Return the rotation vector from `current` (3, 3) to `target` (3, 3) in world axes, (3,) [rad]."""
    quaternion, vector = np.zeros(4), np.zeros(3)
    mujoco.mju_mat2Quat(quaternion, (target @ current.T).ravel())
    mujoco.mju_quat2Vel(vector, quaternion, 1.0)
    return vector


def at_most(vector: np.ndarray, length: float) -> np.ndarray:
    """Return the vector, shortened to `length` if it is longer."""
    return vector * min(1.0, length / max(float(np.linalg.norm(vector)), 1e-9))


class Tasks:
    """Tasks of a body."""

    def __init__(self, body: ControlBody, options: TaskOptions) -> None:
        """Prepare the gains of each dof."""
        self.body, self.options = body, options
        count = len(body.dofs)
        stiff = np.where(body.light, options.limb_frequency, options.joint_frequency)
        added = np.where(
            body.leg, options.leg_inertia, np.where(body.light, options.limb_inertia, options.trunk_inertia)
        )
        if body.root_size:
            root, turn = options.root_frequency, options.turn_frequency
            stiff[:6] = [root, root, options.height_frequency, turn, turn, turn]
            added[:6] = 0.0
        self._frequency, self._added = stiff, added
        self._select = np.zeros((count, body.model.nv))
        self._select[np.arange(count), body.dofs] = 1.0

    def posture(self, state: BodyState) -> list[Rows]:
        """Return rows of joints and root in the metric of the reduced mass matrix, and weighted root rows."""
        options, desired = self.options, self.desired(state)
        reduced = state.tangent.T @ mass_matrix(self.body.model, state.data) @ state.tangent
        reduced[np.diag_indices(len(reduced))] += self._added
        root = np.linalg.cholesky(reduced).T
        rows = [Rows(root @ self._select, root @ desired)]
        if self.body.root_size:
            weight = np.repeat([options.root_weight, options.turn_weight], 3)
            weight[2] = options.height_weight
            rows.append(Rows(weight[:, None] * self._select[:6], weight * desired[:6]))
        return rows

    def balance(self, state: BodyState) -> list[Rows]:
        """Return rows of the horizontal acceleration of the mass centre."""
        options, reference, frame = self.options, state.reference, state.next
        if not options.com_weight or not self.body.root_size:
            return []
        error = reference.com[frame] - state.com - self.body.remaining * state.com_velocity
        rate = reference.com_velocity[frame] - state.com_velocity
        gain = options.com_frequency
        target = reference.com_acceleration[frame] + gain**2 * error + 2 * gain * rate - state.drift[0]
        return [Rows(options.com_weight * state.com_jacobian[:2], options.com_weight * target[:2])]

    def lean(self, state: BodyState) -> list[Rows]:
        """Return rows of the torso's orientation in the world.

        The joints of the trunk are stiff against the pelvis, which alone would let both lean together.
        """
        options, data, reference, frame = self.options, state.data, state.reference, state.next
        torso = self.body.torso
        if torso is None or not options.lean_weight:
            return []
        jacobian = np.zeros((3, self.body.model.nv))
        mujoco.mj_jacBody(self.body.model, data, None, jacobian, torso)
        velocity = jacobian @ data.qvel
        error = rotation_error(reference.torso_mat[frame], data.xmat[torso].reshape(3, 3))
        error -= self.body.remaining * velocity
        gain, rate = options.lean_frequency, reference.torso_velocity[frame] - velocity
        target = reference.torso_acceleration[frame] + gain**2 * error + 2 * gain * rate
        target -= state.point_drift(data.xpos[torso], torso)[3:]
        return [Rows(options.lean_weight * jacobian, options.lean_weight * target)]

    def desired(self, state: BodyState) -> np.ndarray:
        """Return the desired acceleration of independent dofs: reference plus critically damped errors, (n,)."""
        body, data, reference, frame = self.body, state.data, state.reference, state.next
        error = np.zeros(body.model.nv)
        mujoco.mj_differentiatePos(body.model, error, 1.0, data.qpos, reference.qpos[frame])
        error -= body.remaining * data.qvel  # error at the end of the control step, with constant velocity
        rate = reference.qvel[frame] - data.qvel
        error, rate = error[body.dofs], rate[body.dofs]
        for index, (inner, outer, dofs) in enumerate(body.ball_joints):
            error[dofs], rate[dofs] = self._ball_errors(state, index, inner, outer, dofs)
        return reference.qacc[frame, body.dofs] + self._frequency**2 * error + 2 * self._frequency * rate

    def _ball_errors(
        self, state: BodyState, index: int, inner: int, outer: int, dofs: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return position and velocity errors (3,) of a ball joint's hinges, damped near singularities."""
        data, reference, frame = state.data, state.reference, state.next
        turning = relative_turning(self.body.model, data, inner, outer)
        velocity = turning @ data.qvel
        axes = turning @ state.tangent[:, dofs]
        base = data.xmat[inner].reshape(3, 3)
        turned = rotation_error(base @ reference.ball_mat[frame, index], data.xmat[outer].reshape(3, 3))
        turned -= self.body.remaining * velocity
        rate = base @ reference.ball_velocity[frame, index] - velocity
        damped = axes.T @ axes + self.options.ball_damping**2 * np.eye(3)
        solved = np.linalg.solve(damped, axes.T @ np.column_stack((turned, rate)))
        return solved[:, 0], solved[:, 1]

    def momentum(self, state: BodyState) -> list[Rows]:
        """Return rows of the rate of whole-body angular momentum about the mass centre."""
        options, reference, frame = self.options, state.reference, state.next
        if not options.momentum_weight or not self.body.root_size:
            return []
        jacobian = np.zeros((3, self.body.model.nv))
        mujoco.mj_angmomMat(self.body.model, state.data, jacobian, self.body.trunk)
        error = reference.momentum[frame] - jacobian @ state.data.qvel
        rate = reference.momentum_rate[frame] + options.momentum_rate * error - state.drift[1]
        return [Rows(options.momentum_weight * jacobian, options.momentum_weight * rate)]

    def clearance(self, state: BodyState, height: float) -> list[Rows]:
        """Return rows that lift the lowest point of swinging feet to `height` [m] in the middle of the swing."""
        options, reference, step = self.options, state.reference, self.body.remaining
        points, bodies = state.lowest
        rows, jacobian = [], np.zeros((3, self.body.model.nv))
        for point, body, swing in zip(points, bodies, reference.swing[state.next], strict=True):
            mujoco.mj_jac(self.body.model, state.data, jacobian, None, point, int(body))
            velocity = jacobian[2] @ state.data.qvel
            missing = height * swing - point[2] - step * velocity
            if swing > 0 and missing > 0:
                gain, weight = options.foot_frequency, options.clearance_weight
                drift = state.point_drift(point, int(body))[2]
                target = gain**2 * missing - 2 * gain * velocity - drift
                rows.append(Rows(weight * jacobian[2:].copy(), np.array([weight * target])))
        return rows

    def feet(self, state: BodyState, places: np.ndarray) -> list[Rows]:
        """Return rows of position, with targets `places` (F, 3), and orientation of feet that are in the air."""
        options, data, reference, frame = self.options, state.data, state.reference, state.next
        rows, step = [], self.body.remaining
        for index, foot in enumerate(self.body.feet):
            if reference.stands[frame, index] and state.touching[index]:
                continue
            linear, angular = np.zeros((3, self.body.model.nv)), np.zeros((3, self.body.model.nv))
            mujoco.mj_jacBody(self.body.model, data, linear, angular, foot.body)
            velocity = np.concatenate((linear @ data.qvel, angular @ data.qvel))
            turned = rotation_error(reference.foot_mat[frame, index], data.xmat[foot.body].reshape(3, 3))
            error = np.concatenate((places[index] - data.xpos[foot.body], turned)) - step * velocity
            rate = reference.foot_velocity[frame, index] - velocity
            gain = options.foot_frequency
            correction = gain**2 * error + 2 * gain * rate
            correction[:3] = at_most(correction[:3], options.foot_correction)
            correction[3:] = at_most(correction[3:], options.foot_turn_correction)
            drift = state.point_drift(data.xpos[foot.body], foot.body)
            target = reference.foot_acceleration[frame, index] + correction - drift
            weight = np.repeat([options.foot_weight, options.foot_turn_weight], 3)
            rows.append(Rows(weight[:, None] * np.concatenate((linear, angular)), weight * target))
        return rows
