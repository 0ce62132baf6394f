"""Gait: a walk on the model, from OpenSim files, a motion clip or a rollout; its cycles and its numbers."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import mujoco
import numpy as np

from muscle_torch.embodiments import EMBODIMENTS, Embodiment, make_embodiment
from muscle_torch.errors import InputError
from muscle_torch.motion.rollout_archive import RolloutArchive

from .agreement import mpjae
from .coordinates import from_model, leg_scale, to_model
from .cycles import Cycles, cut_cycles, ordinary_durations
from .gait_events import Contacts, contacts_from_feet, contacts_from_force, refined, walking_direction
from .inverse_dynamics import ON_GROUND, foot_forces, inverse_dynamics
from .muscle_mechanics import independent_joints, joint_tangent
from .recordings import read_series
from .series import TimeSeries, complete

GRAVITY = 9.81  # [m/s2]
ANGLES = ("hip_flexion", "hip_adduction", "hip_rotation", "knee_angle", "ankle_angle")
MOMENTS = ("hip_flexion", "knee_angle", "ankle_angle")
FORCES = ("fore-aft", "vertical", "lateral")
SIDES = {"r": "right", "l": "left"}
LEG_JOINTS = tuple(f"{joint}_{side}" for side in SIDES for joint in ANGLES)
TREADMILL = 0.5  # [m]; a pelvis that travels less does not walk over ground
MOST_HZ = 200.0  # faster motions are thinned: gait holds nothing above


@dataclass(frozen=True, eq=False)
class Gait:
    """One recorded or simulated walk. Angles [rad] under OpenSim's names, knee flexion positive.

    `feet`: side -> heel and toe positions (T, 3) [m] in the world; `moments` [Nm] under the model's joint names;
    `forces`: side -> (T, 3) [N] in OpenSim's axes. What is not known is None or empty.
    """

    name: str
    angles: TimeSeries
    feet: dict[str, tuple[np.ndarray, np.ndarray]]
    pelvis: np.ndarray
    mass: float
    leg_length: float
    moments: TimeSeries | None = None
    forces: dict[str, np.ndarray] = field(default_factory=dict)
    contacts: dict[str, Contacts] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    @property
    def rate(self) -> float:
        return self.angles.rate


def gait_of(
    embodiment: Embodiment,
    qpos: np.ndarray,
    rate: float,
    name: str = "",
    mass: float = 0.0,
    moments: TimeSeries | None = None,
    forces: dict[str, np.ndarray] | None = None,
    contacts: dict[str, Contacts] | None = None,
    start: float = 0.0,
) -> Gait:
    """A motion (T, nq) of the model at `rate` [Hz]; `contacts`: what plates or touch sensors saw of each foot."""
    model, data = embodiment.model, mujoco.MjData(embodiment.model)
    ids = walking_bodies(embodiment)
    places = np.zeros((len(qpos), model.nbody, 3))
    for frame, posture in enumerate(qpos):
        data.qpos[:] = posture
        mujoco.mj_kinematics(model, data)
        places[frame] = data.xpos
    feet = {side: (places[:, ids[f"calcn_{side}"]], places[:, ids[f"toes_{side}"]]) for side in "rl"}
    pelvis = places[:, ids["pelvis"]]
    events, notes = _events(feet, pelvis, rate, start, contacts or {})
    return Gait(
        name,
        from_model(qpos, embodiment, rate, start),
        feet,
        pelvis,
        mass or float(model.body_mass.sum()),
        _leg_length(model, data),
        moments,
        forces or {},
        events,
        notes,
    )


def _events(
    feet: dict[str, tuple[np.ndarray, np.ndarray]], pelvis: np.ndarray, rate: float, start: float,
    measured: dict[str, Contacts],
) -> tuple[dict[str, Contacts], tuple[str, ...]]:  # fmt: skip
    """Contacts as measured where both feet have two; else those of the feet's motion, refined by what was measured."""
    if measured and all(len(one.starts) >= 2 for one in measured.values()):
        return measured, ()
    found = {}
    for side, (heel, toe) in feet.items():
        seen = contacts_from_feet(heel, toe, pelvis, rate, start_time=start)
        found[side] = refined(seen, measured[side]) if side in measured else seen
    note = "the force saw fewer than two strikes of each foot: the others are those of the feet's motion"
    return found, (note,) if measured else ()


