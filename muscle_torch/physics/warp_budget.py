"""Sizes of Warp's contact and constraint buffers: 2.5 times what a short rollout needs."""

import dataclasses
import math
from typing import Any

import mujoco
import mujoco_warp as mjw
import numpy as np
import warp as wp
from mujoco.batch import Batch
from mujoco_warp._src import collision_driver, solver
from mujoco_warp._src.types import MJ_MAX_EPAFACES, MJ_MAX_EPAHORIZON

from .mujoco_physics import quiet_warnings

_WORLDS = 16
_CONTROL_STEPS = 50
_SUBSTEPS = 5
_EVERY = 10  # control steps between two counts of contact candidates
_SAFETY = 2.5
_ROUND = 8  # sizes are multiples of this
_GENEROUS = 256  # contact candidates per world while they are counted
# Pairs of geometry types, the smaller first, for which MuJoCo Warp has no specific collider.
_CONVEX = {
    (first.value, second.value)
    for (first, second), kind in collision_driver.MJ_COLLISION_TABLE.items()
    if kind == collision_driver.CollisionType.CONVEX
}


@dataclasses.dataclass(frozen=True)
class Buffers:
    """Sizes of the buffers. The worlds share one buffer for contacts, and each has one for constraint rows.

    Attributes:
        contacts: Contact candidates per world, on average.
        convex: Candidates that need the general convex collider, of `contacts`; 0 if the model has none.
        rows: Constraint rows of a world.
        crowded: Contact candidates of the most crowded world, for batches of few worlds.
    """

    contacts: int
    convex: int
    rows: int
    crowded: int

    def make_data(self, model: mujoco.MjModel, worlds: int) -> mjw.Data:
        """Return the data of a number of worlds on Warp's current device.

        Args:
            model: MuJoCo model.
            worlds: Number of worlds.
        """
        contacts = max(self.contacts * worlds, self.crowded)
        convex = min(contacts, max(self.convex * worlds, self.crowded)) if self.convex else 0
        sizes = {"nconmax": self.contacts, "naconmax": contacts, "naccdmax": convex, "njmax": self.rows}
        return mjw.make_data(model, nworld=worlds, **sizes)

    def with_sizes(self, contacts: int | None, rows: int | None) -> "Buffers":
        """Return a copy with other sizes of the buffers.

        Args:
            contacts: Contact candidates per world; None: unchanged.
            rows: Constraint rows per world; None: unchanged.
        """
        if contacts is not None:
            self = dataclasses.replace(self, contacts=contacts, convex=min(contacts, self.convex), crowded=contacts)
        return self if rows is None else dataclasses.replace(self, rows=rows)


def calibrate(model: mujoco.MjModel, m: mjw.Model) -> Buffers:
    """Return 2.5 times the largest numbers in a short rollout of random excitations from random poses.

    The poses are drawn from the middle half of the joint ranges without regard to contact, so they penetrate more than
    any motion: the result is an upper bound rather than a typical value.

    Args:
        model: MuJoCo model.
        m: The model on Warp's current device.
    """
    quiet_warnings()  # some random poses are violent
    batch = Batch(model, _WORLDS)
    qpos, rows = batch.bind("qpos"), batch.bind("nefc")
    rng = np.random.default_rng(0)
    qpos[:] = _random_poses(model, rng)
    batch.forward()
    most_rows, poses = int(rows.max()), [qpos.copy()]
    for step in range(1, _CONTROL_STEPS + 1):
        batch.bind("ctrl")[:] = rng.uniform(0.0, 1.0, (_WORLDS, model.nu))
        batch.step(nstep=_SUBSTEPS)
        most_rows = max(most_rows, int(rows.max()))
        if step % _EVERY == 0:
            poses.append(qpos.copy())
    every, convex = _candidates(model, m, np.concatenate(poses))
    return Buffers(
        contacts=_enough(every.reshape(-1, _WORLDS).mean(1).max()),
        convex=_enough(convex.reshape(-1, _WORLDS).mean(1).max()) if _has_convex_pairs(m) else 0,
        rows=_enough(most_rows),
        crowded=_enough(every.max()),
    )


def _has_convex_pairs(m: mjw.Model) -> bool:
    pairs, kinds = m.nxn_geom_pair_filtered.numpy().reshape(-1, 2), m.geom_type.numpy()
    return bool(_CONVEX.intersection(map(tuple, np.sort(kinds[pairs], axis=1))))


