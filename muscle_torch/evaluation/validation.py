"""A look at the policy while it learns: every so many updates it follows a few clips from start to end.

To TensorBoard: the evaluation's numbers, joint angles against their reference, which clips fail how often; to the run
folder: `eval/step_<N>/metrics.json` and, where videos are wanted, `videos/step_<N>.mp4`. Learning is not touched.
"""

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import mujoco
import numpy as np
import torch
from matplotlib.figure import Figure
from torch import Tensor, nn

from muscle_torch.embodiments import Embodiment
from muscle_torch.rendering.scene import choose_gl
from muscle_torch.rendering.video import FAILURES, Recording, render

from . import clip_table, evaluate, policy_mean, write_evaluation

PANELS = 12  # joints in a figure
VIDEO_SECONDS = 10.0  # of a clip
TRACKED, REFERENCE = "#c0392b", "#34495e"


class Board(Protocol):
    """Where results go: `muscle_torch.rl.Logger`."""

    def scalars(self, step: int, metrics: dict[str, float]) -> None: ...
    def histogram(self, name: str, values: Tensor, step: int) -> None: ...
    def figure(self, name: str, figure: Figure, step: int) -> None: ...
    def text(self, name: str, text: str, step: int) -> None: ...


@dataclass(frozen=True)
class Played:
    """One clip as it was followed; frame 0 is the start, and the root's first position the origin."""

    name: str
    qpos: np.ndarray  # (L, nq)
    reference: np.ndarray  # (L, nq)
    activation: np.ndarray  # (L, muscles)
    followed: int  # control steps until it was lost, L - 1 where it was not


class Validation:
    """Called after each update; every `interval` of them it evaluates the policy's mean action."""

    def __init__(
        self,
        env: Any,
        training_env: Any,
        policy: nn.Module,
        run_dir: Path,
        *,
        interval: int,
        most: int = 0,
        video: bool = False,
        keep_videos: int = 0,
    ):
        """env: made with `evaluation=True`. most: clips at most, spread evenly; 0: all. video: write one each time,
        and keep the newest `keep_videos` (0: all)."""
        self.env, self.training_env, self.policy = env, training_env, policy
        self.interval, self.run_dir, self.video, self.keep_videos = interval, run_dir, video, keep_videos
        self.clips = spread(env.goal.library.num_clips, most)
        if video:
            choose_gl()  # where nothing can be drawn, training should not begin

    def __call__(self, update: int, step: int, board: Board) -> None:
        """After update number `update`, at `step` control steps."""
        if update % self.interval:
            return
        watcher = _Poses()
        was_training = self.policy.training
        self.policy.eval()
        try:
            found = evaluate(self.env, policy_mean(self.policy), watchers=[watcher], clips=self.clips)
        finally:
            self.policy.train(was_training)
        write_evaluation(self.run_dir / "eval" / f"step_{step}" / "metrics.json", found)
        numbers = {k: v for k, v in found.items() if isinstance(v, int | float) and not k.startswith("num_")}
        board.scalars(step, {f"validation/{name}": float(value) for name, value in numbers.items()})
        board.text("validation/clips", _preformatted(clip_table(found)), step)
        self._failures(step, board)
        played = watcher.played
        worst = min(self.clips, key=lambda clip: played[clip].followed / len(played[clip].qpos))
        for title, clip in (("first", self.clips[0]), ("worst", worst)):
            board.figure(f"joint_angles/{title}_clip", joint_figure(self.env.embodiment, played[clip]), step)
        if self.video:
            try:
                self._film(played[worst], step)
            except FAILURES as error:
                self.video = False
                print(f"warning: no video from now on: {error}", file=sys.stderr)

    def close(self) -> None:
        self.env.close()

    def _failures(self, step: int, board: Board) -> None:
        """Of all clips that are trained on, whether or not they are validated."""
        rate, names = self.training_env.failure_rate, self.training_env.goal.library.names
        board.histogram("clips/failure_rate", rate, step)
        worst = torch.argsort(rate, descending=True)[:20].tolist()
        lines = [f"{100 * float(rate[clip]):5.1f} %  {names[clip]}" for clip in worst]
        board.text("clips/failing_most", _preformatted("\n".join(lines)), step)

    def _film(self, played: Played, step: int) -> None:
        frequency = self.env.embodiment.control_frequency
        recording = Recording(played.name, played.qpos, frequency, played.reference, played.activation)
        path = self.run_dir / "videos" / f"step_{step}.mp4"
        render(self.env.embodiment, [recording], path, max_seconds=VIDEO_SECONDS)
        if self.keep_videos:
            made = sorted(path.parent.glob("step_*.mp4"), key=lambda p: p.stat().st_mtime)
            for old in made[: -self.keep_videos]:
                old.unlink()


