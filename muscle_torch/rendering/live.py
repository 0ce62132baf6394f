"""A player that simulates instead of replaying: one environment and its controller in real time."""

import time
from collections.abc import Callable, Sequence
from threading import RLock
from typing import Any

import numpy as np
import torch

from muscle_torch.evaluation import Controller, Trajectory

from .player import Frame

LONGEST = 0.2  # [s]; a slow computer simulates at most this much between two pictures

Steer = Callable[[float, float], None]


class LivePlayer:
    """Simulates an environment as time passes; the interface is that of `Player`, without going back in time.

    All pages share the simulation.

    Attributes:
        playing: Whether time passes.
        speed: Simulated seconds for each second.
        time: Simulated time since the episode started [s].
        steer: Sets heading [rad] and speed [m/s] of the body; None: it cannot be steered.
    """

    source_names: Sequence[str] = ("live",)
    clip_names: Sequence[str] = ("simulation",)
    source = "live"

    def __init__(
        self, env: Any, controller: Controller, steer: Steer | None = None, clock: Callable[[], float] = time.monotonic
    ):
        """Start an episode.

        Args:
            env: One environment, made with `make_env(..., evaluation=True)`.
            controller: Chooses the actions.
            steer: Sets heading [rad] and speed [m/s].
            clock: Returns the real time [s].
        """
        self._env, self._controller, self.steer = env, controller, steer
        self._clock, self._last = clock, clock()
        self._lock, self._due = RLock(), 0.0
        self.playing, self.speed, self.time = True, 1.0, 0.0
        self._begin()

    def copy(self) -> "LivePlayer":
        """Return the same object: there is one simulation for all pages."""
        return self

    @property
    def trajectory(self) -> Trajectory:
        """The current frame as a trajectory."""
        frame, frequency = self.frame, self._env.embodiment.control_frequency
        return Trajectory(self.clip_names[0], frame.qpos[None], frequency)

    @property
    def frame(self) -> Frame:
        """The current frame."""
        with self._lock:
            return self._frame

    def choose_source(self, name: str) -> None:
        """Do nothing: there is one source."""

    def choose_clip(self, name: str) -> None:
        """Start a new episode."""
        with self._lock:
            self._begin()

    def seek(self, time: float) -> None:
        """Do nothing: a simulation does not go back."""

    def advance(self, seconds: float) -> bool:
        """Simulate the real time since the last call, at most `LONGEST`; return whether time passes.

        Args:
            seconds: Not used: with several pages, each of them calls.
        """
        with self._lock:
            now = self._clock()
            elapsed, self._last = now - self._last, now
            if not self.playing:
                return False
            self._due = min(self._due + elapsed * self.speed, LONGEST)
            step = 1 / self._env.embodiment.control_frequency
            while self._due >= step:
                self._due -= step
                self._step(step)
            return True

    @torch.no_grad()
    def _step(self, seconds: float) -> None:
        step = self._env.advance(self._controller.act(self._env))
        self.time += seconds
        if bool((step.terminated | step.truncated).any()):
            self._begin()
        else:
            self._frame = self._read()

    def _begin(self) -> None:
        everyone = torch.ones(self._env.num_envs, dtype=torch.bool, device=self._env.device)
        self._env.begin()
        self._controller.begin(self._env, everyone)
        self.time, self._frame = 0.0, self._read()

    def _read(self) -> Frame:
        env = self._env
        muscles = env.embodiment.field_rows.get("act")  # motors may have activations too
        markers = env.goal.markers()
        return Frame(
            np.nan_to_num(env.physics.field("qpos")[0].cpu().numpy().copy()),
            None,
            np.nan_to_num(env.physics.field("act", muscles)[0].cpu().numpy().copy()),
            None if markers is None else markers[0].cpu().numpy(),
        )
