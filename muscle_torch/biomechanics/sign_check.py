"""Signs of a reference gait, checked against the model.

Angles: the knee flexes more than it extends, the leg moves backward under the body in stance, and the sole stays flat
on the ground in mid-stance. Moments of hip and knee: in swing nothing touches the foot, so the motion alone determines
them. Moment of the ankle: dorsiflexors are too weak for the moment of push-off.
"""

from dataclasses import replace

import mujoco
import numpy as np

from muscle_torch.embodiments import Embodiment, moment_matrix
from muscle_torch.embodiments.independent import IndependentJoints
from muscle_torch.errors import InputError

from .agreement import pearson
from .gait import LEG_JOINTS, MOMENTS, SIDES, Gait, model_leg
from .inverse_dynamics import inverse_dynamics
from .metabolic import active_force
from .reference_gait import ReferenceGait
from .series import TimeSeries

POINTS = 100  # frames of a cycle
MID_STANCE = (15, 40)  # [%] the sole is flat on the ground
BACKWARD = (0, 30, 60)  # [%] the heel stays on the ground, then the toe, so they move backward under the body
SWING = (68, 97)  # [%] the foot is in the air
CLEAR = 0.5  # correlation beyond which a sign is clear
STRIDE_TIME = 1.1  # [s] if the speed is unknown
SIGN_NAMES = {
    "hip_flexion": ("flexion", "extension"),
    "knee_angle": ("flexion", "extension"),
    "ankle_angle": ("dorsiflexion", "plantarflexion"),
}


def leg_poses(embodiment: Embodiment, gait: ReferenceGait, side: str = "r") -> np.ndarray:
    """Return poses (POINTS, nq) of a cycle: pelvis upright and at rest, one leg in motion, the rest in default pose.

    Args:
        embodiment: A body with this leg.
        gait: The cycle, with the model's signs.
        side: r or l.
    """
    cycle = gait.at(np.arange(POINTS) * 100.0 / POINTS)
    qpos = np.tile(embodiment.qpos0, (POINTS, 1))
    for joint, curve in cycle.angles.items():
        qpos[:, embodiment.model.joint(f"{joint}_{side}").qposadr[0]] += curve
    return embodiment.project(qpos)


def feet_of(embodiment: Embodiment, qpos: np.ndarray, side: str = "r") -> tuple[np.ndarray, np.ndarray]:
    """Return forward and upward position of heel and toe relative to the pelvis, (T, 2) each [m].

    Args:
        embodiment: A body with this leg.
        qpos: Poses in which the pelvis is upright, (T, nq).
        side: r or l.
    """
    data, rows = mujoco.MjData(embodiment.model), []
    for pose in qpos:
        data.qpos[:] = pose
        mujoco.mj_kinematics(embodiment.model, data)
        pelvis = data.body("pelvis")
        axes = pelvis.xmat.reshape(3, 3)[:, :2]  # forward and up
        rows.append([axes.T @ (data.body(f"{part}_{side}").xpos - pelvis.xpos) for part in ("calcn", "toes")])
    heel, toe = np.array(rows).transpose(1, 0, 2)
    return heel, toe


def backward_travel(heel: np.ndarray, toe: np.ndarray) -> float:
    """Return how far the standing foot moves backward under the pelvis [m], by the heel, then by the toe.

    Args:
        heel: Of `feet_of`, (POINTS, 2) [m].
        toe: The same.
    """
    first, rises, last = BACKWARD
    return float(heel[first, 0] - heel[rises, 0] + toe[rises, 0] - toe[last, 0])


