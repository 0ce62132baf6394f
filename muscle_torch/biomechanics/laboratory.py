"""Laboratory recordings of one trial: a folder with motion, force plates, joint moments and EMG, on one clock.

Files are identified by their columns. A clip retargeted from the trial does not store which part of the trial it
covers, so its first frame is placed at the time at which its joint angles agree best with the recorded ones.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from muscle_torch.errors import InputError

from .coordinates import in_model_signs, knee_convention
from .emg import EmgSettings, envelopes
from .emg_map import MuscleMap, muscle_columns
from .gait_events import contacts_from_force
from .plates import force_plates, vertical_columns
from .recordings import read_series
from .series import TimeSeries, complete

SUFFIXES = (".sto", ".mot", ".csv", ".mat")
MATCHED = tuple(f"{joint}_{side}" for joint in ("hip_flexion", "knee_angle", "ankle_angle") for side in "rl")
SAME = 4.0  # [deg] RMS difference between the angles of clip and trial: 2 for the same trial, 6 or more otherwise
CLOCK_STEP = 0.001  # [s]
OVERLAP = 0.5  # minimal overlap, as a fraction of the shorter of clip and trial
GRAVITY = 9.81  # [m/s2]
CARRIED = 0.4  # fraction of the median force of all plates; below, a foot is off the plates
# Kind -> description for messages, and the key that sets its file.
KINDS = {"motion": ("motion (pelvis_tx, hip_flexion_r, ...)", "motion"),
         "forces": ("force plates (ground_force_r_vy, ...)", "forces"),
         "moments": ("joint moments (hip_flexion_r_moment, ...)", "moments"),
         "emg": ("EMG (soleus, ...)", "emg")}  # fmt: skip


@dataclass(frozen=True, eq=False)
class Laboratory:
    """Recordings of one trial, on the trial's clock; None if not recorded."""

    folder: Path
    files: dict[str, Path]  # kind -> file
    angles: TimeSeries  # [rad], with the model's signs and names
    forces: TimeSeries | None
    moments: TimeSeries | None  # [Nm], with the model's signs and names
    emg: TimeSeries | None  # envelopes named `<muscle>_<side>`
    notes: tuple[str, ...]


@dataclass(frozen=True)
class Clock:
    """Alignment of a clip with its trial."""

    start: float  # time of the trial at the clip's first frame [s]
    rms: float  # RMS difference of the joint angles [deg]


