"""The body's acceleration as a linear function of activations and contact forces, with MuJoCo's own soft constraints.

At a state (q, v, activations) MuJoCo's acceleration obeys

    (M + Je' De Je + horizon D) a = smooth force + Je' De aref_e + G u + Jc' f
    Jc a + R f - s = aref_c,   f >= 0,  s >= 0,  f s = 0

with equality couplings e (quadratic, always active), and one row c an edge of a contact pyramid or a joint at its
limit. u are the inputs: activations of muscles, controls of motors. The rows c stay with the programme that chooses u,
so that contacts may open and close in the plan; D is what the change of velocity does to dampers and to the muscles'
force-velocity curves within `horizon` seconds.
"""

from dataclasses import dataclass

import mujoco
import numpy as np
from scipy.linalg import cho_factor, cho_solve

from muscle_torch.embodiments import actuator_moments

from .body import ControlBody
from .muscle_force import MuscleForce

LOWEST_ACTIVATION = 0.02  # with which a relaxed muscle's damping is counted
FIRST_LIMIT = int(mujoco.mjtConstraint.mjCNSTR_LIMIT_JOINT)
FIRST_CONTACT = int(mujoco.mjtConstraint.mjCNSTR_CONTACT_FRICTIONLESS)


@dataclass(frozen=True, eq=False)
class LinearDynamics:
    """a = free + by_input @ u + by_edge @ f, in full coordinates; C unilateral rows (contact edges, joint limits)."""

    free: np.ndarray  # (nv,) acceleration without inputs and edge forces
    by_input: np.ndarray  # (nv, nu)
    by_edge: np.ndarray  # (nv, C)
    edges: np.ndarray  # (C, nv) Jacobian of the unilateral rows, times 1 + B horizon / 2 for the law's own damping
    compliance: np.ndarray  # (C,) R
    reference: np.ndarray  # (C,) aref
    foot: np.ndarray  # (C,) index of the foot that a row belongs to; -1: none

    def acceleration(self, inputs: np.ndarray, forces: np.ndarray) -> np.ndarray:
        """(nv,) under inputs (nu,) and edge forces (C,) [N]."""
        return self.free + self.by_input @ inputs + self.by_edge @ forces


class Dynamics:
    """Linearises a body's dynamics; keeps what does not change."""

    def __init__(self, body: ControlBody) -> None:
        self.body = body
        self.force = MuscleForce(body.model, np.flatnonzero(body.muscle))

    def forward(self, data: mujoco.MjData) -> None:
        """Compute everything up to the constraints' rows for the state in `data`; motors are idle."""
        model = self.body.model
        data.ctrl[:] = 0.0
        mujoco.mj_fwdPosition(model, data)
        mujoco.mj_fwdVelocity(model, data)
        mujoco.mj_fwdActuation(model, data)
        mujoco.mj_fwdAcceleration(model, data)

    def linearise(self, data: mujoco.MjData, horizon: float = 0.0) -> LinearDynamics:
        """The dynamics at the state that `data` was last forwarded to.

        Args:
            data: after `forward`.
            horizon: seconds over which the change of velocity acts back through dampers and muscles; 0: not at all,
                the acceleration is MuJoCo's at this instant.
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
        """(nu,) change of actuator force [N or Nm] with its input."""
        model, muscle = self.body.model, self.body.muscle
        length, velocity = data.actuator_length, data.actuator_velocity
        gain = np.empty(model.nu)
        gain[muscle] = self.force.gain(length[muscle], velocity[muscle])
        fixed, by_length, by_velocity = model.actuator_gainprm[~muscle, :3].T
        affine = model.actuator_gaintype[~muscle] == int(mujoco.mjtGain.mjGAIN_AFFINE)
        gain[~muscle] = fixed + affine * (by_length * length[~muscle] + by_velocity * velocity[~muscle])
        return gain

    def _damping(self, data: mujoco.MjData) -> np.ndarray:
        """(nu,) decrease of actuator force with its velocity [N s/m] at the present activation, at least 0."""
        model, muscle = self.body.model, self.body.muscle
        out = np.zeros(model.nu)
        activation = np.maximum(data.act[model.actuator_actadr[muscle]], LOWEST_ACTIVATION)
        slope = self.force.velocity_slope(data.actuator_length[muscle], data.actuator_velocity[muscle])
        out[muscle] = -slope * activation
        return np.maximum(out, 0.0)

    def _damping_rate(self, data: mujoco.MjData) -> np.ndarray:
        """(nefc,) B [1/s] of the constraints' reference acceleration -B v - K r."""
        return np.asarray(data.efc_KBIP).reshape(-1, 4)[:, 1]

    def _feet(self, data: mujoco.MjData, unilateral: np.ndarray) -> np.ndarray:
        """Foot of each unilateral row: of contacts between a foot and what is fixed in the world."""
        contact = np.asarray(data.efc_type)[unilateral] >= FIRST_CONTACT
        ids = np.asarray(data.efc_id)[unilateral]
        foot = np.full(len(ids), -1, dtype=np.int64)
        if contact.any():
            foot[contact] = self.body.feet_of_contacts(data)[ids[contact]]
        return foot


def mass_matrix(model: mujoco.MjModel, data: mujoco.MjData) -> np.ndarray:
    """(nv, nv) joint-space inertia, dense."""
    dense = np.zeros((model.nv, model.nv))
    mujoco.mj_fullM(model, data, dense)
    return dense


def _constraint_jacobian(model: mujoco.MjModel, data: mujoco.MjData) -> np.ndarray:
    """(nefc, nv) rows of all constraints, dense."""
    dense = np.zeros((data.nefc, model.nv))
    if data.nefc and mujoco.mj_isSparse(model):
        mujoco.mju_sparse2dense(
            dense, data.efc_J.ravel(), data.efc_J_rownnz, data.efc_J_rowadr, data.efc_J_colind.ravel()
        )
    elif data.nefc:
        dense[:] = data.efc_J.reshape(data.nefc, model.nv)
    return dense
