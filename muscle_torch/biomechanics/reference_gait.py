"""Reference gait of one leg: angles and joint moments over the cycle, with the walking speed."""

import csv
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from muscle_torch.errors import InputError

from .gait import MOMENTS

JOINTS = {"hip": "hip_flexion", "knee": "knee_angle", "ankle": "ankle_angle"}  # joint in titles -> of the model
ANGLE = re.compile(r"(hip|knee|ankle)(?:_flexion|_dorsiflexion|_angle)?(?:_[rl])?(?:_| ?[\[(])(deg|rad)[\])]?")
MOMENT = re.compile(
    r"(hip|knee|ankle)(?:_flexion|_angle)?(?:_[rl])?_moment(?:_| ?[\[(])(Nm_kg|Nm/kg|N m/kg|Nm|N m)[\])]?"
)
PERCENT, SPEED, CONDITION = ("percent", "%", "cycle"), ("speed_m_s", "speed [m/s]", "speed"), ("condition", "trial")


@dataclass(frozen=True, eq=False)
class ReferenceGait:
    """Mean cycle of one leg from strike to strike, P points including both ends.

    Angles are positive for hip flexion, knee flexion and dorsiflexion, moments towards larger angles, once `with_signs`
    has checked them.
    """

    name: str
    percent: np.ndarray  # (P,) [%]
    angles: dict[str, np.ndarray]  # joint of the model (`MOMENTS`) -> (P,) [rad]
    moments: dict[str, np.ndarray]  # the same -> (P,) [Nm/kg], internal
    speed: float = float("nan")  # [m/s]
    stride_time: float = float("nan")  # [s]
    notes: tuple[str, ...] = ()

    def at(self, percent: np.ndarray) -> "ReferenceGait":
        """Return the curves interpolated at other positions (N,) [%] of the cycle."""
        curves = [
            {joint: np.interp(percent, self.percent, curve) for joint, curve in quantity.items()}
            for quantity in (self.angles, self.moments)
        ]
        return replace(self, percent=np.asarray(percent, dtype=float), angles=curves[0], moments=curves[1])


def read_gait_cycles(path: str | Path, mass: float = 0.0) -> list[ReferenceGait]:
    """Read a CSV of gait cycles: one row per percent of the cycle, several conditions below each other.

    Columns: `percent`; an angle and a moment of hip, knee and ankle, such as `hip_flexion_deg` and `hip_moment_Nm_kg`;
    optionally `condition` and `speed_m_s`. Signs are those of the file.

    Args:
        path: The file.
        mass: Of the subject, by which moments in Nm are divided [kg].

    Raises:
        InputError: A column is missing, or a value is not a number.
    """
    path = Path(path)
    if not path.is_file():
        raise InputError(f"{path} does not exist (in {Path.cwd()})")
    with path.open(newline="", encoding="utf-8-sig") as file:
        rows = list(csv.DictReader(file))
    titles = list(rows[0]) if rows else []
    percent = _title(path, titles, PERCENT, "the position in the cycle")
    condition = next((title for title in titles if title.lower() in CONDITION), "")
    groups: dict[str, list[dict[str, str]]] = {}
    for row in rows:
        groups.setdefault(row[condition] if condition else path.stem, []).append(row)
    return [_cycle(path, name, part, percent, mass) for name, part in groups.items()]


def _title(path: Path, titles: Sequence[str], names: Sequence[str], what: str) -> str:
    present = next((title for title in titles if title.strip().lower() in names), "")
    if not present:
        raise InputError(f"{path}: no column {names[0]!r} for {what}; its columns are {', '.join(titles) or 'missing'}")
    return present


def _cycle(path: Path, name: str, rows: list[dict[str, str]], percent: str, mass: float) -> ReferenceGait:
    angles: dict[str, np.ndarray] = {}
    moments: dict[str, np.ndarray] = {}
    for title in rows[0]:
        angle, moment = ANGLE.fullmatch(title.strip()), MOMENT.fullmatch(title.strip())
        if angle:
            values = _column(path, rows, title)
            angles[JOINTS[angle[1]]] = np.radians(values) if angle[2] == "deg" else values
        elif moment:
            per_mass = "kg" in moment[2]
            if not per_mass and not mass:
                raise InputError(f"{path}: {title} is not divided by body mass: set mass=<of the subject, kg>")
            moments[JOINTS[moment[1]]] = _column(path, rows, title) / (1.0 if per_mass else mass)
    for kind, curves in (("angle", angles), ("moment", moments)):
        missing = [joint for joint in MOMENTS if joint not in curves]
        if missing:
            raise InputError(f"{path}: no {kind} of {missing[0]}; name columns like hip_flexion_deg, hip_moment_Nm_kg")
    place = _column(path, rows, percent)
    if len(place) < 20 or (np.diff(place) <= 0).any() or abs(place[0]) > 1e-9 or abs(place[-1] - 100) > 1e-9:
        raise InputError(f"{path}: {percent} of {name} must rise from 0 to 100 in at least 20 rows")
    speed = next((title for title in rows[0] if title.strip().lower() in SPEED), "")
    return ReferenceGait(name, place, angles, moments, _column(path, rows, speed)[0] if speed else float("nan"))


def _column(path: Path, rows: list[dict[str, str]], title: str) -> np.ndarray:
    values = []
    for line, row in enumerate(rows):
        try:
            values.append(float(row[title]))
        except (TypeError, ValueError):
            raise InputError(f"{path}: row {line + 1}, {title}: {row[title]!r} is not a number") from None
    return np.array(values)