def with_stride_time(
    embodiment: Embodiment, gait: ReferenceGait, leg_length: float = 0.0, side: str = "r"
) -> ReferenceGait:
    """Return the gait with its stride time, inferred from the speed of the standing foot if it is unknown.

    In stance the foot moves backward under the body at walking speed.

    Args:
        embodiment: The body.
        gait: The cycle, with the model's signs of angles.
        leg_length: The subject's, hip to ankle [m]; 0: the model's.
        side: r or l.

    Raises:
        InputError: The foot does not move backward in stance.
    """
    if np.isfinite(gait.stride_time):
        return gait
    if not np.isfinite(gait.speed):
        note = f"the speed is unknown: stride time assumed to be {STRIDE_TIME} s"
        return replace(gait, stride_time=STRIDE_TIME, notes=(*gait.notes, note))
    scale = leg_length / model_leg(embodiment) if leg_length else 1.0
    travel = scale * backward_travel(*feet_of(embodiment, leg_poses(embodiment, gait, side), side))
    period = float(travel / gait.speed) * POINTS / (BACKWARD[2] - BACKWARD[0])
    if not 0.2 < period < 5.0:
        raise InputError(
            f"{gait.name}: in the first {BACKWARD[2]} % of the cycle the foot moves back by {travel:.2f} m, "
            f"which does not fit {gait.speed:g} m/s; 0 % must be the strike of this foot, and the speed in m/s"
        )
    note = f"stride time {period:.2f} s, from the speed of the foot in stance and {gait.speed:g} m/s"
    return replace(gait, stride_time=period, notes=(*gait.notes, note))


def with_signs(
    embodiment: Embodiment, gait: ReferenceGait, mass: float, leg_length: float = 0.0, side: str = "r"
) -> ReferenceGait:
    """Return the gait with the model's signs, and with a stride time.

    `notes` states each sign that was changed or could not be checked.

    Args:
        embodiment: The body.
        gait: The cycle with the signs of its file.
        mass: Of the subject [kg].
        leg_length: The subject's, hip to ankle, for the stride time [m]; 0: the model's.
        side: r or l.
    """
    angles, flipped = dict(gait.angles), []
    for joint in MOMENTS:
        if _angle_is_reversed(embodiment, replace(gait, angles=angles), joint, side):
            angles[joint] = -angles[joint]
            flipped.append(f"{gait.name}: angle {joint} was positive in {SIGN_NAMES[joint][1]}; its sign was changed")
    gait = with_stride_time(embodiment, replace(gait, angles=angles), leg_length, side)
    evidence = moment_signs(embodiment, gait, mass, side)
    moments = dict(gait.moments)
    for joint, sign in evidence.items():
        if sign < 0:
            moments[joint] = -moments[joint]
            flipped.append(f"{gait.name}: moment {joint} was positive in {SIGN_NAMES[joint][1]}; its sign was changed")
        elif sign == 0:
            flipped.append(f"{gait.name}: the sign of the moment {joint} could not be checked; it was kept")
    return replace(gait, moments=moments, notes=(*gait.notes, *flipped))


def _angle_is_reversed(embodiment: Embodiment, gait: ReferenceGait, joint: str, side: str) -> bool:
    """Return whether an angle of a cycle has the other sign."""
    curve = gait.angles[joint]
    if joint == "knee_angle":
        return bool(curve.max() < -curve.min())
    turned = replace(gait, angles=gait.angles | {joint: -curve})
    scores = []
    for one in (gait, turned):
        heel, toe = feet_of(embodiment, leg_poses(embodiment, one, side), side)
        stance = slice(*MID_STANCE)
        flat = float(np.ptp((toe - heel)[stance, 1]))
        scores.append(-backward_travel(heel, toe) if joint == "hip_flexion" else flat)
    return scores[1] < scores[0]


def moment_signs(embodiment: Embodiment, gait: ReferenceGait, mass: float, side: str = "r") -> dict[str, int]:
    """Return joint -> 1 if its moment has the model's sign, -1 if it has the other, 0 if neither is clear.

    Args:
        embodiment: The body.
        gait: The cycle, with the model's signs of angles and its stride time.
        mass: Of the subject [kg].
        side: r or l.
    """
    qpos, names = leg_poses(embodiment, gait, side), tuple(f"{joint}_{side}" for joint in MOMENTS)
    rate = POINTS / gait.stride_time
    solved = inverse_dynamics(embodiment, np.tile(qpos, (3, 1)), rate, joints=names, mass=mass, cutoff=6.0)
    cycle, swing = gait.at(np.arange(POINTS) * 100.0 / POINTS), np.zeros(POINTS, dtype=bool)
    swing[slice(*SWING)] = True
    stated = mass * np.stack([cycle.moments[joint] for joint in MOMENTS], axis=1)
    signs = _signs(embodiment, qpos, stated, solved.moments.values[POINTS : 2 * POINTS], swing, names[2])
    return dict(zip(MOMENTS, signs, strict=True))


