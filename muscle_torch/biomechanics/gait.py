"""Gait analysis on the model, from OpenSim files, motion clips or rollouts: cycles and spatiotemporal parameters."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import mujoco
import numpy as np

from muscle_torch.embodiments import EMBODIMENTS, Embodiment, make_embodiment
from muscle_torch.embodiments.independent import IndependentJoints
from muscle_torch.errors import InputError
from muscle_torch.motion.rollout_archive import RolloutArchive

from .agreement import mpjae
from .coordinates import from_model, leg_scale, to_model
from .cycles import Cycles, cut_cycles
from .gait_events import Contacts, contacts_from_feet, contacts_from_force, is_running, refined
from .ground_forces import ON_GROUND, PlatesOfFeet, feet_in_ground, plates_of_feet
from .inverse_dynamics import inverse_dynamics
from .recordings import read_series
from .series import TimeSeries, check_rate, complete
from .walking import belt_speed, headings, no_walk, over_ground, strides_only, travel_direction

GRAVITY = 9.81  # [m/s2]
ANGLES = ("hip_flexion", "hip_adduction", "hip_rotation", "knee_angle", "ankle_angle")
MOMENTS = ("hip_flexion", "knee_angle", "ankle_angle")
FORCES = ("fore-aft", "vertical", "lateral")
SIDES = {"r": "right", "l": "left"}
LEG_JOINTS = tuple(f"{joint}_{side}" for side in SIDES for joint in ANGLES)
RUN_STANCE = 0.48  # fraction of a stride; a longer stance leaves no flight phase
MAX_RATE = 200.0  # [Hz]; faster motions are downsampled, as gait has no higher frequencies


@dataclass(frozen=True, eq=False)
class Gait:
    """One recorded or simulated walk of T frames. Unknown quantities are None or empty."""

    name: str
    angles: TimeSeries  # [rad] under OpenSim's names, knee flexion positive
    feet: dict[str, tuple[np.ndarray, np.ndarray]]  # side -> heel and toe positions, (T, 3) each, world [m]
    pelvis: np.ndarray  # (T, 3) world [m]
    direction: np.ndarray  # (T, 2) direction of travel
    mass: float  # [kg]
    leg_length: float  # hip to ankle [m]
    belt: float = 0.0  # ground speed along `direction` [m/s], negative on a treadmill
    scale: float = float("nan")  # lengths of the model over the subject's; NaN: unknown
    moments: TimeSeries | None = None  # [Nm] under the model's joint names
    forces: dict[str, np.ndarray] = field(default_factory=dict)  # side -> (T, 3) [N] in OpenSim's axes
    contacts: dict[str, Contacts] = field(default_factory=dict)
    no_walk: str = ""  # why the motion is neither walking nor running; `contacts` are then empty
    notes: tuple[str, ...] = ()

    @property
    def rate(self) -> float:
        """Frame rate [Hz]."""
        return self.angles.rate

    @property
    def is_run(self) -> bool:
        """Whether stances are clearly shorter than half a stride, so that there are flight phases."""
        shares = [one.stance_share for one in self.contacts.values()]
        stance_shares = np.concatenate(shares) if shares else np.zeros(0)
        return bool(np.isfinite(stance_shares).any() and np.nanmedian(stance_shares) < RUN_STANCE)


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
    scale: float = float("nan"),
) -> Gait:
    """Analyse the gait of a motion of the model.

    Args:
        embodiment: A body with pelvis and feet.
        qpos: (T, nq).
        rate: Frame rate [Hz].
        name: Name in tables and figures.
        mass: The subject's mass [kg]; 0: the model's.
        moments: Joint moments [Nm].
        forces: Side -> ground forces (T, 3) [N] in OpenSim's axes.
        contacts: Side -> contacts measured by plates or touch sensors.
        start: Time of the first frame [s].
        scale: The model's lengths over the subject's; NaN: unknown.

    Raises:
        InputError: The body has no feet, or the frame rate is too low.
    """
    check_rate(rate, 10.0, name or "the motion")
    model, data = embodiment.model, mujoco.MjData(embodiment.model)
    ids = walking_bodies(embodiment)
    positions, rightward = np.zeros((len(qpos), model.nbody, 3)), np.zeros((len(qpos), 3))
    for frame, posture in enumerate(qpos):
        data.qpos[:] = posture
        mujoco.mj_kinematics(model, data)
        positions[frame] = data.xpos
        rightward[frame] = data.xmat[ids["pelvis"]].reshape(3, 3)[:, 2]  # the pelvis' z, as in OpenSim
    feet = {side: (positions[:, ids[f"calcn_{side}"]], positions[:, ids[f"toes_{side}"]]) for side in "rl"}
    angles = from_model(qpos, embodiment, rate, start)
    leg = _leg_length(model, data)
    mass = mass or float(model.body_mass.sum())
    one = Gait(name, angles, feet, positions[:, ids["pelvis"]], headings(rightward, rate), mass, leg,
               scale=scale, moments=moments, forces=forces or {})  # fmt: skip
    return _with_events(one, contacts or {})


def _with_events(gait: Gait, measured: dict[str, Contacts]) -> Gait:
    """Add direction, belt speed and contacts to a gait.

    Contacts are those measured if there are two of each foot, else those from the feet's motion, refined by the
    measured ones; a motion that is not a walk has none.
    """
    rate, heading, pelvis, start = gait.rate, gait.direction, gait.pelvis, float(gait.angles.time[0])
    belt = belt_speed(gait.feet, pelvis, heading, rate)
    direction, backwards = travel_direction(pelvis, heading, belt, rate)
    belt = -belt if backwards else belt
    notes = ["backward walking: toes strike and heels leave"] if backwards else []
    is_complete = bool(measured) and all(len(one.starts) >= 2 for one in measured.values())
    contacts = dict(measured)
    if not is_complete:
        feet = {side: (toe, heel) if backwards else (heel, toe) for side, (heel, toe) in gait.feet.items()}
        running = is_running(list(feet.values()), pelvis, direction, belt, rate)
        for side, (heel, toe) in feet.items():
            moving = contacts_from_feet(
                heel, toe, pelvis, rate, start_time=start, direction=direction, belt=belt, running=running
            )
            contacts[side] = refined(moving, measured[side]) if side in measured else moving
        if measured:
            notes.append("fewer than two force-based strikes per foot: the others are from the motion of the feet")
    strikes = sum(len(one.starts) for one in contacts.values())
    on_ground = {side: over_ground(heel, direction, belt, rate) for side, (heel, _) in gait.feet.items()}
    contacts = {side: strides_only(one, on_ground[side], gait.leg_length, start, rate)
                for side, one in contacts.items()}  # fmt: skip
    place = over_ground(pelvis, direction, belt, rate)
    reason = no_walk(on_ground, contacts, strikes, place, direction, gait.leg_length)
    if reason:
        contacts = {side: Contacts(np.zeros(0), np.zeros(0)) for side in contacts}
        notes = [f"{gait.name or 'the motion'} is not a walk: {reason}"]
    return replace(gait, direction=direction, belt=belt, contacts=contacts, no_walk=reason, notes=tuple(notes))


def angle_cycles(gait: Gait, side: str, points: int = 101) -> Cycles:
    """Return the angles [deg] of one leg (`ANGLES`) over the gait cycle, from strike to strike.

    Args:
        gait: The gait.
        side: r or l.
        points: Points of the cycle.
    """
    names = [f"{name}_{side}" for name in ANGLES]
    series = gait.angles.select(names)
    degrees = series.with_values(np.degrees(series.values), ("deg",) * len(names)).renamed(ANGLES)
    return cut_cycles(degrees, gait.contacts[side].starts, points=points)


def moment_cycles(gait: Gait, side: str, points: int = 101) -> Cycles | None:
    """Return the sagittal moments [Nm/kg] of one leg (`MOMENTS`) with the signs of the angles; None without moments.

    Args:
        gait: The gait.
        side: r or l.
        points: Points of the cycle.
    """
    if gait.moments is None:
        return None
    series = gait.moments.select([f"{name}_{side}" for name in MOMENTS])
    scaled = series.with_values(series.values / gait.mass, ("Nm/kg",) * len(MOMENTS)).renamed(MOMENTS)
    return cut_cycles(scaled, gait.contacts[side].starts, points=points)


def force_cycles(gait: Gait, side: str, points: int = 101) -> Cycles | None:
    """Return the ground reaction force of one foot [BW] (`FORCES`, lateral: outward); None without forces.

    Args:
        gait: The gait.
        side: r or l.
        points: Points of the cycle.
    """
    if side not in gait.forces:
        return None
    outward = np.array([1.0, 1.0, 1.0 if side == "r" else -1.0])  # the third axis points right
    weights = outward * gait.forces[side] / (gait.mass * GRAVITY)
    # Touch sensors measure only the vertical force: components that are always zero were not measured.
    measured = [i for i in range(3) if weights[:, i].any()]
    if not measured:
        return None
    names = tuple(FORCES[i] for i in measured)
    series = TimeSeries(gait.angles.time, weights[:, measured], names, ("BW",) * len(measured), gait.name)
    return cut_cycles(series, gait.contacts[side].starts, points=points)


def model_leg(embodiment: Embodiment) -> float:
    """Return the model's leg length, hip to ankle [m]."""
    data = mujoco.MjData(embodiment.model)
    mujoco.mj_kinematics(embodiment.model, data)
    return _leg_length(embodiment.model, data)


