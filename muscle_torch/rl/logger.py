"""Write one flat dict of metrics per update to the console, `metrics.jsonl` and TensorBoard.

The progress line does not use tqdm, which writes carriage returns into a scheduler's log file instead of one line per
update.
"""

import errno
import io
import json
import math
import os
import re
import resource
import shutil
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.tensorboard import SummaryWriter

from muscle_torch.errors import InputError
from muscle_torch.storage.files import write_atomically

from .contracts import Headline
from .wandb_mirror import start_mirror

SPARE_BYTES = 64 * 1024


class Logger:
    """Log of a run.

    Metrics are named as in TensorBoard (`ppo/kl`); `step` is the number of control steps of all environments so far. A
    run that continues drops the rows after its checkpoint, also in TensorBoard. A later write error does not end the
    run: it prints one warning line.
    """

    def __init__(self, folder: Path, start_step: int = 0, mirror: bool = False):
        """Open the log of a run.

        Args:
            folder: Run folder.
            start_step: Control steps at which the run continues; 0: a new run.
            mirror: Whether to mirror TensorBoard in Weights & Biases.

        Raises:
            InputError: The folder cannot be written, or the mirror does not start.
        """
        self.path = folder / "metrics.jsonl"
        self._mirror = start_mirror(folder) if mirror else None
        self._warned: set[str] = set()
        try:
            self._require_space()
            self._keep_until(start_step)
            self._file = open(self.path, "a", encoding="utf-8")  # noqa: SIM115  held for the run
            self._board: SummaryWriter | None = SummaryWriter(str(folder), purge_step=start_step + 1)
        except OSError as error:
            raise InputError(
                f"cannot write {self.path}: {error.strerror}; free disk space (the last checkpoint is kept)"
            ) from None
        if not start_step and (folder / "config.yaml").exists():
            self.text("config", preformatted((folder / "config.yaml").read_text(encoding="utf-8")), 0)
        self.start_clock(start_step)

    def start_clock(self, step: int) -> None:
        """Start measuring the speed shown in the progress line; `step`: control steps so far."""
        self._begin, self._first_step = time.monotonic(), step

    def write(self, step: int, metrics: dict[str, float], headline: Headline | None = None) -> None:
        """Write the metrics of an update to `metrics.jsonl` and TensorBoard.

        Args:
            step: Control steps so far.
            metrics: Values in SI units; non-finite values become null.
            headline: Also written to TensorBoard in its displayed unit, such as `err/site_abs_mm`.
        """
        line = {"step": step} | {k: v if math.isfinite(v) else None for k, v in metrics.items()}
        try:
            self._require_space()
            self._file.write(json.dumps(line) + "\n")
            self._file.flush()
        except OSError as error:
            self._warn(self.path.name, error)
        self.scalars(step, metrics | displayed(metrics, headline))

    def scalars(self, step: int, metrics: dict[str, float]) -> None:
        """Write metrics that are not measured at every update, to TensorBoard only."""
        for name, value in metrics.items():
            self._to_board(lambda board, name=name, value=value: board.add_scalar(name, value, step))

    def histogram(self, name: str, values: Tensor, step: int) -> None:
        """Write the histogram `name` of values at `step` to TensorBoard."""
        self._to_board(lambda board: board.add_histogram(name, values.cpu().numpy(), step))

    def figure(self, name: str, figure: Any, step: int) -> None:
        """Write the matplotlib figure `name` at `step` to TensorBoard."""
        self._to_board(lambda board: board.add_figure(name, figure, step))

    def text(self, name: str, text: str, step: int) -> None:
        """Write the Markdown text `name` at `step` to TensorBoard."""
        self._to_board(lambda board: board.add_text(name, text, step))

    def animation(self, name: str, images: Sequence[np.ndarray], fps: int, step: int) -> None:
        """Write an animation to TensorBoard, as a GIF.

        Args:
            name: Tag.
            images: (height, width, 3) uint8 each, at least one.
            fps: Frames per second.
            step: Control steps so far.
        """
        from PIL import Image
        from tensorboard.compat.proto.summary_pb2 import Summary

        first, *following = [Image.fromarray(image).quantize(128) for image in images]
        encoded, (height, width) = io.BytesIO(), images[0].shape[:2]
        pace = {"duration": round(1000 / fps), "loop": 0}
        first.save(encoded, format="GIF", save_all=True, append_images=following, **pace)
        image = Summary.Image(height=height, width=width, colorspace=3, encoded_image_string=encoded.getvalue())
        summary = Summary(value=[Summary.Value(tag=name, image=image)])
        self._to_board(lambda board: board._get_file_writer().add_summary(summary, step))

    def hyperparameters(self, values: dict[str, Any], metrics: dict[str, float], step: int) -> None:
        """Write a row of TensorBoard's table of runs.

        Args:
            values: Hyperparameters: numbers, text or booleans by name.
            metrics: Results by tag.
            step: Control steps so far.
        """
        from torch.utils.tensorboard.summary import hparams

        self.scalars(step, metrics)
        for part in hparams(values, metrics):
            self._to_board(lambda board, part=part: board._get_file_writer().add_summary(part))

    def flush(self) -> None:
        """Force the log to disk, before a checkpoint that refers to it."""
        try:
            self._file.flush()
            os.fsync(self._file.fileno())
        except OSError as error:
            self._warn(self.path.name, error)
        self._to_board(lambda board: board.flush())

    def progress(self, step: int, total: int, metrics: dict[str, float], headline: Headline) -> None:
        """Print one line: progress, speed, remaining time, quality.

        Args:
            step: Control steps so far.
            total: Control steps of the whole run.
            metrics: Metrics of the last update.
            headline: Which of them measures how well the goal is met.
        """
        spent = time.monotonic() - self._begin
        speed = (step - self._first_step) / max(spent, 1e-9)
        left = (total - step) / max(speed, 1e-9)
        text = f"{step:>11,d}/{total:,d} steps  {speed:7,.0f} steps/s  {_clock(left)} left"
        for label, key, factor, form in (
            ("return", "episode/return", 1.0, ".1f"),
            (f"{headline.label} {headline.unit}", headline.name, headline.factor, ".1f"),
            ("kl", "ppo/kl", 1.0, ".4f"),
        ):
            if key in metrics and math.isfinite(metrics[key]):
                text += f"  {label} {metrics[key] * factor:{form}}"
        self.say(text, replace=sys.stdout.isatty())

    def say(self, text: str, replace: bool = False) -> None:
        """Print a line; `replace`: over the current line of the terminal."""
        print(f"\r\x1b[K{text}" if replace else text, end="" if replace else "\n", flush=True)

    def close(self) -> None:
        """Close the files."""
        if sys.stdout.isatty():
            print()
        try:
            self._file.close()
        except OSError as error:
            self._warn(self.path.name, error)
        self._to_board(lambda board: board.close())
        if self._mirror is not None:
            self._mirror.finish()

    def _to_board(self, write: Callable[[SummaryWriter], None]) -> None:
        """Write to TensorBoard; stop using it if the disk is full, because its writer thread would die."""
        if self._board is None:
            return
        try:
            self._require_space()
            write(self._board)
        except OSError as error:
            self._board = None
            self._warn("TensorBoard", error)

    def _require_space(self) -> None:
        if shutil.disk_usage(self.path.parent).free < SPARE_BYTES:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def _warn(self, what: str, error: OSError) -> None:
        if what not in self._warned:
            self._warned.add(what)
            print(f"warning: cannot write {what}: {error.strerror or error}; the run continues", file=sys.stderr)

    def _keep_until(self, step: int) -> None:
        """Drop the rows that an interrupted run logged after its last checkpoint: those updates are repeated."""
        if not self.path.exists():
            return
        lines = self.path.read_text(encoding="utf-8").splitlines()
        kept = [line for line in lines if _step_of(line) <= step]
        if kept == lines:
            return
        # A kill at this point must not lose the log.
        with write_atomically(self.path, "free disk space (the last checkpoint is kept)") as temporary:
            temporary.write_text("".join(line + "\n" for line in kept), encoding="utf-8")


