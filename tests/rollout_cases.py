"""Rollout archives made by hand: a recorded walk, exactly tracked, with forces from the model's own muscles."""

import dataclasses

import mujoco
import numpy as np

from muscle_torch.biomechanics.inverse_dynamics import derivatives
from muscle_torch.biomechanics.muscle_activity import muscle_states
from muscle_torch.biomechanics.static_optimisation import muscle_forces
from muscle_torch.embodiments import Embodiment
from muscle_torch.embodiments.moment_arms import moment_arms
from muscle_torch.embodiments.weakened import weakened
from muscle_torch.motion.rollout_archive import Episode, RolloutArchive


def made_episode(body: Embodiment, qpos: np.ndarray, activation: np.ndarray, name: str = "walk") -> Episode:
    """Return an episode in which muscles of the body's strength have activations (T, muscles) along qpos (T, nq)."""
    frames, rate = len(qpos), body.control_frequency
    qvel = derivatives(body.model, qpos, rate)[0]
    lengths, velocities = muscle_states(body, qpos, qvel)
    parts = [muscle_forces(body, *paths) for paths in zip(lengths, velocities, strict=True)]
    force = np.array([active * a + passive for (active, passive), a in zip(parts, activation, strict=True)])
    data = mujoco.MjData(body.model)
    moments = [moment_arms(body, data, pose).T @ one for pose, one in zip(qpos, force, strict=True)]
    sensors = np.zeros((frames, len(body.touch_sensors)))
    joints = np.array(moments)[:, body.joint_qvel_ids]
    return Episode(0, name, qpos.astype(np.float32), qpos, qvel, activation, activation, force, sensors,
                   np.zeros(frames), joints, sensors, np.arange(1, frames + 1))  # fmt: skip


def made_archive(body: Embodiment, episode: Episode, seed: int = 0, torque: np.ndarray | None = None) -> RolloutArchive:
    """Return an archive of one episode, with a device at the right ankle if there is a torque (T,) [Nm]."""
    joints = body.scalar_joint_ids
    names = tuple(body.joint_names[j] for j in joints)
    motors = () if torque is None else ("exo_ankle_angle_r",)
    force = np.zeros((len(episode.qpos), 0)) if torque is None else torque[:, None]
    return RolloutArchive(
        **body.identity, dt=1.0 / body.control_frequency, joint_names=body.joint_names,
        muscle_names=body.muscle_names, force_joint_names=names, force_joint_units=("Nm",) * len(names),
        sensor_names=body.touch_sensors, mass=float(body.model.body_mass.sum()), motion_group="",
        episodes=(dataclasses.replace(episode, motor_force=force),), motor_names=motors, seed=seed,
    )  # fmt: skip


def weak_soleus(body: Embodiment, factor: float) -> Embodiment:
    """Return the body with another strength of the right soleus."""
    strength = np.ones(len(body.muscle_ids))
    strength[body.muscle_columns(["soleus_r"])] = factor
    return weakened(body, strength)
