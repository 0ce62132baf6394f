"""Muscle lengths and moment arms over a joint's range; force-length and force-velocity curves."""

from dataclasses import dataclass

import mujoco
import numpy as np

from muscle_torch.embodiments import Embodiment, moment_matrix
from muscle_torch.embodiments.independent import IndependentJoints

STEP = 1e-4  # [rad] or [m] of the central difference
NO_ARM = 1e-5  # [m]; a muscle with smaller moment arms does not cross the joint


@dataclass(frozen=True, eq=False)
class Sweep:
    """One joint moved through P positions of its range, with the other independent joints at the reference posture.

    Moment arms are `-dL/dq` (positive: the muscle pulls the joint towards larger q), (P, muscles), in metres for
    hinges. Coupled joints follow, so an arm includes the path over the joints that move along.
    """

    joint: str
    positions: np.ndarray  # (P,) [rad] or [m]
    lengths: np.ndarray  # (P, muscles) [m]
    by_definition: np.ndarray  # (P, muscles) central difference of the length
    by_moment: np.ndarray  # (P, muscles) from MuJoCo's moment matrix
    wrap_changes: np.ndarray  # (P, muscles) bool: the wrapping changes within the difference or at a neighbour


def sweep(embodiment: Embodiment, joint: str, points: int = 41, margin: float = 0.0) -> Sweep:
    """Move a joint through its range (unlimited hinges: half a turn to each side).

    Args:
        embodiment: The body.
        joint: An independent joint.
        points: Number of positions P.
        margin: Distance kept from the ends of the range [rad].
    """
    model, data = embodiment.model, mujoco.MjData(embodiment.model)
    joint_id = int(embodiment.resolve("joint", [joint])[0])
    address = int(model.jnt_qposadr[joint_id])
    low, high = model.jnt_range[joint_id] if model.jnt_limited[joint_id] else (-np.pi, np.pi)
    positions = np.linspace(low + margin, high - margin, points)
    start, independent = embodiment.qpos0, IndependentJoints(embodiment)
    rows: dict[str, list[np.ndarray]] = {name: [] for name in ("lengths", "definition", "moment", "wraps")}
    for position in positions:
        posture = start.copy()
        posture[address] = position
        sides = [path_state(embodiment, data, _moved(embodiment, posture, address, way * STEP)) for way in (-1, 1)]
        lengths, signature = path_state(embodiment, data, embodiment.project(posture))
        tangent = independent.along(posture, [joint])[:, 0]
        rows["lengths"].append(lengths)
        rows["definition"].append(-(sides[1][0] - sides[0][0]) / (2 * STEP))
        rows["moment"].append(-moment_matrix(embodiment, data) @ tangent)
        rows["wraps"].append(np.stack([sides[0][1], signature, sides[1][1]]))
    wraps = np.stack(rows["wraps"])  # (P, 3, muscles)
    within = (wraps != wraps[:, 1:2]).any(axis=1)
    between = wraps[1:, 1] != wraps[:-1, 1]
    changes = within.copy()
    changes[1:] |= between
    changes[:-1] |= between
    lengths, definition, moment = (np.stack(rows[name]) for name in ("lengths", "definition", "moment"))
    return Sweep(joint, positions, lengths, definition, moment, changes)


def length_jumps(one: Sweep, tolerance: float = 5e-4) -> np.ndarray:
    """Return the largest change of each muscle's length not explained by its moment arms, (muscles,) [m].

    The arms at both ends of a step give two estimates of the change. Only what lies outside both by more than
    `tolerance` [m] counts, so a steep moment arm is not a jump.
    """
    change = np.diff(one.lengths, axis=0)
    steps = np.diff(one.positions)[:, None]
    ends = np.stack([-one.by_moment[:-1] * steps, -one.by_moment[1:] * steps])
    outside = np.maximum(change - ends.max(axis=0), ends.min(axis=0) - change)
    worst = outside.max(axis=0, initial=0.0)
    return np.where(worst > tolerance, worst, 0.0)


def arm_jumps(one: Sweep) -> np.ndarray:
    """Return by how much the largest change of each moment arm exceeds its neighbouring changes, (muscles,) [m].

    A steep but smooth arm changes at every step; a jump is isolated, however fine the steps.
    """
    change = np.abs(np.diff(one.by_moment, axis=0))
    padded = np.pad(change, ((1, 1), (0, 0)), mode="edge")
    neighbours = np.maximum(padded[:-2], padded[2:])
    neighbours[[0, -1]] = change[[1, -2]]
    return (change - neighbours).max(axis=0, initial=0.0)


