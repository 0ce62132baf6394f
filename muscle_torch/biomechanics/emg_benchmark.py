"""The EMG benchmark of KINESIS (arXiv 2503.14637): a policy's controls in walking against nine people's EMG.

The user's copy of its assets is a folder with

    kinesis/gait.npy               (T,) contact codes: -1 none, 0 left, 1 right, 2 both
    kinesis/muscle_controls.npy    (T, A) controls at 30 Hz
    misc/muscle_names.npy          (A,) names of the actuators
    human_emg/EMG_subject_*.npy    (100, at least 10) mean envelopes of a cycle: column 0 is ignored, then `MUSCLES`

The EMG is of Wang et al. 2023 (Wearable Technologies 4:e11); see its licence before sharing it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from muscle_torch.errors import InputError

from .agreement import cyclic_lag, mean_of_known, noise_ceiling, pearson
from .series import TimeSeries

# Muscle, in the order of the files' columns -> actuator. The published code compares the short head of the biceps
# femoris, although a surface electrode lies over the long one.
MUSCLES = {
    "soleus": "soleus_l",
    "gastrocnemius_medialis": "gasmed_l",
    "gastrocnemius_lateralis": "gaslat_l",
    "tibialis_anterior": "tibant_l",
    "semimembranosus": "semimem_l",
    "biceps_femoris_short_head": "bfsh_l",
    "vastus_lateralis": "vaslat_l",
    "rectus_femoris": "recfem_l",
    "vastus_medialis": "vasmed_l",
}
SHORT, LONG = "biceps_femoris_short_head", "biceps_femoris"
LONG_HEAD = "bflh_l"
POINTS = 100
DEVIATIONS = 2.0  # cycles whose duration is further from the mean, in standard deviations, are left out
FOLDERS = "kinesis/gait.npy, kinesis/muscle_controls.npy, misc/muscle_names.npy, human_emg/EMG_subject_*.npy"
COLUMNS = ("muscle", "actuator", "r", "lowest r", "highest r", "lag [%]", "r at lag", "human r", "ceiling r")
GLOSSARY = {
    "r": "Pearson's correlation of the mean cycles, mean over the people",
    "lag [%]": "shift with the best correlation with the mean person; positive: the model is later",
    "human r": "mean correlation of all pairs of people",
    "ceiling r": "mean correlation of each person with the mean of the others, about the best that a model can reach",
}


@dataclass(frozen=True, eq=False)
class Assets:
    """People's mean envelopes and a model's activity over the gait cycle.

    Attributes:
        people: (N, 100, 9), muscles in the order of `MUSCLES`.
        model: Muscle -> mean activity over the cycle (100,); both heads of the biceps femoris, if known.
        cycles: Number of the model's cycles.
        notes: What was left out or assumed.
    """

    people: np.ndarray
    model: Mapping[str, np.ndarray]
    cycles: int
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Benchmark:
    """Results of the benchmark.

    Attributes:
        rows: One row of `COLUMNS` for each muscle; both heads of the biceps femoris.
        model: Mean r over the nine muscles for each person, with the short head as published, (N,).
        model_long_head: The same with the long head; NaN if the model lacks it.
        human: Mean r over the nine muscles for each pair of people, (N (N - 1) / 2,).
        shift: Shift of the model with the highest mean r over muscles and people [% of the cycle]; 0: in time.
        r_at_shift: That mean r.
    """

    rows: list[tuple[Any, ...]]
    model: np.ndarray
    model_long_head: np.ndarray
    human: np.ndarray
    shift: int
    r_at_shift: float

    def summary(self) -> str:
        """Return the published figures: medians over people and over pairs of people."""
        long_head = np.nanmedian(self.model_long_head) if np.isfinite(self.model_long_head).any() else float("nan")
        return (
            f"mean r of nine muscles, median over people: model {np.median(self.model):.2f} (with the long head of the "
            f"biceps femoris {long_head:.2f}), pairs of people {np.median(self.human):.2f}; highest mean r "
            f"{self.r_at_shift:.2f} at a shift of {self.shift} %"
        )


def read_assets(folder: str | Path) -> Assets:
    """Read a user's copy of the benchmark's assets.

    Args:
        folder: The folder; its layout is that of this module's docstring.

    Raises:
        InputError: A file is missing, damaged or of another shape.
    """
    folder = Path(folder)
    codes = _load(folder, "kinesis/gait.npy").ravel()
    controls, names = _load(folder, "kinesis/muscle_controls.npy"), _load(folder, "misc/muscle_names.npy").ravel()
    if controls.ndim != 2 or controls.shape != (len(codes), len(names)):
        raise InputError(
            f"{folder}: kinesis/muscle_controls.npy has shape {controls.shape}, needed {(len(codes), len(names))}: one "
            "row for each code of gait.npy, one column for each name of muscle_names.npy"
        )
    columns = {str(name): column for column, name in enumerate(names)}
    missing = [actuator for actuator in MUSCLES.values() if actuator not in columns]
    if missing:
        raise InputError(f"{folder}: misc/muscle_names.npy lacks {', '.join(missing)}")
    bounds = toe_off_cycles(codes)
    kept = ordinary_cycles(bounds)
    if not kept:
        raise InputError(f"{folder}: kinesis/gait.npy has no complete cycle of left-only and right-only contacts")
    curves = mean_cycle(controls, kept)
    actuators = MUSCLES | ({LONG: LONG_HEAD} if LONG_HEAD in columns else {})
    model = {muscle: curves[:, columns[actuator]] for muscle, actuator in actuators.items()}
    notes = (f"{len(bounds) - len(kept)} of {len(bounds)} cycles of unusual duration left out",)
    return Assets(read_people(folder), model, len(kept), notes if len(kept) < len(bounds) else ())


def read_people(folder: str | Path) -> np.ndarray:
    """Return the mean envelopes of all people, (N, 100, 9).

    Args:
        folder: The folder of the assets.

    Raises:
        InputError: There are fewer than two, or one has another shape.
    """
    files = sorted((Path(folder) / "human_emg").glob("EMG_subject_*.npy"))
    if len(files) < 2:
        raise InputError(f"{folder}: human_emg has {len(files)} files EMG_subject_*.npy, needed at least 2: {FOLDERS}")
    people = []
    for file in files:
        values = _load(Path(folder), f"human_emg/{file.name}")
        if values.ndim != 2 or values.shape[0] != POINTS or values.shape[1] < 1 + len(MUSCLES):
            raise InputError(f"{file}: has shape {values.shape}, needed ({POINTS}, at least {1 + len(MUSCLES)})")
        people.append(values[:, 1 : 1 + len(MUSCLES)].astype(float))
    return np.stack(people)


def toe_off_cycles(codes: Sequence[int] | np.ndarray) -> list[tuple[int, int]]:
    """Return first and last-but-one frames of the cycles, which start when only the left foot begins to stand.

    This is the toe-off of the right foot, not a heel strike. Left-only and right-only contacts must alternate; frames
    without contact, with both feet, or of a repeated code are passed over, as in the published code.

    Args:
        codes: -1 none, 0 left, 1 right, 2 both, (T,).
    """
    events, expected = [], 0
    for frame, code in enumerate(codes):
        if code == expected:
            events.append(frame)
            expected = 1 - expected
    starts = events[::2]
    return list(pairwise(starts))


def ordinary_cycles(bounds: Sequence[tuple[int, int]]) -> list[tuple[int, int]]:
    """Return the cycles whose duration is within two standard deviations of the mean."""
    lengths = np.array([end - start for start, end in bounds], dtype=float)
    if not len(lengths):
        return []
    near = np.abs(lengths - lengths.mean()) <= DEVIATIONS * lengths.std() + 1e-9
    return [bound for bound, chosen in zip(bounds, near, strict=True) if chosen]


def mean_cycle(values: np.ndarray, bounds: Sequence[tuple[int, int]]) -> np.ndarray:
    """Return the mean over cycles of columns (T, C), each resampled linearly to 100 points, (100, C)."""
    parts = []
    for start, end in bounds:
        place = np.linspace(start, end - 1, POINTS)
        parts.append(np.stack([np.interp(place, np.arange(start, end), c) for c in values[start:end].T], axis=1))
    return np.mean(parts, axis=0)


def compare(people: np.ndarray, model: Mapping[str, np.ndarray]) -> Benchmark:
    """Compare a model with people.

    Args:
        people: Mean envelopes, (N, 100, 9).
        model: Muscle -> activity over the cycle, (100,), as in `Assets`.
    """
    by_muscle = {name: people[:, :, column] for column, name in enumerate(MUSCLES)}
    by_muscle[LONG] = by_muscle[SHORT]
    r = {name: np.array([pearson(curve, model[name]) for curve in by_muscle[name]]) for name in model}
    human = {name: noise_ceiling(by_muscle[name]) for name in MUSCLES}
    rows = []
    for name in sorted(r, key=list(by_muscle).index):
        ceiling = human[SHORT if name == LONG else name]
        lag = cyclic_lag(by_muscle[name].mean(axis=0), model[name])
        actuator = LONG_HEAD if name == LONG else MUSCLES[name]
        known = [float(f(r[name])) if np.isfinite(r[name]).any() else float("nan") for f in (np.nanmin, np.nanmax)]
        rows.append((name, actuator, mean_of_known(r[name].tolist()), *known, lag.seconds, lag.r,
                     mean_of_known(ceiling.pairs.tolist()), mean_of_known(ceiling.leave_one_out.tolist())))  # fmt: skip
    published = [r[name] for name in MUSCLES]
    other = [r.get(LONG, np.full(len(people), np.nan)) if name == SHORT else r[name] for name in MUSCLES]
    turned = [_mean_r(people, {name: np.roll(model[name], -shift) for name in MUSCLES}) for shift in range(POINTS)]
    best = int(np.argmax(turned))
    return Benchmark(
        rows=rows,
        model=np.nanmean(published, axis=0),
        model_long_head=np.mean(other, axis=0),
        human=np.nanmean([human[name].pairs for name in MUSCLES], axis=0),
        shift=best if best <= POINTS // 2 else best - POINTS,
        r_at_shift=turned[best],
    )


def with_short_head(series: TimeSeries) -> TimeSeries:
    """Return a recording in which every biceps femoris, of `<muscle>_<side>` names, also stands for its short head."""
    heads = [name for name in series.names if name in (f"{LONG}_l", f"{LONG}_r")]
    added = [name.replace(LONG, SHORT) for name in heads]
    whole = series.select([*series.names, *heads]) if heads else series
    return whole.renamed([*series.names, *added])


def _mean_r(people: np.ndarray, model: Mapping[str, np.ndarray]) -> float:
    rs = [pearson(curve, model[name]) for column, name in enumerate(MUSCLES) for curve in people[:, :, column]]
    return mean_of_known(rs)


def _load(folder: Path, name: str) -> np.ndarray:
    path = folder / name
    if not path.is_file():
        raise InputError(f"{folder} lacks {name}; a copy of the benchmark's assets has {FOLDERS}")
    try:
        return np.load(path, allow_pickle=False)
    except (ValueError, EOFError, OSError) as error:
        raise InputError(f"{path}: cannot be read as an array of numbers or names ({error})") from None
