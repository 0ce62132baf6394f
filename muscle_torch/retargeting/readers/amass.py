"""AMASS: SMPL-H or SMPL-X pose files (.npz). Joints require the body model file, for which each user needs a license.

smplx computes the joint positions. Its body classes are not used, because they require the whole licensed model (mesh,
skinning weights, hands), while joints need only four of its arrays.
"""

import pickletools
import re
import zipfile
import zlib
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy.spatial.transform import Rotation

from muscle_torch.errors import InputError

from ..arm_axes import bends_to, segment_axes
from ..raw import SIDES, RawMotion
from .axes import AXES, turn_between, vertical_axis
from .root_unit import check_root_unit
from .skeleton import TO_Z_UP, check_numbers
from .smpl_parameters import as_amass

BODY_JOINTS = 22
LEFT = {"hip": 1, "knee": 4, "ankle": 7, "toe": 10, "shoulder": 16, "elbow": 18, "wrist": 20}  # right: one more
JOINTS = {"neck": 12, "head": 15} | {
    f"{side}_{joint}": index + (side == "right") for side in ("left", "right") for joint, index in LEFT.items()
}
THORAX = 9
DAMAGED = (OSError, ValueError, EOFError, KeyError, zipfile.BadZipFile, zlib.error)
RATES = ("mocap_framerate", "mocap_frame_rate", "mocap_time_length_rate", "fps", "frame_rate", "framerate")
GENDERS = {"m": "male", "f": "female", "n": "neutral"}
WHERE = (
    "SMPL-H: register at https://mano.is.tue.mpg.de, download 'Extended SMPL+H model' (AMASS version, .npz), "
    "SMPL-X: https://smpl-x.is.tue.mpg.de; then set smpl=<folder or model .npz>"
)


