"""Reads MuscleMimic's trajectory files (.npz, one or several clips), without unpickling anything."""

from pathlib import Path

import numpy as np

from muscle_torch.embodiments import Embodiment
from muscle_torch.errors import InputError

from .clip import MotionClip

REQUIRED = ("qpos", "frequency", "joint_names", "split_points")
FREE, SLIDE, HINGE = 0, 2, 3
TOLERANCE = 1e-4  # [m] and quaternion entries; files are float32, versions of a body differ by millimetres


def is_trajectory_file(arrays: dict[str, np.ndarray]) -> bool:
    return "split_points" in arrays


def trajectory_clips(arrays: dict[str, np.ndarray], embodiment: Embodiment, path: Path) -> list[MotionClip]:
    """The clips of a file of which `arrays` was read; columns as in the file."""
    missing = [key for key in REQUIRED if key not in arrays]
    if missing:
        raise InputError(f"{path}: not a trajectory file, it lacks {', '.join(missing)}")
    names = tuple(str(name) for name in arrays["joint_names"].reshape(-1))
    _check_joint_types(arrays, path)
    check_same_body(arrays, embodiment, path)
    splits = _splits(arrays, path)
    qpos = arrays["qpos"]
    qvel = arrays.get("qvel")
    if qvel is not None and (qvel.ndim != 2 or len(qvel) != len(qpos)):
        qvel = None
    clips = []
    for index, (first, last) in enumerate(zip(splits[:-1], splits[1:], strict=True)):
        clip = MotionClip(
            name=path.stem if len(splits) == 2 else f"{path.stem}_{index}",
            qpos=np.asarray(qpos[first:last], dtype=np.float32),
            frequency=float(arrays["frequency"].reshape(-1)[0]),
            joint_names=names,
            embodiment=embodiment.name,
            model_version=embodiment.model_version,
            source=str(path),
            qvel=None if qvel is None else np.asarray(qvel[first:last], dtype=np.float32),
        )
        clips.append(clip.validate(f"{path}, clip {index}" if len(splits) > 2 else str(path)))
    return clips


def check_same_body(arrays: dict[str, np.ndarray], embodiment: Embodiment, path: Path) -> None:
    """Raises InputError where the body that the file describes is not `embodiment`, or another version of it."""
    if not {"body_names", "body_pos", "body_quat"} <= arrays.keys() or arrays["body_pos"].size == 0:
        return
    model = embodiment.model
    ids = {model.body(i).name: i for i in range(model.nbody)}
    worst, culprit = 0.0, ""
    for name, pos, quat in zip(arrays["body_names"], arrays["body_pos"], arrays["body_quat"], strict=True):
        if str(name) not in ids:
            raise InputError(f"{path}: a motion of another body: {embodiment.name} has no body {str(name)!r}")
        index = ids[str(name)]
        away = float(np.abs(pos - model.body_pos[index]).max())
        away = max(away, float(min(np.abs(quat - model.body_quat[index]).max(), np.abs(quat + model.body_quat[index]).max())))
        if away > worst:
            worst, culprit = away, str(name)
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
        raise InputError(f"{path}: only hinges, slides and one free joint that comes first can be read")


def _splits(arrays: dict[str, np.ndarray], path: Path) -> list[int]:
    splits, frames = arrays["split_points"].reshape(-1).astype(np.int64), len(arrays["qpos"])
    if len(splits) < 2 or splits[0] != 0 or splits[-1] != frames or (np.diff(splits) <= 0).any():
        raise InputError(
            f"{path}: split_points {splits[:8].tolist()} do not divide its {frames} frames: they must rise from 0 to {frames}"
        )
    return splits.tolist()
