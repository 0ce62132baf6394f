"""Motion files -> RawMotion. A new format is a function and a row in READERS."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from muscle_torch.errors import InputError

from ..raw import RawMotion, check
from .amass import read_amass
from .asf_amc import read_asf_amc
from .bvh import read_bvh
from .markers import read_markers
from .opensim import read_opensim
from .trajectory import count_clips, is_trajectory, read_trajectory


@dataclass(frozen=True)
class ReadOptions:
    """What some files need and do not say."""

    unit: float = 0.0  # [m] of one unit of length; 0: as the file says, or by the size of the body
    rate: float = 0.0  # [Hz]; 0: as the file says
    smpl: str = ""  # body model file or folder, for AMASS
    markers: dict[str, str] = field(default_factory=dict)  # role -> marker name
    static: str = ""  # markers of the same subject standing (.trc, .c3d): shows what the motion lacks
    part: int = 0  # which clip of a trajectory file that holds several


READERS: dict[str, Callable[[Path, ReadOptions], RawMotion]] = {
    ".npz": lambda path, o: read_trajectory(path, o.part) if is_trajectory(path) else read_amass(path, o.smpl, o.rate),
    ".amc": lambda path, o: read_asf_amc(path, o.unit, o.rate),
    ".bvh": lambda path, o: read_bvh(path, o.unit, o.rate),
    ".mot": lambda path, o: read_opensim(path, o.rate),
    ".sto": lambda path, o: read_opensim(path, o.rate),
    ".trc": lambda path, o: read_markers(path, o.unit, o.markers, o.static),
    ".c3d": lambda path, o: read_markers(path, o.unit, o.markers, o.static),
}


def read_motion(path: str | Path, options: ReadOptions | None = None) -> RawMotion:
    """Reads and checks one file. Raises InputError, one line, for what cannot be used."""
    path = Path(path)
    if not path.is_file():
        raise InputError(f"motion file {path} does not exist")
    if path.stat().st_size == 0:
        raise InputError(f"motion file {path} is empty")
    reader = READERS.get(path.suffix.lower())
    if reader is None:
        raise InputError(f"{path}: no reader for {path.suffix or 'files without suffix'}; known: {', '.join(READERS)}")
    return check(reader(path, options or ReadOptions()))


__all__ = ["READERS", "ReadOptions", "count_clips", "read_motion"]
