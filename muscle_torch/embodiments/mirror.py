"""Check whether the left side of a body is the mirror image of the right one: `mirror_findings(body)`.

A pose of the right side is mirrored to the left at the body's sagittal plane. Then all paired quantities must agree:
masses, joint ranges, coupled joints, muscle parameters, positions, muscle lengths and moment arms. Names define pairs
(`x_r` and `x_l`; muscles by `Embodiment.left_right`), axes the sense of a joint in the mirror: a reflection M maps a
vector v to M v and a rotation axis a to det(M) M a = -M a.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import mujoco
import numpy as np

from muscle_torch.errors import InputError

from .embodiment import Embodiment, names_of
from .moment_arms import moment_arms, random_pose

HINGE, SLIDE = mujoco.mjtJoint.mjJNT_HINGE, mujoco.mjtJoint.mjJNT_SLIDE
# kind -> quantity that is compared, its unit, and its tolerance
KINDS: dict[str, tuple[str, str, float]] = {
    "mass": ("mass of a body", "kg", 1e-6),
    "axis": ("tilt of a joint axis out of the mirror", "rad", 5e-3),
    "range": ("end of a joint range", "rad or m", 1e-3),
    "coupling": ("coupled joint, over the range of its independent joint", "rad or m", 1e-3),
    "position": ("distance of a body from its mirror image", "m", 5e-3),
    "force": ("largest isometric force", "N", 1e-3),
    "length_range": ("range of muscle length", "m", 1e-3),
    "length": ("muscle length in the same pose", "m", 1e-3),
    "moment_arm": ("moment arm in the same pose", "m", 1e-3),
    "sign": ("moment arms of opposite sign", "m", 1e-3),
    "push": ("a muscle that pushes", "N", 0.0),
}
# Known faults of the published models: key of the body -> right element of the pair -> fault.
# The tolerances of "axis" and "position" allow for the rotation of both arms of musclemimic-models 1.0.6 by 0.1 degree.
_LTPT = {"LTpT_T12_r": "LTpT_T12_l runs along the right side: its sites are those of LTpT_T12_r"}
KNOWN_FAULTS: dict[str, dict[str, str]] = {
    "fullbody": _LTPT,
    "legs_back": _LTPT,
    "legs_abs": {
        f"{muscle}_r": f"{muscle} is {percent} % stronger on the right"
        for muscle, percent in (("ercspn", 1.8), ("intobl", 7.8), ("extobl", 0.2))
    },
}


@dataclass(frozen=True)
class Finding:
    """One pair that differs by more than the tolerance of its kind."""

    kind: str  # key of KINDS
    name: str  # right element of the pair
    left: float  # value on the left; mirrored to the right if it has a direction
    right: float
    detail: str = ""  # joint or coordinate concerned

    @property
    def difference(self) -> float:
        """Absolute difference of the two values."""
        return abs(self.left - self.right)

    def __str__(self) -> str:
        quantity, unit, _ = KINDS[self.kind]
        where = f"{self.name} ({self.detail})" if self.detail else self.name
        return f"{where}: {quantity} {self.left:.4g} left, {self.right:.4g} right [{unit}]"


def known(embodiment: Embodiment, finding: Finding) -> bool:
    """Return whether a finding is a fault listed in `KNOWN_FAULTS`."""
    return finding.name in KNOWN_FAULTS.get(embodiment.key, {})


def mirror_findings(embodiment: Embodiment, num_poses: int = 16, seed: int = 0) -> list[Finding]:
    """Compare both sides of a body.

    Args:
        embodiment: The body.
        num_poses: Number of random poses within the joint ranges, couplings satisfied. Quantities that depend on the
            pose are reported in the pose in which they differ most.
        seed: Of the random poses.

    Returns:
        The pairs that differ by more than their tolerance, by kind, largest difference first; [] for one-sided bodies.

    Raises:
        InputError: Bodies are named left and right but do not lie on opposite sides of a plane.
    """
    sides = Sides(embodiment)
    if not sides.bodies:
        return []
    findings = [*_masses(sides), *_axes(sides), *_ranges(sides), *_couplings(sides), *_muscles(sides)]
    findings += _poses(sides, num_poses, np.random.default_rng(seed))
    order = list(KINDS)
    return sorted(findings, key=lambda f: (order.index(f.kind), -f.difference))


class Sides:
    """Pairs of a body, its sagittal plane, and the sense of joints in the mirror.

    Attributes:
        embodiment: The body.
        model: Its model.
        data: MuJoCo data for computations.
        body_names: Names of the bodies, by id.
        joint_names: Names of the joints, by id.
        bodies: (left, right) body ids.
        joints: (left, right) joint ids.
        muscles: (left, right) indices among the muscles.
        axis: World axis normal to the sagittal plane.
        reflection: Reflection at the plane, (3, 3).
        offset: Twice the plane's position along its normal, (3,) [m].
    """

    def __init__(self, embodiment: Embodiment):
        """Find the pairs and the plane.

        Raises:
            InputError: Bodies are named left and right but do not lie on opposite sides of a plane.
        """
        self.embodiment, self.model = embodiment, embodiment.model
        self.data = mujoco.MjData(self.model)
        mujoco.mj_kinematics(self.model, self.data)
        self.body_names = names_of(self.model, "body")[: embodiment.sizes.bodies]
        self.joint_names = embodiment.joint_names
        self.bodies, self.joints = _pairs(self.body_names), _pairs(self.joint_names)
        # Indices among the muscles, not actuator ids: there may be motors between them.
        columns = (embodiment.muscle_columns(pair) for pair in embodiment.left_right)
        self.muscles = [(int(left), int(right)) for left, right in columns]
        if self.bodies:
            self._find_plane()

    def _find_plane(self) -> None:
        """Set the plane half-way between the pairs; its normal is the world axis along which they lie apart."""
        left, right = np.array(self.bodies).T
        apart = (self.data.xpos[left] - self.data.xpos[right]).mean(0)
        self.axis = int(np.abs(apart).argmax())
        if abs(apart[self.axis]) < 0.9 * np.linalg.norm(apart) or abs(apart[self.axis]) < 1e-3:
            raise InputError(f"{self.embodiment.name}: bodies named left and right do not lie apart along one axis")
        self.reflection = np.diag([-1.0 if i == self.axis else 1.0 for i in range(3)])
        middle = (self.data.xpos[left] + self.data.xpos[right])[:, self.axis] / 2
        self.offset = 2 * float(np.median(middle)) * np.eye(3)[self.axis]

    def mirrored(self, points: np.ndarray) -> np.ndarray:
        """Return points (..., 3) reflected to the other side."""
        return points @ self.reflection + self.offset

    @cached_property
    def turns(self) -> dict[int, tuple[int, float, float]]:
        """Joint id -> (id of its mirror twin, sense +1 or -1, angle between their axes [rad]).

        Hinges and slides only: a free root stays in place.
        """
        partner = {a: b for pair in self.joints for a, b in (pair, pair[::-1])}
        turns = {}
        for joint in self.embodiment.scalar_joint_ids.tolist():
            twin = partner.get(joint, joint)
            axial = -1.0 if self.model.jnt_type[joint] == HINGE else 1.0
            cosine = float(axial * self.reflection @ self.data.xaxis[joint] @ self.data.xaxis[twin])
            turns[joint] = (twin, 1.0 if cosine > 0 else -1.0, float(np.arccos(min(abs(cosine), 1.0))))
        return turns

    def mirror_pose(self, qpos: np.ndarray) -> np.ndarray:
        """Return the pose (num_qpos,) with left and right exchanged."""
        out, address, start = qpos.copy(), self.model.jnt_qposadr, self.model.qpos0
        for joint, (twin, sign, _) in self.turns.items():
            away = qpos[address[joint]] - start[address[joint]]
            out[address[twin]] = start[address[twin]] + sign * away
        return out


def _pairs(names: tuple[str, ...]) -> list[tuple[int, int]]:
    ids = {name: i for i, name in enumerate(names)}
    return [(ids[name[:-2] + "_l"], i) for name, i in ids.items() if name[-2:] == "_r" and name[:-2] + "_l" in ids]


def _finding(kind: str, name: str, left: float, right: float, detail: str = "") -> Iterator[Finding]:
    if abs(left - right) > KINDS[kind][2]:
        yield Finding(kind, name, float(left), float(right), detail)


def _masses(sides: Sides) -> Iterator[Finding]:
    mass = sides.model.body_mass
    for left, right in sides.bodies:
        yield from _finding("mass", sides.body_names[right], mass[left], mass[right])


def _axes(sides: Sides) -> Iterator[Finding]:
    for joint, (_, _, angle) in sides.turns.items():
        if not sides.joint_names[joint].endswith("_l"):
            yield from _finding("axis", sides.joint_names[joint], angle, 0.0)


def _ranges(sides: Sides) -> Iterator[Finding]:
    """Compare joint ranges relative to qpos0, as joint positions are mirrored relative to it."""
    model, limits = sides.model, sides.model.jnt_range - sides.model.qpos0[sides.model.jnt_qposadr, None]
    for left, right in sides.joints:
        if right not in sides.turns or not (model.jnt_limited[left] and model.jnt_limited[right]):
            continue
        mirrored = limits[left] if sides.turns[right][1] > 0 else -limits[left][::-1]
        for end, name in enumerate(("lower", "upper")):
            yield from _finding("range", sides.joint_names[right], mirrored[end], limits[right][end], name)


def _couplings(sides: Sides) -> Iterator[Finding]:
    """Compare q - q0 = poly(p - p0) on both sides, over the range of p."""
    model, coupling = sides.model, sides.embodiment.dependent
    joint_of = {int(a): j for j, a in enumerate(model.jnt_qposadr)}
    rows = {
        joint_of[int(q)]: (joint_of.get(int(p), -1), polynomial)
        for q, p, polynomial in zip(coupling.qpos_ids, coupling.independent_qpos_ids, coupling.polynomials, strict=True)
    }
    for left, right in sides.joints:
        if (left in rows) != (right in rows):
            yield Finding("coupling", sides.joint_names[right], float(left in rows), float(right in rows), "exists")
        if left not in rows or right not in rows:
            continue
        (leader, polynomial), sign = rows[right], sides.turns[right][1]
        away, turn = np.zeros(1), 1.0
        if leader >= 0:
            low, high = model.jnt_range[leader] - model.qpos0[model.jnt_qposadr[leader]]
            away, turn = np.linspace(low, high, 50), sides.turns[leader][1]
        value = np.polynomial.polynomial.polyval
        here, there = value(away, polynomial), sign * value(turn * away, rows[left][1])
        worst = int(np.abs(here - there).argmax())
        follows = sides.joint_names[leader] if leader >= 0 else "a constant"
        detail = f"following {follows} at {away[worst]:.3g}"
        yield from _finding("coupling", sides.joint_names[right], there[worst], here[worst], detail)


def _muscles(sides: Sides) -> Iterator[Finding]:
    """Compare muscle parameters, and check the sign of the force: MuJoCo's muscles pull with a negative one."""
    model, names, ids = sides.model, sides.embodiment.muscle_names, sides.embodiment.muscle_ids
    force, limits = model.actuator_gainprm[ids, 2], model.actuator_lengthrange[ids]
    for left, right in sides.muscles:
        yield from _finding("force", names[right], force[left], force[right])
        for end, name in enumerate(("shortest", "longest")):
            yield from _finding("length_range", names[right], limits[left, end], limits[right, end], name)
    for muscle, actuator in enumerate(ids):
        acc0, parameters = model.actuator_acc0[actuator], model.actuator_gainprm[actuator, :9]
        for length in np.linspace(limits[muscle, 0], limits[muscle, 1], 5):
            gain = mujoco.mju_muscleGain(length, 0.0, limits[muscle], acc0, parameters)
            if gain > KINDS["push"][2]:
                yield Finding("push", names[muscle], float(gain), float(gain), f"at {length:.3f} m")
                break


