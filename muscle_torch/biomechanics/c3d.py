"""C3D files: analog channels, markers and force plates. Requires the extra `biomech` (ezc3d)."""

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from muscle_torch.errors import InputError

from .c3d_file import metres, open_c3d, rate_of, texts
from .series import TimeSeries

PLATE_CHANNELS = {1: 6, 2: 6, 3: 8, 4: 6}  # force plate type -> number of analog channels
VOLTS = ("v", "mv", "volt", "volts")


class Points(NamedTuple):
    """Markers of a C3D file."""

    labels: tuple[str, ...]
    points: np.ndarray  # (T, M, 3) [m] in the laboratory frame, NaN if hidden
    rate: float  # [Hz]
    first_frame: int


def read_c3d_points(path: str | Path, unit: float = 0.0) -> Points:
    """Read the markers of a C3D file in the laboratory frame.

    A marker is hidden if its residual is negative or all its coordinates are 0.

    Args:
        path: The file.
        unit: Unit of length [m]; 0: as stated by POINT:UNITS, or millimetres if it is missing.

    Returns:
        Labels, positions, rate and the number of the first frame.

    Raises:
        InputError: The file cannot be read, contains no markers, or its unit of length is unknown.
    """
    file = open_c3d(path)
    points = file["data"]["points"][:3].transpose(2, 1, 0).astype(float)
    if points.size == 0:
        raise InputError(f"{path}: contains no markers; export it with point data")
    stated = (texts(file, "POINT", "UNITS") or [""])[0] or "mm"
    scale = unit or metres(stated)
    if scale is None:
        raise InputError(f"{path}: unknown unit of length {stated!r}; set unit= to its size in metres")
    hidden = (points == 0).all(axis=-1) | (file["data"]["meta_points"]["residuals"][0].T < 0)
    points[hidden] = np.nan
    labels = _filled(texts(file, "POINT", "LABELS"), points.shape[1], "marker_")
    return Points(labels, points * scale, rate_of(file), int(file["header"]["points"]["first_frame"]))


def read_c3d_analog(path: str | Path) -> TimeSeries:
    """Read all analog channels (T, C), in the units stated in the file; time begins with the recording.

    Raises:
        InputError: The file cannot be read or contains no analog channels.
    """
    return _analog(open_c3d(path), path)


def read_c3d_markers(path: str | Path) -> TimeSeries:
    """Read markers as columns `<label>_x/_y/_z` [m] in the laboratory frame; gaps are NaN.

    Raises:
        InputError: See `read_c3d_points`.
    """
    labels, points, rate, first = read_c3d_points(path)
    names = tuple(f"{label}_{axis}" for label in labels for axis in "xyz")
    time = (first + np.arange(len(points))) / rate
    return TimeSeries(time, points.reshape(len(points), -1), names, ("m",) * len(names), str(path))


def read_c3d_vertical_forces(path: str | Path) -> TimeSeries:
    """Read the vertical force of every force plate on the body [N], upwards positive: `plate_1`, `plate_2`, ...

    Plates of types 1 and 2 measure it in their third channel, type 3 in four channels (Fz1 to Fz4), type 4 through its
    calibration matrix. The sign is chosen such that the largest force is positive.

    Raises:
        InputError: There are no plates, a plate has another type or missing channels, or channels are in volts without
            a calibration matrix.
    """
    file = open_c3d(path)
    plates = file["parameters"].get("FORCE_PLATFORM", {})
    used = int((_values(plates, "USED") or [0])[0])
    if used == 0:
        raise InputError(f"{path}: defines no force plates; use a recording with FORCE_PLATFORM parameters")
    analog = _analog(file, path)
    columns = [_vertical(plates, plate, analog, path) for plate in range(used)]
    names = tuple(f"plate_{i + 1}" for i in range(used))
    return TimeSeries(analog.time, np.stack(columns, axis=1), names, ("N",) * used, str(path))


def _vertical(plates: Any, plate: int, analog: TimeSeries, path: str | Path) -> np.ndarray:
    """Return the vertical force (T,) [N], positive at its largest magnitude."""
    where = f"{path}: plate {plate + 1}"
    types = _values(plates, "TYPE")
    kind = int(types[plate]) if plate < len(types) else 2
    if kind not in PLATE_CHANNELS:
        known = ", ".join(map(str, PLATE_CHANNELS))
        raise InputError(f"{where} is of type {kind}, supported are {known}: export its forces as type 2, in newtons")
    channels = np.asarray(plates["CHANNEL"]["value"])
    count = PLATE_CHANNELS[kind]
    if channels.ndim != 2 or channels.shape[0] < count or channels.shape[1] <= plate:
        raise InputError(f"{where} is of type {kind} and needs {count} channels, but CHANNEL is {channels.shape}")
    ids = channels[:count, plate].astype(int) - 1
    for index in ids:
        if not 0 <= index < len(analog.names):
            raise InputError(f"{where} refers to analog channel {index + 1}, which is not in the file")
    unit = analog.units[int(ids[4 if kind == 3 else 2])]
    signals = analog.values[:, ids]
    matrix = _calibration(plates, plate) if kind == 4 else None
    if matrix is None and unit.lower() in VOLTS:
        raise InputError(f"{where} is in {unit}: export calibrated forces in newtons")
    if matrix is not None:
        force = signals @ matrix[2]
    else:
        force = signals[:, 4:8].sum(axis=1) if kind == 3 else signals[:, 2]
        force = force * (1000.0 if unit.lower() == "kn" else 1.0)
    return force if force.max() >= -force.min() else -force


def _calibration(plates: Any, plate: int) -> np.ndarray | None:
    """Return the matrix (6, 6) from channels to forces and moments of a type 4 plate; None if it is not stored."""
    stored = np.asarray(plates["CAL_MATRIX"]["value"] if "CAL_MATRIX" in plates else (), dtype=float)
    if stored.ndim == 2:
        stored = stored[..., None]
    is_complete = stored.ndim == 3 and stored.shape[:2] == (6, 6) and stored.shape[2] > plate
    return stored[..., plate] if is_complete else None


def _analog(file: Any, path: str | Path) -> TimeSeries:
    analogs, points = file["data"]["analogs"][0], file["header"]["points"]
    if analogs.size == 0:
        raise InputError(f"{path}: contains no analog channels; export it with analog data")
    frame_rate = rate_of(file)
    samples = analogs.shape[1] / max(file["data"]["points"].shape[2], 1)
    whole = frame_rate > 0 and samples >= 1
    rate = frame_rate * round(samples) if whole else float(file["header"]["analogs"]["frame_rate"])
    labels = _filled(texts(file, "ANALOG", "LABELS"), len(analogs), "channel_")
    units = texts(file, "ANALOG", "UNITS")[: len(analogs)]
    units += [""] * (len(analogs) - len(units))
    start = float(points["first_frame"]) / max(frame_rate, 1.0)
    return TimeSeries(start + np.arange(analogs.shape[1]) / rate, analogs.T, labels, tuple(units), str(path))


def _values(group: Any, name: str) -> list[float]:
    return np.ravel(group[name]["value"]).tolist() if name in group else []


def _filled(labels: list[str], count: int, prefix: str) -> tuple[str, ...]:
    """Return `count` labels; missing ones are numbered."""
    return tuple(labels[:count] + [f"{prefix}{i + 1}" for i in range(len(labels), count)])