def angle_cycles(gait: Gait, side: str, points: int = 101) -> Cycles:
    """Angles [deg] of one leg, columns `ANGLES`, over the cycle from strike to strike."""
    names = [f"{name}_{side}" for name in ANGLES]
    series = gait.angles.select(names)
    degrees = series.with_values(np.degrees(series.values), ("deg",) * len(names)).renamed(ANGLES)
    return cut_cycles(degrees, gait.contacts[side].starts, points=points)


def moment_cycles(gait: Gait, side: str, points: int = 101) -> Cycles | None:
    """Sagittal moments [Nm/kg], positive as the angles; None without moments."""
    if gait.moments is None:
        return None
    series = gait.moments.select([f"{name}_{side}" for name in MOMENTS])
    scaled = series.with_values(series.values / gait.mass, ("Nm/kg",) * len(MOMENTS)).renamed(MOMENTS)
    return cut_cycles(scaled, gait.contacts[side].starts, points=points)


def force_cycles(gait: Gait, side: str, points: int = 101) -> Cycles | None:
    """Ground reaction force in body weights, columns `FORCES`; None without forces. Lateral: outwards, on each side."""
    if side not in gait.forces:
        return None
    outwards = np.array([1.0, 1.0, 1.0 if side == "r" else -1.0])  # the third axis points right
    weights = outwards * gait.forces[side] / (gait.mass * GRAVITY)
    # Touch sensors give the vertical force alone: what is nowhere but zero was not measured.
    seen = [i for i in range(3) if weights[:, i].any()]
    if not seen:
        return None
    names = tuple(FORCES[i] for i in seen)
    series = TimeSeries(gait.angles.time, weights[:, seen], names, ("BW",) * len(seen), gait.name)
    return cut_cycles(series, gait.contacts[side].starts, points=points)


def walk_numbers(gaits: Sequence[Gait]) -> list[tuple]:
    """Rows (quantity, right, left, unit), averaged over walks; NaN where a recording is too short to tell."""
    tables = [_numbers(gait) for gait in gaits]
    rows = []
    for name, unit in dict.fromkeys((name, unit) for table in tables for name, unit in table):
        both = np.array([table[name, unit] for table in tables if (name, unit) in table], dtype=float)
        if name == "strides":
            rows.append((name, *(int(n) for n in both.sum(axis=0)), unit))
            continue
        known = [column[np.isfinite(column)] for column in both.T]
        rows.append((name, *(float(column.mean()) if len(column) else float("nan") for column in known), unit))
    return rows


def _numbers(gait: Gait) -> dict[tuple[str, str], tuple[float, float]]:
    """(quantity, unit) -> right and left of one walk."""
    both = {side: np.diff(gait.contacts[side].starts) for side in SIDES}
    steps, speed = step_lengths(gait), _speed(gait)
    found: dict[tuple[str, str], list[float]] = {
        ("strides", ""): [len(_ordinary(both[side])) for side in SIDES],
        ("speed", "m/s"): [speed, speed],
        ("speed over sqrt(g leg length)", ""): [speed / float(np.sqrt(GRAVITY * gait.leg_length))] * 2,
        ("stride time", "s"): [_mean(_ordinary(both[side])) for side in SIDES],
        ("step length", "m"): [_mean(steps[side]) for side in SIDES],
        ("stance share", "% of stride"): [100 * _mean(gait.contacts[side].stance_share) for side in SIDES],
    }
    for index, name in ((1, "peak vertical force"), (0, "peak propulsion")):
        if gait.forces and any(gait.forces[side][:, index].any() for side in SIDES):
            weight = gait.mass * GRAVITY
            found[name, "BW"] = [float(gait.forces[side][:, index].max()) / weight for side in SIDES]
    return {key: (right, left) for key, (right, left) in found.items()}


def _ordinary(durations: np.ndarray) -> np.ndarray:
    return durations[ordinary_durations(durations)]


def _mean(values: np.ndarray) -> float:
    return float(np.nanmean(values)) if np.isfinite(values).any() else float("nan")


def step_lengths(gait: Gait) -> dict[str, np.ndarray]:
    """Side -> (N,) [m]: how far the heel is ahead of the other foot's heel when it strikes."""
    found = {}
    for side, other in (("r", "l"), ("l", "r")):
        forward = walking_direction(*gait.feet[side], gait.pelvis)
        frames = np.round((gait.contacts[side].starts - gait.angles.time[0]) * gait.rate).astype(int)
        frames = frames[(frames >= 0) & (frames < len(gait.pelvis))]
        away = (gait.feet[side][0][frames] - gait.feet[other][0][frames])[:, :2] @ forward
        found[side] = away[away > 0.05]
    return found