def checked_moments(
    embodiment: Embodiment, gait: Gait, qpos: np.ndarray, moments: TimeSeries
) -> tuple[TimeSeries, list[str]]:
    """Return joint moments of another program with the model's signs, on the clock of the motion, and notes.

    Args:
        embodiment: The body.
        gait: Of the motion.
        qpos: The motion, (T, nq).
        moments: Of the legs, as <joint>_<side> [Nm].

    Raises:
        InputError: A moment is missing, or the clocks do not overlap.
    """
    names = tuple(f"{joint}_{side}" for side in SIDES for joint in MOMENTS)
    time, notes = gait.angles.time, []
    if moments.time[0] > time[0] + 1.0 / gait.rate or moments.time[-1] < time[-1] - 1.0 / gait.rate:
        raise InputError(
            f"{moments.source}: moments from {moments.time[0]:g} to {moments.time[-1]:g} s, the motion from "
            f"{time[0]:g} to {time[-1]:g} s; set start= and end="
        )
    series = moments.select([name for name in LEG_JOINTS if name in moments]).at(np.clip(time, *moments.time[[0, -1]]))
    values = series.values.copy()
    solved = inverse_dynamics(embodiment, qpos, gait.rate, joints=names, mass=gait.mass).moments
    for side in SIDES:
        ahead = np.sum((gait.feet[side][1][:, :2] - gait.pelvis[:, :2]) * gait.direction, axis=1)
        swing = np.gradient(ahead) * gait.rate > 0.5  # [m/s]: the foot overtakes the body
        of_side = names[:3] if side == "r" else names[3:]
        stated = np.stack([series[name] for name in of_side], axis=1)
        signs = _signs(embodiment, qpos, stated, solved.select(of_side).values, swing, of_side[2])
        for name, sign in zip(of_side, signs, strict=True):
            if sign < 0:
                values[:, series.names.index(name)] *= -1.0
                notes.append(f"{moments.source}: moment {name} had the other sign than the model; it was changed")
            elif sign == 0:
                notes.append(f"{moments.source}: the sign of the moment {name} could not be checked; it was kept")
    return series.with_values(values), notes


def _signs(
    embodiment: Embodiment, qpos: np.ndarray, stated: np.ndarray, solved: np.ndarray, swing: np.ndarray, ankle: str
) -> list[int]:
    """Return the signs of hip, knee and ankle moments: 1, -1, or 0 if neither is clear.

    Args:
        embodiment: The body.
        qpos: (T, nq).
        stated: Moments to check, (T, 3) [Nm].
        solved: Of the motion without ground forces, (T, 3) [Nm].
        swing: When nothing touches the foot, bool (T,).
        ankle: Name of the ankle's joint.
    """
    signs = []
    for column in range(2):
        r = pearson(stated[swing, column], solved[swing, column]) if swing.sum() > 5 else 0.0
        signs.append(int(np.sign(r)) if abs(r) > CLEAR else 0)
    return [*signs, _ankle_sign(embodiment, qpos, stated[:, 2], ankle)]


def _ankle_sign(embodiment: Embodiment, qpos: np.ndarray, moment: np.ndarray, joint: str) -> int:
    """Return the sign of the ankle's moment (T,) [Nm]: its peak must be within the strength of the muscles."""
    peak = int(np.abs(moment).argmax())
    model, data = embodiment.model, mujoco.MjData(embodiment.model)
    data.qpos[:] = qpos[peak]
    mujoco.mj_fwdPosition(model, data)
    tangent = IndependentJoints(embodiment).along(qpos[peak], [joint])[:, 0]
    lengths = data.actuator_length[embodiment.muscle_ids][None]
    pulls = -moment_matrix(embodiment, data) @ tangent * active_force(embodiment, lengths, np.zeros_like(lengths))[0]
    up, down = pulls[pulls > 0].sum(), -pulls[pulls < 0].sum()
    if abs(moment[peak]) <= min(up, down):
        return 0
    return int(np.sign(moment[peak])) * (1 if up > down else -1)
