"""What an embodiment is: one compiled body, its tracked sites, muscles, motors and coupled joints.

Names become ids once, at construction.
"""

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any, NamedTuple

import mujoco
import numpy as np

from muscle_torch.config.kinds import to_plain
from muscle_torch.errors import InputError, nearest

from .options import BodyOptions

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


class Sizes(NamedTuple):
    """How many of each a body has. It comes first in its model, so these are also where its props begin."""

    bodies: int  # the world included
    joints: int
    qpos: int
    qvel: int
    actuators: int

    @classmethod
    def of(cls, model: mujoco.MjModel) -> "Sizes":
        return cls(model.nbody, model.njnt, model.nq, model.nv, model.nu)


@dataclass(frozen=True, eq=False)
class Embodiment:
    """One body. Compared by identity; `model` belongs to whoever called `make_embodiment`.

    Names, ids and poses here are those of the body. What `props.attach` puts beside it (a ball) comes after the body
    in every array of `model`: `num_qpos`, `num_qvel` and `sizes` say where, `whole_qpos` completes a pose.
    """

    key: str  # its row in EMBODIMENTS, its file and its plain imitation task: "bimanual"
    name: str  # of the model, as motions and archives store it: "MyoBimanualArm"
    options: BodyOptions  # what it was built with
    model: mujoco.MjModel  # what is simulated, with the control timestep set; bones are in `whole_model`
    model_version: str  # version of the package the body comes from
    control_frequency: float  # [Hz]
    substeps: int  # control step = substeps * model.opt.timestep
    site_names: tuple[str, ...]  # tracked sites, anchor first
    root_joint: str | None  # the free joint, if there is one; it comes first
    touch_sensors: tuple[str, ...]
    groups: dict[str, tuple[str, ...]]  # muscle group -> muscle names; groups may overlap
    left_right: tuple[tuple[str, str], ...]  # (left, right) muscle names
    build_spec: Callable[[], mujoco.MjSpec]  # a fresh, editable spec of the same body (scenes, experiments)
    compile_spec: Callable[[mujoco.MjSpec], mujoco.MjModel] = mujoco.MjSpec.compile  # that spec -> `model`
    posture_pulls: np.ndarray | None = None  # for a free body: `moment_arms.joint_pulls` of ankles, hips and trunk
    props: tuple[str, ...] = ()  # what is attached beside the body
    body_sizes: Sizes | None = None  # of the body alone; None: nothing is attached

    def __post_init__(self) -> None:
        step = self.substeps * self.model.opt.timestep
        if abs(step * self.control_frequency - 1.0) > 1e-9:
            raise InputError(
                f"{self.name}: {self.substeps} substeps of {self.model.opt.timestep} s are not a control step "
                f"of {1 / self.control_frequency} s; set substeps or opt.timestep"
            )
        self.resolve("site", self.site_names)
        self.resolve("sensor", self.touch_sensors)
        if self.root_joint is not None and self.joint_names[0] != self.root_joint:
            raise InputError(f"{self.name}: the root joint {self.root_joint!r} is not the first joint of the model")
        for names in (*self.groups.values(), *self.left_right):
            self.muscle_columns(names)

    # Joints

    @cached_property
    def sizes(self) -> Sizes:
        """Numbers of the body's own bodies, joints, qpos, qvel and actuators."""
        return self.body_sizes or Sizes.of(self.model)

    @property
    def num_qpos(self) -> int:
        """Length of the body's part of qpos."""
        return self.sizes.qpos

    @property
    def num_qvel(self) -> int:
        """Length of the body's part of qvel."""
        return self.sizes.qvel

    @property
    def has_root(self) -> bool:
        """Whether the body is free: its root takes the first 7 of qpos and the first 6 of qvel."""
        return self.root_joint is not None

    @cached_property
    def qpos0(self) -> np.ndarray:
        """(num_qpos,) the body's default pose."""
        return self.model.qpos0[: self.num_qpos].copy()

    @cached_property
    def joint_names(self) -> tuple[str, ...]:
        """Every joint, the free joint included, in model order."""
        return names_of(self.model, "joint")[: self.sizes.joints]

    @cached_property
    def scalar_joint_ids(self) -> np.ndarray:
        """Joint ids of the hinges and slides (no free joint), model order."""
        scalar = (mujoco.mjtJoint.mjJNT_HINGE, mujoco.mjtJoint.mjJNT_SLIDE)
        return np.flatnonzero(np.isin(self.model.jnt_type[: self.sizes.joints], scalar))

    @cached_property
    def joint_qpos_ids(self) -> np.ndarray:
        """Addresses in qpos of the hinges and slides (no free joint), model order."""
        return self.model.jnt_qposadr[self.scalar_joint_ids].astype(np.int64)

    @cached_property
    def joint_qvel_ids(self) -> np.ndarray:
        """Addresses in qvel of the hinges and slides (no free joint), model order."""
        return self.model.jnt_dofadr[self.scalar_joint_ids].astype(np.int64)

    # Muscles and motors

    @cached_property
    def actuator_names(self) -> tuple[str, ...]:
        """Muscles and motors, in model order."""
        return names_of(self.model, "actuator")[: self.sizes.actuators]

    @cached_property
    def muscle_ids(self) -> np.ndarray:
        """Actuator ids of the muscles: actuators with muscle dynamics."""
        return muscle_actuators(self.model)[: self.sizes.actuators].nonzero()[0]

    @cached_property
    def motor_ids(self) -> np.ndarray:
        """Actuator ids of the motors: all actuators that are no muscles."""
        return (~muscle_actuators(self.model)[: self.sizes.actuators]).nonzero()[0]

    @cached_property
    def muscle_names(self) -> tuple[str, ...]:
        return tuple(self.actuator_names[i] for i in self.muscle_ids)

    @cached_property
    def motor_names(self) -> tuple[str, ...]:
        return tuple(self.actuator_names[i] for i in self.motor_ids)

    @cached_property
    def muscle_act_ids(self) -> np.ndarray:
        """Addresses of the muscles' activations in MuJoCo's `act`."""
        return self.model.actuator_actadr[self.muscle_ids].astype(np.int64)

    @cached_property
    def muscle_similarity(self) -> np.ndarray:
        """(muscles, muscles) cosines between the muscles' moment arms: `moment_arms.similarity`."""
        from .moment_arms import similarity  # which imports this module

        return similarity(self)

    @cached_property
    def muscle_tendon_ids(self) -> np.ndarray:
        """(muscles,) id of the tendon that each muscle pulls; -1 if it acts on a joint directly."""
        on_tendon = self.model.actuator_trntype[self.muscle_ids] == mujoco.mjtTrn.mjTRN_TENDON
        return np.where(on_tendon, self.model.actuator_trnid[self.muscle_ids, 0], -1)

    @cached_property
    def field_rows(self) -> dict[str, tuple[int, ...]]:
        """Rows of the body, or of its muscles, in the physics fields that hold more than these.

        `physics.field(name, body.field_rows.get(name))` reads the body's qpos, the muscles' activation, and so on. A
        body without motors and props has no entry: there whole fields are read, which costs no copy.
        """
        body = dict.fromkeys(("qvel", "qacc", "qfrc_actuator", "qfrc_bias", "qfrc_passive"), range(self.num_qvel))
        muscles = ("ctrl", "actuator_length", "actuator_velocity", "actuator_force")
        rows: dict[str, Sequence[int]] = {**body, "qpos": range(self.num_qpos), "act": self.muscle_act_ids.tolist()}
        rows |= dict.fromkeys(muscles, self.muscle_ids.tolist())
        model = self.model
        sizes = {**dict.fromkeys(body, model.nv), "qpos": model.nq, "act": model.na, **dict.fromkeys(muscles, model.nu)}
        return {name: tuple(ids) for name, ids in rows.items() if list(ids) != list(range(sizes[name]))}

    def muscle_columns(self, names: Sequence[str]) -> np.ndarray:
        """Return the places of `names` among the muscles: columns of tables (..., muscles)."""
        places = {name: place for place, name in enumerate(self.muscle_names)}
        for name in names:
            if name not in places:
                raise InputError(f"{self.name} has no muscle {name!r}{nearest(name, self.muscle_names)}")
        return np.array([places[name] for name in names], dtype=np.int64)

    # Tracked sites

    @cached_property
    def site_ids(self) -> np.ndarray:
        """(S,) model ids of the tracked sites, anchor first."""
        return self.resolve("site", self.site_names)

    @cached_property
    def site_body_ids(self) -> np.ndarray:
        """(S,) the body each tracked site is fixed to."""
        return self.model.site_bodyid[self.site_ids].astype(np.int64)

    # The body and its model

    @cached_property
    def whole_model(self) -> mujoco.MjModel:
        """The model with what is only to look at, bones above all: same qpos, bodies, joints and muscles as `model`.

        Its geoms and sites have other ids if `lean_model` made `model`; edits of `model` do not reach it.
        """
        return self.build_spec().compile()

    @property
    def identity(self) -> dict[str, Any]:
        """What checkpoints and archives store of the body: `embodiment`, `embodiment_options`, `model_version`."""
        options, defaults = to_plain(self.options), to_plain(type(self.options)())
        added = {name for name in self.options.added if options[name] == defaults[name]}
        return {
            "embodiment": self.key,
            "embodiment_options": {name: value for name, value in options.items() if name not in added},
            "model_version": self.model_version,
        }

    def edited(self, edit: Callable[[mujoco.MjSpec], None]) -> "Embodiment":
        """Return the body with its spec edited, e.g. with motors or masses added. `edit` must be repeatable."""
        if self.props:
            raise InputError(f"{self.name}: edit the body before {', '.join(self.props)} is attached")
        build_spec = partial(edited_spec, self.build_spec, edit)
        return dataclasses.replace(self, model=self.compile_spec(build_spec()), build_spec=build_spec)

    def whole_qpos(self, qpos: np.ndarray) -> np.ndarray:
        """Complete poses of the body (..., num_qpos) to those of the model (..., nq): props in their default pose."""
        rest = self.model.qpos0[self.num_qpos :].astype(qpos.dtype)
        return np.concatenate((qpos, np.broadcast_to(rest, (*qpos.shape[:-1], len(rest)))), axis=-1)

    def whole_qvel(self, qvel: np.ndarray) -> np.ndarray:
        """Complete velocities of the body (..., num_qvel) to those of the model (..., nv): props at rest."""
        rest = np.zeros((*qvel.shape[:-1], self.model.nv - self.num_qvel), dtype=qvel.dtype)
        return np.concatenate((qvel, rest), axis=-1)

    @cached_property
    def dependent(self) -> Coupling:
        """The body's coupled joints."""
        return _coupling(self.model, self.sizes.joints)

    def project(self, qpos: np.ndarray) -> np.ndarray:
        """Return a copy of `qpos` (..., num_qpos) whose coupled joints follow their polynomials, as MuJoCo has them."""
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


def muscle_actuators(model: mujoco.MjModel) -> np.ndarray:
    """(nu,) bool: actuators with muscle dynamics."""
    return model.actuator_dyntype == mujoco.mjtDyn.mjDYN_MUSCLE


def muscle_names(model: mujoco.MjModel) -> tuple[str, ...]:
    """Names of all actuators with muscle dynamics, in model order."""
    return tuple(np.array(names_of(model, "actuator"), dtype=object)[muscle_actuators(model)])


def edited_spec(build_spec: Callable[[], mujoco.MjSpec], edit: Callable[[mujoco.MjSpec], None]) -> mujoco.MjSpec:
    """Return a fresh spec, edited."""
    spec = build_spec()
    edit(spec)
    return spec


def _coupling(model: mujoco.MjModel, joints: int) -> Coupling:
    rows = [
        (int(model.eq_obj1id[e]), int(model.eq_obj2id[e]), model.eq_data[e, :5].copy())
        for e in range(model.neq)
        if model.eq_type[e] == mujoco.mjtEq.mjEQ_JOINT and model.eq_active0[e] and model.eq_obj1id[e] < joints
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
