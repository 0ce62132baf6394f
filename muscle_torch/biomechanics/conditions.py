"""Rollouts of one body under several conditions (able, weakened, with a device), paired by motion and seed."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from muscle_torch.embodiments import Embodiment
from muscle_torch.embodiments.weakened import weakened
from muscle_torch.errors import InputError
from muscle_torch.motion.rollout_archive import Episode, RolloutArchive, read_archive

from .gait import SIDES, Gait, body_of, rollout_gait, walking_bodies
from .metabolic import bhargava_power, muscle_masses, proxy_of
from .muscle_activity import muscle_states
from .strength import played_strength

DEVICE = "exo_"  # prefix of a device's motors: exo_<joint>_<side>


@dataclass(frozen=True, eq=False)
class Trial:
    """One episode of one condition, with what its T frames cost."""

    name: str
    seed: int
    seconds: float  # played
    possible: float  # of the motion [s]; NaN: no motion was followed
    frames: int  # that every condition of this motion and seed has
    gait: Gait
    muscles: tuple[str, ...]
    activation: np.ndarray  # (T, muscles)
    strength: np.ndarray  # of the muscles over the model's, (muscles,)
    proxy: np.ndarray  # metabolic proxy, (T, muscles) [kg]
    power: np.ndarray  # metabolic power, (T, muscles) [W]
    torque: dict[tuple[str, str], np.ndarray]  # device: (joint, side) -> (T,) [Nm]

    @property
    def has_cycles(self) -> bool:
        """Whether there is a complete gait cycle of each foot."""
        return not self.gait.no_walk and all(len(one.starts) > 1 for one in self.gait.contacts.values())


@dataclass(frozen=True, eq=False)
class Condition:
    """The trials of one condition, in the order of the other conditions' trials."""

    label: str
    trials: list[Trial]


@dataclass(frozen=True, eq=False)
class Study:
    """Conditions of one body."""

    embodiment: Embodiment
    mass: float  # of the body in the first condition, by which torques and costs are divided [kg]
    conditions: list[Condition]

    @property
    def comparisons(self) -> list[tuple[int, int]]:
        """Pairs (before, after) of conditions: each with the first, and each with the previous one."""
        count = len(self.conditions)
        return [(0, i) for i in range(1, count)] + [(i - 1, i) for i in range(2, count)]


def read_study(requested: Any, min_frames: int = 10) -> Study:
    """Read the archives of all conditions and compute what each trial costs.

    Args:
        requested: List of archives, or label -> archive; a list of archives (seeds) may stand for one archive.
        min_frames: Frames that the shortest trial must have.

    Raises:
        InputError: There are fewer than two conditions, or they differ in body, motions or seeds.
    """
    archives = {label: [read_archive(file) for file in files] for label, files in _files(requested).items()}
    first = next(iter(archives.values()))[0]
    body = body_of(first)
    walking_bodies(body)
    episodes = {label: _episodes(label, parts, first) for label, parts in archives.items()}
    labels = list(episodes)
    for label in labels[1:]:
        _check_pairs(labels[0], episodes[labels[0]], label, episodes[label])
    frames = {pair: min(len(episodes[label][pair][1].qpos) for label in labels) for pair in episodes[labels[0]]}
    short = next((pair for pair, count in frames.items() if count < min_frames), None)
    if short is not None:
        raise InputError(
            f"conditions: {short[0]}, seed {short[1]}, has only {frames[short]} frames in one condition (it fell); "
            "compare motions that the body follows for longer"
        )
    conditions = [
        Condition(label, [_trial(body, *episodes[label][pair], frames[pair]) for pair in frames]) for label in labels
    ]
    return Study(body, first.mass, conditions)


def _files(requested: Any) -> dict[str, list[str]]:
    """Return label -> archive files."""
    if isinstance(requested, str) or len(requested) < 2:
        raise InputError("conditions= needs at least two rollout archives: conditions=[able.npz,deficit.npz]")
    if isinstance(requested, Mapping):
        return {str(label): [files] if isinstance(files, str) else list(files) for label, files in requested.items()}
    files = [[one] if isinstance(one, str) else list(one) for one in requested]
    labels = [Path(parts[0]).stem for parts in files]
    doubled = next((label for label in labels if labels.count(label) > 1), None)
    if doubled is not None:
        raise InputError(
            f"conditions: two are named {doubled!r}; name them: conditions.able=a.npz conditions.weak=b.npz"
        )
    return dict(zip(labels, files, strict=True))


Pairs = dict[tuple[str, int], tuple[RolloutArchive, Episode]]


def _episodes(label: str, archives: Sequence[RolloutArchive], first: RolloutArchive) -> Pairs:
    """Return (motion, seed) -> archive and episode of one condition."""
    pairs: Pairs = {}
    for archive in archives:
        if (archive.joint_names, archive.muscle_names) != (first.joint_names, first.muscle_names):
            raise InputError(
                f"conditions: {label} contains rollouts of {archive.embodiment} with other joints or muscles than the "
                "first condition; use one body"
            )
        for episode in archive.episodes:
            if (episode.name, archive.seed) in pairs:
                raise InputError(
                    f"conditions: {label} contains {episode.name}, seed {archive.seed}, twice; list each seed once"
                )
            pairs[episode.name, archive.seed] = archive, episode
    return pairs


def _check_pairs(first: str, pairs: Pairs, label: str, compared: Pairs) -> None:
    if pairs.keys() == compared.keys():
        return
    difference = sorted(pairs.keys() ^ compared.keys())[0]
    has, lacks = (first, label) if difference in pairs else (label, first)
    raise InputError(
        f"conditions are paired by motion and seed: {has} contains {difference[0]}, seed {difference[1]}, {lacks} does "
        "not; evaluate all conditions on the same motions and seeds"
    )


def _trial(embodiment: Embodiment, archive: RolloutArchive, episode: Episode, frames: int) -> Trial:
    index = next(i for i, one in enumerate(archive.episodes) if one is episode)
    lengths, velocities = muscle_states(embodiment, episode.qpos, episode.qvel)
    strength = played_strength(embodiment, episode, lengths, velocities)
    activation, masses = episode.activation.astype(float), muscle_masses(embodiment)
    power = bhargava_power(weakened(embodiment, strength), activation, lengths, velocities, masses)
    possible = archive.dt * (len(episode.reference) - 1) if len(episode.reference) else float("nan")
    # Forces of a row are those before it, as are length, velocity and activation.
    proxy = proxy_of(embodiment, activation, episode.muscle_force, velocities)
    return Trial(episode.name, archive.seed, archive.dt * len(episode.qpos), possible, frames,
                 rollout_gait(embodiment, archive, index), embodiment.muscle_names, activation, strength, proxy, power,
                 device_torque(archive, episode))  # fmt: skip


def device_torque(archive: RolloutArchive, episode: Episode) -> dict[tuple[str, str], np.ndarray]:
    """Return (joint, side) -> torque (T,) [Nm] of the motors named exo_<joint>_<side>; empty without a device.

    Args:
        archive: The archive of the episode.
        episode: The episode.
    """
    torques = {}
    for column, name in enumerate(archive.motor_names):
        joint, _, side = name.removeprefix(DEVICE).rpartition("_")
        if name.startswith(DEVICE) and side in SIDES:
            torques[joint, side] = episode.motor_force[:, column].astype(float)
    return torques
