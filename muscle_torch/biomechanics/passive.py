"""Passive muscle forces: force and torque of unexcited muscles over the postures of a motion.

A stretched muscle pulls without being excited. Over a motion, a policy must overcome these torques or can exploit them;
springs of joints and ligaments add to them.
"""

from dataclasses import dataclass

import mujoco
import numpy as np

from muscle_torch.embodiments import Embodiment, moment_matrix
from muscle_torch.embodiments.independent import IndependentJoints

from .muscle_mechanics import peak_force
from .static_optimisation import muscle_forces

JOINT_COLUMNS = ("joint", "unit", "mean", "lowest", "highest", "most by", "its mean", "springs, ligaments")
MUSCLE_COLUMNS = ("muscle", "mean [N]", "highest [N]", "of F0 [%]", "most about", "mean there", "unit")
MAX_ROWS = 24  # of each table
FRAMES = 200  # maximum number of postures of a motion, evenly spaced


@dataclass(frozen=True, eq=False)
class PassiveForces:
    """Passive forces in P postures, for J independent joints."""

    joints: tuple[str, ...]
    units: tuple[str, ...]  # of the torques: Nm, N for slides
    forces: np.ndarray  # (P, muscles) [N], pull positive
    torques: np.ndarray  # (P, J, muscles), positive towards larger positions
    springs: np.ndarray  # (P, J) of joint springs, tendon springs and ligaments


def passive_forces(embodiment: Embodiment, qpos: np.ndarray) -> PassiveForces:
    """Compute passive forces and torques at rest in postures (P, num_qpos)."""
    model, data, muscles = embodiment.model, mujoco.MjData(embodiment.model), embodiment.muscle_ids
    independent, at_rest = IndependentJoints(embodiment), np.zeros(len(muscles))
    joints = independent.joints
    forces = np.zeros((len(qpos), len(muscles)))
    torques = np.zeros((len(qpos), len(joints), len(muscles)))
    springs = np.zeros((len(qpos), len(joints)))
    for row, posture in enumerate(qpos):
        data.qpos[: embodiment.num_qpos] = posture
        mujoco.mj_fwdPosition(model, data)
        mujoco.mj_fwdVelocity(model, data)
        _, passive = muscle_forces(embodiment, data.actuator_length[muscles], at_rest)
        tangent = independent.along(posture, joints)
        forces[row] = -passive
        torques[row] = (moment_matrix(embodiment, data) @ tangent).T * passive
        springs[row] = tangent.T @ data.qfrc_passive[: embodiment.num_qvel]
    types = model.jnt_type[embodiment.resolve("joint", joints)]
    units = tuple("N" if kind == mujoco.mjtJoint.mjJNT_SLIDE else "Nm" for kind in types)
    return PassiveForces(joints, units, forces, torques, springs)


def evenly_spaced(qpos: np.ndarray, limit: int = FRAMES) -> np.ndarray:
    """Return at most `limit` of the postures (P, num_qpos), evenly spaced."""
    return qpos[np.unique(np.linspace(0, len(qpos) - 1, limit).astype(int))]


def joint_rows(embodiment: Embodiment, passive: PassiveForces, limit: int = MAX_ROWS) -> list[tuple]:
    """Return rows (`JOINT_COLUMNS`) of the joints with the largest mean muscle torque, largest first.

    Args:
        embodiment: The body.
        passive: Its passive forces.
        limit: Maximum number of rows.
    """
    totals, parts = passive.torques.sum(axis=2), passive.torques.mean(axis=0)
    rows = []
    for joint in np.argsort(-np.abs(totals.mean(axis=0)))[:limit]:
        main = int(np.abs(parts[joint]).argmax())
        rows.append((passive.joints[joint], passive.units[joint], float(totals[:, joint].mean()),
                     float(totals[:, joint].min()), float(totals[:, joint].max()), embodiment.muscle_names[main],
                     float(parts[joint, main]), float(passive.springs[:, joint].mean())))  # fmt: skip
    return rows


def muscle_rows(embodiment: Embodiment, passive: PassiveForces, limit: int = MAX_ROWS) -> list[tuple]:
    """Return rows (`MUSCLE_COLUMNS`) of the muscles with the largest mean passive force, largest first.

    Args:
        embodiment: The body.
        passive: Its passive forces.
        limit: Maximum number of rows.
    """
    parts, means = passive.torques.mean(axis=0), passive.forces.mean(axis=0)
    rows = []
    for muscle in np.argsort(-means)[:limit]:
        strength = peak_force(embodiment.model, int(embodiment.muscle_ids[muscle]))
        joint = int(np.abs(parts[:, muscle]).argmax())
        if means[muscle] > 0:
            rows.append((embodiment.muscle_names[muscle], float(means[muscle]), float(passive.forces[:, muscle].max()),
                         100 * float(means[muscle]) / strength, passive.joints[joint], float(parts[joint, muscle]),
                         passive.units[joint]))  # fmt: skip
    return rows
