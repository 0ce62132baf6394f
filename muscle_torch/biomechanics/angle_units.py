"""Unit of the angles in an OpenSim table: what its header states, checked against the size of the angles."""

import re
from pathlib import Path

import numpy as np

from muscle_torch.errors import InputError, nearest

# Joints that never bend beyond half a turn, unlike pelvis and shoulders.
BENDING = re.compile(
    r"(hip_(flexion|adduction|rotation)|knee_angle|ankle_angle|subtalar_angle|elbow_flex(ion)?"
    r"|lumbar_(extension|bending|rotation))(_[rl])?"
)
FLAG = re.compile(r"indegrees\s*[=:]?\s*(\w+)")
YES, NO = ("yes", "y", "true", "1"), ("no", "n", "false", "0")
TRAVEL = 0.3  # [m]; a body that travels this far bends its joints by more than 3 degrees
CHOICES = ("auto", "deg", "rad")


def stated_degrees(header: str) -> bool | None:
    """Return what a storage file's header states (`inDegrees=...` or a sentence); None if it states nothing."""
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
    """Return whether angles are in degrees, and notes on what was assumed.

    Args:
        path: The file, for messages.
        flag: What its header states; None if nothing, as in old motion files, which OpenSim reads as degrees.
        names: Coordinates, one per column of `values`.
        values: Angles in the file's unit, (T, C).
        choice: `deg` or `rad` to override; `auto` to use header and size.

    Raises:
        InputError: The header contradicts the size of the angles, or `choice` is unknown.
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
        return not small, (f"{path}: states no unit of angle: {joint} reaches {largest:.3g}, assumed to be {unit}",)
    if not flag and largest > np.pi:
        raise InputError(
            f"{path}: the header states radians, but {joint} reaches {largest:.3g}, which is impossible: if these are "
            "degrees, set angle_unit=deg or write inDegrees=yes into the header"
        )
    if not flag or not small:
        return flag, ()
    bend = f"{largest:.2g} ({joint})"
    message = f"{path}: the header states degrees, but no joint bends by more than {bend}: if these are radians,"
    pelvis = [values[:, i] for i, name in enumerate(names) if name in ("pelvis_tx", "pelvis_tz")]
    if any(np.ptp(position) > TRAVEL for position in pelvis):
        raise InputError(f"{message} set angle_unit=rad or write inDegrees=no into the header")
    return True, (f"{message} write inDegrees=no into the header",)