def _speed(gait: Gait) -> float:
    """Of the pelvis over the ground; on a treadmill over the standing foot, mid-stance."""
    travel = float(np.linalg.norm((gait.pelvis[-1] - gait.pelvis[0])[:2]))
    if travel > TREADMILL:
        return travel / float(gait.angles.time[-1] - gait.angles.time[0])
    speeds = []
    for side, (heel, toe) in gait.feet.items():
        ahead = (gait.pelvis - heel)[:, :2] @ walking_direction(heel, toe, gait.pelvis)
        contacts = gait.contacts[side]
        for start, end in zip(contacts.starts, contacts.ends, strict=True):
            flat = np.array([start + 0.25 * (end - start), start + 0.65 * (end - start)])
            at = np.interp(flat, gait.angles.time, ahead, left=np.nan, right=np.nan)
            speeds.append(float((at[1] - at[0]) / (flat[1] - flat[0])))
    return _mean(np.array(speeds))


def _leg_length(model: mujoco.MjModel, data: mujoco.MjData) -> float:
    """Hip to ankle along the bones [m]."""
    hip, knee, ankle = (data.body(f"{name}_r").xpos for name in ("femur", "tibia", "talus"))
    return float(np.linalg.norm(hip - knee) + np.linalg.norm(knee - ankle))


def walking_bodies(embodiment: Embodiment) -> dict[str, int]:
    """Name -> id of pelvis, heels and toes. Raises InputError for a body that cannot walk."""
    model, names = embodiment.model, ("pelvis", "calcn_r", "toes_r", "calcn_l", "toes_l")
    ids = {name: mujoco.mj_name2id(model, mujoco.mjtObj.mjOBJ_BODY, name) for name in names}
    if min(ids.values()) < 0:
        raise InputError(
            f"{embodiment.name} has no feet (bodies calcn_*, toes_*): gait needs a full body; compare the muscles of "
            "other bodies with tools/emg.py"
        )
    return ids


def opensim_gait(
    embodiment: Embodiment,
    motion: str | Path,
    forces: str | Path = "",
    mass: float = 0.0,
    convention: str = "auto",
    swap_plates: bool = False,
    cutoff: float = 6.0,
    start: float = 0.0,
    end: float = 0.0,
    threshold: float = ON_GROUND,
) -> tuple[Gait, np.ndarray]:
    """A coordinates file (.mot, .sto) on the model, with inverse dynamics where `forces` are given; and its qpos.

    Over the time that both files cover, within `start` to `end` [s] (0: all). A plate carries a foot above
    `threshold` [N].
    """
    series, holes = complete(read_series(motion))
    measured = None
    if forces:
        measured, more = complete(read_series(forces))
        holes += more
    first = max(series.time[0], start or -np.inf, measured.time[0] if measured else -np.inf)
    last = min(series.time[-1], end or np.inf, measured.time[-1] if measured else np.inf)
    rate = min(series.rate, MOST_HZ)
    if last - first < 5 / rate:
        raise InputError(f"{motion}: {series.time[0]:g} to {series.time[-1]:g} s and its forces share no time")
    at = series.at(np.minimum(first + np.arange(int((last - first) * rate + 1e-6) + 1) / rate, series.time[-1]))
    scale = leg_scale(at, embodiment, convention)
    qpos, left_out = to_model(at, embodiment, convention, scale)
    notes = (*holes, *left_out)
    grounds, contacts, moments = {}, None, None
    if measured is not None:
        feet = foot_forces(measured, at.time, swap_plates)
        solved = inverse_dynamics(
            embodiment, qpos, rate, feet, independent_joints(embodiment), scale, mass, cutoff, first
        )
        moments = solved.moments
        grounds = {side: foot.force for side, foot in feet.items()}
        seen = foot_forces(measured, measured.time, swap_plates)
        contacts = {side: contacts_from_force(foot.force[:, 1], measured.rate, threshold,
                                              start_time=float(measured.time[0]), unfinished=True)
                    for side, foot in seen.items()}  # fmt: skip
        pushed = np.sqrt(np.mean(solved.residual[:, :3] ** 2))
        notes = (
            *notes,
            f"residual force at the pelvis {pushed:.0f} N (root mean square): what the ground does not give",
        )
    gait = gait_of(embodiment, qpos, rate, Path(motion).stem, mass, moments, grounds, contacts, first)  # fmt: skip
    return replace(
        gait, notes=(*gait.notes, *notes, f"lengths scaled by {scale:.3f}: the model's legs over the subject's")
    ), qpos


