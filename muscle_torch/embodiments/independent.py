"""Independent velocities of a body: those of the free root and of joints without a coupling equality."""

from collections.abc import Sequence

import numpy as np

from muscle_torch.errors import InputError, nearest

from .embodiment import Embodiment

ROOT_AXES = ("x", "y", "z", "roll", "pitch", "yaw")


class IndependentJoints:
    """The independent degrees of freedom of a body, and how the dependent ones follow them.

    Attributes:
        dofs: Addresses in qvel, (n,); those of a free root come first.
        names: Joint of each, (n,); those of a free root are "root x" to "root yaw".
        joints: The names without those of the root.
    """

    def __init__(self, embodiment: Embodiment) -> None:
        model, coupling = embodiment.model, embodiment.dependent
        self._body, self._qpos0, self._nv = embodiment.name, model.qpos0, model.nv
        self._num_qvel = embodiment.num_qvel
        tied = set(coupling.qpos_ids.tolist())
        joints = [int(j) for j in embodiment.scalar_joint_ids if int(model.jnt_qposadr[j]) not in tied]
        root = [f"root {axis}" for axis in ROOT_AXES] if embodiment.has_root else []
        self.joints = tuple(embodiment.joint_names[j] for j in joints)
        self.names = (*root, *self.joints)
        self.dofs = np.concatenate((np.arange(len(root)), model.jnt_dofadr[joints])).astype(np.int64)
        dof_of = {int(model.jnt_qposadr[j]): int(model.jnt_dofadr[j]) for j in embodiment.scalar_joint_ids}
        # Rows of the coupling are ordered: a joint comes after the one on which it depends.
        self._rows = [
            (dof_of[int(address)], dof_of[int(leader)], int(leader), np.polynomial.polynomial.polyder(polynomial))
            for address, leader, polynomial in zip(
                coupling.qpos_ids, coupling.independent_qpos_ids, coupling.polynomials, strict=True
            )
            if leader >= 0
        ]

    def tangent(self, qpos: np.ndarray) -> np.ndarray:
        """Return the matrix (nv, n) from independent velocities to those of all dofs, at qpos (nq,)."""
        out = np.zeros((self._nv, len(self.dofs)))
        out[self.dofs, np.arange(len(self.dofs))] = 1.0
        for dof, leader_dof, leader, slope in self._rows:
            away = qpos[leader] - self._qpos0[leader]
            out[dof] = np.polynomial.polynomial.polyval(away, slope) * out[leader_dof]
        return out

    def along(self, qpos: np.ndarray, joints: Sequence[str]) -> np.ndarray:
        """Return the velocities of the body while one of J joints moves at 1 rad/s or m/s, (num_qvel, J).

        The transpose converts generalized forces to moments about these joints.

        Args:
            qpos: Pose, (num_qpos,).
            joints: Names of J independent joints.

        Raises:
            InputError: A joint does not exist or depends on another one.
        """
        for joint in joints:
            if joint not in self.joints:
                raise InputError(f"{self._body} has no independent joint {joint!r}{nearest(joint, self.joints)}")
        return self.tangent(qpos)[: self._num_qvel, [self.names.index(joint) for joint in joints]]
