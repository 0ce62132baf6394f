"""Readers: motion files to RawMotion. A new format is a function and a row in READERS."""

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
from .text_motion import count_motions, is_text_motion, read_text_motion
from .trajectory import count_clips as count_trajectories
from .trajectory import is_trajectory, read_trajectory


@dataclass(frozen=True)
class ReadOptions:
    """Properties that some files do not state, or state wrongly; an option that is set overrides the file.

    Attributes:
        unit: Unit of length [m]; 0: as stated in the file, or by the size of the body.
        rate: Frame rate [Hz]; 0: as stated in the file.
        smpl: Body model file or folder, for AMASS.
        markers: Role -> marker name.
        static: Static marker trial of the same subject (.trc, .c3d), for markers that the motion lacks.
        part: Index of the clip in a file with several.
        up: Vertical axis of the file: x, y, z, -x, -y or -z; "": by format, rest pose and motion.
        angle_unit: Unit of OpenSim coordinates: deg, rad, or auto (by header and size).
    """

    unit: float = 0.0
    rate: float = 0.0
    smpl: str = ""
    markers: dict[str, str] = field(default_factory=dict)
    static: str = ""
    part: int = 0
    up: str = ""
    angle_unit: str = "auto"


def _read_npz(path: Path, o: ReadOptions) -> RawMotion:
    if is_trajectory(path):
        return read_trajectory(path, o.part, o.unit, o.rate)
    if is_text_motion(path):
        return read_text_motion(path, o.part, o.unit, o.rate, o.up)
    return read_amass(path, o.smpl, o.unit, o.rate, o.up)


READERS: dict[str, Callable[[Path, ReadOptions], RawMotion]] = {
    ".npz": _read_npz,
    ".npy": lambda path, o: read_text_motion(path, o.part, o.unit, o.rate, o.up),
    ".amc": lambda path, o: read_asf_amc(path, o.unit, o.rate, o.up),
    ".bvh": lambda path, o: read_bvh(path, o.unit, o.rate, o.up),
    ".mot": lambda path, o: read_opensim(path, o.unit, o.rate, o.angle_unit),
    ".sto": lambda path, o: read_opensim(path, o.unit, o.rate, o.angle_unit),
    ".trc": lambda path, o: read_markers(path, o.unit, o.rate, o.markers, o.static, o.up),
    ".c3d": lambda path, o: read_markers(path, o.unit, o.rate, o.markers, o.static, o.up),
}


def count_clips(path: Path) -> int:
    """Return the number of clips in a file; 1 for formats that have one, and for damaged files."""
    suffix = path.suffix.lower()
    if suffix == ".npy":
        return count_motions(path)
    return max(count_trajectories(path), count_motions(path)) if suffix == ".npz" else 1


def read_motion(path: str | Path, options: ReadOptions | None = None) -> RawMotion:
    """Read and check a motion file.

    Args:
        path: The file; its suffix selects the reader.
        options: Properties that the file does not state, or states wrongly.

    Returns:
        Landmarks and orientations in metres, z up; `notes` lists what was changed or is uncertain.

    Raises:
        InputError: The file cannot be used; one line with the reason, the place and the remedy.
    """
    path = Path(path)
    if not path.is_file():
        raise InputError(f"motion file {path} does not exist (in {Path.cwd()})")
    if path.stat().st_size == 0:
        raise InputError(f"motion file {path} is empty; copy or export it again")
    reader = READERS.get(path.suffix.lower())
    if reader is None:
        raise InputError(f"{path}: no reader for {path.suffix or 'files without suffix'}; known: {', '.join(READERS)}")
    return check(reader(path, options or ReadOptions()))


__all__ = ["READERS", "ReadOptions", "count_clips", "read_motion"]
