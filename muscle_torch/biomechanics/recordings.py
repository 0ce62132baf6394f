"""Recordings in files: OpenSim storage (.sto, .mot), CSV, C3D, MATLAB tables. The suffix selects the format."""

import csv
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
from scipy.io import loadmat
from scipy.io.matlab import MatReadError

from muscle_torch.errors import InputError

from .angle_units import angles_in_degrees, stated_degrees
from .c3d import read_c3d_analog
from .clocks import at_rate, with_clock
from .series import TimeSeries
from .text_tables import SAMPLE, Row, decimal_mark, numbers, read_table, read_text, separator_of, split


def read_storage(path: str | Path, rate: float = 0.0, angle_unit: str = "auto") -> TimeSeries:
    """Read an OpenSim .sto or .mot file: a header up to `endheader`, then names, then rows (tabs, spaces or commas).

    Coordinate paths (`/jointset/hip_r/hip_flexion_r/value`) are shortened to the coordinate's name; speeds get the
    suffix `_speed`. Columns named as angles get the unit `deg` or `rad`.

    Args:
        path: The file.
        rate: Sampling rate [Hz], overrides the time column; 0: use the column.
        angle_unit: deg, rad, or auto: as stated in the header, or else by the size of the angles.

    Raises:
        InputError: The file is not a storage file, or a cell is not a number.
    """
    path = Path(path)
    lines = read_text(path).splitlines()
    end = next((i for i, line in enumerate(lines) if line.strip().rstrip(",;\t ").lower() == "endheader"), None)
    body = [(n, line) for n, line in enumerate(lines, 1) if end is not None and n > end + 1 and line.strip(" \t\r,;")]
    if len(body) < 2:
        raise InputError(f"{path}: not an OpenSim storage file, it has no `endheader` line followed by a table")
    separator = separator_of([line for _, line in body[-SAMPLE:]])
    rows = [Row(n, split(line, separator)) for n, line in body]
    names = [short_name(name) for name in rows[0].cells]
    while names and not names[-1]:
        names.pop()
    values = numbers(path, rows[1:], len(names), decimal_mark(rows[1:], separator))
    degrees, notes = angles_in_degrees(path, stated_degrees("\n".join(lines[:end])), names, values, angle_unit)
    units = [storage_unit(name, degrees) for name in names]
    return with_clock(path, names, units, values, rate, notes)


def write_storage(path: str | Path, series: TimeSeries, name: str = "", degrees: bool = False) -> Path:
    """Write a .sto or .mot file (version 1, tabs).

    Args:
        path: The file.
        series: The columns.
        name: First line of the header; empty: the file's name.
        degrees: Whether the header states that angles are in degrees.

    Returns:
        The path.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    header = [
        name or path.stem,
        "version=1",
        f"nRows={len(series.time)}",
        f"nColumns={len(series.names) + 1}",
        f"inDegrees={'yes' if degrees else 'no'}",
        "endheader",
        "\t".join(("time", *series.names)),
    ]
    rows = [
        "\t".join(f"{value:.10g}" for value in (t, *row)) for t, row in zip(series.time, series.values, strict=True)
    ]
    path.write_text("\n".join((*header, *rows)) + "\n", encoding="utf-8")
    return path


def read_csv(path: str | Path, rate: float = 0.0) -> TimeSeries:
    """Read a text table with one line of names (dialects: see `text_tables`).

    The time is the column called `time` (or `t`, `seconds`, `time_ms`, ...), in the unit stated by its name, brackets
    or a row of units. `name [unit]` sets a column's unit.

    Args:
        path: The file.
        rate: Sampling rate [Hz], overrides the time column; needed if there is none, or if it counts samples.

    Raises:
        InputError: The file is not such a table, or has no usable clock.
    """
    table = read_table(path)
    return with_clock(Path(path), list(table.names), list(table.units), table.values, rate, table.notes)


def read_matlab(path: str | Path, rate: float = 0.0, angle_unit: str = "auto") -> TimeSeries:
    """Read a MATLAB file (up to version 7) with one table.

    The table is a struct of `colheaders` and `data`, time first, as created by MATLAB's `importdata` from a storage
    file.

    Args:
        path: The file.
        rate: Sampling rate [Hz], overrides the time column; 0: use the column.
        angle_unit: deg, rad, or auto: by the size of the angles.

    Raises:
        InputError: The file has another format.
    """
    path = Path(path)
    if not path.is_file():
        raise InputError(f"{path} does not exist (in {Path.cwd()})")
    try:
        stored = loadmat(path, squeeze_me=True, struct_as_record=False)
    except (ValueError, TypeError, NotImplementedError, MatReadError) as error:
        raise InputError(f"{path}: not a readable MATLAB file ({str(error).splitlines()[0]})") from None
    tables = [value for value in stored.values() if hasattr(value, "colheaders") and hasattr(value, "data")]
    if len(tables) != 1:
        raise InputError(f"{path}: {len(tables)} structs with colheaders and data; save exactly one")
    names = [short_name(str(name)) for name in tables[0].colheaders]
    values = np.atleast_2d(tables[0].data).astype(float)
    degrees, notes = angles_in_degrees(path, None, names, values, angle_unit)
    return with_clock(path, names, [storage_unit(name, degrees) for name in names], values, rate, notes)


def write_csv(path: str | Path, series: TimeSeries) -> Path:
    """Write `time` and the columns as CSV, with units in square brackets; return the path."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    titles = [f"{n} [{u}]" if u else n for n, u in zip(series.names, series.units, strict=True)]
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["time", *titles])
        writer.writerows([f"{v:.10g}" for v in (t, *row)] for t, row in zip(series.time, series.values, strict=True))
    return path