def disagreement(one: Sweep) -> np.ndarray:
    """Return the largest difference of the two moment arms at positions without wrapping changes, (muscles,) [m]."""
    difference = np.where(one.wrap_changes, 0.0, np.abs(one.by_definition - one.by_moment))
    return difference.max(axis=0, initial=0.0)


def crosses(one: Sweep) -> np.ndarray:
    """Return whether the joint moves each muscle, (muscles,) bool."""
    return np.abs(one.by_moment).max(axis=0, initial=0.0) > NO_ARM


def mirrored_joint(embodiment: Embodiment, joint: str) -> tuple[str, float]:
    """Return the mirror image of a joint across the sagittal plane, and the sign between their positions.

    `..._r` mirrors `..._l` with +1. A joint of the trunk mirrors itself, with -1 if mirroring reverses it (lateral
    bending, rotation). The models' lateral axis is z.
    """
    if joint.endswith("_r") and joint[:-2] + "_l" in embodiment.joint_names:
        return joint[:-2] + "_l", 1.0
    if joint.endswith("_l") and joint[:-2] + "_r" in embodiment.joint_names:
        return joint[:-2] + "_r", 1.0
    model, joint_id = embodiment.model, int(embodiment.resolve("joint", [joint])[0])
    along_z = abs(model.jnt_axis[joint_id][2]) > 0.5
    slides = model.jnt_type[joint_id] == mujoco.mjtJoint.mjJNT_SLIDE
    return joint, 1.0 if along_z != slides else -1.0


def asymmetry(embodiment: Embodiment, sweeps: dict[str, Sweep]) -> dict[str, tuple[float, str]]:
    """Return left muscle -> largest difference [m] of its moment arms from its right partner's, and the joint."""
    worst: dict[str, tuple[float, str]] = {}
    for left, right in embodiment.left_right:
        i, j = embodiment.muscle_columns((left, right))
        worst[left] = (0.0, "")
        for joint, one in sweeps.items():
            partner, sign = mirrored_joint(embodiment, joint)
            if partner not in sweeps:
                continue
            other = sweeps[partner]
            arms = other.by_moment[:, j] if sign > 0 else -other.by_moment[::-1, j]
            positions = other.positions if sign > 0 else -other.positions[::-1]
            if positions.shape != one.positions.shape or np.abs(positions - one.positions).max() > 1e-9:
                continue  # ranges differ: reported by `range_differences`
            difference = float(np.abs(one.by_moment[:, i] - arms).max())
            if difference > worst[left][0]:
                worst[left] = (difference, joint)
    return worst


def range_differences(embodiment: Embodiment) -> list[str]:
    """Return a message for each joint whose mirrored partner has another range."""
    messages, model = [], embodiment.model
    for joint in IndependentJoints(embodiment).joints if embodiment.left_right else ():
        partner, sign = mirrored_joint(embodiment, joint)
        first, second = (model.jnt_range[int(embodiment.resolve("joint", [n])[0])] for n in (joint, partner))
        expected = second if sign > 0 else -second[::-1]
        if joint <= partner and np.abs(first - expected).max() > 1e-9:
            messages.append(
                f"{joint}: range {first.round(3).tolist()} mirrors {expected.round(3).tolist()} of {partner}"
            )
    return messages