def _leg_length(model: mujoco.MjModel, data: mujoco.MjData) -> float:
    """Return the leg length from hip to ankle along the bones [m]."""
    hip, knee, ankle = (data.body(f"{name}_r").xpos for name in ("femur", "tibia", "talus"))
    return float(np.linalg.norm(hip - knee) + np.linalg.norm(knee - ankle))


def walking_bodies(embodiment: Embodiment) -> dict[str, int]:
    """Return name -> id of pelvis, heels and toes. Raises InputError for a body without them."""
    model, names = embodiment.model, ("pelvis", "calcn_r", "toes_r", "calcn_l", "toes_l")
    ids = {name: mujoco.mj_name2id(model, mujoco.mjtObj.mjOBJ_BODY, name) for name in names}
    if min(ids.values()) < 0:
        raise InputError(
            f"{embodiment.name} has no feet (bodies calcn_*, toes_*): gait analysis needs a full body; to compare the "
            "muscles of other bodies use tools/emg.py"
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
    angle_unit: str = "auto",
    leg_length: float = 0.0,
    force_rate: float = 0.0,
) -> tuple[Gait, np.ndarray]:
    """Analyse the gait of a coordinates file on the model, with inverse dynamics if there are forces.

    Args:
        embodiment: A body with pelvis and feet.
        motion: .mot, .sto or .mat file.
        forces: Ground forces of the same trial.
        mass: The subject's mass [kg]; 0: the model's.
        convention: Sign of knee flexion: rajagopal (+), gait2392 (-) or auto.
        swap_plates: Exchange right and left of a force file whose names identify the feet.
        cutoff: Low-pass before inverse dynamics [Hz].
        start: First time [s]; 0: the beginning. Only the time covered by both files is used.
        end: Last time [s]; 0: the end.
        threshold: Vertical force [N] above which a foot is on a plate.
        angle_unit: Unit of the motion's angles: deg, rad or auto.
        leg_length: The subject's, hip to ankle [m]; 0: estimated from the pelvis height.
        force_rate: Sampling rate of `forces` [Hz]; 0: as stated in the file.

    Returns:
        The gait and its qpos (T, nq).

    Raises:
        InputError: A file cannot be read, or the two share no time.
    """
    series, holes = complete(_with_root(read_series(motion, angle_unit=angle_unit)))
    measured = None
    if forces:
        measured, more = complete(read_series(forces, force_rate))
        holes += (*measured.notes, *more)
    at = _shared_time(motion, series, measured, start, end)
    rate = at.rate
    scale = model_leg(embodiment) / leg_length if leg_length else leg_scale(at, embodiment, convention)
    qpos, left_out = to_model(at, embodiment, convention, scale)
    notes = (*series.notes, *holes, *left_out)
    grounds, contacts, moments = {}, None, None
    if measured is not None:
        plates = plates_of_feet(measured, swap_plates, at.time, feet_in_ground(embodiment, qpos, scale))
        feet = plates.at(at.time)
        solved = inverse_dynamics(embodiment, qpos, rate, feet, (), scale, mass, cutoff, float(at.time[0]))
        moments, grounds = solved.moments, {side: foot.force for side, foot in feet.items()}
        contacts = _plate_contacts(plates, threshold)
        rms = np.sqrt(np.mean(solved.residual[:, :3] ** 2))
        residual = f"residual force at the pelvis {rms:.0f} N (root mean square), not explained by ground forces"
        notes = (*notes, *plates.notes, residual)
    gait = gait_of(embodiment, qpos, rate, Path(motion).stem, mass, moments, grounds, contacts, float(at.time[0]),
                   scale)  # fmt: skip
    notes = (*gait.notes, *notes, f"lengths scaled by {scale:.3f}, the model's leg length over the subject's")
    return replace(gait, notes=notes), qpos