READERS: dict[str, Callable[[Path, float, str], TimeSeries]] = {
    ".sto": read_storage,
    ".mot": read_storage,
    ".csv": lambda path, rate, angle_unit: read_csv(path, rate),
    ".tsv": lambda path, rate, angle_unit: read_csv(path, rate),
    ".txt": lambda path, rate, angle_unit: read_csv(path, rate),
    ".c3d": lambda path, rate, angle_unit: at_rate(read_c3d_analog(path), rate),
    ".mat": read_matlab,
}
WRITERS: dict[str, Callable[[Path, TimeSeries], Path]] = {
    ".sto": write_storage,
    ".mot": write_storage,
    ".csv": write_csv,
}


def read_series(path: str | Path, rate: float = 0.0, angle_unit: str = "auto") -> TimeSeries:
    """Read a recording; the suffix selects the format.

    Args:
        path: .sto, .mot, .csv, .tsv, .txt, .c3d (analog channels) or .mat file.
        rate: Sampling rate [Hz], overrides the time column; 0: use the column. Needed for tables without a time column.
        angle_unit: Unit of the angles in .sto, .mot and .mat: deg, rad, or auto (as the header states).

    Returns:
        The columns over time; `notes` lists what was assumed.

    Raises:
        InputError: The file cannot be read; the message names the line or column.
    """
    path = Path(path)
    if path.suffix.lower() not in READERS:
        raise InputError(f"{path}: cannot read {path.suffix or 'a file without suffix'}; known: {', '.join(READERS)}")
    if rate < 0:
        raise InputError(f"rate={rate:g}: must be positive [Hz], or 0 to use the file's clock")
    return READERS[path.suffix.lower()](path, rate, angle_unit)


def write_series(path: str | Path, series: TimeSeries) -> Path:
    """Write a recording as .sto, .mot or .csv, by suffix; return the path. Raises InputError for other suffixes."""
    path = Path(path)
    if path.suffix.lower() not in WRITERS:
        raise InputError(f"{path}: cannot write {path.suffix or 'a file without suffix'}; known: {', '.join(WRITERS)}")
    return WRITERS[path.suffix.lower()](path, series)


def short_name(name: str) -> str:
    """Shorten a coordinate path such as `/jointset/hip_r/hip_flexion_r/value` to `hip_flexion_r`.

    Names of speeds get the suffix `_speed`; other names are unchanged.
    """
    parts = name.strip().strip("/").split("/")
    if len(parts) > 1 and parts[-1] == "value":
        return parts[-2]
    if len(parts) > 1 and parts[-1] in ("speed", "activation"):
        return parts[-2] if parts[-1] == "activation" else f"{parts[-2]}_speed"
    return name.strip()


def storage_unit(name: str, degrees: bool) -> str:
    """Return the unit implied by a column's OpenSim name; "" if unknown."""
    if name.endswith("_moment") or "torque" in name:
        return "Nm"
    if re.search(r"force_(.*_)?v[xyz]$", name) or name.endswith("_force"):
        return "N"
    if re.search(r"force_(.*_)?p[xyz]$", name) or re.search(r"_t[xyz]$", name):
        return "m"
    angles = ("tilt", "list", "rotation", "flexion", "adduction", "angle", "bending", "extension", "flex", "rot", "sup")
    if any(word in name for word in angles):
        return "deg" if degrees else "rad"
    return ""
