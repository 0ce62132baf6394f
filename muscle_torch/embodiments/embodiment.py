"""What an embodiment is: one compiled body, its tracked sites, muscles and coupled joints, with names made ids once."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import mujoco
import numpy as np

from muscle_torch.errors import InputError, nearest

KINDS = {
    "actuator": mujoco.mjtObj.mjOBJ_ACTUATOR,
    "body": mujoco.mjtObj.mjOBJ_BODY,
    "geom": mujoco.mjtObj.mjOBJ_GEOM,
    "joint": mujoco.mjtObj.mjOBJ_JOINT,
    "sensor": mujoco.mjtObj.mjOBJ_SENSOR,
    "site": mujoco.mjtObj.mjOBJ_SITE,
    "tendon": mujoco.mjtObj.mjOBJ_TENDON,
}
COUNTS = {
    "actuator": "nu",
    "body": "nbody",
    "geom": "ngeom",
    "joint": "njnt",
    "sensor": "nsensor",
    "site": "nsite",
    "tendon": "ntendon",
}


class Coupling(NamedTuple):
    """Joints that an equality ties to another: q - q0 = poly(p - p0), p the independent joint's position.

    Rows are ordered so that a joint comes after the joint it depends on.
    """

    qpos_ids: np.ndarray  # (E,) address of the dependent joint in qpos
    independent_qpos_ids: np.ndarray  # (E,) address of the joint it follows; -1: it is held at a constant
    polynomials: np.ndarray  # (E, 5) coefficients, constant first


@dataclass(frozen=True, eq=False)
class Embodiment:
    """One body. Compared by identity; `model` belongs to whoever called `make_embodiment`."""

    name: str
    model: mujoco.MjModel  # what is simulated, with the control timestep set; bones are in `whole_model`
    model_version: str  # version of the package the body comes from
    fingers: bool
    control_frequency: float  # [Hz]
    substeps: int  # control step = substeps * model.opt.timestep
    site_names: tuple[str, ...]  # tracked sites, anchor first
    root_joint: str | None  # the free joint, where there is one
    touch_sensors: tuple[str, ...]
    groups: dict[str, tuple[str, ...]]  # muscle group -> actuator names; groups may overlap
    left_right: tuple[tuple[str, str], ...]  # (left, right) actuator names
    build_spec: Callable[[], mujoco.MjSpec]  # a fresh, editable spec of the same body (scenes, experiments)
    posture_pulls: np.ndarray | None = None  # for a free body: `moment_arms.joint_pulls` of ankles, hips and trunk

    def __post_init__(self) -> None:
        step = self.substeps * self.model.opt.timestep
        if abs(step * self.control_frequency - 1.0) > 1e-9:
            raise InputError(
                f"{self.name}: {self.substeps} substeps of {self.model.opt.timestep} s are not a control step "
                f"of {1 / self.control_frequency} s; set substeps or opt.timestep"
            )
        self.resolve("site", self.site_names)
        self.resolve("sensor", self.touch_sensors)
        for names in self.groups.values():
            self.resolve("actuator", names)

    @cached_property
    def whole_model(self) -> mujoco.MjModel:
        """The model with what is only to look at, bones above all: same qpos, bodies, joints and muscles as `model`.

        Its geoms and sites have other ids, where `lean_model` made `model`; edits of `model` do not reach it.
        """
        return self.build_spec().compile()

    @cached_property
    def joint_names(self) -> tuple[str, ...]:
        """Every joint, the free joint included, in model order."""
        return names_of(self.model, "joint")

    @cached_property
    def actuator_names(self) -> tuple[str, ...]:
        return names_of(self.model, "actuator")

    @cached_property
    def muscle_ids(self) -> np.ndarray:
        return np.flatnonzero(self.model.actuator_gaintype == mujoco.mjtGain.mjGAIN_MUSCLE)

    @cached_property
    def motor_ids(self) -> np.ndarray:
        return np.flatnonzero(self.model.actuator_gaintype != mujoco.mjtGain.mjGAIN_MUSCLE)

    @property
    def muscle_names(self) -> tuple[str, ...]:
        return tuple(self.actuator_names[i] for i in self.muscle_ids)

    @property
    def motor_names(self) -> tuple[str, ...]:
        return tuple(self.actuator_names[i] for i in self.motor_ids)

    @property
    def num_qpos(self) -> int:
        return self.model.nq

    @property
    def num_qvel(self) -> int:
        return self.model.nv

    @cached_property
    def site_ids(self) -> np.ndarray:
        """(S,) model ids of the tracked sites, anchor first."""
        return self.resolve("site", self.site_names)

    @cached_property
    def site_body_ids(self) -> np.ndarray:
        """(S,) the body each tracked site is fixed to."""
        return self.model.site_bodyid[self.site_ids].astype(np.int64)

    @cached_property
    def joint_qpos_ids(self) -> np.ndarray:
        """Addresses in qpos of the hinges and slides (no free joint), model order."""
        return self.model.jnt_qposadr[self.scalar_joint_ids].astype(np.int64)

    @cached_property
    def joint_qvel_ids(self) -> np.ndarray:
        """Addresses in qvel of the hinges and slides (no free joint), model order."""
        return self.model.jnt_dofadr[self.scalar_joint_ids].astype(np.int64)

    @cached_property
    def scalar_joint_ids(self) -> np.ndarray:
        """Joint ids of the hinges and slides (no free joint), model order."""
        scalar = (mujoco.mjtJoint.mjJNT_HINGE, mujoco.mjtJoint.mjJNT_SLIDE)
        return np.flatnonzero(np.isin(self.model.jnt_type, scalar))

    @cached_property
    def dependent(self) -> Coupling:
        return _coupling(self.model)

    def project(self, qpos: np.ndarray) -> np.ndarray:
        """A copy of `qpos` (..., nq) whose coupled joints follow their polynomials, as MuJoCo's equality has it."""
        out = np.array(qpos)
        start, coupling = self.model.qpos0, self.dependent
        for address, independent, polynomial in zip(
            coupling.qpos_ids, coupling.independent_qpos_ids, coupling.polynomials, strict=True
        ):
            away = out[..., independent] - start[independent] if independent >= 0 else 0.0
            out[..., address] = start[address] + np.polynomial.polynomial.polyval(away, polynomial)
        return out

    def resolve(self, kind: str, names: Sequence[str]) -> np.ndarray:
        """Model ids of `names`; `kind` is a key of `KINDS`. Raises InputError with the nearest known name."""
        if kind not in KINDS:
            raise InputError(f"unknown kind of model element {kind!r}{nearest(kind, tuple(KINDS))}")
        ids = [mujoco.mj_name2id(self.model, KINDS[kind], name) for name in names]
        if -1 in ids:
            missing = names[ids.index(-1)]
            raise InputError(f"{self.name} has no {kind} {missing!r}{nearest(missing, names_of(self.model, kind))}")
        return np.array(ids, dtype=np.int64)


