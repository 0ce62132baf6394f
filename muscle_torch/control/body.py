"""The controller's description of a body: independent joints, feet, muscles and motors, read from the model."""

from dataclasses import dataclass
from functools import cached_property

import mujoco
import numpy as np

from muscle_torch.embodiments import Embodiment
from muscle_torch.embodiments.independent import IndependentJoints
from muscle_torch.errors import InputError
from muscle_torch.motion.support import Soles

MUSCLE = int(mujoco.mjtGain.mjGAIN_MUSCLE)
LINEAR = (int(mujoco.mjtGain.mjGAIN_FIXED), int(mujoco.mjtGain.mjGAIN_AFFINE))
DIRECT = int(mujoco.mjtDyn.mjDYN_NONE)
SAME_POINT = 0.01  # [m] maximal distance of the anchors of hinges that form a ball joint
LIGHT = 0.1  # fraction of body mass below which a limb without a foot is light (arms)


@dataclass(frozen=True, eq=False)
class Foot:
    """A foot: connected bodies with touch sensors, as in `motion.support.Soles`.

    Attributes:
        name: Name of the foot.
        body: Id of the heel, the body nearest to the trunk.
        bodies: Ids of all bodies of the foot.
        geoms: Ids of its geoms that collide.
        hip: Id of the first body of the leg.
    """

    name: str
    body: int
    bodies: tuple[int, ...]
    geoms: tuple[int, ...]
    hip: int