def _plate_contacts(plates: PlatesOfFeet, threshold: float) -> dict[str, Contacts]:
    """Return side -> contacts over the whole force recording."""
    series = plates.series
    return {
        side: contacts_from_force(foot.force[:, 1], series.rate, threshold, start_time=float(series.time[0]),
                                  unfinished=True)
        for side, foot in plates.at(series.time).items()
    }  # fmt: skip


def _shared_time(
    motion: str | Path, series: TimeSeries, forces: TimeSeries | None, start: float, end: float
) -> TimeSeries:
    """Return the motion on a regular clock over the time covered by both files, within start to end [s]."""
    first = max(series.time[0], start or -np.inf, forces.time[0] if forces else -np.inf)
    last = min(series.time[-1], end or np.inf, forces.time[-1] if forces else np.inf)
    rate = min(series.rate, MAX_RATE)
    check_rate(rate, 10.0, str(motion))
    if last - first < 5 / rate:
        raise InputError(
            f"{motion}: {series.time[0]:g} to {series.time[-1]:g} s does not overlap its forces; check start=, end= "
            "and the clocks of both files"
        )
    return series.at(np.minimum(first + np.arange(int((last - first) * rate + 1e-6) + 1) / rate, series.time[-1]))


def _with_root(series: TimeSeries) -> TimeSeries:
    """Add zeros for horizontal pelvis coordinates that a treadmill recording omits."""
    absent = [name for name in ("pelvis_tx", "pelvis_tz") if name not in series]
    if not absent or "pelvis_ty" not in series:
        return series
    note = f"{series.source}: has no {' and '.join(absent)}: the pelvis stays in place, as on a treadmill"
    return replace(
        series,
        values=np.hstack((series.values, np.zeros((len(series.time), len(absent))))),
        names=(*series.names, *absent),
        units=(*series.units, *("m",) * len(absent)),
        notes=(*series.notes, note),
    )


