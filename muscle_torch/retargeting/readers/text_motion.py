"""Joint positions from text-to-motion models (.npy, .npz): the 22 body joints of SMPL, or 24 with hands, y up.

MDM and other models trained on HumanML3D generate 20 frames per second. Arrays are (T, J, 3), MDM's own (J, 3, T), or
several motions (N, ...) of either; `part` chooses one. Pickled results are not loaded, because that can run code.
"""

from pathlib import Path

import numpy as np

from muscle_torch.errors import InputError
from muscle_torch.motion.clip import read_arrays

from ..raw import RawMotion
from .amass import JOINTS, RATES
from .axes import AXES, turn_between, vertical_axis
from .skeleton import check_numbers

COUNTS = (22, 24)
POSITIONS = ("positions", "joints", "motion")  # names of the array in an .npz
USUAL_RATE = 20  # [Hz] of HumanML3D
SPINE1, SPINE3, NECK = 3, 9, 12
# Lean backwards of the lines from hips to spine and from spine to neck in SMPL's mean rest pose [rad].
PELVIS_LEAN, THORAX_LEAN = np.arctan2(0.0212, 0.2), np.arctan2(0.0429, 0.2139)
FEATURES = 263  # of HumanML3D's own representation
REMEDY = "save the positions alone: np.save('walk.npy', results.item()['motion'][0])"


def is_text_motion(path: Path) -> bool:
    """Return whether an .npz contains joint positions. Raises InputError for a damaged one."""
    names = read_arrays(path, (*POSITIONS, "poses", "trans"))
    return bool(names) and not {"poses", "trans"} & names.keys()  # AMASS files may contain joints too


def count_motions(path: Path) -> int:
    """Return the number of motions in a file; 1 for damaged files, which fail when they are read."""
    try:
        values, _ = _read(path)
        return len(_motions(values, path))
    except InputError:
        return 1


def read_text_motion(path: Path, part: int = 0, unit: float = 0.0, rate: float = 0.0, up: str = "") -> RawMotion:
    """Read joint positions of a text-to-motion model.

    Args:
        path: An .npy file, or an .npz with an array of `POSITIONS` and a frame rate (`fps`).
        part: Index of the motion, if the file has several.
        unit: Unit of the positions [m]; 0: metres.
        rate: Frame rate [Hz]; 0: as stated in the file.
        up: Vertical axis, such as "y"; "": by the motion, usually y.

    Raises:
        InputError: The file is damaged, its shape is that of no such array, or the rate is unknown.
    """
    values, stated = _read(path)
    motions = _motions(values, path)
    if part >= len(motions):
        raise InputError(
            f"{path}: has {len(motions)} motions, so part={part} does not exist; choose 0 to {len(motions) - 1}"
        )
    if not rate and not stated:
        raise InputError(
            f"{path}: contains no frame rate; set rate= [Hz] (MDM and other models of HumanML3D: rate={USUAL_RATE})"
        )
    joints = motions[part].astype(float) * (unit or 1.0)
    check_numbers(joints, f"{path}: joint positions")
    points = {name: joints[:, index] for name, index in JOINTS.items()}
    points["pelvis"] = (points["left_hip"] + points["right_hip"]) / 2
    vertical, notes = vertical_axis(points, "y", "", up, str(path))
    world = turn_between(AXES[vertical], AXES["z"])
    sides = {name: points[f"left_{name}"] - points[f"right_{name}"] for name in ("hip", "shoulder")}
    pelvis = _frames(sides["hip"], joints[:, SPINE1] - points["pelvis"], PELVIS_LEAN)
    thorax = _frames(sides["shoulder"], joints[:, NECK] - joints[:, SPINE3], THORAX_LEAN)
    return RawMotion(
        name=path.stem if len(motions) == 1 else f"{path.stem}_{part}",
        rate=rate or stated,
        positions={name: at @ world.T for name, at in points.items()},
        orientations={"pelvis": world @ pelvis, "thorax": world @ thorax},
        source=str(path),
        notes=notes,
    )


def _frames(left: np.ndarray, up: np.ndarray, lean: float) -> np.ndarray:
    """Return frames (T, 3, 3) with columns forward, left and up.

    Args:
        left: From the right to the left, (T, 3).
        up: Upwards along the trunk, (T, 3), which leans backwards in the frames.
        lean: Angle of this lean [rad].
    """
    left = left / np.maximum(np.linalg.norm(left, axis=1, keepdims=True), 1e-9)
    up = up - (up * left).sum(axis=1, keepdims=True) * left
    up = up / np.maximum(np.linalg.norm(up, axis=1, keepdims=True), 1e-9)
    ahead = np.cross(left, up)
    up, ahead = np.cos(lean) * up + np.sin(lean) * ahead, np.cos(lean) * ahead - np.sin(lean) * up
    return np.stack((ahead, left, up), axis=-1)


def _read(path: Path) -> tuple[np.ndarray, float]:
    """Return the array and the stated rate [Hz], 0 if there is none."""
    if path.suffix.lower() == ".npz":
        arrays = read_arrays(path, (*POSITIONS, *RATES))
        name = next((name for name in POSITIONS if name in arrays), "")
        if not name:
            raise InputError(f"{path}: contains no joint positions ({', '.join(POSITIONS)})")
        stated = next((float(np.ravel(arrays[key])[0]) for key in RATES if key in arrays), 0.0)
        return arrays[name], stated
    try:
        return np.load(path, allow_pickle=False), 0.0
    except (ValueError, EOFError, OSError) as error:
        if "allow_pickle" in str(error):
            raise InputError(f"{path}: a pickled object, which can run code when loaded; {REMEDY}") from None
        raise InputError(f"{path}: damaged or not an .npy file ({error}); copy or save it again") from None


def _motions(values: np.ndarray, path: Path) -> np.ndarray:
    """Return the motions as (N, T, J, 3)."""
    shape = values.shape
    if shape[-1:] == (FEATURES,):
        raise InputError(
            f"{path}: has HumanML3D's {FEATURES} features for each frame, not positions; convert them with its "
            "recover_from_ric, to (frames, 22, 3)"
        )
    if values.ndim not in (3, 4) or values.dtype.kind not in "fiu":
        raise InputError(f"{path}: has shape {shape}; joint positions are (frames, 22 or 24, 3)")
    frames_last = shape[-2] == 3 and (shape[-1] != 3 or shape[-3] in COUNTS)
    motions = np.moveaxis(values, -1, -3) if frames_last else values
    motions = motions[None] if motions.ndim == 3 else motions
    if motions.shape[3] != 3 or motions.shape[2] not in COUNTS:
        raise InputError(
            f"{path}: has shape {shape}, so {motions.shape[2]} joints; text-to-motion models have 22 or 24 of SMPL "
            "(KIT-ML's 21 joints are others)"
        )
    return motions
