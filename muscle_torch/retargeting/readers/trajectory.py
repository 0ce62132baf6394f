"""Joint angles of this package's bodies: MuscleMimic's trajectory files and MotionClips, of any version of the body.

The landmarks of the poses are retargeted like those of other recordings, so that floor, limits and couplings of the
installed body hold.
"""

from functools import cache
from pathlib import Path

import numpy as np
import torch

from muscle_torch.embodiments import Embodiment, make_embodiment
from muscle_torch.errors import InputError
from muscle_torch.motion.clip import read_arrays
from muscle_torch.motion.joints import fit_to
from muscle_torch.motion.trajectory_file import trajectory_clips

from ..fit import Proportions
from ..kinematics import BodyTree
from ..raw import RawMotion

KEYS = ("qpos", "frequency", "joint_names", "split_points", "jnt_type", "name", "source", "licence")


def is_trajectory(path: Path) -> bool:
    """Return whether the .npz contains joint angles, unlike AMASS files. Raises InputError for a damaged one."""
    return "joint_names" in read_arrays(path, ("joint_names",))


def count_clips(path: Path) -> int:
    """Return the number of clips in an .npz; 1 for other and damaged files, which fail when they are read."""
    try:
        splits = read_arrays(path, ("split_points",)).get("split_points")
    except InputError:
        return 1
    return 1 if splits is None else max(1, splits.size - 1)


def read_trajectory(path: Path, part: int = 0, unit: float = 0.0, rate: float = 0.0) -> RawMotion:
    """Read one clip as landmarks of the body that its joints belong to.

    Args:
        path: The .npz file.
        part: Index of the clip.
        unit: Unit of the root's translation [m]; 0: metres.
        rate: Frame rate [Hz]; 0: as stated in the file.

    Raises:
        InputError: The file is damaged or has no such clip.
    """
    arrays = read_arrays(path, KEYS)
    arrays.setdefault("split_points", np.array([0, len(arrays.get("qpos", ()))]))
    name = "fullbody" if "knee_angle_r" in arrays["joint_names"] else "bimanual"
    embodiment, body, tree = _body(name)
    clips = trajectory_clips(arrays, embodiment, path)
    if part >= len(clips):
        raise InputError(f"{path}: has {len(clips)} clips, so part={part} does not exist; choose 0 to {len(clips) - 1}")
    clip = fit_to(clips[part], embodiment, str(path))
    qpos = clip.qpos.astype(float)
    if unit and body.free:
        qpos[:, :3] *= unit
    frames = tree.forward(tree.pose(qpos))
    names = tuple(body.rest)
    points = tree.points(frames, body.points(names, tree)).numpy()
    # A fixed body faces -y; landmarks are of a trunk that faces x.
    turn = np.eye(3) if body.free else np.array([[0.0, -1.0, 0.0], [1.0, 0.0, 0.0], [0.0, 0.0, 1.0]])
    turned = ("pelvis", "thorax") if body.free else ("thorax",)
    bones = {
        bone: turn @ frames.mat[:, tree.body(bone)].numpy()
        for arm in body.arms.values()
        for bone in arm.bodies.values()
    }
    arms = {name: values for arm in body.arms.values() for name, values in arm.segments(bones).items()}
    return RawMotion(
        name=clips[part].name,
        rate=rate or clip.frequency,
        positions={name: points[:, i] @ turn.T for i, name in enumerate(names)},
        orientations={name: turn @ frames.mat[:, tree.body(name)].numpy() @ body.turns[name].T for name in turned}
        | arms,
        rest=dict(body.rest),
        subject=embodiment.name,
        source=str(arrays["source"]) if "source" in arrays else str(path),
        licence=str(arrays.get("licence", "")),
    )


@cache
def _body(name: str) -> tuple[Embodiment, Proportions, BodyTree]:
    embodiment = make_embodiment(name)
    return embodiment, Proportions(embodiment), BodyTree(embodiment, dtype=torch.float64)
