"""Moment arms of the muscles, and which muscles pull alike."""

from collections.abc import Sequence

import mujoco
import numpy as np

from .embodiment import Embodiment, muscle_actuators

POSES = 32  # moment arms are averaged over so many, drawn from the joints' ranges


def moment_arms(embodiment: Embodiment, data: mujoco.MjData, qpos: np.ndarray) -> np.ndarray:
    """Return the change of every muscle's length with every degree of freedom of the body in a pose (num_qpos,).

    (muscles, num_qvel) [m] or [m/rad].
    """
    _forward(embodiment.model, data, qpos)
    return moment_matrix(embodiment, data)


def moment_matrix(embodiment: Embodiment, data: mujoco.MjData) -> np.ndarray:
    """Return the moment arms (muscles, num_qvel) of the posture that `data` was last forwarded to, dense."""
    return _dense(embodiment.model, data)[embodiment.muscle_ids, : embodiment.num_qvel]


def _forward(model: mujoco.MjModel, data: mujoco.MjData, qpos: np.ndarray) -> None:
    """Compute everything that moment arms depend on; what is attached after the body stays where it is."""
    data.qpos[: len(qpos)] = qpos
    mujoco.mj_kinematics(model, data)
    mujoco.mj_comPos(model, data)
    mujoco.mj_tendon(model, data)
    mujoco.mj_transmission(model, data)


def _dense(model: mujoco.MjModel, data: mujoco.MjData) -> np.ndarray:
    """Return MuJoCo's sparse moment matrix of all actuators, (nu, nv)."""
    dense = np.zeros((model.nu, model.nv))
    mujoco.mju_sparse2dense(
        dense, data.actuator_moment.ravel(), data.moment_rownnz, data.moment_rowadr, data.moment_colind.ravel()
    )
    return dense


def similarity(embodiment: Embodiment) -> np.ndarray:
    """Return the cosines between the muscles' moment-arm vectors: 1 for synergists, -1 for antagonists.

    (muscles, muscles); the vectors are averaged over random poses.
    """
    random, data = np.random.default_rng(0), mujoco.MjData(embodiment.model)
    arms = sum(moment_arms(embodiment, data, random_pose(embodiment, random)) for _ in range(POSES))
    arms = arms / np.linalg.norm(arms, axis=1, keepdims=True).clip(1e-12)
    return arms @ arms.T


def joint_pulls(model: mujoco.MjModel, planes: Sequence[Sequence[dict[str, int]]]) -> np.ndarray:
    """How much each muscle helps to turn joints towards larger angles, (planes, sets, muscles).

    planes: sets of joints that turn together, name -> 1 or -1. By the moment arms in the model's own pose; the
    strongest muscle of a set has 1 or -1, antagonists the opposite sign.
    """
    data = mujoco.MjData(model)
    _forward(model, data, model.qpos0)
    arms = -_dense(model, data)[muscle_actuators(model)]
    dof = model.jnt_dofadr
    pulls = [[sum(sign * arms[:, dof[model.joint(j).id]] for j, sign in s.items()) for s in plane] for plane in planes]
    return np.array([[pull / np.abs(pull).max() for pull in plane] for plane in pulls])


def random_pose(embodiment: Embodiment, random: np.random.Generator) -> np.ndarray:
    """(num_qpos,): each joint uniformly inside its range, coupled joints following, the root where the model has it."""
    model, joints = embodiment.model, embodiment.scalar_joint_ids
    pose = embodiment.qpos0.copy()
    low, high = model.jnt_range[joints].T
    pose[embodiment.joint_qpos_ids] = random.uniform(low, high)
    return embodiment.project(pose)
