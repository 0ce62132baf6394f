"""The body's acceleration as a linear function of activations and contact forces, with MuJoCo's own soft constraints.

At a state (q, v, activations) MuJoCo's acceleration obeys

    (M + Je' De Je + horizon D) a = smooth force + Je' De aref_e + G u + Jc' f
    Jc a + R f - s = aref_c,   f >= 0,  s >= 0,  f s = 0

with rows e of equality couplings (quadratic, always active), and one row c per edge of a contact pyramid and per
joint at its limit. The inputs u are activations of muscles and controls of motors. The rows c are constraints of the
quadratic program that chooses u, so that contacts may open and close in the plan. D is the damping by joint dampers
and by the muscles' force-velocity curves, which acts on the change of velocity within `horizon` seconds.
"""

from dataclasses import dataclass

import mujoco
import numpy as np
from scipy.linalg import cho_factor, cho_solve

from muscle_torch.embodiments import actuator_moments

from .body import ControlBody
from .muscle_force import MuscleForce

LOWEST_ACTIVATION = 0.02  # lower bound of the activation for the damping of a muscle
FIRST_LIMIT = int(mujoco.mjtConstraint.mjCNSTR_LIMIT_JOINT)
FIRST_CONTACT = int(mujoco.mjtConstraint.mjCNSTR_CONTACT_FRICTIONLESS)


@dataclass(frozen=True, eq=False)
class LinearDynamics:
    """a = free + by_input @ u + by_edge @ f, for nv dofs and C unilateral rows (contact edges and joint limits)."""

    free: np.ndarray  # (nv,) acceleration without inputs and edge forces
    by_input: np.ndarray  # (nv, nu)
    by_edge: np.ndarray  # (nv, C)
    edges: (
        np.ndarray
    )  # (C, nv) Jacobian of the unilateral rows, times 1 + B horizon / 2 for the damping of the contact law
    compliance: np.ndarray  # (C,) R
    reference: np.ndarray  # (C,) aref
    foot: np.ndarray  # (C,) index of the foot of each row; -1: none

    def acceleration(self, inputs: np.ndarray, forces: np.ndarray) -> np.ndarray:
        """Return the acceleration (nv,) for inputs (nu,) and edge forces (C,) [N]."""
        return self.free + self.by_input @ inputs + self.by_edge @ forces


