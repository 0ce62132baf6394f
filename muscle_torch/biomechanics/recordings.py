"""Recordings in files: OpenSim storage (.sto, .mot), CSV, C3D, MATLAB tables; read and written by suffix."""

import csv
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
from scipy.io import loadmat
from scipy.io.matlab import MatReadError

from muscle_torch.errors import InputError

from .c3d import read_c3d_analog
from .opensim_table import angles_in_degrees, rising_rows
from .series import TimeSeries

TIME_NAMES = ("time", "t", "time_s", "seconds", "time (s)", "time[s]", "time [s]")
UNIT = re.compile(r"^(.*?)\s*[\[(]([^\])]*)[\])]$")


def read_storage(path: str | Path) -> TimeSeries:
    """An OpenSim .sto or .mot file: a header up to `endheader`, then names, then rows (tabs, spaces or commas).

    Coordinate paths (`/jointset/hip_r/hip_flexion_r/value`) are shortened to the coordinate's name; speeds get the
    suffix `_speed`. Angles have the unit `deg` or `rad`, as `angles_in_degrees` decides, if the name tells an angle.
    Rows that repeat a time are left out (`rising_rows`).
    """
    path = Path(path)
    lines = _lines(path)
    end = next((i for i, line in enumerate(lines) if line.strip().rstrip(",").lower() == "endheader"), None)
    if end is None or end + 2 >= len(lines):
        raise InputError(f"{path}: no `endheader` line followed by a table: not an OpenSim storage file")
    names = [short_name(name) for name in _split(lines[end + 1])]
    values = _numbers(path, lines[end + 2 :], end + 3, len(names))
    degrees, _ = angles_in_degrees(lines[:end], dict(zip(names, values.T, strict=True)), str(path))
    if names[0].lower() in TIME_NAMES and np.isfinite(values[:, 0]).all():
        rows, time, _ = rising_rows(values[:, 0], str(path))
        values = np.column_stack((time, values[rows, 1:]))
    units = ["s", *(storage_unit(name, degrees) for name in names[1:])]
    return _series(path, names, units, values, 0.0)


def write_storage(path: str | Path, series: TimeSeries, name: str = "", degrees: bool = False) -> Path:
    """Writes a .sto or .mot file (version 1, tabs)."""
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
    """A table with one line of names; columns split by commas, semicolons, tabs or spaces.

    The time is the column called `time` (or `t`, `seconds`, ...); without one, rows are `rate` [Hz] apart.
    A time of whole numbers 1, 2, 3, ... counts samples and needs `rate` too. `name [unit]` gives a column its unit.
    """
    path = Path(path)
    lines = [line for line in _lines(path) if line.strip() and not line.startswith("#")]
    if len(lines) < 3:
        raise InputError(f"{path}: {max(len(lines) - 1, 0)} rows below the names, a recording needs at least 2")
    raw = _split(lines[0])
    units, names = [], []
    for name in raw:
        found = UNIT.match(name)
        names.append(found.group(1) if found and found.group(1) else name)
        units.append(found.group(2) if found and found.group(1) else "")
    if all(_is_number(name) for name in raw):
        raise InputError(f"{path}: the first line holds numbers; give the columns names there")
    values = _numbers(path, lines[1:], 2, len(names))
    if raw[0].lower() in TIME_NAMES or names[0].lower() in TIME_NAMES:
        names[0] = "time"
    return _series(path, names, units, values, rate)


def read_matlab(path: str | Path) -> TimeSeries:
    """A MATLAB file (up to version 7) with one table: a struct of `colheaders` and `data`, time first, as MATLAB's
    `importdata` makes of a storage file. Angles are degrees where the name tells an angle."""
    path = Path(path)
    if not path.is_file():
        raise InputError(f"{path}: no such file")
    try:
        stored = loadmat(path, squeeze_me=True, struct_as_record=False)
    except (ValueError, TypeError, NotImplementedError, MatReadError) as error:
        raise InputError(f"{path}: not a readable MATLAB file ({str(error).splitlines()[0]})") from None
    tables = [value for value in stored.values() if hasattr(value, "colheaders") and hasattr(value, "data")]
    if len(tables) != 1:
        raise InputError(f"{path}: {len(tables)} structs with colheaders and data, 1 is needed")
    names = [short_name(str(name)) for name in tables[0].colheaders]
    units = ["s", *(storage_unit(name, degrees=True) for name in names[1:])]
    return _series(path, names, units, np.atleast_2d(tables[0].data).astype(float), 0.0)


