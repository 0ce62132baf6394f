"""Match a clip's columns to a body's joints by name."""

import dataclasses
import warnings

import numpy as np

from muscle_torch.embodiments import Embodiment
from muscle_torch.errors import InputError, nearest

from .clip import MotionClip

# Each body has variants with welded and with movable fingers: a clip may or may not have finger joints.
FINGER_PREFIXES = ("cmc_", "mp_", "ip_", "mcp", "pm", "md")


def is_finger(joint: str) -> bool:
    """Return whether a joint name is that of a finger joint."""
    return joint.startswith(FINGER_PREFIXES)


def fit_to(clip: MotionClip, embodiment: Embodiment, where: str = "") -> MotionClip:
    """Return a clip with exactly the embodiment's joints.

    Additional joints are dropped. Missing joints follow their coupling, or stay at zero.

    Args:
        clip: The clip.
        embodiment: The body.
        where: File name for error messages.

    Raises:
        InputError: The clip is of another body or another version of it.
    """
    where = where or f"motion {clip.name!r}"
    if clip.embodiment != embodiment.name:
        raise InputError(f"{where}: is a motion of {clip.embodiment}, but the body is {embodiment.name}; retarget it")
    if clip.model_version != embodiment.model_version:
        raise InputError(
            f"{where}: made for version {clip.model_version} of {clip.embodiment}, installed is "
            f"{embodiment.model_version}; retarget it, or install that version of the body"
        )
    if clip.joint_names == embodiment.joint_names and clip.has_root == embodiment.has_root:
        return clip
    missing = _check_joints(clip, embodiment, where)
    model = embodiment.model
    qpos = np.tile(embodiment.qpos0, (clip.num_frames, 1))
    qvel = np.zeros((clip.num_frames, embodiment.num_qvel)) if clip.qvel is not None else None
    for index, name in enumerate(embodiment.joint_names):
        if name in missing:
            qpos[:, model.jnt_qposadr[index]] = 0.0
            continue
        width = 7 if name == embodiment.root_joint else 1
        old, new = _column(clip, name), model.jnt_qposadr[index]
        qpos[:, new : new + width] = clip.qpos[:, old : old + width]
        if qvel is not None and clip.qvel is not None:
            old, new = old - (clip.has_root and old > 0), model.jnt_dofadr[index]
            width -= width == 7
            qvel[:, new : new + width] = clip.qvel[:, old : old + width]
    if any(not is_finger(name) for name in missing):
        qpos, qvel = _follow_couplings(qpos, embodiment, missing), None
    return dataclasses.replace(
        clip,
        qpos=qpos.astype(np.float32),
        qvel=None if qvel is None else qvel.astype(np.float32),
        joint_names=embodiment.joint_names,
    )


def _check_joints(clip: MotionClip, embodiment: Embodiment, where: str) -> set[str]:
    """Return the embodiment's joints that the clip lacks. Raises InputError if too many are missing."""
    root = embodiment.root_joint
    if clip.has_root and clip.joint_names[0] != root:
        raise InputError(f"{where}: has a free joint {clip.joint_names[0]!r}, {embodiment.name} has {root or 'none'}")
    if root is not None and not clip.has_root:
        raise InputError(f"{where}: lacks the free joint {root!r} of {embodiment.name}; it is a motion of another body")
    required = [name for name in embodiment.joint_names if not is_finger(name)]
    missing = [name for name in embodiment.joint_names if name not in clip.joint_names]
    absent = [name for name in required if name in missing]
    coupled = _coupled_joints(embodiment)
    free = [name for name in required if name not in coupled]
    present = len(free) - sum(name in absent for name in free)
    if 2 * present <= len(free):
        shown = ", ".join(absent[:6]) + (", ..." if len(absent) > 6 else "")
        raise InputError(
            f"{where}: joints of another body: {len(absent)} of {len(required)} joints of {embodiment.name} are "
            f"missing: {shown}; the file has {clip.joint_names[0]!r}{nearest(clip.joint_names[0], required)}"
        )
    fixed = [name for name in absent if name not in coupled]
    if fixed:
        warnings.warn(f"{where}: lacks {', '.join(fixed)} of {embodiment.name}; held at zero", stacklevel=3)
    return set(missing)


def _coupled_joints(embodiment: Embodiment) -> set[str]:
    addresses = embodiment.model.jnt_qposadr[: embodiment.sizes.joints].tolist()
    owner = dict(zip(addresses, embodiment.joint_names, strict=True))
    return {owner[address] for address in embodiment.dependent.qpos_ids.tolist()}


def _follow_couplings(qpos: np.ndarray, embodiment: Embodiment, missing: set[str]) -> np.ndarray:
    """Return qpos with missing coupled joints computed from their coupling; joints of the clip are unchanged."""
    projected = embodiment.project(qpos)
    for name in missing & _coupled_joints(embodiment):
        address = embodiment.model.jnt_qposadr[embodiment.joint_names.index(name)]
        qpos[:, address] = projected[:, address]
    return qpos


def _column(clip: MotionClip, name: str) -> int:
    index = clip.joint_names.index(name)
    return index + 6 if clip.has_root and index > 0 else index
