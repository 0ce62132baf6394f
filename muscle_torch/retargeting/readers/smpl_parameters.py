"""SMPL parameters as MDM writes them: `thetas` of 24 joints in 6 numbers each, and `root_translation`."""

import numpy as np
from scipy.spatial.transform import Rotation

JOINTS = 24


def as_amass(arrays: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Return arrays with MDM's parameters renamed and converted to those of AMASS; other files are unchanged.

    Args:
        arrays: Name -> array; `thetas` is (24, 6, T), (T, 24, 6) or (T, 24, 3), `root_translation` (3, T) or (T, 3).
    """
    thetas, travel = arrays.get("thetas"), arrays.get("root_translation")
    if thetas is None or travel is None or thetas.ndim != 3:
        return arrays
    turns = np.moveaxis(thetas, -1, 0) if thetas.shape[0] == JOINTS and thetas.shape[1] == 6 else thetas
    if turns.shape[1] != JOINTS or turns.shape[2] not in (3, 6):
        return arrays
    poses = axis_angles(turns) if turns.shape[2] == 6 else turns
    trans = travel.T if travel.shape[0] == 3 and travel.shape[1:] == (len(turns),) else travel
    return {**arrays, "poses": poses.reshape(len(poses), -1), "trans": trans}


def axis_angles(rows: np.ndarray) -> np.ndarray:
    """Convert rotations (..., 6) to rotation vectors (..., 3).

    They are the first two rows of matrices before orthogonalization (Zhou et al. 2019), in PyTorch3D's order.
    """
    first = rows[..., :3] / np.linalg.norm(rows[..., :3], axis=-1, keepdims=True)
    second = rows[..., 3:] - (first * rows[..., 3:]).sum(axis=-1, keepdims=True) * first
    second = second / np.linalg.norm(second, axis=-1, keepdims=True)
    matrix = np.stack((first, second, np.cross(first, second)), axis=-2)
    return Rotation.from_matrix(matrix.reshape(-1, 3, 3)).as_rotvec().reshape(*rows.shape[:-1], 3)
