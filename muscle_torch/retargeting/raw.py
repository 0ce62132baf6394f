"""RawMotion: a recorded motion before retargeting. Named points in metres, and orientations if known.

World axes are x, y horizontal and z up. Body axes at rest (upright, feet forward): x forward, y left, z up.
"""

import dataclasses
from dataclasses import dataclass, field

import numpy as np
from scipy.interpolate import CubicSpline
from scipy.spatial.transform import Rotation, Slerp

from muscle_torch.errors import InputError

from .treadmill import belt_velocity

SIDES = ("left", "right")
ARM = ("shoulder", "elbow", "wrist", "hand")
LEG = ("hip", "knee", "ankle", "toe")
CENTRE = ("pelvis", "neck", "head")  # pelvis: midway between the hips; neck: at the level of the shoulders
LANDMARKS = (*CENTRE, *(f"{side}_{joint}" for side in SIDES for joint in (*ARM, *LEG)))
ORIENTED = ("pelvis", "thorax")
RATES = (5.0, 5000.0)  # [Hz]
SHORTEST = 0.2  # [s]
LONGEST_GAP = 0.25  # [s]; longer gaps are not filled
STILL = 0.03  # [m]; if nothing moves further, the recording is a static trial, in which a person sways
FASTEST = 12.5  # [m/s]; no person runs faster
BELT = 0.3  # [m/s]; if feet glide back faster under a stationary pelvis, it is a treadmill


@dataclass(frozen=True)
class RawMotion:
    """One recording of T frames.

    Attributes:
        name: Name of the recording.
        rate: Frame rate [Hz].
        positions: Landmark -> world position (T, 3) [m], NaN if hidden.
        orientations: "pelvis", "thorax" and, if known, arm segments ("left_hand", see arm_axes) -> (T, 3, 3) to world.
        rest: Landmark -> position upright in body axes (3,) [m], if known.
        subject: Name of the subject.
        source: File name.
        licence: Licence of the recording.
        notes: What was changed or is uncertain, for the user.
    """

    name: str
    rate: float
    positions: dict[str, np.ndarray] = field(default_factory=dict)
    orientations: dict[str, np.ndarray] = field(default_factory=dict)
    rest: dict[str, np.ndarray] = field(default_factory=dict)
    subject: str = ""
    source: str = ""
    licence: str = ""
    notes: tuple[str, ...] = ()

    @property
    def num_frames(self) -> int:
        """Number of frames T."""
        for group in (self.positions, self.orientations):
            for values in group.values():
                return len(values)
        return 0

    @property
    def duration(self) -> float:
        """Time from the first to the last frame [s]."""
        return (self.num_frames - 1) / self.rate


def check(raw: RawMotion) -> RawMotion:
    """Check a recording and fill short gaps. Raises InputError if it cannot be retargeted."""
    where = raw.source or raw.name
    unknown = set(raw.positions) - set(LANDMARKS)
    if unknown:
        raise InputError(f"{where}: unknown landmarks {sorted(unknown)}; known: {', '.join(LANDMARKS)}")
    if not RATES[0] <= raw.rate <= RATES[1]:
        raise InputError(f"{where}: the rate is {raw.rate:g} Hz, expected {RATES[0]:g} to {RATES[1]:g}; set rate=")
    if raw.duration < SHORTEST:
        raise InputError(
            f"{where}: lasts {max(raw.duration, 0):.3g} s at {raw.rate:g} Hz, a motion needs at least {SHORTEST} s; if "
            "the rate is wrong, set rate="
        )
    raw = _trimmed(raw, where)
    positions = {name: _filled(name, values, raw.rate, where) for name, values in raw.positions.items()}
    positions = {name: values for name, values in positions.items() if values is not None}
    turns = {name: _filled_turns(values, raw.rate, f"{where}: the {name}") for name, values in raw.orientations.items()}
    raw = dataclasses.replace(raw, positions=positions, orientations=turns)
    _check_size(raw, where)
    _check_sides(raw, where)
    _check_speed(raw, where)
    moved = [np.ptp(v, axis=0).max() for v in positions.values()]
    if max(moved, default=0.0) < STILL:
        raise InputError(f"{where}: a static trial, nothing moves by more than {1000 * STILL:.0f} mm; use a motion")
    return _over_ground(raw)