def write_csv(path: str | Path, series: TimeSeries) -> Path:
    """Writes `time` and the columns; units in square brackets."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    titles = [f"{n} [{u}]" if u else n for n, u in zip(series.names, series.units, strict=True)]
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["time", *titles])
        writer.writerows([f"{v:.10g}" for v in (t, *row)] for t, row in zip(series.time, series.values, strict=True))
    return path


READERS: dict[str, Callable[[Path, float], TimeSeries]] = {
    ".sto": lambda path, rate: read_storage(path),
    ".mot": lambda path, rate: read_storage(path),
    ".csv": read_csv,
    ".tsv": read_csv,
    ".txt": read_csv,
    ".c3d": lambda path, rate: read_c3d_analog(path),
    ".mat": lambda path, rate: read_matlab(path),
}
WRITERS: dict[str, Callable[[Path, TimeSeries], Path]] = {
    ".sto": write_storage,
    ".mot": write_storage,
    ".csv": write_csv,
}


def read_series(path: str | Path, rate: float = 0.0) -> TimeSeries:
    """Reads by suffix. `rate` [Hz] is for tables without a time column. Raises InputError for what cannot be read."""
    path = Path(path)
    if path.suffix.lower() not in READERS:
        raise InputError(f"{path}: cannot read {path.suffix or 'a file without suffix'}; known: {', '.join(READERS)}")
    return READERS[path.suffix.lower()](path, rate)


def write_series(path: str | Path, series: TimeSeries) -> Path:
    """Writes by suffix: .sto, .mot or .csv."""
    path = Path(path)
    if path.suffix.lower() not in WRITERS:
        raise InputError(f"{path}: cannot write {path.suffix or 'a file without suffix'}; known: {', '.join(WRITERS)}")
    return WRITERS[path.suffix.lower()](path, series)


def short_name(name: str) -> str:
    """`/jointset/hip_r/hip_flexion_r/value` -> `hip_flexion_r`; `.../speed` -> `..._speed`; others unchanged."""
    parts = name.strip().strip("/").split("/")
    if len(parts) > 1 and parts[-1] == "value":
        return parts[-2]
    if len(parts) > 1 and parts[-1] in ("speed", "activation"):
        return parts[-2] if parts[-1] == "activation" else f"{parts[-2]}_speed"
    return name.strip()


def storage_unit(name: str, degrees: bool) -> str:
    """The unit that OpenSim's naming gives a column; '' where it does not tell."""
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


def _lines(path: Path) -> list[str]:
    if not path.is_file():
        raise InputError(f"{path}: no such file")
    try:
        return path.read_text(encoding="utf-8-sig").splitlines()
    except UnicodeDecodeError:
        raise InputError(f"{path}: not a text file") from None


def _split(line: str) -> list[str]:
    for separator in ("\t", ";", ","):
        if separator in line:
            return [cell.strip().strip('"') for cell in line.rstrip("\r\n").rstrip(separator).split(separator)]
    return line.split()


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _numbers(path: Path, lines: list[str], first_line: int, columns: int) -> np.ndarray:
    """(T, C) of the rows; empty cells and NaN words become NaN."""
    rows = []
    for number, line in enumerate(lines, first_line):
        if not line.strip():
            continue
        cells = _split(line)
        # Trailing empty cells vanish in _split; a short row is missing values only where a separator shows it.
        if len(cells) < columns and line.count(",") + line.count("\t") + line.count(";") >= columns - 1:
            cells += [""] * (columns - len(cells))
        if len(cells) != columns:
            raise InputError(f"{path}: line {number} has {len(cells)} values, the names say {columns}")
        try:
            rows.append([float(cell) if cell else np.nan for cell in cells])
        except ValueError:
            bad = next(cell for cell in cells if cell and not _is_number(cell))
            raise InputError(f"{path}: line {number}: {bad!r} is not a number") from None
    return np.array(rows, dtype=float).reshape(-1, columns)


def _series(path: Path, names: list[str], units: list[str], values: np.ndarray, rate: float) -> TimeSeries:
    has_time = names[0].lower() in TIME_NAMES
    counts = has_time and len(values) > 1 and bool((np.diff(values[:, 0]) == 1.0).all())
    if has_time and not (counts and rate):
        if counts and values[-1, 0] > 600:
            raise InputError(f"{path}: the time column counts samples (1, 2, 3, ...): set the rate [Hz]")
        return TimeSeries(values[:, 0], values[:, 1:], tuple(names[1:]), tuple(units[1:]), str(path))
    if not rate:
        raise InputError(f"{path}: no column called time: add one [s] or set the rate [Hz]")
    first = 1 if has_time else 0
    return TimeSeries(
        np.arange(len(values)) / rate, values[:, first:], tuple(names[first:]), tuple(units[first:]), str(path)
    )
