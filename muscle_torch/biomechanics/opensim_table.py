"""What the header of an OpenSim table (.mot, .sto) says of its angles, and rows that repeat a time."""

import re
from collections.abc import Mapping, Sequence

import numpy as np

from muscle_torch.errors import InputError

# Coordinates that are angles; the heading (pelvis_rotation) is left out, as it grows with every turn.
ANGLES = re.compile(
    r"(pelvis_(tilt|list)|hip_|knee_|ankle_|subtalar_|mtp_|lumbar_|arm_|elbow_|pro_sup|wrist_|shoulder_elv|plane_elv"
    r"|axial_rot|scapula_|ground_thorax_rot|thorax_(tilt|list)|sternoclavicular_|acromioclavicular_|shoulder\d_)"
)
NOT_ANGLES = re.compile(r"_(t[xyz]|moment|force|speed|beta|power|activation)$")
LARGEST_RADIANS = 2 * np.pi  # no joint turns farther
SMALLEST_DEGREES = 3.2  # in degrees, a motion whose joints all stay below this is none; in radians it is usual
COARSE = 0.1  # share of repeated times from which they come from rounding


def angles_in_degrees(header: Sequence[str], columns: Mapping[str, np.ndarray], where: str) -> tuple[bool, str]:
    """Decide whether the angles of a table are in degrees.

    Args:
        header: The lines above `endheader`.
        columns: Coordinate -> (T,) values.
        where: The file, for messages.

    Returns:
        Whether they are degrees, and a note if the header does not say so itself (else "").

    Raises:
        InputError: The header contradicts the size of the angles.
    """
    stated, peak, joint = _stated(header), *_peak(columns)
    derivative = any(word in " ".join(header[:1]).lower() for word in ("speed", "acceleration"))
    if joint and not derivative:
        if stated is False and peak > LARGEST_RADIANS:
            raise InputError(
                f"{where}: the header states radians (inDegrees=no), but {joint} reaches {peak:.3g}: these are "
                "degrees; write inDegrees=yes into the header"
            )
        if stated is True and 0 < peak < SMALLEST_DEGREES:
            raise InputError(
                f"{where}: the header states degrees, but no joint reaches {SMALLEST_DEGREES} ({joint} {peak:.2g}): "
                "these are radians; write inDegrees=no into the header"
            )
    if stated is not None:
        return stated, ""
    degrees = bool(joint) and peak > LARGEST_RADIANS
    if not joint:
        return degrees, ""
    return (
        degrees,
        f"the header has no inDegrees: taken for {'degrees' if degrees else 'radians'} by the size of angles",
    )


def rising_rows(time: np.ndarray, where: str) -> tuple[np.ndarray, np.ndarray, str]:
    """Find rows whose times rise strictly.

    Integrators write a time twice where an event changes the state, which the second row holds; and times with few
    digits repeat. The first kind of repetition is left out, the second kind gets an even clock.

    Args:
        time: (N,) [s].
        where: The file, for messages.

    Returns:
        The rows to keep (M,), their times (M,), and a note for the user ("" if all rows are kept as they are).

    Raises:
        InputError: The time goes back.
    """
    steps = np.diff(time)
    if (steps < 0).any():
        row = int(np.argmax(steps < 0))
        raise InputError(
            f"{where}: its time goes back from {time[row]:g} to {time[row + 1]:g} s after row {row + 1}; cut it there, "
            "or correct the time column"
        )
    if not (steps == 0).any():
        return np.arange(len(time)), time, ""
    if (steps == 0).mean() > COARSE and time[-1] > time[0]:
        even = np.linspace(time[0], time[-1], len(time))
        return np.arange(len(time)), even, f"{(steps == 0).sum()} rounded times repeat: rows are evenly spaced"
    kept = np.flatnonzero(np.append(steps > 0, True))
    return kept, time[kept], f"{len(time) - len(kept)} rows repeat the time of the next one and were left out"


def _stated(header: Sequence[str]) -> bool | None:
    """True for degrees, False for radians, None if the header is silent. Headers of SIMM mean degrees."""
    lines = [re.sub(r"[\s,]+", " ", line).strip().lower() for line in header]
    for line in lines:
        match = re.match(r"indegrees ?=? ?(\w+)", line)
        if match:
            return match[1] in ("yes", "y", "true", "1")
    for line in lines:
        if line.startswith("angles are in "):
            return "degree" in line
    simm = any(re.match(r"(datacolumns|datarows|otherdata)\b", line) for line in lines)
    return True if simm and not any(line.startswith("version") for line in lines) else None


def _peak(columns: Mapping[str, np.ndarray]) -> tuple[float, str]:
    """The largest angle, but for the tenth of the frames with larger ones, and its coordinate; (0, "") without any."""
    peaks = {
        name: float(np.nanquantile(np.abs(values), 0.9))
        for name, values in columns.items()
        if ANGLES.match(name) and not NOT_ANGLES.search(name) and np.isfinite(values).any()
    }
    joint = max(peaks, key=lambda name: peaks[name], default="")
    return peaks.get(joint, 0.0), joint
