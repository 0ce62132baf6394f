"""Clock of a marker file: its stated rate compared with its time column, and missing rows."""

from typing import NamedTuple

import numpy as np

from muscle_torch.errors import InputError

from ..raw import RATES

DIFFERENT = 0.01  # relative difference of two rates that is reported
TOLERANCE = 0.3  # [frames] by which a time may deviate from its frame; times are often rounded to milliseconds
COARSE = 0.1  # fraction of equal neighbours above which a time column is too coarse to assign frames
MAX_RATIO = 10  # frames per row; more are not gaps but another clock


class Clock(NamedTuple):
    """Assignment of rows to frames."""

    rate: float  # [Hz]
    rows: np.ndarray  # (N,) indices of the used rows, without repeated ones
    frames: np.ndarray  # (N,) frame of each, from 0
    notes: tuple[str, ...]

    def place(self, values: np.ndarray) -> np.ndarray:
        """Return values (rows, ...) at their frames (T, ...), NaN in between."""
        placed = np.full((int(self.frames[-1]) + 1, *values.shape[1:]), np.nan)
        placed[self.frames] = values[self.rows]
        return placed


def make_clock(numbers: np.ndarray, time: np.ndarray, stated: float, rate: float, where: str) -> Clock:
    """Determine the rate of a recording and the frame of each row.

    Args:
        numbers: Frame number of each row, (N,), NaN if absent.
        time: Time of each row, (N,) [s], NaN if absent.
        stated: Rate in the header [Hz]; 0 or NaN if absent.
        rate: Rate set by the user [Hz], which takes precedence; 0: from the file.
        where: The file, for messages.

    Returns:
        The clock. If time column and header differ, the time column takes precedence, as in OpenSim.

    Raises:
        InputError: The time decreases or jumps too far, or the rate is unknown.
    """
    usable, notes = _is_usable(time, rate, where), []
    if not usable and np.isfinite(time).all() and np.ptp(time) > 0 and not rate and stated > 0:
        notes.append(f"the time column is too coarse or not in seconds: using {stated:g} Hz from the header")
    rows = np.arange(len(numbers))
    if usable and (np.diff(time) == 0).any():
        rows = np.flatnonzero(np.append(np.diff(time) > 0, True))
        notes.append(f"{len(numbers) - len(rows)} rows repeat a time: using only the last of each time")
    time, numbers = time[rows], numbers[rows]
    expected = stated if RATES[0] <= stated <= RATES[1] else 0.0
    steps = _steps(time, expected) if usable else None
    if steps is None:
        steps = _numbered(numbers)
    file_rate = expected
    if usable:
        file_rate = float(steps.sum() / (time[-1] - time[0]))
        if expected and abs(file_rate / expected - 1) < DIFFERENT:
            file_rate = expected
        elif expected and not rate:
            notes.append(
                f"the header states {stated:g} Hz but the time column {file_rate:.6g} Hz: using the time column"
            )
    if not rate and not file_rate:
        raise InputError(f"{where}: unknown rate (header {stated:g} Hz, no usable time column); set rate= [Hz]")
    frames = np.concatenate(([0], np.cumsum(steps))).astype(int)
    if frames[-1] > MAX_RATIO * len(frames):
        worst = int(np.argmax(steps))
        raise InputError(f"{where}: {int(steps[worst]) - 1} frames are missing after row {worst + 1}; cut it there")
    missing = int(frames[-1]) + 1 - len(frames)
    if missing:
        notes.append(f"{missing} frames are missing from the file and treated as gaps")
    return Clock(rate or file_rate, rows, frames, tuple(notes))


def _is_usable(time: np.ndarray, rate: float, where: str) -> bool:
    """Return whether the time column is present, increasing, fine enough, and in seconds."""
    if len(time) < 2 or not np.isfinite(time).all():
        return False
    steps = np.diff(time)
    if (steps < 0).any():
        if rate:
            return False
        row = int(np.argmax(steps < 0))
        raise InputError(
            f"{where}: the time decreases from {time[row]:g} to {time[row + 1]:g} s after row {row + 1}; cut it there, "
            "or set rate= if the rows are evenly spaced"
        )
    step = float(np.median(steps))
    return bool((steps == 0).mean() <= COARSE and RATES[0] <= 1 / max(step, 1e-12) <= RATES[1])


def _steps(time: np.ndarray, expected: float) -> np.ndarray | None:
    """Return the frames between rows (N - 1,); None if the times are not on a grid."""
    for rate in (expected, 1 / float(np.median(np.diff(time)))):
        frames = np.diff(time) * rate
        steps = np.round(frames)
        if rate and steps.min() >= 1 and np.median(steps) == 1 and np.abs(frames - steps).max() < TOLERANCE:
            return steps
    return None


def _numbered(numbers: np.ndarray) -> np.ndarray:
    """Return the frames between rows (N - 1,) from frame numbers; 1 each if those do not count frames."""
    steps = np.diff(numbers)
    counts = len(steps) > 0 and np.isfinite(steps).all() and steps.min() >= 1 and np.median(steps) == 1
    return steps if counts else np.ones(max(len(numbers) - 1, 0))
