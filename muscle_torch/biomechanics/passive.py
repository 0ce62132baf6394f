"""What a body's muscles do without being excited: passive force and torque over the postures of a motion.

A stretched muscle pulls although nothing excites it. Over a motion these torques are what a policy has to fight, or
gets for nothing; springs of the joints and ligaments add to them.
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
LISTED = 24  # rows of each table
FRAMES = 200  # of a longer motion, evenly spaced


@dataclass(frozen=True, eq=False)
class PassiveForces:
    """Over P postures. `forces` (P, muscles) [N], pull positive; `torques` (P, J, muscles) [Nm, N] about independent
    joints, positive towards larger positions; `springs` (P, J) of joint springs, tendon springs and ligaments."""

    joints: tuple[str, ...]
    units: tuple[str, ...]
    forces: np.ndarray
    torques: np.ndarray
    springs: np.ndarray


def passive_forces(embodiment: Embodiment, qpos: np.ndarray) -> PassiveForces:
    """Return passive forces and torques at rest in postures (P, num_qpos)."""
    model, data, muscles = embodiment.model, mujoco.MjData(embodiment.model), embodiment.muscle_ids
    independent, still = IndependentJoints(embodiment), np.zeros(len(muscles))
    joints = independent.joints
    forces = np.zeros((len(qpos), len(muscles)))
    torques = np.zeros((len(qpos), len(joints), len(muscles)))
    springs = np.zeros((len(qpos), len(joints)))
    for row, posture in enumerate(qpos):
        data.qpos[: embodiment.num_qpos] = posture
        mujoco.mj_fwdPosition(model, data)
        mujoco.mj_fwdVelocity(model, data)
        _, passive = muscle_forces(embodiment, data.actuator_length[muscles], still)
        tangent = independent.along(posture, joints)
        forces[row] = -passive
        torques[row] = (moment_matrix(embodiment, data) @ tangent).T * passive
        springs[row] = tangent.T @ data.qfrc_passive[: embodiment.num_qvel]
    types = model.jnt_type[embodiment.resolve("joint", joints)]
    units = tuple("N" if kind == mujoco.mjtJoint.mjJNT_SLIDE else "Nm" for kind in types)
    return PassiveForces(joints, units, forces, torques, springs)


def evenly_spaced(qpos: np.ndarray, most: int = FRAMES) -> np.ndarray:
    """Return at most `most` of the postures (P, num_qpos), evenly spaced."""
    return qpos[np.unique(np.linspace(0, len(qpos) - 1, most).astype(int))]


def joint_rows(embodiment: Embodiment, passive: PassiveForces, most: int = LISTED) -> list[tuple]:
    """Return `JOINT_COLUMNS` of the joints with the greatest mean torque of muscles, greatest first."""
    totals, parts = passive.torques.sum(axis=2), passive.torques.mean(axis=0)
    rows = []
    for joint in np.argsort(-np.abs(totals.mean(axis=0)))[:most]:
        main = int(np.abs(parts[joint]).argmax())
        rows.append((passive.joints[joint], passive.units[joint], float(totals[:, joint].mean()),
                     float(totals[:, joint].min()), float(totals[:, joint].max()), embodiment.muscle_names[main],
                     float(parts[joint, main]), float(passive.springs[:, joint].mean())))  # fmt: skip
    return rows


def muscle_rows(embodiment: Embodiment, passive: PassiveForces, most: int = LISTED) -> list[tuple]:
    """Return `MUSCLE_COLUMNS` of the muscles with the greatest mean passive force, greatest first."""
    parts, means = passive.torques.mean(axis=0), passive.forces.mean(axis=0)
    rows = []
    for muscle in np.argsort(-means)[:most]:
        strength = peak_force(embodiment.model, int(embodiment.muscle_ids[muscle]))
        joint = int(np.abs(parts[:, muscle]).argmax())
        if means[muscle] > 0:
            rows.append((embodiment.muscle_names[muscle], float(means[muscle]), float(passive.forces[:, muscle].max()),
                         100 * float(means[muscle]) / strength, passive.joints[joint], float(parts[joint, muscle]),
                         passive.units[joint]))  # fmt: skip
    return rows
