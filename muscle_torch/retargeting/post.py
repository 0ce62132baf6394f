"""What follows the fit: filter and floor for the methods that lack them, and the origin."""

import numpy as np
from scipy.signal import butter, sosfiltfilt
from scipy.spatial.transform import Rotation

from .fit import Proportions, Targets
from .ground import Soles, find_floor


def smooth(qpos: np.ndarray, rate: float, body: Proportions, cutoff: float) -> np.ndarray:
    """Independent joints and root through a zero-phase low-pass [Hz]; couplings and limits hold afterwards."""
    tree = body.tree
    if cutoff >= rate / 2 or len(qpos) < 13:
        return tree.qpos(tree.pose(qpos))
    low_pass = butter(2, cutoff, fs=rate, output="sos")
    out = sosfiltfilt(low_pass, qpos, axis=0)
    if body.free:
        turns = Rotation.from_quat(qpos[:, 3:7], scalar_first=True)
        # Rotations are filtered as rotation vectors from a middle one.
        middle = turns.mean()
        filtered = sosfiltfilt(low_pass, np.unwrap((middle.inv() * turns).as_rotvec(), axis=0), axis=0)
        out[:, 3:7] = (middle * Rotation.from_rotvec(filtered)).as_quat(scalar_first=True)
    return tree.qpos(tree.pose(out))


def on_floor(qpos: np.ndarray, targets: Targets, body: Proportions) -> tuple[np.ndarray, Targets]:
    """Levelled and shifted as a whole so that standing feet stand on the floor; never frame by frame."""
    tree = body.tree
    soles = Soles.of(tree)
    lowest = soles.lowest(tree.forward(tree.pose(qpos))).numpy()
    turn, height = find_floor(lowest, targets.rate)
    out = qpos.copy()
    out[:, :3] = qpos[:, :3] @ turn.T - [0.0, 0.0, height]
    turned = Rotation.from_matrix(turn) * Rotation.from_quat(qpos[:, 3:7], scalar_first=True)
    out[:, 3:7] = turned.as_quat(scalar_first=True)
    return out, targets.turned(turn, np.array([0.0, 0.0, -height]))


def at_origin(qpos: np.ndarray, targets: Targets) -> tuple[np.ndarray, Targets]:
    """The root starts above x = y = 0."""
    shift = np.array([qpos[0, 0], qpos[0, 1], 0.0])
    out = qpos.copy()
    out[:, :3] -= shift
    return out, targets.turned(np.eye(3), -shift)
