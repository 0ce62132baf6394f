"""Playback state of a viewer: source, motion, time, pause, speed. Contains no drawing."""

from collections.abc import Callable, Mapping
from threading import RLock
from typing import NamedTuple

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

    def copy(self) -> "Player":
        """Return a player with a playback state of its own that shares the loaded trajectories."""
        other = Player.__new__(Player)
        other._sources, other._loaded, other._lock = self._sources, self._loaded, RLock()
        other.playing, other.speed, other.time = True, 1.0, 0.0
        other.source, other._clip = self.source, self._clip
        return other

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
