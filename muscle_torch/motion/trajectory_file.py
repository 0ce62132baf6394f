"""Read MuscleMimic's trajectory files (.npz with one or several clips), without unpickling."""

from itertools import pairwise
from pathlib import Path

import numpy as np

from muscle_torch.embodiments import Embodiment
from muscle_torch.errors import InputError

from .clip import MotionClip, as_frequency, as_numbers

REQUIRED = ("qpos", "frequency", "joint_names", "split_points")
STORED = (*REQUIRED, "qvel", "jnt_type", "body_names", "body_pos", "body_quat")
FREE, SLIDE, HINGE = 0, 2, 3
TOLERANCE = 1e-4  # [m] and quaternion entries; files are float32, versions of a body differ by millimetres


def trajectory_clips(arrays: dict[str, np.ndarray], embodiment: Embodiment, path: Path) -> list[MotionClip]:
    """Return the clips of a trajectory file, with the columns of the file.

    Args:
        arrays: Read from the file.
        embodiment: The body.
        path: The file, for names and error messages.

    Raises:
        InputError: Arrays are missing or invalid, or the file is of another body.
    """
    missing = [key for key in REQUIRED if key not in arrays]
    if missing:
        raise InputError(f"{path}: not a trajectory file, it lacks {', '.join(missing)}")
    names = tuple(str(name) for name in arrays["joint_names"].reshape(-1))
    _check_joint_types(arrays, path)
    check_same_body(arrays, embodiment, path)
    splits = _splits(arrays, path)
    qpos = as_numbers(arrays["qpos"], "qpos", path)
    qvel = as_numbers(arrays["qvel"], "qvel", path) if "qvel" in arrays and arrays["qvel"].size else None
    clips = []
    for index, (first, last) in enumerate(pairwise(splits)):
        clip = MotionClip(
            name=path.stem if len(splits) == 2 else f"{path.stem}_{index}",
            qpos=qpos[first:last],
            frequency=as_frequency(arrays["frequency"], path),
            joint_names=names,
            embodiment=embodiment.name,
            model_version=embodiment.model_version,
            source=str(path),
            qvel=None if qvel is None else qvel[first:last],
        )
        clips.append(clip.validate(f"{path}, clip {index}" if len(splits) > 2 else str(path)))
    return clips


def check_same_body(arrays: dict[str, np.ndarray], embodiment: Embodiment, path: Path) -> None:
    """Check that the body described in a trajectory file is `embodiment`, in the same version.

    Args:
        arrays: Read from the file; without body arrays nothing is checked.
        embodiment: The body.
        path: The file, for error messages.

    Raises:
        InputError: The file is of another body or version.
    """
    stored = [arrays[key] for key in ("body_names", "body_pos", "body_quat") if key in arrays]
    if len(stored) < 3 or any(array.size == 0 for array in stored):
        return
    if len({len(array) for array in stored}) > 1:
        raise InputError(f"{path}: body_names, body_pos and body_quat have different lengths; the file is damaged")
    model = embodiment.model
    ids = {model.body(i).name: i for i in range(model.nbody)}
    worst, culprit = 0.0, ""
    for name, pos, quat in zip(*stored, strict=True):
        if str(name) not in ids:
            raise InputError(f"{path}: a motion of another body: {embodiment.name} has no body {str(name)!r}")
        index = ids[str(name)]
        # q and -q are equal rotations.
        rotation = min(np.abs(quat - sign * model.body_quat[index]).max() for sign in (1, -1))
        difference = max(float(np.abs(pos - model.body_pos[index]).max()), float(rotation))
        if difference > worst:
            worst, culprit = difference, str(name)
    if worst > TOLERANCE:
        raise InputError(
            f"{path}: made with another version of {embodiment.name} than {embodiment.model_version}: body {culprit!r} "
            f"is placed otherwise (by {worst:.2g}); retarget the motion for this version"
        )


def _check_joint_types(arrays: dict[str, np.ndarray], path: Path) -> None:
    types = arrays.get("jnt_type")
    if types is None or types.size == 0:
        return
    allowed = [FREE, SLIDE, HINGE] if int(types[0]) == FREE else [SLIDE, HINGE]
    if not np.isin(types, allowed).all() or (types[1:] == FREE).any():
        raise InputError(f"{path}: only hinges, slides and one leading free joint are supported")


def _splits(arrays: dict[str, np.ndarray], path: Path) -> list[int]:
    splits, frames = arrays["split_points"].reshape(-1).astype(np.int64), len(arrays["qpos"])
    if len(splits) < 2 or splits[0] != 0 or splits[-1] != frames or (np.diff(splits) <= 0).any():
        raise InputError(
            f"{path}: split_points {splits[:8].tolist()} do not divide its frames: they must rise from 0 to {frames}"
        )
    return splits.tolist()