class NoLogger:
    """Logger of the processes that do not write; every method does nothing."""

    def start_clock(self, step: int) -> None:
        """Do nothing."""

    def say(self, text: str) -> None:
        """Do nothing."""

    def write(self, step: int, metrics: dict[str, float], headline: Headline) -> None:
        """Do nothing."""

    def progress(self, step: int, total: int, metrics: dict[str, float], headline: Headline) -> None:
        """Do nothing."""

    def flush(self) -> None:
        """Do nothing."""

    def close(self) -> None:
        """Do nothing."""


def displayed(metrics: dict[str, float], headline: Headline | None) -> dict[str, float]:
    """Return the headline in its displayed unit, with the unit in its name; empty if it has no unit of its own."""
    if headline is None or headline.factor == 1.0 or headline.name not in metrics:
        return {}
    unit = "percent" if headline.unit == "%" else headline.unit.replace("/", "_per_").replace(" ", "_")
    return {f"{headline.name}_{unit}": headline.factor * metrics[headline.name]}


def preformatted(text: str) -> str:
    """Indent text by four spaces: TensorBoard renders Markdown, which would break a table."""
    return "\n".join("    " + line for line in text.splitlines())


def _step_of(line: str) -> float:
    try:
        row: Any = json.loads(line)
    except json.JSONDecodeError:  # cut off by a kill
        return math.inf
    return row["step"]


def _clock(seconds: float) -> str:
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{seconds:02d}" if hours else f"{minutes}:{seconds:02d}"


def device_bytes(device: torch.device) -> int:
    """Return the memory in use on a CUDA device [bytes]: by torch, Warp and other processes."""
    free, total = torch.cuda.mem_get_info(device)
    return total - free


def resident_bytes() -> int:
    """Return the peak resident memory of this process [bytes]."""
    try:
        peak = re.search(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text())
    except OSError:
        peak = None
    if peak:  # Linux, where `getrusage` may return the peak of the parent process
        return int(peak[1]) * 1024
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
