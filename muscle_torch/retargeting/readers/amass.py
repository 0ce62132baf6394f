"""AMASS: SMPL-H or SMPL-X pose files (.npz). Joints come from the body model file, which each user has to license."""

import zipfile
import zlib
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
from scipy.spatial.transform import Rotation

from muscle_torch.errors import InputError

from ..raw import RawMotion
from .skeleton import TO_Z_UP, Skeleton

BODY_JOINTS = 22
LEFT = {"hip": 1, "knee": 4, "ankle": 7, "toe": 10, "shoulder": 16, "elbow": 18, "wrist": 20}  # right: one more
JOINTS = {"neck": 12, "head": 15} | {
    f"{side}_{joint}": index + (side == "right") for side in ("left", "right") for joint, index in LEFT.items()
}
THORAX = 9
DAMAGED = (OSError, ValueError, EOFError, KeyError, zipfile.BadZipFile, zlib.error)
RATES = ("mocap_framerate", "mocap_frame_rate", "mocap_time_length_rate")
WHERE = (
    "SMPL-H: register at https://mano.is.tue.mpg.de, download 'Extended SMPL+H model' (AMASS version, .npz), "
    "SMPL-X: https://smpl-x.is.tue.mpg.de; then set smpl=<folder or model .npz>"
)


@dataclass(frozen=True)
class BodyModel:
    """The part of an SMPL body that places joints."""

    template: np.ndarray  # (J, 3) joints of the mean shape [m]
    directions: np.ndarray  # (J, 3, B) how they move with the shape parameters
    parents: tuple[int, ...]

    def skeleton(self, betas: np.ndarray) -> Skeleton:
        count = min(len(betas), self.directions.shape[-1])
        joints = self.template + self.directions[..., :count] @ betas[:count]
        offsets = np.array([joints[i] - joints[p] if p >= 0 else joints[i] for i, p in enumerate(self.parents)])
        return Skeleton(tuple(map(str, range(len(joints)))), self.parents, offsets)


def load_body(smpl: str, gender: str) -> BodyModel:
    """The model file for `gender`; `smpl` is a file, or a folder with <gender>/model.npz or *_<GENDER>.npz."""
    if not smpl:
        raise InputError(f"AMASS files need the SMPL body model, which is licensed and not shipped. {WHERE}")
    path = Path(smpl).expanduser()
    if path.is_dir():
        path = _in_folder(path, gender)
    if path.suffix != ".npz":
        raise InputError(f"{path}: body models are read as .npz (pickles can run code). {WHERE}")
    try:
        return _read_body(path, path.stat().st_mtime_ns)
    except DAMAGED as error:
        raise InputError(f"{path}: not an SMPL body model ({error}). {WHERE}") from None


@lru_cache(maxsize=4)
def _read_body(path: Path, changed: int) -> BodyModel:
    """Kept in memory until the file changes (`changed` [ns]): it is large, and the subjects of a data set share it."""
    with np.load(path, allow_pickle=False) as stored:
        regressor, vertices = _dense(stored["J_regressor"]), stored["v_template"]
        shapes, tree = stored["shapedirs"], stored["kintree_table"]
    parents = tuple(-1 if p < 0 or p > 1000 else int(p) for p in tree[0].astype(np.int64))
    if len(parents) < BODY_JOINTS:
        raise ValueError(f"has {len(parents)} joints, SMPL has at least {BODY_JOINTS}")
    regressor = regressor[:BODY_JOINTS]
    joints, directions = regressor @ vertices, np.einsum("jv,vcb->jcb", regressor, shapes)
    return BodyModel(joints, directions, (-1, *parents[1:BODY_JOINTS]))


