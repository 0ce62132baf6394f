"""Moment arms of the muscles, and the similarity of muscles."""

from collections.abc import Sequence

import mujoco
import numpy as np

from .embodiment import Embodiment, muscle_actuators

POSES = 32  # random poses within the joint ranges over which moment arms are averaged


def moment_arms(embodiment: Embodiment, data: mujoco.MjData, qpos: np.ndarray) -> np.ndarray:
    """Return the derivative of every muscle's length by every degree of freedom of the body.

    Args:
        embodiment: The body.
        data: MuJoCo data of its model, which is overwritten.
        qpos: Pose, (num_qpos,); props stay where they are.

    Returns:
        (muscles, num_qvel) [m/rad, m/m].
    """
    _forward(embodiment.model, data, qpos)
    return moment_matrix(embodiment, data)


def moment_matrix(embodiment: Embodiment, data: mujoco.MjData) -> np.ndarray:
    """Return the moment arms (muscles, num_qvel) in the pose for which `data` was last computed, dense."""
    return actuator_moments(embodiment.model, data)[embodiment.muscle_ids, : embodiment.num_qvel]


def _forward(model: mujoco.MjModel, data: mujoco.MjData, qpos: np.ndarray) -> None:
    """Compute all that moment arms depend on, for a pose of the body; props stay where they are."""
    data.qpos[: len(qpos)] = qpos
    mujoco.mj_kinematics(model, data)
    mujoco.mj_comPos(model, data)
    mujoco.mj_tendon(model, data)
    mujoco.mj_transmission(model, data)


def actuator_moments(model: mujoco.MjModel, data: mujoco.MjData) -> np.ndarray:
    """Return MuJoCo's moment matrix of all actuators, including motors, dense, (nu, nv)."""
    dense = np.zeros((model.nu, model.nv))
    mujoco.mju_sparse2dense(
        dense, data.actuator_moment.ravel(), data.moment_rownnz, data.moment_rowadr, data.moment_colind.ravel()
    )
    return dense


def similarity(embodiment: Embodiment) -> np.ndarray:
    """Return the cosines between the muscles' moment-arm vectors, averaged over random poses.

    (muscles, muscles): 1 for synergists, -1 for antagonists.
    """
    random, data = np.random.default_rng(0), mujoco.MjData(embodiment.model)
    arms = sum(moment_arms(embodiment, data, random_pose(embodiment, random)) for _ in range(POSES))
    arms = arms / np.linalg.norm(arms, axis=1, keepdims=True).clip(1e-12)
    return arms @ arms.T


def joint_pulls(model: mujoco.MjModel, planes: Sequence[Sequence[dict[str, int]]]) -> np.ndarray:
    """Return how strongly each muscle turns sets of joints towards larger angles.

    Computed from the moment arms in the default pose.

    Args:
        model: The model.
        planes: For each plane, sets of joints that turn together: joint name -> 1 or -1, its sense.

    Returns:
        (planes, sets, muscles) in [-1, 1]. The strongest muscle of a set has 1 or -1; antagonists have opposite signs.
    """
    data = mujoco.MjData(model)
    _forward(model, data, model.qpos0)
    arms = -actuator_moments(model, data)[muscle_actuators(model)]
    dof = model.jnt_dofadr
    pulls = [[sum(sign * arms[:, dof[model.joint(j).id]] for j, sign in s.items()) for s in plane] for plane in planes]
    return np.array([[pull / np.abs(pull).max() for pull in plane] for plane in pulls])


def random_pose(embodiment: Embodiment, random: np.random.Generator) -> np.ndarray:
    """Draw a pose (num_qpos,): joints uniformly within their ranges, couplings satisfied, root in its default pose."""
    model, joints = embodiment.model, embodiment.scalar_joint_ids
    pose = embodiment.qpos0.copy()
    low, high = model.jnt_range[joints].T
    pose[embodiment.joint_qpos_ids] = random.uniform(low, high)
    return embodiment.project(pose)