def _poses(sides: Sides, count: int, random: np.random.Generator) -> Iterator[Finding]:
    """Compare the right side in random poses with the mirrored left side; report the worst pose of each pair."""
    worst: dict[tuple[str, str, str], Finding] = {}
    for _ in range(count):
        pose = random_pose(sides.embodiment, random)
        for finding in _pose(sides, pose):
            key = (finding.kind, finding.name, finding.detail)
            if key not in worst or worst[key].difference < finding.difference:
                worst[key] = finding
    yield from worst.values()


def _pose(sides: Sides, pose: np.ndarray) -> Iterator[Finding]:
    names, model = sides.embodiment.muscle_names, sides.model
    place, length, arm = _measure(sides, pose)
    place_mirrored, length_mirrored, arm_mirrored = _measure(sides, sides.mirror_pose(pose))
    reflected = sides.mirrored(place_mirrored)
    for left, right in sides.bodies:
        away = float(np.linalg.norm(reflected[left] - place[right]))
        yield from _finding("position", sides.body_names[right], away, 0.0)
    for left, right in sides.muscles:
        yield from _finding("length", names[right], length_mirrored[left], length[right])
        for joint, (twin, sign, _) in sides.turns.items():
            a, b = sign * arm_mirrored[left, model.jnt_dofadr[twin]], arm[right, model.jnt_dofadr[joint]]
            limit = KINDS["sign"][2]
            kind = "sign" if a * b < 0 and min(abs(a), abs(b)) > limit else "moment_arm"
            yield from _finding(kind, names[right], a, b, sides.joint_names[joint])


def _measure(sides: Sides, qpos: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return body positions (nbody, 3), muscle lengths (muscles,), moment arms (muscles, dofs) in a pose, all [m]."""
    data = sides.data
    arms = moment_arms(sides.embodiment, data, qpos)
    return data.xpos.copy(), data.actuator_length[sides.embodiment.muscle_ids], arms
