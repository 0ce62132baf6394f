"""Files of optical markers: .trc (text) and .c3d (binary)."""

from pathlib import Path
from typing import NamedTuple

import numpy as np

from muscle_torch.biomechanics.c3d import read_c3d_points
from muscle_torch.biomechanics.c3d_file import metres
from muscle_torch.biomechanics.text_tables import read_text
from muscle_torch.errors import InputError

from .clock import make_clock

HIDDEN = 1e6  # larger numbers denote a hidden marker; in millimetres this is a kilometre


class Markers(NamedTuple):
    """Content of a marker file."""

    labels: list[str]
    points: np.ndarray  # (T, M, 3) [m], NaN if hidden
    rate: float  # [Hz]
    notes: tuple[str, ...] = ()


def load_markers(path: Path, unit: float = 0.0, rate: float = 0.0) -> Markers:
    """Load a .trc or .c3d file.

    Args:
        path: The file.
        unit: Unit of length [m]; 0: as stated in the file.
        rate: Frame rate [Hz]; 0: as stated in the file.

    Raises:
        InputError: The file is damaged, or its unit or rate is unknown.
    """
    return load_trc(path, unit, rate) if path.suffix.lower() == ".trc" else load_c3d(path, unit, rate)


def load_trc(path: Path, unit: float = 0.0, rate: float = 0.0) -> Markers:
    """Load tab-separated markers. Empty cells, three zeros and numbers beyond `HIDDEN` are hidden markers.

    Args:
        path: The .trc file.
        unit: Unit of length [m]; 0: as stated in the file.
        rate: Frame rate [Hz]; 0: from the time column or the header.

    Raises:
        InputError: The file is damaged, or its unit or rate is unknown.
    """
    lines = read_text(path).splitlines()
    try:
        # Cells are separated by tabs, so a comma is a decimal comma.
        stated = lines[2].replace(",", ".").split()
        header = {key.lower(): value for key, value in zip(lines[1].split(), stated, strict=False)}
        stated_rate, stated_unit = float(header["datarate"]), header["units"]
        labels = [word.strip() for word in lines[3].split("\t")[2:] if word.strip()]
    except (IndexError, KeyError, ValueError) as error:
        raise InputError(f"{path}: not a .trc file, its header is incomplete ({error}); export it again") from None
    table = _table(lines[5:], 2 + 3 * len(labels), path)
    frames = int(float(header.get("numframes", len(table))))
    if len(table) < frames or not len(table):
        raise InputError(
            f"{path}: states {frames} frames but contains {len(table)}: the file is truncated; copy it again"
        )
    scale = unit or metres(stated_unit)
    if not scale:
        raise InputError(f"{path}: unknown unit of length {stated_unit!r}; set unit= to its size in metres")
    clock = make_clock(table[:, 0], table[:, 1], stated_rate, rate, str(path))
    points = table[:, 2:].reshape(len(table), len(labels), 3)
    hidden = (points == 0).all(axis=-1) | (np.abs(points) > HIDDEN).any(axis=-1) | np.isnan(points).any(axis=-1)
    points[hidden] = np.nan
    return Markers(labels, clock.place(points) * scale, clock.rate, clock.notes)


def _table(lines: list[str], columns: int, path: Path) -> np.ndarray:
    """Return the numbers (N, columns) of the rows below the header, from line 6; NaN for empty cells."""
    rows = []
    for number, line in enumerate(lines, start=6):
        cells = line.rstrip("\r\n").replace(",", ".").split("\t")[:columns]
        if not "".join(cells).strip():
            continue
        cells += [""] * (columns - len(cells))
        try:
            rows.append([float(cell) if cell.strip() else np.nan for cell in cells])
        except ValueError:
            raise InputError(f"{path}: line {number} contains something that is not a number; correct it") from None
    return np.array(rows).reshape(len(rows), columns)


def load_c3d(path: Path, unit: float = 0.0, rate: float = 0.0) -> Markers:
    """Load a binary C3D file.

    Args:
        path: The .c3d file.
        unit: Unit of length [m]; 0: as stated in the file.
        rate: Frame rate [Hz]; 0: as stated in the file.

    Raises:
        InputError: The file is damaged, or its unit or rate is unknown.
    """
    labels, points, stated_rate, _ = read_c3d_points(path, unit)
    if not rate and stated_rate <= 0:
        raise InputError(f"{path}: states a rate of {stated_rate:g} Hz; set rate= [Hz]")
    return Markers(list(labels), points, rate or stated_rate)
