"""Trajectories for videos, the viewer and figures: trials played by a controller, or motions without simulation."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from muscle_torch.motion import MotionClip

from .callback import EvaluationCallback
from .controller import Controller
from .evaluate import run_trials
from .progress import ProgressBar


@dataclass(frozen=True)
class Trajectory:
    """Poses over time: L frames at `frequency` [Hz]; frame 0 is the start."""

    name: str
    qpos: np.ndarray  # (L, nq)
    frequency: float
    reference: np.ndarray | None = None  # (L, nq) target pose, drawn as a ghost
    activation: np.ndarray | None = None  # (L, muscles) in [0, 1]; None: all muscles in one color
    landmarks: np.ndarray | None = None  # (L, K, 3) [m] recorded points or targets, drawn as small spheres
    steps_followed: int | None = None  # control steps until the trial was lost or ended; None: not simulated

    @property
    def seconds(self) -> float:
        """Time from the first to the last frame [s]."""
        return (len(self.qpos) - 1) / self.frequency

    @property
    def lost(self) -> bool:
        """Whether the trial was lost before its last frame."""
        return self.steps_followed is not None and self.steps_followed < len(self.qpos) - 1

    def at(self, time: float) -> dict[str, Any]:
        """Return the arguments of `SceneRenderer.draw` for the frame nearest to `time` [s]."""
        frame = min(round(time * self.frequency), len(self.qpos) - 1)
        rows = {"qpos": self.qpos, "reference": self.reference, "activation": self.activation}
        rows["landmarks"] = self.landmarks
        return {key: None if values is None else values[frame] for key, values in rows.items()}

    @classmethod
    def of_clip(cls, clip: MotionClip, max_seconds: float) -> "Trajectory":
        """Return the first `max_seconds` [s] of a motion without simulating it."""
        shown = slice(0, int(max_seconds * clip.frequency) + 1)
        landmarks = None if clip.landmarks is None else clip.landmarks[shown]
        return cls(clip.name, clip.qpos[shown], clip.frequency, landmarks=landmarks)


class PlaybackRecorder(EvaluationCallback):
    """Callback that records the trajectory of every trial in `trajectories`, by trial index."""

    def __init__(self) -> None:
        self.trajectories: dict[int, Trajectory] = {}

    def on_batch_begin(self, env: Any, trials: Sequence[int]) -> None:
        self._trials = tuple(trials)
        self._frames = [self._read(env)]

    def on_step_end(self, env: Any, transition: Any) -> None:
        self._frames.append(self._read(env))

    def on_batch_end(self, env: Any, steps: Sequence[int]) -> Sequence[Mapping[str, float | None]]:
        trials, frequency = env.goal.trials, env.embodiment.control_frequency
        # An environment that diverged contains NaN, which cannot be drawn.
        series = {name: np.nan_to_num(np.stack([f[name] for f in self._frames], axis=1)) for name in self._frames[0]}
        for world, (trial, followed) in enumerate(zip(self._trials, steps, strict=True)):
            frames = slice(0, int(trials.lengths[trial]))
            rows = {name: values[world, frames] for name, values in series.items()}
            self.trajectories[trial] = Trajectory(
                name=trials.names[trial], frequency=frequency, steps_followed=followed, **rows
            )
        return ()

    def _read(self, env: Any) -> dict[str, np.ndarray]:
        """Return copies of the current poses and activations, on the host."""
        muscles = env.embodiment.field_rows.get("act")  # motors may have activations too
        values = {"qpos": env.physics.field("qpos"), "activation": env.physics.field("act", muscles)}
        values |= {"reference": env.goal.ghost(), "landmarks": env.goal.markers()}
        shown = {name: value for name, value in values.items() if value is not None}
        return {name: value[: len(self._trials)].to("cpu", copy=True).numpy() for name, value in shown.items()}


def play(env: Any, controller: Controller, max_seconds: float, trials: Sequence[int] | None = None) -> list[Trajectory]:
    """Play trials once from their start; return the trajectories in the order of the trials.

    A body that has lost its motion is simulated to the end, so that a video shows how it was lost.

    Args:
        env: Made with `make_env(..., evaluation=True)`.
        controller: Chooses the actions.
        max_seconds: Maximum duration of each trial [s].
        trials: The trials; None: all.
    """
    recorder, steps = PlaybackRecorder(), int(max_seconds * env.embodiment.control_frequency)
    with ProgressBar(env, "playing", trials, steps) as bar:
        run_trials(env, controller, trials, callbacks=[recorder, bar], max_steps=steps)
    return [recorder.trajectories[trial] for trial in sorted(recorder.trajectories)]
