"""The independent velocities of a body: the free root's and those of joints that no equality ties to others."""

import numpy as np

from .embodiment import Embodiment

ROOT_AXES = ("x", "y", "z", "roll", "pitch", "yaw")


class IndependentJoints:
    """Which degrees of freedom of a body are independent, and how all others follow them.

    Attributes:
        dofs: (n,) addresses in qvel, the root's six first where there is a free root.
        names: (n,) joint of each; a free joint's six are named after its axes ("root x" to "root yaw").
    """

    def __init__(self, embodiment: Embodiment) -> None:
        model, coupling = embodiment.model, embodiment.dependent
        self._qpos0, self._nv = model.qpos0, model.nv
        tied = set(coupling.qpos_ids.tolist())
        joints = [int(j) for j in embodiment.scalar_joint_ids if int(model.jnt_qposadr[j]) not in tied]
        root = (
            []
            if embodiment.root_joint is None
            else [f"root {axis}" for axis in ("x", "y", "z", "roll", "pitch", "yaw")]
        )
        self.names = (*root, *(embodiment.joint_names[j] for j in joints))
        self.dofs = np.concatenate((np.arange(len(root)), model.jnt_dofadr[joints])).astype(np.int64)
        dof_of = {int(model.jnt_qposadr[j]): int(model.jnt_dofadr[j]) for j in embodiment.scalar_joint_ids}
        # Rows of the coupling are ordered: a joint comes after the one that it follows.
        self._rows = [
            (dof_of[int(address)], dof_of[int(leader)], int(leader), np.polynomial.polynomial.polyder(polynomial))
            for address, leader, polynomial in zip(
                coupling.qpos_ids, coupling.independent_qpos_ids, coupling.polynomials, strict=True
            )
            if leader >= 0
        ]

    def tangent(self, qpos: np.ndarray) -> np.ndarray:
        """Return (nv, n) at qpos (nq,): `tangent @ independent velocities` are the velocities of all dofs."""
        out = np.zeros((self._nv, len(self.dofs)))
        out[self.dofs, np.arange(len(self.dofs))] = 1.0
        for dof, leader_dof, leader, slope in self._rows:
            away = qpos[leader] - self._qpos0[leader]
            out[dof] = np.polynomial.polynomial.polyval(away, slope) * out[leader_dof]
        return out
