"""Periodic validation during training: every `interval` updates, play a few trials from start to end.

Writes to TensorBoard the evaluation's metrics, joint angles against their reference, and the groups that fail most; to
the run folder `eval/step_<N>/metrics.json` and, if requested, `videos/step_<N>.mp4`. Training is not affected.
"""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

import torch
from matplotlib.figure import Figure
from torch import Tensor

from muscle_torch.errors import InputError

from .controller import Controller
from .evaluate import evaluate, write_evaluation
from .figures import joint_figure
from .playback import PlaybackRecorder, Trajectory
from .progress import ProgressBar
from .tables import trial_table

MAX_LISTED_GROUPS = 20

# Renders a trajectory to a video file; raises InputError if that fails.
Film = Callable[[Trajectory, Path], None]


class MetricsWriter(Protocol):
    """The interface of `muscle_torch.rl.Logger` that validation uses; `step` is in control steps."""

    def scalars(self, step: int, metrics: dict[str, float]) -> None:
        """Write numbers by name."""
        ...

    def histogram(self, name: str, values: Tensor, step: int) -> None:
        """Write the distribution of `values` (N,) under `name` at `step`."""
        ...

    def figure(self, name: str, figure: Figure, step: int) -> None:
        """Write a Matplotlib figure under `name` at `step`."""
        ...

    def text(self, name: str, text: str, step: int) -> None:
        """Write Markdown `text` under `name` at `step`."""
        ...


class Validation:
    """Callable for the end of each update: evaluates the controller at every `interval`-th update."""

    def __init__(
        self,
        env: Any,
        training_env: Any,
        controller: Controller,
        run_dir: Path,
        *,
        interval: int,
        max_trials: int = 0,
        film: Film | None = None,
        keep_videos: int = 0,
    ):
        """Choose the trials.

        Args:
            env: Made with `evaluation=True`.
            training_env: The environment whose failure rates are reported.
            controller: Chooses the actions, usually the mode of the policy in training.
            run_dir: The run folder.
            interval: Updates between validations.
            max_trials: Maximum number of trials, evenly spaced; 0: all.
            film: Renders a video of the worst trial each time; None: no videos.
            keep_videos: Number of videos to keep, the newest; 0: all.
        """
        self.env, self.training_env, self.controller = env, training_env, controller
        self.interval, self.run_dir, self.film, self.keep_videos = interval, run_dir, film, keep_videos
        self.trials = evenly_spaced(len(env.goal.trials.names), max_trials)

    def __call__(self, update: int, step: int, writer: MetricsWriter) -> None:
        """Validate if it is due after update number `update`, at `step` control steps."""
        if update % self.interval:
            return
        recorder, headline, unit = PlaybackRecorder(), self.env.goal.headline, self.env.goal.trials.unit
        with ProgressBar(self.env, f"validating after {step:,} steps", self.trials) as bar:
            metrics = evaluate(self.env, self.controller, callbacks=[recorder, bar], trials=self.trials)
        write_evaluation(self.run_dir / "eval" / f"step_{step}" / "metrics.json", metrics)
        scalars = {k: v for k, v in metrics.items() if isinstance(v, int | float) and not k.startswith("num_")}
        writer.scalars(step, {f"validation/{name}": float(value) for name, value in scalars.items()})
        writer.text(f"validation/{unit}s", _preformatted(trial_table(metrics, headline)), step)
        self._write_failure_rates(step, writer, unit)
        played = recorder.trajectories
        worst = min(self.trials, key=lambda trial: _fraction_followed(played[trial]))
        for title, trial in (("first", self.trials[0]), ("worst", worst)):
            writer.figure(f"joint_angles/{title}_{unit}", joint_figure(self.env.embodiment, played[trial]), step)
        self._film(played[worst], step)

    def close(self) -> None:
        """Close the validation environment."""
        self.env.close()

    def _write_failure_rates(self, step: int, writer: MetricsWriter, unit: str) -> None:
        """Write the failure rates of all groups in training, validated or not."""
        names, rate = self.training_env.goal.groups, self.training_env.failure_rate
        writer.histogram(f"{unit}s/failure_rate", rate, step)
        worst = torch.argsort(rate, descending=True)[:MAX_LISTED_GROUPS].tolist()
        lines = [f"{100 * float(rate[group]):5.1f} %  {names[group]}" for group in worst]
        writer.text(f"{unit}s/failing_most", _preformatted("\n".join(lines)), step)

    def _film(self, trajectory: Trajectory, step: int) -> None:
        if self.film is None:
            return
        path = self.run_dir / "videos" / f"step_{step}.mp4"
        try:
            self.film(trajectory, path)
        except InputError as error:
            self.film = None
            print(f"warning: validation videos are disabled: {error}", file=sys.stderr)
        if self.keep_videos:
            videos = sorted(path.parent.glob("step_*.mp4"), key=lambda p: p.stat().st_mtime)
            for old in videos[: -self.keep_videos]:
                old.unlink()


def evenly_spaced(count: int, limit: int) -> list[int]:
    """Return at most `limit` (0: all) of the numbers below `count`, evenly spaced and starting at 0."""
    chosen = count if limit == 0 else min(limit, count)
    return [index * count // chosen for index in range(chosen)]


def _fraction_followed(trajectory: Trajectory) -> float:
    return (trajectory.steps_followed or 0) / len(trajectory.qpos)


def _preformatted(text: str) -> str:
    """Indent text by four spaces: TensorBoard renders Markdown, which would break a table."""
    return "\n".join("    " + line for line in text.splitlines())
