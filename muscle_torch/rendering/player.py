"""What a viewer shows at which moment: motions played from their start, paused, scrubbed. No drawing here."""

from collections.abc import Callable, Mapping
from threading import RLock
from typing import Any, NamedTuple

import numpy as np

from muscle_torch.errors import InputError, nearest
from muscle_torch.evaluation import Trajectory


class Frame(NamedTuple):
    """One moment of one motion."""

    qpos: np.ndarray  # (nq,)
    reference: np.ndarray | None  # (nq,)
    activation: np.ndarray | None  # (muscles,) in [0, 1]
    landmarks: np.ndarray | None = None  # (K, 3) [m]


class Player:
    """Plays the trajectories of one source at a time: a controller's, or the motions alone.

    sources: name -> what makes its trajectories; each is made once, when it is first chosen. Safe to use from the
    threads of a user interface.
    """

    def __init__(self, sources: Mapping[str, Callable[[], list[Trajectory]]]):
        if not sources:
            raise InputError("there is nothing to show: give a checkpoint or a motion")
        self._sources = dict(sources)
        self._made: dict[str, list[Trajectory]] = {}
        self._lock = RLock()
        self.playing, self.speed, self.time = True, 1.0, 0.0
        self.source = ""
        self._clip = 0
        self.choose_source(next(iter(self._sources)))

    @property
    def source_names(self) -> tuple[str, ...]:
        return tuple(self._sources)

    @property
    def clip_names(self) -> tuple[str, ...]:
        return tuple(trajectory.name for trajectory in self._made[self.source])

    @property
    def trajectory(self) -> Trajectory:
        return self._made[self.source][self._clip]

    @property
    def frame(self) -> Frame:
        """What to draw now."""
        with self._lock:
            return Frame(**self.trajectory.at(self.time))

    def choose_source(self, name: str) -> None:
        """Shows another source; stays at the same motion and moment where it has them. Raises InputError."""
        if name not in self._sources:
            raise InputError(f"unknown source {name!r}{nearest(name, self.source_names)}")
        if name not in self._made:
            made = self._sources[name]()  # may take seconds: the old source goes on meanwhile
            if not made:
                raise InputError(f"{name} has no motion to show")
            self._made[name] = made
        with self._lock:
            clip = self.trajectory.name if self.source else ""
            self.source = name
            self._clip = self.clip_names.index(clip) if clip in self.clip_names else 0
            self.seek(self.time)

    def choose_clip(self, name: str) -> None:
        """Shows another motion from its start. Raises InputError for an unknown one."""
        with self._lock:
            if name not in self.clip_names:
                raise InputError(f"unknown motion {name!r}{nearest(name, self.clip_names)}")
            self._clip, self.time = self.clip_names.index(name), 0.0

    def seek(self, time: float) -> None:
        """Goes to `time` [s], within the motion."""
        with self._lock:
            self.time = float(np.clip(time, 0.0, self.trajectory.seconds))

    def step(self, frames: int) -> None:
        """Pauses and moves by whole frames."""
        with self._lock:
            self.playing = False
            now = round(self.time * self.trajectory.frequency)
            self.seek((now + frames) / self.trajectory.frequency)

    def advance(self, seconds: float) -> bool:
        """Lets `seconds` of real time pass; past its end a motion begins anew. Whether anything moved."""
        with self._lock:
            length = self.trajectory.seconds
            if not self.playing or length <= 0:
                return False
            time = self.time + seconds * self.speed
            self.time = 0.0 if time > length else time
            return True


def activation_bars(groups: Mapping[str, tuple[str, ...]], names: tuple[str, ...]) -> list[tuple[str, np.ndarray]]:
    """Group -> muscle ids to show as bars, each muscle once, in the first group that names it; the rest as `other`."""
    ids = {name: i for i, name in enumerate(names)}
    shown: list[tuple[str, np.ndarray]] = []
    left = dict(ids)
    for group, members in groups.items():
        own = [left.pop(name) for name in members if name in left]
        if own:
            shown.append((group, np.array(own)))
    return [*shown, ("other", np.array(list(left.values())))] if left else shown


def bars_html(bars: list[tuple[str, np.ndarray]], names: tuple[str, ...], activation: Any) -> str:
    """One small bar chart a group: a bar a muscle, full height at activation 1, redder with activation."""
    rows = []
    for group, ids in bars:
        columns = "".join(_bar(names[i], 0.0 if activation is None else float(activation[i])) for i in ids)
        box = "display:flex;align-items:flex-end;height:44px;gap:1px;border-bottom:1px solid #999"
        rows.append(f'<div style="margin:6px 12px;font-size:11px">{group}<div style="{box}">{columns}</div></div>')
    return "".join(rows)


def _bar(name: str, level: float) -> str:
    level = min(max(level, 0.0), 1.0)
    colour = f"rgb({115 + 140 * level:.0f},{69 - 49 * level:.0f},{82 - 74 * level:.0f})"
    style = f"flex:1;max-width:10px;height:{100 * level:.0f}%;min-height:1px;background:{colour}"
    return f'<div title="{name} {level:.2f}" style="{style}"></div>'