def names_of(model: mujoco.MjModel, kind: str) -> tuple[str, ...]:
    """Names of all model elements of one kind, in model order; unnamed ones are ''."""
    return tuple(mujoco.mj_id2name(model, KINDS[kind], i) or "" for i in range(getattr(model, COUNTS[kind])))


def _coupling(model: mujoco.MjModel) -> Coupling:
    rows = [
        (int(model.eq_obj1id[e]), int(model.eq_obj2id[e]), model.eq_data[e, :5].copy())
        for e in range(model.neq)
        if model.eq_type[e] == mujoco.mjtEq.mjEQ_JOINT and model.eq_active0[e]
    ]
    ordered: list[tuple[int, int, np.ndarray]] = []
    while rows:
        waiting = {joint for joint, _, _ in rows}
        ready = [row for row in rows if row[1] not in waiting]
        if not ready:
            raise InputError(f"joint equalities depend on each other in a circle: joints {sorted(waiting)}")
        ordered += ready
        rows = [row for row in rows if row[1] in waiting]
    address = model.jnt_qposadr
    return Coupling(
        qpos_ids=np.array([address[joint] for joint, _, _ in ordered], dtype=np.int64),
        independent_qpos_ids=np.array(
            [address[other] if other >= 0 else -1 for _, other, _ in ordered], dtype=np.int64
        ),
        polynomials=np.array([polynomial for _, _, polynomial in ordered], dtype=float).reshape(-1, 5),
    )