def _over_ground(raw: RawMotion) -> RawMotion:
    """Convert walking on a treadmill to walking over ground, because the simulated floor does not move."""
    joint = "toe" if {"left_toe", "right_toe"} <= raw.positions.keys() else "ankle"
    feet = [raw.positions[f"{side}_{joint}"] for side in SIDES if f"{side}_{joint}" in raw.positions]
    if len(feet) < 2 or "pelvis" not in raw.positions:
        return raw
    belt = belt_velocity(feet, raw.rate)
    pelvis = (raw.positions["pelvis"][-1] - raw.positions["pelvis"][0])[:2] / raw.duration
    speed = float(np.linalg.norm(belt))
    if speed < BELT or np.linalg.norm(pelvis) > 0.25 * speed:
        return raw
    shift = np.zeros((raw.num_frames, 3))
    shift[:, :2] = -belt * (np.arange(raw.num_frames) / raw.rate)[:, None]
    moved = {name: values + shift for name, values in raw.positions.items()}
    return dataclasses.replace(
        raw, positions=moved, notes=(*raw.notes, f"treadmill speed of {speed:.2f} m/s added, as if over ground")
    )


def at_rate(raw: RawMotion, rate: float) -> RawMotion:
    """Resample to `rate` [Hz] with cubic splines and slerp; the new clock ends at or before the last frame."""
    if abs(raw.rate - rate) < 1e-6 * rate:
        return dataclasses.replace(raw, rate=rate)
    old = np.arange(raw.num_frames) / raw.rate
    new = np.arange(int(np.floor(raw.duration * rate + 1e-6)) + 1) / rate
    new = np.minimum(new, old[-1])

    def splined(values: np.ndarray) -> np.ndarray:
        return CubicSpline(old, values, axis=0)(new)

    return dataclasses.replace(
        raw,
        rate=rate,
        positions={name: splined(values) for name, values in raw.positions.items()},
        orientations={n: Slerp(old, Rotation.from_matrix(v))(new).as_matrix() for n, v in raw.orientations.items()},
    )


def _trimmed(raw: RawMotion, where: str) -> RawMotion:
    """Cut both ends at which a landmark is hidden that is visible elsewhere."""
    visible = np.ones(raw.num_frames, dtype=bool)
    for values in (*raw.positions.values(), *raw.orientations.values()):
        finite = np.isfinite(values.reshape(len(values), -1)).all(axis=1)
        if finite.any():
            visible &= finite
    whole = np.flatnonzero(visible)
    if not len(whole) or (whole[-1] - whole[0]) / raw.rate < SHORTEST:
        raise InputError(f"{where}: the landmarks are never all visible for {SHORTEST} s; fill the gaps first")
    cut = slice(int(whole[0]), int(whole[-1]) + 1)
    return dataclasses.replace(
        raw,
        positions={name: values[cut] for name, values in raw.positions.items()},
        orientations={name: values[cut] for name, values in raw.orientations.items()},
    )


def _filled_turns(values: np.ndarray, rate: float, what: str) -> np.ndarray:
    """Fill short gaps in rotations (T, 3, 3) by slerp."""
    finite = np.isfinite(values).all(axis=(1, 2))
    if finite.all():
        return values
    frames = np.arange(len(values))
    if np.diff(frames[finite]).max(initial=0) > LONGEST_GAP * rate + 1:
        raise InputError(f"{what} is hidden for more than {LONGEST_GAP} s; fill the gap, or cut there")
    return Slerp(frames[finite], Rotation.from_matrix(values[finite]))(frames).as_matrix()


