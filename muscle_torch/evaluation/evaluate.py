"""Evaluation: every trial once, from start to end, and the comparison with baselines.

Errors are averaged over complete trials: a body that has lost its motion is simulated to the end, so a policy cannot
look precise by falling early. Rates, coverage, length and return count only until the evaluation thresholds are first
exceeded. The per-step errors and reward terms are those of the environment (MuscleMimic's info keys).
"""

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from muscle_torch.errors import InputError
from muscle_torch.storage.files import write_atomically

from .callback import EvaluationCallback
from .controller import Controller
from .progress import ProgressBar
from .summary import summarize
from .tables import comparison_table
from .tally import Tally
from .trials import CLIP, begin_trials

HEADINGS = {
    "untrained": "untrained",
    "zero": "zero excitation",
    "muscle_control": "muscle control",
    "final": "trained",
}  # column headings of the comparison
Progress = Callable[[int], object]


def evaluate(
    env: Any,
    controller: Controller,
    *,
    trials: Sequence[int] | None = None,
    callbacks: Sequence[EvaluationCallback] = (),
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Play every trial of the environment's goal from start to end; return the contents of the evaluation file.

    Args:
        env: Made with `make_env(..., evaluation=True)`, so that `terminated` refers to its evaluation thresholds. It is
            never reset within a trial, and neither its horizon nor its number of environments limits the evaluation.
        controller: Chooses the actions.
        trials: Indices of the trials to play; None: all.
        callbacks: Observers of every control step.
        progress: Called with the number of trials finished in each batch, such as `tqdm.update`.

    Returns:
        Metrics over all trials (SI units) and, under `per_clip` (goals other than motions: `per_trial`), of each trial.

    Raises:
        InputError: The controller's action has the wrong shape.
    """
    rows = run_trials(env, controller, trials, callbacks, progress=progress)
    return summarize([rows[trial] for trial in sorted(rows)], env.goal.trials.unit, env.goal.headline)


@torch.no_grad()
def run_trials(
    env: Any,
    controller: Controller,
    trials: Sequence[int] | None = None,
    callbacks: Sequence[EvaluationCallback] = (),
    *,
    progress: Progress | None = None,
    max_steps: int | None = None,
) -> dict[int, dict[str, Any]]:
    """Play trials in batches.

    Args:
        env: Made with `make_env(..., evaluation=True)`.
        controller: Chooses the actions.
        trials: Indices of the trials; None: all.
        callbacks: Observers of every control step.
        progress: Called with the number of trials finished in each batch.
        max_steps: Maximum number of control steps per trial; None: no limit.

    Returns:
        Trial index -> row of the evaluation file.

    Raises:
        InputError: The controller's action has the wrong shape.
    """
    lengths = env.goal.trials.lengths.tolist()
    # Batch trials of similar length, so that few environments wait for the longest one.
    order = sorted(range(len(lengths)) if trials is None else trials, key=lambda trial: -lengths[trial])
    rows: dict[int, dict[str, Any]] = {}
    for first in range(0, len(order), env.num_envs):
        batch = order[first : first + env.num_envs]
        rows |= zip(batch, _run_batch(env, controller, batch, callbacks, max_steps), strict=True)
        if progress is not None:
            progress(len(batch))
    return rows


def _run_batch(
    env: Any,
    controller: Controller,
    batch: Sequence[int],
    callbacks: Sequence[EvaluationCallback],
    max_steps: int | None,
) -> list[dict[str, Any]]:
    """Play one trial per environment; spare environments repeat the last trial and are not counted."""
    trials = env.goal.trials
    ids = torch.tensor([*batch, *[batch[-1]] * (env.num_envs - len(batch))], device=env.device)
    last_step = trials.lengths[ids] - 1
    longest = int(last_step.max())
    begin_trials(env, ids)
    groups = [] if trials.unit == CLIP else env.goal.group.tolist()
    controller.begin(env, torch.ones(env.num_envs, dtype=torch.bool, device=env.device))
    tally = Tally.empty(env.num_envs, env.device)
    for callback in callbacks:
        callback.on_batch_begin(env, batch)
    for step in range(1, (longest if max_steps is None else min(longest, max_steps)) + 1):
        action = controller.act(env)
        if action.shape != (env.num_envs, env.action_size):
            raise InputError(
                f"{type(controller).__name__}.act returned an action of shape {tuple(action.shape)}; return "
                f"{(env.num_envs, env.action_size)}: one row per environment"
            )
        for callback in callbacks:
            callback.on_step_begin(env)
        transition = env.advance(action)
        tally.add(transition, step <= last_step, env.goal.success(), env.goal.outcome())
        for callback in callbacks:
            callback.on_step_end(env, transition)
    rows = [tally.row(trials, world, trial) for world, trial in enumerate(batch)]
    if groups:
        rows = [{**row, "group": env.goal.groups[group]} for row, group in zip(rows, groups, strict=False)]
    for callback in callbacks:
        added = callback.on_batch_end(env, tally.length[: len(batch)].tolist())
        rows = [{**row, **more} for row, more in zip(rows, added, strict=True)] if added else rows
    return rows


def compare_controllers(
    env: Any, controllers: Mapping[str, Controller], folder: Path, headings: Mapping[str, str] | None = None
) -> str:
    """Evaluate several controllers on the same trials; return the comparison table.

    Args:
        env: Made with `make_env(..., evaluation=True)`.
        controllers: Name -> controller, the trained one last. Each writes `folder/<name>/metrics.json`.
        folder: The run folder's `eval`.
        headings: Name -> column heading, to override `HEADINGS`.
    """
    shown = HEADINGS | dict(headings or {})
    columns: dict[str, dict[str, Any]] = {}
    for name, controller in controllers.items():
        heading = shown.get(name, name)
        with ProgressBar(env, f"evaluating {heading}") as bar:
            metrics = evaluate(env, controller, callbacks=[bar])
        write_evaluation(folder / name / "metrics.json", metrics)
        columns[heading] = metrics
    return comparison_table(columns, env.goal.headline)


def write_evaluation(path: Path, metrics: Mapping[str, Any]) -> None:
    """Write the evaluation file atomically. Raises InputError if it cannot be written."""
    # Serialize first: a value that JSON cannot represent must not leave a file.
    text = json.dumps(metrics, indent=2, allow_nan=False) + "\n"
    with write_atomically(path) as temporary:
        temporary.write_text(text, encoding="utf-8")