def path_state(embodiment: Embodiment, data: mujoco.MjData, qpos: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the muscle lengths (muscles,) [m] and a hash of each muscle's wrapping pattern (muscles,).

    Args:
        embodiment: The body.
        data: Filled with the posture.
        qpos: (num_qpos,).
    """
    model, muscles = embodiment.model, embodiment.muscle_ids
    data.qpos[: embodiment.num_qpos] = qpos
    mujoco.mj_kinematics(model, data)
    mujoco.mj_comPos(model, data)
    mujoco.mj_tendon(model, data)
    mujoco.mj_transmission(model, data)
    objects = data.wrap_obj.ravel()
    signature = np.zeros(len(muscles))
    for muscle, actuator in enumerate(muscles):
        if model.actuator_trntype[actuator] == mujoco.mjtTrn.mjTRN_TENDON:
            tendon = model.actuator_trnid[actuator, 0]
            first, count = int(data.ten_wrapadr[tendon]), int(data.ten_wrapnum[tendon])
            signature[muscle] = hash(objects[first : first + count].tobytes()) % 2**52
    return data.actuator_length[muscles], signature


def _moved(embodiment: Embodiment, posture: np.ndarray, address: int, by: float) -> np.ndarray:
    result = posture.copy()
    result[address] += by
    return embodiment.project(result)


WEAK = 0.05  # fraction of the maximal force; less active force counts as none


@dataclass(frozen=True, eq=False)
class MuscleCurves:
    """Curves of one muscle. Lengths in optimal fibre lengths L0, velocities relative to the maximum, forces in F0."""

    lengths: np.ndarray
    active: np.ndarray  # force-length
    passive: np.ndarray
    velocities: np.ndarray  # -1: shortens at the maximal velocity
    force_velocity: np.ndarray


def optimal_length(model: mujoco.MjModel, actuator: int) -> tuple[float, float]:
    """Return the optimal fibre length L0 and the tendon length LT [m], as MuJoCo derives them from the length range."""
    low, high = model.actuator_lengthrange[actuator]
    first, last = model.actuator_gainprm[actuator, :2]
    fibre = (high - low) / max(last - first, 1e-12)
    return float(fibre), float(low - first * fibre)


def peak_force(model: mujoco.MjModel, actuator: int) -> float:
    """Return the maximal isometric force F0 [N] of an actuator."""
    force, scale = model.actuator_gainprm[actuator, 2], model.actuator_gainprm[actuator, 3]
    return float(force if force >= 0 else scale / max(model.actuator_acc0[actuator], 1e-12))


def normalised_lengths(model: mujoco.MjModel, actuator: int, lengths: np.ndarray) -> np.ndarray:
    """Convert actuator lengths [m] to optimal fibre lengths.

    Args:
        model: The model.
        actuator: Id of the muscle.
        lengths: Actuator lengths [m].
    """
    fibre, tendon = optimal_length(model, actuator)
    return (lengths - tendon) / fibre


def muscle_curves(model: mujoco.MjModel, actuator: int, points: int = 61) -> MuscleCurves:
    """Compute a muscle's curves with MuJoCo's gain and bias functions.

    Args:
        model: The model.
        actuator: Id of the muscle.
        points: Points of each curve.
    """
    fibre, tendon = optimal_length(model, actuator)
    prm, lengthrange = model.actuator_gainprm[actuator, :9], model.actuator_lengthrange[actuator]
    acc0, peak = model.actuator_acc0[actuator], peak_force(model, actuator)
    lengths, velocities = np.linspace(0.3, 1.9, points), np.linspace(-1.2, 1.2, points)
    fastest = prm[6] * fibre

    def gain(length: float, velocity: float) -> float:
        return -mujoco.mju_muscleGain(tendon + length * fibre, velocity * fastest, lengthrange, acc0, prm) / peak

    active = np.array([gain(length, 0.0) for length in lengths])
    bias = model.actuator_biasprm[actuator, :9]
    passive = np.array([-mujoco.mju_muscleBias(tendon + x * fibre, lengthrange, acc0, bias) / peak for x in lengths])
    speed = np.array([gain(1.0, velocity) for velocity in velocities])
    return MuscleCurves(lengths, active, passive, velocities, speed)


def active_share(model: mujoco.MjModel, actuator: int, lengths: np.ndarray) -> float:
    """Return the fraction of lengths at which a muscle can produce more than `WEAK` of F0.

    Args:
        model: The model.
        actuator: Id of the muscle.
        lengths: Actuator lengths [m].
    """
    curve = muscle_curves(model, actuator, 161)
    force = np.interp(normalised_lengths(model, actuator, lengths), curve.lengths, curve.active, left=0.0, right=0.0)
    return float(np.mean(force > WEAK))


def parameter_asymmetry(embodiment: Embodiment) -> dict[str, str]:
    """Return left muscle -> how its force, length range or curve differs from the right one's."""
    model, differences = embodiment.model, {}
    for left, right in embodiment.left_right:
        i, j = embodiment.resolve("actuator", (left, right))
        if abs(peak_force(model, i) - peak_force(model, j)) > 1e-6 * peak_force(model, j):
            differences[left] = f"F0 {peak_force(model, i):.4g} N, right {peak_force(model, j):.4g} N"
        elif np.abs(model.actuator_lengthrange[i] - model.actuator_lengthrange[j]).max() > 1e-6:
            differences[left] = (
                f"length range {model.actuator_lengthrange[i]} m, right {model.actuator_lengthrange[j]} m"
            )
        elif np.abs(model.actuator_gainprm[i, :9] - model.actuator_gainprm[j, :9]).max() > 1e-6:
            differences[left] = "curve parameters differ from the right one's"
    return differences
