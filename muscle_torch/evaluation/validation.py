"""Periodic validation: every so many updates the controller plays a few trials from start to end.

To TensorBoard: the evaluation's numbers, joint angles against their reference, which groups fail how often; to the run
folder: `eval/step_<N>/metrics.json` and, if videos are wanted, `videos/step_<N>.mp4`. Learning is not touched.
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

FAILING_MOST = 20  # groups that are listed

# Films a trajectory into a file; raises InputError if no video can be made.
Film = Callable[[Trajectory, Path], None]


class Board(Protocol):
    """Where results go: `muscle_torch.rl.Logger`."""

    def scalars(self, step: int, metrics: dict[str, float]) -> None: ...
    def histogram(self, name: str, values: Tensor, step: int) -> None: ...
    def figure(self, name: str, figure: Figure, step: int) -> None: ...
    def text(self, name: str, text: str, step: int) -> None: ...


class Validation:
    """Called after each update; evaluates the controller at every `interval`-th."""

    def __init__(
        self,
        env: Any,
        training_env: Any,
        controller: Controller,
        run_dir: Path,
        *,
        interval: int,
        most: int = 0,
        film: Film | None = None,
        keep_videos: int = 0,
    ):
        """Choose the trials.

        Args:
            env: Made with `evaluation=True`.
            training_env: Whose failures are shown.
            controller: Chooses the actions; of the policy that learns, its mode.
            run_dir: The run folder.
            interval: Updates between two validations.
            most: Trials at most, evenly spaced; 0: all.
            film: Makes a video of the worst trial each time; None: no video.
            keep_videos: The newest so many are kept; 0: all.
        """
        self.env, self.training_env, self.controller = env, training_env, controller
        self.interval, self.run_dir, self.film, self.keep_videos = interval, run_dir, film, keep_videos
        self.trials = spread(len(env.goal.trials.names), most)

    def __call__(self, update: int, step: int, board: Board) -> None:
        """After update number `update`, at `step` control steps."""
        if update % self.interval:
            return
        recorder, headline, unit = PlaybackRecorder(), self.env.goal.headline, self.env.goal.trials.unit
        with ProgressBar(self.env, f"validating after {step:,} steps", self.trials) as bar:
            metrics = evaluate(self.env, self.controller, callbacks=[recorder, bar], trials=self.trials)
        write_evaluation(self.run_dir / "eval" / f"step_{step}" / "metrics.json", metrics)
        numbers = {k: v for k, v in metrics.items() if isinstance(v, int | float) and not k.startswith("num_")}
        board.scalars(step, {f"validation/{name}": float(value) for name, value in numbers.items()})
        board.text(f"validation/{unit}s", _preformatted(trial_table(metrics, headline)), step)
        self._failures(step, board, unit)
        played = recorder.trajectories
        worst = min(self.trials, key=lambda trial: _fraction_followed(played[trial]))
        for title, trial in (("first", self.trials[0]), ("worst", worst)):
            board.figure(f"joint_angles/{title}_{unit}", joint_figure(self.env.embodiment, played[trial]), step)
        self._film(played[worst], step)

    def close(self) -> None:
        self.env.close()

    def _failures(self, step: int, board: Board, unit: str) -> None:
        """Of everything that is trained on, whether or not it is validated."""
        names, rate = self.training_env.goal.groups, self.training_env.failure_rate
        board.histogram(f"{unit}s/failure_rate", rate, step)
        worst = torch.argsort(rate, descending=True)[:FAILING_MOST].tolist()
        lines = [f"{100 * float(rate[group]):5.1f} %  {names[group]}" for group in worst]
        board.text(f"{unit}s/failing_most", _preformatted("\n".join(lines)), step)

    def _film(self, trajectory: Trajectory, step: int) -> None:
        if self.film is None:
            return
        path = self.run_dir / "videos" / f"step_{step}.mp4"
        try:
            self.film(trajectory, path)
        except InputError as error:
            self.film = None
            print(f"warning: no video from now on: {error}", file=sys.stderr)
        if self.keep_videos:
            made = sorted(path.parent.glob("step_*.mp4"), key=lambda p: p.stat().st_mtime)
            for old in made[: -self.keep_videos]:
                old.unlink()


def spread(count: int, most: int) -> list[int]:
    """At most `most` (0: all) of the numbers below `count`, evenly spaced, the first always among them."""
    chosen = count if most == 0 else min(most, count)
    return [index * count // chosen for index in range(chosen)]


def _fraction_followed(trajectory: Trajectory) -> float:
    return (trajectory.steps_followed or 0) / len(trajectory.qpos)


def _preformatted(text: str) -> str:
    """TensorBoard reads Markdown: four spaces keep a table as it is."""
    return "\n".join("    " + line for line in text.splitlines())
