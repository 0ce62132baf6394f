"""The joint moments that a motion requires, compared with those that the body's muscles can produce.

First the ground forces of every frame are estimated: forces within the friction cones at the points in contact with the
floor, by non-negative least squares on the force and moment required at the root. The moments that the joints then
require of muscles (inertia, gravity and ground, minus springs and dampers) are compared, joint by joint, with the
smallest and largest moment that the muscles can produce: maximal isometric force at their lengths times moment arms,
plus passive force. Joints are considered independently, so a motion within these bounds may still overload muscles that
cross two joints; a motion beyond them is impossible.
"""

from dataclasses import dataclass

import mujoco
import numpy as np
from scipy.optimize import nnls

from muscle_torch.embodiments import Embodiment, moment_matrix
from muscle_torch.embodiments.independent import IndependentJoints

from .ground_reaction import GroundReaction
from .low_pass import derivatives
from .support import Soles, support_mask

MOMENT_WEIGHT = 2.0  # [1/m] weight of moment against force: half a metre is a large lever arm in a body
REGULARIZATION = 1e-3  # favours an even distribution of the ground force over the points


@dataclass(frozen=True, eq=False)
class JointDemand:
    """Required and available moments of a motion of T frames, for the body's J independent joints."""

    joints: tuple[str, ...]
    needed: np.ndarray  # (T, J) required of the muscles [Nm], [N] for slides
    least: np.ndarray  # (T, J) smallest that they can produce
    most: np.ndarray  # (T, J) largest that they can produce
    root_residual: np.ndarray  # (T, 6) force [N] and moment [Nm] at the root that the ground cannot exert

    @property
    def excess(self) -> np.ndarray:
        """How far the required moment lies outside the muscles' capacity, (T, J) [Nm]; 0 inside."""
        return np.maximum(np.maximum(self.needed - self.most, self.least - self.needed), 0.0)


class _Muscles:
    """Moments that the muscles can produce in a pose, from MuJoCo's muscle forces."""

    def __init__(self, embodiment: Embodiment) -> None:
        self._embodiment = embodiment

    def bounds(self, data: mujoco.MjData, tangent: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the smallest and largest generalized force (n,) of isometric muscles in the pose of `data`."""
        forces = []
        data.ctrl[:] = 0.0
        for activation in (0.0, 1.0):
            data.act[:], data.actuator_velocity[:] = activation, 0.0
            mujoco.mj_fwdActuation(self._embodiment.model, data)
            forces.append(data.actuator_force[self._embodiment.muscle_ids])
        arms = (moment_matrix(self._embodiment, data) @ tangent).T
        active = arms * (forces[1] - forces[0])
        passive = arms @ forces[0]
        return passive + np.minimum(active, 0.0).sum(axis=1), passive + np.maximum(active, 0.0).sum(axis=1)


def joint_demand(
    embodiment: Embodiment, qpos: np.ndarray, rate: float, reaction: GroundReaction, soles: Soles | None = None
) -> JointDemand:
    """Compute the moments that a motion requires of the muscles at every independent joint, and their bounds.

    Args:
        embodiment: A body with feet.
        qpos: Positions (T, nq), as for `ground_reaction`.
        rate: Frame rate [Hz].
        reaction: Ground reaction of the same motion.
        soles: `Soles.of(embodiment)`, if already computed.

    Returns:
        Required moments, their bounds, and the residual at the root.
    """
    model, data = embodiment.model, mujoco.MjData(embodiment.model)
    soles = soles or Soles.of(embodiment)
    independent, muscles = IndependentJoints(embodiment), _Muscles(embodiment)
    qvel, qacc = derivatives(model, qpos, rate)
    bears = support_mask(reaction.points, reaction.stands, soles)
    bodies = model.geom_bodyid[soles.geom]
    edges = _friction_edges(_friction(embodiment, soles))
    count = len(independent.dofs)
    needed, least, most = (np.zeros((len(qpos), count)) for _ in range(3))
    inverse = np.zeros(model.nv)
    for t in range(len(qpos)):
        data.qpos[:], data.qvel[:], data.qacc[:] = qpos[t], qvel[t], qacc[t]
        mujoco.mj_kinematics(model, data)
        mujoco.mj_comPos(model, data)
        mujoco.mj_tendon(model, data)
        mujoco.mj_transmission(model, data)
        mujoco.mj_fwdVelocity(model, data)
        mujoco.mj_rne(model, data, 1, inverse)
        joints = inverse - data.qfrc_passive
        root = np.concatenate((reaction.force[t], reaction.moment[t]))
        points = np.flatnonzero(bears[t])
        for point, push in zip(points, _contact_forces(reaction.points[t, points], edges, root), strict=True):
            mujoco.mj_applyFT(model, data, -push, np.zeros(3), reaction.points[t, point], int(bodies[point]), joints)
        tangent = independent.tangent(qpos[t])
        needed[t] = tangent.T @ joints
        least[t], most[t] = muscles.bounds(data, tangent)
    free = len(independent.names) - sum(name.startswith("root ") for name in independent.names)
    inner = slice(count - free, None)
    return JointDemand(
        independent.names[inner], needed[:, inner], least[:, inner], most[:, inner], needed[:, : count - free]
    )


def _friction(embodiment: Embodiment, soles: Soles) -> float:
    """Return the friction coefficient between soles and floor, by MuJoCo's rule: the larger of the two geoms'."""
    model = embodiment.model
    planes = np.flatnonzero(model.geom_type == mujoco.mjtGeom.mjGEOM_PLANE)
    return float(max(model.geom_friction[soles.geom, 0].min(), model.geom_friction[planes, 0].max(initial=0.0)))


def _friction_edges(friction: float) -> np.ndarray:
    """Return the edges (4, 3) of the friction pyramid on a level floor."""
    return np.array([[friction, 0, 1], [-friction, 0, 1], [0, friction, 1], [0, -friction, 1]], dtype=float)


def _contact_forces(points: np.ndarray, edges: np.ndarray, root: np.ndarray) -> np.ndarray:
    """Return the ground forces (K, 3) [N] at points (K, 3) that best match a force and moment.

    Args:
        points: Positions on the floor [m].
        edges: Edges (4, 3) of the friction pyramid.
        root: Required force and moment about the origin, (6,).
    """
    if not len(points):
        return np.zeros((0, 3))
    force = np.tile(edges, (len(points), 1))
    middle = points.mean(axis=0)
    moment = np.cross(np.repeat(points - middle, len(edges), axis=0), force)
    target = np.concatenate((root[:3], MOMENT_WEIGHT * (root[3:] - np.cross(middle, root[:3]))))
    rows = np.concatenate((force, MOMENT_WEIGHT * moment), axis=1).T
    rows = np.vstack((rows, REGULARIZATION * np.eye(rows.shape[1])))
    amount, _ = nnls(rows, np.concatenate((target, np.zeros(rows.shape[1]))))
    return (amount[:, None] * force).reshape(len(points), len(edges), 3).sum(axis=1)
