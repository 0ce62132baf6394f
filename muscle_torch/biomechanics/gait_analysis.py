"""Gait of a motion of the model: events, angles, moments, forces, and the numbers of a walk."""

from dataclasses import dataclass, field

import mujoco
import numpy as np

from muscle_torch.embodiments import Embodiment
from muscle_torch.errors import InputError

from .coordinates import from_model
from .cycles import Cycles, cut_cycles, ordinary_durations
from .gait import Contacts, contacts_from_feet, heel_strikes
from .series import TimeSeries

GRAVITY = 9.81  # [m/s2]
ANGLES = ("hip_flexion", "hip_adduction", "hip_rotation", "knee_angle", "ankle_angle")
MOMENTS = ("hip_flexion", "knee_angle", "ankle_angle")
FORCES = ("fore-aft", "vertical", "lateral")


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
    """A motion (T, nq) of the model at `rate` [Hz]; contacts from the feet's motion unless given."""
    model, data = embodiment.model, mujoco.MjData(embodiment.model)
    ids = {body: model.body(body).id for body in ("pelvis", "calcn_r", "toes_r", "calcn_l", "toes_l")
           if _has_body(model, body)}  # fmt: skip
    if len(ids) < 5:
        raise InputError(f"{embodiment.name} has no feet (bodies calcn_*, toes_*): gait needs a full body")
    places = np.zeros((len(qpos), model.nbody, 3))
    for frame, posture in enumerate(qpos):
        data.qpos[:] = posture
        mujoco.mj_kinematics(model, data)
        places[frame] = data.xpos
    feet = {side: (places[:, ids[f"calcn_{side}"]], places[:, ids[f"toes_{side}"]]) for side in "rl"}
    pelvis = places[:, ids["pelvis"]]
    seen = contacts or {side: _late(contacts_from_feet(*feet[side], pelvis, rate), start) for side in "rl"}
    return Gait(
        name,
        from_model(qpos, embodiment, rate, start),
        feet,
        pelvis,
        mass or float(model.body_mass.sum()),
        _leg_length(model, data),
        moments,
        forces or {},
        seen,
    )


def strikes(gait: Gait, side: str) -> np.ndarray:
    """Times (N,) [s] at which the foot strikes; those without a toe-off in the recording too."""
    starts = gait.contacts[side].starts
    if len(starts) >= 2:
        return starts
    seen = heel_strikes(*gait.feet[side], gait.pelvis, gait.rate) + float(gait.angles.time[0])
    return seen if len(seen) > len(starts) else starts


def angle_cycles(gait: Gait, side: str, points: int = 101) -> Cycles:
    """Angles [deg] of one leg, columns `ANGLES`, over the cycle from strike to strike."""
    names = [f"{name}_{side}" for name in ANGLES]
    series = gait.angles.select(names)
    degrees = series.with_values(np.degrees(series.values), ("deg",) * len(names)).renamed(ANGLES)
    return cut_cycles(degrees, strikes(gait, side), points=points)


def moment_cycles(gait: Gait, side: str, points: int = 101) -> Cycles | None:
    """Sagittal moments [Nm/kg], positive as the angles; None without moments."""
    if gait.moments is None:
        return None
    series = gait.moments.select([f"{name}_{side}" for name in MOMENTS])
    scaled = series.with_values(series.values / gait.mass, ("Nm/kg",) * len(MOMENTS)).renamed(MOMENTS)
    return cut_cycles(scaled, strikes(gait, side), points=points)


def force_cycles(gait: Gait, side: str, points: int = 101) -> Cycles | None:
    """Ground reaction force in body weights, columns `FORCES`; None without forces."""
    if side not in gait.forces:
        return None
    weights = gait.forces[side] / (gait.mass * GRAVITY)
    # Touch sensors give the vertical force alone: what is nowhere but zero was not measured.
    seen = [i for i in range(3) if weights[:, i].any()]
    if not seen:
        return None
    names = tuple(FORCES[i] for i in seen)
    series = TimeSeries(gait.angles.time, weights[:, seen], names, ("BW",) * len(seen), gait.name)
    return cut_cycles(series, strikes(gait, side), points=points)


def walk_numbers(gait: Gait) -> list[tuple]:
    """Rows (quantity, right, left, unit). NaN where the recording is too short to tell."""
    rows: list[tuple] = []
    speed = _speed(gait)
    both = {side: strikes(gait, side) for side in "rl"}

    def mean(values: np.ndarray) -> float:
        return float(np.mean(values)) if len(values) else float("nan")

    strides = {side: np.diff(both[side])[ordinary_durations(np.diff(both[side]))] for side in "rl"}
    rows.append(("strides", len(strides["r"]), len(strides["l"]), ""))
    rows.append(("speed", speed, speed, "m/s"))
    rows.append(("speed over sqrt(g leg length)", *[float(speed / np.sqrt(GRAVITY * gait.leg_length))] * 2, ""))
    rows.append(("stride time", mean(strides["r"]), mean(strides["l"]), "s"))
    steps = step_lengths(gait)
    rows.append(("step length", mean(steps["r"]), mean(steps["l"]), "m"))
    shares = {side: gait.contacts[side].stance_share for side in "rl"}
    rows.append(("stance share", 100 * mean(shares["r"]), 100 * mean(shares["l"]), "% of stride"))
    for index, name in ((1, "peak vertical force"), (0, "peak propulsion")):
        if gait.forces and any(gait.forces[s][:, index].any() for s in "rl"):
            peaks = [float(gait.forces[s][:, index].max()) / gait.mass / GRAVITY for s in "rl"]
            rows.append((name, *peaks, "BW"))
    return rows


def step_lengths(gait: Gait) -> dict[str, np.ndarray]:
    """Side -> (N,) [m]: how far the heel is ahead of the other foot's heel when it strikes."""
    travel = (gait.pelvis[-1] - gait.pelvis[0])[:2]
    forward = travel / max(float(np.linalg.norm(travel)), 1e-9)
    found = {}
    for side, other in (("r", "l"), ("l", "r")):
        frames = np.round((strikes(gait, side) - gait.angles.time[0]) * gait.rate).astype(int)
        frames = frames[(frames >= 0) & (frames < len(gait.pelvis))]
        away = (gait.feet[side][0][frames] - gait.feet[other][0][frames])[:, :2] @ forward
        found[side] = away[away > 0.05]
    return found


def _speed(gait: Gait) -> float:
    seconds = float(gait.angles.time[-1] - gait.angles.time[0])
    return float(np.linalg.norm((gait.pelvis[-1] - gait.pelvis[0])[:2]) / seconds)


def _late(contacts: Contacts, start: float) -> Contacts:
    return Contacts(contacts.starts + start, contacts.ends + start, contacts.left_out)


def _leg_length(model: mujoco.MjModel, data: mujoco.MjData) -> float:
    """Hip to ankle along the bones [m]."""
    hip, knee, ankle = (data.body(f"{name}_r").xpos for name in ("femur", "tibia", "talus"))
    return float(np.linalg.norm(hip - knee) + np.linalg.norm(knee - ankle))


def _has_body(model: mujoco.MjModel, name: str) -> bool:
    return mujoco.mj_name2id(model, mujoco.mjtObj.mjOBJ_BODY, name) >= 0
