"""How much a controlled clip bears: noise at the start, any start, pushes, weak and strong muscles; one table."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from .planner import StepPlanner
from .preview import lateral_axis
from .reference import Reference
from .trial import Disturbance, StoredMotion, Trial, run_trial

SEEDS = (1, 2, 3, 4, 5)
ROOT_NOISE, JOINT_NOISE = 0.05, 0.1  # [m/s] and [rad/s], [rad/s]
EXCITATION_NOISE = 0.03
IMPULSES = (5.0, 10.0, 15.0, 20.0)  # [N s]
STRENGTHS = (0.8, 1.2)
COLUMNS = ("disturbance", "runs", "whole", "frames [%]", "least [%]", "site error [mm]")


@dataclass(frozen=True)
class Outcome:
    """A row of the table: all runs under one kind of disturbance."""

    name: str
    trials: tuple[Trial, ...]

    @property
    def row(self) -> tuple[str, int, int, float, float, float]:
        """The row, as `COLUMNS` names it."""
        coverage = [100 * trial.coverage for trial in self.trials]
        error = 1e3 * float(np.mean([trial.site_error for trial in self.trials]))
        whole = sum(trial.whole for trial in self.trials)
        return (self.name, len(self.trials), whole, float(np.mean(coverage)), min(coverage), error)


def disturbances(reference: Reference, rate: float, starts: int = 5) -> dict[str, list[Disturbance]]:
    """The disturbances of the table by name: nothing, noise, starts, pushes in four directions, strengths.

    Args:
        reference: the clip's tables: pushes are along and across its heading.
        rate: frames a second [Hz].
        starts: how many frames to start on, evenly over the first three quarters of the clip.
    """
    frames = np.linspace(0, 0.75 * reference.num_frames, starts + 1)[1:].astype(int).tolist()
    middle = min(round(0.6 * rate), reference.num_frames // 3)
    kinds = {
        "none": [Disturbance()],
        "velocity noise at the start": [Disturbance(s, ROOT_NOISE, JOINT_NOISE) for s in SEEDS],
        "noise of excitations": [Disturbance(s, excitation_noise=EXCITATION_NOISE) for s in SEEDS],
        "start on any frame": [Disturbance(start=frame) for frame in frames],
    }
    for impulse in IMPULSES:
        pushes = [tuple((impulse * axis[:2]).tolist()) for axis in _directions(reference, middle)]
        kinds[f"push of {impulse:g} N s"] = [Disturbance(push=push, push_frame=middle) for push in pushes]
    for strength in STRENGTHS:
        kinds[f"muscles at {100 * strength:.0f} %"] = [Disturbance(strength=strength)]
    return kinds


def robustness(
    planner: StepPlanner,
    reference: Reference,
    stored: StoredMotion,
    progress: Callable[[Outcome], None] | None = None,
) -> list[Outcome]:
    """Run the controller under every disturbance.

    Args:
        planner: of the body, with its gains.
        reference: tables of the filtered clip.
        stored: the clip as it is.
        progress: called with each row as it is ready.
    """
    outcomes = []
    for name, kinds in disturbances(reference, planner.body.embodiment.control_frequency).items():
        outcome = Outcome(name, tuple(run_trial(planner, reference, stored, one) for one in kinds))
        outcomes.append(outcome)
        if progress is not None:
            progress(outcome)
    return outcomes


def robustness_table(outcomes: list[Outcome]) -> str:
    """The rows as aligned text."""
    rows = [tuple(f"{cell:.1f}" if isinstance(cell, float) else str(cell) for cell in one.row) for one in outcomes]
    widths = [max(len(row[column]) for row in (COLUMNS, *rows)) for column in range(len(COLUMNS))]
    return "\n".join("  ".join(cell.rjust(width) for cell, width in zip(row, widths, strict=True))
                     for row in (COLUMNS, *rows))  # fmt: skip


def _directions(reference: Reference, frame: int) -> Iterator[np.ndarray]:
    """Unit vectors forward, backward and to both sides of the body at a frame."""
    across = lateral_axis(reference, frame) if reference.hip_pos.shape[1] > 1 else np.array([1.0, 0.0, 0.0])
    along = np.array([-across[1], across[0], 0.0])
    yield from (along, -along, across, -across)
