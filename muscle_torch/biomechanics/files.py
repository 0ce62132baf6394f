"""`read_series(path)`: a recording of any format that is known here."""

from collections.abc import Callable
from pathlib import Path

from muscle_torch.errors import InputError

from .c3d import read_c3d_analog
from .series import TimeSeries
from .tables import read_csv, read_storage, write_csv, write_storage

READERS: dict[str, Callable[[Path, float], TimeSeries]] = {
    ".sto": lambda path, rate: read_storage(path),
    ".mot": lambda path, rate: read_storage(path),
    ".csv": read_csv,
    ".tsv": read_csv,
    ".txt": read_csv,
    ".c3d": lambda path, rate: read_c3d_analog(path),
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
