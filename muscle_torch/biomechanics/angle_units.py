"""Whether the angles of an OpenSim table are degrees or radians: what its header states, held against their size."""

import re
from pathlib import Path

import numpy as np

from muscle_torch.errors import InputError, nearest

# Joints that no body bends beyond half a turn. Pelvis and shoulders may turn further.
BENDING = re.compile(
    r"(hip_(flexion|adduction|rotation)|knee_angle|ankle_angle|subtalar_angle|elbow_flex(ion)?"
    r"|lumbar_(extension|bending|rotation))(_[rl])?"
)
FLAG = re.compile(r"indegrees\s*[=:]?\s*(\w+)")
YES, NO = ("yes", "y", "true", "1"), ("no", "n", "false", "0")
TRAVEL = 0.3  # [m]; who gets so far bends joints by more than 3 degrees
CHOICES = ("auto", "deg", "rad")


def stated_degrees(header: str) -> bool | None:
    """Return what a storage file's header says: `inDegrees=...` or a sentence; None if it says nothing."""
    header = header.lower()
    line = FLAG.search(header)
    if line and line.group(1) in (*YES, *NO):
        return line.group(1) in YES
    if "angles are in degrees" in header:
        return True
    return False if "angles are in radians" in header else None


def angles_in_degrees(
    path: Path, flag: bool | None, names: list[str], values: np.ndarray, choice: str = "auto"
) -> tuple[bool, tuple[str, ...]]:
    """Return whether angles are degrees, and in words what was assumed.

    Args:
        path: the file, for messages.
        flag: what its header says; None if nothing, as in the old motion files that OpenSim takes for degrees.
        names: coordinates, one a column of `values` (T, C).
        values: angles in the file's unit.
        choice: `deg` or `rad` decides; `auto` leaves it to header and size.

    Raises:
        InputError: the header contradicts the size of the angles, or `choice` is unknown.
    """
    if choice not in CHOICES:
        raise InputError(f"angle_unit={choice!r}{nearest(choice, CHOICES)}")
    if choice != "auto":
        return choice == "deg", ()
    columns = [i for i, name in enumerate(names) if BENDING.fullmatch(name)]
    if not columns:
        return bool(flag), ()
    sizes = np.nanmax(np.abs(values[:, columns]), axis=0, initial=0.0)
    largest = float(sizes.max())
    joint = names[columns[int(sizes.argmax())]]
    small = 0.0 < largest <= np.pi
    if flag is None:
        unit = "radians" if small else "degrees"
        return not small, (f"{path}: says no unit of its angles: {joint} reaches {largest:.3g}, taken for {unit}",)
    if not flag and largest > np.pi:
        raise InputError(
            f"{path}: the header says radians, but {joint} reaches {largest:.3g}, which no joint does: degrees? "
            "set angle_unit=deg, or write inDegrees=yes into the header"
        )
    if not flag or not small:
        return flag, ()
    message = f"{path}: the header says degrees, but no joint bends by more than {largest:.2g} ({joint}): radians?"
    place = [values[:, i] for i, name in enumerate(names) if name in ("pelvis_tx", "pelvis_tz")]
    if any(np.ptp(path_) > TRAVEL for path_ in place):
        raise InputError(f"{message} set angle_unit=rad, or write inDegrees=no into the header")
    return True, (f"{message} then write inDegrees=no into the header",)
