"""A clip's columns in the order of a body, joints matched by name."""

import dataclasses
import warnings

import numpy as np

from muscle_torch.embodiments import Embodiment
from muscle_torch.errors import InputError, nearest

from .clip import MotionClip

# Fingers are welded in one variant of each body and movable in the other: a clip may have them or not.
FINGER_PREFIXES = ("cmc_", "mp_", "ip_", "mcp", "pm", "md")


def is_finger(joint: str) -> bool:
    return joint.startswith(FINGER_PREFIXES)


def fit_to(clip: MotionClip, embodiment: Embodiment, where: str = "") -> MotionClip:
    """`clip` with exactly the embodiment's joints: others are dropped, missing ones rest at zero or follow couplings.

    Raises InputError for a clip of another body or another version of it.
    """
    where = where or f"motion {clip.name!r}"
    if clip.embodiment != embodiment.name:
        raise InputError(f"{where}: is a motion of {clip.embodiment}, the body is {embodiment.name}; retarget it")
    if clip.model_version != embodiment.model_version:
        raise InputError(
            f"{where}: made for version {clip.model_version} of {clip.embodiment}, installed is "
            f"{embodiment.model_version}; retarget it, or install the other version of the body"
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
    """The embodiment's joints that the clip lacks, if it can do without them."""
    root = embodiment.root_joint
    if clip.has_root and clip.joint_names[0] != root:
        raise InputError(f"{where}: has a free joint {clip.joint_names[0]!r}, {embodiment.name} has {root or 'none'}")
    if root is not None and not clip.has_root:
        raise InputError(f"{where}: lacks the free joint {root!r} of {embodiment.name}; it is a motion of another body")
    needed = [name for name in embodiment.joint_names if not is_finger(name)]
    missing = [name for name in embodiment.joint_names if name not in clip.joint_names]
    lacked = [name for name in needed if name in missing]
    coupled = _coupled_joints(embodiment)
    free = [name for name in needed if name not in coupled]
    found = len(free) - sum(name in lacked for name in free)
    if 2 * found <= len(free):
        shown = ", ".join(lacked[:6]) + (", ..." if len(lacked) > 6 else "")
        raise InputError(
            f"{where}: joints of another body: {len(lacked)} of {len(needed)} joints of {embodiment.name} are missing: "
            f"{shown}; the file has {clip.joint_names[0]!r}{nearest(clip.joint_names[0], needed)}"
        )
    held = [name for name in lacked if name not in coupled]
    if held:
        warnings.warn(f"{where}: lacks {', '.join(held)} of {embodiment.name}; held at zero", stacklevel=3)
    return set(missing)


def _coupled_joints(embodiment: Embodiment) -> set[str]:
    addresses = embodiment.model.jnt_qposadr[: embodiment.sizes.joints].tolist()
    owner = dict(zip(addresses, embodiment.joint_names, strict=True))
    return {owner[address] for address in embodiment.dependent.qpos_ids.tolist()}


def _follow_couplings(qpos: np.ndarray, embodiment: Embodiment, missing: set[str]) -> np.ndarray:
    """Missing joints that an equality ties to others follow it; joints that the clip has stay as they are."""
    projected = embodiment.project(qpos)
    for name in missing & _coupled_joints(embodiment):
        address = embodiment.model.jnt_qposadr[embodiment.joint_names.index(name)]
        qpos[:, address] = projected[:, address]
    return qpos


def _column(clip: MotionClip, name: str) -> int:
    index = clip.joint_names.index(name)
    return index + 6 if clip.has_root and index > 0 else index