@dataclass(frozen=True)
class BodyModel:
    """The part of an SMPL body that determines the joints."""

    template: np.ndarray  # (J, 3) joints of the mean shape [m]
    directions: np.ndarray  # (J, 3, B) derivatives with respect to the shape parameters
    parents: tuple[int, ...]

    def joints(self, betas: np.ndarray) -> np.ndarray:
        """Return the joints (J, 3) of a shape [m] in the T-pose: y up, facing z."""
        count = min(len(betas), self.directions.shape[-1])
        return self.template + self.directions[..., :count] @ betas[:count]

    def pose(self, joints: np.ndarray, turns: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return positions (T, J, 3) with the root at its rest position, and rotations (T, J, 3, 3) to the world.

        Args:
            joints: Of `joints`, (J, 3) [m].
            turns: Rotations relative to the parent, (T, J, 3, 3).
        """
        from smplx import lbs

        rigid_transform: Any = lbs.batch_rigid_transform  # annotated with smplx's own tensor type
        rest = torch.from_numpy(np.ascontiguousarray(joints)).expand(len(turns), -1, -1)
        parents = torch.tensor(self.parents)
        positions, transforms = rigid_transform(torch.from_numpy(turns), rest, parents, dtype=torch.float64)
        return positions.numpy(), transforms[..., :3, :3].numpy()


def load_body(smpl: str, gender: str) -> BodyModel:
    """Load a body model.

    Args:
        smpl: A file, or a folder with <gender>/model.npz or *_<GENDER>.npz.
        gender: male, female or neutral.

    Raises:
        InputError: There is no such file, or it is not a body model.
    """
    if not smpl:
        raise InputError(f"AMASS files need the SMPL body model, which is licensed and not included. {WHERE}")
    path = Path(smpl).expanduser()
    if path.is_dir():
        path = _in_folder(path, gender)
    if path.suffix != ".npz":
        raise InputError(f"{path}: body models must be .npz files, because pickles can run code. {WHERE}")
    try:
        return _read_body(path, path.stat().st_mtime_ns)
    except DAMAGED as error:
        raise InputError(f"{path}: not an SMPL body model ({error}). {WHERE}") from None


@lru_cache(maxsize=4)
def _read_body(path: Path, changed: int) -> BodyModel:
    """Read a body model, cached until the file changes (`changed` [ns]): it is large, and subjects share it."""
    with np.load(path, allow_pickle=False) as stored:
        regressor, vertices = _dense(stored["J_regressor"]), stored["v_template"]
        shapes, tree = stored["shapedirs"], stored["kintree_table"]
    parents = tuple(-1 if p < 0 or p > 1000 else int(p) for p in tree[0].astype(np.int64))
    if len(parents) < BODY_JOINTS:
        raise ValueError(f"has {len(parents)} joints, SMPL has at least {BODY_JOINTS}")
    regressor = regressor[:BODY_JOINTS]
    joints, directions = regressor @ vertices, np.einsum("jv,vcb->jcb", regressor, shapes)
    return BodyModel(joints, directions, (-1, *parents[1:BODY_JOINTS]))


def read_amass(path: Path, smpl: str = "", unit: float = 0.0, rate: float = 0.0, up: str = "") -> RawMotion:
    """Read an AMASS file; betas and gender select the subject's joints.

    Args:
        path: The .npz file.
        smpl: The body model, see `load_body`.
        unit: Unit of `trans` [m]; 0: metres, as in the body model.
        rate: Frame rate [Hz]; 0: as stated in the file.
        up: Vertical axis, such as "y"; "": by the motion, usually z.

    Raises:
        InputError: The file or the body model is missing, damaged or incomplete, or the root travels in another unit.
    """
    arrays = as_amass(_arrays(path))
    poses = _poses(arrays, path)
    trans = arrays.get("trans")
    if trans is None or trans.shape != (len(poses), 3):
        raise InputError(f"{path}: trans is missing or does not have shape ({len(poses)}, 3)")
    for name, values in (("poses", poses), ("trans", trans)):
        check_numbers(values, f"{path}: {name}")
    frequency = rate or _rate(arrays, path)
    gender, betas, notes = _gender(arrays), *_betas(arrays, len(poses), path)
    model = load_body(smpl, gender)
    rest_joints = model.joints(betas)
    body = poses[:, : 3 * BODY_JOINTS].astype(float).reshape(-1, 3)
    turns = Rotation.from_rotvec(body).as_matrix().reshape(len(poses), BODY_JOINTS, 3, 3)
    positions, rotations = model.pose(rest_joints, turns)
    positions = positions + trans[:, None].astype(float) * (unit or 1.0)
    points = {name: positions[:, i] for name, i in JOINTS.items()}
    rest = {name: (rest_joints[i] - rest_joints[0]) @ TO_Z_UP.T for name, i in JOINTS.items()}
    for at in (points, rest):
        at["pelvis"] = (at["left_hip"] + at["right_hip"]) / 2
    if not unit:
        check_root_unit(points, frequency, str(path))
    vertical, more = vertical_axis(points, "z", "", up, str(path))
    world = turn_between(AXES[vertical], AXES["z"])
    return RawMotion(
        name=path.stem,
        rate=frequency,
        positions={name: at @ world.T for name, at in points.items()},
        orientations={
            "pelvis": world @ rotations[:, 0] @ TO_Z_UP.T,
            "thorax": world @ rotations[:, THORAX] @ TO_Z_UP.T,
            **{name: world @ turn for name, turn in _arm_turns(positions, rotations, rest_joints).items()},
        },
        rest=rest,
        subject=f"{gender} betas {np.round(betas[:3], 2).tolist()}",
        source=str(path),
        notes=(*notes, *more),
    )


def _arm_turns(positions: np.ndarray, rotations: np.ndarray, rest: np.ndarray) -> dict[str, np.ndarray]:
    """Return orientations of upper arms and hands (T, 3, 3); in the T-pose `rest` (J, 3) palms are down, facing z."""
    turns, ahead = {}, np.array([0.0, 0.0, 1.0])
    for side in SIDES:
        shoulder, elbow, wrist = (JOINTS[f"{side}_{name}"] for name in ("shoulder", "elbow", "wrist"))
        # The elbow is not a hinge in SMPL: determine the direction of flexion from the motion.
        bend = bends_to(positions[:, [shoulder, elbow, wrist]], rotations[:, shoulder])
        bend = ahead if bend is None else bend
        for name, joint, front, along in (
            ("upper_arm", shoulder, bend, rest[elbow] - rest[shoulder]),
            ("hand", wrist, ahead, rest[wrist] - rest[elbow]),
        ):
            turns[f"{side}_{name}"] = rotations[:, joint] @ segment_axes(front, along, side)
    return turns


def _poses(arrays: dict[str, np.ndarray], path: Path) -> np.ndarray:
    """Return axis-angle rotations (T, at least 66) [rad]."""
    if "poses" in arrays:
        poses = arrays["poses"]
    elif "root_orient" in arrays and "pose_body" in arrays:  # SMPL-X
        poses = np.concatenate((arrays["root_orient"], arrays["pose_body"]), axis=1)
    else:
        raise InputError(f"{path}: not an AMASS file: it has neither poses nor root_orient and pose_body")
    if poses.ndim != 2 or poses.shape[1] < 3 * BODY_JOINTS:
        raise InputError(f"{path}: poses has shape {poses.shape}, SMPL bodies need (frames, at least 66)")
    return poses


def _betas(arrays: dict[str, np.ndarray], frames: int, path: Path) -> tuple[np.ndarray, tuple[str, ...]]:
    """Return shape parameters (B,) and notes; if a file repeats them in every frame, their mean."""
    stored = arrays.get("betas")
    if stored is None:
        return np.zeros(0), ("the file contains no betas: using the mean shape",)
    betas = np.asarray(stored, dtype=float)
    if betas.ndim == 2 and len(betas) in (1, frames):
        spread = float(np.ptp(betas, axis=0).max())
        note = (f"betas change by up to {spread:.2g} over the frames: using their mean",) if spread > 1e-3 else ()
        return betas.mean(axis=0), note
    if betas.ndim != 1:
        raise InputError(f"{path}: betas has shape {betas.shape}; expected (B,) or one row per frame ({frames}, B)")
    return betas, ()


def _in_folder(folder: Path, gender: str) -> Path:
    for pattern in (f"{gender}/model.npz", f"*_{gender.upper()}.npz", f"*{gender}*.npz", "neutral/model.npz", "*.npz"):
        models = sorted(folder.glob(pattern))
        if models:
            return models[0]
    raise InputError(f"folder {folder} has no body model (.npz). {WHERE}")


def _arrays(path: Path) -> dict[str, np.ndarray]:
    """Read the arrays of the file. Pickled arrays are not loaded, because that can run code; `gender` is parsed."""
    arrays = {}
    try:
        with np.load(path, allow_pickle=False) as stored:
            for key in stored.files:
                try:
                    arrays[key] = stored[key]
                except ValueError as error:
                    if "allow_pickle" not in str(error):
                        raise
                    if key == "gender":
                        arrays[key] = np.array(_pickled_word(path, key))
                    elif key in ("poses", "root_orient", "pose_body", "trans", "betas", *RATES):
                        raise InputError(
                            f"{path}: {key} is a pickled object, which can run code when loaded; save it as numbers"
                        ) from None
    except InputError:
        raise
    except DAMAGED as error:
        raise InputError(f"{path}: damaged or not an .npz file ({error}); copy or download it again") from None
    return arrays


def _pickled_word(path: Path, key: str) -> str:
    """Return the last word of a pickled array that names a gender, "" if none; the pickle is parsed, not executed."""
    with zipfile.ZipFile(path) as archive:
        content = archive.read(f"{key}.npy")
    start = content.find(b"\x80", content.find(b"\n"))
    words = []
    for _, argument, _ in pickletools.genops(content[max(start, 0) :]):
        text = argument.decode("latin-1") if isinstance(argument, bytes) else argument
        if isinstance(text, str) and _gender_word(text):
            words.append(text)
    return words[-1] if words else ""


def _rate(arrays: dict[str, np.ndarray], path: Path) -> float:
    for key in RATES:
        if key in arrays:
            value = float(np.asarray(arrays[key]).reshape(-1)[0])
            # 120.00004577 is 120 with rounding errors from unit conversions.
            return float(round(value)) if abs(value - round(value)) < 1e-3 else value
    raise InputError(f"{path}: contains no frame rate ({' or '.join(RATES[:2])}); set rate= [Hz]")


def _gender(arrays: dict[str, np.ndarray]) -> str:
    value = arrays.get("gender", np.array("neutral")).reshape(-1)[0]
    text = value.decode("latin-1") if isinstance(value, bytes) else str(value)
    return _gender_word(text) or "neutral"


def _gender_word(text: str) -> str:
    """Parse a gender: `male`, `M`, `b'male'`, `Gender.MALE` -> male; "" for other texts."""
    word = re.sub(r"^b?['\"]|['\"]$", "", text.strip()).lower().rpartition(".")[2]
    return GENDERS.get(word, word if word in GENDERS.values() else "")


def _dense(matrix: np.ndarray) -> np.ndarray:
    if matrix.dtype.hasobject:
        raise ValueError("J_regressor is a pickled sparse matrix; save it dense")
    return np.asarray(matrix, dtype=float)
