"""Forward kinematics with MuJoCo: poses and velocities of the tracked sites, lengths and velocities of the muscles."""

from typing import Any, NamedTuple

import mujoco
import numpy as np

from muscle_torch.embodiments import Embodiment


class SiteMotion(NamedTuple):
    """Tracked sites and muscles over time, world axes, float64 or float32."""

    pos: np.ndarray  # (T, S, 3) [m]
    mat: np.ndarray  # (T, S, 3, 3)
    angvel: np.ndarray  # (T, S, 3) [rad/s]
    linvel: np.ndarray  # (T, S, 3) of the site point [m/s]
    muscle_length: np.ndarray  # (T, muscles) [m]
    muscle_velocity: np.ndarray  # (T, muscles) [m/s]


def site_motion(
    embodiment: Embodiment, qpos: np.ndarray, qvel: np.ndarray, scratch: mujoco.MjData | None = None
) -> SiteMotion:
    """Compute the forward kinematics of a motion.

    Args:
        embodiment: The body.
        qpos: (T, num_qpos).
        qvel: (T, num_qvel).
        scratch: MjData to use; give each thread its own, because MuJoCo releases the GIL.
    """
    model, sites, bodies = embodiment.model, embodiment.site_ids, embodiment.site_body_ids
    roots = model.body_rootid[bodies]
    data: Any = mujoco.MjData(model) if scratch is None else scratch
    frames, count = len(qpos), len(sites)
    pos, mat = np.empty((frames, count, 3)), np.empty((frames, count, 9))
    cvel, com = np.empty((frames, count, 6)), np.empty((frames, count, 3))
    muscles = embodiment.muscle_ids
    length, velocity = np.empty((frames, len(muscles))), np.empty((frames, len(muscles)))
    for t in range(frames):
        data.qpos[: embodiment.num_qpos], data.qvel[: embodiment.num_qvel] = qpos[t], qvel[t]
        mujoco.mj_kinematics(model, data)
        mujoco.mj_comPos(model, data)
        mujoco.mj_tendon(model, data)
        mujoco.mj_transmission(model, data)
        mujoco.mj_fwdVelocity(model, data)
        pos[t], mat[t] = data.site_xpos[sites], data.site_xmat[sites]
        cvel[t], com[t] = data.cvel[bodies], data.subtree_com[roots]
        length[t], velocity[t] = data.actuator_length[muscles], data.actuator_velocity[muscles]
    # The linear part of cvel is the velocity of the body point at the subtree's centre of mass.
    linvel = cvel[..., 3:] + np.cross(cvel[..., :3], pos - com)
    return SiteMotion(pos, mat.reshape(frames, count, 3, 3), cvel[..., :3], linvel, length, velocity)