def rollout_gait(embodiment: Embodiment, archive: RolloutArchive, episode: int) -> Gait:
    """Analyse the gait of an episode: joint moments of the muscles, vertical ground forces of the touch sensors.

    Strikes come from the touch sensors if each foot has two, else from the motion of the feet.

    Args:
        embodiment: The archive's body.
        archive: Rollouts.
        episode: Index of the episode.
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
    """Analyse the gait of the whole motion that an episode followed.

    Args:
        embodiment: The archive's body.
        archive: Rollouts.
        episode: Index of the episode.

    Raises:
        InputError: The episode followed no motion.
    """
    one = archive.episodes[episode]
    if not len(one.reference):
        raise InputError(
            f"{one.name} followed no motion, so there is no gait to compare with; use a rollout of an imitation task"
        )
    return gait_of(embodiment, one.reference.astype(float), 1.0 / archive.dt, f"{one.name} (followed)")


def angle_error(gait: Gait, other: Gait) -> float:
    """Return the mean per-joint angle error [deg] of the legs over the frames that both gaits have."""
    frames = min(len(gait.pelvis), len(other.pelvis))
    first, second = (one.angles.select(LEG_JOINTS).values[:frames] for one in (gait, other))
    return float(np.degrees(mpjae(first, second)))


def activation_series(archive: RolloutArchive, episode: int) -> TimeSeries:
    """Return the activations of an episode, one column per muscle, on the clock of its motion."""
    values = archive.episodes[episode].activation
    time = np.arange(len(values)) * archive.dt
    return TimeSeries(time, values, archive.muscle_names, ("",) * len(archive.muscle_names), archive.embodiment)


def muscle_moments(
    embodiment: Embodiment, archive: RolloutArchive, episode: int, joints: Sequence[str] = LEG_JOINTS
) -> TimeSeries | None:
    """Return the moments [Nm] of the muscles about independent joints, including those about coupled joints.

    The archive's forces are of the frame after each control step. None for an episode of fewer than 3 frames.

    Args:
        embodiment: The archive's body.
        archive: Rollouts.
        episode: Index of the episode.
        joints: J independent joints; those of the legs by default.
    """
    one = archive.episodes[episode]
    if len(one.qpos) < 3:
        return None
    independent = IndependentJoints(embodiment)
    forces = np.zeros((len(one.qpos) - 1, embodiment.num_qvel))
    forces[:, embodiment.joint_qvel_ids] = one.joint_force[:-1]
    totals = [
        independent.along(posture, joints).T @ force
        for posture, force in zip(one.qpos[1:].astype(float), forces, strict=True)
    ]
    time = one.reference_step[:-1] * archive.dt
    return TimeSeries(time, np.array(totals), tuple(joints), ("Nm",) * len(joints), one.name)


def body_of(archive: RolloutArchive) -> Embodiment:
    """Build the body of an archive. Raises InputError if this package has no such body."""
    if archive.embodiment not in EMBODIMENTS:
        raise InputError(f"the archive's body {archive.embodiment} is unknown; known: {', '.join(EMBODIMENTS)}")
    body = make_embodiment(archive.embodiment, **archive.embodiment_options)
    if (body.joint_names, body.muscle_names) != (archive.joint_names, archive.muscle_names):
        raise InputError(
            f"the archive's {archive.embodiment} has other joints or muscles than this version's; evaluate again"
        )
    return body