def read_laboratory(
    folder: str | Path, table: MuscleMap, files: Mapping[str, str] | None = None, side: str = "r",
    convention: str = "auto",
) -> Laboratory:  # fmt: skip
    """Read the folder of a trial.

    Args:
        folder: Contains .sto, .mot, .csv or .mat files, identified by their columns.
        table: Names of EMG channels.
        files: Kind (motion, forces, moments, emg) -> file, for files elsewhere or if there are several of a kind.
        side: Side of EMG channels whose name contains none.
        convention: Sign of knee flexion: rajagopal (+), gait2392 (-) or auto.

    Raises:
        InputError: The folder is missing, contains no motion, nothing to compare with, or several files of a kind.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise InputError(
            f"trial={folder} is not a folder; set it to the one with the trial's motion, plates, moments and EMG"
        )
    recordings, notes = _by_kind(folder, table, files or {}, side)
    series = {kind: one for kind, (_, one) in recordings.items()}
    if "motion" not in series:
        raise InputError(
            f"trial={folder}: no file contains the {KINDS['motion'][0]} that defines the clock; set motion="
        )
    absent = [kind for kind in KINDS if kind not in series]
    if len(absent) == len(KINDS) - 1:
        raise InputError(
            f"trial={folder} contains a motion but no force plates, joint moments or EMG to compare with; set forces=, "
            "moments= or emg="
        )
    notes += [f"trial={folder}: no {KINDS[kind][0]}, not compared; set {KINDS[kind][1]}=" for kind in absent]
    motion, cut = complete(series["motion"])
    knee = knee_convention(motion, convention)
    emg = None
    if "emg" in series:
        mapped, unknown = muscle_columns(series["emg"], table, side)
        processed = envelopes(mapped, EmgSettings(normalise="none"))
        emg, notes = processed.series, [*notes, *unknown, *(f"EMG: {note}" for note in processed.left_out)]
    moments = in_model_signs(series["moments"], knee) if "moments" in series else None
    paths = {kind: path for kind, (path, _) in recordings.items()}
    return Laboratory(folder, paths, in_model_signs(motion, knee), series.get("forces"), moments, emg, (*notes, *cut))


def find_clock(laboratory: Laboratory, angles: TimeSeries, name: str) -> Clock:
    """Align a clip with its trial.

    Args:
        laboratory: The trial.
        angles: Joint angles of the clip, from 0 s on.
        name: Name of the clip, for the error message.

    Raises:
        InputError: The clip is of another motion: its angles are nowhere within 4 degrees of the recorded ones.
    """
    recorded = laboratory.angles
    names = [joint for joint in MATCHED if joint in recorded and joint in angles]
    if not names:
        raise InputError(f"{recorded.source}: no hip, knee or ankle flexion to align {name} with, e.g. hip_flexion_r")
    clip, length = angles.select(names), float(angles.time[-1] - angles.time[0])
    shared = OVERLAP * min(length, float(recorded.time[-1] - recorded.time[0]))
    starts = np.arange(recorded.time[0] + shared - length, recorded.time[-1] - shared + CLOCK_STEP / 2, CLOCK_STEP)
    if length <= float(recorded.time[-1] - recorded.time[0]):  # a clip no longer than the trial was cut from it
        inside = starts[(starts >= recorded.time[0] - 1e-9) & (starts + length <= recorded.time[-1] + 1e-9)]
        starts = inside if len(inside) else starts
    there = recorded.select(names)
    rms = [float(np.sqrt(np.nanmean((there.at(start + clip.time).values - clip.values) ** 2))) for start in starts]
    best = int(np.argmin(rms))
    clock = Clock(float(starts[best]), float(np.degrees(rms[best])))
    if clock.rms > SAME:
        raise InputError(
            f"{name} is not a clip of trial={laboratory.folder}: its angles differ by at least {clock.rms:.1f} deg "
            f"from the recorded ones (limit {SAME:g}); set the trial that it was retargeted from"
        )
    return clock


def subject_mass(laboratory: Laboratory) -> float:
    """Return the subject's mass [kg] from the mean vertical force of all plates over complete strides.

    Raises:
        InputError: There are no plates, or no complete stride on them.
    """
    mass = _mass_on_plates(laboratory.forces) if laboratory.forces is not None else 0.0
    if not mass:
        raise InputError(f"trial={laboratory.folder}: the subject's mass is unknown, because no complete stride is on "
                         "force plates; set mass=<kg>")  # fmt: skip
    return mass


def _mass_on_plates(forces: TimeSeries) -> float:
    """Return the mass [kg]; 0 if part of every stride is off the plates."""
    vertical = [np.maximum(np.nan_to_num(forces[name]), 0.0) for name in vertical_columns(forces).values()]
    strikes = np.concatenate([contacts_from_force(up, forces.rate, unfinished=True).starts for up in vertical])
    if len(strikes) < 2:
        return 0.0
    total = np.sum(vertical, axis=0)
    count = round(2 * float(np.median(np.diff(np.sort(strikes)))) * forces.rate)  # a stride is two steps
    carried = total > CARRIED * np.median(total[total > CARRIED * total.max()])
    if not 0 < count < len(total):
        return 0.0
    means = np.convolve(total, np.full(count, 1 / count), "valid")
    whole = np.convolve(carried, np.ones(count), "valid") > count - 0.5
    return float(np.median(means[whole])) / GRAVITY if whole.any() else 0.0


def _by_kind(
    folder: Path, table: MuscleMap, files: Mapping[str, str], side: str
) -> tuple[dict[str, tuple[Path, TimeSeries]], list[str]]:
    """Return kind -> file and recording, and notes on unused files."""
    recordings = {kind: (Path(path), read_series(path)) for kind, path in files.items() if path}
    several: dict[str, list[Path]] = {}
    notes: list[str] = []
    for path in sorted(folder.iterdir()):
        if path.suffix.lower() not in SUFFIXES or path in [one for one, _ in recordings.values()]:
            continue
        try:
            series = read_series(path)
        except InputError as error:
            notes.append(f"not read: {error}")
            continue
        kind = _kind(series, table, side)
        if kind is None:
            notes.append(f"{path.name}: not a motion, force plates, joint moments or EMG")
        elif not files.get(kind):
            several.setdefault(kind, []).append(path)
            recordings[kind] = (path, series)
    for kind, paths in several.items():
        if len(paths) > 1:
            names = " and ".join(path.name for path in paths)
            raise InputError(f"trial={folder} contains {KINDS[kind][0]} in {names}: choose one with {KINDS[kind][1]}=")
    return recordings, notes


def _kind(series: TimeSeries, table: MuscleMap, side: str) -> str | None:
    """Return the kind of a recording by its columns; None if unknown."""
    if any(name.endswith("_moment") for name in series.names):
        return "moments"
    if any(plate.force[1] for plate in force_plates(series)):
        return "forces"
    if "pelvis_tx" in series and any(name in series for name in MATCHED):
        return "motion"
    try:
        muscle_columns(series, table, side)
    except InputError:
        return None
    return "emg"