class Dynamics:
    """Linearizes the dynamics of a body.

    Attributes:
        body: The body.
        force: Force of its muscles.
    """

    def __init__(self, body: ControlBody) -> None:
        self.body = body
        self.force = MuscleForce(body.model, np.flatnonzero(body.muscle))

    def forward(self, data: mujoco.MjData) -> None:
        """Compute everything up to the constraint rows for the state in `data`, with controls of zero."""
        model = self.body.model
        data.ctrl[:] = 0.0
        mujoco.mj_fwdPosition(model, data)
        mujoco.mj_fwdVelocity(model, data)
        mujoco.mj_fwdActuation(model, data)
        mujoco.mj_fwdAcceleration(model, data)

    def linearize(self, data: mujoco.MjData, horizon: float = 0.0) -> LinearDynamics:
        """Return the linear dynamics in the state of `data`.

        Args:
            data: Data after `forward`.
            horizon: Time over which the change of velocity acts on dampers and muscles [s]; 0: MuJoCo's instantaneous
                acceleration.
        """
        model = self.body.model
        arms = actuator_moments(model, data)
        gain = self.gain(data)
        jacobian, kind = _constraint_jacobian(model, data), data.efc_type
        equality = kind == int(mujoco.mjtConstraint.mjCNSTR_EQUALITY)
        unilateral = kind >= FIRST_LIMIT
        inertia = mass_matrix(model, data)
        tied, stiffness = jacobian[equality], data.efc_D[equality]
        inertia += (tied.T * stiffness) @ tied
        if horizon > 0:
            inertia[np.diag_indices(model.nv)] += horizon * model.dof_damping
            inertia += horizon * (arms.T * self._damping(data)) @ arms
        state = np.zeros(model.nu)
        state[self.body.muscle] = data.act[model.actuator_actadr[self.body.muscle]]
        force = data.qfrc_smooth - arms.T @ (gain * state) + tied.T @ (stiffness * data.efc_aref[equality])
        edges = jacobian[unilateral]
        right = np.concatenate((force[:, None], arms.T * gain, edges.T), axis=1)
        solved = cho_solve(cho_factor(inertia, lower=True, check_finite=False), right, check_finite=False)
        inputs = model.nu
        return LinearDynamics(
            free=solved[:, 0],
            by_input=solved[:, 1 : 1 + inputs],
            by_edge=solved[:, 1 + inputs :],
            edges=edges * (1.0 + 0.5 * horizon * self._damping_rate(data)[unilateral])[:, None],
            compliance=data.efc_R[unilateral].copy(),
            reference=data.efc_aref[unilateral].copy(),
            foot=self._feet(data, unilateral),
        )

    def gain(self, data: mujoco.MjData) -> np.ndarray:
        """Return the derivative of each actuator's force by its input, (nu,) [N, Nm]."""
        model, muscle = self.body.model, self.body.muscle
        length, velocity = data.actuator_length, data.actuator_velocity
        gain = np.empty(model.nu)
        gain[muscle] = self.force.gain(length[muscle], velocity[muscle])
        fixed, by_length, by_velocity = model.actuator_gainprm[~muscle, :3].T
        affine = model.actuator_gaintype[~muscle] == int(mujoco.mjtGain.mjGAIN_AFFINE)
        gain[~muscle] = fixed + affine * (by_length * length[~muscle] + by_velocity * velocity[~muscle])
        return gain

    def _damping(self, data: mujoco.MjData) -> np.ndarray:
        """Return the damping of each actuator at its current activation, at least 0, (nu,) [N s/m]."""
        model, muscle = self.body.model, self.body.muscle
        out = np.zeros(model.nu)
        activation = np.maximum(data.act[model.actuator_actadr[muscle]], LOWEST_ACTIVATION)
        slope = self.force.velocity_slope(data.actuator_length[muscle], data.actuator_velocity[muscle])
        out[muscle] = -slope * activation
        return np.maximum(out, 0.0)

    def _damping_rate(self, data: mujoco.MjData) -> np.ndarray:
        """Return B of the constraints' reference acceleration -B v - K r, (nefc,) [1/s]."""
        return np.asarray(data.efc_KBIP).reshape(-1, 4)[:, 1]

    def _feet(self, data: mujoco.MjData, unilateral: np.ndarray) -> np.ndarray:
        """Return the foot of each unilateral row, for contacts between a foot and a fixed geom; else -1, (C,)."""
        contact = np.asarray(data.efc_type)[unilateral] >= FIRST_CONTACT
        ids = np.asarray(data.efc_id)[unilateral]
        foot = np.full(len(ids), -1, dtype=np.int64)
        if contact.any():
            foot[contact] = self.body.feet_of_contacts(data)[ids[contact]]
        return foot


def mass_matrix(model: mujoco.MjModel, data: mujoco.MjData) -> np.ndarray:
    """Return the joint-space inertia, dense, (nv, nv)."""
    dense = np.zeros((model.nv, model.nv))
    mujoco.mj_fullM(model, data, dense)
    return dense


def _constraint_jacobian(model: mujoco.MjModel, data: mujoco.MjData) -> np.ndarray:
    """Return the Jacobian of all constraints, dense, (nefc, nv)."""
    dense = np.zeros((data.nefc, model.nv))
    if data.nefc and mujoco.mj_isSparse(model):
        mujoco.mju_sparse2dense(
            dense, data.efc_J.ravel(), data.efc_J_rownnz, data.efc_J_rowadr, data.efc_J_colind.ravel()
        )
    elif data.nefc:
        dense[:] = data.efc_J.reshape(data.nefc, model.nv)
    return dense
