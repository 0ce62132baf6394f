"""The description of a body: compiled model, tracked sites, muscles, motors and coupled joints."""

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any, NamedTuple

import mujoco
import numpy as np

from muscle_torch.config.kinds import to_plain
from muscle_torch.errors import InputError, nearest

from .device import Device
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
    """Joints coupled to another one by an equality: q - q0 = poly(p - p0), p the independent joint's position.

    Rows are ordered: a joint comes after the one on which it depends.
    """

    qpos_ids: np.ndarray  # (E,) qpos address of the dependent joint
    independent_qpos_ids: np.ndarray  # (E,) qpos address of the independent joint; -1: constant position
    polynomials: np.ndarray  # (E, 5) coefficients, constant first


class Sizes(NamedTuple):
    """Numbers of elements of a body. Its elements come first in the model, so its props start at these indices."""

    bodies: int  # including the world
    joints: int
    qpos: int
    qvel: int
    actuators: int

    @classmethod
    def of(cls, model: mujoco.MjModel) -> "Sizes":
        """Return the numbers of elements of a model."""
        return cls(model.nbody, model.njnt, model.nq, model.nv, model.nu)


@dataclass(frozen=True, eq=False)
class Embodiment:
    """A body: what the environment, the motions and the analyses need to know about a model.

    Names, ids and poses are those of the body. Props that `props.attach` adds (a ball) come after the body in every
    array of `model`: `num_qpos`, `num_qvel` and `sizes` give the body's part, `whole_qpos` completes a pose.
    Embodiments are compared by identity.

    Attributes:
        key: Its key in `EMBODIMENTS` and the name of its file and of its imitation task: "bimanual".
        name: Name of the model, as motions and archives store it: "MyoBimanualArm".
        options: Options that it was built with.
        model: The simulated model, with the body's timestep; it belongs to the caller of `make_embodiment`. Bone meshes
            are in `whole_model` only.
        model_version: Version of the package that provides the model.
        control_frequency: Control steps per second [Hz].
        substeps: Physics steps per control step: 1 / control_frequency = substeps * model.opt.timestep.
        site_names: Tracked sites, anchor first.
        root_joint: Name of the free joint, which is the first joint; None: the body is fixed to the world.
        touch_sensors: Names of the touch sensors.
        groups: Muscle group -> muscle names; groups may overlap.
        left_right: (left, right) pairs of muscle names.
        build_spec: Returns a new, editable spec of the body, for scenes and experiments.
        compile_spec: Compiles such a spec to `model`.
        posture_pulls: `moment_arms.joint_pulls` of ankles, hips and trunk, for a free body; else None.
        props: Names of the attached props.
        body_sizes: Sizes of the body without props; None: no props are attached.
        device: The exoskeleton that the body wears; None: none.

    Raises:
        InputError: A name does not exist in the model, the root joint is not its first joint, or substeps, timestep and
            control frequency contradict each other.
    """

    key: str
    name: str
    options: BodyOptions
    model: mujoco.MjModel
    model_version: str
    control_frequency: float
    substeps: int
    site_names: tuple[str, ...]
    root_joint: str | None
    touch_sensors: tuple[str, ...]
    groups: dict[str, tuple[str, ...]]
    left_right: tuple[tuple[str, str], ...]
    build_spec: Callable[[], mujoco.MjSpec]
    compile_spec: Callable[[mujoco.MjSpec], mujoco.MjModel] = mujoco.MjSpec.compile
    posture_pulls: np.ndarray | None = None
    props: tuple[str, ...] = ()
    body_sizes: Sizes | None = None
    device: Device | None = None

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
        """Numbers of bodies, joints, qpos, qvel and actuators, without props."""
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
        """Whether the body has a free root: the first 7 numbers of qpos and the first 6 of qvel."""
        return self.root_joint is not None

    @cached_property
    def qpos0(self) -> np.ndarray:
        """The default pose, (num_qpos,)."""
        return self.model.qpos0[: self.num_qpos].copy()

    @cached_property
    def joint_names(self) -> tuple[str, ...]:
        """Names of all joints, including the free joint, in model order."""
        return names_of(self.model, "joint")[: self.sizes.joints]

    @cached_property
    def scalar_joint_ids(self) -> np.ndarray:
        """Joint ids of the hinges and slides, in model order."""
        scalar = (mujoco.mjtJoint.mjJNT_HINGE, mujoco.mjtJoint.mjJNT_SLIDE)
        return np.flatnonzero(np.isin(self.model.jnt_type[: self.sizes.joints], scalar))

    @cached_property
    def joint_qpos_ids(self) -> np.ndarray:
        """Addresses in qpos of the hinges and slides, in model order."""
        return self.model.jnt_qposadr[self.scalar_joint_ids].astype(np.int64)

    @cached_property
    def joint_qvel_ids(self) -> np.ndarray:
        """Addresses in qvel of the hinges and slides, in model order."""
        return self.model.jnt_dofadr[self.scalar_joint_ids].astype(np.int64)

    # Muscles and motors

    @cached_property
    def actuator_names(self) -> tuple[str, ...]:
        """Names of muscles and motors, in model order."""
        return names_of(self.model, "actuator")[: self.sizes.actuators]

    @cached_property
    def muscle_ids(self) -> np.ndarray:
        """Actuator ids of the muscles (actuators with muscle dynamics), (muscles,)."""
        return muscle_actuators(self.model)[: self.sizes.actuators].nonzero()[0]

    @cached_property
    def motor_ids(self) -> np.ndarray:
        """Actuator ids of the motors (all other actuators)."""
        return (~muscle_actuators(self.model)[: self.sizes.actuators]).nonzero()[0]

    @cached_property
    def muscle_names(self) -> tuple[str, ...]:
        """Names of the muscles, in model order."""
        return tuple(self.actuator_names[i] for i in self.muscle_ids)

    @cached_property
    def motor_names(self) -> tuple[str, ...]:
        """Names of the motors, in model order."""
        return tuple(self.actuator_names[i] for i in self.motor_ids)

    @cached_property
    def muscle_act_ids(self) -> np.ndarray:
        """Addresses of the muscles' activations in MuJoCo's `act`, (muscles,)."""
        return self.model.actuator_actadr[self.muscle_ids].astype(np.int64)

    @cached_property
    def muscle_similarity(self) -> np.ndarray:
        """Cosines between the muscles' moment arms, (muscles, muscles); see `moment_arms.similarity`."""
        from .moment_arms import similarity  # imports this module

        return similarity(self)

    @cached_property
    def muscle_tendon_ids(self) -> np.ndarray:
        """Tendon id of each muscle, (muscles,); -1 if it acts on a joint directly."""
        on_tendon = self.model.actuator_trntype[self.muscle_ids] == mujoco.mjtTrn.mjTRN_TENDON
        return np.where(on_tendon, self.model.actuator_trnid[self.muscle_ids, 0], -1)

    @cached_property
    def field_rows(self) -> dict[str, tuple[int, ...]]:
        """Rows of the body, or of its muscles, in physics fields that also hold props or motors.

        `physics.field(name, body.field_rows.get(name))` reads the body's qpos, the muscles' activation, and so on.
        Empty for a body without motors and props: whole fields are then read without a copy.
        """
        body = dict.fromkeys(("qvel", "qacc", "qfrc_actuator", "qfrc_bias", "qfrc_passive"), range(self.num_qvel))
        muscles = ("ctrl", "actuator_length", "actuator_velocity", "actuator_force")
        rows: dict[str, Sequence[int]] = {**body, "qpos": range(self.num_qpos), "act": self.muscle_act_ids.tolist()}
        rows |= dict.fromkeys(muscles, self.muscle_ids.tolist())
        model = self.model
        sizes = {**dict.fromkeys(body, model.nv), "qpos": model.nq, "act": model.na, **dict.fromkeys(muscles, model.nu)}
        return {name: tuple(ids) for name, ids in rows.items() if list(ids) != list(range(sizes[name]))}

    def muscle_columns(self, names: Sequence[str]) -> np.ndarray:
        """Return the indices of `names` among the muscles, which are columns of tables (..., muscles).

        Raises:
            InputError: The body has no such muscle.
        """
        columns = {name: column for column, name in enumerate(self.muscle_names)}
        for name in names:
            if name not in columns:
                raise InputError(f"{self.name} has no muscle {name!r}{nearest(name, self.muscle_names)}")
        return np.array([columns[name] for name in names], dtype=np.int64)

    # Tracked sites

    @cached_property
    def site_ids(self) -> np.ndarray:
        """Model ids of the tracked sites, anchor first, (S,)."""
        return self.resolve("site", self.site_names)

    @cached_property
    def site_body_ids(self) -> np.ndarray:
        """Model ids of the bodies to which the tracked sites are fixed, (S,)."""
        return self.model.site_bodyid[self.site_ids].astype(np.int64)

    # The body and its model

    @cached_property
    def whole_model(self) -> mujoco.MjModel:
        """The model with visual elements, above all bone meshes: same qpos, bodies, joints and muscles as `model`.

        Ids of geoms and sites differ if `model` was compiled by `lean_model`. Edits of `model` do not affect it.
        """
        return self.build_spec().compile()

    @property
    def identity(self) -> dict[str, Any]:
        """Metadata for checkpoints and archives: `embodiment`, `embodiment_options`, `model_version`."""
        options, defaults = to_plain(self.options), to_plain(type(self.options)())
        added = {name for name in self.options.added if options[name] == defaults[name]}
        return {
            "embodiment": self.key,
            "embodiment_options": {name: value for name, value in options.items() if name not in added},
            "model_version": self.model_version,
        }

    def edited(self, edit: Callable[[mujoco.MjSpec], None]) -> "Embodiment":
        """Return the body with an edited spec, for example with motors or masses added.

        Args:
            edit: Changes a spec in place; it is called for every new spec of the body.

        Raises:
            InputError: Props are already attached.
        """
        if self.props:
            raise InputError(f"{self.name}: edit the body before {', '.join(self.props)} is attached")
        build_spec = partial(edited_spec, self.build_spec, edit)
        return dataclasses.replace(self, model=self.compile_spec(build_spec()), build_spec=build_spec)

    def whole_qpos(self, qpos: np.ndarray) -> np.ndarray:
        """Append the default pose of the props to poses of the body: (..., num_qpos) -> (..., nq)."""
        rest = self.model.qpos0[self.num_qpos :].astype(qpos.dtype)
        return np.concatenate((qpos, np.broadcast_to(rest, (*qpos.shape[:-1], len(rest)))), axis=-1)

    def whole_qvel(self, qvel: np.ndarray) -> np.ndarray:
        """Append zero velocity of the props to velocities of the body: (..., num_qvel) -> (..., nv)."""
        rest = np.zeros((*qvel.shape[:-1], self.model.nv - self.num_qvel), dtype=qvel.dtype)
        return np.concatenate((qvel, rest), axis=-1)

    @cached_property
    def dependent(self) -> Coupling:
        """Coupled joints of the body."""
        return _coupling(self.model, self.sizes.joints)

    def project(self, qpos: np.ndarray) -> np.ndarray:
        """Return a copy of `qpos` (..., num_qpos) in which coupled joints satisfy MuJoCo's joint equalities."""
        out = np.array(qpos)
        start, coupling = self.model.qpos0, self.dependent
        for address, independent, polynomial in zip(
            coupling.qpos_ids, coupling.independent_qpos_ids, coupling.polynomials, strict=True
        ):
            away = out[..., independent] - start[independent] if independent >= 0 else 0.0
            out[..., address] = start[address] + np.polynomial.polynomial.polyval(away, polynomial)
        return out

    def resolve(self, kind: str, names: Sequence[str]) -> np.ndarray:
        """Return the model ids of named elements.

        Args:
            kind: A key of `KINDS`: "actuator", "body", "geom", "joint", "sensor", "site" or "tendon".
            names: Names of such elements.

        Raises:
            InputError: The kind or a name does not exist; the message suggests the nearest existing name.
        """
        if kind not in KINDS:
            raise InputError(f"unknown kind of model element {kind!r}{nearest(kind, tuple(KINDS))}")
        ids = [mujoco.mj_name2id(self.model, KINDS[kind], name) for name in names]
        if -1 in ids:
            missing = names[ids.index(-1)]
            raise InputError(f"{self.name} has no {kind} {missing!r}{nearest(missing, names_of(self.model, kind))}")
        return np.array(ids, dtype=np.int64)


def names_of(model: mujoco.MjModel, kind: str) -> tuple[str, ...]:
    """Return the names of all model elements of a kind (a key of `KINDS`), in model order; '' for unnamed ones."""
    return tuple(mujoco.mj_id2name(model, KINDS[kind], i) or "" for i in range(getattr(model, COUNTS[kind])))


def muscle_actuators(model: mujoco.MjModel) -> np.ndarray:
    """Return which actuators have muscle dynamics, bool (nu,)."""
    return model.actuator_dyntype == mujoco.mjtDyn.mjDYN_MUSCLE


def muscle_names(model: mujoco.MjModel) -> tuple[str, ...]:
    """Return the names of all actuators with muscle dynamics, in model order."""
    return tuple(np.array(names_of(model, "actuator"), dtype=object)[muscle_actuators(model)])


def edited_spec(build_spec: Callable[[], mujoco.MjSpec], edit: Callable[[mujoco.MjSpec], None]) -> mujoco.MjSpec:
    """Return a new spec with an edit applied."""
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
