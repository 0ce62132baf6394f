"""Compare the EMG of short trials with the excitations of rollouts of the same trials, on a common time base.

Leonardis et al. 2025 resample both to the same number of samples regardless of their duration, and use only the mean
absolute error, which favours silent muscles. Here samples of the same instant are compared, and the error is reported
together with that of the best constant, that of silence, and the correlation.
"""

import csv
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from muscle_torch.config import key
from muscle_torch.errors import InputError, nearest
from muscle_torch.motion.rollout_archive import RolloutArchive

from .agreement import mean_of_known, pearson
from .emg import EmgSettings, envelopes
from .recordings import READERS, read_series
from .series import TimeSeries

COLUMNS = ("muscle", "channel", "trials", "time [s]", "MAE", "constant", "silence", "skill", "r", "r shuffled")
GLOSSARY = (
    "MAE: mean absolute difference of excitation and EMG; the EMG (not the excitation) is divided by its 98th "
    "percentile over all trials",
    "constant: MAE of the best constant, the median of the EMG over all trials; silence: MAE of no activity",
    "skill: 1 - MAE / constant; above 0 the rollout is better than a constant",
    "r: Pearson's correlation, mean over trials; r shuffled: with the EMG of another trial",
)


@dataclass(frozen=True)
class TrialEmgSettings(EmgSettings):
    """EMG settings with the defaults of the published processing."""

    low_pass: float = key(1000.0, "low-pass against noise; 0: none (published: 1000)", "Hz")
    band_order: int = key(8, "Butterworth order of these filters over both passes (published: 4 per pass)")
    envelope: float = key(50.0, "low-pass of the rectified signal (published: 50)", "Hz")
    normalise: str = key("none", "before the pooled percentile: none, max or mean of each trial")
    percentile: float = key(98.0, "the EMG of all trials is divided by this percentile of it (published: 98)")


@dataclass(frozen=True)
class MusclePair:
    """Excitation and EMG of one muscle in every trial that has both.

    Attributes:
        muscle: Muscle of the model.
        channel: EMG channel.
        trials: Names of the trials.
        excitation: Excitation of each trial at the instants with EMG, (T,).
        full_emg: Normalized EMG of each trial at every control step of the rollout; NaN where there is none.
        dt: Control step [s].
    """

    muscle: str
    channel: str
    trials: tuple[str, ...]
    excitation: tuple[np.ndarray, ...]
    full_emg: tuple[np.ndarray, ...]
    dt: float

    @property
    def emg(self) -> tuple[np.ndarray, ...]:
        """Normalized EMG of each trial at the instants of `excitation`, (T,)."""
        return tuple(values[np.isfinite(values)] for values in self.full_emg)

    @property
    def mae(self) -> float:
        """Mean absolute error of excitation and EMG."""
        return _mean_distance(self.excitation, self.emg)

    @property
    def constant(self) -> float:
        """MAE of the best constant."""
        return _mean_distance([np.full_like(e, np.median(np.concatenate(self.emg))) for e in self.emg], self.emg)

    @property
    def silence(self) -> float:
        """MAE of no activity."""
        return _mean_distance([np.zeros_like(e) for e in self.emg], self.emg)

    @property
    def r(self) -> float:
        """Pearson's correlation of excitation and EMG, mean over the trials."""
        return mean_of_known([pearson(a, b) for a, b in zip(self.excitation, self.emg, strict=True)])

    @property
    def shuffled_r(self) -> float:
        """Mean r of each trial's excitation with the EMG of every other trial, over their common duration."""
        rs = []
        for i, a in enumerate(self.excitation):
            for j, b in enumerate(self.emg):
                if i != j:
                    length = min(len(a), len(b))
                    rs.append(pearson(a[:length], b[:length]))
        return mean_of_known(rs)

    def row(self) -> tuple[Any, ...]:
        """Return the values of COLUMNS."""
        seconds = self.dt * sum(map(len, self.emg))
        skill = 1 - self.mae / self.constant if self.constant > 0 else float("nan")
        numbers = (self.mae, self.constant, self.silence, skill, self.r, self.shuffled_r)
        return (self.muscle, self.channel, len(self.trials), seconds, *numbers)


