"""The clock of a marker file: its stated rate against its time column, and rows that are missing."""

from typing import NamedTuple

import numpy as np

from muscle_torch.errors import InputError

from ..raw import RATES

DIFFERENT = 0.01  # relative difference of two rates that is reported
OFF = 0.3  # [frames] by which a time may miss its frame; times are often rounded to milliseconds
COARSE = 0.1  # share of equal neighbours from which a time column is too coarse to place its rows
MOST = 10  # times as many frames as rows; more are no gaps but another clock


class Clock(NamedTuple):
    rate: float  # [Hz]
    rows: np.ndarray  # (N,) the rows that count; repeated ones do not
    frames: np.ndarray  # (N,) the frame of each, from 0
    notes: tuple[str, ...]

    def place(self, values: np.ndarray) -> np.ndarray:
        """Values (rows, ...) at their frames (T, ...), NaN in between."""
        placed = np.full((int(self.frames[-1]) + 1, *values.shape[1:]), np.nan)
        placed[self.frames] = values[self.rows]
        return placed


def make_clock(numbers: np.ndarray, time: np.ndarray, stated: float, rate: float, where: str) -> Clock:
    """Find the rate of a recording and the frame of each row.

    Args:
        numbers: (N,) frame number of each row, NaN if absent.
        time: (N,) time of each row [s], NaN if absent.
        stated: Rate in the header [Hz]; 0 or NaN if absent.
        rate: Rate that the user sets [Hz], which decides; 0: from the file.
        where: The file, for messages.

    Returns:
        The clock. If time column and header differ, the time column decides, as in OpenSim.

    Raises:
        InputError: The time goes back, jumps too far, or nothing states a rate.
    """
    usable, notes = _is_usable(time, rate, where), []
    if not usable and np.isfinite(time).all() and np.ptp(time) > 0 and not rate and stated > 0:
        notes.append(f"the time column is too coarse or not in seconds: {stated:g} Hz, as the header states")
    rows = np.arange(len(numbers))
    if usable and (np.diff(time) == 0).any():
        rows = np.flatnonzero(np.append(np.diff(time) > 0, True))
        notes.append(f"rows that repeat a time: {len(numbers) - len(rows)}; only the last of each time counts")
    time, numbers = time[rows], numbers[rows]
    expected = stated if RATES[0] <= stated <= RATES[1] else 0.0
    steps = _steps(time, expected) if usable else None
    if steps is None:
        steps = _numbered(numbers)
    own = expected
    if usable:
        own = float(steps.sum() / (time[-1] - time[0]))
        if expected and abs(own / expected - 1) < DIFFERENT:
            own = expected
        elif expected and not rate:
            notes.append(f"the header states {stated:g} Hz, the time column {own:.6g} Hz, which is used")
    if not rate and not own:
        raise InputError(f"{where}: states no rate ({stated:g} Hz, no usable time column); set rate= [Hz]")
    frames = np.concatenate(([0], np.cumsum(steps))).astype(int)
    if frames[-1] > MOST * len(frames):
        worst = int(np.argmax(steps))
        raise InputError(f"{where}: {int(steps[worst]) - 1} frames are missing after row {worst + 1}; cut it there")
    missing = int(frames[-1]) + 1 - len(frames)
    if missing:
        notes.append(f"{missing} frames are missing from the file and count as gaps")
    return Clock(rate or own, rows, frames, tuple(notes))


def _is_usable(time: np.ndarray, rate: float, where: str) -> bool:
    """Whether the time column is present, rises, is fine enough, and in seconds."""
    if len(time) < 2 or not np.isfinite(time).all():
        return False
    steps = np.diff(time)
    if (steps < 0).any():
        if rate:
            return False
        row = int(np.argmax(steps < 0))
        raise InputError(
            f"{where}: its time goes back from {time[row]:g} to {time[row + 1]:g} s after row {row + 1}; cut it there, "
            "or set rate= if its rows are evenly spaced"
        )
    step = float(np.median(steps))
    return bool((steps == 0).mean() <= COARSE and RATES[0] <= 1 / max(step, 1e-12) <= RATES[1])


def _steps(time: np.ndarray, expected: float) -> np.ndarray | None:
    """(N - 1,) frames between rows; None if the times lie on no grid."""
    for rate in (expected, 1 / float(np.median(np.diff(time)))):
        frames = np.diff(time) * rate
        steps = np.round(frames)
        if rate and steps.min() >= 1 and np.median(steps) == 1 and np.abs(frames - steps).max() < OFF:
            return steps
    return None


def _numbered(numbers: np.ndarray) -> np.ndarray:
    """(N - 1,) frames between rows by their frame numbers; 1 each if those do not count frames."""
    steps = np.diff(numbers)
    counts = len(steps) > 0 and np.isfinite(steps).all() and steps.min() >= 1 and np.median(steps) == 1
    return steps if counts else np.ones(max(len(numbers) - 1, 0))
