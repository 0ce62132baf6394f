"""Playback state of a viewer: source, motion, time, pause, speed. Contains no drawing."""

from collections.abc import Callable, Mapping
from threading import RLock
from typing import Any, NamedTuple

import numpy as np

from muscle_torch.errors import InputError, nearest
from muscle_torch.evaluation import Trajectory


class Frame(NamedTuple):
    """One frame of one motion."""

    qpos: np.ndarray  # (nq,)
    reference: np.ndarray | None  # (nq,)
    activation: np.ndarray | None  # (muscles,) in [0, 1]
    landmarks: np.ndarray | None = None  # (K, 3) [m]


class Player:
    """Plays trajectories from one source at a time: a controller, or the motions themselves.

    Safe to use from the threads of a user interface.
    """

    def __init__(self, sources: Mapping[str, Callable[[], list[Trajectory]]]):
        """Load the first source.

        Args:
            sources: Name -> function that returns its trajectories; called once, when the source is first chosen.

        Raises:
            InputError: There is no source, or the first has no trajectories.
        """
        if not sources:
            raise InputError("there is nothing to show: set checkpoint= or motion=")
        self._sources = dict(sources)
        self._loaded: dict[str, list[Trajectory]] = {}
        self._lock = RLock()
        self.playing, self.speed, self.time = True, 1.0, 0.0
        self.source = ""
        self._clip = 0
        self.choose_source(next(iter(self._sources)))

    @property
    def source_names(self) -> tuple[str, ...]:
        """Names of all sources."""
        return tuple(self._sources)

    @property
    def clip_names(self) -> tuple[str, ...]:
        """Names of the current source's motions."""
        return tuple(trajectory.name for trajectory in self._loaded[self.source])

    @property
    def trajectory(self) -> Trajectory:
        """The current motion."""
        return self._loaded[self.source][self._clip]

    @property
    def frame(self) -> Frame:
        """The frame at the current time."""
        with self._lock:
            return Frame(**self.trajectory.at(self.time))

    def choose_source(self, name: str) -> None:
        """Switch to another source, keeping the motion and time if possible.

        Raises:
            InputError: The source is unknown or has no motion.
        """
        if name not in self._sources:
            raise InputError(f"unknown source {name!r}{nearest(name, self.source_names)}")
        if name not in self._loaded:
            trajectories = self._sources[name]()  # may take seconds; the old source keeps playing
            if not trajectories:
                raise InputError(f"source {name} has no motion to show; choose another one")
            self._loaded[name] = trajectories
        with self._lock:
            clip = self.trajectory.name if self.source else ""
            self.source = name
            self._clip = self.clip_names.index(clip) if clip in self.clip_names else 0
            self.seek(self.time)

    def choose_clip(self, name: str) -> None:
        """Switch to another motion, from its start. Raises InputError if it is unknown."""
        with self._lock:
            if name not in self.clip_names:
                raise InputError(f"unknown motion {name!r}{nearest(name, self.clip_names)}")
            self._clip, self.time = self.clip_names.index(name), 0.0

    def seek(self, time: float) -> None:
        """Jump to `time` [s], clipped to the motion's duration."""
        with self._lock:
            self.time = float(np.clip(time, 0.0, self.trajectory.seconds))

    def step(self, frames: int) -> None:
        """Pause and move by a number of frames."""
        with self._lock:
            self.playing = False
            now = round(self.time * self.trajectory.frequency)
            self.seek((now + frames) / self.trajectory.frequency)

    def advance(self, seconds: float) -> bool:
        """Advance by `seconds` of real time, looping at the end; return whether the time changed."""
        with self._lock:
            length = self.trajectory.seconds
            if not self.playing or length <= 0:
                return False
            time = self.time + seconds * self.speed
            self.time = 0.0 if time > length else time
            return True


def activation_bars(groups: Mapping[str, tuple[str, ...]], names: tuple[str, ...]) -> list[tuple[str, np.ndarray]]:
    """Group muscles for a bar chart.

    Args:
        groups: Group -> names of its muscles.
        names: Names of all muscles.

    Returns:
        (group, muscle ids) pairs. Each muscle appears once, in its first group, or else under `other`.
    """
    ids = {name: i for i, name in enumerate(names)}
    shown: list[tuple[str, np.ndarray]] = []
    remaining = dict(ids)
    for group, members in groups.items():
        muscles = [remaining.pop(name) for name in members if name in remaining]
        if muscles:
            shown.append((group, np.array(muscles)))
    return [*shown, ("other", np.array(list(remaining.values())))] if remaining else shown


def bars_html(bars: list[tuple[str, np.ndarray]], names: tuple[str, ...], activation: Any) -> str:
    """Return one small HTML bar chart per group; a bar is redder and taller the more active its muscle.

    Args:
        bars: (group, muscle ids), of `activation_bars`.
        names: Muscle names, shown as tooltips.
        activation: (muscles,) in [0, 1]; None: all zero.
    """
    rows = []
    for group, ids in bars:
        columns = "".join(_bar(names[i], 0.0 if activation is None else float(activation[i])) for i in ids)
        box = "display:flex;align-items:flex-end;height:44px;gap:1px;border-bottom:1px solid #999"
        rows.append(f'<div style="margin:6px 12px;font-size:11px">{group}<div style="{box}">{columns}</div></div>')
    return "".join(rows)


def _bar(name: str, level: float) -> str:
    level = min(max(level, 0.0), 1.0)
    color = f"rgb({115 + 140 * level:.0f},{69 - 49 * level:.0f},{82 - 74 * level:.0f})"
    style = f"flex:1;max-width:10px;height:{100 * level:.0f}%;min-height:1px;background:{color}"
    return f'<div title="{name} {level:.2f}" style="{style}"></div>'
