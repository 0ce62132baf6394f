"""Inverse kinematics of the arms for the key poses of the generated motions.

Uses SciPy's least squares instead of mink, because the minimum of the weighted sum matters, not a step towards it.
Iterated to convergence, `mink.solve_ik` (wrist and elbow as `FrameTask` without orientation, relaxed posture, couplings
as hard constraints, `ConfigurationLimit`, damping 1e-5) ends in another posture, up to 2.5 rad away, for 2 of the 118
key poses. With additional step control it agrees within 4e-4 rad and takes 1.2 to 1.8 times as long.
"""

from collections.abc import Mapping

import mujoco
import numpy as np
from scipy.optimize import least_squares

from muscle_torch.embodiments import Embodiment

SOLVED = ("elv_angle", "shoulder_elv", "shoulder_rot", "elbow_flex")
PRESCRIBED = ("pro_sup", "deviation", "flexion")
ARM_JOINTS = SOLVED + PRESCRIBED
# Ranges [rad] within the limits, with a margin, such that coupled joints also stay within their limits.
RANGES = {
    "elv_angle": (-1.5, 2.1),
    "shoulder_elv": (0.1, 2.9),
    "shoulder_rot": (-1.4, 1.9),
    "elbow_flex": (0.1, 2.15),
    "pro_sup": (-1.45, 1.45),
    "deviation": (-0.15, 0.4),
    "flexion": (-0.7, 0.7),
}
RELAXED = np.array([0.5, 0.4, 0.2, 0.6])  # preferred posture of SOLVED, if the hand position leaves a choice
SIDES = {"r": ("right", -1.0), "l": ("left", 1.0)}


class HandIK:
    """Inverse kinematics of one arm at a time.

    Positions are (outward, forward, up) [m] from the arm's shoulder, alike on both sides.
    """

    def __init__(self, embodiment: Embodiment) -> None:
        """Store the shoulder positions."""
        self._embodiment, self._model = embodiment, embodiment.model
        self._data = mujoco.MjData(self._model)
        mujoco.mj_kinematics(self._model, self._data)
        self._shoulder = {
            side: self._data.site(f"{word}_shoulder_mimic").xpos.copy() for side, (word, _) in SIDES.items()
        }

    def solve(
        self,
        side: str,
        hand: tuple[float, float, float],
        elbow: tuple[float, float, float] | None = None,
        **prescribed: float,
    ) -> dict[str, float]:
        """Return joint name -> position [rad] of ARM_JOINTS.

        Args:
            side: "r" or "l".
            hand: Wrist position.
            elbow: Approximate elbow position; None: free.
            **prescribed: pro_sup (pronation positive), deviation (ulnar positive) and flexion [rad]; default 0.
        """
        word, outward = SIDES[side]
        fixed = {joint: prescribed.get(joint, 0.0) for joint in PRESCRIBED}
        low, high = np.array([RANGES[joint] for joint in SOLVED]).T

        def residuals(angles: np.ndarray) -> np.ndarray:
            self._pose(side, dict(zip(SOLVED, angles, strict=True)) | fixed)
            wrist = self._place(side, f"{word}_hand_mimic", outward) - hand
            bend = self._place(side, f"{word}_elbow_mimic", outward) - elbow if elbow is not None else np.zeros(3)
            return np.concatenate((wrist, 0.05 * bend, 0.005 * (angles - RELAXED)))

        solution = least_squares(residuals, np.clip(RELAXED, low, high), bounds=(low, high), xtol=1e-10)
        return {f"{joint}_{side}": value for joint, value in zip(SOLVED, solution.x.tolist(), strict=True)} | {
            f"{joint}_{side}": value for joint, value in fixed.items()
        }

    def _pose(self, side: str, joints: Mapping[str, float]) -> None:
        qpos = self._embodiment.qpos0.copy()
        for joint, value in joints.items():
            qpos[self._model.joint(f"{joint}_{side}").qposadr[0]] = value
        self._data.qpos[: len(qpos)] = self._embodiment.project(qpos)
        mujoco.mj_kinematics(self._model, self._data)

    def _place(self, side: str, site: str, outward: float) -> np.ndarray:
        """Return a site's position (outward, forward, up) from the shoulder; the bodies face -y."""
        away = self._data.site(site).xpos - self._shoulder[side]
        return np.array((outward * away[0], -away[1], away[2]))
