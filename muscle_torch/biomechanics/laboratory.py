"""What a laboratory measured of one trial: a folder with motion, force plates, joint moments and EMG, on one clock.

Columns identify the files. A clip retargeted from the trial does not store which part of the trial it covers; its first
frame is placed at the time at which its joint angles agree best with the recorded ones.
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
SAME = 4.0  # [deg] root mean square between the angles of a clip and a trial: 2 for its own, 6 and more for others
CLOCK_STEP = 0.001  # [s]
OVERLAP = 0.5  # at least this part of the shorter of clip and trial
GRAVITY = 9.81  # [m/s2]
CARRIED = 0.4  # of the usual force of all plates; below, a foot is beside them
# Kind -> what it is called in messages, and the key that names its file.
KINDS = {"motion": ("motion (pelvis_tx, hip_flexion_r, ...)", "motion"),
         "forces": ("force plates (ground_force_r_vy, ...)", "forces"),
         "moments": ("joint moments (hip_flexion_r_moment, ...)", "moments"),
         "emg": ("EMG (soleus, ...)", "emg")}  # fmt: skip


@dataclass(frozen=True, eq=False)
class Laboratory:
    """Recordings of one trial, on the trial's clock; None for what was not recorded.

    `angles` [rad] and `moments` [Nm] have the model's signs and names, `emg` envelopes are called `<muscle>_<side>`.
    `files`: kind -> file.
    """

    folder: Path
    files: dict[str, Path]
    angles: TimeSeries
    forces: TimeSeries | None
    moments: TimeSeries | None
    emg: TimeSeries | None
    notes: tuple[str, ...]


@dataclass(frozen=True)
class Clock:
    """The trial's time [s] at the clip's first frame, and how far the angles are apart [deg], root mean square."""

    start: float
    apart: float


def read_laboratory(
    folder: str | Path, table: MuscleMap, files: Mapping[str, str] | None = None, side: str = "r",
    convention: str = "auto",
) -> Laboratory:  # fmt: skip
    """Read a trial's folder.

    Args:
        folder: holds .sto, .mot, .csv or .mat files; their columns tell what they are.
        table: names of EMG channels.
        files: kind (motion, forces, moments, emg) -> file, for those that are not in the folder or not the only one.
        side: of EMG channels whose name tells none.
        convention: sign of knee flexion: rajagopal (+), gait2392 (-) or auto.

    Raises:
        InputError: no folder, no motion in it, nothing to compare with, or two files of one kind.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise InputError(f"trial={folder} is no folder; give the one with the trial's motion, plates, moments and EMG")
    found, notes = _by_kind(folder, table, files or {}, side)
    series = {kind: one for kind, (_, one) in found.items()}
    if "motion" not in series:
        raise InputError(
            f"trial={folder}: no file holds the {KINDS['motion'][0]} that gives the clock; name it in motion="
        )
    absent = [kind for kind in KINDS if kind not in series]
    if len(absent) == len(KINDS) - 1:
        raise InputError(
            f"trial={folder} holds a motion but neither force plates, joint moments nor EMG to compare with"
        )
    notes += [f"trial={folder}: no {KINDS[kind][0]}: not compared; {KINDS[kind][1]}= names the file" for kind in absent]
    motion, cut = complete(series["motion"])
    knee = knee_convention(motion, convention)
    emg = None
    if "emg" in series:
        mapped, unknown = muscle_columns(series["emg"], table, side)
        done = envelopes(mapped, EmgSettings(normalise="none"))
        emg, notes = done.series, [*notes, *unknown, *(f"EMG: {note}" for note in done.left_out)]
    moments = in_model_signs(series["moments"], knee) if "moments" in series else None
    paths = {kind: path for kind, (path, _) in found.items()}
    return Laboratory(folder, paths, in_model_signs(motion, knee), series.get("forces"), moments, emg, (*notes, *cut))


def find_clock(laboratory: Laboratory, angles: TimeSeries, name: str) -> Clock:
    """Return the trial's time at the first frame of a clip with these `angles` (from 0 s on).

    Raises InputError if the clip is of another motion: nowhere within `SAME` of the recorded angles.
    """
    recorded = laboratory.angles
    names = [joint for joint in MATCHED if joint in recorded and joint in angles]
    if not names:
        raise InputError(f"{recorded.source}: no hip, knee or ankle flexion to match {name} by, e.g. hip_flexion_r")
    clip, length = angles.select(names), float(angles.time[-1] - angles.time[0])
    shared = OVERLAP * min(length, float(recorded.time[-1] - recorded.time[0]))
    starts = np.arange(recorded.time[0] + shared - length, recorded.time[-1] - shared + CLOCK_STEP / 2, CLOCK_STEP)
    if length <= float(recorded.time[-1] - recorded.time[0]):  # a clip that fits into the trial was cut from it
        inside = starts[(starts >= recorded.time[0] - 1e-9) & (starts + length <= recorded.time[-1] + 1e-9)]
        starts = inside if len(inside) else starts
    there = recorded.select(names)
    apart = [float(np.sqrt(np.nanmean((there.at(start + clip.time).values - clip.values) ** 2))) for start in starts]
    best = int(np.argmin(apart))
    clock = Clock(float(starts[best]), float(np.degrees(apart[best])))
    if clock.apart > SAME:
        raise InputError(
            f"{name} is not a clip of trial={laboratory.folder}: its angles are {clock.apart:.1f} deg from the "
            f"recorded ones at best ({SAME:g} are allowed); give the trial that it was retargeted from"
        )
    return clock


def subject_mass(laboratory: Laboratory) -> float:
    """Return the subject's mass [kg]: the mean vertical force of all plates over whole strides.

    Raises InputError if no plate, or no stride that the plates carry wholly, can weigh it.
    """
    weighed = _weighed(laboratory.forces) if laboratory.forces is not None else 0.0
    if not weighed:
        raise InputError(f"trial={laboratory.folder}: the subject's mass is not known, for no force plates carry a "
                         "whole stride; set mass=<kg>")  # fmt: skip
    return weighed


def _weighed(forces: TimeSeries) -> float:
    """[kg]; 0 if the plates miss part of every stride: who walks is carried all the time."""
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
    """Kind -> file and recording; and in words what was not used."""
    found = {kind: (Path(path), read_series(path)) for kind, path in files.items() if path}
    several: dict[str, list[Path]] = {}
    notes: list[str] = []
    for path in sorted(folder.iterdir()):
        if path.suffix.lower() not in SUFFIXES or path in [one for one, _ in found.values()]:
            continue
        try:
            series = read_series(path)
        except InputError as error:
            notes.append(f"not read: {error}")
            continue
        kind = _kind(series, table, side)
        if kind is None:
            notes.append(f"{path.name}: neither motion, force plates, joint moments nor EMG")
        elif not files.get(kind):
            several.setdefault(kind, []).append(path)
            found[kind] = (path, series)
    for kind, paths in several.items():
        if len(paths) > 1:
            names = " and ".join(path.name for path in paths)
            raise InputError(f"trial={folder} holds {KINDS[kind][0]} in {names}: say which with {KINDS[kind][1]}=")
    return found, notes


def _kind(series: TimeSeries, table: MuscleMap, side: str) -> str | None:
    """What a recording is, by its columns."""
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
