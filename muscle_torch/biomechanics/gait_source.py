"""Where the cycles of a recording come from: a table of times, or a vertical force."""

from pathlib import Path

import numpy as np

from muscle_torch.errors import InputError

from .archive import Archive
from .c3d import read_c3d_vertical_forces
from .files import read_series
from .gait import Contacts, contacts_from_force
from .series import TimeSeries

START_NAMES = ("touchdown", "heelstrike", "heel_strike", "strike", "start", "foot_strike", "contact")
END_NAMES = ("liftoff", "toeoff", "toe_off", "end", "foot_off")
VERTICAL = {
    "r": ("r_ground_force_vy", "ground_force_r_vy", "ground_force_vy", "ground_force_1_vy", "fy1", "plate_1"),
    "l": ("l_ground_force_vy", "ground_force_l_vy", "1_ground_force_vy", "ground_force_2_vy", "fy2", "plate_2"),
}


def read_events(path: str | Path) -> Contacts:
    """Times [s] from a CSV with a column such as `touchdown_s`, and one such as `liftoff_s` where it is known."""
    path = Path(path)
    if not path.is_file():
        raise InputError(f"{path}: no such file")
    lines = [line.split(",") for line in path.read_text(encoding="utf-8-sig").splitlines() if line.strip()]
    names = [name.strip().lower() for name in lines[0]] if lines else []
    start = _column(names, START_NAMES)
    if start is None:
        raise InputError(f"{path}: no column of cycle starts, such as touchdown_s; it has {', '.join(names) or 'none'}")
    try:
        rows = np.array([[float(cell) for cell in line] for line in lines[1:]]).reshape(-1, len(names))
    except ValueError:
        raise InputError(f"{path}: every row needs {len(names)} numbers [s]") from None
    end = _column(names, END_NAMES)
    starts = rows[:, start]
    if len(starts) < 2 or (np.diff(starts) <= 0).any():
        raise InputError(f"{path}: at least 2 cycle starts, rising, are needed; found {len(starts)}")
    return Contacts(starts, rows[:, end] if end is not None else np.full(len(starts), np.nan))


def read_forces(path: str | Path, rate: float = 0.0) -> TimeSeries:
    """Force recordings of any format; of a C3D file the plates' vertical forces."""
    return read_c3d_vertical_forces(path) if Path(path).suffix.lower() == ".c3d" else read_series(path, rate)


def vertical_column(forces: TimeSeries, side: str, column: str = "") -> str:
    """The column of the vertical force under one foot: `column`, or the one usual names tell."""
    if column:
        forces.index(column)
        return column
    lower = {name.lower(): name for name in forces.names}
    for name in VERTICAL[side]:
        if name in lower:
            return lower[name]
    raise InputError(f"{forces.source}: which column is the vertical force? set force_column; it has "
                     f"{', '.join(forces.names[:12])}")  # fmt: skip


def force_contacts(forces: TimeSeries, side: str, column: str = "", threshold: float = 50.0) -> Contacts:
    """Contacts of one foot from a force recording."""
    name = vertical_column(forces, side, column)
    return contacts_from_force(forces[name], forces.rate, threshold, start_time=float(forces.time[0]))


def archive_contacts(archive: Archive, episode: int, side: str, threshold: float = 50.0) -> Contacts:
    """Contacts of one foot of the model, from its touch sensors (foot and toes)."""
    first = 0 if side == "r" else 2
    force = archive.episodes[episode].touch[:, first : first + 2].sum(axis=1)
    return contacts_from_force(force, 1.0 / archive.step, threshold)


def _column(names: list[str], wanted: tuple[str, ...]) -> int | None:
    return next((i for i, name in enumerate(names) if any(name.startswith(w) for w in wanted)), None)
