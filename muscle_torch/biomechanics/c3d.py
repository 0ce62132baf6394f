"""C3D files: analog channels, markers and force plates. Needs the extra `biomech` (ezc3d)."""

from pathlib import Path
from typing import Any

import numpy as np

from muscle_torch.errors import InputError

from .series import TimeSeries


def read_c3d_analog(path: str | Path) -> TimeSeries:
    """Every analog channel, (T, C), in the units the file states; time starts where the recording does."""
    file = _open(path)
    analogs, header = file["data"]["analogs"][0], file["header"]
    if analogs.size == 0:
        raise InputError(f"{path}: holds no analog channels")
    rate = float(header["analogs"]["frame_rate"])
    labels = _texts(file, "ANALOG", "LABELS", len(analogs), "channel")
    units = _texts(file, "ANALOG", "UNITS", len(analogs), "")
    start = float(header["points"]["first_frame"]) / max(float(header["points"]["frame_rate"]), 1.0)
    return TimeSeries(start + np.arange(analogs.shape[1]) / rate, analogs.T, labels, units, str(path))


def read_c3d_markers(path: str | Path) -> TimeSeries:
    """Markers as columns `<label>_x/_y/_z` [m]; gaps are NaN. Axes are the laboratory's."""
    file = _open(path)
    points, header = file["data"]["points"][:3], file["header"]
    if points.size == 0:
        raise InputError(f"{path}: holds no markers")
    labels = _texts(file, "POINT", "LABELS", points.shape[1], "marker")
    scale = {"mm": 1e-3, "cm": 1e-2, "m": 1.0}.get(_texts(file, "POINT", "UNITS", 1, "mm")[0].lower(), 1e-3)
    rate = float(header["points"]["frame_rate"])
    time = (float(header["points"]["first_frame"]) + np.arange(points.shape[2])) / rate
    names = tuple(f"{label}_{axis}" for label in labels for axis in "xyz")
    return TimeSeries(
        time, scale * points.transpose(2, 1, 0).reshape(len(time), -1), names, ("m",) * len(names), str(path)
    )


def read_c3d_vertical_forces(path: str | Path) -> TimeSeries:
    """Vertical force on the body of every force plate [N], upwards positive, `plate_1`, `plate_2`, ...

    The file gives each plate six channels (types 2 and 4): the third is the vertical one; whether it counts down or
    up is told by its sign where it is largest. Raises InputError where the channels are volts.
    """
    file = _open(path)
    plates = file["parameters"].get("FORCE_PLATFORM", {})
    used = int(np.ravel(plates["USED"]["value"])[0]) if "USED" in plates and len(plates["USED"]["value"]) else 0
    if used == 0:
        raise InputError(f"{path}: names no force plates")
    analog = read_c3d_analog(path)
    channels = np.asarray(plates["CHANNEL"]["value"])
    columns = []
    for plate in range(used):
        index = int(channels[2, plate]) - 1
        if not 0 <= index < len(analog.names):
            raise InputError(f"{path}: plate {plate + 1} names analog channel {index + 1}, which is not in the file")
        column, unit = analog.values[:, index], analog.units[index]
        if unit.lower() in ("v", "mv", "volt", "volts"):
            raise InputError(f"{path}: plate {plate + 1} is in {unit}: export calibrated forces in newtons")
        columns.append(column if column.max() >= -column.min() else -column)
    names = tuple(f"plate_{i + 1}" for i in range(used))
    return TimeSeries(analog.time, np.stack(columns, axis=1), names, ("N",) * used, str(path))


def _open(path: str | Path) -> Any:
    if not Path(path).is_file():
        raise InputError(f"{path}: no such file")
    try:
        import ezc3d
    except ImportError:
        raise InputError("reading C3D needs ezc3d: pip install 'muscle_torch[biomech]'") from None
    try:
        return ezc3d.c3d(str(path))
    except (OSError, RuntimeError, ValueError) as error:
        raise InputError(f"{path}: not a readable C3D file ({str(error).splitlines()[0]})") from None


def _texts(file: Any, group: str, name: str, count: int, default: str) -> tuple[str, ...]:
    """`count` strings of a parameter; what is missing gets the default (numbered where it is a name)."""
    stored = file["parameters"].get(group, {}).get(name, {"value": []})["value"]
    given = [str(text).strip() for text in stored][:count]
    numbered = default in ("channel", "marker")
    return tuple(given + [f"{default}_{i + 1}" if numbered else default for i in range(len(given), count)])