def _filled(name: str, values: np.ndarray, rate: float, where: str) -> np.ndarray | None:
    """Fill gaps up to LONGEST_GAP with a spline, and extend the ends. None if the landmark is always hidden."""
    visible = np.asarray(np.isfinite(values).all(axis=1))
    if visible.all():
        return values
    if not visible.any():
        return None
    edges = np.flatnonzero(np.diff(np.concatenate(([True], visible, [True])).astype(int)))
    longest = int((edges[1::2] - edges[::2]).max())
    if longest > LONGEST_GAP * rate:
        raise InputError(
            f"{where}: {name} is missing for {longest / rate:.2f} s (only gaps up to {LONGEST_GAP} s are filled); "
            "fill the gap, or cut the recording there"
        )
    frames = np.arange(len(values))
    spline = CubicSpline(frames[visible], values[visible], axis=0)
    known = np.flatnonzero(visible)
    inside = np.clip(frames, known[0], known[-1])
    return np.where(visible[:, None], values, spline(inside))


def leg_length(positions: dict[str, np.ndarray]) -> float | None:
    """Return the length of thigh plus shank, averaged over both legs [m]; None without legs."""
    sides = [side for side in SIDES if all(f"{side}_{joint}" in positions for joint in LEG[:3])]
    if not sides:
        return None
    return float(np.mean([segment(positions, side, "hip", "knee") + segment(positions, side, "knee", "ankle")
                          for side in sides]))  # fmt: skip


def segment(positions: dict[str, np.ndarray], side: str, start: str, end: str) -> float:
    """Return the median distance between two landmarks of a side [m].

    Args:
        positions: Landmark -> (T, 3) [m].
        side: "left" or "right".
        start: Joint at one end.
        end: Joint at the other end.
    """
    offset = positions[f"{side}_{end}"] - positions[f"{side}_{start}"]
    return float(np.median(np.linalg.norm(offset, axis=-1)))


def _check_size(raw: RawMotion, where: str) -> None:
    leg = leg_length(raw.positions)
    arms = [segment(raw.positions, s, "shoulder", "elbow") for s in SIDES
            if {f"{s}_shoulder", f"{s}_elbow"} <= raw.positions.keys()]  # fmt: skip
    size, usual, part = (leg, (0.4, 1.3), "leg") if leg else (np.mean(arms), (0.13, 0.5), "upper arm") if arms else (
        None, (0, 0), "")  # fmt: skip
    if size is not None and not usual[0] <= size <= usual[1]:
        raise InputError(
            f"{where}: the {part} would be {size:.3g} m long, so the positions are not in metres (or the file states "
            "a wrong unit); set unit= to the size of one unit in metres, such as unit=0.001"
        )


def _check_sides(raw: RawMotion, where: str) -> None:
    """Reject a mirrored body, detected from hips, spine and feet independently of the axes."""
    p = raw.positions
    if not {"neck", *(f"{side}_{joint}" for side in SIDES for joint in ("hip", "ankle", "toe"))} <= p.keys():
        return
    hips, ankles = ((p[f"left_{joint}"] + p[f"right_{joint}"]) / 2 for joint in ("hip", "ankle"))
    up = _directions(p["neck"] - hips) + _directions(hips - ankles)
    forward = np.cross(p["left_hip"] - p["right_hip"], up)
    feet = sum(p[f"{side}_toe"] - p[f"{side}_ankle"] for side in SIDES)
    if np.median(np.sum(forward * feet, axis=1)) < 0:
        raise InputError(
            f"{where}: the feet point backwards, so the body is mirrored: either the names of left and right are "
            "swapped (exchange them), or the axes are left-handed (change the sign of one axis)"
        )


def _check_speed(raw: RawMotion, where: str) -> None:
    """Reject a body that is faster than a person for a quarter of the recording; single frames may be glitches."""
    if "pelvis" not in raw.positions:
        return
    speed = np.linalg.norm(np.diff(raw.positions["pelvis"], axis=0), axis=1) * raw.rate
    fast = float(np.quantile(speed, 0.75))
    if fast > FASTEST:
        raise InputError(
            f"{where}: the body travels at {fast:.3g} m/s, but no person runs faster than {FASTEST:g}: the rate "
            f"({raw.rate:g} Hz) or the unit of the root's translation is wrong; set rate= or unit="
        )


def _directions(vectors: np.ndarray) -> np.ndarray:
    return vectors / np.maximum(np.linalg.norm(vectors, axis=-1, keepdims=True), 1e-12)