class ControlBody:
    """The controller's view of an embodiment: nv dofs, n of them independent, nu actuators.

    Attributes:
        embodiment: The embodiment.
        model: A copy of its model with pyramidal friction cones.
        independent: Independent dofs: those of a free root and of joints without a coupling equality.
        root_size: Number of dofs of the root: 6, or 0 for a body that is fixed to the world.
        muscle: Which actuators are muscles, bool (nu,); the others are motors.
        soles: Contact points of the feet; None for a body that is fixed to the world.
        feet: The feet; () for a body that is fixed to the world.
        control_step: Duration of a control step [s].
        lead: Mean time of the substeps within a control step [s].
        remaining: Time from there to the end of the control step [s].
    """

    def __init__(self, embodiment: Embodiment) -> None:
        """Read the description from the model.

        Raises:
            InputError: A free body has no feet, or an actuator is neither a muscle nor a motor with a control range.
        """
        self.embodiment = embodiment
        self.model = embodiment.model.__copy__()
        self.model.opt.cone = mujoco.mjtCone.mjCONE_PYRAMIDAL
        self.independent = IndependentJoints(embodiment)
        self.root_size = 6 if embodiment.has_root else 0
        self.muscle = np.asarray(self.model.actuator_gaintype == MUSCLE)
        self._check_motors()
        self.soles = Soles.of(embodiment) if self.root_size else None
        self.feet = _feet(embodiment, self.trunk, self.soles) if self.soles is not None else ()
        self._foot_of_geom = np.full(self.model.ngeom, -1, dtype=np.int64)
        for index, foot in enumerate(self.feet):
            self._foot_of_geom[list(foot.geoms)] = index
        self._fixed_geom = self.model.body_weldid[self.model.geom_bodyid] == 0
        self.control_step = 1.0 / embodiment.control_frequency
        self.lead = 0.5 * (self.control_step - float(self.model.opt.timestep))
        self.remaining = self.control_step - self.lead

    @property
    def dofs(self) -> np.ndarray:
        """Addresses in qvel of the independent velocities, (n,)."""
        return self.independent.dofs

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the independent velocities, (n,)."""
        return self.independent.names

    @cached_property
    def trunk(self) -> int:
        """Id of the body with the free root; 0, the world, for a body that is fixed to it."""
        if self.embodiment.root_joint is None:
            return 0
        return int(self.model.jnt_bodyid[int(self.embodiment.resolve("joint", [self.embodiment.root_joint])[0])])

    @cached_property
    def leg(self) -> np.ndarray:
        """Which independent dofs are between the trunk and a foot, including toes, bool (n,)."""
        bodies = {b for foot in self.feet for b in (*foot.bodies, *_chain(self.model, foot.body, foot.hip))}
        inside = np.isin(self.model.dof_bodyid[self.dofs], sorted(bodies))
        inside[: self.root_size] = False
        return inside

    @cached_property
    def light(self) -> np.ndarray:
        """Which independent dofs belong to light limbs without a foot (see `LIGHT`), bool (n,)."""
        model = self.model
        mass = model.body_subtreemass[model.dof_bodyid[self.dofs]]
        light = (mass < LIGHT * model.body_subtreemass[self.trunk]) & ~self.leg
        light[: self.root_size] = False
        return light

    @cached_property
    def torso(self) -> int | None:
        """The heaviest body that a joint of the trunk moves against the root; None if the trunk is one body."""
        model = self.model
        inner = ~self.leg & ~self.light
        inner[: self.root_size] = False
        moved = set(model.dof_bodyid[self.dofs[inner]].tolist())
        above = [b for b in range(model.nbody) if moved.intersection(_chain(model, b, self.trunk))]
        return max(above, key=lambda b: float(model.body_mass[b])) if above and self.root_size else None

    @cached_property
    def ball_joints(self) -> list[tuple[int, int, np.ndarray]]:
        """Triples of independent hinges through one point: (inner body, outer body, their independent dofs (3,))."""
        model, data = self.model, mujoco.MjData(self.model)
        mujoco.mj_kinematics(model, data)
        joints = model.dof_jntid[self.dofs[self.root_size :]].tolist()
        groups: list[tuple[int, int, np.ndarray]] = []
        run: list[int] = []
        for k, joint in enumerate(joints):
            run = [*run, k] if run and self._continues(data, joints[run[-1]], joint) else [k]
            if len(run) == 3:
                first, last = (int(model.jnt_bodyid[joints[i]]) for i in (run[0], run[-1]))
                groups.append((int(model.body_parentid[first]), last, self.root_size + np.array(run)))
                run = []
        return groups

    def feet_of_contacts(self, data: mujoco.MjData) -> np.ndarray:
        """Return the index of the foot in each contact with a fixed geom, (ncon,); -1: no foot, or no fixed geom."""
        geoms = data.contact.geom.reshape(-1, 2)
        grounded = self._fixed_geom[geoms].any(axis=1)
        return np.where(grounded, self._foot_of_geom[geoms].max(axis=1, initial=-1), -1)

    def _continues(self, data: mujoco.MjData, before: int, joint: int) -> bool:
        """Return whether a hinge follows another one at the same point, on the same body or a descendant."""
        model, hinge = self.model, mujoco.mjtJoint.mjJNT_HINGE
        if model.jnt_type[before] != hinge or model.jnt_type[joint] != hinge:
            return False
        near = bool(np.linalg.norm(data.xanchor[joint] - data.xanchor[before]) < SAME_POINT)
        return near and int(model.jnt_bodyid[before]) in _chain(model, int(model.jnt_bodyid[joint]), 0)

    def _check_motors(self) -> None:
        model, where = self.model, self.embodiment.name
        for i in np.flatnonzero(~self.muscle):
            name = self.embodiment.actuator_names[i]
            if model.actuator_gaintype[i] not in LINEAR or model.actuator_dyntype[i] != DIRECT:
                raise InputError(f"{where}: muscle control cannot drive actuator {name!r}, which is neither a muscle "
                                 "nor a motor without dynamics")  # fmt: skip
            if not model.actuator_ctrllimited[i]:
                raise InputError(f"{where}: motor {name!r} has no control range; give it a ctrlrange")


def _feet(embodiment: Embodiment, trunk: int, soles: Soles) -> tuple[Foot, ...]:
    """Return the feet in the order of `soles`, with their legs: bodies that are ancestors of one foot only."""
    model, heels = embodiment.model, soles.foot_bodies.tolist()
    feet = []
    for index, (name, heel) in enumerate(zip(soles.feet, heels, strict=True)):
        geoms = tuple(dict.fromkeys(soles.geom[soles.foot == index].tolist()))
        parts = tuple(sorted({heel, *(int(model.geom_bodyid[g]) for g in geoms)}))
        shared = {b for other_heel in heels if other_heel != heel for b in _chain(model, other_heel, trunk)}
        leg = [b for b in _chain(model, heel, trunk) if b not in shared and b != trunk]
        feet.append(Foot(name, heel, parts, geoms, leg[-1] if leg else heel))
    return tuple(feet)


def _chain(model: mujoco.MjModel, body: int, top: int) -> list[int]:
    """Return a body and its ancestors up to and including `top`."""
    chain = [body]
    while chain[-1] not in (top, 0):
        chain.append(int(model.body_parentid[chain[-1]]))
    return chain
