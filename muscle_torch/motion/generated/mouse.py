"""Motions of the mouse's forelimb: reaches from a home posture to targets around it."""

from collections.abc import Callable

import mujoco
import numpy as np
from scipy.optimize import least_squares

from muscle_torch.embodiments import Embodiment

from .key_poses import through

TARGETS = 8
RADIUS = 0.005  # of the circle of targets around the wrist's home [m]
REACH, HOLD = 0.15, 0.05  # duration of a stroke, and of the rest at either end of it [s]
POSTURE = 1e-4  # weight of the home posture where a target leaves a choice [m/rad]


def reach_8(embodiment: Embodiment, random: np.random.Generator) -> dict[str, np.ndarray]:
    """To eight targets on a circle in the plane across the arm's forward axis, and back home after each.

    The order is drawn; each stroke is a minimum-jerk path of the joints.
    """
    low, high = embodiment.model.jnt_range.T
    home = (low + high) / 2
    angles = 2 * np.pi * random.permutation(TARGETS) / TARGETS
    poses, times = [home], [0.0]
    for angle in angles:
        pose = _reaching(embodiment, home, RADIUS * np.array((np.cos(angle), 0.0, np.sin(angle))))
        for key in (home, pose, pose, home):
            times.append(times[-1] + (REACH if key is not poses[-1] else HOLD))
            poses.append(key)
    paths = through(times, np.array(poses), embodiment.control_frequency)
    return dict(zip(embodiment.joint_names, paths.T, strict=True))


def _reaching(embodiment: Embodiment, home: np.ndarray, offset: np.ndarray) -> np.ndarray:
    """Return the posture (joints,) near `home` in which the wrist is `offset` (3,) [m] away from where it is there."""
    model, data = embodiment.model, mujoco.MjData(embodiment.model)
    low, high = model.jnt_range.T
    margin = 0.02 * (high - low)

    def wrist(qpos: np.ndarray) -> np.ndarray:
        data.qpos[:] = qpos
        mujoco.mj_kinematics(model, data)
        return data.site_xpos[embodiment.site_ids[-1]].copy()

    target = wrist(home) + offset

    def residual(qpos: np.ndarray) -> np.ndarray:
        return 1e3 * np.concatenate((wrist(qpos) - target, POSTURE * (qpos - home)))

    return least_squares(residual, home, bounds=(low + margin, high - margin), diff_step=1e-4).x


MOTIONS: dict[str, Callable[[Embodiment, np.random.Generator], dict[str, np.ndarray]]] = {"reach_8": reach_8}