def _enough(largest: float) -> int:
    return max(1, math.ceil(_SAFETY * largest / _ROUND)) * _ROUND


def _candidates(model: mujoco.MjModel, m: mjw.Model, poses: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the contact candidates in poses (P, nq), and how many of them need the convex collider, each (P,)."""
    if not m.opt.run_collision_detection or not model.ngeom:
        return np.zeros(len(poses)), np.zeros(len(poses))
    d = mjw.make_data(model, nworld=len(poses), nconmax=_GENEROUS, naccdmax=0, njmax=0)
    wp.copy(d.qpos, wp.array(poses.astype(np.float32)))
    mjw.kinematics(m, d)
    near = collision_driver.create_collision_context(d.naconmax)
    swept = m.opt.broadphase != mjw.BroadphaseType.NXN
    broadphase = collision_driver.sap_broadphase if swept else collision_driver.nxn_broadphase
    d.ncollision.zero_()
    broadphase(m, d, near)
    count = min(int(d.ncollision.numpy()[0]), d.naconmax)
    worlds, pairs = near.collision_worldid.numpy()[:count], near.collision_pair.numpy()[:count]
    kinds = np.sort(model.geom_type[pairs].reshape(-1, 2), axis=1)
    convex = np.array([tuple(kind) in _CONVEX for kind in kinds], dtype=bool)
    of_world = (np.bincount(chosen, minlength=len(poses)) for chosen in (worlds, worlds[convex]))
    return next(of_world), next(of_world)


def _random_poses(model: mujoco.MjModel, rng: np.random.Generator) -> np.ndarray:
    """Return poses (worlds, nq): limited joints uniform in the middle half of their range, all else at qpos0."""
    poses = np.tile(model.qpos0, (_WORLDS, 1))
    single = np.isin(model.jnt_type, (mujoco.mjtJoint.mjJNT_HINGE, mujoco.mjtJoint.mjJNT_SLIDE))
    joints = np.flatnonzero(single & model.jnt_limited.astype(bool))
    low, high = model.jnt_range[joints].T
    share = rng.uniform(0.25, 0.75, (_WORLDS, len(joints)))
    poses[:, model.jnt_qposadr[joints]] = low + share * (high - low)
    return poses


def array_bytes(value: Any) -> int:
    """Return the bytes of all arrays in Warp's data."""
    if isinstance(value, wp.array):
        return value.capacity or 0
    if dataclasses.is_dataclass(value):
        return sum(array_bytes(getattr(value, f.name, None)) for f in dataclasses.fields(value))
    return 0


def scratch_bytes(m: mjw.Model, d: mjw.Data) -> int:
    """Return the bytes of the temporary arrays of a physics step: collision, constraint solver, integration, paths.

    They are counted as if they never shared memory, because a graph may keep them apart.

    Args:
        m: The model on the device.
        d: The worlds.
    """
    collision = array_bytes(collision_driver.create_collision_context(d.naconmax)) + d.naccdmax * _convex_bytes(m)
    constraints = array_bytes(solver._create_solver_context(m, d))
    integration = array_bytes(d.M) + 2 * array_bytes(d.qLD) + 6 * array_bytes(d.qvel)
    paths = d.nworld * (24 * m.nwrap + 8 * m.ntendon)
    if m.opt.integrator == mjw.IntegratorType.RK4:
        integration += 4 * array_bytes(d.qvel) + array_bytes(d.qpos) + 2 * array_bytes(d.act)
    if m.opt.integrator in (mjw.IntegratorType.IMPLICIT, mjw.IntegratorType.IMPLICITFAST):
        integration += 3 * array_bytes(d.M)
    return collision + constraints + integration + paths


def _convex_bytes(m: mjw.Model) -> int:
    """Return the bytes that the general collider needs for one pair: a polytope, and the faces in contact."""
    turns, polygon, degree = m.opt.ccd_iterations, max(m.npolygonmax, 16), max(m.nmeshdegmax, 3)
    vertices, faces = 10 + 2 * turns, 6 + MJ_MAX_EPAFACES * turns
    return 16 * vertices + 20 * faces + 4 * MJ_MAX_EPAHORIZON + 88 * polygon + 44 * degree