def read_amass(path: Path, smpl: str = "", rate: float = 0.0) -> RawMotion:
    """One AMASS file; betas and gender choose the subject's joints."""
    arrays = _arrays(path)
    if "poses" in arrays:
        poses = arrays["poses"]
    elif "root_orient" in arrays and "pose_body" in arrays:  # SMPL-X
        poses = np.concatenate((arrays["root_orient"], arrays["pose_body"]), axis=1)
    else:
        raise InputError(f"{path}: not an AMASS file: it has neither poses nor root_orient and pose_body")
    if poses.ndim != 2 or poses.shape[1] < 3 * BODY_JOINTS:
        raise InputError(f"{path}: poses has shape {poses.shape}, SMPL bodies need (frames, at least 66)")
    trans = arrays.get("trans")
    if trans is None or trans.shape != (len(poses), 3):
        raise InputError(f"{path}: trans is missing or not of shape ({len(poses)}, 3)")
    frequency = rate or _rate(arrays, path)
    gender = _gender(arrays)
    betas = np.asarray(arrays.get("betas", np.zeros(0)), dtype=float).reshape(-1)
    skeleton = load_body(smpl, gender).skeleton(betas)
    body = poses[:, : 3 * BODY_JOINTS].astype(float).reshape(-1, 3)
    turns = Rotation.from_rotvec(body).as_matrix().reshape(len(poses), BODY_JOINTS, 3, 3)
    positions, rotations = skeleton.pose(trans + skeleton.offsets[0], turns)
    joints = {name: positions[:, i] for name, i in JOINTS.items()}
    rest = {name: skeleton.rest()[i] @ TO_Z_UP.T for name, i in JOINTS.items()}
    for points in (joints, rest):
        points["pelvis"] = (points["left_hip"] + points["right_hip"]) / 2
    # The world is z up already; only the body's own axes are SMPL's (y up).
    return RawMotion(
        name=path.stem,
        rate=frequency,
        positions=joints,
        orientations={"pelvis": rotations[:, 0] @ TO_Z_UP.T, "thorax": rotations[:, THORAX] @ TO_Z_UP.T},
        rest=rest,
        subject=f"{gender} betas {np.round(betas[:3], 2).tolist()}",
        source=str(path),
    )


def _in_folder(folder: Path, gender: str) -> Path:
    for pattern in (f"{gender}/model.npz", f"*_{gender.upper()}.npz", f"*{gender}*.npz", "neutral/model.npz", "*.npz"):
        found = sorted(folder.glob(pattern))
        if found:
            return found[0]
    raise InputError(f"folder {folder} has no body model (.npz). {WHERE}")


def _arrays(path: Path) -> dict[str, np.ndarray]:
    arrays = {}
    try:
        with np.load(path, allow_pickle=False) as stored:
            for key in stored.files:
                try:
                    arrays[key] = stored[key]
                except ValueError as error:
                    if "allow_pickle" not in str(error):
                        raise
    except DAMAGED as error:
        raise InputError(f"{path}: damaged or not an .npz file ({error}); copy or download it again") from None
    return arrays


def _rate(arrays: dict[str, np.ndarray], path: Path) -> float:
    for key in RATES:
        if key in arrays:
            value = float(np.asarray(arrays[key]).reshape(-1)[0])
            # 120.00004577 is what 120 became on its way through other units.
            return float(round(value)) if abs(value - round(value)) < 1e-3 else value
    raise InputError(f"{path}: states no frame rate ({' or '.join(RATES[:2])}); set rate= [Hz]")


def _gender(arrays: dict[str, np.ndarray]) -> str:
    value = arrays.get("gender", np.array("neutral")).reshape(-1)[0]
    text = value.decode() if isinstance(value, bytes) else str(value)
    text = text.strip().removeprefix("b'").removesuffix("'").lower()
    return text if text in ("male", "female") else "neutral"


def _dense(matrix: np.ndarray) -> np.ndarray:
    if matrix.dtype.hasobject:
        raise ValueError("J_regressor is a pickled sparse matrix; save it dense")
    return np.asarray(matrix, dtype=float)
