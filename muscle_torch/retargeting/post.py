"""Post-processing: filter and floor for the methods without them, and the origin."""

import numpy as np
from scipy.signal import butter, sosfiltfilt
from scipy.spatial.transform import Rotation

from .fit import Proportions, Targets
from .ground import Soles, find_floor


def smooth(qpos: np.ndarray, rate: float, body: Proportions, cutoff: float) -> np.ndarray:
    """Low-pass independent joints and root with zero phase; couplings and limits hold afterwards.

    Args:
        qpos: (T, nq).
        rate: Frame rate [Hz].
        body: The body.
        cutoff: [Hz].
    """
    tree = body.tree
    if cutoff >= rate / 2 or len(qpos) < 13:
        return tree.qpos(tree.pose(qpos))
    low_pass = butter(2, cutoff, fs=rate, output="sos")
    out = sosfiltfilt(low_pass, qpos, axis=0)
    if body.free:
        turns = Rotation.from_quat(qpos[:, 3:7], scalar_first=True)
        # Filter rotations as rotation vectors relative to their mean.
        middle = turns.mean()
        filtered = sosfiltfilt(low_pass, np.unwrap((middle.inv() * turns).as_rotvec(), axis=0), axis=0)
        out[:, 3:7] = (middle * Rotation.from_rotvec(filtered)).as_quat(scalar_first=True)
    return tree.qpos(tree.pose(out))


def on_floor(qpos: np.ndarray, targets: Targets, body: Proportions) -> tuple[np.ndarray, Targets]:
    """Level and shift a motion as a whole so that standing feet are on the floor; never frame by frame.

    Args:
        qpos: (T, nq).
        targets: Targets of the motion.
        body: The body.

    Returns:
        qpos (T, nq) and the targets, transformed equally.
    """
    tree = body.tree
    soles = Soles.of(tree)
    lowest = soles.lowest(tree.forward(tree.pose(qpos))).numpy()
    turn, height = find_floor(lowest, targets.rate)
    out = qpos.copy()
    out[:, :3] = qpos[:, :3] @ turn.T - [0.0, 0.0, height]
    rotation = Rotation.from_matrix(turn) * Rotation.from_quat(qpos[:, 3:7], scalar_first=True)
    out[:, 3:7] = rotation.as_quat(scalar_first=True)
    return out, targets.rotated(turn, np.array([0.0, 0.0, -height]))


def at_origin(qpos: np.ndarray, targets: Targets) -> tuple[np.ndarray, Targets]:
    """Move a motion and its targets so that the root starts above x = y = 0."""
    shift = np.array([qpos[0, 0], qpos[0, 1], 0.0])
    out = qpos.copy()
    out[:, :3] -= shift
    return out, targets.rotated(np.eye(3), -shift)