def compare_trials(
    archive: RolloutArchive,
    recordings: Mapping[str, TimeSeries],
    pairs: Mapping[str, str],
    settings: TrialEmgSettings,
    starts: Mapping[str, float],
) -> tuple[list[MusclePair], list[str]]:
    """Return excitation and EMG of each pair, and notes on omissions and assumptions.

    Args:
        archive: Rollouts whose first control step is the start of the trial.
        recordings: EMG by name of the episode.
        pairs: Channel -> muscle of the model.
        settings: Settings of the envelopes.
        starts: Episode -> time of the trial's start in its recording [s].

    Raises:
        InputError: A channel or muscle does not exist, or no trial has both at a common time.
    """
    _check(archive, pairs, settings)
    lines: list[str] = []
    samples: dict[str, list[tuple[str, np.ndarray, np.ndarray]]] = {channel: [] for channel in pairs}
    for episode in archive.episodes:
        raw = recordings.get(episode.name)
        if raw is None:
            lines.append(f"{episode.name}: no EMG recording")
            continue
        done = envelopes(raw.select(list(pairs)), settings)
        lines += [f"{episode.name}: {note}" for note in done.left_out]
        # An excitation is constant during its control step, so it is compared with the EMG at the middle of the step.
        time = starts.get(episode.name, 0.0) + archive.dt * (np.arange(len(episode.excitation)) + 0.5)
        series = done.series.at(time)
        shared = np.isfinite(series.values).all(axis=1)
        if shared.sum() < 3:
            lines.append(f"{episode.name}: EMG ({raw.time[0]:g} to {raw.time[-1]:g} s) and rollout "
                         f"({time[0]:g} to {time[-1]:g} s) share no time; set start= or starts=")  # fmt: skip
            continue
        if not shared.all():
            lines.append(f"{episode.name}: {archive.dt * shared.sum():.3f} of {archive.dt * len(time):.3f} s compared, "
                         "the EMG covers no more")  # fmt: skip
        for channel in series.names:
            excitation = episode.excitation[:, archive.muscle_names.index(pairs[channel])].clip(0.0, 1.0)
            samples[channel].append((episode.name, excitation[shared], series[channel]))
    compared = [_pair(c, pairs[c], rows, settings.percentile, archive.dt) for c, rows in samples.items() if rows]
    if not compared:
        raise InputError(f"no trial has rollout and EMG at a common time: {'; '.join(lines[:3])}")
    return compared, lines


def read_recordings(path: str | Path, names: Sequence[str], rate: float = 0.0) -> dict[str, TimeSeries]:
    """Return the EMG recordings of episodes, by their name.

    Args:
        path: A folder with one file per trial, whose stem contains the episode's name or is contained in it; or one
            file, if there is one episode.
        names: Names of the episodes.
        rate: Sampling rate [Hz] if the files have no time column.

    Raises:
        InputError: There is no such file, or one name fits several files.
    """
    path = Path(path)
    if path.is_file():
        if len(names) != 1:
            raise InputError(f"emg={path} is one file, the rollouts are {len(names)} trials: use a folder with one "
                             "file per trial, or episode=")  # fmt: skip
        return {names[0]: read_series(path, rate)}
    if not path.is_dir():
        raise InputError(f"emg={path} does not exist (in {Path.cwd()})")
    files = sorted(file for file in path.iterdir() if file.suffix.lower() in READERS)
    recordings = {}
    for name in names:
        exact = [file for file in files if file.stem == name]
        matching = exact or [file for file in files if name in file.stem or file.stem in name]
        if len(matching) > 1:
            raise InputError(
                f"emg={path}: {matching[0].name} and {matching[1].name} both match trial {name}: rename one"
            )
        if matching:
            recordings[name] = read_series(matching[0], rate)
    if not recordings:
        raise InputError(f"emg={path}: no file is named after a trial, such as {names[0]}.csv")
    return recordings


def read_starts(path: str, names: Sequence[str], start: float) -> dict[str, float]:
    """Return the time of each trial's start in its recording [s].

    Args:
        path: CSV with columns trial,start; empty: none.
        names: Names of the trials.
        start: Time for trials that are not in the CSV [s].

    Raises:
        InputError: The table cannot be read, or names no trial.
    """
    starts = dict.fromkeys(names, start)
    if not path:
        return starts
    try:
        with Path(path).open(encoding="utf-8", newline="") as file:
            table = {row["trial"]: float(row["start"]) for row in csv.DictReader(file)}
    except (OSError, KeyError, ValueError, TypeError) as error:
        raise InputError(f"starts={path}: cannot read a table with columns trial,start [s]: {error}") from None
    if not set(table) & set(names):
        raise InputError(f"starts={path} names none of the trials, such as {names[0]}")
    return starts | {name: value for name, value in table.items() if name in starts}


def _check(archive: RolloutArchive, pairs: Mapping[str, str], settings: TrialEmgSettings) -> None:
    if not pairs:
        raise InputError("pairs is empty: set pairs.<channel>=<muscle of the model>")
    for muscle in pairs.values():
        if muscle not in archive.muscle_names:
            raise InputError(
                f"pairs: {archive.embodiment} has no muscle {muscle!r}{nearest(muscle, archive.muscle_names)}"
            )
    if not 0 < settings.percentile <= 100:
        raise InputError(f"percentile={settings.percentile:g}: choose a number above 0, at most 100")


def _pair(
    channel: str, muscle: str, rows: Sequence[tuple[str, np.ndarray, np.ndarray]], percentile: float, dt: float
) -> MusclePair:
    names, excitation, emg = zip(*rows, strict=True)
    scale = float(np.nanpercentile(np.concatenate(emg), percentile))
    if scale <= 0:
        raise InputError(f"channel {channel!r} is silent: its {percentile:g}th percentile is 0")
    return MusclePair(muscle, channel, names, excitation, tuple(values / scale for values in emg), dt)


def _mean_distance(first: Sequence[np.ndarray], second: Sequence[np.ndarray]) -> float:
    """Return the MAE of each trial, averaged over trials."""
    return float(np.mean([np.abs(a - b).mean() for a, b in zip(first, second, strict=True)]))