def spread(count: int, most: int) -> list[int]:
    """At most `most` (0: all) of the numbers below `count`, evenly spread, the first always among them."""
    chosen = count if most == 0 else min(most, count)
    return [index * count // chosen for index in range(chosen)]


def joint_figure(embodiment: Embodiment, played: Played) -> Figure:
    """Angles of the hinges that move most, tracked and reference, against time."""
    model = embodiment.model
    hinges = [j for j in embodiment.scalar_joint_ids if model.jnt_type[j] == mujoco.mjtJoint.mjJNT_HINGE]
    # A joint that an equality ties to another would only repeat it.
    free = [j for j in hinges if model.jnt_qposadr[j] not in embodiment.dependent.qpos_ids]
    ranges = {j: np.ptp(played.reference[:, model.jnt_qposadr[j]]) for j in free}
    shown = sorted(sorted(free, key=lambda j: -ranges[j])[:PANELS])
    columns = min(3, len(shown))
    rows = -(-len(shown) // columns)
    figure = Figure(figsize=(4.2 * columns, 0.6 + 2.1 * rows), layout="constrained")
    axes = figure.subplots(rows, columns, squeeze=False, sharex=True).flatten()
    time = np.arange(len(played.qpos)) / embodiment.control_frequency
    lost = time[played.followed] if played.followed < len(time) - 1 else None
    for axis, joint in zip(axes, shown, strict=False):
        address = model.jnt_qposadr[joint]
        own, wanted = np.degrees(played.qpos[:, address]), np.degrees(played.reference[:, address])
        axis.plot(time, wanted, color=REFERENCE, linestyle="--", linewidth=1.2, label="reference")
        axis.plot(time, own, color=TRACKED, linewidth=1.2, label="tracked")
        error = np.sqrt(np.mean((own - wanted) ** 2))
        axis.set_title(f"{embodiment.joint_names[joint]}   (rms {error:.1f} deg)", fontsize=8, loc="left")
        axis.tick_params(labelsize=7)
        if lost is not None:
            axis.axvline(lost, color="0.6", linewidth=0.8, linestyle=":")
    for axis in axes[len(shown) :]:
        axis.set_visible(False)
    axes[0].legend(fontsize=7, frameon=False)
    end = "followed to its end" if lost is None else f"lost after {lost:.2f} s"
    figure.suptitle(f"{played.name}, {end}", fontsize=9)
    figure.supxlabel("time [s]", fontsize=8)
    figure.supylabel("joint angle [deg]", fontsize=8)
    return figure


class _Poses:
    """Watches an evaluation and keeps the poses of every clip, whole."""

    def __init__(self) -> None:
        self.played: dict[int, Played] = {}

    def begin(self, env: Any, clips: Sequence[int]) -> None:
        self._clips = tuple(clips)
        self._frames = [self._read(env)]

    def before(self, env: Any) -> None:
        pass

    def after(self, env: Any, step: Any) -> None:
        self._frames.append(self._read(env))

    def end(self, env: Any, steps: Sequence[int]) -> Sequence[Mapping[str, float | None]]:
        library = env.goal.library
        qpos, activation = (np.stack(values, axis=1) for values in zip(*self._frames, strict=True))
        for world, clip in enumerate(self._clips):
            start, length = int(library.start[clip]), int(library.length[clip])
            reference = library.qpos[start : start + length].cpu().numpy().copy()
            if env.embodiment.root_joint is not None:
                reference[:, :2] -= reference[0, :2]
            rows = np.nan_to_num(qpos[world, :length]), reference, np.nan_to_num(activation[world, :length])
            self.played[clip] = Played(library.names[clip], *rows, followed=steps[world])
        return ()

    def _read(self, env: Any) -> tuple[np.ndarray, ...]:
        rows = env.embodiment.field_rows.get("act")
        fields = (env.physics.field(*field)[: len(self._clips)] for field in (("qpos",), ("act", rows)))
        return tuple(values.to("cpu", copy=True).numpy() for values in fields)


def _preformatted(text: str) -> str:
    """TensorBoard reads Markdown: four spaces keep a table as it is."""
    return "\n".join("    " + line for line in text.splitlines())
