"""How many contacts and constraint rows Warp's fixed-size buffers must hold: measured on MuJoCo C, then doubled."""

from typing import NamedTuple

import mujoco
import numpy as np
from mujoco.batch import Batch

_WORLDS = 16
_CONTROL_STEPS = 50
_SUBSTEPS = 5
_SAFETY = 2.0
# (contacts, constraint rows) a world that the published system trained with: bodies with a free root, and without
_FREE_FLOOR = (96, 768)
_FIXED_FLOOR = (10, 256)


class Budget(NamedTuple):
    contacts: int  # a world on average: worlds share one buffer
    constraints: int  # rows a world, hard limit


def calibrate(model: mujoco.MjModel) -> Budget:
    """Largest counts over a short rollout of random excitations from random poses, times two, not under the floors.

    The poses are drawn within half the joint ranges without regard to contact, so they penetrate more than any
    motion does: an upper bound rather than a typical value.
    """
    batch = Batch(model, _WORLDS)
    contacts, rows = batch.bind("ncon"), batch.bind("nefc")
    rng = np.random.default_rng(0)
    batch.bind("qpos")[:] = _random_poses(model, rng)
    batch.forward()
    most = [int(contacts.max()), int(rows.max())]
    for _ in range(_CONTROL_STEPS):
        batch.bind("ctrl")[:] = rng.uniform(0.0, 1.0, (_WORLDS, model.nu))
        batch.step(nstep=_SUBSTEPS)
        most = [max(most[0], int(contacts.max())), max(most[1], int(rows.max()))]
    free = bool((model.jnt_type == mujoco.mjtJoint.mjJNT_FREE).any())
    floor = _FREE_FLOOR if free else _FIXED_FLOOR
    return Budget(*(max(int(_SAFETY * m), f) for m, f in zip(most, floor, strict=True)))


def _random_poses(model: mujoco.MjModel, rng: np.random.Generator) -> np.ndarray:
    """(worlds, nq): limited joints uniform in the middle half of their range, everything else at qpos0."""
    poses = np.tile(model.qpos0, (_WORLDS, 1))
    single = np.isin(model.jnt_type, (mujoco.mjtJoint.mjJNT_HINGE, mujoco.mjtJoint.mjJNT_SLIDE))
    joints = np.flatnonzero(single & model.jnt_limited.astype(bool))
    low, high = model.jnt_range[joints].T
    share = rng.uniform(0.25, 0.75, (_WORLDS, len(joints)))
    poses[:, model.jnt_qposadr[joints]] = low + share * (high - low)
    return poses