def rollout_gait(embodiment: Embodiment, archive: RolloutArchive, episode: int) -> Gait:
    """One episode: moments are those of the muscles, ground forces the touch sensors' (vertical only).

    Strikes come from the touch sensors where both feet have two of them, else from the feet's motion.
    """
    one, rate = archive.episodes[episode], 1.0 / archive.dt
    forces, contacts, notes = {}, {}, []
    for side, foot in SIDES.items():
        columns = [i for i, name in enumerate(archive.sensor_names) if name.startswith(f"{side}_")]
        up = one.touch[:, columns].sum(axis=1).astype(float)
        forces[side] = np.stack([0 * up, up, 0 * up], axis=1)
        try:
            contacts[side] = contacts_from_force(up, rate, unfinished=True)
        except InputError as error:
            notes.append(f"touch sensors of the {foot} foot: {error}")
    gait = gait_of(embodiment, one.qpos.astype(float), rate, one.name, archive.mass,
                   muscle_moments(embodiment, archive, episode), forces, contacts)  # fmt: skip
    return replace(gait, notes=(*gait.notes, *notes))


def followed_gait(embodiment: Embodiment, archive: RolloutArchive, episode: int) -> Gait:
    """The motion that an episode was to follow, whole."""
    one = archive.episodes[episode]
    if not len(one.reference):
        raise InputError(f"{one.name} followed no motion: there is nothing to compare its gait with")
    return gait_of(embodiment, one.reference.astype(float), 1.0 / archive.dt, f"{one.name} (followed)")


def angle_error(gait: Gait, other: Gait) -> float:
    """MPJAE [deg] of the legs' angles over the frames that both have."""
    frames = min(len(gait.pelvis), len(other.pelvis))
    first, second = (one.angles.select(LEG_JOINTS).values[:frames] for one in (gait, other))
    return float(np.degrees(mpjae(first, second)))


def activation_series(archive: RolloutArchive, episode: int) -> TimeSeries:
    """Activations of one episode, a column an actuator, on the clock of its motion."""
    values = archive.episodes[episode].activation
    time = np.arange(len(values)) * archive.dt
    return TimeSeries(time, values, archive.muscle_names, ("",) * len(archive.muscle_names), archive.embodiment)


def muscle_moments(embodiment: Embodiment, archive: RolloutArchive, episode: int) -> TimeSeries | None:
    """Moments [Nm] of the muscles about the legs' joints, those about the joints coupled to them added.

    The archive's forces are of the frame after each control step; None for an episode of fewer than 3 frames.
    """
    one = archive.episodes[episode]
    if len(one.qpos) < 3:
        return None
    model = embodiment.model
    addresses = [int(model.jnt_qposadr[int(j)]) for j in embodiment.resolve("joint", LEG_JOINTS)]
    forces = np.zeros((len(one.qpos) - 1, embodiment.num_qvel))
    forces[:, embodiment.joint_qvel_ids] = one.joint_force[:-1]
    totals = [
        [joint_tangent(embodiment, posture, address) @ force for address in addresses]
        for posture, force in zip(one.qpos[1:].astype(float), forces, strict=True)
    ]
    time = one.reference_step[:-1] * archive.dt
    return TimeSeries(time, np.array(totals), LEG_JOINTS, ("Nm",) * len(LEG_JOINTS), one.name)


def body_of(archive: RolloutArchive) -> Embodiment:
    """The body that an archive holds rollouts of. Raises InputError where it is none of this package's."""
    if archive.embodiment not in EMBODIMENTS:
        raise InputError(f"the archive's body {archive.embodiment} is none of {', '.join(EMBODIMENTS)}")
    body = make_embodiment(archive.embodiment, **archive.embodiment_options)
    if (body.joint_names, body.muscle_names) != (archive.joint_names, archive.muscle_names):
        raise InputError(f"the archive's {archive.embodiment} has other joints or muscles than that of this version")
    return body
